// SPDX-License-Identifier: Apache-2.0
// PSCI for guests [DEN0022E §5]: every function in both widths and by both conduits, power states and their
// races.
#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;

namespace {

constexpr u64 wide = abi::smccc_64;
constexpr u64 wfi = u64{1} << 26 | arch::Esr::IL::mask;
constexpr u64 entry_at = 0x4000'1000;

u64 narrow(i64 code) {
    return static_cast<u32>(code);
}
u64 full(i64 code) {
    return static_cast<u64>(code);
}

} // namespace

TEST_CASE("psci: version, features and what is not there") {
    Machine m;
    m.boot(1);
    Vcpu& v = m.vcpu(1);
    for (const bool smc : {false, true}) {
        CHECK(m.call(v, {abi::psci_version}, smc) == 0x0001'0001);
        CHECK(m.call(v, {abi::psci_migrate_info_type}, smc) == 2);
        CHECK(m.call(v, {abi::psci_migrate, 0}, smc) == narrow(abi::psci_not_supported));
        CHECK(m.call(v, {abi::psci_system_reset2 | wide, 0}, smc) == full(abi::psci_not_supported));
        for (const u64 function : {0x8400'000bu, 0x8400'000cu, 0x8400'001fu, 0x8400'0007u}) {
            CHECK(m.call(v, {function}, smc) == narrow(abi::psci_not_supported));
            CHECK(m.call(v, {function | wide}, smc) == full(abi::psci_not_supported));
        }
    }
    for (const u64 function :
         {u64{abi::smccc_version}, u64{abi::psci_version}, u64{abi::psci_cpu_suspend},
          abi::psci_cpu_suspend | wide, u64{abi::psci_cpu_off}, u64{abi::psci_cpu_on},
          abi::psci_cpu_on | wide, u64{abi::psci_affinity_info}, abi::psci_affinity_info | wide,
          u64{abi::psci_migrate_info_type}, u64{abi::psci_system_off}, u64{abi::psci_system_reset},
          u64{abi::psci_features}}) {
        CHECK(m.call(v, {abi::psci_features, function}) == 0);
    }
    for (const u64 function : {u64{abi::psci_migrate}, u64{abi::psci_system_reset2}, u64{0x8400'000c}, u64{0},
                               u64{0xffff'ffff}, abi::psci_version | wide}) {
        CHECK(m.call(v, {abi::psci_features, function}) == narrow(abi::psci_not_supported));
    }
}

TEST_CASE("psci: HVC returns after the instruction, SMC is stepped over") {
    Machine m;
    m.boot(1);
    Vcpu& v = m.load(m.vcpu(1));
    v.pc = 0x1000; // HVC: ELR_EL2 is past it already
    m.call(v, {abi::psci_version});
    CHECK(v.pc == 0x1000);
    m.call(v, {abi::psci_version}, true);
    CHECK(v.pc == 0x1004);
}

TEST_CASE("psci: CPU_ON starts a vCPU in the state that the book asks for") {
    for (const u64 function : {u64{abi::psci_cpu_on}, abi::psci_cpu_on | wide}) {
        Machine m;
        m.boot(1);
        Vcpu& second = m.vcpu(1, 1);
        second.x[7] = 0xdead;
        second.sys.ttbr0 = 0xdead;
        second.fp.q[3] = 0xde;
        m.load(m.vcpu(1));
        CHECK(m.call(m.vcpu(1), {function, 1, entry_at, 0xc0de'0001'0002'0003}) == 0);
        CHECK(m.hw().cpu[1].kicked);
        m.settle();
        CHECK(m.cpu(1).current == &second);
        CHECK(second.power.load() == Power::on);
        CHECK(second.pc == entry_at);
        CHECK(second.x[0] == (function == abi::psci_cpu_on ? 0x0002'0003 : 0xc0de'0001'0002'0003));
        CHECK(second.x[7] == 0);
        CHECK(second.fp.q[3] == 0);
        CHECK(second.sys.ttbr0 == 0);
        CHECK((second.sys.sctlr & 0x1005) == 0); // MMU and caches off
        CHECK(m.hw().cpu[1].pstate == 0x3c5);    // EL1h, DAIF
        CHECK(m.call(m.vcpu(1), {function, 1, entry_at, 0}) ==
              (function == abi::psci_cpu_on ? narrow(abi::psci_already_on) : full(abi::psci_already_on)));
    }
}

TEST_CASE("psci: CPU_ON refuses what is not a vCPU or not RAM") {
    Machine m({{.vcpus = 3, .ram_mib = 4}});
    m.boot(1);
    Vcpu& v = m.vcpu(1);
    const u64 on = abi::psci_cpu_on | wide;
    for (const u64 target : {u64{3}, u64{8}, u64{0x100}, u64{0x1'0000'0001}, u64{0x8000'0001}, ~u64{0}}) {
        CHECK(m.call(v, {on, target, entry_at, 0}) == full(abi::psci_invalid_parameters));
    }
    CHECK(m.call(v, {abi::psci_cpu_on, 0x100, entry_at, 0}) == narrow(abi::psci_invalid_parameters));
    for (const u64 entry : {u64{0}, u64{0x3fff'fffc}, u64{0x4040'0000}, u64{0x0900'0000}, u64{0xc000'0000},
                            u64{0x1'0000'0000}, ~u64{3}, u64{0x4000'0002}, u64{0x4000'0001}}) {
        CHECK(m.call(v, {on, 1, entry, 0}) == full(abi::psci_invalid_address));
    }
    CHECK(m.vcpu(1, 1).power.load() == Power::off);
    CHECK(m.call(v, {on, 1, 0x403f'fffc, 0}) == 0); // the last instruction of RAM
    // SMC32: upper halves mean nothing.
    CHECK(m.call(v, {0xffff'ffff'0000'0000 | abi::psci_cpu_on, 0xffff'ffff'0000'0002, 0x1234'5678'4000'0000,
                     0}) == 0);
    CHECK(m.vcpu(1, 2).start_pc == 0x4000'0000);
}

TEST_CASE("psci: a second CPU_ON before the first has run finds ON_PENDING, and so does AFFINITY_INFO") {
    Machine m({{.vcpus = 3}}, 3);
    m.boot(1);
    Vcpu& v = m.vcpu(1);
    const u64 on = abi::psci_cpu_on | wide;
    const u64 info = abi::psci_affinity_info | wide;
    CHECK(m.call(v, {info, 1, 0}) == 1);
    CHECK(m.call(v, {on, 1, entry_at, 11}) == 0);
    CHECK(m.call(v, {info, 1, 0}) == 2);
    CHECK(m.call(v, {on, 1, entry_at + 4, 22}) == full(abi::psci_on_pending));
    m.settle();
    CHECK(m.vcpu(1, 1).x[0] == 11); // the first caller's
    CHECK(m.call(v, {info, 1, 0}) == 0);
    CHECK(m.call(v, {info, 0, 0}) == 0); // itself
    CHECK(m.call(v, {info, 3, 0}) == full(abi::psci_invalid_parameters));
    CHECK(m.call(v, {info, 0, 1}) == full(abi::psci_invalid_parameters));
    CHECK(m.call(v, {abi::psci_affinity_info, 1, 0}) == 0);
    CHECK(m.call(v, {abi::psci_affinity_info, 9, 0}) == narrow(abi::psci_invalid_parameters));
    CHECK(m.call(v, {abi::psci_features, on}) == 0);
}

TEST_CASE("psci: CPU_OFF, and on again with fresh registers") {
    Machine m;
    m.boot(1);
    const u64 on = abi::psci_cpu_on | wide;
    REQUIRE(m.call(m.vcpu(1), {on, 1, entry_at, 1}) == 0);
    m.settle();
    Vcpu& second = m.vcpu(1, 1);
    for (unsigned round = 0; round < 3; ++round) {
        second.x[5] = 77;
        m.call(second, {abi::psci_cpu_off});
        CHECK(m.cpu(1).current == nullptr);
        CHECK(second.power.load() == Power::off);
        CHECK(second.state == SchedState::off);
        CHECK(m.call(m.vcpu(1), {abi::psci_affinity_info | wide, 1, 0}) == 1);
        // No interrupt brings it back.
        kick_vcpus(m.vm(1), 2);
        m.settle();
        CHECK(m.cpu(1).current == nullptr);
        CHECK(m.call(m.vcpu(1), {on, 1, entry_at, round}) == 0);
        m.settle();
        CHECK(m.cpu(1).current == &second);
        CHECK(second.x[5] == 0);
        CHECK(second.x[0] == round);
    }
}

TEST_CASE("psci: CPU_SUSPEND sleeps until an interrupt waits, and returns SUCCESS") {
    Machine m;
    m.boot(1);
    Vcpu& v = m.load(m.vcpu(1));
    m.call(v, {abi::psci_cpu_suspend | wide, 0x0001'0000, entry_at, 5}); // a power-down request, downgraded
    CHECK(m.cpu(0).current == nullptr);
    CHECK(v.state == SchedState::parked);
    m.on(1);
    kick_vcpus(m.vm(1), 1);
    m.settle();
    CHECK(m.cpu(0).current == &v);
    CHECK(v.x[0] == 0);
    CHECK(v.pc == 0x4000'0040); // not entry_at: it never lost its state
}

TEST_CASE("psci: SYSTEM_OFF and SYSTEM_RESET act on the caller's VM alone") {
    Machine m({{.vcpus = 2}, {.vcpus = 2}});
    m.boot_all();
    const u64 free_before = m.world.pool.counters().free_pages;
    SUBCASE("off") {
        m.call(m.vcpu(1), {abi::psci_system_off});
        m.settle();
        CHECK(m.vm(1).state == VmState::absent);
        CHECK(!m.vm(1).crashed);
        CHECK(m.world.pool.counters().free_pages > free_before);
        CHECK(m.powered_off == 0);
    }
    SUBCASE("reset") {
        m.call(m.vcpu(1), {abi::psci_system_reset});
        m.settle();
        CHECK(m.vm(1).state == VmState::running);
        CHECK(m.vm(1).boots == 2);
        CHECK(m.load(m.vcpu(1)).x[0] == Machine::context);
        CHECK(m.world.pool.counters().free_pages == free_before);
    }
    CHECK(m.vm(2).state == VmState::running);
    CHECK(m.vm(2).boots == 1);
}

TEST_CASE(
    "psci: CPU_ON against a VM that stops: nothing starts that has left, nothing of the old boot runs on") {
    // vCPU 1 (pCPU 1) is off and has left; vCPU 0 (pCPU 0) has not noticed yet and turns it on.
    for (const AfterStop after : {AfterStop::off, AfterStop::restart}) {
        Machine m({{.vcpus = 3}}, 3);
        m.boot(1);
        m.load(m.vcpu(1));
        m.on(2);
        stop_vm(m.vm(1), after, false);
        m.enter(1);
        m.enter(2);
        m.on(0);
        Vcpu& v = *m.cpu(0).current;
        v.x[0] = abi::psci_cpu_on | wide;
        v.x[1] = 1;
        v.x[2] = entry_at;
        m.handle(v, u64{0x16} << 26 | arch::Esr::IL::mask);
        CHECK(m.vcpu(1, 1).state == SchedState::off);
        CHECK(m.enter(1) == nullptr);
        m.settle();
        CHECK(m.vm(1).state == (after == AfterStop::off ? VmState::absent : VmState::running));
        CHECK(m.vcpu(1, 1).power.load() == Power::off);
        CHECK(m.cpu(1).current == nullptr);
    }
}

TEST_CASE("psci: random calls of several vCPUs keep every state consistent") {
    u64 seed = 7;
    const auto random = [&seed](u64 below) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (seed >> 33) % below;
    };
    Machine m({{.vcpus = 4}, {.vcpus = 3}}, 2);
    m.boot_all();
    for (unsigned step = 0; step < 6000; ++step) {
        const auto c = static_cast<unsigned>(random(2));
        Vcpu* const v = m.enter(c);
        if (v == nullptr) {
            // Only VMs that sleep or are off: wake somebody.
            Vm& vm = m.vm(1 + static_cast<unsigned>(random(2)));
            kick_vcpus(vm, static_cast<VcpuMask>(random(1u << vm.vcpu_count)));
            if (vm.state == VmState::absent) {
                REQUIRE(create_vm(m.world, vm).ok());
            }
            m.settle();
            continue;
        }
        switch (random(8)) {
        case 0:
        case 1:
        case 2:
            v->x[0] = abi::psci_cpu_on | wide;
            v->x[1] = random(5);
            v->x[2] = entry_at;
            m.handle(*v, u64{0x16} << 26);
            break;
        case 3:
            v->x[0] = abi::psci_cpu_off;
            m.handle(*v, u64{0x16} << 26);
            break;
        case 4:
            m.handle(*v, wfi | random(2));
            break;
        case 5:
            kick_vcpus(*v->vm, static_cast<VcpuMask>(random(1u << v->vm->vcpu_count)));
            break;
        case 6:
            if (random(40) == 0) {
                v->x[0] = random(3) == 0 ? abi::psci_system_off : abi::psci_system_reset;
                m.handle(*v, u64{0x16} << 26);
            }
            break;
        default:
            m.preempt(c);
            break;
        }
        for (unsigned id = 1; id <= 2; ++id) {
            for (unsigned i = 0; i < m.vm(id).vcpu_count; ++i) {
                const Vcpu& x = m.vcpu(id, i);
                const Power power = x.power.load();
                CHECK((x.state == SchedState::off) == (power == Power::off));
                CHECK((x.cpu->current == &x) == (x.state == SchedState::running));
                if (m.vm(id).state != VmState::running && m.vm(id).state != VmState::stopping) {
                    CHECK(x.state == SchedState::off);
                }
            }
        }
    }
    // All vCPUs of a VM may have gone off by CPU_OFF: that is the guest's own affair.
}
