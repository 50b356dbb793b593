// SPDX-License-Identifier: Apache-2.0
// Passthrough as a whole: the real core, SMMU driver, PCI code and ITS driver over models of the SMMU, the bus and the
// ITS. What a device of a VM reaches, and when, and what it can signal. [docs/dma.md]
#include <cstring>

#include "el2/housekeeping.hpp"
#include "tests/support/passthrough_rig.hpp"

using namespace atl;
using namespace atl::test;

namespace {

constexpr PciAddress nvme_at{0, 0, 2, 0};
constexpr PciAddress nic_at{0, 0, 3, 0};
constexpr StreamId nvme_stream{0x10};
constexpr StreamId nic_stream{0x18};
constexpr u64 ecam = PassthroughRig::ecam;
constexpr u32 host_line = 37; // INTA of slot 2
constexpr u32 first_event = guest_map::first_mbi;

/// vm 1 has a disk, vm 2 a network card.
struct Rig : PassthroughRig {
    PciFn& nvme;
    PciFn& nic;

    explicit Rig(bool with_its = false)
        : nvme(bus.add(nullptr, 2, 0, 0x0010'1b36, 0x010802)), nic(bus.add(nullptr, 3, 0, 0x10d3'8086)) {
        nvme.bar64(0, 0x4000);
        nvme.add_msix(0x40, 65, 0, 0x2000, 0x3000);
        nvme.add_pcie(0x80, 0, true);
        nvme.set(0x3d, 1, 1);
        nic.bar32(0, 0x2'0000);
        nic.add_pm(0x60);
        bring_up();
        give(1, {nvme_at}, with_its);
        give(2, {nic_at}, with_its);
    }
};

constexpr Ipa ram{0x4000'3000};

/// Lines of the log that have `part` in them.
unsigned told(Rig& r, std::string_view part) {
    unsigned count = 0;
    for (const std::string& line : r.m.hw().log) {
        count += line.find(part) != std::string::npos ? 1 : 0;
    }
    return count;
}

} // namespace

TEST_CASE("passthrough: a device reaches its VM's memory while the VM runs, and nothing before and after") {
    Rig r;
    CHECK_FALSE(r.dma(nvme_stream, ram, true).ok);
    r.boot(1);
    CHECK(r.nvme.resets >= 1);
    CHECK((r.nvme.command() & 4) == 0); // its guest has not asked for mastering yet
    r.enable(1);
    CHECK((r.nvme.command() & 4) != 0);
    CHECK(r.reaches(nvme_stream, 1, ram));
    CHECK_FALSE(r.dma(nic_stream, ram, true).ok);
    CHECK_FALSE(r.dma(nvme_stream, Ipa{0x900'0000}, true).ok); // an emulated device
    CHECK_FALSE(r.dma(nvme_stream, Ipa{0x4000'0000 + 4 * mib}, true).ok);

    r.boot(2);
    r.enable(2);
    CHECK(r.reaches(nic_stream, 2, ram));
    CHECK(r.reaches(nvme_stream, 1, ram)); // the same IPA, another page
    CHECK(r.m.vm(1).space.translate(ram)->value != r.m.vm(2).space.translate(ram)->value);

    const unsigned resets = r.nvme.resets;
    stop_vm(r.m.vm(1), AfterStop::off, false);
    r.m.settle();
    CHECK_FALSE(r.dma(nvme_stream, ram, true).ok);
    CHECK((r.nvme.command() & 4) == 0);
    CHECK(r.reaches(nic_stream, 2, ram));
    r.pass_ms(300);
    CHECK(r.m.vm(1).state == VmState::absent);
    CHECK(r.nvme.resets > resets);
    CHECK_FALSE(r.nvme.mastering_at_reset);
    r.boot(1);
    CHECK(r.reaches(nvme_stream, 1, ram));
    CHECK(r.smmu.violations.empty());
    CHECK_FALSE(r.smmu.bypassed);
    CHECK(r.its.mistakes == 0);
    CHECK(r.nvme.early_accesses == 0);
}

TEST_CASE("passthrough: a restart disconnects first, resets, and connects again at the end") {
    Rig r;
    r.boot(1);
    r.enable(1);
    stop_vm(r.m.vm(1), AfterStop::restart, false);
    bool reached = false;
    for (unsigned i = 0; i < 500 && (i == 0 || r.m.vm(1).state != VmState::running); ++i) {
        r.m.settle();
        if (r.m.vm(1).state != VmState::running) {
            reached = reached || r.dma(nvme_stream, ram, true).ok;
        }
        r.pass_ms(1);
    }
    CHECK_FALSE(reached);
    REQUIRE(r.m.vm(1).state == VmState::running);
    CHECK((r.nvme.command() & 5) == 0); // as after power-on
    r.enable(1);
    CHECK(r.reaches(nvme_stream, 1, ram));
}

TEST_CASE("passthrough: messages become SPIs of the device's own VM, and of nobody when it is off") {
    Rig r;
    const u32 lpi = r.its.msi(nvme_stream.value, first_event + 2);
    REQUIRE(lpi >= gic::first_lpi);
    on_lpi(r.m.world, lpi); // it has not started
    CHECK(r.device(1).messages.load() == 0);
    r.boot(1);
    on_lpi(r.m.world, lpi);
    CHECK(r.device(1).messages.load() == 1);
    const u64 pending = gic::gicd::ispendr + (first_event + 2) / 32 * 4;
    Vcpu& v = r.m.load(r.m.vcpu(1));
    CHECK(((r.m.read(v, guest_map::gicd.base + pending) >> ((first_event + 2) % 32)) & 1) == 1);
    CHECK(r.its.msi(nvme_stream.value, 33) == 0); // the UART's SPI is none of its events
    CHECK(r.its.msi(0, first_event) == 0);
    const u32 other = r.its.msi(nic_stream.value, first_event + 2);
    CHECK(other != lpi);
    CHECK(r.its.target_of(nic_stream.value, first_event + 2) == 0x1'0000); // where its VM's first vCPU lives
    for (const u32 nonsense :
         {gic::first_lpi + 2 * lpis_per_device, gic::first_lpi + vgic::lpi_count - 1, ~u32{0}}) {
        on_lpi(r.m.world, nonsense);
    }
    CHECK(r.device(1).messages.load() == 1);
    CHECK(r.device(2).messages.load() == 0);
}

TEST_CASE(
    "passthrough: with an ITS of its VM's own a message is the event that the guest mapped, and an LPI") {
    using namespace gic::its_command;
    Rig r(true);
    r.boot(1);
    r.boot(2);
    ItsGuest& one = *r.guests[0];
    ItsGuest& two = *r.guests[1];
    one.start();
    two.start();
    const u32 mine = u32{r.device(1).slot} << 3; // its RequesterID on the VM's bus
    const u32 theirs = u32{r.device(2).slot} << 3;
    const u32 lpi = gic::first_lpi + 17;
    CHECK((one.read(gic::gits::typer) >> 8 & 31) == 7); // EventIDs of 8 bits, as the host's ITS is told
    const u32 message = r.its.msi(nvme_stream.value, 5);
    REQUIRE(message >= gic::first_lpi);
    REQUIRE(r.its.msi(nvme_stream.value, 255) != 0);
    CHECK(r.its.msi(nvme_stream.value, 256) == 0);
    on_lpi(r.m.world, message); // nothing is mapped
    CHECK_FALSE(one.pending(lpi));
    REQUIRE(one.map(mine, 5, lpi));
    REQUIRE(two.map(theirs, 5, lpi)); // the same numbers, another VM
    on_lpi(r.m.world, message);
    CHECK(one.pending(lpi));
    CHECK_FALSE(two.pending(lpi));
    on_lpi(r.m.world, message + 1); // another event
    CHECK(one.command(clear(mine, 5)));
    CHECK_FALSE(one.pending(lpi));

    // What the guest's memory says by now is of no consequence: the translation was made when it was mapped.
    one.put64(ItsGuest::itt(mine).value + 8 * 5, 0);
    on_lpi(r.m.world, message);
    CHECK(one.pending(lpi));
    CHECK(one.command(mapti(mine, 5, lpi + 1, 0)));
    one.configure(lpi + 1, true);
    CHECK(one.command(inv(mine, 5)));
    on_lpi(r.m.world, message);
    CHECK(one.pending(lpi + 1));
    CHECK(one.command(discard(mine, 5)));
    on_lpi(r.m.world, message);
    CHECK_FALSE(one.pending(lpi + 1));
    REQUIRE(one.map(mine, 5, lpi));
    CHECK(one.command(mapd(mine, 4, {}, false)));
    on_lpi(r.m.world, message);
    CHECK(one.command(mapd(mine, 4, ItsGuest::itt(mine), true)));
    on_lpi(r.m.world, message);
    // The VM's other DeviceIDs, and the other VM's, are not this device.
    REQUIRE(one.map(theirs + 8, 5, lpi + 2));
    REQUIRE(two.map(mine + 8, 5, lpi + 2));
    on_lpi(r.m.world, message);
    CHECK_FALSE(one.pending(lpi + 2));
    CHECK_FALSE(two.pending(lpi + 2));
    // Off: nothing is translated.
    REQUIRE(one.map(mine, 5, lpi + 3));
    one.write(gic::gits::ctlr, 0, 4);
    on_lpi(r.m.world, message);
    CHECK_FALSE(one.pending(lpi + 3));
    one.write(gic::gits::ctlr, 1, 4);
    on_lpi(r.m.world, message);
    CHECK(one.pending(lpi + 3));
    CHECK(r.its.mistakes == 0);
}

TEST_CASE("passthrough: a new life of the VM knows no event of the last one") {
    Rig r(true);
    r.boot(1);
    ItsGuest& one = *r.guests[0];
    one.start();
    const u32 mine = u32{r.device(1).slot} << 3;
    const u32 lpi = gic::first_lpi + 17;
    REQUIRE(one.map(mine, 5, lpi));
    stop_vm(r.m.vm(1), AfterStop::restart, false);
    for (unsigned i = 0; i < 500 && (i == 0 || r.m.vm(1).state != VmState::running); ++i) {
        r.m.settle();
        r.pass_ms(1);
    }
    REQUIRE(r.m.vm(1).state == VmState::running);
    one.start();
    one.configure(lpi, true);
    on_lpi(r.m.world, r.its.msi(nvme_stream.value, 5));
    CHECK_FALSE(one.pending(lpi));
    REQUIRE(one.map(mine, 5, lpi));
    on_lpi(r.m.world, r.its.msi(nvme_stream.value, 5));
    CHECK(one.pending(lpi));
}

TEST_CASE("passthrough: a storm of messages waits, others go on, and nothing is lost") {
    Rig r;
    r.boot(1);
    const u32 storm = r.its.msi(nvme_stream.value, first_event);
    r.pass_ms(20);
    unsigned taken = 0;
    while (r.its.msi(nvme_stream.value, first_event) != 0 && taken < 10 * burst_limit) {
        on_lpi(r.m.world, storm);
        ++taken;
    }
    CHECK(taken >= burst_limit);
    CHECK(taken <= 2 * burst_limit);
    CHECK(r.its.msi(nvme_stream.value, first_event + 1) != 0);
    CHECK(r.m.hw().logged("messages in 10 ms"));
    CHECK(housekeeping_deadline(r.m.world) <= r.m.hw().counter + r.m.world.counter_hz / 100);
    r.pass_ms(12);
    housekeep(r.m.world, r.m.hw().counter);
    CHECK(r.its.msi(nvme_stream.value, first_event) == storm);
    // As many, but spread out: no storm.
    for (unsigned i = 0; i < 3 * burst_limit; ++i) {
        r.m.hw().counter += r.m.world.counter_hz / 50'000;
        on_lpi(r.m.world, storm);
        CHECK(r.its.msi(nvme_stream.value, first_event) == storm);
    }
    CHECK(r.device(1).storms == 1);
    CHECK(r.its.mistakes == 0);
}

TEST_CASE("passthrough: an INTx line stays active on the host until the guest deactivates its SPI") {
    Rig r;
    CHECK_FALSE(on_host_line(r.m.world, Intid{host_line})); // nobody runs: EL2 deactivates it
    CHECK_FALSE(on_host_line(r.m.world, Intid{host_line + 1}));
    CHECK_FALSE(on_host_line(r.m.world, Intid{1019}));
    r.boot(1);
    auto& spi = r.m.hw().host_spis[host_line];
    CHECK(spi.enabled);
    spi.active = true;
    CHECK(on_host_line(r.m.world, Intid{host_line}));
    const u32 own = guest_map::first_spi + guest_map::pci_spi + r.device(1).line;
    Vcpu& v = r.m.load(r.m.vcpu(1));
    CHECK(((r.m.read(v, guest_map::gicd.base + gic::gicd::ispendr + own / 32 * 4) >> (own % 32)) & 1) == 1);
    CHECK(spi.active);
    // Made active and inactive again by the registers, which is how a guest without a CPU interface would do it.
    r.m.write(v, guest_map::gicd.base + gic::gicd::isactiver + own / 32 * 4, 1u << (own % 32));
    r.m.write(v, guest_map::gicd.base + gic::gicd::icactiver + own / 32 * 4, 1u << (own % 32));
    r.m.read(v, guest_map::gicd.base + gic::gicd::isactiver + own / 32 * 4);
    CHECK_FALSE(spi.active);
    spi.active = true;
    CHECK(on_host_line(r.m.world, Intid{host_line}));
    stop_vm(r.m.vm(1), AfterStop::off, false);
    r.m.settle();
    CHECK_FALSE(spi.enabled);
    CHECK_FALSE(spi.active); // no orphan
}

TEST_CASE("passthrough: a guest's BAR is mapped where it puts it, and where nothing is reads give ones") {
    Rig r;
    r.boot(1);
    Vcpu& v = r.m.load(r.m.vcpu(1));
    CHECK(r.m.read(v, Ipa{r.config(1)}) == 0x0010'1b36);
    CHECK(r.m.read(v, Ipa{ecam + (30 << 15)}) == 0xffff'ffff);
    CHECK(r.m.read(v, guest_map::pci_mem32.base) == 0xffff'ffff);
    r.m.write(v, guest_map::pci_mem64.base, 7);
    const Ipa at = guest_map::pci_mem64.base + 0x1'0000;
    r.m.write(v, Ipa{r.config(1) + 0x10}, at.value & 0xffff'ffff);
    r.m.write(v, Ipa{r.config(1) + 0x14}, at.value >> 32);
    CHECK_FALSE(r.m.vm(1).space.translate(at).ok());
    r.enable(1);
    REQUIRE(r.m.vm(1).space.translate(at).ok());
    CHECK(r.m.vm(1).space.translate(at)->value == r.nvme.bar_address(0));
    CHECK(r.m.vm(1).space.walk(at).attributes == stage2::device_attributes);
    r.m.write(v, Ipa{r.config(1) + 0x14}, 0); // over the low windows: not there
    CHECK_FALSE(r.m.vm(1).space.translate(at).ok());
    r.m.write(v, Ipa{r.config(1) + 0x10}, 0x4000'0000); // over RAM
    CHECK(r.m.hw().logged("does not decode"));
    CHECK(r.m.vm(1).space.walk(Ipa{0x4000'0000}).attributes == stage2::ram_attributes);
    // A VM without devices has no such windows.
    Machine plain;
    plain.boot(1);
    u64 value = 0;
    CHECK_FALSE(pci_read(plain.vm(1), {}, guest_map::pci_config.base, 4, value));
    CHECK_FALSE(pci_write(plain.vm(1), {}, guest_map::pci_mem32.base, 4, 0));
}

TEST_CASE("passthrough: a fault is told once, with who, what and where, and its repeats are counted") {
    Rig r;
    r.boot(1);
    for (u64 offset = 0; offset < 256; offset += 4) {
        CHECK_FALSE(r.dma(nvme_stream, Ipa{0x900'0000 + offset}, true).ok);
    }
    on_smmu_event(r.m.world);
    CHECK(r.m.hw().logged(
        "vm1: device 0000:00:02.0 (StreamID 16): write of ipa 0x9000000, where it has no memory"));
    CHECK(r.m.hw().logged("the same 63 more times"));
    CHECK(r.device(1).faults == 64);
    CHECK(told(r, "write of ipa") == 1);
    // More than one call may handle: the rest comes with housekeeping, guests run in between.
    for (u64 i = 0; i < 1000; ++i) {
        r.dma(nvme_stream, Ipa{0xa00'0000 + i * page_size}, false);
    }
    const unsigned kicks = r.m.hw().cpu[0].kicks;
    on_smmu_event(r.m.world);
    CHECK(r.all->faults_left.load());
    CHECK(r.m.hw().cpu[0].kicks == kicks + 1); // or its timer would not know of the new deadline
    CHECK(housekeeping_deadline(r.m.world) <= r.m.hw().counter + r.m.world.counter_hz / 500);
    for (unsigned i = 0; i < 20 && r.all->faults_left.load(); ++i) {
        r.m.hw().counter += r.m.world.counter_hz / 500;
        housekeep(r.m.world, r.m.hw().counter);
    }
    CHECK_FALSE(r.all->faults_left.load());
    CHECK(r.device(1).faults == 1064);
}

TEST_CASE("passthrough: a device that goes on after its VM's end is told once, then it is silent") {
    Rig r;
    constexpr std::string_view line =
        "vm1: device 0000:00:02.0 (StreamID 16): DMA stopped: its VM does not run (C_BAD_STE)";
    for (unsigned life = 1; life <= 3; ++life) {
        r.boot(1);
        r.enable(1);
        CHECK(r.reaches(nvme_stream, 1, ram));
        stop_vm(r.m.vm(1), AfterStop::off, false);
        r.m.settle();
        const u64 before = r.device(1).faults;
        for (unsigned i = 0; i < 20; ++i) { // as many as come before EL2 looks
            CHECK_FALSE(r.dma(nvme_stream, ram, true).ok);
        }
        on_smmu_event(r.m.world);
        CHECK(told(r, line) == life);
        CHECK(r.m.hw().logged("StreamID 16: the same 19 more times"));
        CHECK_FALSE(r.m.hw().logged("19 more times in that page"));
        CHECK(r.device(1).faults == before + 20);
        // Then the SMMU itself is quiet about it.
        const u64 events = r.all->smmu.counters().events;
        for (unsigned i = 0; i < 20; ++i) {
            CHECK_FALSE(r.dma(nvme_stream, ram, true).ok);
        }
        on_smmu_event(r.m.world);
        CHECK(r.all->smmu.counters().events == events);
        r.pass_ms(300);
        REQUIRE(r.m.vm(1).state == VmState::absent);
    }
    // Two of them in turns: the one's line does not give the other's leave to be told again.
    r.boot(1);
    r.boot(2);
    stop_vm(r.m.vm(1), AfterStop::off, false);
    stop_vm(r.m.vm(2), AfterStop::off, false);
    r.m.settle();
    for (unsigned i = 0; i < 20; ++i) {
        r.dma(nvme_stream, ram, true);
        r.dma(nic_stream, ram, true);
    }
    on_smmu_event(r.m.world);
    CHECK(told(r, line) == 4);
    CHECK(told(r, "vm2: device 0000:00:03.0 (StreamID 24): DMA stopped: its VM does not run (C_BAD_STE)") ==
          1);
    CHECK(r.smmu.violations.empty());
}

TEST_CASE("passthrough: DMA of a device that no VM has is told by its name, and not for ever") {
    Rig r;
    r.bus.add(nullptr, 9, 0, 0x10d3'8086);
    r.all->topology = {};
    r.bus.seal();
    REQUIRE(pci::enumerate(r.all->topology, r.bus.host).ok());
    r.boot(1); // its bus has a table of entries now
    r.dma({0x48}, ram, true);
    r.dma({0x50}, ram, true);
    r.dma({0x1234}, ram, true);
    on_smmu_event(r.m.world);
    CHECK(r.m.hw().logged("PCI device 00:09.0 (StreamID 72): DMA stopped: no VM has it (C_BAD_STE)"));
    CHECK(r.m.hw().logged("unknown device (StreamID 80): DMA stopped: no VM has it (C_BAD_STE)"));
    CHECK(r.m.hw().logged("unknown device (StreamID 4660): DMA stopped: no VM has it (C_BAD_STREAMID)"));
    for (u32 stream = 0x2000; stream < 0x2000 + 3 * max_reports; ++stream) {
        r.dma({stream}, ram, true);
    }
    while (r.all->smmu.counters().events < 3 + 3 * max_reports) {
        on_smmu_event(r.m.world);
    }
    CHECK(told(r, "no VM has it") == max_reports - 1);
    CHECK(told(r, "DMA of devices that no VM has: further reports are left out for 10 s") == 1);
    // A VM's own share of the log is another one.
    r.dma(nvme_stream, Ipa{0x900'0000}, true);
    on_smmu_event(r.m.world);
    CHECK(r.m.hw().logged("write of ipa 0x9000000"));
    r.pass_ms(11'000);
    r.dma({0x3000}, ram, true);
    on_smmu_event(r.m.world);
    CHECK(r.m.hw().logged("unknown device (StreamID 12288)"));
}

TEST_CASE("passthrough: a device that fills the event queue again and again is told once in a while") {
    Rig r;
    r.smmu.overflow_as_abort = true; // as QEMU reports it
    r.boot(1);
    const auto flood = [&] {
        for (u64 i = 0; i < 5000; ++i) {
            r.dma(nvme_stream, Ipa{0x900'0000 + 4 * i}, true);
        }
        on_smmu_error(r.m.world);
        do {
            on_smmu_event(r.m.world);
        } while (r.all->faults_left.load());
    };
    flood();
    CHECK(told(r, "its event queue was full (overflow 1)") == 1);
    flood();
    flood();
    CHECK(told(r, "its event queue was full") == 1);
    CHECK(told(r, "fault reports are lost") == 0);
    r.pass_ms(11'000);
    flood();
    CHECK(told(r, "its event queue was full") == 2);
    CHECK(told(r, "its event queue was full (overflow 4)") == 1);
    CHECK(r.all->smmu.running());
}

TEST_CASE("passthrough: what a manifest may name") {
    Rig r;
    CHECK(find_assignable(*r.all, nvme_at).why.empty());
    CHECK(find_assignable(*r.all, nvme_at).intx == host_line);
    CHECK(find_assignable(*r.all, nic_at).intx == host_line + 1);
    CHECK(find_assignable(*r.all, {0, 0, 9, 0}).why == "there is no such PCI function on this machine");
    CHECK(find_assignable(*r.all, {1, 0, 2, 0}).why == "there is no such PCI function on this machine");
    r.all->routes.stream = [](const void*, u32) { return Result<StreamId>(Error::not_found); };
    CHECK(find_assignable(*r.all, nvme_at).why.find("does not go through the SMMU") !=
          std::string_view::npos);
    r.all->unusable.assign("this machine has no SMMUv3");
    CHECK(find_assignable(*r.all, nvme_at).why == "this machine has no SMMUv3");
}

TEST_CASE(
    "passthrough: a device that does not come back from its reset is nobody's, and its VM runs without it") {
    Rig r;
    r.boot(1);
    stop_vm(r.m.vm(1), AfterStop::restart, false);
    r.nvme.dies = true;
    r.pass_ms(3000);
    CHECK(r.m.vm(1).state == VmState::running);
    CHECK(r.m.hw().logged("did not come back"));
    CHECK_FALSE(r.dma(nvme_stream, ram, true).ok);
    r.enable(1);
    CHECK_FALSE(r.dma(nvme_stream, ram, true).ok);
    CHECK(r.m.read(r.m.load(r.m.vcpu(1)), Ipa{r.config(1)}) == 0xffff'ffff);
    r.boot(2);
    CHECK(r.reaches(nic_stream, 2, ram));
}
