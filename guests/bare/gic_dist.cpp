// SPDX-License-Identifier: Apache-2.0
// Payload gic_dist: the distributor's registers as a driver sees them [IHI0069 §12.8, §12.9]: identification, what can be
// written and read back, reserved places, access sizes. Where the architecture leaves a choice the advertised one is tested.
#include <initializer_list>

#include "guests/bare/rt/gicv3.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

void identification() {
    const u32 typer = read32(gicd_typer);
    const u32 lines = typer & 0x1f;
    report("gic_dist.spis", lines >= 1 && intid_end() > free_spi + free_spis);
    report_equal("gic_dist.typer_cpu_number", typer >> 5 & 7, 0); // affinity routing cannot be turned off
    report_equal("gic_dist.typer_one_security_state", typer >> 10 & 1, 0);
    const u32 id_bits = (typer >> 19 & 0x1f) + 1;
    report("gic_dist.typer_id_bits",
           id_bits >= 10 && id_bits <= 24 && (id_bits >= 14 || (typer & typer_lpis) == 0));
    // Extended SPIs only where GICD_TYPER.ESPI says so; otherwise its range field is reserved [§12.9 GICD_TYPER].
    report("gic_dist.typer_espi", (typer >> 8 & 1) != 0 || typer >> 27 == 0);
    const u32 revision = read32(gicd_base + gic_pidr2) >> 4 & 0xf;
    report("gic_dist.pidr2_revision", revision == 3 || revision == 4); // [§12.1.2]
    write32(gicd_typer, ~typer);
    write32(gicd_iidr, 0);
    report_equal("gic_dist.typer_is_read_only", read32(gicd_typer), typer);
    report_equal("gic_dist.iidr_is_stable", read32(gicd_iidr), read32(gicd_iidr));
}

/// [§12.9 GICD_CTLR], the layout for one security state: DS is RAO/WI, and so is ARE where there is no legacy operation.
void control() {
    constexpr u32 fixed = ctlr_are | ctlr_ds;
    constexpr u32 known = fixed | ctlr_group0 | ctlr_group1 | 1U << 7 | 1U << 8; // E1NWF, nASSGIreq
    write32(gicd_ctlr, ctlr_are);
    report("gic_dist.ctlr_settles", gicd_settled());
    report_equal("gic_dist.ctlr_off", read32(gicd_ctlr) & known, fixed);
    for (const u32 groups : {ctlr_group0, ctlr_group1, ctlr_group0 | ctlr_group1}) {
        write32(gicd_ctlr, ctlr_are | groups);
        gicd_settled();
        report_equal("gic_dist.ctlr_groups", read32(gicd_ctlr) & known, fixed | groups);
    }
    write32(gicd_ctlr, 0xffff'fe3f & ~ctlr_are); // reserved bits, ARE and DS written as zero
    gicd_settled();
    report_equal("gic_dist.ctlr_reserved_and_fixed", read32(gicd_ctlr) & ~(1U << 7 | 1U << 8),
                 fixed | ctlr_group0 | ctlr_group1);
    write32(gicd_ctlr, ctlr_are);
    gicd_settled();
}

/// Set and clear registers of one kind: both read the same, zeroes change nothing [§12.9].
void set_and_clear(const char* name, u64 set, u64 clear) {
    const u64 word = u64{free_spi / 32} * 4;
    constexpr u32 mask = ((1U << free_spis) - 1) << (free_spi % 32);
    constexpr u32 low = 1U << (free_spi % 32);
    write32(clear + word, mask);
    bool ok = (read32(set + word) & mask) == 0 && (read32(clear + word) & mask) == 0;
    write32(set + word, low | low << 2);
    ok = ok && (read32(set + word) & mask) == (low | low << 2) && read32(clear + word) == read32(set + word);
    write32(set + word, 0);
    write32(clear + word, 0);
    ok = ok && (read32(set + word) & mask) == (low | low << 2);
    write32(set + word, low << 1);
    write32(clear + word, low << 2);
    gicd_settled();
    ok = ok && (read32(set + word) & mask) == (low | low << 1);
    write32(clear + word, mask);
    ok = ok && (read32(set + word) & mask) == 0;
    report(name, ok);
}

void word_registers() {
    for (u32 spi = free_spi; spi < free_spi + free_spis; ++spi) {
        quiesce(spi);
    }
    set_and_clear("gic_dist.enables", gicd_isenabler, gicd_icenabler);
    set_and_clear("gic_dist.pending", gicd_ispendr, gicd_icpendr);
    set_and_clear("gic_dist.active", gicd_isactiver, gicd_icactiver);
    const u64 group = gicd_igroupr + u64{free_spi / 32} * 4;
    const u32 old = read32(group);
    write32(group, 0x5555'5555);
    const bool first = read32(group) == 0x5555'5555;
    write32(group, 0xaaaa'aaaa);
    report("gic_dist.groups", first && read32(group) == 0xaaaa'aaaa);
    write32(group, old);
    // With affinity routing the first word, of the private interrupts, is each redistributor's.
    bool zero = true;
    for (const u64 base : {gicd_igroupr, gicd_isenabler, gicd_icenabler, gicd_ispendr, gicd_icpendr,
                           gicd_isactiver, gicd_icactiver, gicd_igrpmodr}) {
        write32(base, 0xffff'0000);
        zero = zero && read32(base) == 0;
    }
    for (const u64 base : {gicd_icfgr, gicd_icfgr + 4, gicd_ipriorityr, gicd_ipriorityr + 28, gicd_nsacr}) {
        write32(base, ~0U);
        zero = zero && read32(base) == 0;
    }
    report("gic_dist.private_words_are_zero", zero);
}

/// At least 16 levels, 32 with two security states; the bits that exist are the upper ones and the same for all [§4.8].
void priorities() {
    const u64 word = gicd_ipriorityr + (free_spi & ~3U) + 4;
    write32(word, ~0U);
    const u32 mask = read8(word);
    const u32 missing = ~mask & 0xff;
    report("gic_dist.priority_bits", missing <= 0xf && (missing & (missing + 1)) == 0);
    report_equal("gic_dist.priority_mask_everywhere", read32(word), mask * 0x0101'0101U);
    for (u32 i = 0; i < 4; ++i) {
        write8(word + i, 0x10 * (i + 1));
    }
    report_equal("gic_dist.priority_bytes", read32(word), 0x4030'2010);
    write32(word, 0x8070'6050);
    bool bytes = true;
    for (u32 i = 0; i < 4; ++i) {
        bytes = bytes && read8(word + i) == 0x10 * (i + 5);
    }
    report("gic_dist.priority_reads_by_byte", bytes);
    write32(word, 0x8080'8080);
}

/// Bit 2n+1 says edge; bit 2n is reserved. Which SPIs can be changed is IMPLEMENTATION DEFINED [§12.9 GICD_ICFGR<n>]:
/// what was written is read back, or nothing changes.
void configuration() {
    bool upper_only = true;
    bool keeps_it = true;
    for (u32 spi = 32; spi < intid_end(); spi += 16) {
        const u64 word = gicd_icfgr + spi / 4;
        const u32 old = read32(word);
        write32(word, ~0U);
        const u32 ones = read32(word);
        write32(word, 0);
        const u32 zeroes = read32(word);
        const u32 programmable = ones ^ zeroes;
        write32(word, 0x2222'2222);
        keeps_it = keeps_it && (read32(word) & programmable) == (0x2222'2222 & programmable);
        upper_only = upper_only && ((ones | zeroes) & 0x5555'5555) == 0;
        write32(word, old);
        keeps_it = keeps_it && read32(word) == old;
    }
    report("gic_dist.icfgr_reserved_bits", upper_only);
    report("gic_dist.icfgr_reads_back", keeps_it);
}

/// [§12.9 GICD_IROUTER<n>]: 64 bits, and its halves; none for private interrupts.
void routes() {
    const u64 route = gicd_irouter + u64{free_spi} * 8;
    write64(route, 0x0000'0012'0034'5678);
    report_equal("gic_dist.route_64", read64(route), 0x0000'0012'0034'5678);
    report_equal("gic_dist.route_low_half", read32(route), 0x0034'5678);
    report_equal("gic_dist.route_high_half", read32(route + 4), 0x12);
    write32(route, 0x00ab'cdef);
    report_equal("gic_dist.route_write_low", read64(route), 0x0000'0012'00ab'cdef);
    write32(route + 4, 0x01);
    report_equal("gic_dist.route_write_high", read64(route), 0x0000'0001'00ab'cdef);
    if (!has_option("bare")) { // QEMU keeps reserved bits
        write64(route, 0xffff'ff00'7f00'0000);
        report_equal("gic_dist.route_reserved", read64(route), 0);
    }
    if ((read32(gicd_typer) & typer_no1n) == 0) {
        write64(route, 0x8000'0000);
        report_equal("gic_dist.route_one_of_n", read64(route), 0x8000'0000);
    }
    write64(route, 0);
    write64(gicd_irouter, ~u64{0});
    write64(gicd_irouter + 31 * 8, ~u64{0});
    report("gic_dist.route_of_private", read64(gicd_irouter) == 0 && read64(gicd_irouter + 31 * 8) == 0);
}

/// INTIDs that are not implemented are RAZ/WI [§12.9]; so are registers of legacy operation and reserved ones [§12.1.1].
void nothing_there() {
    bool zero = true;
    const auto check = [&](u64 address) {
        write32(address, ~0U);
        zero = zero && read32(address) == 0;
    };
    const u32 end = intid_end();
    for (u32 intid = end; intid < 1020; intid += 4) {
        check(gicd_ipriorityr + intid);
        if (intid % 16 == 0) {
            check(gicd_icfgr + intid / 4);
        }
        if (intid % 32 == 0) {
            for (u64 base = gicd_igroupr; base <= gicd_icactiver; base += 0x80) {
                check(base + intid / 8);
            }
        }
    }
    report("gic_dist.beyond_the_last_spi", zero);
    zero = true;
    for (u32 intid = end; intid < 1020; ++intid) {
        write64(gicd_irouter + u64{intid} * 8, ~u64{0});
        zero = zero && read64(gicd_irouter + u64{intid} * 8) == 0;
    }
    report("gic_dist.routes_beyond", zero);
    zero = true;
    for (u32 intid = 0; intid < end; intid += 4) {
        check(gicd_itargetsr + intid); // legacy
    }
    for (u64 word = 0; word < end / 8; word += 4) {
        check(gicd_igrpmodr + word); // two security states only
        check(gicd_nsacr + 2 * word);
    }
    check(gicd_sgir);
    for (u64 i = 0; i < 16; i += 4) {
        check(gicd_base + 0xf10 + i); // GICD_CPENDSGIR
        check(gicd_base + 0xf20 + i); // GICD_SPENDSGIR
    }
    report("gic_dist.legacy_and_secure", zero);
    zero = true;
    for (u64 offset = 0x5c; offset < 0x80; offset += 4) {
        check(gicd_base + offset);
    }
    for (u64 offset = 0xf40; offset < 0xf80; offset += 4) {
        check(gicd_base + offset);
    }
    for (u64 offset = 0xc000; offset < 0xffd0; offset += 4) {
        check(gicd_base + offset); // IMPLEMENTATION DEFINED: neither machine has anything
    }
    report("gic_dist.reserved", zero);
}

/// GICD_SETSPI_NSR and GICD_CLRSPI_NSR, 32 bits or 16 [§12.1.3, §12.9], where GICD_TYPER.MBIS says that they exist.
void messages() {
    if ((read32(gicd_typer) & typer_mbis) == 0) {
        write32(gicd_setspi_nsr, free_spi);
        report("gic_dist.no_messages", !is_pending(free_spi));
        return;
    }
    quiesce(free_spi);
    write32(gicd_setspi_nsr, free_spi);
    report("gic_dist.message_sets", is_pending(free_spi));
    write32(gicd_clrspi_nsr, free_spi);
    report("gic_dist.message_clears", !is_pending(free_spi));
    write16(gicd_setspi_nsr, free_spi);
    report("gic_dist.message_sets_16", is_pending(free_spi));
    write16(gicd_clrspi_nsr, free_spi);
    report("gic_dist.message_clears_16", !is_pending(free_spi));
    set_edge(free_spi, false);
    write32(gicd_setspi_nsr, free_spi);
    report("gic_dist.message_level", is_pending(free_spi));
    write32(gicd_clrspi_nsr, free_spi);
    report("gic_dist.message_level_clears", !is_pending(free_spi));
    set_edge(free_spi, true);
    write32(gicd_setspi_nsr, 5); // no SPI
    write32(gicd_setspi_nsr, intid_end());
    report("gic_dist.message_to_nobody", !is_pending(5));
}

} // namespace

void payload() {
    report("gic_dist.init", gicv3_init());
    identification();
    control();
    word_registers();
    priorities();
    configuration();
    routes();
    nothing_there();
    messages();
}
