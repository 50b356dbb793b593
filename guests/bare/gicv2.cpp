// SPDX-License-Identifier: Apache-2.0
// Payload gicv2: what the book says of a GICv2 [IHI0048B], on two CPUs: banked registers, targets, SGIs of several senders,
// active state, preemption, and deactivation in any order of more interrupts than a hypervisor has list registers. The
// bare machine passes it too. Interrupts stay masked: what is pending is acknowledged by hand.
#include "guests/bare/rt/rt.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u64 gicd_ctlr = gicd_base + 0x000;
constexpr u64 gicd_typer = gicd_base + 0x004;
constexpr u64 gicd_isenabler = gicd_base + 0x100;
constexpr u64 gicd_icenabler = gicd_base + 0x180;
constexpr u64 gicd_ispendr = gicd_base + 0x200;
constexpr u64 gicd_icpendr = gicd_base + 0x280;
constexpr u64 gicd_isactiver = gicd_base + 0x300;
constexpr u64 gicd_icactiver = gicd_base + 0x380;
constexpr u64 gicd_ipriorityr = gicd_base + 0x400;
constexpr u64 gicd_itargetsr = gicd_base + 0x800;
constexpr u64 gicd_icfgr = gicd_base + 0xc00;
constexpr u64 gicd_sgir = gicd_base + 0xf00;
constexpr u64 gicd_cpendsgir = gicd_base + 0xf10;
constexpr u64 gicd_spendsgir = gicd_base + 0xf20;
constexpr u64 gicc_ctlr = gicc_base + 0x000;
constexpr u64 gicc_iar = gicc_base + 0x00c;
constexpr u64 gicc_eoir = gicc_base + 0x010;
constexpr u64 gicc_rpr = gicc_base + 0x014;
constexpr u64 gicc_hppir = gicc_base + 0x018;
constexpr u64 gicc_dir = gicc_base + 0x1000;

constexpr u32 spurious = 1023;
constexpr u32 sgi_list = 0, sgi_others = 1U << 24, sgi_self = 2U << 24;
constexpr u32 first_spi = 48; // no device of virt's has these
constexpr unsigned many = 9;  // active at once; no hypervisor on this machine has so many list registers

enum Order : u64 { none, send_others, send_seven, look, stop };
SharedWord order;
SharedWord answer;

u32 iar(u32 intid, unsigned sender) {
    return intid | sender << 10;
}

/// The other CPU: does as it is told.
void secondary(u64, u64) {
    gic_init(false);
    for (;;) {
        const u64 what = order.load();
        if (what == none) {
            yield();
            continue;
        }
        if (what == send_others) {
            write32(gicd_sgir, sgi_others | 6);
        } else if (what == send_seven) {
            write32(gicd_sgir, sgi_list | 1U << 16 | 7);
        } else if (what == look) {
            answer.store(read32(gicd_itargetsr));
        }
        dsb();
        order.store(none);
        if (what == stop) {
            return;
        }
    }
}

void tell(Order what) {
    order.store(what);
    const u64 end = now() + 2 * BARE_READ("cntfrq_el0");
    while (order.load() != none && now() < end) {
        yield();
    }
    report("gicv2.other_cpu", order.load() == none);
}

/// GICC_IAR of what is pending here, or spurious after a while: what another CPU has to give up or send takes a moment.
u32 acknowledge(u64 milliseconds = 2000) {
    const u64 end = now() + BARE_READ("cntfrq_el0") * milliseconds / 1000;
    for (;;) {
        const u32 value = read32(gicc_iar);
        if (value != spurious || now() > end) {
            return value;
        }
    }
}

void take(const char* name, u32 want) {
    const u32 got = want == spurious ? acknowledge(10) : acknowledge();
    report_equal(name, got, want);
    if (got != spurious) {
        write32(gicc_eoir, got);
    }
}

void registers() {
    const u32 typer = read32(gicd_typer);
    report_equal("gicv2.typer_cpus", typer >> 5 & 7, 1);
    report_equal("gicv2.typer_no_security", typer >> 10 & 1, 0);
    report("gicv2.typer_lines", (typer & 31) >= 2);
    report_equal("gicv2.pidr2_revision", read32(gicd_base + 0xfe8) >> 4 & 15, 2);
    write32(gicd_ctlr, 3);
    report_equal("gicv2.both_groups", read32(gicd_ctlr), 3);
    write32(gicd_ctlr, 1);
    report_equal("gicv2.targets_of_private", read32(gicd_itargetsr), 0x0101'0101);
    write32(gicd_itargetsr, 0);
    report_equal("gicv2.targets_of_private_are_fixed", read8(gicd_itargetsr + 3), 1);
    tell(look);
    report_equal("gicv2.targets_are_banked", answer.load(), 0x0202'0202);
    write32(gicd_itargetsr + first_spi, 0x0303'0303);
    report_equal("gicv2.targets", read32(gicd_itargetsr + first_spi), 0x0303'0303);
    write8(gicd_itargetsr + first_spi + 1, 2);
    report_equal("gicv2.targets_by_byte", read32(gicd_itargetsr + first_spi), 0x0303'0203);
    write8(gicd_ipriorityr + first_spi + 2, 0x58);
    report_equal("gicv2.priority_by_byte", read32(gicd_ipriorityr + first_spi) >> 16 & 0xff, 0x58);
    report_equal("gicv2.sgis_are_edges", read32(gicd_icfgr), 0xaaaa'aaaa);
    report_equal("gicv2.spurious", read32(gicc_iar), spurious);
    report_equal("gicv2.idle_running_priority", read32(gicc_rpr), 0xff);
}

void sgis() {
    write32(gicd_isenabler, 0xffff);
    write32(gicd_sgir, sgi_self | 5);
    take("gicv2.sgi_to_self", iar(5, 0));
    write32(gicd_sgir, sgi_list | 1U << 16 | 4);
    take("gicv2.sgi_by_list", iar(4, 0));
    write32(gicd_sgir, sgi_list | 4);
    write32(gicd_sgir, sgi_others | 4);
    take("gicv2.sgi_to_nobody_here", spurious);
    tell(send_others);
    take("gicv2.sgi_to_others_names_the_sender", iar(6, 1));
    // The same SGI of two senders pends twice.
    tell(send_seven);
    tell(send_seven);
    write32(gicd_sgir, sgi_list | 1U << 16 | 7);
    report_equal("gicv2.both_senders_pend", read8(gicd_cpendsgir + 7), 3);
    report_equal("gicv2.same_in_spendsgir", read32(gicd_spendsgir + 4) >> 24, 3);
    report_equal("gicv2.ispendr", read32(gicd_ispendr) & 0xffff, 1U << 7);
    write32(gicd_icpendr, 1U << 7);
    report_equal("gicv2.icpendr_spares_sgis", read32(gicd_ispendr) & 0xffff, 1U << 7);
    report_equal("gicv2.hppir", read32(gicc_hppir) & 0x3ff, 7);
    const u32 first = acknowledge();
    report("gicv2.first_sender", first == iar(7, 0) || first == iar(7, 1));
    report_equal("gicv2.the_other_still_pends", read8(gicd_cpendsgir + 7), first == iar(7, 0) ? 2 : 1);
    report_equal("gicv2.sgi_is_active", read32(gicd_isactiver) & 0xffff, 1U << 7);
    write32(gicc_eoir, first);
    take("gicv2.second_sender", first ^ iar(0, 1));
    take("gicv2.no_third", spurious);
    write8(gicd_spendsgir + 9, 3);
    write8(gicd_cpendsgir + 9, 1);
    take("gicv2.spendsgir", iar(9, 1));
    take("gicv2.cpendsgir", spurious);
}

void prepare_spis() {
    for (u32 i = 0; i < many; ++i) {
        const u32 spi = first_spi + i;
        gic_enable_shared(spi); // edge, to CPU 0
        write8(gicd_ipriorityr + spi, 0xe0 - 0x10 * i);
    }
}
void pend(u32 spi) {
    write32(gicd_ispendr + spi / 32 * 4, 1U << spi % 32);
}
u32 active_spis() {
    return read32(gicd_isactiver + first_spi / 32 * 4) >> first_spi % 32 & ((1U << many) - 1);
}

void spis() {
    prepare_spis();
    pend(first_spi);
    pend(first_spi + 1);
    report_equal("gicv2.most_urgent_first", acknowledge(), first_spi + 1);
    report_equal("gicv2.running_priority", read32(gicc_rpr), 0xd0);
    report_equal("gicv2.less_urgent_waits", read32(gicc_iar), spurious);
    pend(first_spi + 2);
    report_equal("gicv2.preemption", acknowledge(), first_spi + 2);
    report_equal("gicv2.active", active_spis(), 6);
    write32(gicc_eoir, first_spi + 2);
    write32(gicc_eoir, first_spi + 1);
    take("gicv2.then_the_other", first_spi);
    report_equal("gicv2.nothing_active", active_spis(), 0);
    write8(gicd_itargetsr + first_spi, 2); // the other CPU's
    pend(first_spi);
    take("gicv2.not_our_target", spurious);
    write8(gicd_itargetsr + first_spi, 1);
    take("gicv2.back_to_us", first_spi);
}

/// What QEMU's GIC does otherwise, or the book leaves open.
void guests_only() {
    write32(gicd_itargetsr + first_spi, 0xffff'ffff);
    report_equal("gicv2.targets_that_exist", read32(gicd_itargetsr + first_spi), 0x0303'0303);
    write32(gicd_sgir, 3U << 24 | 1U << 16 | 4);
    take("gicv2.reserved_filter", spurious);
    write32(gicd_icenabler, 1U << 9);
    write8(gicd_spendsgir + 9, 1);
    take("gicv2.disabled_sgi_waits", spurious);
    write32(gicd_isenabler, 1U << 9);
    take("gicv2.and_comes_when_enabled", iar(9, 0));
    write8(gicd_itargetsr + first_spi, 0);
    pend(first_spi);
    take("gicv2.no_target", spurious);
    write8(gicd_itargetsr + first_spi, 1);
    take("gicv2.target_again", first_spi);
}

/// Nested acknowledges of `many`, EOIs in the reverse order; with EOImode = 0 they deactivate, too.
void nest(const char* name) {
    u32 wrong = 0;
    for (u32 i = 0; i < many; ++i) {
        pend(first_spi + i);
        wrong += acknowledge() != first_spi + i ? 1 : 0;
    }
    wrong += active_spis() != (1U << many) - 1 ? 1 : 0;
    for (u32 i = many; i-- > 0;) {
        write32(gicc_eoir, first_spi + i);
    }
    report_equal(name, wrong, 0);
}

void deep_nesting() {
    nest("gicv2.nine_nested");
    report_equal("gicv2.nine_ended", active_spis(), 0);
    // Priority drop apart from deactivation, which then may come in any order.
    write32(gicc_ctlr, 1 | 1U << 9);
    nest("gicv2.nine_dropped");
    report_equal("gicv2.all_still_active", active_spis(), (1U << many) - 1);
    report_equal("gicv2.priority_is_dropped", read32(gicc_rpr), 0xff);
    pend(first_spi + 4);
    take("gicv2.active_is_not_taken_twice", spurious);
    u32 left = (1U << many) - 1;
    u32 wrong = 0;
    static const u32 ends[] = {2, 7, 0, 8, 5, 1, 6, 3};
    for (const u32 i : ends) {
        write32(gicc_dir, first_spi + i);
        left &= ~(1U << i);
        wrong += active_spis() != left ? 1 : 0;
    }
    report_equal("gicv2.any_order_of_dir", wrong, 0);
    write32(gicc_dir, first_spi + 4);
    report_equal("gicv2.taken_again_after_dir", acknowledge(), first_spi + 4);
    write32(gicc_eoir, first_spi + 4);
    write32(gicd_icactiver + first_spi / 32 * 4, 1U << (first_spi + 4) % 32);
    report_equal("gicv2.icactiver", active_spis(), 0);
    write32(gicc_ctlr, 1);
    nest("gicv2.and_as_before");
    report_equal("gicv2.as_before_ended", active_spis(), 0);
}

} // namespace

void payload() {
    report("gicv2.device_tree", gic_is_v2());
    report("gicv2.init", gic_init(true));
    report_equal("gicv2.cpu_on", static_cast<u64>(cpu_on(1, secondary, 0)), 0);
    registers();
    sgis();
    spis();
    if (!has_option("bare")) {
        guests_only();
        prepare_spis();
    }
    deep_nesting();
    tell(stop);
    report("gicv2.cpu_off", wait_cpu_off(1));
}
