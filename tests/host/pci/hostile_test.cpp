// SPDX-License-Identifier: Apache-2.0
// A guest that writes everything everywhere in its configuration window. Whatever it does, physical BARs,
// bridges, payload sizes and other functions stay as they are, and mastering is on only while its stream is
// its own.
#include <doctest/doctest.h>

#include <random>
#include <set>

#include "tests/support/pci_guest.hpp"

using namespace atl;
using namespace atl::pci;
using namespace atl::test;

namespace {

constexpr u8 places[] = {1 << 3, 2 << 3, 3 << 3, 3 << 3 | 1};

struct Arena : PciGuest {
    std::vector<PciFn*> own;
    std::vector<PciFn*> others;
    std::vector<bool> attached = std::vector<bool>(4);
    std::vector<u64> own_digest;
    std::vector<u64> other_digest;

    Arena() {
        PciFn& port = model.add_bridge(nullptr, 1, 0, 4);
        PciFn& nvme = model.add(&port, 0, 0, 0x0010'1b36, 0x010802);
        nvme.bar64(0, 0x4000);
        nvme.bar32(2, 0x100);
        nvme.add_pm(0x60);
        nvme.add_msix(0x40, 65, 0, 0x2000, 0x3000);
        nvme.add_pcie(0x80, 0, true);
        nvme.add_ext(0x1, 0x100);
        PciFn& igb = model.add(nullptr, 2, 0, 0x10c9'8086);
        igb.bar32(0, 0x2'0000);
        igb.bar_io(2, 0x20);
        igb.add_pm(0x40);
        igb.add_msi(0x50, true, true, 0);
        igb.add_msix(0x70, 10, 0, 0, 0x1000);
        igb.add_pcie(0xa0, 0, true);
        igb.add_ext(0x1, 0x100);
        igb.add_sriov(0x160, 8, 0x80, 2, 0x10ca);
        igb.bar64_at(0x184, 0, 0x4000, true);
        PciFn& edu = model.add(nullptr, 3, 0, 0x11e8'1234, 0x00ff00);
        edu.bar32(0, 0x10'0000);
        edu.add_msi(0x40, false, false, 5);
        PciFn& net = model.add(nullptr, 4, 0, 0x1041'1af4);
        net.bar64(4, 0x4000, true);
        net.add_virtio(0x84, 5, 0, 0, 0);
        net.add_virtio(0x40, 1, 4, 0, 0x38);
        PciFn& foreign = model.add(nullptr, 5, 0, 0x10d3'8086);
        foreign.bar32(0, 0x2'0000);
        foreign.add_pcie(0xa0, 0, true);
        own = {&nvme, &igb, &edu, &net};
        others = {&port, &foreign};
        bring_up();
        REQUIRE(bridge.add(at(1, 0), places[0], true).ok());
        REQUIRE(bridge.add(at(0, 2), places[1], false).ok());
        REQUIRE(bridge.add(at(0, 3), places[2], true).ok());
        REQUIRE(bridge.add(at(0, 4), places[3], false).ok());
        settle();
        for (PciFn* fn : own) {
            own_digest.push_back(fixed(*fn));
        }
        for (PciFn* fn : others) {
            fn->touched = 0;
            other_digest.push_back(digest(fn->cfg, 0, 0x1000));
        }
        model.writes.clear();
    }

    /// What no guest may change: BARs, ROM, device and link control, everything extended.
    static u64 fixed(const PciFn& fn) {
        u64 hash = digest(fn.cfg, 0x10, 0x34) ^ digest(fn.cfg, 0x100, 0x1000);
        if (fn.pcie != 0) {
            hash ^= digest(fn.cfg, fn.pcie + 8, fn.pcie + 10) ^ digest(fn.cfg, fn.pcie + 0xc, fn.pcie + 0x3c)
                                                                    << 1;
        }
        return fn.model->now_us < fn.silent_until_us ? 0 : hash;
    }

    /// Registers that a guest's write may lead to.
    static bool may_write(const PciFn& fn, const PciModel::Write& write, bool resetting) {
        std::set<u32> allowed{0x4, 0x6};
        for (u32 at = 0; at < 0x18; at += 2) {
            if (fn.name.empty() && (fn.cfg[0x40] == 5 || fn.cfg[0x50] == 5)) {
                const u32 msi = fn.cfg[0x40] == 5 ? 0x40 : 0x50;
                allowed.insert(msi + 2 + at);
            }
        }
        for (const u32 at : {0x40u, 0x70u}) {
            if (fn.cfg[at] == 0x11) {
                allowed.insert(at + 2);
            }
        }
        if (fn.pcie != 0) {
            allowed.insert(fn.pcie + 10);
            if (resetting) {
                allowed.insert(fn.pcie + 8);
            }
        }
        if (resetting) { // EL2 puts back what the reset has cleared
            for (u32 at = 0x10; at < 0x34; at += 4) {
                allowed.insert(at);
            }
        }
        return allowed.count(write.at) != 0;
    }

    void check(std::set<PciFn*>& resetting) {
        for (const PciModel::Write& write : model.writes) {
            const bool flr =
                write.fn->pcie != 0 && write.at == write.fn->pcie + 8 && (write.value & 0x8000) != 0;
            if (flr) {
                resetting.insert(write.fn);
            }
            const bool good = may_write(*write.fn, write, resetting.count(write.fn) != 0);
            if (!good) {
                CAPTURE(write.at);
                CAPTURE(write.value);
                REQUIRE(good);
            }
        }
        model.writes.clear();
        for (std::size_t i = 0; i < own.size(); ++i) {
            const PciFn& fn = *own[i];
            const bool silent = model.now_us < fn.silent_until_us || resetting.count(own[i]) != 0;
            REQUIRE((silent || fixed(fn) == own_digest[i]));
            REQUIRE(((fn.command() & 4) == 0 || attached[i]));
            REQUIRE((fn.command() & 1) == 0);
            REQUIRE_FALSE(fn.mastering_at_reset);
            REQUIRE(fn.early_accesses == 0);
            REQUIRE((fn.pm == 0 || (fn.get16(fn.pm + 4) & 0x103) == 0));
        }
        REQUIRE(broken.empty());
    }
};

} // namespace

TEST_CASE("pci hostile: every offset, every size, the worst values") {
    Arena g;
    std::set<PciFn*> resetting;
    for (const u64 value : {~u64{0}, u64{0}, u64{0x5555'5555'5555'5555}, u64{0x0000'0002'4000'0006}}) {
        for (u32 place = 0; place < 32; ++place) {
            const u8 devfn = static_cast<u8>(place);
            for (u32 at = 0; at < 0x1000; at += devfn == places[0] || at < 0x200 ? 1 : 61) {
                for (const unsigned size : {1u, 2u, 4u, 8u}) {
                    g.wr(devfn, at, value & (~u64{0} >> (64 - 8 * size)), size);
                    const u64 read = g.rd(devfn, at, size);
                    REQUIRE((size == 8 || read >> (8 * size) == 0));
                }
            }
            g.check(resetting);
            g.settle();
            g.check(resetting);
            resetting.clear();
            g.check(resetting);
        }
    }
    for (std::size_t i = 0; i < g.others.size(); ++i) {
        CHECK(g.others[i]->touched == 0);
        CHECK(digest(g.others[i]->cfg, 0, 0x1000) == g.other_digest[i]);
    }
    CHECK(g.offences.size() <= 4 * 6 * 3); // each BAR and kind once
    CHECK(g.model.outside == 0);
    CHECK(g.model.unaligned == 0);
}

TEST_CASE("pci hostile: random writes, streams that come and go, time, resets") {
    Arena g;
    std::mt19937_64 random(20260107);
    std::set<PciFn*> resetting;
    const u64 addresses[] = {0x1000'0000, 0x1000'4000, 0x2000'0000, 0x3eff'0000, 0x4000'0000,
                             0x80,        0x0900'0000, 0xffff'ffff, 0,           0x80'0000};
    unsigned mapped = 0;
    unsigned mastering = 0;
    for (unsigned i = 0; i < 60'000; ++i) {
        const u8 devfn = places[random() % 4];
        switch (random() % 16) {
        case 0:
            g.wr(devfn, static_cast<u32>(random() % 0x1000), random(), 8);
            break;
        case 1:
        case 2:
        case 3:
            g.wr(devfn, 0x10 + 4 * (random() % 6), addresses[random() % std::size(addresses)]);
            break;
        case 4:
        case 5:
            g.wr(devfn, 4, random() % 8, 2);
            break;
        case 6: {
            const std::size_t which = random() % 4;
            g.attached[which] = random() % 3 != 0;
            g.bridge.set_stream_attached(places[which], g.attached[which]);
            break;
        }
        case 7:
            g.model.now_us += random() % 50'000;
            break;
        case 8:
            if (random() % 32 == 0) {
                g.bridge.reset();
                REQUIRE(g.mapped.empty());
                for (PciFn* fn : g.own) {
                    REQUIRE((fn->command() & 4) == 0);
                    resetting.insert(fn);
                }
            }
            break;
        case 9:
            (void)g.bridge.poll();
            break;
        default: {
            const unsigned size = 1u << random() % 4;
            g.wr(devfn, static_cast<u32>(random() % 0x100), random() >> (64 - 8 * size), size);
            (void)g.rd(static_cast<u8>(random()), static_cast<u32>(random() % 0x1000), size);
            break;
        }
        }
        g.check(resetting);
        if (i % 16 == 0) {
            g.settle();
            g.check(resetting);
            resetting.clear();
        }
        mapped += g.mapped.empty() ? 0 : 1;
        for (PciFn* fn : g.own) {
            mastering += (fn->command() & 4) != 0 ? 1 : 0;
        }
    }
    CHECK(mapped > 1000); // the guest got somewhere: the checks had something to see
    CHECK(mastering > 1000);
    for (std::size_t i = 0; i < g.others.size(); ++i) {
        CHECK(g.others[i]->touched == 0);
        CHECK(digest(g.others[i]->cfg, 0, 0x1000) == g.other_digest[i]);
    }
}
