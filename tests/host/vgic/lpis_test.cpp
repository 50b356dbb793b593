// SPDX-License-Identifier: Apache-2.0
// LPIs in the virtual GIC: redistributor registers, pending tables, many at once, parked vCPUs, reset. [vgic/lpis.hpp]
#include <algorithm>
#include <random>

#include "tests/support/gic_its.hpp"

using namespace atl;
using namespace atl::vgic;
using namespace atl::gic;
using namespace atl::gic::its_command;

namespace {

constexpr u32 lpi = first_lpi;
constexpr u32 spurious = LrFile::spurious;

void map_all(ItsVm& vm) {
    REQUIRE(vm.command(mapd(1, 13, ItsVm::itt(1), true)) == ItsFault::none);
    for (u32 n = 0; n < vlpi_count; ++n) {
        vm.ram.put64(ItsVm::itt(1).value + 8 * n, (u64{1} << 63) | (lpi + n));
        REQUIRE(vm.lpis->map(lpi + n, 0) == 0);
    }
}

} // namespace

TEST_CASE("lpis: PROPBASER and PENDBASER are what EnableLPIs found, until it is cleared") {
    ItsVm vm;
    vm.boot();
    vm.rwr(0, 0, gicr::propbaser, 0x4002'0000 | 0x1f, 4);
    vm.rwr(0, 0, gicr::propbaser + 4, 0, 4);
    CHECK((vm.rrd(1, 1, gicr::propbaser, 8) & GicrPropbaser::Physical_Address::mask) ==
          0x4002'0000); // one for all
    vm.rwr(0, 0, gicr::pendbaser, GicrPendbaser::PTZ::mask | 0x4004'1234, 8);
    CHECK((vm.rrd(0, 0, gicr::pendbaser, 8) &
           (GicrPendbaser::PTZ::mask | GicrPendbaser::Physical_Address::mask)) == 0x4004'0000);
    vm.rwr(0, 0, gicr::ctlr, ~0u);
    CHECK(vm.rrd(0, 0, gicr::ctlr) == 3);
    CHECK(vm.rrd(0, 1, gicr::ctlr) == 2);
    vm.rwr(1, 1, gicr::propbaser, 0, 8);
    vm.rwr(0, 0, gicr::pendbaser, 0, 8);
    CHECK((vm.rrd(0, 0, gicr::propbaser, 8) & GicrPropbaser::Physical_Address::mask) == 0x4002'0000);
    CHECK((vm.rrd(0, 0, gicr::pendbaser, 8) & GicrPendbaser::Physical_Address::mask) == 0x4004'0000);
    vm.rwr(1, 0, gicr::ctlr, 0); // another vCPU's
    CHECK(vm.rrd(0, 0, gicr::ctlr) == 2);
    vm.rwr(0, 0, gicr::propbaser, 0x4003'0000 | 12, 8); // 13 bits: too few, no LPI exists
    vm.rwr(0, 0, gicr::ctlr, 1);
    CHECK_FALSE(vm.lpis->exists(lpi));
    CHECK(vm.lpis->arrive(lpi) == 0);
    for (const unsigned size : {1u, 2u}) {
        vm.rwr(0, 0, gicr::ctlr, 0, size);
        CHECK(vm.rrd(0, 0, gicr::ctlr, size) == 0);
    }
    CHECK(vm.rrd(0, 0, gicr::ctlr) == 3);
}

TEST_CASE("lpis: the pending table is read when LPIs are enabled, unless it is said to be zero") {
    for (const bool zero : {false, true}) {
        CAPTURE(zero);
        ItsVm vm;
        vm.boot_its();
        vm.map_some();
        vm.rwr(1, 1, gicr::ctlr, 0);
        vm.ram.byte(ItsVm::pending_tables + 0x1'0000 + (lpi + 3) / 8) = 1 << 3;
        vm.ram.byte(ItsVm::pending_tables + 0x1'0000 + 5) = 0xff; // below 8192: no LPIs
        vm.rwr(1, 1, gicr::pendbaser,
               (zero ? GicrPendbaser::PTZ::mask : 0) | (ItsVm::pending_tables + 0x1'0000), 8);
        vm.rwr(1, 1, gicr::ctlr, 1);
        CHECK(vm.ack(1) == (zero ? spurious : lpi + 3));
        CHECK(vm.ack(0) == spurious);
    }
}

TEST_CASE("lpis: what is pending, in list registers too, is in the table after EnableLPIs was cleared, and "
          "comes back") {
    for (const unsigned caller : {0u, 1u}) {
        CAPTURE(caller);
        ItsVm vm;
        vm.boot_its();
        vm.map_some();
        for (u32 n = 0; n < 10; ++n) {
            vm.command(raise(1, n));
        }
        vm.rwr(caller, 0, gicr::ctlr, 0);
        CHECK(vm.ack(0) == spurious);
        CHECK(vm.ram.byte(ItsVm::pending_tables + lpi / 8) == 0xff);
        CHECK(vm.ram.byte(ItsVm::pending_tables + lpi / 8 + 1) == 0x03);
        vm.command(raise(1, 12)); // a redistributor that is off takes none
        vm.rwr(caller, 0, gicr::ctlr, 1);
        for (u32 n = 0; n < 10; ++n) {
            CHECK(vm.ack(0) == lpi + n);
            vm.eoi(0, lpi + n);
        }
        CHECK(vm.ack(0) == spurious);
    }
}

TEST_CASE("lpis: tables outside the VM's memory configure nothing and hold nothing") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    for (unsigned v = 0; v < 2; ++v) {
        vm.rwr(v, v, gicr::ctlr, 0);
    }
    for (const u64 at : {u64{0}, GuestRam::base + GuestRam::size - 0x1000, Field<51, 16>::mask}) {
        vm.rwr(0, 0, gicr::propbaser, (at & GicrPropbaser::Physical_Address::mask) | 13, 8);
        vm.rwr(0, 0, gicr::pendbaser, at, 8);
        vm.rwr(0, 0, gicr::ctlr, 1);
        vm.command(invall(0));
        vm.command(inv(1, 0));
        vm.command(raise(1, 0));
        vm.rwr(0, 0, gicr::ctlr, 0);
    }
    vm.enable_lpis(0);
    CHECK(vm.ack(0) == spurious);
    vm.command(raise(1, 0));
    CHECK(vm.ack(0) == lpi);
}

TEST_CASE("lpis: all 8192 at once, most urgent first, each once, with 1 to 16 list registers") {
    for (const unsigned lrs : {1u, 4u, 16u}) {
        CAPTURE(lrs);
        ItsVm vm(2, lrs);
        vm.boot_its();
        std::mt19937 random(lrs);
        std::vector<u8> priority(vlpi_count);
        for (u32 n = 0; n < vlpi_count; ++n) {
            priority[n] = static_cast<u8>(random() % 30 * 8);
            vm.configure(lpi + n, n % 7 != 0, priority[n]);
        }
        map_all(vm);
        vm.command(invall(0));
        for (u32 n = 0; n < vlpi_count; ++n) {
            vm.kick(vm.lpis->arrive(lpi + n));
        }
        vm.enter_all();
        std::vector<u32> order;
        for (u32 n = 0; n < vlpi_count; ++n) {
            if (n % 7 != 0) {
                order.push_back(n);
            }
        }
        std::stable_sort(order.begin(), order.end(), [&](u32 a, u32 b) { return priority[a] < priority[b]; });
        bool right = true;
        for (const u32 n : order) {
            const u32 got = vm.ack(0);
            right = right && got >= lpi && priority[got - lpi] == priority[n];
            vm.eoi(0, got);
        }
        CHECK(right);
        CHECK(vm.ack(0) == spurious);
        CHECK(vm.maintenance_count <= vlpi_count / lrs + 16);
    }
}

TEST_CASE("lpis: a parked vCPU: would its WFI end?") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    vm.save(0);
    CHECK_FALSE(vm.gic.has_pending({0}));
    vm.command(movi(1, 1, 1));
    vm.command(raise(1, 1)); // another's
    CHECK_FALSE(vm.gic.has_pending({0}));
    CHECK(vm.lpis->arrive(lpi) == 1);
    CHECK(vm.gic.has_pending({0}));
    CHECK(vm.gic.has_pending({0}));
    vm.configure(lpi, false);
    vm.command(inv(1, 0));
    CHECK_FALSE(vm.gic.has_pending({0}));
    vm.configure(lpi, true, 0xf8); // masked by its priority mask
    vm.command(inv(1, 0));
    CHECK_FALSE(vm.gic.has_pending({0}));
    vm.configure(lpi, true, 0x80);
    vm.command(inv(1, 0));
    CHECK(vm.gic.has_pending({0}));
    vm.wr(1, gicd::ctlr, 1); // group 0 alone
    CHECK_FALSE(vm.gic.has_pending({0}));
    vm.wr(1, gicd::ctlr, 3);
    vm.load(0);
    CHECK(vm.ack(0) == lpi);
    CHECK(vm.ack(1) == lpi + 1);
}

TEST_CASE(
    "lpis: several events between two looks are one pending state; one in service can be pending again") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    vm.command(raise(1, 0));
    vm.command(raise(1, 0));
    CHECK(vm.ack(0) == lpi);
    vm.command(raise(1, 0));
    CHECK(vm.ack(0) == spurious); // same priority: not before the end of the first
    vm.eoi(0, lpi);
    CHECK(vm.ack(0) == lpi);
    vm.eoi(0, lpi);
    CHECK(vm.ack(0) == spurious);
}

TEST_CASE("lpis: a reset forgets everything") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    vm.command(raise(1, 0));
    vm.save(0);
    vm.save(1);
    CHECK(vm.lpis->arrive(lpi + 1) != 0);
    vm.its->reset();
    REQUIRE(vm.gic.reset().ok());
    CHECK(vm.lpis->arrive(lpi) == 0);
    CHECK(vm.rrd(0, 0, gicr::ctlr) == 2);
    CHECK(vm.rits(gits::ctlr, 4) == GitsCtlr::Quiescent::mask);
    vm.boot_its();
    CHECK(vm.ack(0) == spurious);
    vm.map_some();
    vm.command(raise(1, 0));
    CHECK(vm.ack(0) == lpi);
}

TEST_CASE("lpis: GITS_CREADR waits until list registers elsewhere are what the command made them") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    vm.command(raise(1, 0)); // in a list register of vCPU 0
    vm.put(clear(1, 0));
    static_cast<void>(vm.its->write(gits::cwriter, 8, vm.tail));
    const ItsProgress progress = vm.its->step();
    CHECK(progress.kick == 1);
    CHECK(vm.its->read({1}, gits::creadr, 8).retry);
    CHECK_FALSE(vm.its->read({1}, gits::cwriter, 8).retry);
    vm.enter(0);
    CHECK_FALSE(vm.its->read({1}, gits::creadr, 8).retry);
    CHECK(vm.ack(0) == spurious);
}

TEST_CASE("lpis: what the monitor shows") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    for (u32 n = 0; n < 6; ++n) {
        vm.command(raise(1, n));
    }
    vm.command({0x7f, 0, 0, 0});
    std::string text;
    const TextSink sink{&text, [](void* context, std::string_view part) {
                            static_cast<std::string*>(context)->append(part);
                        }};
    vm.gic.dump(sink);
    vm.its->dump(sink);
    CHECK(text.find("vCPU 0 LPIs enabled: 2 pending, 4 listed") != std::string::npos);
    CHECK(text.find("  8196 prio 0xa0 enabled collection 0 pending") != std::string::npos);
    CHECK(text.find("vCPU 1 LPIs enabled: 0 pending, 0 listed") != std::string::npos);
    CHECK(text.find("ITS enabled, queue at 0x40000000") != std::string::npos);
    CHECK(text.find("1 refused (last: there is no such command), 6 LPIs signalled") != std::string::npos);
}
