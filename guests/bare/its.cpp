// SPDX-License-Identifier: Apache-2.0
// Payload its: every command of an ITS, and what follows at the CPUs: delivery, affinity, masking, pending tables, wrong
// commands, a queue that wraps. Two CPUs. The same on the bare machine: what is expected here is what QEMU's ITS does.
#include "guests/bare/rt/its.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u32 device = 1;
constexpr unsigned device_event_bits = 9;
constexpr u32 lpi = first_lpi;  // of event 0, priority 0x80
constexpr u32 urgent = lpi + 1; // of event 1, priority 0x40
constexpr u32 many = lpi + 32;  // the first of those that come at once
constexpr unsigned many_count = 200;
constexpr u16 here = 0, there = 1, nowhere = 2; // collections

SharedWord secondary_is_up;
SharedWord secondary_may_go;

void pause_us(u64 us) {
    const u64 end = now() + BARE_READ("cntfrq_el0") / 1'000'000 * us;
    while (now() < end) {
        yield();
    }
}

/// Taken `count` times in all, by that CPU, within a second; and not once more.
bool comes(unsigned cpu, u32 which, u64 count = 1) {
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while (lpi_taken(cpu, which) < count && now() < end) {
        yield();
    }
    pause_us(200);
    return lpi_taken(cpu, which) == count;
}
bool stays_away(u32 which) {
    pause_us(2000);
    return lpi_taken(0, which) == 0 && lpi_taken(1, which) == 0;
}

bool configure(u32 which, bool enabled, u8 priority = 0x80) {
    lpi_configure(which, enabled, priority);
    return its_do(inv(device, which - lpi));
}

void delivery() {
    bool ok = its_do(mapd(device, device_event_bits, itt_of(device), true));
    ok = its_do(mapc(here, its_target(0), true)) && ok;
    lpi_configure(lpi, true);
    ok = its_do(mapti(device, 0, lpi, here)) && ok;
    ok = its_do(inv(device, 0)) && ok;
    report("its.map", ok);
    lpi_forget();
    report("its.int_command", its_do(raise(device, 0)));
    report("its.int", comes(0, lpi));
    its_do(raise(device, 0));
    report("its.int_again", comes(0, lpi, 2));

    lpi_forget();
    mask_irqs();
    its_do(raise(device, 0));
    its_do(raise(device, 0));
    unmask_irqs();
    report("its.one_pending_state", comes(0, lpi));
}

void mapi_event_is_lpi() {
    constexpr u32 wide = 2;
    constexpr u32 mine = first_lpi + 20;
    if (its_event_bits(read64(its_base + gits_typer)) < 14) {
        report("its.mapi (too few EventIDs here)", true);
        return;
    }
    its_do(mapd(wide, 14, itt_of(wide), true));
    lpi_configure(mine, true);
    its_do(mapi(wide, mine, here));
    its_do(inv(wide, mine));
    lpi_forget();
    its_do(raise(wide, mine));
    report("its.mapi", comes(0, mine));
    its_do(mapd(wide, 14, 0, false));
    lpi_forget();
    its_do(raise(wide, mine));
    report("its.unmapped_device", stays_away(mine));
}

void masking() {
    lpi_forget();
    configure(lpi, false);
    its_do(raise(device, 0));
    report("its.disabled", stays_away(lpi));
    configure(lpi, true);
    report("its.pending_while_disabled", comes(0, lpi));

    lpi_forget();
    configure(lpi, false);
    its_do(raise(device, 0));
    lpi_configure(lpi, true);
    its_do(invall(here));
    report("its.invall", comes(0, lpi));

    // Listed by the hypervisor, if there is one, and disabled there.
    lpi_forget();
    mask_irqs();
    its_do(raise(device, 0));
    configure(lpi, false);
    unmask_irqs();
    report("its.disabled_while_waiting", stays_away(lpi));
    configure(lpi, true);
    report("its.and_enabled_again", comes(0, lpi));
}

void clearing() {
    lpi_forget();
    configure(lpi, false);
    its_do(raise(device, 0));
    its_do(clear(device, 0));
    configure(lpi, true);
    report("its.clear", stays_away(lpi));
    mask_irqs();
    its_do(raise(device, 0));
    its_do(clear(device, 0));
    unmask_irqs();
    report("its.clear_while_waiting", stays_away(lpi));
    its_do(raise(device, 0));
    report("its.after_clear", comes(0, lpi));
}

void discarding() {
    lpi_forget();
    mask_irqs();
    its_do(raise(device, 0));
    its_do(discard(device, 0));
    unmask_irqs();
    report("its.discard_while_waiting", stays_away(lpi));
    its_do(raise(device, 0));
    report("its.discarded", stays_away(lpi));
    its_do(mapti(device, 0, lpi, here));
    its_do(inv(device, 0));
    report("its.discard_forgets_pending", stays_away(lpi));
    its_do(raise(device, 0));
    report("its.mapped_again", comes(0, lpi));
}

void priorities() {
    lpi_configure(urgent, true, 0x40);
    its_do(mapti(device, 1, urgent, here));
    its_do(inv(device, 1));
    lpi_forget();
    mask_irqs();
    its_do(raise(device, 0));
    its_do(raise(device, 1));
    unmask_irqs();
    report("its.both", comes(0, lpi) && comes(0, urgent));
    report_equal("its.most_urgent_first", lpi_first(0), urgent);
    report_equal("its.least_urgent_last", lpi_last(0), lpi);
}

void many_at_once() {
    for (u32 i = 0; i < many_count; ++i) {
        lpi_configure(many + i, true, static_cast<u8>(0x40 + i % 8 * 8));
        its_put(mapti(device, 32 + i, many + i, here));
    }
    its_put(invall(here));
    its_put(sync(its_target(0)));
    report("its.map_many", its_go());
    lpi_forget();
    mask_irqs();
    for (u32 i = 0; i < many_count; ++i) {
        its_put(raise(device, 32 + i));
    }
    its_put(sync(its_target(0)));
    report("its.raise_many", its_go());
    unmask_irqs();
    bool all = true;
    for (u32 i = 0; i < many_count; ++i) {
        all = comes(0, many + i) && all;
    }
    report("its.each_once", all);
    report_equal("its.first_of_many", lpi_first(0), many);
}

void move() {
    its_do(mapc(there, its_target(1), true));
    lpi_forget();
    report("its.movi_command", its_do(movi(device, 0, there)));
    its_do(sync(its_target(1)));
    its_do(raise(device, 0));
    report("its.movi", comes(1, lpi) && lpi_taken(0, lpi) == 0);
    its_do(movi(device, 0, here));
    its_do(raise(device, 0));
    report("its.movi_back", comes(0, lpi) && lpi_taken(1, lpi) == 1);

    lpi_forget();
    mask_irqs();
    its_do(raise(device, 0));
    its_do(movi(device, 0, there));
    unmask_irqs();
    report("its.movi_while_waiting", comes(1, lpi) && lpi_taken(0, lpi) == 0);
    its_do(movi(device, 0, here));

    lpi_forget();
    mask_irqs();
    its_do(raise(device, 0));
    its_do(raise(device, 1));
    its_do(movall(its_target(0), its_target(1)));
    unmask_irqs();
    report("its.movall", comes(1, lpi) && comes(1, urgent));
    report_equal("its.movall_leaves_nothing", lpi_taken(0, lpi) + lpi_taken(0, urgent), 0);
    lpi_forget();
    its_do(raise(device, 0));
    report("its.movall_maps_nothing", comes(0, lpi));
}

void unmapped_collection() {
    its_do(mapc(nowhere, its_target(1), true));
    its_do(movi(device, 0, nowhere));
    its_do(mapc(nowhere, 0, false));
    lpi_forget();
    its_do(raise(device, 0));
    report("its.unmapped_collection", stays_away(lpi));
    its_do(mapc(nowhere, its_target(1), true));
    its_do(raise(device, 0));
    report("its.collection_mapped_again", comes(1, lpi));
    its_do(movi(device, 0, here));
}

/// Each has no effect, and the queue goes on.
void wrong_commands() {
    const u64 typer = read64(its_base + gits_typer);
    const unsigned most_bits = its_event_bits(typer);
    const auto beyond = static_cast<u32>(u64{1} << its_device_bits(typer));
    const struct {
        const char* name;
        ItsCommand command;
    } wrong[] = {
        {"its.wrong.unknown", {{0x7f, 0, 0, 0}}},
        {"its.wrong.mapd_device", mapd(beyond, 4, itt_of(3), true)},
        {"its.wrong.mapd_size", mapd(3, most_bits + 1, itt_of(3), true)},
        {"its.wrong.mapc_target", mapc(5, u64{0x77} << 16, true)},
        {"its.wrong.mapti_device", mapti(4, 0, lpi, here)},
        {"its.wrong.mapti_event", mapti(device, 1u << device_event_bits, lpi, here)},
        {"its.wrong.mapti_no_lpi", mapti(device, 9, 100, here)},
        {"its.wrong.mapti_far_lpi", mapti(device, 9, 0xffff'ffff, here)},
        {"its.wrong.movi_event", movi(device, 8, here)},
        {"its.wrong.int_device", raise(4, 0)},
        {"its.wrong.int_event", raise(device, 8)},
        {"its.wrong.int_far_event", raise(device, 0xffff'ffff)},
        {"its.wrong.clear_event", clear(device, 8)},
        {"its.wrong.discard_event", discard(device, 8)},
        {"its.wrong.inv_event", inv(device, 8)},
        {"its.wrong.movall_target", movall(its_target(0), u64{0x77} << 16)},
    };
    for (const auto& one : wrong) {
        lpi_forget();
        const bool went_on = its_do(one.command);
        its_do(raise(device, 0));
        report(one.name, went_on && comes(0, lpi));
    }
}

void queue() {
    bool ok = true;
    for (unsigned i = 0; i < 3 * its_queue_bytes / 32; ++i) {
        its_put(sync(its_target(0)));
        ok = (i % 512 != 511 || its_go()) && ok;
    }
    lpi_forget();
    ok = its_do(raise(device, 0)) && ok;
    report("its.queue_wraps", ok && comes(0, lpi));

    lpi_forget();
    write32(its_base + gits_ctlr, 0);
    const u64 before = read64(its_base + gits_creadr);
    its_put(raise(device, 0));
    its_put(sync(its_target(0)));
    dsb();
    write64(its_base + gits_cwriter, (before + 64) % its_queue_bytes);
    const bool away = stays_away(lpi);
    report("its.disabled_executes_nothing", away && read64(its_base + gits_creadr) == before);
    write32(its_base + gits_ctlr, 1);
    report("its.goes_on_when_enabled", its_go() && comes(0, lpi));
}

/// A write by a CPU has DeviceID 0 on this machine.
void translater() {
    its_do(mapd(0, 5, itt_of(0), true));
    lpi_configure(lpi + 8, true);
    its_do(mapti(0, 3, lpi + 8, here));
    its_do(inv(0, 3));
    lpi_forget();
    write32(its_base + gits_translater, 3);
    report("its.translater", comes(0, lpi + 8));
    lpi_forget();
    write32(its_base + gits_translater, 4);
    report("its.translater_unmapped", stays_away(lpi + 8));
}

void enable_lpis() {
    lpi_forget();
    mask_irqs();
    its_do(raise(device, 0));
    lpi_set_enabled(0, false);
    unmask_irqs();
    report("its.lpis_off", stays_away(lpi));
    lpi_set_enabled(0, true);
    report("its.pending_table_is_kept", comes(0, lpi));
    its_do(raise(device, 0));
    report("its.lpis_on", comes(0, lpi, 2));
}

void secondary(u64, u64) {
    gic_init(false);
    // Its pending table says that one LPI waits already.
    write8(lpi_pending_tables + 0x1'0000 + (lpi + 4) / 8, 1 << ((lpi + 4) % 8));
    dsb();
    lpi_enable_cpu(false);
    unmask_irqs();
    secondary_is_up.store(1);
    while (secondary_may_go.load() == 0) {
        yield();
    }
    mask_irqs();
}

void start_secondary() {
    lpi_configure(lpi + 4, true);
    lpi_forget();
    report_equal("its.cpu_on", static_cast<u64>(cpu_on(1, secondary, 0)), 0);
    report("its.pending_table_is_read", comes(1, lpi + 4));
}

} // namespace

void payload() {
    report("its.gic", gic_init(true));
    if (!its_there()) {
        report("its.there", false);
        return;
    }
    set_irq_handler(lpi_handler);
    report("its.init", its_init());
    lpi_enable_cpu(true);
    unmask_irqs();
    delivery();
    mapi_event_is_lpi();
    masking();
    clearing();
    discarding();
    priorities();
    many_at_once();
    start_secondary();
    move();
    unmapped_collection();
    wrong_commands();
    queue();
    translater();
    enable_lpis();
    secondary_may_go.store(1);
    report("its.cpu_off", wait_cpu_off(1));
}
