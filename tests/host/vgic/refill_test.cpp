// SPDX-License-Identifier: Apache-2.0
// List registers as a cache: delivery, overflow, EOI modes, level sampling, the hardware-backed timer.
#include "tests/support/gic_guest.hpp"

using namespace atl;
using namespace atl::vgic;

namespace gicd = gic::gicd;
namespace gicr = gic::gicr;

TEST_CASE("an SGI to self takes one list register, no refill and no exit at its EOI") {
    TestVm vm;
    vm.boot();
    vm.load_all();
    const u64 refills = vm.gic.vcpu({0}).stat_refills;
    for (unsigned i = 0; i < 100; ++i) {
        vm.sgi(0, gic::IccSgir::INTID::of(3) | 1);
        CHECK(vm.ack(0) == 3);
        vm.eoi(0, 3);
        CHECK(vm.ack(0) == LrFile::spurious);
    }
    CHECK(vm.gic.vcpu({0}).stat_refills == refills);
    CHECK(vm.maintenance_count == 0);
}

TEST_CASE("an SGI that is sent again while active is delivered again, once") {
    for (const unsigned lrs : {1u, 2u, 4u}) {
        TestVm vm(2, lrs);
        vm.boot();
        vm.load_all();
        vm.sgi(1, gic::IccSgir::INTID::of(3) | 1);
        CHECK(vm.ack(0) == 3);
        vm.sgi(1, gic::IccSgir::INTID::of(3) | 1);
        vm.sgi(1, gic::IccSgir::INTID::of(3) | 1);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.eoi(0, 3);
        CHECK(vm.ack(0) == 3);
        vm.eoi(0, 3);
        CHECK(vm.ack(0) == LrFile::spurious);
    }
}

TEST_CASE("32 pending interrupts come out in priority order through any number of list registers") {
    for (const unsigned lrs : {1u, 2u, 4u, 16u}) {
        for (const bool nested : {false, true}) {
            TestVm vm(1, lrs);
            vm.boot();
            for (u32 i = 0; i < 32; ++i) {
                vm.edge(32 + i);
                vm.wr(0, gicd::ipriorityr + 32 + i, ((i * 7) % 31) << 3, 1);
            }
            vm.load(0);
            for (u32 i = 0; i < 32; ++i) {
                vm.pulse(32 + i);
            }
            u32 last = 0;
            unsigned count = 0;
            for (;;) {
                const u32 intid = vm.ack(0);
                if (intid == LrFile::spurious) {
                    break;
                }
                const u32 priority = static_cast<u32>(vm.rd(0, gicd::ipriorityr + intid, 1));
                CHECK(priority >= last);
                last = priority;
                ++count;
                if (nested) {
                    vm.enter(0);
                }
                vm.eoi(0, intid);
            }
            CHECK(count == 32);
            // At most one exit per acknowledge (no pending one left) and one per EOI (not listed any more).
            CHECK(vm.maintenance_count <= 64);
            if (lrs == 16) {
                CHECK(vm.maintenance_count <= 8);
            }
        }
    }
}

TEST_CASE("nesting deeper than the list registers: EOIs reach the right interrupts") {
    for (const unsigned lrs : {1u, 2u, 4u, 16u}) {
        TestVm vm(1, lrs);
        vm.boot();
        for (u32 i = 0; i < 20; ++i) {
            vm.edge(40 + i);
            vm.wr(0, gicd::ipriorityr + 40 + i, (24 - i) << 3, 1);
        }
        vm.load(0);
        for (u32 i = 0; i < 20; ++i) {
            vm.pulse(40 + i);
            CHECK(vm.ack(0) == 40 + i); // each preempts the one before
        }
        for (u32 i = 20; i-- > 0;) {
            const u64 word = vm.rd(0, gicd::isactiver + 4) | vm.rd(0, gicd::isactiver + 8) << 32;
            CHECK(word == ((u64{1} << (i + 1)) - 1) << 8);
            vm.eoi(0, 40 + i);
        }
        CHECK(vm.rd(0, gicd::isactiver + 4) == 0);
        CHECK(vm.ack(0) == LrFile::spurious);
    }
}

TEST_CASE("EOImode 1: deactivation in any order, more active ones than list registers") {
    for (const unsigned lrs : {1u, 2u, 4u, 16u}) {
        TestVm vm(1, lrs);
        vm.boot();
        vm.open_interface(0, true);
        vm.load(0);
        for (u32 i = 0; i < 10; ++i) {
            vm.edge(40 + i);
            vm.pulse(40 + i);
            CHECK(vm.ack(0) == 40 + i);
            vm.eoi(0, 40 + i); // drops the priority only
            vm.pulse(40 + i);  // pending again, not deliverable while active
            CHECK(vm.ack(0) == LrFile::spurious);
        }
        for (u32 i = 0; i < 10; ++i) {
            const u32 intid = 40 + (i * 3 + 4) % 10;
            vm.dir(0, intid);
            CHECK(vm.ack(0) == intid);
            vm.eoi(0, intid);
            vm.dir(0, intid);
            CHECK(vm.ack(0) == LrFile::spurious);
        }
        CHECK(vm.rd(0, gicd::isactiver + 4) == 0);
    }
}

TEST_CASE("a level is sampled again after the EOI, and costs no exit when it fell before") {
    TestVm vm(1);
    vm.boot();
    vm.load(0);
    vm.line(33, true);
    CHECK(vm.ack(0) == 33);
    vm.line(33, false);
    vm.eoi(0, 33);
    CHECK(vm.maintenance_count == 0);
    CHECK(vm.ack(0) == LrFile::spurious);

    vm.line(33, true);
    for (unsigned i = 0; i < 5; ++i) {
        CHECK(vm.ack(0) == 33);
        vm.eoi(0, 33);
    }
    CHECK(vm.ack(0) == 33);
    vm.line(33, false);
    vm.eoi(0, 33);
    CHECK(vm.ack(0) == LrFile::spurious);
    CHECK(vm.maintenance_count <= 5);

    vm.line(33, true); // taken back before it is acknowledged
    vm.line(33, false);
    CHECK(vm.ack(0) == LrFile::spurious);
}

TEST_CASE("disabled keeps pending, disabled while active stays active") {
    TestVm vm(1);
    vm.boot();
    vm.load(0);
    vm.edge(50);
    vm.wr(0, gicd::icenabler + 4, 1u << 18);
    vm.pulse(50);
    CHECK(vm.ack(0) == LrFile::spurious);
    CHECK((vm.rd(0, gicd::ispendr + 4) & (1u << 18)) != 0);
    vm.wr(0, gicd::isenabler + 4, 1u << 18);
    CHECK(vm.ack(0) == 50);
    vm.wr(0, gicd::icenabler + 4, 1u << 18);
    CHECK(vm.rd(0, gicd::isactiver + 4) == 1u << 18);
    vm.eoi(0, 50);
    CHECK(vm.rd(0, gicd::isactiver + 4) == 0);

    vm.wr(0, gicd::isenabler + 4, 1u << 18); // listed, then disabled, then cleared
    vm.pulse(50);
    vm.wr(0, gicd::icenabler + 4, 1u << 18);
    CHECK(vm.ack(0) == LrFile::spurious);
    vm.wr(0, gicd::icpendr + 4, 1u << 18);
    vm.wr(0, gicd::isenabler + 4, 1u << 18);
    CHECK(vm.ack(0) == LrFile::spurious);
}

TEST_CASE("timer: delivered without refill; the guest's EOI is the physical one") {
    TestVm vm(1);
    vm.boot();
    vm.load(0);
    REQUIRE(vm.fire_timer(0));
    CHECK(vm.ack(0) == 27);
    CHECK(!vm.fire_timer(0)); // held while active
    vm.eoi(0, 27);
    CHECK(!vm.files[0].physical_active);
    const u64 refills = vm.gic.vcpu({0}).stat_refills;
    for (unsigned i = 0; i < 100; ++i) {
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.ack(0) == 27);
        vm.eoi(0, 27);
    }
    CHECK(vm.gic.vcpu({0}).stat_refills == refills);
    CHECK(vm.maintenance_count == 0);
    CHECK(vm.ack(0) == LrFile::spurious);
}

TEST_CASE("timer: unload in each state releases the physical one, load takes it back") {
    TestVm vm(1);
    vm.boot();
    vm.load(0);
    SUBCASE("pending in a list register") {
        REQUIRE(vm.fire_timer(0));
        vm.save(0);
        CHECK(!vm.files[0].physical_active);
        CHECK(vm.gic.has_pending({0}));
        SUBCASE("still due") {
            vm.load(0);
            CHECK(vm.files[0].physical_active);
            CHECK(vm.ack(0) == 27);
            vm.eoi(0, 27);
            CHECK(!vm.files[0].physical_active);
        }
        SUBCASE("no longer due") {
            vm.gic.set_ppi({0}, {27}, false);
            CHECK(!vm.gic.has_pending({0}));
            vm.load(0);
            CHECK(!vm.files[0].physical_active);
            CHECK(vm.ack(0) == LrFile::spurious);
        }
    }
    SUBCASE("active") {
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.ack(0) == 27);
        vm.save(0);
        CHECK(!vm.files[0].physical_active);
        vm.gic.set_ppi({0}, {27}, true); // the handler has not come to it yet
        CHECK(!vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.files[0].physical_active);
        vm.eoi(0, 27);
        CHECK(!vm.files[0].physical_active);
        CHECK(vm.ack(0) == LrFile::spurious); // only the physical line speaks now
    }
    SUBCASE("due while away") {
        vm.save(0);
        CHECK(!vm.gic.has_pending({0}));
        CHECK(vm.gic.set_ppi({0}, {27}, true) == 1);
        CHECK(vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.files[0].physical_active);
        CHECK(vm.ack(0) == 27);
        vm.eoi(0, 27);
        CHECK(!vm.files[0].physical_active);
    }
}

TEST_CASE("timer: disabled, cleared, reset: never an orphaned physical active state") {
    TestVm vm(1);
    vm.boot();
    vm.load(0);
    SUBCASE("fires while disabled: its level is seen, and falls with the timer") {
        vm.rwr(0, 0, gicr::icenabler0, 1u << 27);
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.files[0].physical_active);
        CHECK(vm.ack(0) == LrFile::spurious);
        CHECK(vm.rrd(0, 0, gicr::ispendr0) == 1u << 27);
        CHECK(vm.files[0].physical_active);
        vm.rwr(0, 0, gicr::icpendr0, 1u << 27); // a level cannot be cleared
        CHECK(vm.rrd(0, 0, gicr::ispendr0) == 1u << 27);
        SUBCASE("still high when it is enabled") {
            vm.rwr(0, 0, gicr::isenabler0, 1u << 27);
            CHECK(vm.files[0].physical_active);
        }
        SUBCASE("read when it is low") {
            vm.files[0].timer_high = false;
            CHECK(vm.rrd(0, 0, gicr::ispendr0) == 0);
            CHECK(!vm.files[0].physical_active);
            vm.rwr(0, 0, gicr::isenabler0, 1u << 27);
            CHECK(vm.ack(0) == LrFile::spurious);
            REQUIRE(vm.fire_timer(0));
        }
        SUBCASE("enabled when it is low") {
            vm.files[0].timer_high = false;
            vm.rwr(0, 0, gicr::isenabler0, 1u << 27);
            CHECK(!vm.files[0].physical_active);
            CHECK(vm.ack(0) == LrFile::spurious);
            REQUIRE(vm.fire_timer(0));
        }
        CHECK(vm.ack(0) == 27);
        vm.eoi(0, 27);
        CHECK(!vm.files[0].physical_active);
    }
    SUBCASE("pending in a list register, and silenced before it is taken: the next look takes it out") {
        REQUIRE(vm.fire_timer(0));
        vm.files[0].timer_high = false;
        CHECK(vm.rrd(0, 0, gicr::ispendr0) == 0);
        CHECK(!vm.files[0].physical_active);
        CHECK(vm.ack(0) == LrFile::spurious);
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.ack(0) == 27);
        vm.eoi(0, 27);
    }
    SUBCASE("disabled while active") {
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.ack(0) == 27);
        vm.rwr(0, 0, gicr::icenabler0, 1u << 27);
        CHECK(vm.files[0].physical_active);
        vm.eoi(0, 27);
        CHECK(!vm.files[0].physical_active);
    }
    SUBCASE("disabled while pending") {
        REQUIRE(vm.fire_timer(0));
        vm.rwr(0, 0, gicr::icenabler0, 1u << 27);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.save(0);
        CHECK(!vm.files[0].physical_active);
    }
    SUBCASE("active cleared by ICACTIVER") {
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.ack(0) == 27);
        vm.rwr(0, 0, gicr::icactiver0, 1u << 27);
        CHECK(!vm.files[0].physical_active);
        CHECK(vm.rrd(0, 0, gicr::isactiver0) == 0);
    }
    SUBCASE("active set by ISACTIVER") {
        vm.rwr(0, 0, gicr::isactiver0, 1u << 27);
        CHECK(vm.files[0].physical_active);
        CHECK(vm.rrd(0, 0, gicr::isactiver0) == 1u << 27);
        vm.rwr(0, 0, gicr::icactiver0, 1u << 27);
        CHECK(!vm.files[0].physical_active);
    }
    SUBCASE("pending set by ISPENDR and cleared again") {
        vm.rwr(0, 0, gicr::ispendr0, 1u << 27);
        vm.rwr(0, 0, gicr::icpendr0, 1u << 27);
        CHECK(vm.ack(0) == LrFile::spurious);
        CHECK(!vm.files[0].physical_active);
    }
    SUBCASE("reset") {
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.ack(0) == 27);
        CHECK(!vm.gic.reset().ok());
        vm.save(0);
        CHECK(!vm.files[0].physical_active);
        CHECK(vm.gic.reset().ok());
        vm.files[0] = LrFile(4);
        vm.boot();
        vm.load(0);
        CHECK(vm.ack(0) == LrFile::spurious);
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.ack(0) == 27);
    }
}

TEST_CASE("timer: finds its way past full list registers") {
    TestVm vm(1, 1);
    vm.boot();
    vm.load(0);
    vm.rwr(0, 0, gicr::ipriorityr + 27, 0x20, 1);
    for (u32 i = 0; i < 8; ++i) {
        vm.edge(40 + i);
        vm.pulse(40 + i);
    }
    REQUIRE(vm.fire_timer(0));
    CHECK(vm.ack(0) == 27);
    vm.pulse(40);
    vm.eoi(0, 27);
    CHECK(!vm.files[0].physical_active);
    for (u32 i = 0; i < 8; ++i) {
        const u32 intid = vm.ack(0);
        CHECK(intid == 40 + i);
        if (i == 3) {
            REQUIRE(vm.fire_timer(0));
            CHECK(vm.ack(0) == 27);
            vm.eoi(0, 27);
            CHECK(!vm.files[0].physical_active);
        }
        vm.eoi(0, intid);
    }
    CHECK(vm.ack(0) == LrFile::spurious);
}

TEST_CASE("a group that the guest's CPU interface has off does not block the other one") {
    TestVm vm(1, 1);
    vm.boot();
    vm.wr(0, gicd::igroupr + 4, ~u32{1}); // INTID 32 in group 0, most urgent
    vm.wr(0, gicd::ipriorityr + 32, 0, 1);
    vm.edge(32);
    vm.edge(33);
    vm.gic.vcpu({0}).saved.vmcr &= ~gic::IchVmcr::VENG0::mask;
    vm.load(0);
    vm.pulse(32);
    vm.pulse(33);
    CHECK(vm.ack(0) == 33);
    vm.eoi(0, 33);
    CHECK(vm.ack(0) == LrFile::spurious);
    vm.files[0].set_vmcr(TestVm::open_vmcr());
    vm.enter(0);
    CHECK(vm.files[0].acknowledge(false) == 32);
}

TEST_CASE("a re-routed interrupt leaves the old vCPU and reaches the new one") {
    TestVm vm(2, 2);
    vm.boot();
    vm.load_all();
    vm.edge(40);
    vm.pulse(40);
    CHECK(vm.files[0].offered(true) == 40);
    vm.wr(0, gicd::irouter + 8 * 40, 1, 8);
    vm.enter_all();
    CHECK(vm.files[0].offered(true) == LrFile::spurious);
    CHECK(vm.ack(1) == 40);
    vm.wr(0, gicd::irouter + 8 * 40, 0, 8); // active on 1, next delivery on 0
    vm.pulse(40);
    CHECK(vm.ack(0) == LrFile::spurious);
    vm.eoi(1, 40);
    CHECK(vm.ack(0) == 40);
    vm.eoi(0, 40);
}
