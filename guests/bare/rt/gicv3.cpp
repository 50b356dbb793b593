// SPDX-License-Identifier: Apache-2.0
// The other half of gicv3.hpp.
#include "guests/bare/rt/gicv3.hpp"

namespace atl::bare {
namespace {

constexpr unsigned a_while = 300; // polls of something that must not happen

struct Mailbox {
    SharedWord job; // HelperJob, or stop_word
    SharedWord argument;
    SharedWord result;
    SharedWord asked; // counts up; `answered` follows
    SharedWord answered;
};
Mailbox mailboxes[max_cpus];
FiqHandler fiq_handler = nullptr;

bool wait_zero(u64 address, u32 bits) {
    return wait_until([=] { return (read32(address) & bits) == 0; });
}

u64 word_of(u64 gicd_register, u32 intid) {
    return intid < 32 ? gicd_register - gicd_base + gicr_of(cpu_index()) + gicr_sgi
                      : gicd_register + intid / 32 * 4;
}

void serve(u64 index, u64) {
    Mailbox& box = mailboxes[index];
    gicv3_init();
    box.answered.store(1);
    for (u64 done = 1;;) {
        if (box.asked.load() == done) {
            asm volatile("wfe" ::: "memory");
            continue;
        }
        const u64 job = box.job.load();
        if (job == 0) {
            return; // CPU_OFF
        }
        box.result.store(reinterpret_cast<HelperJob>(job)(box.argument.load()));
        box.answered.store(++done);
    }
}

bool wait_answer(Mailbox& box, u64 number, unsigned seconds = 5) {
    const u64 end = now() + seconds * BARE_READ("cntfrq_el0");
    while (box.answered.load() != number) {
        if (now() > end) {
            return false;
        }
        yield();
    }
    return true;
}

} // namespace

bool signals(u64 want) {
    dsb();
    return wait_until([=] { return signalled() == want; });
}

bool keeps(u64 want) {
    gicd_settled();
    gicr_settled(cpu_index());
    for (unsigned i = 0; i < a_while; ++i) {
        if (signalled() != want) {
            return false;
        }
    }
    return true;
}

unsigned count_cpus() {
    unsigned cpus = 1;
    while (cpus < max_cpus && (read32(gicr_of(cpus - 1) + gicr_typer) & 0x10) == 0) {
        ++cpus;
    }
    return cpus;
}

u32 intid_end() {
    const u32 end = 32 * ((read32(gicd_typer) & 0x1f) + 1);
    return end < 1020 ? end : 1020;
}

bool gicd_settled() {
    dsb();
    return wait_zero(gicd_ctlr, ctlr_rwp);
}
bool gicr_settled(unsigned cpu) {
    dsb();
    return wait_zero(gicr_of(cpu) + gicr_ctlr, 1U << 3);
}

bool irq_bit(u64 gicd_register, u32 intid) {
    return (read32(word_of(gicd_register, intid)) >> (intid % 32) & 1) != 0;
}
void set_irq_bit(u64 gicd_register, u32 intid) {
    write32(word_of(gicd_register, intid), 1U << (intid % 32));
    dsb();
}

void set_group(u32 intid, unsigned group) {
    const u64 word = word_of(gicd_igroupr, intid);
    const u32 bit = 1U << (intid % 32);
    write32(word, group != 0 ? read32(word) | bit : read32(word) & ~bit);
    dsb();
}
void set_priority(u32 intid, u32 priority) {
    const u64 base = intid < 32 ? gicr_of(cpu_index()) + gicr_ipriorityr : gicd_ipriorityr;
    write8(base + intid, priority);
    dsb();
}
void set_edge(u32 intid, bool edge) {
    const u64 word = gicd_icfgr + intid / 16 * 4;
    const u32 bit = 2U << (intid % 16 * 2);
    write32(word, edge ? read32(word) | bit : read32(word) & ~bit);
    dsb();
}

void quiesce(u32 intid) {
    set_irq_bit(gicd_icenabler, intid);
    gicd_settled();
    gicr_settled(cpu_index());
    if (intid >= 32) {
        set_edge(intid, true);
        write64(gicd_irouter + u64{intid} * 8, 0);
    }
    set_irq_bit(gicd_icpendr, intid);
    set_irq_bit(gicd_icactiver, intid);
    set_group(intid, 1);
    set_priority(intid, 0x80);
}
void prepare(u32 intid, u32 priority, unsigned group) {
    quiesce(intid);
    set_group(intid, group);
    set_priority(intid, priority);
    set_irq_bit(gicd_isenabler, intid);
}

bool gicv3_init() {
    bool ok = gic_init(cpu_index() == 0);
    if (cpu_index() == 0) {
        write32(gicd_ctlr, ctlr_are | ctlr_group0 | ctlr_group1);
        ok = gicd_settled() && ok;
    }
    set_icc_bpr0(0);
    set_icc_bpr1(0);
    set_icc_igrpen0(1);
    return ok;
}

void set_fiq_handler(FiqHandler handler) {
    fiq_handler = handler;
    dsb();
}

bool start_helpers(unsigned count) {
    bool ok = true;
    for (unsigned cpu = 1; cpu < count; ++cpu) {
        mailboxes[cpu] = {};
        mailboxes[cpu].asked.store(1);
        ok = cpu_on(cpu, serve, cpu) == 0 && wait_answer(mailboxes[cpu], 1) && ok;
    }
    return ok;
}

void post(unsigned cpu, HelperJob job, u64 argument) {
    Mailbox& box = mailboxes[cpu];
    box.job.store(reinterpret_cast<u64>(job));
    box.argument.store(argument);
    box.asked.store(box.asked.load() + 1);
    asm volatile("dsb sy\n sev" ::: "memory");
}

bool answered(unsigned cpu) {
    return mailboxes[cpu].answered.load() == mailboxes[cpu].asked.load();
}

u64 answer(unsigned cpu, unsigned seconds) {
    Mailbox& box = mailboxes[cpu];
    if (!wait_answer(box, box.asked.load(), seconds)) {
        report("gicv3.helper_answers", false);
        return 0;
    }
    return box.result.load();
}

void stop_helpers(unsigned count) {
    for (unsigned cpu = 1; cpu < count; ++cpu) {
        post(cpu, nullptr);
        wait_cpu_off(cpu);
    }
}

} // namespace atl::bare

using namespace atl;
using namespace atl::bare;

extern "C" void fiq_dispatch() {
    const u32 intid = acknowledge0();
    if (intid >= 1020 && intid <= 1023) {
        return;
    }
    if (fiq_handler == nullptr) {
        put("FAIL exception: an FIQ that nobody expects\n");
        hvc(abi::psci_system_off);
    }
    fiq_handler(intid);
    end0(intid);
}
