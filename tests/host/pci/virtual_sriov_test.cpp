// SPDX-License-Identifier: Apache-2.0
// Host tests of SR-IOV as guests see it: the capability of a PF, register by register; stubs in the places of its VFs;
// and two VMs, one with the PF, one with a VF of it, either of which resets, hangs or is hostile.
#include <doctest/doctest.h>

#include <random>

#include "pci/virtual_sriov.hpp"
#include "tests/support/pci_guest.hpp"

using namespace atl;
using namespace atl::pci;
using namespace atl::test;
using Kind = Offence::Kind;

namespace {

constexpr u8 slot1 = 1 << 3;
constexpr u8 slot2 = 2 << 3;
constexpr u32 cap = 0x100;
constexpr u64 vf_bar = 0x80'0000'0000;
constexpr u64 vf_table = 0x80'0010'0000;

/// `owner` has an igb, `user` its second VF of two.
struct Family : PciBus {
    PciFn& pf = model.add(nullptr, 5, 0, 0x10c9'8086);
    PciVm owner{model};
    PciVm user{model};

    Family() {
        make_igb(pf);
        find_all();
        SriovJob job;
        REQUIRE(job.start(*t, Bdf::of(0, 5, 0), 2, model.clock()).ok());
        REQUIRE(model.finish(job) == Step::done);
        owner.init(group);
        user.init(group);
    }
    void give(bool vf_first) {
        for (const bool vf : {vf_first, !vf_first}) {
            if (vf) {
                REQUIRE(user.bridge.add(at(0, 0x15, 2), slot1, false).ok());
            } else {
                REQUIRE(owner.bridge.add(at(0, 5), slot1, true).ok());
            }
        }
        owner.settle();
        user.settle();
        user.bridge.set_stream_attached(slot1, true);
        owner.bridge.set_stream_attached(slot1, true);
    }
    PciFn* vf() { return model.resolve(0, 0x15 << 3 | 2); }
    u64 table_pa() { return at(0, 0x15, 2).bars[3].pa.value; }
    /// The guest's driver: BARs, messages, mastering.
    void drive_vf() {
        user.wr(slot1, 0x10, vf_bar, 8);
        user.wr(slot1, 0x1c, vf_table, 8);
        user.wr(slot1, 4, 6, 2);
        user.wr(slot1, 0x72, 0x8000, 2);
        for (u32 i = 0; i < 12; ++i) {
            model.vf_words[table_pa() + 4 * i] = 0x1000 + i;
        }
    }
    bool vf_works() {
        PciFn* fn = vf();
        return fn != nullptr && (fn->command() & 4) != 0 && (fn->get16(0x72) & 0xc000) == 0x8000 &&
               user.mapped.count(vf_bar) == 1 && user.mapped.count(vf_table) == 1 &&
               model.vf_words[table_pa()] == 0x1000 && model.vf_words[table_pa() + 44] == 0x100b;
    }
    bool vfs_are_on() const {
        return (pf.get16(0x168) & 9) == 9 && pf.get16(0x170) == 2 && pf.vfs.size() == 2;
    }
    void check() {
        CHECK(owner.broken.empty());
        CHECK(user.broken.empty());
        CHECK(model.ambiguous == 0);
        CHECK(pf.early_accesses == 0);
        for (auto& fn : pf.vfs) {
            CHECK(fn->early_accesses == 0);
        }
    }
};

} // namespace

TEST_CASE("pci virtual sriov: every register") {
    SriovInfo info;
    info.enabled_vfs = 3;
    VirtualSriov v;
    CHECK_FALSE(v.shown());
    CHECK_FALSE(v.reserves(1));
    v.attach(info, 5, 7);
    CHECK(v.shown());
    CHECK(v.read(0) == 0x0001'0010);
    CHECK(v.read(0x4) == 0);
    CHECK(v.read(0x8) == 0);
    CHECK(v.read(0xc) == 0x0003'0003);
    CHECK(v.read(0x10) == 0x0005'0000);
    CHECK(v.read(0x14) == 0x0002'0007);
    CHECK(v.read(0x18) == 0xffff'0000);
    CHECK(v.read(0x1c) == 0x553);
    CHECK(v.read(0x20) == 1);
    for (u32 at = 0x24; at < 0x40; at += 4) {
        v.write(at, ~u32{0}, ~u32{0});
        CHECK(v.read(at) == 0); // no BARs, no migration
    }
    for (const u32 at : {0x0u, 0x4u, 0xcu, 0x14u, 0x18u, 0x1cu}) {
        const u32 before = v.read(at);
        v.write(at, ~before, ~u32{0});
        CHECK(v.read(at) == before);
    }
    // NumVFs: up to TotalVFs, and only while VF Enable is clear.
    v.write(0x10, 4, 0xffff);
    CHECK(v.read(0x10) == 0x0005'0000);
    v.write(0x10, 0xffff'ffff, ~u32{0});
    CHECK(v.read(0x10) == 0x0005'0000);
    v.write(0x10, 2, 0xffff);
    CHECK(v.read(0x10) == 0x0005'0002);
    CHECK_FALSE(v.has_stub(7));
    v.write(0x8, 0xffff'ffff, ~u32{0});
    CHECK(v.read(0x8) == 9); // no migration, no ARI
    v.write(0x10, 3, 0xffff);
    CHECK(v.read(0x10) == 0x0005'0002);
    v.write(0x20, 2, ~u32{0});
    CHECK(v.read(0x20) == 1);
    for (const unsigned distance : {0u, 6u, 8u, 10u, 11u, 13u, 0x8000u}) {
        CHECK_FALSE(v.has_stub(distance));
    }
    CHECK(v.has_stub(7));
    CHECK(v.has_stub(9));
    CHECK(v.reserves(11));
    CHECK_FALSE(v.reserves(13));
    v.write(0x8, 0, 0xff);
    CHECK_FALSE(v.has_stub(7));
    // One page size of those offered.
    for (const u32 pages : {2u, 0x10u, 0x40u, 0x100u, 0x400u}) {
        v.write(0x20, pages, ~u32{0});
        CHECK(v.read(0x20) == pages);
    }
    for (const u32 pages : {0u, 3u, 4u, 0x8000'0000u, ~0u}) {
        v.write(0x20, pages, ~u32{0});
        CHECK(v.read(0x20) == 0x400);
    }
    v.power_on();
    CHECK(v.read(0x8) == 0);
    CHECK(v.read(0x10) == 0x0005'0000);
    CHECK(v.read(0x20) == 1);
}

TEST_CASE("pci virtual sriov: the PF's guest switches on stubs, and never the VFs") {
    Family f;
    f.give(true);
    f.drive_vf();
    PciVm& o = f.owner;
    CHECK(o.rd(slot1, cap) == 0x0001'0010);
    CHECK(o.rd(slot1, cap + 0xe, 2) == 2);
    CHECK(f.user.rd(slot1, cap) == 0); // a VF has none
    f.model.writes.clear();
    const u8 stub0 = static_cast<u8>(slot1 + o.rd(slot1, cap + 0x14, 2));
    const u8 stub1 = static_cast<u8>(stub0 + o.rd(slot1, cap + 0x16, 2));
    CHECK((stub0 & 1) == 1);
    CHECK((stub1 & 1) == 1);
    CHECK(o.rd(stub0, 0xe, 1) == 0xff); // not there
    o.wr(slot1, cap + 0x10, 2, 2);
    o.wr(slot1, cap + 8, 9, 2);
    for (const u8 stub : {stub0, stub1}) {
        for (u32 at = 0; at < 0x1000; at += 4) {
            o.wr(stub, at, 0xffff'ffff);
            CHECK(o.rd(stub, at) == (at == 0 ? 0xffff'ffffu : at == 8 ? 0xff00'0000u : 0u));
        }
    }
    CHECK(o.rd(static_cast<u8>(stub1 + 2), 8) == 0xffff'ffff);
    o.wr(slot1, cap + 8, 0, 2);
    CHECK(o.rd(stub0, 8) == 0xffff'ffff);
    o.wr(slot1, cap + 8, 9, 2);
    CHECK(o.rd(stub0, 8) == 0xff00'0000);
    CHECK(f.model.writes.empty());
    CHECK(f.vf_works());
    // Their places are taken, whether they are shown or not.
    CHECK(o.bridge.add(f.at(0, 0x15), stub0, false).error() == Error::already_exists);
    CHECK(o.bridge.add(f.at(0, 0x15), stub1, false).error() == Error::already_exists);
    // A VF of its own is a function like another, and not at a stub's place.
    REQUIRE(o.bridge.add(f.at(0, 0x15), slot2, false).ok());
    o.settle();
    CHECK(o.rd(slot2, 0) == 0x10ca'8086);
    o.bridge.reset();
    o.settle();
    CHECK(o.rd(stub0, 8) == 0xffff'ffff);
    CHECK(f.vfs_are_on());
    f.check();
}

TEST_CASE("pci virtual sriov: stubs find room behind the PF, or it cannot be added") {
    PciBus bus;
    for (unsigned i = 0; i < 3; ++i) {
        make_igb(bus.model.add(nullptr, 5 + i, 0, 0x10c9'8086));
        bus.model.functions.back()->set(0x174, 0x80 + 0x20 * i, 2);
    }
    bus.find_all();
    for (unsigned i = 0; i < 3; ++i) {
        SriovJob job;
        REQUIRE(job.start(*bus.t, Bdf::of(0, 5 + i, 0), 8, bus.model.clock()).ok());
        REQUIRE(bus.model.finish(job) == Step::done);
    }
    PciVm vm(bus.model);
    vm.init(bus.group);
    REQUIRE(vm.bridge.add(bus.at(0, 5), 28 << 3, true).ok());
    CHECK(vm.rd(28 << 3, cap + 0x14, 2) == 0xffff); // its first reset runs
    CHECK(vm.bridge.add(bus.at(0, 6), 28 << 3 | 1, true).error() == Error::already_exists);
    REQUIRE(vm.bridge.add(bus.at(0, 6), 27 << 3, true).ok());
    vm.settle();
    CHECK(vm.rd(28 << 3, cap + 0x14, 2) == 1);
    CHECK(vm.rd(27 << 3, cap + 0x14, 2) == 25); // behind those of the first
    CHECK(vm.bridge.add(bus.at(0, 7), 29 << 3, true).error() == Error::no_memory);
    REQUIRE(vm.bridge.add(bus.at(0, 7), slot1, true).ok());
    vm.settle();
    CHECK(vm.rd(slot1, cap + 0x14, 2) == 1);
}

TEST_CASE("pci virtual sriov: a reset of the PF takes the VF away, and brings it back as it was") {
    for (const bool vf_first : {true, false}) {
        Family f;
        f.give(vf_first);
        f.drive_vf();
        REQUIRE(f.vf_works());
        const u64 config_before = f.user.rd(slot1, 0x10, 8);
        f.owner.wr(slot1, 0xa8, 0x8000, 2); // FLR
        CHECK(f.user.mapped.empty());
        CHECK((f.vf() == nullptr || (f.vf()->command() & 4) == 0));
        CHECK(f.user.rd(slot1, 0) == 0xffff'ffff);
        f.user.wr(slot1, 4, 0, 2); // to nobody
        CHECK(f.user.reported(Kind::pf_reset));
        CHECK(f.user.bridge.next_poll_us() != ~u64{0});
        CHECK(f.owner.rd(slot1, 0) == 0xffff'ffff);
        // The PF's guest never looks: whoever has the VF, or housekeeping, goes on.
        f.user.settle();
        CHECK(f.vfs_are_on());
        CHECK(f.vf_works());
        CHECK(f.user.rd(slot1, 0) == 0x10ca'8086);
        CHECK(f.user.rd(slot1, 0x10, 8) == config_before);
        CHECK(f.owner.rd(slot1, 0) == 0x10c9'8086);
        CHECK(f.pf.resets >= 2);
        f.check();
    }
}

TEST_CASE("pci virtual sriov: a VF whose guest is off, resets it, or has never driven it stays quiet") {
    Family f;
    f.give(true);
    f.owner.bridge.reset();
    f.owner.settle();
    CHECK((f.vf()->command() & 4) == 0);
    CHECK(f.vf()->get16(0x72) == 2);
    CHECK(f.user.mapped.empty());
    // The VF's VM ends while the PF is being reset, and its job waits for it.
    f.drive_vf();
    f.owner.bridge.reset();
    f.user.bridge.set_stream_attached(slot1, false);
    f.user.bridge.reset();
    CHECK_FALSE(f.user.idle());
    f.user.settle();
    CHECK(f.owner.idle());
    CHECK((f.vf()->command() & 4) == 0);
    CHECK((f.vf()->get16(0x72) & 0x8000) == 0);
    CHECK(f.user.mapped.empty());
    CHECK(f.user.bridge.came_back(slot1));
    // And the other way round.
    f.user.bridge.set_stream_attached(slot1, true);
    f.drive_vf();
    f.user.bridge.reset();
    CHECK_FALSE(f.user.idle());
    f.owner.bridge.reset();
    f.owner.settle();
    f.user.settle();
    CHECK((f.vf()->command() & 4) == 0);
    CHECK(f.vfs_are_on());
    f.check();
}

TEST_CASE("pci virtual sriov: a PF or a VF that is added while the other is not idle") {
    Family pf_first;
    REQUIRE(pf_first.owner.bridge.add(pf_first.at(0, 5), slot1, true).ok());
    (void)pf_first.owner.bridge.poll();
    CHECK(pf_first.vf() == nullptr); // in the middle of the PF's reset
    REQUIRE(pf_first.user.bridge.add(pf_first.at(0, 0x15, 2), slot1, false).ok());
    pf_first.user.settle();
    CHECK(pf_first.user.bridge.came_back(slot1));
    CHECK(pf_first.user.rd(slot1, 0) == 0x10ca'8086);
    pf_first.check();

    Family vf_first;
    REQUIRE(vf_first.user.bridge.add(vf_first.at(0, 0x15, 2), slot1, false).ok());
    vf_first.user.settle();
    vf_first.drive_vf();
    REQUIRE(vf_first.owner.bridge.add(vf_first.at(0, 5), slot1, true).ok());
    CHECK(vf_first.user.mapped.empty());
    CHECK(vf_first.user.rd(slot1, 0) == 0xffff'ffff);
    vf_first.user.settle();
    CHECK(vf_first.user.mapped.size() == 2);
    vf_first.check();
}

TEST_CASE("pci virtual sriov: a PF that does not come back, comes back with other VFs, or comes back late") {
    Family f;
    f.give(false);
    f.drive_vf();
    SUBCASE("it dies") {
        f.pf.dies = true;
        f.user.bridge.reset(); // of the VF, which the PF's overtakes
        f.owner.wr(slot1, 0xa8, 0x8000, 2);
        f.owner.settle();
        CHECK(f.user.idle());
        CHECK(f.owner.reported(Kind::reset_failed));
        CHECK(f.user.reported(Kind::reset_failed));
        CHECK_FALSE(f.user.bridge.came_back(slot1));
        CHECK(f.user.mapped.empty());
        CHECK(f.user.rd(slot1, 0) == 0xffff'ffff);
        f.user.bridge.reset(); // the VF's VM can end and start without it
        f.user.settle();
        CHECK_FALSE(f.user.bridge.came_back(slot1));
        f.user.offences.clear();
        f.pf.dies = false;
        f.pf.silent_until_us = 0;
        f.owner.bridge.reset();
        f.owner.settle();
        f.user.settle();
        CHECK(f.user.bridge.came_back(slot1));
        f.drive_vf();
        CHECK(f.vf_works());
    }
    SUBCASE("its VFs have other places") {
        f.pf.power_on[0x174] = 0x40;
        f.owner.wr(slot1, 0xa8, 0x8000, 2);
        f.user.settle();
        CHECK((f.pf.get16(0x168) & 1) == 0);
        CHECK_FALSE(f.owner.bridge.came_back(slot1));
        CHECK_FALSE(f.user.bridge.came_back(slot1));
        CHECK(f.user.mapped.empty());
    }
    SUBCASE("late") {
        f.pf.recovery_us = 400'000;
        f.owner.wr(slot1, 0xa8, 0x8000, 2);
        f.user.settle();
        CHECK(f.vf_works());
    }
    SUBCASE("and is reset again before its VFs have answered") {
        f.pf.recovery_us = 300'000;
        f.owner.wr(slot1, 0xa8, 0x8000, 2);
        f.owner.settle();
        CHECK(f.vf() != nullptr);
        CHECK_FALSE(f.vf_works());
        f.owner.wr(slot1, 0xa8, 0x8000, 2);
        f.owner.settle();
        f.user.settle();
        CHECK(f.vf_works());
        f.user.wr(slot1, 4, 6, 2);
    }
    CHECK(f.owner.broken.empty());
    CHECK(f.user.broken.empty());
}

TEST_CASE("pci virtual sriov: hostile guests on both sides, any order of accesses, resets and time") {
    Family f;
    f.give(true);
    std::mt19937_64 random(20261126);
    bool attached = true;
    unsigned worked = 0;
    unsigned gone = 0;
    const u64 addresses[] = {vf_bar, vf_table, 0x1000'0000, 0x4000'0000, 0x80, 0, 0xffff'ffff};
    for (unsigned i = 0; i < 40'000; ++i) {
        PciVm& vm = random() % 2 == 0 ? f.owner : f.user;
        switch (random() % 12) {
        case 0:
            vm.wr(slot1, cap + static_cast<u32>(random() % 0x40), random(), 1u << random() % 4);
            break;
        case 1:
            vm.wr(slot1, cap + 0x10, random() % 4, 2);
            vm.wr(slot1, cap + 8, random() % 16, 2);
            break;
        case 2:
            vm.wr(slot1, 0x10 + 4 * (random() % 6), addresses[random() % std::size(addresses)], 8);
            break;
        case 3:
            vm.wr(slot1, 4, random() % 8, 2);
            break;
        case 4:
            if (random() % 16 == 0) {
                vm.wr(slot1, 0xa8, 0x8000, 2);
            }
            break;
        case 5:
            f.model.now_us += random() % 50'000;
            break;
        case 6:
            (void)vm.bridge.poll();
            break;
        case 7:
            if (random() % 64 == 0) {
                vm.bridge.reset();
            }
            break;
        case 8:
            attached = random() % 4 != 0;
            f.user.bridge.set_stream_attached(slot1, attached);
            break;
        case 9:
            f.drive_vf();
            break;
        default:
            vm.wr(static_cast<u8>(random() % 32), static_cast<u32>(random() % 0x1000), random(),
                  1u << random() % 4);
            (void)vm.rd(static_cast<u8>(random() % 32), static_cast<u32>(random() % 0x1000), 8);
            break;
        }
        PciFn* vf = f.vf();
        REQUIRE((vf == nullptr || (vf->command() & 4) == 0 || attached));
        REQUIRE((vf != nullptr || f.user.mapped.empty()));
        REQUIRE((f.pf.vfs.empty() || f.vfs_are_on())); // two of them, or none during a reset
        REQUIRE((f.pf.vfs.empty() || (f.pf.vfs[0]->command() & 4) == 0)); // nobody's
        REQUIRE(f.owner.broken.empty());
        REQUIRE(f.user.broken.empty());
        gone += vf == nullptr ? 1 : 0;
        worked += attached && f.vf_works() ? 1 : 0;
        if (i % 64 == 0) {
            f.owner.settle();
            f.user.settle();
            REQUIRE(f.vfs_are_on());
        }
    }
    CHECK(worked > 500);
    CHECK(gone > 500);
    f.check();
}
