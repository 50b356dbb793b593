// SPDX-License-Identifier: Apache-2.0
// Host tests of pci/enumerate, describe and extended: finding, numbering, sizing, and devices that lie.
#include <doctest/doctest.h>

#include <random>

#include "tests/support/pci_model.hpp"

using namespace atl;
using namespace atl::pci;
using namespace atl::test;

namespace {

struct Bus {
    PciModel model;
    std::unique_ptr<Topology> t = std::make_unique<Topology>();

    Status run() {
        model.seal();
        const Status status = enumerate(*t, model.host);
        CHECK(model.ambiguous == 0);
        CHECK(model.unaligned == 0);
        CHECK(model.outside == 0);
        return status;
    }
    Function& at(unsigned bus, unsigned device, unsigned function = 0) {
        Function* found = t->find(Bdf::of(bus, device, function));
        REQUIRE(found != nullptr);
        return *found;
    }
    bool has(ProblemKind kind) const {
        for (const Problem& problem : t->problems) {
            if (problem.kind == kind) {
                return true;
            }
        }
        return false;
    }
};

} // namespace

TEST_CASE("pci enumerate: what a function is") {
    Bus b;
    PciFn& nvme = b.model.add(nullptr, 2, 0, 0x0010'1b36, 0x010802);
    nvme.bar64(0, 0x4000);
    nvme.bar32(4, 0x100, 8);
    nvme.bar_io(5, 0x20);
    nvme.add_pm(0x60);
    nvme.add_msix(0x40, 65, 0, 0x2000, 0x3000);
    nvme.add_pcie(0x80, 0, true);
    nvme.add_msi(0xd0, true, true, 3);
    PciFn& edu = b.model.add(nullptr, 3, 0, 0x11e8'1234, 0x00ff00);
    edu.bar32(0, 0x10'0000);
    edu.cfg[0x3d] = 9; // no such pin
    b.model.add(nullptr, 0, 0, 0x0008'1b36, 0x060000);
    // Firmware has left it running.
    nvme.set(4, 0x7, 2, 0x547);
    nvme.set(0x30, 0x1000'0001, 4, 0xfffe'0001);
    nvme.cfg[0x43] = 0x80;
    nvme.cfg[0xd2] |= 1;
    REQUIRE(b.run().ok());
    REQUIRE(b.t->functions.size() == 3);
    CHECK(b.t->problems.empty());

    const Function& f = b.at(0, 2);
    CHECK(f.vendor == 0x1b36);
    CHECK(f.device == 0x0010);
    CHECK(f.revision_class == 0x0108'0202);
    CHECK(f.subsystem == 0x1100);
    CHECK(f.verdict == Verdict::assignable);
    CHECK(f.bars[0].kind == BarKind::mem64);
    CHECK(f.bars[0].size == 0x4000);
    CHECK(f.bars[1].kind == BarKind::upper_half);
    CHECK(f.bars[4].kind == BarKind::mem32);
    CHECK(f.bars[4].prefetchable);
    CHECK(f.bars[4].size == 0x100);
    CHECK(f.bars[4].span() == 0x1000);
    CHECK(f.bars[5].kind == BarKind::io);
    CHECK(f.bars[5].size == 0x20);
    CHECK(f.msix.entries == 65);
    CHECK(f.msix.table_offset == 0x2000);
    CHECK(f.msix.pba_offset == 0x3000);
    CHECK(f.msi.vectors == 8);
    CHECK(f.msi.is_64);
    CHECK(f.msi.maskable);
    CHECK(f.flr);
    CHECK(f.soft_reset);
    CHECK(f.pcie_type == PcieType::endpoint);
    CHECK(f.device_control == 0x2810);
    CHECK(f.interrupt_pin == 1);
    CHECK(b.at(0, 3).interrupt_pin == 0);
    CHECK(b.at(0, 0).verdict == Verdict::is_bridge);

    CHECK(nvme.command() == 0x400);
    CHECK(nvme.get32(0x30) == 0);
    CHECK((nvme.get16(0x42) & 0xc000) == 0);
    CHECK((nvme.get16(0xd2) & 1) == 0);
    CHECK(nvme.get16(0x88) == 0x2810);
    // No register was ever sized while it decoded.
    bool decoding = true;
    for (const PciModel::Write& write : b.model.writes) {
        if (write.fn == &nvme) {
            decoding = write.at == 4 ? (write.value & 7) != 0 : decoding;
            CHECK_FALSE(decoding);
        }
    }
}

TEST_CASE("pci enumerate: bridges are numbered afresh, whatever firmware left") {
    Bus b;
    PciFn& root = b.model.add_bridge(nullptr, 1, 0, 4);
    PciFn& other = b.model.add_bridge(nullptr, 4, 0, 4);
    PciFn& up = b.model.add_bridge(&root, 0, 0, 5);
    PciFn& down0 = b.model.add_bridge(&up, 0, 0, 6);
    PciFn& down1 = b.model.add_bridge(&up, 1, 0, 6);
    PciFn& a = b.model.add(&down0, 0, 0, 0x10d3'8086);
    PciFn& c = b.model.add(&down1, 0, 0, 0x10d3'8086);
    b.model.add(&other, 0, 0, 0x10d3'8086);
    a.cfg[0x3d] = 2;
    a.answers_anywhere = true; // a link partner that does not look at device numbers
    c.cfg[0x3d] = 1;
    // Overlapping leftovers that would make two bridges answer for one bus.
    root.set(0x18, 0x00ff0100, 4, 0x00ff'ffff);
    other.set(0x18, 0x00ff0100, 4, 0x00ff'ffff);
    up.set(0x18, 0x00090101, 4, 0x00ff'ffff);
    REQUIRE(b.run().ok());
    CHECK(b.t->problems.empty());
    REQUIRE(b.t->functions.size() == 8);
    CHECK(b.at(0, 1).secondary_bus == 1);
    CHECK(b.at(0, 1).subordinate_bus == 4);
    CHECK(b.at(1, 0).secondary_bus == 2);
    CHECK(b.at(1, 0).subordinate_bus == 4);
    CHECK(b.at(2, 0).secondary_bus == 3);
    CHECK(b.at(2, 1).secondary_bus == 4);
    CHECK(b.at(0, 4).secondary_bus == 5);
    CHECK(root.get32(0x18) == 0x0004'0100);
    CHECK(up.get32(0x18) == 0x0004'0201);
    CHECK(b.at(3, 0).parent != Function::none);
    // INTx: pin 2 of device 0 behind port 0, behind port 0, behind root port 1; and pin 1 behind port 1.
    CHECK(b.at(3, 0).root_device == 1);
    CHECK(b.at(3, 0).root_pin == 2);
    CHECK(b.at(4, 0).root_pin == 2);
    CHECK(b.at(0, 1).acs);
    CHECK(b.at(2, 0).acs);
    CHECK(b.at(1, 0).verdict == Verdict::is_bridge);
    CHECK_FALSE(share_isolation(b.at(3, 0), b.at(4, 0)));
    CHECK((root.get16(0x106) & 0x1d) == 0x1d);
}

TEST_CASE("pci enumerate: who is not isolated from whom") {
    Bus b;
    b.model.add(nullptr, 1, 0, 0x1111'8086).set(0xe, 0x80, 1);
    b.model.add(nullptr, 1, 3, 0x1112'8086);
    b.model.add(nullptr, 2, 0, 0x1113'8086);
    b.model.add(nullptr, 2, 5, 0x1114'8086); // not there: function 0 does not say so
    PciFn& root = b.model.add_bridge(nullptr, 3, 0, 4);
    PciFn& up = b.model.add_bridge(&root, 0, 0, 5);
    PciFn& d0 = b.model.add_bridge(&up, 0, 0, 6);
    PciFn& d1 = b.model.add_bridge(&up, 1, 0, 6, false); // lets its peers through
    b.model.add(&d0, 0, 0, 0x1115'8086);
    b.model.add(&d1, 0, 0, 0x1116'8086);
    PciFn& bad_root = b.model.add_bridge(nullptr, 4, 0, 4, false);
    b.model.add(&bad_root, 0, 0, 0x1117'8086);
    PciFn& pci = b.model.add_bridge(nullptr, 5, 0, 0xff);
    b.model.add(&pci, 7, 0, 0x1118'8086);
    PciFn& express_to_pci = b.model.add_bridge(nullptr, 6, 0, 7);
    b.model.add(&express_to_pci, 1, 0, 0x1119'8086);
    REQUIRE(b.run().ok());
    CHECK(b.t->find(Bdf::of(0, 2, 5)) == nullptr);
    CHECK(share_isolation(b.at(0, 1, 0), b.at(0, 1, 3)));
    CHECK_FALSE(share_isolation(b.at(0, 1), b.at(0, 2)));
    CHECK(share_isolation(b.at(3, 0), b.at(4, 0)));
    CHECK_FALSE(share_isolation(b.at(3, 0), b.at(5, 0)));
    CHECK(b.at(5, 0).verdict == Verdict::assignable);
    CHECK(share_isolation(b.at(5, 0), b.at(0, 4))); // whatever is below an open port goes together
    CHECK(b.at(6, 7).verdict == Verdict::behind_conventional);
    CHECK(b.at(7, 1).verdict == Verdict::behind_conventional);
    CHECK_FALSE(share_isolation(b.at(6, 7), b.at(7, 1)));
}

TEST_CASE("pci enumerate: limits are sentences") {
    SUBCASE("functions") {
        Bus b;
        for (unsigned i = 0; i < 80; ++i) {
            b.model.add(nullptr, i / 8, i % 8, 0x1111'8086).set(0xe, 0x80, 1);
        }
        b.model.functions.back()->set(4, 6, 2, 0x547);
        REQUIRE(b.run().ok());
        CHECK(b.t->functions.size() == max_functions);
        CHECK(b.has(ProblemKind::too_many_functions));
        CHECK(b.model.functions.back()->command() == 0x400); // known or not, it is quiet
    }
    SUBCASE("depth") {
        Bus b;
        PciFn* parent = nullptr;
        for (unsigned i = 0; i < 12; ++i) {
            parent = &b.model.add_bridge(parent, 0, 0, 4);
        }
        REQUIRE(b.run().ok());
        CHECK(b.has(ProblemKind::too_deep));
        CHECK(b.t->bridges.size() == max_bridge_depth);
        CHECK(b.t->functions.size() == max_bridge_depth + 1);
    }
    SUBCASE("buses") {
        Bus b;
        b.model.host.last_bus = 2;
        for (unsigned i = 0; i < 4; ++i) {
            b.model.add_bridge(nullptr, i, 0, 4);
        }
        REQUIRE(b.run().ok());
        CHECK(b.has(ProblemKind::out_of_buses));
        CHECK(b.t->bridges.size() == 2);
        CHECK(b.at(0, 3).verdict == Verdict::malformed);
        CHECK(b.model.functions[3]->get32(0x18) == 0); // closed
    }
    SUBCASE("bridges") {
        Bus b;
        for (unsigned i = 0; i < 40; ++i) {
            b.model.add_bridge(nullptr, i / 8, i % 8, 4).set(0xe, 0x81, 1);
        }
        REQUIRE(b.run().ok());
        CHECK(b.has(ProblemKind::too_many_bridges));
        CHECK(b.t->bridges.size() == max_bridges);
    }
    SUBCASE("problems") {
        Bus b;
        for (unsigned i = 0; i < 60; ++i) {
            b.model.add(nullptr, i / 8, i % 8, 0x1111'8086).set(0xe, 0x85, 1);
        }
        REQUIRE(b.run().ok());
        CHECK(b.t->problems.size() == max_problems);
        CHECK(b.t->problems_dropped == 28);
        CHECK(b.at(0, 0).verdict == Verdict::malformed);
    }
}

TEST_CASE("pci enumerate: host bridge values that contradict each other") {
    PciModel model;
    Topology t;
    const auto refused = [&](auto change) {
        HostBridge host = model.host;
        change(host);
        const Status status = enumerate(t, host);
        return !status.ok() && status.error() == Error::invalid_argument;
    };
    CHECK(enumerate(t, model.host).ok());
    CHECK(refused([](HostBridge& h) { h.ecam.size -= 1; }));
    CHECK(refused([](HostBridge& h) { h.first_bus = 9, h.last_bus = 8; }));
    CHECK(refused([](HostBridge& h) { h.ecam.base.value += 4; }));
    CHECK(refused([](HostBridge& h) { h.mem32.bus = 0xe000'0000; }));
    CHECK(refused([](HostBridge& h) { h.mem32.cpu.value += 8; }));
    CHECK(refused([](HostBridge& h) { h.mem64.size = ~u64{0} & ~u64{0xfff}; }));
    CHECK(refused([](HostBridge& h) { h.mem64.bus = 0x100; }));
    // A bridge that begins elsewhere: the ECAM begins with it.
    model.host.first_bus = 0x20;
    model.host.last_bus = 0x2f;
    model.add(nullptr, 1, 0, 0x1111'8086);
    model.seal();
    REQUIRE(enumerate(t, model.host).ok());
    CHECK(t.find(Bdf::of(0x20, 1, 0)) != nullptr);
    CHECK(model.outside == 0);
}

TEST_CASE("pci enumerate: malformed functions") {
    Bus b;
    PciFn& loop = b.model.add(nullptr, 1, 0, 0x1111'8086);
    loop.add_pm(0x40);
    loop.cap(0x77, 0x50);
    loop.cfg[0x51] = 0x40;
    PciFn& low = b.model.add(nullptr, 2, 0, 0x1111'8086);
    low.add_pm(0x60);
    low.cfg[0x61] = 0x10;
    PciFn& end = b.model.add(nullptr, 3, 0, 0x1111'8086);
    end.add_msix(0xf8, 4, 0, 0, 0x800);
    end.bar32(0, 0x1000);
    PciFn& outside = b.model.add(nullptr, 4, 0, 0x1111'8086);
    outside.bar32(0, 0x1000);
    outside.add_msix(0x40, 2048, 0, 0, 0x800);
    PciFn& holes = b.model.add(nullptr, 5, 0, 0x1111'8086);
    holes.set(0x10, 0, 4, 0xff0f'0000);
    PciFn& type = b.model.add(nullptr, 6, 0, 0x1111'8086);
    type.bar32(2, 0x1000, 2);
    PciFn& last = b.model.add(nullptr, 7, 0, 0x1111'8086);
    last.bar32(5, 0x1000, 4); // no slot for its upper half
    PciFn& pba = b.model.add(nullptr, 8, 0, 0x1111'8086);
    pba.bar32(0, 0x1000);
    pba.add_msix(0x40, 8, 0, 0, 0x1000);
    PciFn& ext = b.model.add(nullptr, 9, 0, 0x1111'8086);
    ext.add_pcie(0x40, 0, false);
    ext.add_ext(0xf, 0x100);
    ext.set(0x106, 0x8000, 2, 0x8000); // ATS on
    ext.set(0x100, 0x100'1000fu, 4);   // and a loop
    PciFn& retry = b.model.add(nullptr, 10, 0, 0x1111'0001);
    (void)retry;
    PciFn& many = b.model.add(nullptr, 11, 0, 0x1041'1af4);
    for (unsigned i = 0; i < 20; ++i) {
        many.add_virtio(static_cast<u8>(0x40 + 4 * i), 4, 0, 0, 16);
        many.cfg[0x42 + 4 * i] = 16;
    }
    REQUIRE(b.run().ok());
    CHECK(b.at(0, 1).find(1) == 0x40);
    CHECK(b.at(0, 2).find(1) == 0x60);
    CHECK(b.at(0, 3).msix.entries == 0);
    CHECK(b.at(0, 4).msix.entries == 0);
    CHECK(b.at(0, 4).verdict == Verdict::assignable);
    CHECK(b.at(0, 5).verdict == Verdict::malformed);
    CHECK(b.at(0, 6).verdict == Verdict::malformed);
    CHECK(b.at(0, 7).verdict == Verdict::malformed);
    CHECK(b.at(0, 8).msix.entries == 0);
    CHECK(ext.get16(0x106) == 0);
    CHECK(b.t->find(Bdf::of(0, 10, 0)) == nullptr);
    CHECK(b.has(ProblemKind::bad_capability_list));
    CHECK(b.has(ProblemKind::bad_bar));
    CHECK(b.has(ProblemKind::bad_msix));
    CHECK(b.has(ProblemKind::not_ready));
    for (unsigned i = 0; i < 16; ++i) {
        CHECK(to_string(static_cast<ProblemKind>(i))[0] != '\0');
    }
}

TEST_CASE("pci enumerate: any bytes at all come to an end") {
    std::mt19937 random(7);
    Topology t;
    for (unsigned round = 0; round < 300; ++round) {
        PciModel model;
        model.logging = false;
        std::vector<PciFn*> bridges{nullptr};
        for (unsigned i = 0; i < 8; ++i) {
            PciFn* parent = bridges[random() % bridges.size()];
            PciFn& fn = random() % 3 == 0
                            ? model.add_bridge(parent, random() % 3, random() % 2, random() % 12)
                            : model.add(parent, random() % 3, random() % 2, 0x1041'1af4);
            if (fn.bridge) {
                bridges.push_back(&fn);
            } else {
                for (unsigned at = 0x10; at < 0x200; ++at) {
                    fn.cfg[at] = static_cast<u8>(random() % 4 == 0 ? random() : at < 0x100 ? fn.cfg[at] : 0);
                    fn.wmask[at] = static_cast<u8>(random() % 2 == 0 ? random() : fn.wmask[at]);
                }
                fn.cfg[6] |= 0x10;
            }
        }
        model.seal();
        REQUIRE(enumerate(t, model.host).ok());
        assign(t);
        CHECK(model.outside == 0);
        for (const Function& f : t.functions) {
            for (const Bar& bar : f.bars) {
                CHECK((!bar.assigned || bar.pa.is_aligned(page_size)));
            }
            CHECK((f.is_bridge || model.resolve(f.bdf.bus(), f.bdf.devfn()) != nullptr));
        }
    }
}
