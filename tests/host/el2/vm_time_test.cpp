// SPDX-License-Identifier: Apache-2.0
// What guests are told about time [el2/vm_time.hpp]: stolen time [DEN0057A], and counters that count run time only.
#include <cstring>

#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;

namespace {

constexpr u64 wfi = u64{1} << 26 | arch::Esr::IL::mask;
constexpr u64 timer_on = 1;

u64 read_sysreg(u32 id, unsigned rt) {
    using namespace arch::SysregTrap;
    return arch::Esr::EC::of(0x18) | arch::Esr::IL::mask | Op0::of(id >> 14) | Op1::of((id >> 11) & 7) |
           CRn::of((id >> 7) & 15) | CRm::of((id >> 3) & 15) | Op2::of(id & 7) | Rt::of(rt) | 1;
}
constexpr u32 cntpct = arch::sysreg_id(3, 3, 14, 0, 1);

StolenTime stolen(Machine& m, unsigned id, unsigned vcpu) {
    StolenTime all[8];
    std::memcpy(all, hw::ram(m.vm(id).time_page, sizeof(all)).data(), sizeof(all));
    return all[vcpu];
}

u64 ns(const Machine& m, u64 ticks) {
    return m.world.scale.ticks_to_ns(ticks);
}

u64 count(Machine& m, unsigned id) {
    return m.hw().counter - virtual_offset(m.vm(id), m.hw().counter);
}

} // namespace

TEST_CASE("time: stolen time is told to who asks: what a vCPU waited, not what it slept") {
    Machine m({{.vcpus = 2}, {.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.vcpu(1);
    Vcpu& b = m.vcpu(2);
    CHECK(m.call(a, {abi::smccc_arch_features, abi::pv_time_features}) == 0);
    CHECK(m.call(a, {abi::pv_time_features, abi::pv_time_st}) == 0);
    CHECK(m.call(a, {abi::pv_time_features, abi::pv_time_features}) == 0);
    CHECK(m.call(a, {abi::pv_time_features, 0x8400'0000}) == abi::smccc_not_supported);
    CHECK(m.call(a, {abi::pv_time_st}) == guest_map::stolen_time.value);
    const auto walk = m.vm(1).space.walk(guest_map::stolen_time);
    CHECK(walk.mapped);
    CHECK_FALSE(walk.attributes.write);
    CHECK_FALSE(walk.attributes.execute);
    CHECK(stolen(m, 1, 0).nanoseconds == 0);
    m.preempt(0);
    REQUIRE(m.cpu(0).current == &b);
    m.hw().counter += 300;
    m.preempt(0);
    REQUIRE(m.cpu(0).current == &a);
    CHECK(stolen(m, 1, 0).nanoseconds == ns(m, 300));
    CHECK(stolen(m, 1, 0).revision == 0);
    CHECK(stolen(m, 1, 1).nanoseconds == 0);
    // It sleeps for 1000 ticks, is woken, and waits for another 50.
    m.exit(a, wfi);
    m.hw().counter += 1000;
    kick_vcpus(m.vm(1), m.vm(1).gic.pulse_ppi(a.index, {20}));
    m.hw().counter += 50;
    m.preempt(0);
    REQUIRE(m.cpu(0).current == &a);
    CHECK(stolen(m, 1, 0).nanoseconds == ns(m, 350));
    CHECK(stolen(m, 2, 0).nanoseconds == 0); // vm2 never asked
    // It was woken by somebody who had not seen yet that it asks.
    m.preempt(0);
    REQUIRE(m.cpu(0).current == &b);
    a.ready_since = 0;
    m.preempt(0);
    REQUIRE(m.cpu(0).current == &a);
    CHECK(stolen(m, 1, 0).nanoseconds == ns(m, 350));
    SUBCASE("a new life begins at 0, and asks again") {
        stop_vm(m.vm(1), AfterStop::restart, false);
        m.settle();
        CHECK(stolen(m, 1, 0).nanoseconds == 0);
        CHECK_FALSE(m.vcpu(1).steals);
    }
    SUBCASE("the page comes back") {
        stop_vm(m.vm(1), AfterStop::off, false);
        m.settle();
        CHECK_FALSE(m.vm(1).has_time_page);
    }
}

TEST_CASE("time: with clock = run the count stands while the VM waits for a CPU") {
    Machine m({{.vcpus = 1, .clock = VmClock::run}, {.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.vcpu(1);
    m.load(a);
    const u64 at_load = count(m, 1);
    m.hw().counter += 100;
    CHECK(count(m, 1) == at_load + 100);
    m.exit(a, read_sysreg(cntpct, 4)); // the physical count is the same
    CHECK(a.x[4] == at_load + 100);
    m.preempt(0);
    REQUIRE(m.cpu(0).current == &m.vcpu(2));
    m.hw().counter += 5000;
    CHECK(count(m, 1) == at_load + 100);
    m.preempt(0);
    REQUIRE(m.cpu(0).current == &a);
    CHECK(count(m, 1) == at_load + 100);
    CHECK(a.vm->cntvoff == m.hw().counter - (at_load + 100));
    CHECK(m.vm(2).cntvoff == virtual_offset(m.vm(2), m.hw().counter)); // the other's goes on
    // Asleep, time passes: the timer of a sleeper fires on time.
    a.sys.cntv_ctl = timer_on;
    a.sys.cntv_cval = count(m, 1) + 700;
    m.exit(m.vcpu(2).state == SchedState::running ? m.vcpu(2) : a, wfi);
    CHECK(count(m, 1) == at_load + 100);
    m.pass(400);
    CHECK(count(m, 1) == at_load + 500);
}

TEST_CASE("time: with clock = run a sleeper's timer waits with the count, and is not missed") {
    // vCPU 0 of vm1 sleeps until its timer, vCPU 1 on the same pCPU waits behind vm2.
    Machine m({{.vcpus = 2, .clock = VmClock::run}, {.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.vcpu(1, 0);
    Vcpu& b = m.vcpu(1, 1);
    m.call(a, {abi::psci_cpu_on | abi::smccc_64, 1, 0x4000'0000, 0});
    m.load(b);
    m.load(a);
    a.sys.cntv_ctl = timer_on;
    a.sys.cntv_cval = count(m, 1) + 500;
    m.exit(a, wfi);
    m.load(m.vcpu(2));
    REQUIRE(b.state == SchedState::ready);
    const u64 stands_at = count(m, 1);
    m.hw().counter += 2000;
    m.fire_timers();
    CHECK(count(m, 1) == stands_at);
    CHECK(a.state == SchedState::parked);
    CHECK(a.deadline > m.hw().counter); // looked for again, but not at each tick
    m.load(b);
    CHECK(count(m, 1) == stands_at);
    const auto line = [&a] { return (a.gic->priv.line.load() >> 27 & 1) != 0; };
    CHECK_FALSE(line());
    m.hw().counter += a.sys.cntv_cval - count(m, 1);
    m.pass(m.world.slice_ticks);
    CHECK(line());
}
