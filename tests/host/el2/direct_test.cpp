// SPDX-License-Identifier: Apache-2.0
// Messages of a VM's device that are injected directly: residency by the world switch, doorbells, storms of these, lives of
// the VM; and where the host's LPIs go when they are not. [el2/its.cpp, el2/device_events.cpp, el2/passthrough.cpp]
#include "el2/housekeeping.hpp"
#include "el2/run.hpp"
#include "tests/support/passthrough_rig.hpp"

using namespace atl;
using namespace atl::test;
using namespace atl::gic::its_command;

namespace {

constexpr PciAddress nvme_at{0, 0, 2, 0};
constexpr StreamId nvme_stream{0x10};
constexpr u64 wfi = u64{1} << 26 | arch::Esr::IL::mask;
constexpr u32 lpi = gic::first_lpi + 17;

struct Rig : PassthroughRig {
    PciFn& nvme;

    explicit Rig(bool gicv4 = true, LpiKind wanted = LpiKind::automatic)
        : nvme(bus.add(nullptr, 2, 0, 0x0010'1b36, 0x010802)) {
        nvme.bar64(0, 0x4000);
        nvme.add_msix(0x40, 65, 0, 0x2000, 0x3000);
        nvme.add_pcie(0x80, 0, true);
        its.virtual_lpis = gicv4;
        bring_up();
        m.configs[0]->lpis = wanted;
        give(1, {nvme_at}, true);
        boot(1);
        guest().start();
        m.load(m.vcpu(1)).vm->gic.vcpu({0}).saved.vmcr = 0;
        m.hw().cpu[0].lrs.set_vmcr(gic::IchVmcr::VENG1::mask | gic::IchVmcr::VPMR::of(0xf8) |
                                   gic::IchVmcr::VBPR1::of(3));
    }
    ItsGuest& guest() { return *guests[0]; }
    u32 mine() { return u32{device(1).slot} << 3; } // its RequesterID on the VM's bus
    u32 message(u32 event = 5) { return its.message(nvme_stream.value, event); }
    std::string explain(u32 intid) {
        std::string text;
        REQUIRE(m.vm(1)
                    .gic
                    .explain(intid,
                             {&text, [](void* to,
                                        std::string_view part) { *static_cast<std::string*>(to) += part; }})
                    .ok());
        return text;
    }
};

} // namespace

TEST_CASE("direct in a VM: a message for a vCPU that is loaded is nothing to EL2; otherwise its doorbell "
          "wakes it") {
    Rig r;
    Vcpu& v = r.m.load(r.m.vcpu(1));
    REQUIRE(v.vpe != nullptr);
    CHECK(v.vpe->resident());
    CHECK(r.message() == 0); // not mapped
    REQUIRE(r.guest().map(r.mine(), 5, lpi));
    const u64 refills = v.gic->stat_refills;
    CHECK(r.message() == 0); // no doorbell
    CHECK(r.its.signalled(0) == lpi);
    CHECK(v.gic->stat_refills == refills);
    CHECK(r.device(1).messages == 0);
    CHECK(r.explain(lpi).find(", to vPE 0 of vCPU 0 (resident)") != std::string::npos);
    // It does not sleep with that pending,
    r.m.exit(v, wfi);
    CHECK(v.state != SchedState::parked);
    CHECK(r.its.take(0) == lpi);
    // but without. Its pCPU idles.
    r.m.exit(r.m.load(v), wfi);
    r.m.settle();
    CHECK(v.state == SchedState::parked);
    CHECK_FALSE(v.vpe->resident());
    CHECK(r.explain(lpi).find("not pending in its table") != std::string::npos);
    const u32 doorbell = r.message();
    REQUIRE(doorbell == gic::first_lpi + 5);
    CHECK(r.explain(lpi).find(", pending in its table") != std::string::npos);
    r.m.on(0);
    on_lpi(r.m.world, doorbell);
    r.m.settle();
    CHECK(v.state == SchedState::running);
    CHECK(r.its.take(0) == lpi);
    CHECK(r.device(1).messages == 1);
    CHECK(r.its.mistakes == 0);
}

TEST_CASE("direct in a VM: a storm of doorbells waits, and ends in the one that counts") {
    Rig r;
    REQUIRE(r.guest().map(r.mine(), 5, lpi));
    r.guest().configure(lpi + 1, true);
    REQUIRE(r.guest().command(mapti(r.mine(), 6, lpi + 1, 0)));
    Vcpu& v = r.m.load(r.m.vcpu(1));
    r.m.exit(v, wfi);
    r.m.settle();
    r.pass_ms(20);
    r.m.on(0);
    REQUIRE_FALSE(v.vpe->resident());
    unsigned taken = 0;
    for (u32 doorbell = r.message(); doorbell != 0 && taken < 10 * burst_limit; doorbell = r.message()) {
        on_lpi(r.m.world, doorbell);
        ++taken;
    }
    CHECK(taken >= burst_limit);
    CHECK(taken <= 2 * burst_limit);
    CHECK(r.message(6) != 0); // another one's
    r.m.settle();
    CHECK(r.its.take(0) == lpi);
    CHECK(r.its.take(0) == lpi + 1);
    r.m.exit(r.m.load(v), wfi);
    r.pass_ms(12);
    housekeep(r.m.world, r.m.hw().counter);
    r.m.settle();
    REQUIRE_FALSE(v.vpe->resident());
    CHECK(r.message() == gic::first_lpi + 5);
    CHECK(r.device(1).storms == 1);
    CHECK(r.its.mistakes == 0);
}

TEST_CASE("direct in a VM: restarts, CPU_OFF, crashes: nothing of a former life, and a vPE for each life") {
    Rig r;
    for (unsigned life = 0; life < 3; ++life) {
        REQUIRE(r.guest().map(r.mine(), 5, lpi));
        r.m.load(r.m.vcpu(1));
        CHECK(r.message() == 0);
        CHECK(r.its.signalled(0) == lpi);
        stop_vm(r.m.vm(1), AfterStop::restart, life == 1);
        r.m.settle();
        CHECK_FALSE(r.its.resident(0));
        CHECK(r.message() == 0); // unmapped, and no doorbell
        r.wait_until_running(1);
        r.guest().start();
        r.guest().configure(lpi, true);
        r.m.load(r.m.vcpu(1));
        CHECK(r.its.signalled(0) == 0);
    }
    CHECK(r.its.virtual_events() == 0);
    CHECK(r.its.mistakes == 0);
    CHECK(r.smmu.violations.empty());
}

TEST_CASE("direct in a VM: an ITS of the host's that stops answering is told at the VM's next life, and "
          "stops nothing else") {
    Rig r;
    REQUIRE(r.guest().map(r.mine(), 5, lpi));
    r.its.commands_until_stall = 0;
    CHECK(r.guest().command(movi(r.mine(), 5, 0)));
    CHECK(r.guest().command(inv(r.mine(), 5)));
    stop_vm(r.m.vm(1), AfterStop::restart, false);
    r.m.settle();
    CHECK(r.m.hw().logged("the host's ITS does not answer"));
    r.wait_until_running(1);
}

TEST_CASE("direct in a VM: the manifest's choice, and a host that cannot") {
    {
        Rig r(true, LpiKind::software);
        CHECK(r.m.vcpu(1).vpe == nullptr);
        REQUIRE(r.guest().map(r.mine(), 5, lpi));
        CHECK(r.message() == gic::first_lpi + 5);
    }
    {
        Rig r(false, LpiKind::direct);
        CHECK(r.m.vcpu(1).vpe == nullptr);
        CHECK(r.m.hw().logged("vm1: LPIs are injected by software: this machine has no usable ITS"));
    }
    Rig r(false);
    CHECK_FALSE(r.m.hw().logged("LPIs are injected by software"));
}

TEST_CASE("passthrough: the host's LPI goes to the pCPU of the vCPU that the VM's ITS sends it to") {
    Rig r(false);
    REQUIRE(r.guest().map(r.mine(), 5, lpi));
    CHECK(r.its.target_of(nvme_stream.value, 5) == 0);
    CHECK(r.guest().command(mapc(1, 1u << 16, true)));
    CHECK(r.guest().command(movi(r.mine(), 5, 1)));
    CHECK(r.its.target_of(nvme_stream.value, 5) == 0x1'0000); // vCPU 1 lives there
    CHECK(r.its.target_of(nvme_stream.value, 6) == 0);
    const u64 commands = r.all->its.commands();
    CHECK(r.guest().command(movi(r.mine(), 5, 1)));
    CHECK(r.all->its.commands() == commands);
    CHECK(r.guest().command(mapti(r.mine(), 5, lpi, 0)));
    CHECK(r.its.target_of(nvme_stream.value, 5) == 0);
    CHECK(r.its.mistakes == 0);
}

TEST_CASE("passthrough: a message with an event that nobody has mapped is told once in a life") {
    Rig r(false);
    const u32 message = r.message();
    REQUIRE(message != 0);
    on_lpi(r.m.world, message);
    CHECK(r.m.hw().logged("vm1: device 0000:00:02.0: a message with event 5, which its ITS has not mapped"));
    const auto lines = r.m.hw().log.size();
    on_lpi(r.m.world, message);
    on_lpi(r.m.world, message + 1);
    CHECK(r.m.hw().log.size() == lines);
}
