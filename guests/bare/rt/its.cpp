// SPDX-License-Identifier: Apache-2.0
// See guests/bare/rt/its.hpp.
#include "guests/bare/rt/its.hpp"

namespace atl::bare {
namespace {

constexpr u64 ctlr_quiescent = u64{1} << 31;
constexpr u64 typer_physical = 1;
constexpr u64 typer_pta = u64{1} << 19;
constexpr u64 table_devices = 1, table_collections = 4; // GITS_BASER<n>.Type
constexpr u64 pages_of_64k = 2 << 8;                    // GITS_BASER<n>.Page_Size
constexpr u64 gicr_propbaser = 0x0070;
constexpr u64 gicr_pendbaser = 0x0078;
constexpr u64 pending_table_zero = u64{1} << 62;
constexpr u64 gicd_typer = gicd_base + 0x0004;
constexpr u64 gicr_ctlr = 0x0000;
constexpr u64 gicr_typer = 0x0008;
constexpr u64 table_pages = 16; // of 64 KiB: what there is room for
constexpr unsigned id_bits = 14;

u64 queue_end = 0; // offset of the next command
SharedWord taken[max_cpus][counted_lpis];
SharedWord first[max_cpus];
SharedWord last[max_cpus];

void zero(u64 address, u64 bytes) {
    for (u64 i = 0; i < bytes; i += 8) {
        write64(address + i, 0);
    }
}

/// Flat tables of 64 KiB pages.
bool set_table(unsigned index) {
    const u64 reg = its_base + gits_baser + 8 * u64{index};
    const u64 type = read64(reg) >> 56 & 7;
    if (type != table_devices && type != table_collections) {
        return true;
    }
    const bool devices = type == table_devices;
    const u64 pages = devices ? table_pages : 1;
    write64(reg, bit63 | pages_of_64k | (pages - 1) | (devices ? its_device_table : its_collection_table));
    return (read64(reg) & bit63) != 0;
}

} // namespace

u64 redistributor_of(unsigned cpu) {
    return gicr_base + cpu * gicr_stride;
}

u64 its_target(unsigned cpu) {
    return (read64(its_base + gits_typer) & typer_pta) != 0 ? redistributor_of(cpu) : u64{cpu} << 16;
}

u64 itt_of(u32 device) {
    return its_itts + u64{device & 15} * 0x8'0000;
}

bool its_there() {
    const u32 typer = read32(gicd_typer);
    const u64 revision = (read32(its_base + 0xffe8) >> 4) & 15;
    return (typer >> 17 & 1) != 0 && (typer >> 19 & 31) + 1 >= id_bits && (revision == 3 || revision == 4) &&
           (read64(its_base + gits_typer) & typer_physical) != 0 &&
           (read64(redistributor_of(0) + gicr_typer) & 1) != 0;
}

bool its_init() {
    zero(its_tables, 0x100'0000);
    bool ok = (read32(its_base + gits_ctlr) & ctlr_quiescent) != 0;
    for (unsigned i = 0; i < 8; ++i) {
        ok = set_table(i) && ok;
    }
    write64(its_base + gits_cbaser, bit63 | (its_queue_bytes / 4096 - 1) | its_queue);
    write64(its_base + gits_cwriter, 0);
    queue_end = 0;
    dsb();
    write32(its_base + gits_ctlr, 1);
    return ok && (read32(its_base + gits_ctlr) & 1) == 1 && read64(its_base + gits_creadr) == 0;
}

void lpi_set_enabled(unsigned cpu, bool on) {
    const u64 at = redistributor_of(cpu) + gicr_ctlr;
    dsb();
    write32(at, on ? 1 : 0);
    while ((read32(at) & 8) != 0) { // RWP
    }
}

void lpi_enable_cpu(bool pending_table_is_zero) {
    const u64 frame = redistributor_of(cpu_index());
    write64(frame + gicr_propbaser, lpi_config_table | (id_bits - 1));
    write64(frame + gicr_pendbaser, (lpi_pending_tables + cpu_index() * u64{0x1'0000}) |
                                        (pending_table_is_zero ? pending_table_zero : 0));
    lpi_set_enabled(cpu_index(), true);
}

void its_put(const ItsCommand& command) {
    for (u64 i = 0; i < 4; ++i) {
        write64(its_queue + queue_end + 8 * i, command.word[i]);
    }
    queue_end = (queue_end + sizeof(command)) % its_queue_bytes;
}

void its_ring() {
    dsb();
    write64(its_base + gits_cwriter, queue_end);
}

bool its_go() {
    its_ring();
    const u64 end = now() + BARE_READ("cntfrq_el0");
    for (;;) {
        const u64 read = read64(its_base + gits_creadr);
        if ((read & 0xf'ffe0) == queue_end) {
            return true;
        }
        if ((read & 1) != 0 || now() > end) {
            return false;
        }
    }
}

bool its_run(const ItsCommand& command) {
    its_put(command);
    return its_go();
}

bool its_do(const ItsCommand& command) {
    its_put(command);
    its_put(sync(its_target(0)));
    return its_go();
}

void lpi_configure(u32 lpi, bool enabled, u8 priority) {
    write8(lpi_config_table + (lpi - first_lpi), static_cast<u8>(priority | 2 | (enabled ? 1 : 0)));
    dsb();
}

void lpi_handler(u32 intid, u64) {
    const unsigned cpu = cpu_index();
    if (intid < first_lpi || intid >= first_lpi + counted_lpis) {
        return;
    }
    if (first[cpu].load() == 0) {
        first[cpu].store(intid);
    }
    last[cpu].store(intid);
    SharedWord& count = taken[cpu][intid - first_lpi];
    count.store(count.load() + 1);
}

u64 lpi_taken(unsigned cpu, u32 lpi) {
    return taken[cpu][lpi - first_lpi].load();
}
u32 lpi_first(unsigned cpu) {
    return static_cast<u32>(first[cpu].load());
}
u32 lpi_last(unsigned cpu) {
    return static_cast<u32>(last[cpu].load());
}

void lpi_forget() {
    for (unsigned cpu = 0; cpu < max_cpus; ++cpu) {
        for (SharedWord& word : taken[cpu]) {
            word.store(0);
        }
        first[cpu].store(0);
        last[cpu].store(0);
    }
}

} // namespace atl::bare
