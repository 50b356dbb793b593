// SPDX-License-Identifier: Apache-2.0
// Pending and active as a guest reads them back at once, where list registers know more than memory. Each case was a
// difference between a guest's answer and the bare machine's (guests/bare/gic_state.cpp, gic_sgi.cpp). [IHI0069 §4.1]
#include "tests/support/gic_guest.hpp"

using namespace atl;
using namespace atl::vgic;

namespace gicd = gic::gicd;
namespace gicr = gic::gicr;

TEST_CASE("every read of a pending or active word looks at list registers anew") {
    TestVm vm(2);
    vm.boot();
    vm.edge(40);
    constexpr u32 bit = 1u << 8;
    for (const unsigned taker : {0u, 1u}) { // the reader's own list registers, another vCPU's
        CAPTURE(taker);
        vm.wr(0, gicd::irouter + 8 * 40, taker, 8);
        vm.load_all();
        for (const u64 reg : {gicd::isactiver + 4, gicd::ispendr + 4}) {
            const bool active = reg == gicd::isactiver + 4;
            for (unsigned round = 0; round < 3; ++round) {
                CAPTURE(round);
                vm.pulse(40);
                CHECK(vm.ack(taker) == 40);
                CHECK((vm.rd(0, reg) & bit) == (active ? bit : 0));
                vm.eoi(taker, 40);
                // Nothing is listed any more when the second attempt of this read comes: it ends the request all the same.
                CHECK((vm.rd(0, reg) & bit) == 0);
            }
        }
        vm.save(0);
        vm.save(1);
    }
}

TEST_CASE("the virtual timer's line shows as pending while its interrupt is active") {
    TestVm vm(2);
    vm.boot();
    vm.load_all();
    constexpr u32 bit = 1u << 27;
    REQUIRE(vm.fire_timer(0));
    CHECK((vm.rrd(0, 0, gicr::ispendr0) & bit) == bit);
    CHECK(vm.ack(0) == 27);
    vm.files[0].timer_high = true; // the handler has not silenced it yet
    for (const unsigned reader : {0u, 1u}) {
        CHECK((vm.rrd(reader, 0, gicr::ispendr0) & bit) == bit);
        CHECK((vm.rrd(reader, 0, gicr::isactiver0) & bit) == bit);
    }
    CHECK((vm.rrd(0, 1, gicr::ispendr0) & bit) == 0);
    vm.files[0].timer_high = false;
    CHECK((vm.rrd(0, 0, gicr::ispendr0) & bit) == 0);
    CHECK((vm.rrd(0, 0, gicr::isactiver0) & bit) == bit);
    vm.files[0].timer_high = true;
    vm.eoi(0, 27);
    CHECK(!vm.files[0].physical_active);
    CHECK((vm.rrd(0, 0, gicr::ispendr0) & bit) == 0); // its own line's business now: it fires again
    CHECK(vm.fire_timer(0));
    CHECK((vm.rrd(0, 0, gicr::ispendr0) & bit) == bit);
}

TEST_CASE("EOImode 1: DIR ends an SPI on whichever vCPU it is active") {
    for (const unsigned lrs : {1u, 4u}) {
        CAPTURE(lrs);
        TestVm vm(2, lrs);
        vm.boot();
        vm.open_interface(0, true);
        vm.open_interface(1, true);
        for (u32 spi = 40; spi < 43; ++spi) {
            vm.edge(spi);
            vm.wr(0, gicd::irouter + 8 * spi, 1, 8);
        }
        vm.load_all();
        for (u32 spi = 40; spi < 43; ++spi) {
            vm.pulse(spi);
            CHECK(vm.ack(1) == spi);
            vm.eoi(1, spi);
        }
        vm.pulse(41);
        CHECK(vm.ack(1) == LrFile::spurious);
        vm.dir(0, 41);
        CHECK((vm.rd(0, gicd::isactiver + 4) & 0x700) == 0x500);
        CHECK(vm.ack(1) == 41);
        vm.eoi(1, 41);
        for (const u32 spi : {42u, 40u, 41u}) {
            vm.dir(0, spi);
        }
        CHECK(vm.rd(0, gicd::isactiver + 4) == 0);
        CHECK(vm.ack(1) == LrFile::spurious);
        vm.save(1);
        CHECK(vm.gic.bank(0).owned[1] == 0);
    }
}

TEST_CASE("EOImode 1: DIR of the hardware-backed timer lets the physical one go") {
    TestVm vm(1);
    vm.boot();
    vm.open_interface(0, true);
    vm.load(0);
    REQUIRE(vm.fire_timer(0));
    CHECK(vm.ack(0) == 27);
    vm.eoi(0, 27);
    CHECK(vm.files[0].physical_active);
    vm.dir(0, 27);
    CHECK(!vm.files[0].physical_active);
    CHECK(vm.fire_timer(0));
    CHECK(vm.ack(0) == 27);
}
