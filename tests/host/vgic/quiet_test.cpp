// SPDX-License-Identifier: Apache-2.0
// Loads and saves that look at SGIs alone (VcpuGic::quiet): whatever else becomes pending is still found.
#include "tests/support/gic_guest.hpp"

using namespace atl;
using namespace atl::vgic;

namespace gicd = gic::gicd;
namespace gicr = gic::gicr;

namespace {

/// vCPU 0 is away, after a turn in which nothing but SGIs happened.
struct QuietVm : TestVm {
    QuietVm() {
        boot();
        load(0);
        sgi(1, gic::IccSgir::INTID::of(3) | 1);
        REQUIRE(ack(0) == 3);
        eoi(0, 3);
        save(0);
        REQUIRE(gic.vcpu({0}).quiet);
        REQUIRE(!gic.has_pending({0}));
    }
    /// `intid` ends the WFI of vCPU 0 and is what it gets, once.
    void expect(u32 intid) {
        CHECK(gic.has_pending({0}));
        load(0);
        CHECK(ack(0) == intid);
        eoi(0, intid);
        CHECK(ack(0) == LrFile::spurious);
    }
};

} // namespace

TEST_CASE("quiet: a vCPU with nothing but SGIs is switched without a refill, and gets them") {
    QuietVm vm;
    const u64 refills = vm.gic.vcpu({0}).stat_refills;
    const u32 folds = vm.gic.vcpu({0}).folds.load();
    for (u32 i = 0; i < 16; ++i) {
        vm.sgi(1, gic::IccSgir::INTID::of(i) | 1);
        vm.expect(i);
        vm.save(0);
        CHECK(!vm.gic.has_pending({0}));
        CHECK(vm.gic.vcpu({0}).used == 0);
        CHECK(vm.gic.vcpu({0}).priv.listed == 0);
    }
    CHECK(vm.gic.vcpu({0}).stat_refills == refills);
    CHECK(vm.gic.vcpu({0}).folds.load() == folds);
}

TEST_CASE("quiet: more SGIs than list registers") {
    QuietVm vm;
    for (u32 i = 0; i < 16; ++i) {
        vm.sgi(1, gic::IccSgir::INTID::of(i) | 1);
    }
    CHECK(vm.gic.has_pending({0}));
    vm.load(0);
    u32 seen = 0;
    for (u32 i = 0; i < 16; ++i) {
        const u32 intid = vm.ack(0);
        REQUIRE(intid < 16);
        seen |= 1u << intid;
        vm.eoi(0, intid);
    }
    CHECK(seen == 0xffff);
    CHECK(vm.ack(0) == LrFile::spurious);
}

TEST_CASE("quiet: SPIs and PPIs that come to a vCPU while it is away") {
    QuietVm vm;
    SUBCASE("a line rises") {
        vm.line(40, true);
        CHECK(vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.ack(0) == 40);
        vm.line(40, false);
        vm.eoi(0, 40);
        CHECK(vm.ack(0) == LrFile::spurious);
    }
    SUBCASE("a message") {
        vm.edge(40);
        vm.pulse(40);
        vm.expect(40);
    }
    SUBCASE("the other vCPU makes it pending") {
        vm.wr(1, gicd::ispendr + 4, 1u << 9);
        vm.expect(41);
    }
    SUBCASE("one that was the other vCPU's is routed here") {
        vm.wr(1, gicd::irouter + u64{8} * 42, 1, 8);
        vm.wr(1, gicd::ispendr + 4, 1u << 10);
        CHECK(!vm.gic.has_pending({0}));
        vm.wr(1, gicd::irouter + u64{8} * 42, 0, 8);
        vm.expect(42);
    }
    SUBCASE("one that was disabled is enabled") {
        vm.wr(1, gicd::icenabler + 4, 1u << 11);
        vm.pulse(43);
        CHECK(!vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.save(0);
        vm.wr(1, gicd::isenabler + 4, 1u << 11);
        vm.expect(43);
    }
    SUBCASE("a PPI of a device") {
        CHECK(vm.gic.pulse_ppi({0}, {20}) == 1);
        vm.expect(20);
    }
    SUBCASE("a PPI by a register of its own") {
        vm.rwr(1, 0, gicr::ispendr0, 1u << 21);
        vm.expect(21);
    }
    SUBCASE("its timer") {
        CHECK(vm.gic.set_ppi({0}, {27}, true) == 1);
        CHECK(vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.files[0].physical_active);
        CHECK(vm.ack(0) == 27);
        vm.eoi(0, 27);
        CHECK(!vm.files[0].physical_active);
    }
}

TEST_CASE("quiet: SGIs with a history") {
    QuietVm vm;
    SUBCASE("disabled, then enabled") {
        vm.rwr(1, 0, gicr::icenabler0, 1u << 5);
        vm.sgi(1, gic::IccSgir::INTID::of(5) | 1);
        CHECK(!vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.save(0);
        vm.rwr(1, 0, gicr::isenabler0, 1u << 5);
        vm.expect(5);
    }
    SUBCASE("cleared by the other vCPU") {
        vm.sgi(1, gic::IccSgir::INTID::of(5) | 1);
        vm.rwr(1, 0, gicr::icpendr0, 1u << 5);
        CHECK(!vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.ack(0) == LrFile::spurious);
    }
    SUBCASE("unloaded while pending") {
        vm.sgi(1, gic::IccSgir::INTID::of(5) | 1);
        vm.load(0);
        vm.save(0);
        vm.expect(5);
    }
    SUBCASE("unloaded while active, sent again") {
        vm.sgi(1, gic::IccSgir::INTID::of(5) | 1);
        vm.load(0);
        CHECK(vm.ack(0) == 5);
        vm.save(0);
        vm.sgi(1, gic::IccSgir::INTID::of(5) | 1);
        CHECK(!vm.gic.has_pending({0})); // it runs at that priority
        vm.load(0);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.eoi(0, 5);
        CHECK(vm.ack(0) == 5);
        vm.eoi(0, 5);
    }
    SUBCASE("the group goes off and on") {
        vm.sgi(1, gic::IccSgir::INTID::of(5) | 1);
        vm.wr(1, gicd::ctlr, 0);
        CHECK(!vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.save(0);
        vm.wr(1, gicd::ctlr, 3);
        vm.expect(5);
    }
}

TEST_CASE("quiet: the timer of a loaded vCPU, released when it leaves before the flush") {
    QuietVm vm;
    vm.load(0);
    vm.files[0].physical_active = true; // acknowledged by EL2
    vgic::inject_timer(vm.gic, {0}, vm.files[0]);
    vm.save(0);
    CHECK(!vm.files[0].physical_active);
    CHECK(vm.gic.has_pending({0}));
    vm.load(0);
    CHECK(vm.files[0].physical_active);
    CHECK(vm.ack(0) == 27);
    vm.eoi(0, 27);
    CHECK(!vm.files[0].physical_active);
}
