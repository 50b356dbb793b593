// SPDX-License-Identifier: Apache-2.0
// An ITS and LPIs for the bare payloads: tables at a fixed place in RAM, a command queue, counts of what was taken.
// Commands are for one CPU at a time. Spec: [IHI0069 chapter 5].
#pragma once
#include "guests/bare/rt/rt.hpp"

namespace atl::bare {

// ---- as the architecture has it, written down here once more: the payload is no mirror of Atoll's own sources ----
constexpr u32 first_lpi = 8192;
constexpr u64 gits_ctlr = 0x0000;
constexpr u64 gits_typer = 0x0008;
constexpr u64 gits_cbaser = 0x0080;
constexpr u64 gits_cwriter = 0x0088;
constexpr u64 gits_creadr = 0x0090;
constexpr u64 gits_baser = 0x0100; // 8 of them
constexpr u64 gits_translater = 0x1'0040;
constexpr u64 bit63 = u64{1} << 63;
constexpr unsigned its_event_bits(u64 typer) {
    return (typer >> 8 & 31) + 1;
}
constexpr unsigned its_device_bits(u64 typer) {
    return (typer >> 13 & 31) + 1;
}

/// A command of four words [§5.3]. `target`s are those of its_target().
struct ItsCommand {
    u64 word[4];
};
constexpr ItsCommand about_event(u64 opcode, u32 device, u32 event, u64 third = 0) {
    return {{opcode | u64{device} << 32, event, third, 0}};
}
constexpr ItsCommand movi(u32 device, u32 event, u16 collection) {
    return about_event(0x01, device, event, collection);
}
constexpr ItsCommand raise(u32 device, u32 event) { // INT
    return about_event(0x03, device, event);
}
constexpr ItsCommand clear(u32 device, u32 event) {
    return about_event(0x04, device, event);
}
constexpr ItsCommand sync(u64 target) {
    return {{0x05, 0, target, 0}};
}
constexpr ItsCommand mapd(u32 device, unsigned event_bits, u64 itt, bool valid) {
    return {{0x08 | u64{device} << 32, event_bits - 1, itt | (valid ? bit63 : 0), 0}};
}
constexpr ItsCommand mapc(u16 collection, u64 target, bool valid) {
    return {{0x09, 0, target | collection | (valid ? bit63 : 0), 0}};
}
constexpr ItsCommand mapti(u32 device, u32 event, u32 lpi, u16 collection) {
    return {{0x0a | u64{device} << 32, event | u64{lpi} << 32, collection, 0}};
}
constexpr ItsCommand mapi(u32 device, u32 event, u16 collection) {
    return about_event(0x0b, device, event, collection);
}
constexpr ItsCommand inv(u32 device, u32 event) {
    return about_event(0x0c, device, event);
}
constexpr ItsCommand invall(u16 collection) {
    return {{0x0d, 0, collection, 0}};
}
constexpr ItsCommand movall(u64 from, u64 to) {
    return {{0x0e, 0, from, to}};
}
constexpr ItsCommand discard(u32 device, u32 event) {
    return about_event(0x0f, device, event);
}

constexpr u64 its_base = 0x0808'0000;
constexpr u64 its_tables = ram_base + 0x0200'0000; // 16 MiB of RAM that nothing else uses
constexpr u64 its_queue = its_tables;
constexpr u64 its_queue_bytes = 0x1'0000;
constexpr u64 its_device_table = its_tables + 0x10'0000;     // up to 1 MiB
constexpr u64 its_collection_table = its_tables + 0x20'0000; // 64 KiB
constexpr u64 lpi_config_table = its_tables + 0x30'0000;     // 64 KiB
constexpr u64 lpi_pending_tables = its_tables + 0x40'0000;   // 64 KiB for each CPU
constexpr u64 its_itts = its_tables + 0x50'0000;             // 512 KiB for each of 16 devices
constexpr u32 counted_lpis = 512;                            // 8192 and up

/// Is there one, as GICv3 has it?
bool its_there();
/// Zeroes the tables, gives them to the ITS, turns it on. CPU 0.
bool its_init();
/// Gives this CPU's redistributor its tables and turns LPIs on there.
void lpi_enable_cpu(bool pending_table_is_zero);
/// GICR_CTLR.EnableLPIs of a CPU.
void lpi_set_enabled(unsigned cpu, bool on);
u64 redistributor_of(unsigned cpu);
/// How commands name a CPU's redistributor.
u64 its_target(unsigned cpu);
u64 itt_of(u32 device);

/// Into the queue, without telling.
void its_put(const ItsCommand& command);
/// Tells, and waits until all is executed. False: it stalled, or a second has passed.
bool its_go();
bool its_run(const ItsCommand& command);
/// Only tells.
void its_ring();
/// The same with a SYNC of every CPU behind it.
bool its_do(const ItsCommand& command);

/// The byte of the configuration table; the ITS is to be told with INV.
void lpi_configure(u32 lpi, bool enabled, u8 priority = 0x80);
/// For set_irq_handler(): counts LPIs.
void lpi_handler(u32 intid, u64 stamp);
/// How often it was taken by `cpu` since lpi_forget().
u64 lpi_taken(unsigned cpu, u32 lpi);
/// The first and the last that this CPU has taken.
u32 lpi_first(unsigned cpu);
u32 lpi_last(unsigned cpu);
void lpi_forget();

} // namespace atl::bare
