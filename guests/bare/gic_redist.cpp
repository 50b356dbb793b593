// SPDX-License-Identifier: Apache-2.0
// Payload gic_redist: the redistributors' registers [IHI0069 §12.10, §12.11] and the CPU interface's fixed ones [§12.2].
// Every CPU's redistributor is accessed from CPU 0.
#include "guests/bare/rt/gicv3.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

void identification(unsigned cpus) {
    bool affinity = true;
    bool last = true;
    bool halves = true;
    bool revision = true;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        const u64 frame = gicr_of(cpu);
        const u64 typer = read64(frame + gicr_typer);
        affinity = affinity && typer >> 32 == cpu && (typer >> 8 & 0xffff) == cpu;
        last = last && (typer >> 4 & 1) == (cpu + 1 == cpus ? 1U : 0U);
        halves = halves && read32(frame + gicr_typer) == static_cast<u32>(typer) &&
                 read32(frame + gicr_typer + 4) == typer >> 32;
        write64(frame + gicr_typer, 0);
        halves = halves && read64(frame + gicr_typer) == typer;
        // As the distributor's [§12.1.2].
        revision = revision && (read32(frame + gic_pidr2) & 0xf0) == (read32(gicd_base + gic_pidr2) & 0xf0);
    }
    report("gic_redist.typer_affinity", affinity);
    report("gic_redist.typer_last", last);
    report("gic_redist.typer_halves", halves);
    report("gic_redist.pidr2_revision", revision);
    const u64 typer = read64(gicr_of(0) + gicr_typer);
    report("gic_redist.lpis_as_the_distributor_says",
           (typer & 1) != 0 || (read32(gicd_typer) & typer_lpis) == 0);
    report_equal("gic_redist.mpidr", BARE_READ("mpidr_el1") & 0xff'00ff'ffff, 0);
}

/// [§12.11 GICR_WAKER]: ChildrenAsleep follows ProcessorSleep; a CPU that never ran is asleep.
void waker(unsigned cpus) {
    const u64 address = gicr_of(0) + gicr_waker;
    report_equal("gic_redist.waker_awake", read32(address) & 6, 0);
    if (cpus > 1) {
        const u64 other = gicr_of(1) + gicr_waker;
        report_equal("gic_redist.waker_asleep", read32(other) & 6, 6);
        write32(other, 0);
        u32 value = 6;
        for (unsigned i = 0; i < 1000 && (value & 4) != 0; ++i) {
            value = read32(other);
        }
        report_equal("gic_redist.waker_wakes", value & 6, 0);
        write32(other, 2);
        for (unsigned i = 0; i < 1000 && (value & 4) == 0; ++i) {
            value = read32(other);
        }
        report_equal("gic_redist.waker_sleeps", value & 6, 6);
    }
}

void set_and_clear(const char* name, unsigned cpus, u64 set, u64 clear, u32 mask) {
    bool ok = true;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        const u64 frame = gicr_of(cpu);
        const u64 other = gicr_of(cpu == 0 ? cpus - 1 : 0);
        write32(frame + clear, mask);
        gicr_settled(cpu);
        const u32 before = read32(other + set) & mask;
        ok = ok && (read32(frame + set) & mask) == 0;
        write32(frame + set, 0x0ff0'00f0 & mask);
        ok = ok && (read32(frame + set) & mask) == (0x0ff0'00f0 & mask) &&
             read32(frame + clear) == read32(frame + set);
        write32(frame + clear, 0x0f00'0030);
        ok = ok && (read32(frame + set) & mask) == (0x00f0'00c0 & mask);
        ok = ok && (cpus == 1 || (read32(other + set) & mask) == before); // each CPU's own
        write32(frame + clear, mask);
        gicr_settled(cpu);
        ok = ok && (read32(frame + set) & mask) == 0;
        // One word of private interrupts, and no more without extended PPIs (GICR_TYPER.PPInum = 0).
        if (read64(frame + gicr_typer) >> 27 == 0) {
            write32(frame + set + 4, ~0U);
            ok = ok && read32(frame + set + 4) == 0;
        }
    }
    report(name, ok);
}

void word_registers(unsigned cpus) {
    // Interrupts that nothing drives: SGIs, and PPIs but those of timers, PMU, maintenance and so on (22 to 30).
    constexpr u32 quiet = 0x801f'ffff;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        write32(gicr_of(cpu) + gicr_icenabler0, ~0U);
        gicr_settled(cpu);
        write32(gicr_of(cpu) + gicr_icpendr0, ~0U);
        write32(gicr_of(cpu) + gicr_icactiver0, ~0U);
    }
    set_and_clear("gic_redist.enables", cpus, gicr_isenabler0, gicr_icenabler0, ~0U);
    set_and_clear("gic_redist.pending", cpus, gicr_ispendr0, gicr_icpendr0, quiet);
    set_and_clear("gic_redist.active", cpus, gicr_isactiver0, gicr_icactiver0, ~0U);
    bool ok = true;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        const u64 group = gicr_of(cpu) + gicr_igroupr0;
        write32(group, 0x5a5a'5a5a);
        ok = ok && read32(group) == 0x5a5a'5a5a;
        write32(group, ~0U);
        ok = ok && read32(group) == ~0U;
        write32(gicr_of(cpu) + gicr_igrpmodr0, ~0U);
        ok = ok && read32(gicr_of(cpu) + gicr_igrpmodr0) == 0; // two security states only
    }
    report("gic_redist.groups", ok);
}

void priorities(unsigned cpus) {
    bool bytes = true;
    bool mask_like_spis = true;
    write8(gicd_ipriorityr + free_spi, 0xff);
    const u32 mask = read8(gicd_ipriorityr + free_spi);
    write8(gicd_ipriorityr + free_spi, 0x80);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        const u64 first = gicr_of(cpu) + gicr_ipriorityr;
        for (u32 i = 0; i < 32; i += 4) {
            write32(first + i, ~0U);
            mask_like_spis = mask_like_spis && read32(first + i) == mask * 0x0101'0101U;
            write8(first + i + 2, 0x40);
            write8(first + i, 0xc0);
            bytes = bytes && read8(first + i) == 0xc0 && read8(first + i + 1) == mask &&
                    read8(first + i + 2) == 0x40;
            write32(first + i, 0x8080'8080);
        }
    }
    report("gic_redist.priority_bits", mask_like_spis);
    report("gic_redist.priority_bytes", bytes);
}

/// SGIs are always edge-triggered; of PPIs it is IMPLEMENTATION DEFINED [§12.11 GICR_ICFGR0, GICR_ICFGR1].
void configuration() {
    const u64 sgis = gicr_of(0) + gicr_icfgr0;
    report_equal("gic_redist.sgis_are_edge", read32(sgis), 0xaaaa'aaaa);
    write32(sgis, 0);
    report_equal("gic_redist.sgis_stay_edge", read32(sgis), 0xaaaa'aaaa);
    const u64 ppis = gicr_of(0) + gicr_icfgr1;
    const u32 old = read32(ppis);
    write32(ppis, ~0U);
    const u32 ones = read32(ppis);
    write32(ppis, old);
    report("gic_redist.ppis_reserved_bits", (ones & 0x5555'5555) == 0 && read32(ppis) == old);
}

void reserved() {
    bool zero = true;
    const u64 frame = gicr_of(0);
    const auto check = [&](u64 offset) {
        write32(frame + offset, ~0U);
        zero = zero && read32(frame + offset) == 0;
    };
    for (u64 offset = 0x30; offset < 0x40; offset += 4) {
        check(offset);
    }
    for (u64 offset = 0x120; offset < 0xc000; offset += 0x44) {
        check(offset);
    }
    for (u64 offset = gicr_sgi; offset < gicr_sgi + 0x80; offset += 4) {
        check(offset);
    }
    for (u64 offset = gicr_sgi + 0x1000; offset < gicr_sgi + 0xffd0; offset += 0x44) {
        check(offset);
    }
    report("gic_redist.reserved", zero);
}

/// What of the CPU interface can be read back, and the fields that say what there is [§12.2].
void cpu_interface() {
    report_equal("gic_redist.sre", icc_sre(), 7); // RAO/WI without legacy operation
    set_icc_sre(0);
    report_equal("gic_redist.sre_is_fixed", icc_sre(), 7);
    const u64 ctlr = icc_ctlr();
    const u64 bits = (ctlr >> 8 & 7) + 1;
    report("gic_redist.priority_bits_of_interface", bits >= 4 && bits <= 8);
    report("gic_redist.id_bits_of_interface", (ctlr >> 11 & 7) <= 1);
    set_icc_ctlr(icc_ctlr_eoimode | icc_ctlr_cbpr);
    report_equal("gic_redist.ctlr_modes", icc_ctlr() & 3, 3);
    set_icc_ctlr(~u64{0x43}); // read-only fields; not PMHE, CBPR and EOImode
    report_equal("gic_redist.ctlr_read_only", icc_ctlr(), ctlr);
    set_icc_ctlr(0);
    set_icc_pmr(0xff);
    const u64 mask = 0xff & 0xff << (8 - bits);
    report_equal("gic_redist.pmr_bits", icc_pmr(), mask); // low bits are RAZ/WI
    set_icc_pmr(0x50);
    report_equal("gic_redist.pmr", icc_pmr(), 0x50);
    set_icc_pmr(0xff);
    // A binary point below the smallest is set to that; Group 1's is one more than Group 0's [§12.2 ICC_BPR1_EL1].
    set_icc_bpr0(0);
    set_icc_bpr1(0);
    const u64 least0 = icc_bpr0();
    const u64 least1 = icc_bpr1();
    report("gic_redist.bpr_least", least0 <= 3 && least1 == least0 + 1);
    set_icc_bpr0(7);
    set_icc_bpr1(7);
    report("gic_redist.bpr_largest", icc_bpr0() == 7 && icc_bpr1() == 7);
    set_icc_bpr0(0);
    set_icc_bpr1(0);
    set_icc_igrpen0(~u64{0});
    set_icc_igrpen1(~u64{0});
    report("gic_redist.group_enables", icc_igrpen0() == 1 && icc_igrpen1() == 1);
    set_icc_igrpen0(0);
    set_icc_igrpen1(0);
    report("gic_redist.group_disables", icc_igrpen0() == 0 && icc_igrpen1() == 0);
    report_equal("gic_redist.idle_priority", icc_rpr(), 0xff);
    report("gic_redist.nothing_active", icc_ap0r0() == 0 && icc_ap1r0() == 0);
}

} // namespace

void payload() {
    const unsigned cpus = count_cpus();
    report("gic_redist.init", gicv3_init());
    identification(cpus);
    waker(cpus);
    word_registers(cpus);
    priorities(cpus);
    configuration();
    reserved();
    cpu_interface();
}
