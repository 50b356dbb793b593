// SPDX-License-Identifier: Apache-2.0
// Payload sweep: waits for a key. s: every offset of the interrupt controller's frames by every size and misalignment, and
// every encoding of its system registers, from all CPUs at once; nothing is expected of the answers but that they come; then
// the machine is reset. n: the machine must be as new.
#include <initializer_list>

#include "guests/bare/rt/gicv3.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u64 frame_bytes = 0x1'0000;
constexpr u64 its_base = 0x0808'0000; // as on QEMU's virt
constexpr unsigned sweep_seconds = 240;

unsigned cpus;
alignas(4096) u64 table[512];
alignas(64) u32 code[max_cpus][16];

/// The whole of memory as Normal, Non-cacheable: what MMU-off accesses to RAM agree with, and misaligned ones of the frames
/// leave EL1, where Device memory would have them fault. One level of 1 GiB blocks [DDI0487 D8.3].
void map_all_as_normal() {
    constexpr u64 block = 1U << 10 | 3U << 8 | 1; // AF, inner shareable, attribute 0
    table[0] = block;
    table[1] = block | ram_base;
    dsb();
    BARE_WRITE("mair_el1", 0x44);
    BARE_WRITE("tcr_el1", u64{25} | 1U << 23); // 39 bits by TTBR0, 4 KiB granule, no TTBR1
    BARE_WRITE("ttbr0_el1", reinterpret_cast<u64>(table));
    isb();
    asm volatile("tlbi vmalle1\n dsb nsh\n isb" ::: "memory");
    BARE_WRITE("sctlr_el1", BARE_READ("sctlr_el1") | 1);
    isb();
}
void unmap() {
    BARE_WRITE("sctlr_el1", BARE_READ("sctlr_el1") & ~u64{1});
    isb();
}

void access(u64 address, unsigned size, bool write, u64 value) {
    switch (size * 2 + (write ? 1 : 0)) {
    case 2:
        read8(address);
        break;
    case 3:
        write8(address, static_cast<u32>(value));
        break;
    case 4:
        read16(address);
        break;
    case 5:
        write16(address, static_cast<u32>(value));
        break;
    case 8:
        read32(address);
        break;
    case 9:
        write32(address, static_cast<u32>(value));
        break;
    case 16:
        read64(address);
        break;
    default:
        write64(address, value);
        break;
    }
}

struct Random {
    u64 state;
    u64 next() { // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545'f491'4f6c'dd1d;
    }
    u64 pattern() {
        const u64 r = next();
        switch (r >> 60 & 3) {
        case 0:
            return ~u64{0};
        case 1:
            return 0;
        case 2:
            return u64{1} << (r & 63);
        default:
            return r;
        }
    }
};

/// Where registers are: words, priorities, configuration; identification; routes.
bool populated(u64 offset) {
    const u64 in_frame = offset % frame_bytes;
    return in_frame < 0x1000 || in_frame >= 0xff00 || (in_frame >= 0x6000 && in_frame < 0x6800);
}

/// Offsets `first`, `first` + `stride` and so on below `bytes`; no access leaves the range. A read and a write of each where
/// registers are, or else one of the two.
void sweep_range(u64 base, u64 bytes, u64 first, u64 stride, bool all, Random& random) {
    for (const unsigned size : {1U, 2U, 4U, 8U}) {
        for (u64 offset = first; offset + size <= bytes; offset += stride) {
            const bool both = populated(offset);
            if (!both && !all) {
                continue;
            }
            const bool write = (random.next() >> 63) != 0;
            access(base + offset, size, write, random.pattern());
            if (both) {
                access(base + offset, size, !write, random.pattern());
            }
        }
    }
}

/// Every CPU takes its share of all offsets, so that they are within a few bytes of each other, in every frame; the
/// distributor's registers are everybody's.
u64 job_frames(u64) {
    const unsigned cpu = cpu_index();
    Random random{0x9e37'79b9'7f4a'7c15 + cpu};
    const u64 before = fault_count();
    map_all_as_normal();
    sweep_range(gicd_base, frame_bytes, cpu, cpus, true, random);
    sweep_range(gicd_base, frame_bytes, 0, 1, false, random);
    for (unsigned other = 0; other < cpus; ++other) {
        sweep_range(gicr_of(other), 2 * frame_bytes, cpu, cpus, true, random);
    }
    if ((read32(gicd_typer) & typer_lpis) != 0) {
        sweep_range(its_base, 2 * frame_bytes, cpu, cpus, true, random);
    }
    unmap();
    return fault_count() - before;
}

/// The registers alone, again and again, aligned: what the frames' reserved parts above take most of the time of.
u64 job_registers(u64) {
    Random random{u64{0x1234'5678'9abc'def1} + cpu_index()};
    for (unsigned i = 0; i < 2000; ++i) {
        const u64 r = random.next();
        const unsigned size = 1U << (r & 3);
        const u64 offset =
            ((r >> 8 & 1) != 0 ? r >> 16 & 0xfff : 0x6000 + (r >> 16 & 0x7ff)) & ~u64{size - 1};
        const u64 base =
            (r >> 9 & 1) != 0 ? gicd_base : gicr_of((r >> 32) % cpus) + ((r >> 10 & 3) != 0 ? gicr_sgi : 0);
        access(base + offset, size, (r >> 12 & 1) != 0, random.pattern());
    }
    return 0;
}

/// Device memory, as it is without the MMU: a misaligned access faults at EL1 [DDI0487 B2.7.2]. QEMU does not check that of a
/// guest with stage 2, so that it reaches EL2, and no fault comes. The number of faults, the same on all CPUs.
u64 job_misaligned(u64) {
    const u64 before = fault_count();
    Random random{1};
    for (u64 offset = 0; offset < 0x40; ++offset) {
        for (const unsigned size : {2U, 4U, 8U}) {
            if (offset % size != 0) {
                access(gicd_base + offset, size, false, 0);
                access(gicr_of(cpu_index()) + offset, size, true, random.pattern());
            }
        }
    }
    return fault_count() - before;
}

/// Executes an instruction that may use x0; returns x0.
u64 run(u32 instruction, u64 x0) {
    u32* place = code[cpu_index()];
    place[0] = instruction;
    place[1] = 0xd65f'03c0; // ret
    sync_code(place, 8);
    register u64 value asm("x0") = x0;
    asm volatile("blr %1" : "+r"(value) : "r"(place) : "x30", "memory");
    return value;
}

/// MRS and MSR of S3_<op1>_C4_C6_<op2> and S3_<op1>_C12_C8..C13_<op2> [§12.2]; the number that were UNDEFINED.
u64 job_encodings(u64) {
    Random random{0xfeed'f00d'0000'0001 + cpu_index()};
    const u64 before = fault_count();
    for (u32 op1 = 0; op1 < 8; ++op1) {
        for (u32 crm = 6; crm < 14; ++crm) {
            if (crm == 7) {
                continue;
            }
            const u32 crn = crm == 6 ? 4 : 12;
            for (u32 op2 = 0; op2 < 8; ++op2) {
                const u32 msr = 0xd518'0000 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
                run(msr | 1U << 21, 0);
                for (const u64 value : {u64{0}, ~u64{0}, random.next(), random.pattern()}) {
                    run(msr, value);
                }
                run(msr | 1U << 21, 0);
            }
        }
    }
    return fault_count() - before;
}

/// All CPUs at once; true when all came back, and what they return is in `low` and `high`.
bool at_once(HelperJob job, u64& low, u64& high) {
    for (unsigned cpu = 1; cpu < cpus; ++cpu) {
        post(cpu, job);
    }
    low = high = job(0);
    bool ok = true;
    for (unsigned cpu = 1; cpu < cpus; ++cpu) {
        const u64 result = answer(cpu, sweep_seconds);
        ok = ok && answered(cpu);
        low = result < low ? result : low;
        high = result > high ? result : high;
    }
    return ok;
}

/// Every register as reset left it [§12.9, §12.11]: what the sweep wrote is gone.
void as_new() {
    report_equal("sweep.reset_ctlr", read32(gicd_ctlr) & 3, 0);
    u32 left = 0;
    for (u32 intid = 32; intid < intid_end(); intid += 32) {
        left |= read32(gicd_isenabler + intid / 8) | read32(gicd_ispendr + intid / 8) |
                read32(gicd_isactiver + intid / 8);
    }
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        const u64 frame = gicr_of(cpu);
        left |= read32(frame + gicr_isenabler0) | read32(frame + gicr_isactiver0) |
                (read32(frame + gicr_ispendr0) & 0xffff);
        report_equal("sweep.reset_waker", read32(frame + gicr_waker) & 6, 6);
    }
    report_equal("sweep.reset_states", left, 0);
    report("sweep.reset_interface",
           icc_rpr() == 0xff && icc_ap1r0() == 0 && icc_ap0r0() == 0 && icc_igrpen1() == 0);
}

SharedWord seen;
void on_irq(u32 intid, u64) {
    if (intid == intid_vtimer) {
        BARE_WRITE("cntv_ctl_el0", 0);
        isb();
    }
    seen.store(seen.load() | u64{1} << intid);
}
bool comes(u32 intid) {
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while ((seen.load() >> intid & 1) == 0) {
        if (now() > end) {
            return false;
        }
        yield();
    }
    return true;
}

void smoke() {
    set_irq_handler(on_irq);
    report("sweep.smoke_init", gic_init(true));
    gic_enable_private(intid_vtimer);
    gic_enable_private(5);
    unmask_irqs();
    send_sgi(5, 0);
    report("sweep.smoke_sgi", comes(5));
    BARE_WRITE("cntv_cval_el0", now() + BARE_READ("cntfrq_el0") / 100);
    BARE_WRITE("cntv_ctl_el0", 1);
    report("sweep.smoke_timer", comes(intid_vtimer));
    mask_irqs();
    report("sweep.smoke_cpus", gicv3_init() && start_helpers(cpus));
    stop_helpers(cpus);
}

} // namespace

void payload() {
    cpus = count_cpus();
    mask_irqs();
    put("sweep: boot\n");
    const int key = get_char(60'000);
    report("sweep.key", key == 's' || key == 'n');
    if (key != 's') {
        as_new();
        smoke();
        return;
    }
    report("sweep.init", gicv3_init());
    report("sweep.helpers", start_helpers(cpus));
    fault_begin();
    u64 low;
    u64 high;
    report("sweep.registers", at_once(job_registers, low, high));
    report("sweep.encodings", at_once(job_encodings, low, high));
    report("sweep.encodings_undefined", low > 0 && low < 7 * 8 * 8 * 6);
    report("sweep.misaligned", at_once(job_misaligned, low, high));
    report_equal("sweep.misaligned_alike", low, high);
    report("sweep.frames", at_once(job_frames, low, high));
    report_equal("sweep.frames_abort_nowhere", high, 0);
    report("sweep.registers_and_encodings",
           at_once([](u64) { return job_registers(0) + job_encodings(0); }, low, high));
    fault_end();
    stop_helpers(cpus);
    hvc(abi::psci_system_reset);
    report("sweep.system_reset", false);
}
