// SPDX-License-Identifier: Apache-2.0
// The emulated ITS: registers, every command, every way in which a command can be wrong, and guests that change tables
// behind its back. [vgic/virtual_its.hpp]
#include "tests/support/gic_its.hpp"

using namespace atl;
using namespace atl::vgic;
using namespace atl::gic;
using namespace atl::gic::its_command;

namespace {

constexpr u32 lpi = first_lpi;
constexpr u32 spurious = LrFile::spurious;

/// The LPI is taken by vCPU v, ended, and nothing else comes.
bool taken(ItsVm& vm, unsigned v, u32 which) {
    const u32 got = vm.ack(v);
    if (got != spurious) {
        vm.eoi(v, got);
    }
    return got == which;
}
bool quiet(ItsVm& vm) {
    bool none = true;
    for (unsigned v = 0; v < vm.files.size(); ++v) {
        none = none && vm.ack(v) == spurious;
    }
    return none;
}

} // namespace

TEST_CASE("its: what it says about itself") {
    ItsVm vm;
    const u64 typer = vm.rits(gits::typer);
    CHECK(GitsTyper::Physical::test(typer));
    CHECK_FALSE(GitsTyper::PTA::test(typer));
    CHECK(GitsTyper::ID_bits::get(typer) == 15);
    CHECK(GitsTyper::Devbits::get(typer) == device_bits - 1);
    CHECK(GitsTyper::ITT_entry_size::get(typer) == 7);
    CHECK(GitsTyper::HCC::get(typer) == max_collections);
    CHECK(vm.rits(gits::typer + 4, 4) == typer >> 32);
    CHECK(Pidr2ArchRev::get(vm.rits(pidr2, 4)) == 3);
    CHECK(vm.rits(gits::ctlr, 4) == GitsCtlr::Quiescent::mask);
    const u64 gicd = vm.rd(0, gicd::typer);
    CHECK(GicdTyper::LPIS::test(gicd));
    CHECK(GicdTyper::IDbits::get(gicd) == 13);
    CHECK(GicrTyper::PLPIS::test(vm.rrd(0, 0, gicr::typer, 8)));
    CHECK(vm.rrd(1, 1, gicr::ctlr) == GicrCtlr::CES::mask);
    // A VM without: as before.
    TestVm plain;
    CHECK_FALSE(GicdTyper::LPIS::test(plain.rd(0, gicd::typer)));
    CHECK(GicdTyper::IDbits::get(plain.rd(0, gicd::typer)) == 9);
    CHECK(plain.rrd(0, 0, gicr::ctlr) == 0);
    plain.rwr(0, 0, gicr::propbaser, ~u64{0}, 8);
    CHECK(plain.rrd(0, 0, gicr::propbaser, 8) == 0);
}

TEST_CASE("its: registers, whole, by halves, and when they may be written") {
    ItsVm vm;
    vm.wits(gits::cbaser, ~u64{0});
    const u64 cbaser = vm.rits(gits::cbaser);
    CHECK(GitsCbaser::Valid::test(cbaser));
    CHECK(GitsCbaser::Size::get(cbaser) == 0xff);
    CHECK(GitsCbaser::Shareability::get(cbaser) == shareability_inner);
    vm.wits(gits::cbaser + 4, 0, 4);
    CHECK(vm.rits(gits::cbaser + 4, 4) == (u64{cache_write_back} << 27)); // InnerCache is fixed
    CHECK((vm.rits(gits::cbaser, 4) & 0xfffff0ff) == 0xfffff0ff);
    vm.wits(gits::baser,
            GitsBaser::Valid::mask | GitsBaser::Page_Size::of(3) | GitsBaser::Indirect::mask | 0x4001'0000);
    const u64 baser = vm.rits(gits::baser);
    CHECK(GitsBaser::Type::get(baser) == GitsBaser::type_devices);
    CHECK(GitsBaser::Entry_Size::get(baser) == 7);
    CHECK(GitsBaser::Page_Size::get(baser) == 2);
    CHECK_FALSE(GitsBaser::Indirect::test(baser));
    for (unsigned i = 1; i < gits::basers; ++i) {
        vm.wits(gits::baser + 8 * i, ~u64{0});
        CHECK(vm.rits(gits::baser + 8 * i) == 0);
    }
    vm.give_tables();
    vm.wits(gits::ctlr, 1, 4);
    CHECK(vm.rits(gits::ctlr, 4) == GitsCtlr::Enabled::mask);
    const u64 before = vm.rits(gits::cbaser);
    vm.wits(gits::cbaser, 0);
    vm.wits(gits::baser, 0);
    CHECK(vm.rits(gits::cbaser) == before);
    CHECK(GitsBaser::Valid::test(vm.rits(gits::baser)));
    // What does not exist, odd sizes and places.
    for (u64 offset = 0; offset < gits::frames_size; offset += 4) {
        for (const unsigned size : {1u, 2u, 4u, 8u}) {
            static_cast<void>(vm.rits(offset + (offset % 16 == 12 ? 1 : 0), size));
        }
    }
    vm.wits(gits::typer, ~u64{0});
    vm.wits(gits::creadr, ~u64{0});
    CHECK(vm.rits(gits::creadr) == 0);
    CHECK(vm.rits(gits::translation_frame + gits::translater, 4) == 0);
}

TEST_CASE("its: MAPD, MAPC, MAPTI, INT: an LPI at the vCPU of its collection") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    CHECK(vm.command(raise(1, 3)) == ItsFault::none);
    CHECK(taken(vm, 0, lpi + 3));
    CHECK(quiet(vm));
    CHECK(vm.command(mapti(1, 4, lpi + 4, 1)) == ItsFault::none);
    CHECK(vm.command(raise(1, 4)) == ItsFault::none);
    CHECK(taken(vm, 1, lpi + 4));
    CHECK(vm.command(sync(0)) == ItsFault::none);
    CHECK(vm.command(sync(u64{1} << 16)) == ItsFault::none);
    CHECK(vm.command(sync(u64{2} << 16)) == ItsFault::redistributor_out_of_range);
    CHECK(vm.rits(gits::creadr) == vm.tail);
    // MAPI: the event is the LPI's INTID.
    vm.configure(lpi + 20, true);
    CHECK(vm.command(mapd(2, 14, ItsVm::itt(2), true)) == ItsFault::none);
    CHECK(vm.command(mapi(2, lpi + 20, 1)) == ItsFault::none);
    CHECK(vm.command(raise(2, lpi + 20)) == ItsFault::none);
    CHECK(taken(vm, 1, lpi + 20));
    CHECK(vm.command(mapd(2, 14, {}, false)) == ItsFault::none);
    CHECK(vm.command(raise(2, lpi + 20)) == ItsFault::device_not_mapped);
    CHECK(quiet(vm));
}

TEST_CASE("its: configuration is read at MAPTI, INV, INVALL and EnableLPIs, and not otherwise") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    vm.configure(lpi, false);
    vm.command(raise(1, 0));
    CHECK(taken(vm, 0, lpi)); // nobody has told it
    CHECK(vm.command(inv(1, 0)) == ItsFault::none);
    vm.command(raise(1, 0));
    CHECK(quiet(vm));
    vm.configure(lpi, true);
    CHECK(quiet(vm));
    CHECK(vm.command(invall(0)) == ItsFault::none);
    CHECK(taken(vm, 0, lpi)); // it was pending all the time
    // Disabled while it is in a list register.
    vm.command(raise(1, 0));
    vm.configure(lpi, false);
    vm.command(inv(1, 0));
    CHECK(quiet(vm));
    vm.configure(lpi, true, 0x20);
    vm.command(inv(1, 0));
    vm.command(raise(1, 1)); // priority 0xa0
    CHECK(vm.files[0].offered(true) == lpi);
    CHECK(taken(vm, 0, lpi));
    CHECK(taken(vm, 0, lpi + 1));
    CHECK(vm.command(invall(77)) == ItsFault::collection_not_mapped);
    CHECK(vm.command(invall(max_collections)) == ItsFault::collection_out_of_range);
}

TEST_CASE("its: CLEAR and DISCARD, pending anywhere") {
    for (const bool listed : {false, true}) {
        CAPTURE(listed);
        ItsVm vm;
        vm.boot_its();
        vm.map_some();
        if (!listed) {
            vm.save(0);
        }
        vm.command(raise(1, 0));
        CHECK(vm.command(clear(1, 0)) == ItsFault::none);
        CHECK(vm.gic.has_pending({0}) ==
              (listed && vm.loaded(0))); // of a loaded one the answer is always yes
        vm.command(raise(1, 1));
        CHECK(vm.command(discard(1, 1)) == ItsFault::none);
        if (!listed) {
            vm.load(0);
        }
        CHECK(quiet(vm));
        CHECK(vm.command(raise(1, 1)) == ItsFault::event_not_mapped);
        CHECK(vm.command(discard(1, 1)) == ItsFault::event_not_mapped);
        CHECK(vm.command(clear(1, 1)) == ItsFault::event_not_mapped);
        CHECK(vm.command(inv(1, 1)) == ItsFault::event_not_mapped);
        CHECK(vm.command(movi(1, 1, 0)) == ItsFault::event_not_mapped);
        CHECK(vm.command(mapti(1, 1, lpi + 1, 0)) == ItsFault::none);
        CHECK(quiet(vm));
        vm.command(raise(1, 1));
        CHECK(taken(vm, 0, lpi + 1));
    }
}

TEST_CASE("its: MOVI and MOVALL take what is pending along, from a list register too") {
    ItsVm vm(3);
    vm.boot_its();
    vm.map_some();
    vm.command(raise(1, 0));
    CHECK(vm.command(movi(1, 0, 1)) == ItsFault::none);
    CHECK(vm.ack(0) == spurious);
    CHECK(taken(vm, 1, lpi));
    vm.command(raise(1, 0));
    CHECK(taken(vm, 1, lpi));
    for (u32 n = 1; n < 12; ++n) { // more than list registers
        vm.command(raise(1, n));
    }
    CHECK(vm.command(movall(0, u64{2} << 16)) == ItsFault::none);
    CHECK(vm.ack(0) == spurious);
    for (u32 n = 1; n < 12; ++n) {
        CHECK(taken(vm, 2, lpi + n));
    }
    CHECK(quiet(vm));
    vm.command(raise(1, 1)); // the mapping is as it was
    CHECK(taken(vm, 0, lpi + 1));
    CHECK(vm.command(movi(1, 1, 100)) == ItsFault::collection_not_mapped);
    CHECK(vm.command(movi(1, 1, max_collections)) == ItsFault::collection_out_of_range);
    CHECK(vm.command(movall(0, u64{3} << 16)) == ItsFault::redistributor_out_of_range);
    CHECK(vm.command(movall(u64{3} << 16, 0)) == ItsFault::redistributor_out_of_range);
    CHECK(vm.command(movall(0, 0)) == ItsFault::none);
}

TEST_CASE("its: collections that are not mapped, and mapped again") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    CHECK(vm.command(mapc(0, 0, false)) == ItsFault::none);
    CHECK(vm.command(raise(1, 0)) == ItsFault::none);
    CHECK(quiet(vm));
    CHECK(vm.command(mapc(0, u64{1} << 16, true)) == ItsFault::none);
    CHECK(quiet(vm)); // it was not pending anywhere
    vm.command(raise(1, 0));
    CHECK(taken(vm, 1, lpi));
    CHECK(vm.command(mapc(max_collections, 0, true)) == ItsFault::collection_out_of_range);
    CHECK(vm.command(mapc(0xffff, 0, false)) == ItsFault::collection_out_of_range);
    CHECK(vm.command(mapc(3, u64{2} << 16, true)) == ItsFault::redistributor_out_of_range);
}

TEST_CASE("its: wrong commands have no effect, and the next one is executed") {
    ItsVm vm(2, 4, 8);
    vm.boot_its();
    vm.map_some();
    const struct {
        ItsCommand command;
        ItsFault fault;
    } wrong[] = {
        {{0x00, 0, 0, 0}, ItsFault::unknown_command},
        {{0x22, 0, 0, 0}, ItsFault::unknown_command}, // VMAPI: GICv4
        {{0xff, ~u64{0}, ~u64{0}, ~u64{0}}, ItsFault::unknown_command},
        {mapd(1u << device_bits, 4, ItsVm::itt(3), true), ItsFault::device_out_of_range},
        {mapd(~u32{0}, 4, ItsVm::itt(3), false), ItsFault::device_out_of_range},
        {mapd(3, 9, ItsVm::itt(3), true), ItsFault::itt_size_out_of_range},
        {mapd(3, 32, ItsVm::itt(3), true), ItsFault::itt_size_out_of_range},
        {mapti(1u << device_bits, 0, lpi, 0), ItsFault::device_out_of_range},
        {mapti(4, 0, lpi, 0), ItsFault::device_not_mapped},
        {mapti(1, 16, lpi, 0), ItsFault::event_out_of_range},
        {mapti(1, ~u32{0}, lpi, 0), ItsFault::event_out_of_range},
        {mapti(1, 2, 100, 0), ItsFault::lpi_out_of_range},
        {mapti(1, 2, first_lpi - 1, 0), ItsFault::lpi_out_of_range},
        {mapti(1, 2, first_lpi + vlpi_count, 0), ItsFault::lpi_out_of_range},
        {mapti(1, 2, ~u32{0}, 0), ItsFault::lpi_out_of_range},
        {mapti(1, 2, lpi, max_collections), ItsFault::collection_out_of_range},
        {mapi(1, 2, 0), ItsFault::lpi_out_of_range},
        {raise(1, 16), ItsFault::event_out_of_range},
        {raise(9, 0), ItsFault::device_not_mapped},
        {clear(1, 300), ItsFault::event_out_of_range},
        {inv(~u32{0}, 0), ItsFault::device_out_of_range},
        {discard(5, 0), ItsFault::device_not_mapped},
        {movi(1, 20, 0), ItsFault::event_out_of_range},
    };
    for (const auto& one : wrong) {
        CAPTURE(one.command[0]);
        CAPTURE(one.command[1]);
        CHECK(vm.command(one.command) == one.fault);
        CHECK(vm.command(raise(1, 2)) == ItsFault::none);
        CHECK(taken(vm, 0, lpi + 2));
    }
    CHECK(quiet(vm));
}

TEST_CASE("its: tables that are elsewhere, overlap, change, or are no memory of the VM's") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    // An ITT outside RAM, at the end of the address space, or in a page that is lent.
    for (const u64 at :
         {u64{0}, GuestRam::base + GuestRam::size - 0x100, (u64{1} << 52) - 0x100, u64{0x0800'0000}}) {
        CHECK(vm.command(mapd(2, 8, Pa{at}, true)) == ItsFault::none); // the architecture does not look yet
        CHECK(vm.command(mapti(2, 0xff, lpi + 40, 0)) == ItsFault::table_not_in_memory);
        CHECK(vm.command(raise(2, 0xff)) == ItsFault::table_not_in_memory);
    }
    vm.ram.denied.insert(ItsVm::itt(1).value);
    CHECK(vm.command(raise(1, 0)) == ItsFault::table_not_in_memory);
    CHECK(vm.command(discard(1, 0)) == ItsFault::table_not_in_memory);
    vm.ram.denied.clear();
    vm.ram.denied.insert(ItsVm::device_table);
    CHECK(vm.command(mapd(2, 8, ItsVm::itt(2), true)) == ItsFault::table_not_in_memory);
    CHECK(vm.command(raise(1, 0)) == ItsFault::table_not_in_memory);
    vm.ram.denied.clear();
    CHECK(quiet(vm));

    // Entries that nobody mapped: at most an LPI of the VM's own that was mapped once, else nothing.
    const u64 entry = ItsVm::itt(1).value + 8 * 9;
    for (const u64 value :
         {~u64{0}, u64{1} << 63, (u64{1} << 63) | 100, (u64{1} << 63) | (first_lpi + vlpi_count),
          (u64{1} << 63) | (lpi + 500), u64{lpi}}) {
        vm.ram.put64(entry, value);
        vm.command(raise(1, 9));
        vm.command(clear(1, 9));
        vm.command(inv(1, 9));
        vm.command(movi(1, 9, 1));
        CHECK(quiet(vm));
    }
    vm.ram.put64(entry, (u64{1} << 63) | (lpi + 2));
    vm.command(raise(1, 9));
    CHECK(taken(vm, 0, lpi + 2));
    // A device entry with more events than the ITS can have; one whose ITT is the device table; both are its own affair.
    vm.ram.put64(ItsVm::device_table + 8, ~u64{0});
    CHECK(vm.command(raise(1, 0)) == ItsFault::device_not_mapped);
    CHECK(vm.command(mapd(1, 4, Pa{ItsVm::device_table}, true)) == ItsFault::none);
    CHECK(vm.command(mapti(1, 0, lpi, 0)) == ItsFault::none);
    CHECK(vm.command(mapti(1, 1, lpi + 1, 0)) == ItsFault::none); // overwrites its own device entry
    vm.command(raise(1, 0));
    vm.command(raise(1, 1));
    vm.run();
    CHECK(vm.rits(gits::creadr) == vm.tail);
}

TEST_CASE(
    "its: an entry is read once: what a guest writes while EL2 reads changes nothing that was checked") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    // After each read of a table its bytes are overwritten.
    vm.ram.after_read = [&](u64 ipa, u64 count) {
        if (count == 8) {
            vm.ram.put64(ipa, ~u64{0});
        }
    };
    CHECK(vm.command(raise(1, 5)) == ItsFault::none);
    vm.ram.after_read = {};
    CHECK(taken(vm, 0, lpi + 5));
    CHECK(vm.command(raise(1, 5)) == ItsFault::device_not_mapped);
    // And a command in the queue.
    vm.command(mapd(1, 4, ItsVm::itt(1), true));
    vm.command(mapti(1, 5, lpi + 5, 0));
    vm.ram.after_read = [&](u64 ipa, u64 count) {
        if (count == 32) {
            vm.ram.put64(ipa, 0xff);
        }
    };
    CHECK(vm.command(raise(1, 5)) == ItsFault::none);
    CHECK(taken(vm, 0, lpi + 5));
}

TEST_CASE("its: a queue that is not memory stalls, and Retry goes on when it is") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    vm.ram.denied.insert(ItsVm::queue + (vm.tail & ~(page_size - 1)));
    CHECK(vm.command(raise(1, 0)) == ItsFault::table_not_in_memory);
    const u64 read = vm.rits(gits::creadr);
    CHECK(GitsCreadr::Stalled::test(read));
    vm.go();
    CHECK(vm.rits(gits::creadr) == read);
    vm.ram.denied.clear();
    vm.go();
    CHECK(vm.rits(gits::creadr) == read); // only Retry does
    vm.wits(gits::cwriter, vm.tail | 1);
    CHECK(vm.rits(gits::creadr) == vm.tail);
    CHECK(taken(vm, 0, lpi));
    // A write pointer beyond the queue.
    vm.wits(gits::cwriter, ItsVm::queue_bytes + 0x40);
    CHECK_FALSE(vm.its->has_work());
    CHECK(vm.rits(gits::creadr) == vm.tail);
}

TEST_CASE("its: the longest queue of the longest commands is worked off in bounded steps") {
    ItsVm vm(8);
    vm.boot_its();
    vm.map_some();
    vm.wits(gits::ctlr, 0, 4);
    constexpr u64 big = 256 * page_size;
    vm.wits(gits::cbaser, GitsCbaser::Valid::mask | 0xff | (GuestRam::base + 2 * mib));
    for (u64 at = 0; at < big; at += 32) {
        const ItsCommand c = at % 64 == 0 ? invall(0) : movall(0, u64{at / 32 % 8} << 16);
        std::memcpy(vm.ram.bytes.data() + 2 * mib + at, c.data(), sizeof(c));
    }
    vm.wits(gits::cwriter, 0);
    vm.wits(gits::ctlr, 1, 4);
    unsigned most_reads = 0;
    unsigned steps = 0;
    vm.its->write(gits::cwriter, 8, big - 32);
    while (vm.its->has_work()) {
        vm.ram.reads = 0;
        static_cast<void>(vm.its->step());
        most_reads = vm.ram.reads > most_reads ? vm.ram.reads : most_reads;
        ++steps;
    }
    CHECK(steps >= big / 32 / 2 - 1);
    CHECK(most_reads <= 2 * (vlpi_count / 512 + 1));
    CHECK(vm.rits(gits::creadr) == big - 32);
}

TEST_CASE("its: GITS_TRANSLATER: DeviceID 0, lower half or whole word") {
    ItsVm vm;
    vm.boot_its();
    vm.command(mapd(0, 4, ItsVm::itt(0), true));
    vm.configure(lpi + 7, true);
    vm.command(mapti(0, 7, lpi + 7, 1));
    vm.wits(gits::translation_frame + gits::translater, 7, 4);
    CHECK(taken(vm, 1, lpi + 7));
    vm.wits(gits::translation_frame + gits::translater, 7, 2);
    CHECK(taken(vm, 1, lpi + 7));
    vm.wits(gits::translation_frame + gits::translater, 7, 1);
    vm.wits(gits::translation_frame + gits::translater, 8, 4);
    vm.wits(gits::translation_frame + gits::translater, ~u64{0}, 4);
    vm.wits(gits::translation_frame + gits::translater + 4, 7, 4);
    CHECK(quiet(vm));
    vm.wits(gits::ctlr, 0, 4);
    vm.wits(gits::translation_frame + gits::translater, 7, 4);
    CHECK(quiet(vm));
}
