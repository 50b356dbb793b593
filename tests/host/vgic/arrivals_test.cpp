// SPDX-License-Identifier: Apache-2.0
// The short ways of SPIs and LPIs into list registers [vgic/refill_arrivals.hpp]: when they are taken, and when not. That they
// deliver what a refill would is for closed_loop_test.cpp.
#include "tests/support/gic_its.hpp"

using namespace atl;
using namespace atl::vgic;
using namespace atl::gic::its_command;

namespace gicd = gic::gicd;

namespace {

u64 refills(TestVm& vm, unsigned v = 0) {
    return vm.gic.vcpu(TestVm::index(v)).stat_refills;
}

struct Loaded : TestVm {
    u64 before;
    explicit Loaded(unsigned list_registers = 4, bool v2 = false) : TestVm(2, list_registers, 64, v2) {
        boot();
        for (u32 spi = 32; v2 && spi < 96; ++spi) {
            route(0, spi, 0);
        }
        for (u32 spi = 64; spi < 72; ++spi) {
            edge(spi);
        }
        load_all();
        before = refills(*this);
    }
    void take(u32 intid) {
        CHECK(ack(0) == intid);
        eoi(0, intid);
    }
};

struct WithLpis : ItsVm {
    u64 before;
    explicit WithLpis(unsigned list_registers = 4) : ItsVm(2, list_registers) {
        boot_its();
        map_some();
        before = refills(*this);
    }
    void arrive(u32 n) { kick(lpis->arrive(gic::first_lpi + n)); }
    void take(u32 n) {
        CHECK(ack(0) == gic::first_lpi + n);
        eoi(0, gic::first_lpi + n);
    }
};

} // namespace

TEST_CASE("arrivals: a level rises, is taken and ends without a refill") {
    for (const bool v2 : {false, true}) {
        Loaded vm(4, v2);
        for (unsigned i = 0; i < 20; ++i) {
            vm.line(40 + i % 8, true);
            CHECK(vm.ack(0) == 40 + i % 8);
            vm.line(40 + i % 8, false);
            vm.before = refills(vm);
            vm.eoi(0, 40 + i % 8);
            CHECK(refills(vm) == vm.before);
        }
        vm.before = refills(vm);
        vm.line(40, true);
        CHECK(refills(vm) == vm.before);
        vm.take(40);
        vm.take(40); // still high: it is listed again
        CHECK(refills(vm) == vm.before);
    }
}

TEST_CASE(
    "arrivals: edges, one in its old list register, others in free ones and in those that are done with") {
    Loaded vm;
    for (unsigned i = 0; i < 8; ++i) {
        vm.pulse(64);
        vm.take(64);
    }
    CHECK(vm.gic.vcpu({0}).used == 1);
    for (u32 spi = 65; spi < 72; ++spi) {
        vm.pulse(spi);
        vm.take(spi);
    }
    CHECK(refills(vm) == vm.before);
    CHECK(vm.ack(0) == LrFile::spurious);
}

TEST_CASE("arrivals: more than there are list registers") {
    Loaded vm(2);
    for (u32 spi = 64; spi < 67; ++spi) {
        vm.pulse(spi);
    }
    CHECK(refills(vm) == vm.before + 1);
    CHECK(vm.gic.vcpu({0}).long_way == pending_left_over);
    vm.pulse(67); // and now every one is a refill
    CHECK(refills(vm) == vm.before + 2);
    for (u32 i = 0; i < 4; ++i) {
        const u32 intid = vm.ack(0);
        CHECK(intid - 64 < 4);
        vm.eoi(0, intid);
    }
    CHECK(vm.ack(0) == LrFile::spurious);
    CHECK(vm.gic.vcpu({0}).long_way == 0);
}

TEST_CASE("arrivals: once more while it is pending, active, or another vCPU's") {
    Loaded vm;
    SUBCASE("pending") {
        vm.pulse(64);
        vm.pulse(64);
        vm.take(64);
    }
    SUBCASE("active") {
        vm.pulse(64);
        CHECK(vm.ack(0) == 64);
        vm.pulse(64);
        vm.eoi(0, 64);
        vm.take(64);
    }
    SUBCASE("active elsewhere") {
        vm.pulse(64);
        CHECK(vm.ack(0) == 64);
        vm.route(1, 64, 1);
        vm.pulse(64);
        CHECK(vm.ack(1) == LrFile::spurious);
        vm.eoi(0, 64);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.save(0); // it is read back at the latest then
        CHECK(vm.ack(1) == 64);
        vm.eoi(1, 64);
        vm.load(0);
    }
    SUBCASE("disabled, and its bank's neighbour is not") {
        vm.wr(1, gicd::icenabler + 8, 1);
        vm.pulse(64);
        vm.pulse(65);
        vm.take(65);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.wr(1, gicd::isenabler + 8, 1);
        vm.take(64);
    }
    SUBCASE("a high level beside it, being handled") {
        vm.line(70 - 32, true);
        CHECK(vm.ack(0) == 38);
        vm.before = refills(vm);
        vm.line(39, true);
        CHECK(refills(vm) == vm.before);
        vm.line(39, false);
        vm.line(38, false);
        vm.eoi(0, 38);
    }
    CHECK(vm.ack(0) == LrFile::spurious);
}

TEST_CASE("arrivals: a host's line that is low after all when its old list register is looked at") {
    Loaded vm;
    static unsigned resampled;
    resampled = 0;
    vm.gic.set_host_lines({nullptr, [](void*, Intid) { ++resampled; }});
    REQUIRE(vm.gic.back_by_host({40}, true).ok());
    vm.wr(0, gicd::ispendr + 4, 1u << 8); // pending by a register: the list register asks for no maintenance
    vm.take(40);
    vm.line(40, true);
    CHECK(resampled == 1); // its end, seen now, lowers the input and asks the host again
    CHECK(vm.ack(0) == LrFile::spurious);
    vm.line(40, true);
    vm.take(40);
    CHECK(resampled == 2);
    CHECK(vm.ack(0) == LrFile::spurious);
}

TEST_CASE("arrivals: LPIs, also again while one is pending or being handled") {
    WithLpis vm;
    for (unsigned i = 0; i < 20; ++i) {
        vm.arrive(i % 10);
        vm.arrive(i % 10);
        vm.take(i % 10);
        CHECK(vm.ack(0) == LrFile::spurious);
    }
    vm.arrive(3);
    CHECK(vm.ack(0) == gic::first_lpi + 3);
    vm.arrive(3);
    vm.eoi(0, gic::first_lpi + 3);
    vm.take(3);
    CHECK(refills(vm) == vm.before);
    CHECK(vm.lpis->vcpu(0).listed <= 4);
    vm.save(0);
    CHECK(vm.lpis->vcpu(0).listed == 0);
}

TEST_CASE("arrivals: LPIs that are off, another vCPU's, or too many") {
    WithLpis vm(2);
    SUBCASE("off") {
        vm.configure(gic::first_lpi + 5, false);
        vm.command(inv(1, 5));
        vm.before = refills(vm);
        vm.arrive(5);
        vm.arrive(6);
        CHECK(refills(vm) == vm.before);
        vm.take(6);
        CHECK(vm.ack(0) == LrFile::spurious);
        vm.configure(gic::first_lpi + 5, true);
        vm.command(inv(1, 5));
        vm.take(5);
    }
    SUBCASE("the other's: whoever finds it tells") {
        vm.command(movi(1, 5, 1));
        vm.save(1);
        vm.arrive(5);
        vm.arrive(6);
        vm.take(6);
        CHECK(vm.gic.has_pending({1}));
        vm.load(1);
        CHECK(vm.ack(1) == gic::first_lpi + 5);
        vm.eoi(1, gic::first_lpi + 5);
        CHECK(vm.ack(1) == LrFile::spurious);
    }
    SUBCASE("the other's, which is about to look for it") {
        vm.command(movi(1, 5, 1));
        const VcpuMask late = vm.lpis->arrive(gic::first_lpi + 5);
        vm.arrive(6); // vCPU 0 takes out both
        vm.take(6);
        vm.kick(late);
        CHECK(vm.ack(1) == gic::first_lpi + 5);
        vm.eoi(1, gic::first_lpi + 5);
        CHECK(vm.ack(1) == LrFile::spurious);
    }
    SUBCASE("too many") {
        for (u32 n = 0; n < 5; ++n) {
            vm.arrive(n);
        }
        CHECK(refills(vm) > vm.before);
        u32 seen = 0;
        for (u32 n = 0; n < 5; ++n) {
            const u32 intid = vm.ack(0);
            REQUIRE(intid >= gic::first_lpi);
            seen |= 1u << (intid - gic::first_lpi);
            vm.eoi(0, intid);
        }
        CHECK(seen == 0x1f);
    }
    CHECK(vm.ack(0) == LrFile::spurious);
}
