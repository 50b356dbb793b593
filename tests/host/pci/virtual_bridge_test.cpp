// SPDX-License-Identifier: Apache-2.0
// Host tests of pci/virtual_bridge: what a guest sees of its functions, and what its writes come to.
#include <doctest/doctest.h>

#include "tests/support/pci_guest.hpp"

using namespace atl;
using namespace atl::pci;
using namespace atl::test;
using Kind = Offence::Kind;

namespace {

constexpr u8 slot1 = 1 << 3;
constexpr u8 slot2 = 2 << 3;

/// An NVMe at 00:05.0 and an edu at 00:06.0 of the host; the guest has them at 00:01.0 and 00:02.0.
struct Vm : PciGuest {
    PciFn& nvme;
    PciFn& edu;
    PciFn& foreign;
    Vm()
        : nvme(model.add(nullptr, 5, 0, 0x0010'1b36, 0x010802)),
          edu(model.add(nullptr, 6, 0, 0x11e8'1234, 0x00ff00)),
          foreign(model.add(nullptr, 7, 0, 0x10d3'8086)) {
        nvme.bar64(0, 0x4000);
        nvme.bar32(2, 0x100);
        nvme.bar_io(4, 0x20);
        nvme.add_pm(0x60);
        nvme.add_msix(0x40, 65, 0, 0x2000, 0x3000);
        nvme.add_pcie(0x80, 0, true);
        nvme.add_ext(0x1, 0x100);
        edu.bar32(0, 0x10'0000);
        edu.add_msi(0x40, true, true, 2);
        edu.cap(0x13, 0xc0); // a capability that nobody knows
        foreign.bar32(0, 0x2'0000);
        bring_up();
        REQUIRE(bridge.add(at(0, 5), slot1, true).ok());
        REQUIRE(bridge.add(at(0, 6), slot2, false).ok());
        settle();
        foreign.touched = 0;
        model.writes.clear();
    }
    ~Vm() {
        CHECK(broken.empty());
        CHECK(foreign.touched == 0);
        CHECK(model.ambiguous == 0);
        CHECK(model.unaligned == 0);
    }
    u16 find_cap(u8 devfn, u8 id) {
        u8 at = static_cast<u8>(rd(devfn, 0x34, 1));
        for (unsigned i = 0; i < 50 && at != 0; ++i) {
            if (rd(devfn, at, 1) == id) {
                return at;
            }
            at = static_cast<u8>(rd(devfn, at + 1u, 1));
        }
        return 0;
    }
};

} // namespace

TEST_CASE("pci bridge: setting up is checked") {
    PciGuest g;
    PciFn& a = g.model.add(nullptr, 1, 0, 0x1111'8086);
    a.set(0xe, 0x80, 1);
    a.add_pcie(0x40, 0, true);
    g.model.add(nullptr, 1, 1, 0x1112'8086);
    g.model.add_bridge(nullptr, 2, 0, 4);
    g.bring_up();
    VirtualBridge::Setup setup;
    CHECK(g.bridge.init(setup).error() == Error::invalid_argument);
    CHECK(g.bridge.add(g.at(0, 2), slot1, false).error() == Error::denied);
    CHECK(g.bridge.add(g.at(0, 1, 1), slot1 + 1, false).error() == Error::invalid_argument);
    CHECK(g.bridge.add(g.at(0, 1, 0), slot1, false).ok());
    CHECK(g.bridge.add(g.at(0, 1, 1), slot1, false).error() == Error::already_exists);
    CHECK(g.bridge.add(g.at(0, 1, 0), slot2, false).error() == Error::already_exists);
    CHECK(g.rd(slot1, 0) == 0xffff'ffff); // still in its first reset
    g.settle();
    CHECK(g.rd(slot1, 0xe, 1) == 0);
    CHECK(g.bridge.add(g.at(0, 1, 1), slot1 + 1, false).ok());
    g.settle();
    CHECK(g.rd(slot1, 0xe, 1) == 0x80);
    CHECK(g.rd(slot1 + 1, 0) == 0x1112'8086);

    PciGuest full;
    for (unsigned i = 0; i < 17; ++i) {
        full.model.add(nullptr, i, 0, 0x1111'8086);
    }
    full.bring_up();
    for (unsigned i = 0; i < 16; ++i) {
        CHECK(full.bridge.add(full.at(0, i), static_cast<u8>(i << 3), false).ok());
    }
    CHECK(full.bridge.add(full.at(0, 16), 16 << 3, false).error() == Error::no_memory);
    CHECK(full.bridge.function_count() == 16);
}

TEST_CASE("pci bridge: identity, places and absence") {
    Vm g;
    CHECK(g.rd(slot1, 0) == 0x0010'1b36);
    CHECK(g.rd(slot1, 8) == 0x0108'0202);
    CHECK(g.rd(slot1, 0x2c) == 0x1100'1af4);
    CHECK(g.rd(slot1, 0x3c, 2) == 0x100);
    CHECK(g.rd(slot2, 0x3c, 2) == 0);      // not wired
    CHECK(g.rd(5 << 3, 0) == 0xffff'ffff); // the host's place means nothing
    CHECK(g.rd(0, 0) == 0xffff'ffff);
    CHECK(g.rd(slot1 + 1, 0, 2) == 0xffff);
    CHECK(g.rd(0xff, 0xffc, 8) == ~u64{0});
    g.wr(5 << 3, 4, 7);
    CHECK(g.rd(slot1, 0x30) == 0); // no ROM
    g.wr(slot1, 0x30, 0xffff'ffff);
    CHECK(g.rd(slot1, 0x30) == 0);
    g.wr(slot1, 0x3c, 0x55, 1);
    g.wr(slot1, 0xc, 0xff40'ff10); // BIST and latency are not there
    CHECK(g.rd(slot1, 0x3c) == 0x155);
    CHECK(g.rd(slot1, 0xc) == 0x10);
    CHECK(g.rd(slot1, 0x100) == 0); // no extended capability
    CHECK(g.rd(slot1, 0xffc) == 0);
    CHECK(g.model.writes.empty());
}

TEST_CASE("pci bridge: accesses of every size and alignment") {
    Vm g;
    CHECK(g.rd(slot1, 0, 8) == (g.rd(slot1, 0) | g.rd(slot1, 4) << 32));
    CHECK(g.rd(slot1, 1, 1) == 0x1b);
    CHECK(g.rd(slot1, 1, 2) == 0x101b);
    CHECK(g.rd(slot1, 3, 4) == (g.rd(slot1, 3, 1) | (g.rd(slot1, 4, 2) | g.rd(slot1, 6, 1) << 16) << 8));
    CHECK(g.rd(slot1, 0xffe, 4) == 0xffff'0000); // its end, and a place that is empty
    g.wr(slot1, 0x13, 0x12'34, 2);               // across two dwords of a 64-bit BAR
    CHECK(g.rd(slot1, 0x10) == 0x3400'0004);
    CHECK(g.rd(slot1, 0x14) == 0x12);
    g.wr(slot1, 0x10, 0x81'2345'6789, 8);
    CHECK(g.rd(slot1, 0x10, 8) == 0x81'2345'4004);
    CHECK(g.rd(slot1, 0x0, 8) == (0x0010'1b36 | g.rd(slot1, 4) << 32));
    CHECK(g.bridge.read(VcpuIndex{0}, VirtualBridge::ecam_size, 4) == 0xffff'ffff);
    CHECK(g.bridge.read(VcpuIndex{0}, ~u64{0} - 3, 4) == 0xffff'ffff);
}

TEST_CASE("pci bridge: BARs are sized, moved and mapped, the physical ones never touched") {
    Vm g;
    const u64 before = digest(g.nvme.cfg, 0x10, 0x34);
    // Linux: decoding off, all ones, read, put back.
    g.wr(slot1, 0x10, 0xffff'ffff);
    g.wr(slot1, 0x14, 0xffff'ffff);
    CHECK(g.rd(slot1, 0x10) == 0xffff'c004);
    CHECK(g.rd(slot1, 0x14) == 0xffff'ffff);
    g.wr(slot1, 0x18, 0xffff'ffff);
    CHECK(g.rd(slot1, 0x18) == 0xffff'f000); // 256 bytes look like a page
    g.wr(slot1, 0x20, 0xffff'ffff);
    CHECK(g.rd(slot1, 0x20) == 0); // I/O is not there
    g.wr(slot1, 0x24, 0xffff'ffff);
    CHECK(g.rd(slot1, 0x24) == 0);

    g.wr(slot1, 0x10, 0x1000'0000);
    g.wr(slot1, 0x14, 0x80);
    g.wr(slot1, 0x18, 0x1000'0000);
    CHECK(g.mapped.empty());
    g.wr(slot1, 4, 2, 2);
    REQUIRE(g.mapped.size() == 2);
    CHECK(g.mapped[0x80'1000'0000].pa == g.at(0, 5).bars[0].pa);
    CHECK(g.mapped[0x80'1000'0000].size == 0x4000);
    CHECK(g.mapped[0x80'1000'0000].devfn == slot1);
    CHECK(g.mapped[0x1000'0000].pa == g.at(0, 5).bars[2].pa);
    CHECK(g.mapped[0x1000'0000].bar == 2);
    CHECK((g.nvme.command() & 7) == 2);
    // A move while it decodes, half by half: below 4 GiB it is another place of the windows.
    g.wr(slot1, 0x14, 0);
    CHECK(g.mapped.size() == 1); // 0x1000'0000 is taken by BAR 2
    CHECK(g.reported(Kind::bar_overlaps));
    g.wr(slot1, 0x10, 0x2000'0000);
    CHECK(g.mapped.count(0x2000'0000) == 1);
    const unsigned events = g.events;
    g.wr(slot1, 4, 2, 2);
    g.wr(slot1, 0x10, 0x2000'0000);
    CHECK(g.events == events); // nothing changed
    // Sizing while it decodes is not an offence.
    g.offences.clear();
    g.wr(slot1, 0x18, 0xffff'ffff);
    CHECK(g.mapped.size() == 1);
    CHECK(g.offences.empty());
    g.wr(slot1, 0x18, 0x1000'0000);
    CHECK(g.mapped.size() == 2);
    g.wr(slot1, 4, 0, 2);
    CHECK(g.mapped.empty());
    CHECK((g.nvme.command() & 7) == 2);
    CHECK(digest(g.nvme.cfg, 0x10, 0x34) == before);
    // The function decodes what EL2 gave it, all the time: the guest's bit and addresses are mappings.
    CHECK(g.model.writes.empty());
}

TEST_CASE("pci bridge: BARs over RAM, devices and each other do not decode, and are reported once") {
    Vm g;
    g.wr(slot1, 4, 2, 2);
    for (const u32 address : {0x4000'0000u, 0x0800'0000u, 0x0900'0000u, 0x0fff'f000u, 0x3eff'0000u}) {
        g.wr(slot1, 0x18, address);
        CHECK(g.rd(slot1, 0x18) == address);
        CHECK(g.mapped.empty());
    }
    REQUIRE(g.offences.size() == 1);
    CHECK(g.offences[0].kind == Kind::bar_outside_windows);
    CHECK(g.offences[0].bar == 2);
    CHECK(g.offences[0].ipa.value == 0x4000'0000);
    CHECK(g.offences[0].physical == Bdf::of(0, 5, 0));
    // The last page of the window is inside, the next is not; nor is what crosses its end.
    g.wr(slot1, 0x18, 0x3efe'f000);
    CHECK(g.mapped.size() == 1);
    g.wr(slot2, 0x10, 0x3ef0'0000);
    g.wr(slot2, 4, 2, 2);
    CHECK(g.mapped.size() == 1);
    CHECK(g.offences.size() == 2);
    g.wr(slot2, 0x10, 0x2000'0000);
    CHECK(g.mapped.size() == 2);
    // Over the other function's BAR; when that leaves, it decodes by itself.
    g.wr(slot1, 0x18, 0x200f'f000);
    g.wr(slot1, 0x18, 0x200f'e000);
    CHECK(g.offences.size() == 3);
    CHECK(g.offences[2].kind == Kind::bar_overlaps);
    CHECK(g.mapped.size() == 1);
    g.wr(slot2, 4, 0, 2);
    CHECK(g.mapped.count(0x200f'e000) == 1);
    // A map that is refused.
    g.refuse_map = true;
    g.wr(slot1, 0x18, 0x1234'5000);
    g.wr(slot1, 0x18, 0x1234'6000);
    CHECK(g.mapped.empty());
    CHECK(g.offences.size() == 4);
    CHECK(g.offences[3].kind == Kind::bar_not_mapped);
    g.refuse_map = false;
    g.wr(slot1, 4, 2, 2);
    CHECK(g.mapped.count(0x1234'6000) == 1);
    // A 32-bit BAR has no business above 4 GiB, and a reset makes reports new.
    g.bridge.reset();
    g.settle();
    CHECK(g.mapped.empty());
    g.wr(slot1, 0x18, 0x4000'0000);
    g.wr(slot1, 4, 2, 2);
    CHECK(g.offences.size() == 5);
    for (unsigned i = 0; i < 4; ++i) {
        CHECK(to_string(static_cast<Kind>(i))[0] != '?');
    }
}

TEST_CASE("pci bridge: mastering needs the guest's wish and the stream") {
    Vm g;
    g.wr(slot1, 4, 0x7, 2);
    CHECK(g.rd(slot1, 4, 2) == 0x6); // I/O space is not there
    CHECK((g.nvme.command() & 7) == 2);
    g.bridge.set_stream_attached(slot1, true);
    CHECK((g.nvme.command() & 7) == 6);
    g.bridge.set_stream_attached(slot1, false);
    CHECK((g.nvme.command() & 7) == 2);
    g.bridge.set_stream_attached(slot2, true);
    CHECK((g.edu.command() & 7) == 2);
    g.wr(slot2, 4, 0x4, 1);
    CHECK((g.edu.command() & 7) == 6);
    g.wr(slot2, 5, 0x4, 1);
    CHECK(g.rd(slot2, 4, 2) == 0x404);
    CHECK((g.edu.command() & 0x400) != 0);
    // INTx: off unless it is wired and the guest lets it.
    CHECK((g.nvme.command() & 0x400) == 0);
    g.wr(slot1, 4, 0xffff, 2);
    CHECK(g.rd(slot1, 4, 2) == 0x406);
    CHECK((g.nvme.command() & 0x400) != 0);
    g.wr(slot2, 4, 0, 2);
    CHECK((g.edu.command() & 0x400) != 0);
    g.bridge.set_stream_attached(0x77, true); // nobody
}

TEST_CASE("pci bridge: status errors are cleared by ones, and only those") {
    Vm g;
    g.nvme.cfg[7] = 0xf9;
    g.nvme.cfg[6] |= 0x08;
    CHECK(g.rd(slot1, 6, 2) == 0xf918);
    g.wr(slot1, 4, 2, 2);
    CHECK(g.rd(slot1, 6, 2) == 0xf918); // a 16-bit write of the command is none of the status
    g.wr(slot1, 6, 0x2000, 2);
    CHECK(g.rd(slot1, 6, 2) == 0xd918);
    g.wr(slot1, 4, 0xffff'0002, 4);
    CHECK(g.rd(slot1, 4, 4) == 0x0018'0002);
    CHECK((g.nvme.command() & 7) == 2);
}

TEST_CASE("pci bridge: the capability list shows what is understood") {
    Vm g;
    CHECK(g.rd(slot1, 0x34) == 0x60);
    CHECK(g.find_cap(slot1, 1) == 0x60);
    CHECK(g.find_cap(slot1, 0x11) == 0x40);
    CHECK(g.find_cap(slot1, 0x10) == 0x80);
    CHECK(g.find_cap(slot2, 5) == 0x40);
    CHECK(g.find_cap(slot2, 0x13) == 0);
    CHECK(g.rd(slot2, 0xc0) == 0);
    CHECK(g.rd(slot1, 0x70) == 0);
    // PCI Express: an integrated endpoint, without links; sizes are EL2's.
    CHECK(g.rd(slot1, 0x80) == 0x0092'0010);
    CHECK(g.rd(slot1, 0x84) == 0x1000'8002);
    CHECK(g.rd(slot1, 0x88, 2) == 0x2810);
    g.wr(slot1, 0x88, 0x5fff, 2);
    CHECK(g.rd(slot1, 0x88, 2) == 0x2810);
    CHECK(g.rd(slot1, 0x8c) == 0);
    CHECK(g.rd(slot1, 0xa8) == 0);
    g.nvme.cfg[0x8a] = 0xf;
    g.wr(slot1, 0x8a, 0xf5, 1);
    CHECK(g.rd(slot1, 0x8a, 2) == 0xa);
    g.wr(slot1, 0x8c, 0xffff'ffff);
    g.wr(slot1, 0xa8, 0xffff'ffff);
    CHECK(g.nvme.get16(0x90) == 0);
    CHECK(g.nvme.get16(0xa8) == 0);
    CHECK(g.nvme.get16(0x88) == 0x2810);
}

TEST_CASE("pci bridge: MSI-X control passes, MSI passes field by field") {
    Vm g;
    CHECK(g.rd(slot1, 0x40) == 0x0040'8011);
    CHECK(g.rd(slot1, 0x44) == 0x2000);
    CHECK(g.rd(slot1, 0x48) == 0x3000);
    g.wr(slot1, 0x42, 0xffff, 2);
    CHECK(g.rd(slot1, 0x42, 2) == 0xc040);
    CHECK(g.nvme.get16(0x42) == 0xc040);
    g.wr(slot1, 0x43, 0x80, 1);
    CHECK(g.nvme.get16(0x42) == 0x8040);
    g.wr(slot1, 0x44, 0xffff'ffff);
    CHECK(g.nvme.get32(0x44) == 0x2000);

    CHECK(g.rd(slot2, 0x40) == 0x0184'0005);
    g.wr(slot2, 0x44, 0x0809'0043);
    g.wr(slot2, 0x48, 0x12);
    g.wr(slot2, 0x4c, 0xffff'0077);
    g.wr(slot2, 0x50, 0x5);
    g.wr(slot2, 0x54, 0xffff'ffff);
    CHECK(g.edu.get32(0x44) == 0x0809'0040);
    CHECK(g.edu.get32(0x48) == 0x12);
    CHECK(g.edu.get16(0x4c) == 0x77);
    CHECK(g.edu.get32(0x50) == 0x5);
    CHECK(g.rd(slot2, 0x54) == 1); // pending
    g.wr(slot2, 0x42, 0x0071, 2);
    CHECK(g.rd(slot2, 0x42, 2) == 0x01a5); // 4 of the 128 vectors that it asked for
    CHECK(g.edu.get16(0x42) == 0x01a5);
    g.wr(slot2, 0x45, 0x10, 1);
    CHECK(g.edu.get32(0x44) == 0x0809'1040);
    g.bridge.reset();
    g.settle();
    CHECK((g.edu.get16(0x42) & 1) == 0);
    CHECK(g.rd(slot2, 0x44) == 0);
    CHECK((g.nvme.get16(0x42) & 0x8000) == 0);
    CHECK(g.rd(slot1, 0x42, 2) == 0x40);
}

TEST_CASE("pci bridge: D3hot is the guest's belief") {
    Vm g;
    g.bridge.set_stream_attached(slot1, true);
    g.wr(slot1, 0x18, 0x1000'0000);
    g.wr(slot1, 4, 6, 2);
    CHECK(g.rd(slot1, 0x60) == 0x0003'4001);
    CHECK(g.rd(slot1, 0x64) == 8);
    g.wr(slot1, 0x64, 0x8103, 2);
    CHECK(g.rd(slot1, 0x64) == 0xb);
    CHECK(g.mapped.empty());
    CHECK((g.nvme.command() & 7) == 2);
    g.wr(slot1, 0x64, 1); // D1 does not exist
    CHECK(g.rd(slot1, 0x64) == 0xb);
    g.wr(slot1, 0x65, 0, 1); // not the byte that holds the state
    CHECK(g.rd(slot1, 0x64) == 0xb);
    g.wr(slot1, 0x64, 0);
    CHECK(g.mapped.size() == 1);
    CHECK((g.nvme.command() & 7) == 6);
    CHECK(g.rd(slot1, 4, 2) == 6);
    CHECK((g.nvme.get16(0x64) & 0x103) == 0);
}

TEST_CASE("pci bridge: a guest's FLR is a job, during which the function is gone") {
    Vm g;
    g.bridge.set_stream_attached(slot1, true);
    g.wr(slot1, 0x18, 0x1000'0000);
    g.wr(slot1, 0x10, 0x2000'0000);
    g.wr(slot1, 4, 6, 2);
    CHECK(g.mapped.size() == 2);
    const unsigned resets = g.nvme.resets;
    const u64 start = g.model.now_us;
    g.wr(slot1, 0x88, 0x8000, 2);
    CHECK(g.mapped.empty());
    unsigned polls = 0;
    while (g.rd(slot1, 0) == 0xffff'ffff) {
        g.wr(slot1, 4, 6, 2); // nobody listens
        g.wr(slot1, 0x88, 0x8000, 2);
        g.model.now_us += 10'000;
        REQUIRE(++polls < 100);
    }
    CHECK(g.model.now_us - start >= 100'000);
    CHECK(g.nvme.early_accesses == 0);
    CHECK(g.nvme.resets == resets + 1);
    CHECK_FALSE(g.nvme.mastering_at_reset);
    CHECK(g.rd(slot1, 4, 2) == 0);
    CHECK(g.rd(slot1, 0x18) == 0);
    CHECK(g.rd(slot1, 0x10, 8) == 4);
    CHECK((g.nvme.command() & 7) == 2);
    g.wr(slot1, 0x18, 0x1000'0000);
    g.wr(slot1, 4, 6, 2);
    CHECK(g.mapped.size() == 1);
    CHECK((g.nvme.command() & 7) == 6); // the stream is attached still
    g.wr(slot2, 0x88, 0x8000, 2);       // has none
    CHECK(g.edu.resets == 0);
}

TEST_CASE("pci bridge: an FLR that the function does not offer is none") {
    PciGuest g;
    PciFn& fn = g.model.add(nullptr, 1, 0, 0x10d3'8086);
    fn.bar32(0, 0x1000);
    fn.add_pcie(0x80, 0, false);
    fn.add_pm(0xa0);
    g.bring_up();
    REQUIRE(g.bridge.add(g.at(0, 1), slot1, false).ok());
    g.settle();
    const unsigned resets = fn.resets;
    g.wr(slot1, 0x10, 0x1000'0000);
    g.wr(slot1, 4, 2, 2);
    g.wr(slot1, 0x88, 0xffff'ffff);
    CHECK(g.rd(slot1, 4, 2) == 2);
    CHECK(g.mapped.size() == 1);
    CHECK(fn.resets == resets);
    CHECK((g.rd(slot1, 0x84) & (1u << 28)) == 0);
}

TEST_CASE("pci bridge: reset at a VM's end, in every state") {
    Vm g;
    g.wr(slot1, 0x18, 0x1000'0000);
    g.wr(slot1, 4, 6, 2);
    g.bridge.set_stream_attached(slot1, true);
    const unsigned resets = g.nvme.resets;
    g.bridge.reset();
    CHECK(g.mapped.empty());
    CHECK((g.nvme.command() & 5) == 0); // before reset() returns
    CHECK((g.edu.command() & 5) == 0);
    g.bridge.reset(); // twice
    g.settle();
    CHECK(g.nvme.resets == resets + 1);
    // In the middle of a guest's own FLR.
    g.wr(slot1, 0x88, 0x8000, 2);
    g.model.now_us += 5'000;
    CHECK_FALSE(g.idle());
    g.bridge.reset();
    g.settle();
    CHECK(g.nvme.early_accesses == 0);
    CHECK(g.nvme.resets == resets + 2);
    // A function that is lost says so once, and may be won back by the next reset.
    g.nvme.dies = true;
    g.bridge.reset();
    g.settle();
    CHECK(g.reported(Kind::reset_failed));
    CHECK(g.offences.size() == 1);
    CHECK(g.rd(slot1, 0) == 0xffff'ffff);
    g.wr(slot1, 4, 6, 2);
    CHECK(g.rd(slot2, 0) == 0x11e8'1234); // the other one goes on
    g.nvme.dies = false;
    g.nvme.silent_until_us = 0;
    g.bridge.reset();
    g.settle();
    CHECK(g.rd(slot1, 0) == 0x0010'1b36);
}

TEST_CASE("pci bridge: virtio's structures are shown, its window into BARs is not") {
    PciGuest g;
    PciFn& fn = g.model.add(nullptr, 1, 0, 0x1041'1af4);
    fn.bar64(4, 0x4000, true);
    fn.add_virtio(0x84, 5, 0, 0, 0);
    fn.add_virtio(0x70, 2, 4, 0x3000, 0x1000);
    fn.add_virtio(0x40, 1, 4, 0, 0x38);
    fn.add_virtio(0xa0, 8, 4, 0, 0x38);
    PciFn& other = g.model.add(nullptr, 2, 0, 0x1111'8086);
    other.add_virtio(0x40, 1, 4, 0, 0x38); // somebody else's vendor capability
    g.bring_up();
    REQUIRE(g.bridge.add(g.at(0, 1), slot1, false).ok());
    REQUIRE(g.bridge.add(g.at(0, 2), slot2, false).ok());
    g.settle();
    CHECK(g.rd(slot1, 0x34) == 0x70);
    CHECK(g.rd(slot1, 0x70) == 0x0214'4009);
    CHECK(g.rd(slot1, 0x40) == 0x0114'0009);
    CHECK(g.rd(slot1, 0x78) == 0x3000);
    CHECK(g.rd(slot1, 0x80) == 4); // notify_off_multiplier
    CHECK(g.rd(slot1, 0x84) == 0);
    g.model.writes.clear();
    for (u32 at = 0x40; at < 0x100; at += 4) {
        g.wr(slot1, at, 0xffff'ffff);
    }
    CHECK(g.model.writes.empty());
    CHECK(g.rd(slot2, 0x34) == 0);
    CHECK((g.rd(slot2, 6, 2) & 0x10) == 0);
    CHECK(g.rd(slot2, 0x40) == 0);
    g.wr(slot1, 0x20, 0x2000'0000);
    g.wr(slot1, 4, 2, 2);
    CHECK(g.rd(slot1, 0x20) == 0x2000'000c);
    CHECK(g.mapped[0x2000'0000].prefetchable);
}

TEST_CASE("pci bridge: a VF looks like a function") {
    PciGuest g;
    PciFn& pf = g.model.add(nullptr, 1, 0, 0x10c9'8086);
    pf.add_pcie(0xa0, 0, true);
    pf.add_ext(0x1, 0x100);
    pf.add_sriov(0x160, 7, 0x80, 2, 0x10ca);
    pf.bar64_at(0x184, 0, 0x4000, true);
    pf.bar64_at(0x184, 3, 0x4000, true);
    pf.build_vf = [](PciFn& vf) {
        vf.add_msix(0x70, 3, 3, 0, 0x2000);
        vf.add_pcie(0xa0, 0, true);
    };
    g.bring_up();
    SriovJob job;
    REQUIRE(job.start(*g.t, Bdf::of(0, 1, 0), 2, g.model.clock()).ok());
    REQUIRE(g.model.finish(job) == Step::done);
    REQUIRE(g.bridge.add(g.t->functions[2], slot1, true).ok());
    g.settle();
    CHECK(g.rd(slot1, 0) == 0x10ca'8086);
    CHECK(g.rd(slot1, 0x2c) == 0x0001'1af4);
    CHECK(g.rd(slot1, 0x3c) == 0);
    g.wr(slot1, 0x10, 0xffff'ffff);
    CHECK(g.rd(slot1, 0x10) == 0xffff'c00c);
    g.wr(slot1, 0x10, 0x80'0000'0000, 8);
    g.wr(slot1, 0x1c, 0x80'0010'0000, 8);
    g.wr(slot1, 4, 6, 2);
    CHECK(g.mapped[0x80'0000'0000].pa == g.t->functions[2].bars[0].pa);
    CHECK(g.mapped[0x80'0010'0000].pa == g.t->functions[2].bars[3].pa);
    CHECK((pf.vfs[1]->command() & 4) == 0);
    g.bridge.set_stream_attached(slot1, true);
    CHECK((pf.vfs[1]->command() & 4) != 0);
    CHECK((pf.vfs[0]->command() & 4) == 0);
    g.wr(slot1, 0xa8, 0x8000, 2);
    g.settle();
    CHECK(pf.vfs[1]->resets == 2);
    CHECK(pf.resets == 0);
    CHECK(g.broken.empty());
}
