// SPDX-License-Identifier: Apache-2.0
// The exit table [el2/dispatch.hpp]: every exception class has a handler, whatever it says ends in the guest;
// kicks.
#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;

TEST_CASE("dispatch: every class, with random syndromes, is handled, and the guest can go on") {
    u64 seed = 21;
    const auto random = [&seed] {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return seed ^ seed >> 31;
    };
    Machine m({{.vcpus = 1}}, 1);
    m.boot(1);
    for (unsigned ec = 0; ec < 64; ++ec) {
        REQUIRE((sync_handlers[ec] != nullptr));
        for (unsigned i = 0; i < 50; ++i) {
            if (m.vm(1).state == VmState::absent) {
                m.boot(1);
            }
            kick_vcpus(m.vm(1), 1); // WFI may have parked it
            m.settle();
            Vcpu& v = m.load(m.vcpu(1));
            v.pc = 0x4000'0000;
            v.sys.vbar = 0x4000'0800;
            v.x[0] = 0; // an unknown function
            m.hw().here().pstate = arch::Spsr::EL1h;
            m.hw().fault = {random(), Ipa{random() % (u64{1} << 40) & ~u64{7}}, (random() & 7) != 0};
            m.exit(v, u64{ec} << 26 | (random() & 0x3ff'ffff));
            m.settle();
        }
    }
    CHECK(m.vm(1).undefined_injected > 1000);
}

TEST_CASE("dispatch: a class that no guest raises is reported and undefined") {
    Machine m;
    m.boot(1);
    Vcpu& v = m.load(m.vcpu(1));
    CHECK(m.exit(v, u64{0x3f} << 26) == action::inject);
    CHECK(m.hw().logged("unexpected exit"));
    CHECK(m.vm(1).undefined_injected == 1);
}

TEST_CASE("dispatch: kicks wake the parked, reach the running elsewhere, and leave the rest alone") {
    Machine m({{.vcpus = 3}}, 3);
    m.boot(1);
    for (unsigned i = 1; i < 3; ++i) {
        m.call(m.vcpu(1), {abi::psci_cpu_on | abi::smccc_64, i, 0x4000'0000, 0});
    }
    m.settle();
    m.exit(m.load(m.vcpu(1, 2)), u64{1} << 26); // WFI
    REQUIRE(m.vcpu(1, 2).state == SchedState::parked);
    m.on(0);
    kick_vcpus(m.vm(1), 0b110);
    CHECK(m.hw().cpu[1].kicked);
    CHECK(m.hw().cpu[2].kicked);
    CHECK(m.vcpu(1, 2).state == SchedState::ready);
    CHECK(m.vcpu(1, 1).state == SchedState::running);
    m.settle();
    CHECK(m.cpu(2).current == &m.vcpu(1, 2));
    kick_vcpus(m.vm(1), 0);
    CHECK(!m.hw().cpu[1].kicked);
    m.call(m.vcpu(1, 1), {abi::psci_cpu_off});
    m.on(0);
    kick_vcpus(m.vm(1), 0b010); // off: nobody to tell
    CHECK(!m.hw().cpu[1].kicked);
}

TEST_CASE("dispatch: an interrupt that comes while a vCPU goes to sleep wakes it") {
    // The other pCPU raises the line between the WFI exit and the sleep.
    Machine m({{.vcpus = 1}}, 2);
    m.boot(1);
    Vcpu& v = m.load(m.vcpu(1));
    m.write(v, guest_map::gicd.base, 3);
    m.write(v, guest_map::gicd.base + 0x84, ~u32{0});   // IGROUPR1
    m.write(v, guest_map::gicd.base + 0x104, 1u << 8);  // ISENABLER1: INTID 40
    m.write(v, guest_map::gicd.base + 0xc08, 2u << 16); // ICFGR2: edge
    m.load(v);
    m.hw().here().lrs.set_vmcr(gic::IchVmcr::VENG1::mask | gic::IchVmcr::VPMR::of(0xf8) |
                               gic::IchVmcr::VBPR1::of(3));
    m.handle(v, u64{1} << 26 | arch::Esr::IL::mask); // WFI: saved and settled
    CHECK(v.state == SchedState::parked);
    m.on(1);
    kick_vcpus(m.vm(1), m.vm(1).gic.pulse(Intid{40}));
    CHECK(v.state == SchedState::ready);
    CHECK(m.hw().cpu[0].kicked);
    m.settle();
    CHECK(m.cpu(0).current == &v);
    // And one that is pending before the WFI never lets it sleep.
    m.exit(v, u64{1} << 26 | arch::Esr::IL::mask);
    CHECK(m.cpu(0).current == &v);
}
