// SPDX-License-Identifier: Apache-2.0
// Virtual functions as a whole: vm 1 has a network card, vm 2 a VF of it, over the models of SMMU, bus and ITS. Which
// VM's memory each reaches, what the end of either VM is to the other, and what a manifest may name. [docs/dma.md]
#include "el2/housekeeping.hpp"
#include "tests/support/passthrough_rig.hpp"
#include "tests/support/pci_guest.hpp"

using namespace atl;
using namespace atl::test;

namespace {

constexpr PciAddress pf_at{0, 0, 5, 0};
constexpr PciAddress vf_at{0, 0, 5, 0, 1};
constexpr StreamId pf_stream{0x28};
constexpr StreamId vf0_stream{0xa8};
constexpr StreamId vf1_stream{0xaa};
constexpr Ipa ram{0x4000'3000};
constexpr u64 bar = 0x80'0000'0000;

struct Rig : PassthroughRig {
    PciFn& card;

    Rig() : card(bus.add(nullptr, 5, 0, 0x10c9'8086)) {
        make_igb(card);
        card.set(0x3d, 1, 1);
        bring_up();
    }
    void share_card() {
        while_time_passes([&] { enable_vfs(m.world, pf_at, 2); });
        give(1, pf_at);
        give(2, vf_at);
    }
    PciFn& vf() {
        PciFn* const found = bus.resolve(0, static_cast<u8>(vf1_stream.value));
        REQUIRE(found != nullptr);
        return *found;
    }
    bool vf_is_there() { return bus.resolve(0, static_cast<u8>(vf1_stream.value)) != nullptr; }
    /// vm 2 puts the VF's first BAR somewhere, and enables the VF.
    void drive_vf() {
        Vcpu& v = m.load(m.vcpu(2));
        m.write(v, Ipa{config(2) + 0x10}, bar & 0xffff'ffff);
        m.write(v, Ipa{config(2) + 0x14}, bar >> 32);
        m.write(v, Ipa{config(2) + 4}, 6, 2);
    }
    bool bar_is_mapped() { return m.vm(2).space.alive() && m.vm(2).space.translate(Ipa{bar}).ok(); }
};

std::string_view why_not(const Passthrough& all, const PciAddress& address) {
    return find_assignable(all, address).why;
}

} // namespace

TEST_CASE("passthrough: a VF reaches the memory of its own VM, and the PF that of its own") {
    Rig r;
    r.share_card();
    CHECK_FALSE(r.dma(vf1_stream, ram, true).ok);
    r.boot(1);
    r.boot(2);
    r.enable(1);
    r.drive_vf();
    CHECK(r.reaches(pf_stream, 1, ram));
    CHECK(r.reaches(vf1_stream, 2, ram));
    CHECK_FALSE(r.dma(vf0_stream, ram, true).ok); // nobody named it
    CHECK((r.card.vfs[0]->command() & 4) == 0);
    CHECK(r.m.read(r.m.load(r.m.vcpu(2)), Ipa{r.config(2)}) == 0x10ca'8086);
    CHECK(r.m.vm(2).space.translate(Ipa{bar})->value == r.card.bar_address(0, 0x184) + 0x4000);
    const u32 lpi = r.its.msi(vf1_stream.value, guest_map::first_mbi);
    REQUIRE(lpi != 0);
    on_lpi(r.m.world, lpi);
    CHECK(r.device(2).messages.load() == 1);
    CHECK(r.device(1).messages.load() == 0);
    CHECK(r.its.msi(vf0_stream.value, guest_map::first_mbi) == 0);
    CHECK(r.smmu.violations.empty());
    CHECK(r.its.mistakes == 0);
}

TEST_CASE("passthrough: the end of the PF's VM interrupts the VF, and costs its VM nothing else") {
    Rig r;
    r.share_card();
    r.boot(1);
    r.boot(2);
    r.enable(1);
    r.drive_vf();
    REQUIRE(r.bar_is_mapped());
    SUBCASE("it turns off") {
        r.card.recovery_us = 150'000; // so that the VF comes after all that the PF's VM waits for
        stop_vm(r.m.vm(1), AfterStop::off, false);
        r.m.settle();
        CHECK_FALSE(r.bar_is_mapped());
        CHECK(
            r.m.hw().logged("vm2: PCI device 00:15.2 (here 00:01.0): its physical function is being reset"));
        CHECK(r.m.read(r.m.load(r.m.vcpu(2)), Ipa{bar}) == 0xffff'ffff); // and no abort
        r.m.write(r.m.load(r.m.vcpu(2)), Ipa{bar}, 1);
        r.pass_ms(500);
        CHECK(r.m.vm(1).state == VmState::absent);
        CHECK_FALSE(r.dma(pf_stream, ram, true).ok);
    }
    SUBCASE("it restarts") {
        stop_vm(r.m.vm(1), AfterStop::restart, false);
        r.m.settle();
        r.wait_until_running(1);
        r.enable(1);
        CHECK(r.reaches(pf_stream, 1, ram));
    }
    SUBCASE("it asks for a reset, and never looks") {
        r.m.write(r.m.load(r.m.vcpu(1)), Ipa{r.config(1) + 0xa8}, 0x8000, 2);
        CHECK_FALSE(r.bar_is_mapped());
        CHECK(housekeeping_deadline(r.m.world) <= r.m.hw().counter + 2);
        for (unsigned i = 0; i < 400; ++i) {
            r.pass_ms(1);
            housekeep(r.m.world, r.m.hw().counter);
        }
        CHECK(r.m.world.devices_deadline.load() == ~u64{0}); // nothing is left to do
    }
    CHECK(r.m.vm(2).state == VmState::running);
    CHECK(r.vf_is_there());
    CHECK(r.bar_is_mapped());
    CHECK((r.vf().command() & 4) != 0);
    CHECK(r.reaches(vf1_stream, 2, ram));
    CHECK(r.card.early_accesses == 0);
    CHECK(r.smmu.violations.empty());
}

TEST_CASE("passthrough: the end of the VF's VM leaves the PF alone, whatever the PF does meanwhile") {
    Rig r;
    r.share_card();
    r.boot(1);
    r.boot(2);
    r.enable(1);
    r.drive_vf();
    const unsigned resets = r.card.resets;
    stop_vm(r.m.vm(2), AfterStop::off, false);
    r.m.settle();
    CHECK_FALSE(r.dma(vf1_stream, ram, true).ok);
    CHECK(r.reaches(pf_stream, 1, ram));
    CHECK(r.card.resets == resets);
    r.m.write(r.m.load(r.m.vcpu(1)), Ipa{r.config(1) + 0xa8}, 0x8000, 2); // while the VF's reset runs
    r.pass_ms(500);
    CHECK(r.m.vm(2).state == VmState::absent);
    CHECK((r.vf().command() & 4) == 0);
    CHECK_FALSE(r.dma(vf1_stream, ram, true).ok);
    r.boot(2);
    CHECK((r.vf().command() & 4) == 0);
    r.drive_vf();
    CHECK(r.reaches(vf1_stream, 2, ram));
}

TEST_CASE("passthrough: a VM starts without the VF when the card is lost, and one VM can have both") {
    SUBCASE("lost") {
        Rig r;
        r.share_card();
        r.card.dies = true;
        r.boot(2); // the PF's VM never starts: its function's first reset goes on all the same
        CHECK(r.m.hw().logged("did not come back"));
        CHECK_FALSE(r.dma(vf1_stream, ram, true).ok);
        r.boot(1);
    }
    SUBCASE("both") {
        Rig r;
        r.while_time_passes([&] { enable_vfs(r.m.world, pf_at, 2); });
        r.give(1, {vf_at, pf_at});
        CHECK(r.device(1).address == pf_at); // first, whatever the manifest's order
        r.boot(1);
        Vcpu& v = r.m.load(r.m.vcpu(1));
        CHECK(r.m.read(v, Ipa{r.config(1)}) == 0x10c9'8086);
        CHECK(r.m.read(v, Ipa{r.config(2)}) == 0x10ca'8086);
        r.m.write(v, Ipa{r.config(2) + 4}, 6, 2);
        CHECK(r.reaches(vf1_stream, 1, ram));
    }
}

TEST_CASE("passthrough: which VFs a manifest may name") {
    Rig r;
    CHECK(why_not(*r.all, {0, 0, 5, 0, 8}).find("fewer virtual functions") != std::string_view::npos);
    CHECK(why_not(*r.all, {0, 0, 5, 0, 99}).find("fewer virtual functions") != std::string_view::npos);
    CHECK(why_not(*r.all, {0, 0, 9, 0, 0}) == "there is no such PCI function on this machine");
    CHECK(why_not(*r.all, {1, 0, 5, 0, 0}) == "there is no such PCI function on this machine");
    CHECK(why_not(*r.all, vf_at).find("could not be switched on") != std::string_view::npos);
    CHECK(why_not(*r.all, {0, 0, 0x15, 2}).find("0000:00:05.0/vf0") != std::string_view::npos);
    // Nothing to switch on there.
    enable_vfs(r.m.world, {0, 0, 9, 0}, 1);
    enable_vfs(r.m.world, {1, 0, 5, 0}, 1);
    CHECK(r.card.vfs.empty());
    r.while_time_passes([&] { enable_vfs(r.m.world, pf_at, 99); }); // all that there are
    CHECK(r.card.vfs.size() == 8);
    CHECK(why_not(*r.all, vf_at).empty());
    CHECK(find_assignable(*r.all, vf_at).stream == vf1_stream);
    CHECK(find_assignable(*r.all, vf_at).intx == 0);
    CHECK(find_assignable(*r.all, vf_at).group_size == 1);
    CHECK(find_assignable(*r.all, pf_at).group_size == 1);
    CHECK(why_not(*r.all, {0, 0, 0x15, 2}).find("0000:00:05.0/vf0") != std::string_view::npos);

    Rig broken;
    broken.card.dies = true;
    broken.while_time_passes([&] { enable_vfs(broken.m.world, pf_at, 2); });
    CHECK(broken.m.hw().logged("0000:00:05.0: its virtual functions cannot be switched on: one of them"));
    CHECK_FALSE(why_not(*broken.all, vf_at).empty());

    PassthroughRig plain;
    plain.bus.add(nullptr, 5, 0, 0x10d3'8086).bar32(0, 0x2'0000);
    plain.bring_up();
    enable_vfs(plain.m.world, pf_at, 1);
    CHECK(why_not(*plain.all, vf_at).find("no virtual functions (SR-IOV)") != std::string_view::npos);
    CHECK(PciText(vf_at).text() == "0000:00:05.0/vf1");
    CHECK(PciText({0xa, 0xb, 0x1f, 7, 15}).text() == "000a:0b:1f.7/vf15");
}
