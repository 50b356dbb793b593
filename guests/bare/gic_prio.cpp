// SPDX-License-Identifier: Apache-2.0
// Payload gic_prio: what the CPU interface signals and acknowledges [IHI0069 §4.8, §12.2]: priority mask, preemption and
// binary points, running priority, groups as FIQ and IRQ, special INTIDs, both EOI modes, interrupts nested in handlers, and
// more active ones than any CPU has list registers.
#include <initializer_list>

#include "guests/bare/rt/gicv3.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u32 a = free_spi;
constexpr u32 b = free_spi + 1;
constexpr u32 c = free_spi + 2;
constexpr u32 sgi = 4; // all of them are alike for the CPU interface
u32 step;              // distance of neighbouring priorities that preempt each other

void raise(u32 intid) {
    set_irq_bit(gicd_ispendr, intid);
}
void quiet(std::initializer_list<u32> intids) {
    for (const u32 intid : intids) {
        quiesce(intid);
    }
    report("gic_prio.quiet", keeps(0) && icc_rpr() == 0xff && icc_ap0r0() == 0 && icc_ap1r0() == 0);
}
/// Takes `intid` now, as group 1; the running priority becomes `running`.
bool takes(u32 intid, u64 running) {
    return signals(isr_irq) && acknowledge1() == intid && icc_rpr() == running;
}

/// Only what is above the mask is signalled; it is pending all the same [§4.8.6, §12.2 ICC_PMR_EL1].
void mask() {
    prepare(a, 0x80);
    raise(a);
    report("gic_prio.above_the_mask", signals(isr_irq));
    set_icc_pmr(0x80);
    report("gic_prio.at_the_mask", keeps(0) && is_pending(a) && acknowledge1() == no_intid);
    set_icc_pmr(0x80 + step);
    report("gic_prio.mask_lifted", signals(isr_irq));
    set_icc_pmr(0);
    report("gic_prio.mask_everything", keeps(0));
    set_icc_pmr(0xff);
    report("gic_prio.mask_off", signals(isr_irq));
    set_priority(a, 0xf0);
    set_icc_pmr(0xf0);
    report("gic_prio.new_priority_is_masked", keeps(0));
    set_priority(a, 0x70);
    report("gic_prio.new_priority_is_signalled", signals(isr_irq));
    report("gic_prio.taken", takes(a, 0x70));
    set_icc_pmr(0xff);
    end1(a);
    quiet({a});
}

/// The most urgent first; among equals the smaller INTID, which QEMU and list registers both choose though the architecture
/// leaves it open [§4.8]. Of different priorities the choice is not open.
void order() {
    prepare(a, 0xa0);
    prepare(b, 0x90);
    prepare(c, 0x98);
    prepare(sgi, 0x20);
    for (const u32 intid : {a, b, c, sgi}) {
        raise(intid);
    }
    report_equal("gic_prio.highest_pending", icc_hppir1(), sgi);
    bool ok = true;
    for (const u32 intid : {sgi, b, c, a}) {
        ok = signals(isr_irq) && acknowledge1() == intid && ok;
        end1(intid);
    }
    report("gic_prio.by_priority", ok);
    report("gic_prio.none_left", acknowledge1() == no_intid && icc_hppir1() == no_intid);
    quiet({a, b, c, sgi});
}

/// An active interrupt keeps out all that is not more urgent [§4.8.4].
void preemption() {
    prepare(a, 0x80);
    prepare(b, 0x80);
    prepare(c, 0x80 - step);
    raise(a);
    report("gic_prio.first", takes(a, 0x80));
    raise(b);
    report("gic_prio.equal_waits", keeps(0) && acknowledge1() == no_intid);
    raise(c);
    report("gic_prio.more_urgent_preempts", takes(c, 0x80 - step));
    report("gic_prio.active_levels", (icc_ap1r0() & (icc_ap1r0() - 1)) != 0 && icc_ap0r0() == 0);
    set_priority(b, 0x20);
    report("gic_prio.raised_priority_preempts", takes(b, 0x20));
    end1(b);
    report_equal("gic_prio.running_after_one_end", icc_rpr(), 0x80 - step);
    end1(c);
    report_equal("gic_prio.running_after_two_ends", icc_rpr(), 0x80);
    end1(a);
    quiet({a, b, c});
}

/// The binary point splits a priority: the upper part decides preemption, all of it the order [§4.8.2]. ICC_BPR0_EL1 = n:
/// bits 7:n+1; ICC_BPR1_EL1 = n: bits 7:n.
void binary_point() {
    set_icc_bpr1(5); // groups of 32
    prepare(a, 0x90);
    prepare(b, 0x80);
    prepare(c, 0x78);
    raise(a);
    report("gic_prio.group_priority_runs", takes(a, 0x80));
    raise(b);
    report("gic_prio.same_group_waits", keeps(0));
    raise(c);
    report("gic_prio.next_group_preempts", takes(c, 0x60));
    end1(c);
    end1(a);
    report("gic_prio.waited", takes(b, 0x80));
    end1(b);
    // All in one group: nothing preempts.
    set_icc_bpr1(7);
    set_priority(a, 0x78);
    raise(a);
    report("gic_prio.bpr_7_two_groups", takes(a, 0));
    set_priority(b, 0);
    raise(b);
    report("gic_prio.bpr_7_waits", keeps(0));
    end1(a);
    report("gic_prio.bpr_7_next", takes(b, 0));
    end1(b);
    // CBPR: Group 1 uses Group 0's, bits 7:n+1, and ICC_BPR1_EL1 shows it plus one [§12.2 ICC_CTLR_EL1.CBPR].
    set_icc_bpr1(3);
    set_icc_bpr0(5); // groups of 64
    set_icc_ctlr(icc_ctlr_cbpr);
    report_equal("gic_prio.common_point_reads", icc_bpr1(), 6);
    set_icc_bpr1(3);
    report_equal("gic_prio.common_point_ignores_writes", icc_bpr1(), 6);
    set_priority(a, 0xb0);
    set_priority(b, 0x88);
    raise(a);
    report("gic_prio.common_point_runs", takes(a, 0x80));
    raise(b);
    report("gic_prio.common_point_waits", keeps(0));
    set_icc_ctlr(0);
    report_equal("gic_prio.own_point_is_still_there", icc_bpr1(), 3);
    set_icc_ctlr(icc_ctlr_cbpr);
    end1(a);
    report("gic_prio.common_point_then", takes(b, 0x80));
    end1(b);
    set_icc_ctlr(0);
    set_icc_bpr0(0);
    set_icc_bpr1(0);
    quiet({a, b, c});
}

/// Group 0 is signalled as FIQ, group 1 as IRQ; each has its acknowledge, and sees 1023 of the other [§4.6, §12.2].
void groups() {
    prepare(a, 0x80, 0);
    prepare(b, 0x90, 1);
    raise(a);
    report("gic_prio.group0_is_fiq", signals(isr_fiq));
    report("gic_prio.group0_not_by_iar1", acknowledge1() == no_intid && icc_hppir1() == no_intid);
    report("gic_prio.group0_highest", icc_hppir0() == a);
    raise(b);
    report("gic_prio.group1_behind", keeps(isr_fiq) && acknowledge1() == no_intid);
    report_equal("gic_prio.group0_taken", acknowledge0(), a);
    report("gic_prio.group0_runs", icc_rpr() == 0x80 && icc_ap0r0() != 0 && icc_ap1r0() == 0 && keeps(0));
    set_priority(b, 0x70);
    report("gic_prio.group1_preempts_group0", takes(b, 0x70));
    report("gic_prio.both_active", icc_ap0r0() != 0 && icc_ap1r0() != 0);
    end1(b);
    end0(a);
    // An interface's group enable, and the distributor's.
    raise(a);
    raise(b);
    report("gic_prio.group1_first", signals(isr_irq) && acknowledge0() == no_intid);
    set_icc_igrpen1(0);
    // What the interface has off does not keep the other group's out [§4.6.2]. QEMU's physical interface lets it.
    report("gic_prio.interface_group1_off", has_option("bare") ? keeps(0) : signals(isr_fiq));
    set_icc_igrpen0(0);
    report("gic_prio.interface_both_off", keeps(0));
    set_icc_igrpen0(1);
    set_icc_igrpen1(1);
    report("gic_prio.interface_on_again", signals(isr_irq));
    write32(gicd_ctlr, ctlr_are | ctlr_group0);
    report("gic_prio.distributor_group1_off", gicd_settled() && signals(isr_fiq) && is_pending(b));
    write32(gicd_ctlr, ctlr_are);
    report("gic_prio.distributor_both_off",
           gicd_settled() && keeps(0) && acknowledge0() == no_intid && is_pending(a));
    write32(gicd_ctlr, ctlr_are | ctlr_group0 | ctlr_group1);
    report("gic_prio.distributor_on_again", signals(isr_irq));
    set_group(b, 0); // moves while it is pending
    report("gic_prio.moved_to_group0", signals(isr_fiq) && acknowledge0() == b);
    end0(b);
    report_equal("gic_prio.then_the_other", acknowledge0(), a);
    end0(a);
    quiet({a, b});
}

/// 1020 to 1023 may be written to an end register; nothing happens [§2.2.1, §12.2 ICC_EOIR1_EL1].
void special() {
    prepare(a);
    raise(a);
    report("gic_prio.special_taken", takes(a, 0x80));
    for (u32 intid = 1020; intid < 1024; ++intid) {
        end1(intid);
        end0(intid);
    }
    report("gic_prio.special_ends_nothing", icc_rpr() == 0x80 && is_active(a));
    end1(a);
    quiet({a});
}

/// EOImode 1: the end drops the priority, ICC_DIR_EL1 deactivates, in any order among interrupts [§4.1.1].
void split_end() {
    set_icc_ctlr(icc_ctlr_eoimode);
    prepare(a, 0x80);
    prepare(b, 0x80);
    prepare(sgi, 0x60);
    raise(a);
    report("gic_prio.split_taken", takes(a, 0x80));
    end1(a);
    report("gic_prio.split_drops_priority", icc_rpr() == 0xff && is_active(a));
    raise(a);
    report("gic_prio.split_still_active", keeps(0) && is_pending(a));
    raise(b);
    report("gic_prio.split_other", takes(b, 0x80));
    raise(sgi);
    report("gic_prio.split_nested", takes(sgi, 0x60));
    end1(sgi);
    end1(b);
    deactivate(a); // the oldest first
    report("gic_prio.split_any_order", !is_active(a) && is_active(b) && is_active(sgi));
    report("gic_prio.split_pending_again", takes(a, 0x80));
    deactivate(sgi);
    report("gic_prio.split_before_end", !is_active(sgi) && is_active(b) && icc_rpr() == 0x80);
    deactivate(a); // deactivated before its priority is dropped
    report("gic_prio.split_reversed", !is_active(a) && icc_rpr() == 0x80);
    end1(a);
    deactivate(b);
    report("gic_prio.split_all_gone", icc_rpr() == 0xff && !is_active(b));
    deactivate(b); // not active: nothing
    deactivate(1023);
    set_icc_ctlr(0);
    quiet({a, b, sgi});
}

/// Ten SGIs and five SPIs, each more urgent than the one before: all active at once [§4.8.3: one for each level].
void deep() {
    constexpr u32 sgis = 10;
    const auto intid_of = [](u32 i) { return i < sgis ? i : free_spi + i - sgis; };
    const auto priority_of = [](u32 i) { return 0xf0 - 0x10 * i; };
    constexpr u32 count = 15;
    bool taken = true;
    for (u32 i = 0; i < count; ++i) {
        const u32 intid = intid_of(i);
        prepare(intid, priority_of(i));
        raise(intid);
        taken = takes(intid, priority_of(i)) && taken;
        raise(intid); // again, for later
    }
    report("gic_prio.deep_taken", taken);
    bool states = true;
    for (u32 i = 0; i < count; ++i) {
        states = states && is_active(intid_of(i)) && is_pending(intid_of(i));
    }
    report("gic_prio.deep_states", states && keeps(0));
    bool ended = true;
    for (u32 i = count; i-- != 0;) {
        ended = ended && icc_rpr() == priority_of(i);
        end1(intid_of(i));
        ended = ended && !is_active(intid_of(i)) && takes(intid_of(i), priority_of(i));
        end1(intid_of(i));
        ended = ended && !is_active(intid_of(i));
    }
    report("gic_prio.deep_ended", ended);
    for (u32 i = 0; i < count; ++i) {
        quiesce(intid_of(i));
    }
    quiet({});
}

/// The same with EOImode 1, deactivated in the order of acknowledge, with others pending.
void deep_split() {
    set_icc_ctlr(icc_ctlr_eoimode);
    constexpr u32 count = 16;
    bool taken = true;
    for (u32 i = 0; i < count; ++i) {
        prepare(i, 0x80);
        raise(i);
        taken = takes(i, 0x80) && taken;
        end1(i);
    }
    prepare(a, 0xc0);
    raise(a);
    report("gic_prio.deep_split_taken", taken && takes(a, 0xc0));
    bool ended = true;
    for (u32 i = 0; i < count; ++i) {
        ended = ended && is_active(i);
        deactivate(i);
        ended = ended && !is_active(i) && (i + 1 == count || is_active(i + 1)) && is_active(a);
    }
    report("gic_prio.deep_split_ended", ended && icc_rpr() == 0xc0);
    end1(a);
    deactivate(a);
    set_icc_ctlr(0);
    for (u32 i = 0; i < count; ++i) {
        quiesce(i);
    }
    quiet({a});
}

// ---- by exceptions: a handler that is itself interrupted ----
SharedWord trace;
void on_irq(u32 intid, u64) {
    trace.store(trace.load() << 8 | intid);
    if (intid == a) {
        raise(b);
        unmask_irqs();
        signals(0); // b comes here
        mask_irqs();
        trace.store(trace.load() << 8 | 0xff);
    }
}
void on_fiq(u32 intid) {
    trace.store(trace.load() << 8 | intid);
}

void exceptions() {
    set_irq_handler(on_irq);
    set_fiq_handler(on_fiq);
    prepare(a, 0x80);
    prepare(b, 0x40);
    prepare(c, 0x80, 0);
    trace.store(0);
    raise(a);
    unmask_irqs();
    signals(0);
    mask_irqs();
    report_equal("gic_prio.nested_handlers", trace.load(), a << 16 | b << 8 | 0xff);
    trace.store(0);
    raise(c);
    unmask_irqs();
    report("gic_prio.fiq_masked", keeps(isr_fiq) && trace.load() == 0);
    unmask_fiqs();
    signals(0);
    mask_fiqs();
    mask_irqs();
    report_equal("gic_prio.fiq_taken", trace.load(), c);
    quiet({a, b, c});
}

} // namespace

void payload() {
    mask_irqs();
    report("gic_prio.init", gicv3_init());
    step = 1U << icc_bpr1();
    mask();
    order();
    preemption();
    binary_point();
    groups();
    special();
    split_end();
    deep();
    deep_split();
    exceptions();
}
