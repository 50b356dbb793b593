// SPDX-License-Identifier: Apache-2.0
// Payload gic_state: inactive, pending, active, active and pending [IHI0069 §4.1.2], for edge and level-sensitive SPIs, SGIs
// and PPIs, by what devices, software, acknowledges and register writes do to them. IRQs are masked in PSTATE throughout.
#include "guests/bare/rt/gicv3.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u32 uart_spi = 33; // QEMU's virt and Atoll alike
constexpr u32 rtc_spi = 34;

/// An interrupt's state as its registers show it.
constexpr unsigned inactive = 0;
constexpr unsigned pending = 1;
constexpr unsigned active = 2;
unsigned state(u32 intid) {
    return (is_pending(intid) ? pending : inactive) | (is_active(intid) ? active : inactive);
}

void expect(const char* name, u32 intid, unsigned want_state, u64 want_signal) {
    if (intid == intid_vtimer) {
        // Its registers do not trap, so Atoll sees that the line has fallen when it next runs [docs/interrupts.md].
        state(intid);
    }
    const bool ok = signals(want_signal) && state(intid) == want_state;
    if (!ok) {
        put("gic_state: INTID ");
        put_dec(intid);
        put(" state ");
        put_dec(state(intid));
        put(" signal ");
        put_hex(signalled());
        put("\n");
    }
    report(name, ok);
}

/// Edge-triggered, or made pending by software: pending is left at the acknowledge.
void latched(u32 intid, const char* const names[8]) {
    prepare(intid);
    set_irq_bit(gicd_ispendr, intid);
    expect(names[0], intid, pending, isr_irq);
    bool ok = acknowledge1() == intid;
    expect(names[1], intid, active, 0);
    set_irq_bit(gicd_ispendr, intid);
    expect(names[2], intid, active | pending, 0); // not signalled while active
    end1(intid);
    expect(names[3], intid, pending, isr_irq);
    ok = acknowledge1() == intid && ok;
    set_irq_bit(gicd_ispendr, intid);
    set_irq_bit(gicd_icpendr, intid);
    expect(names[4], intid, active, 0);
    end1(intid);
    expect(names[5], intid, inactive, 0);
    ok = acknowledge1() == no_intid && ok;
    report(names[6], ok);
    quiesce(intid);
}

void enables(u32 intid) {
    quiesce(intid);
    set_irq_bit(gicd_ispendr, intid);
    report("gic_state.disabled_stays_pending", keeps(0) && is_pending(intid));
    set_irq_bit(gicd_isenabler, intid);
    expect("gic_state.enabled_it_is_signalled", intid, pending, isr_irq);
    set_irq_bit(gicd_icenabler, intid);
    expect("gic_state.disabled_while_pending", intid, pending, 0);
    report_equal("gic_state.disabled_is_not_acknowledged", acknowledge1(), no_intid);
    set_irq_bit(gicd_isenabler, intid);
    report("gic_state.enabled_again", signals(isr_irq) && acknowledge1() == intid);
    set_irq_bit(gicd_icenabler, intid);
    expect("gic_state.disabled_while_active", intid, active, 0);
    set_irq_bit(gicd_ispendr, intid);
    expect("gic_state.pending_while_active_and_disabled", intid, active | pending, 0);
    end1(intid);
    expect("gic_state.end_of_a_disabled_one", intid, pending, 0);
    set_irq_bit(gicd_icpendr, intid);
    expect("gic_state.cleared", intid, inactive, 0);
    report("gic_state.nothing_is_active", icc_rpr() == 0xff && icc_ap1r0() == 0);
    quiesce(intid);
}

/// [§12.9 GICD_ISACTIVER<n>, GICD_ICACTIVER<n>]: states that software saves and restores.
void active_writes(u32 intid) {
    prepare(intid);
    set_irq_bit(gicd_isactiver, intid);
    expect("gic_state.made_active", intid, active, 0);
    set_irq_bit(gicd_ispendr, intid);
    expect("gic_state.active_hides_pending", intid, active | pending, 0);
    set_irq_bit(gicd_icactiver, intid);
    expect("gic_state.active_cleared", intid, pending, isr_irq);
    report_equal("gic_state.acknowledged_after_that", acknowledge1(), intid);
    set_irq_bit(gicd_icactiver, intid); // behind the handler's back: the running priority stays until its end
    expect("gic_state.deactivated_early", intid, inactive, 0);
    report_equal("gic_state.running_priority_stays", icc_rpr(), 0x80);
    set_irq_bit(gicd_ispendr, intid);
    report("gic_state.and_masks_its_own_priority", keeps(0) && state(intid) == pending);
    end1(intid);
    expect("gic_state.ended", intid, pending, isr_irq);
    report_equal("gic_state.acknowledged_again", acknowledge1(), intid);
    set_irq_bit(gicd_isactiver, intid); // it is
    expect("gic_state.active_twice", intid, active, 0);
    end1(intid);
    expect("gic_state.ended_once", intid, inactive, 0);
    quiesce(intid);
}

/// A level: pending as long as the input is high, whatever else happens [§4.1.2].
void level(u32 intid, void (*drive)(bool), const char* const names[8]) {
    quiesce(intid);
    set_edge(intid, false);
    drive(true);
    expect(names[0], intid, pending, 0); // not enabled
    set_irq_bit(gicd_icpendr, intid);
    expect(names[1], intid, pending, 0);
    set_irq_bit(gicd_isenabler, intid);
    bool ok = signals(isr_irq);
    drive(false);
    expect(names[2], intid, inactive, 0);
    ok = acknowledge1() == no_intid && ok;
    drive(true);
    ok = signals(isr_irq) && acknowledge1() == intid && ok;
    expect(names[3], intid, active | pending, 0);
    end1(intid);
    expect(names[4], intid, pending, isr_irq);
    ok = acknowledge1() == intid && ok;
    drive(false);
    expect(names[5], intid, active, 0);
    end1(intid);
    expect(names[6], intid, inactive, 0);
    // By software a level is pending without its input, once, and ICPENDR takes that back [§12.9 GICD_ISPENDR<n>].
    set_irq_bit(gicd_ispendr, intid);
    ok = signals(isr_irq) && ok;
    set_irq_bit(gicd_icpendr, intid);
    ok = signals(0) && ok;
    set_irq_bit(gicd_ispendr, intid);
    ok = signals(isr_irq) && acknowledge1() == intid && ok;
    ok = state(intid) == active && ok;
    end1(intid);
    ok = signals(0) && state(intid) == inactive && ok;
    report(names[7], ok);
    quiesce(intid);
}

/// The PL011's transmit interrupt: RIS is set once a character has gone, IMSC lets it out [DDI0183 §3.3.10].
void drive_uart(bool high) {
    write32(uart_base + 0x38, high ? 1U << 5 : 0);
    dsb();
}
/// The same input to an edge-triggered SPI: one interrupt for each rise.
void edges() {
    drive_uart(false);
    prepare(uart_spi);
    drive_uart(true);
    expect("gic_state.edge_rises", uart_spi, pending, isr_irq);
    drive_uart(false);
    expect("gic_state.edge_outlives_its_input", uart_spi, pending, isr_irq);
    report_equal("gic_state.edge_taken", acknowledge1(), uart_spi);
    drive_uart(true);
    expect("gic_state.edge_while_active", uart_spi, active | pending, 0);
    end1(uart_spi);
    report("gic_state.edge_taken_again", signals(isr_irq) && acknowledge1() == uart_spi);
    end1(uart_spi);
    expect("gic_state.edge_stays_high", uart_spi, inactive, 0);
    drive_uart(false);
    quiesce(uart_spi);
}

/// The RTC's alarm, a device that raises its line while nobody touches it [DDI0224 §3.3.2].
void alarm() {
    constexpr u64 mr = rtc_base + 0x04;
    constexpr u64 imsc = rtc_base + 0x10;
    constexpr u64 icr = rtc_base + 0x1c;
    quiesce(rtc_spi);
    set_edge(rtc_spi, false);
    write32(icr, 1);
    write32(imsc, 1);
    set_irq_bit(gicd_isenabler, rtc_spi);
    write32(mr, read32(rtc_base) + 2); // one second could pass in between
    const u64 end = now() + 4 * BARE_READ("cntfrq_el0");
    while (signalled() == 0 && now() < end) {
        yield();
    }
    report("gic_state.alarm", signals(isr_irq) && acknowledge1() == rtc_spi);
    report_equal("gic_state.alarm_state", state(rtc_spi), active | pending);
    write32(icr, 1);
    expect("gic_state.alarm_cleared", rtc_spi, active, 0);
    end1(rtc_spi);
    expect("gic_state.alarm_ended", rtc_spi, inactive, 0);
    write32(imsc, 0);
    quiesce(rtc_spi);
}

/// The timers' PPIs: condition met, or IMASK [DDI0487 D12.2.4].
void drive_virtual(bool high) {
    BARE_WRITE("cntv_cval_el0", 0);
    BARE_WRITE("cntv_ctl_el0", high ? 1 : 3);
    isb();
}
void drive_physical(bool high) {
    BARE_WRITE("cntp_cval_el0", 0);
    BARE_WRITE("cntp_ctl_el0", high ? 1 : 3);
    isb();
}

#define LEVEL_NAMES(x)                                                                                       \
    {                                                                                                        \
        x "_rises", x "_cannot_be_cleared", x "_falls", x "_active_and_high", x "_comes_again",              \
            x "_falls_while_active", x "_ends_low", x "_by_software",                                        \
    }
#define LATCHED_NAMES(x)                                                                                     \
    {                                                                                                        \
        x "_pending", x "_active", x "_active_and_pending", x "_comes_again", x "_cleared_while_active",     \
            x "_ends", x "_acknowledged",                                                                    \
    }

} // namespace

void payload() {
    static const char* const edge_names[8] = LATCHED_NAMES("gic_state.edge");
    static const char* const sgi_names[8] = LATCHED_NAMES("gic_state.sgi");
    static const char* const last_names[8] = LATCHED_NAMES("gic_state.last_spi");
    static const char* const uart_names[8] = LEVEL_NAMES("gic_state.uart");
    static const char* const ppi_names[8] = LEVEL_NAMES("gic_state.physical_timer");
    static const char* const vppi_names[8] = LEVEL_NAMES("gic_state.virtual_timer");
    mask_irqs();
    report("gic_state.init", gicv3_init());
    latched(free_spi, edge_names);
    latched(intid_end() - 1, last_names);
    latched(7, sgi_names);
    enables(free_spi + 1);
    enables(9);
    active_writes(free_spi + 2);
    active_writes(3);
    level(uart_spi, drive_uart, uart_names);
    edges();
    level(intid_ptimer, drive_physical, ppi_names);
    drive_physical(false);
    level(intid_vtimer, drive_virtual, vppi_names);
    drive_virtual(false);
    alarm();
}
