// SPDX-License-Identifier: Apache-2.0
// smmu: random sequences against the model. Invariant: a device reaches only what its present owner maps, and
// nothing at all of what went away once detach() or invalidate() has returned, accesses under way included.
// The same sequence with an invalidation dropped must break it.
#include <doctest/doctest.h>

#include <random>

#include "tests/support/smmu_fixture.hpp"

using namespace atl;
using namespace atl::smmu;
using namespace atl::test;

namespace {

struct World : SmmuFixture {
    static constexpr unsigned vms = 3;
    static constexpr unsigned devices = 5;
    static constexpr unsigned leaves = 12;
    static constexpr StreamId streams[devices] = {{0x8}, {0x10}, {0x108}, {0x5a3}, {0xfff0}};
    std::mt19937_64 random;
    int owner[devices] = {-1, -1, -1, -1, -1};
    std::vector<std::string> escapes;

    explicit World(u64 seed) : random(seed) {}
    u64 pick(u64 limit) { return random() % limit; }
    Stage2 vm(int i) const { return stage2(static_cast<unsigned>(i), static_cast<u16>(100 + i)); }
    static u64 ipa(u64 leaf) { return 0x4000'0000 + leaf * page_size; }

    void map_some(int i) {
        const u64 leaf = pick(leaves);
        if (model.tables[vm(i).root.value].count(ipa(leaf)) == 0) {
            const u64 pa = 0x1'0000'0000 + (pick(1u << 20)) * page_size;
            model.quiet_pages.erase(pa);
            map(vm(i), ipa(leaf), pa, pick(4) != 0);
        }
    }
    void unmap_some(int i) {
        const u64 first = pick(leaves);
        const u64 count = 1 + pick(leaves - first);
        std::vector<u64> gone;
        auto& table = model.tables[vm(i).root.value];
        for (u64 leaf = first; leaf < first + count; ++leaf) {
            if (const auto it = table.find(ipa(leaf)); it != table.end()) {
                gone.push_back(it->second.pa);
                table.erase(it);
            }
        }
        smmu->invalidate({vm(i).vmid, {ipa(first)}, count * page_size, page_size, pick(8) == 0});
        model.quiet_pages.insert(gone.begin(), gone.end());
    }
    void change_owner(unsigned device) {
        const int next = static_cast<int>(pick(vms));
        if (owner[device] < 0) {
            model.watch(streams[device], {invalid_ste, ste(vm(next))});
            REQUIRE(smmu->attach(streams[device], vm(next)).ok());
            owner[device] = next;
        } else if (pick(3) == 0) {
            model.watch(streams[device], {ste(vm(owner[device])), ste(vm(next))});
            REQUIRE(smmu->reassign(streams[device], vm(next)).ok());
            owner[device] = next;
        } else {
            model.watch(streams[device], {invalid_ste, ste(vm(owner[device]))});
            smmu->detach(streams[device]);
            owner[device] = -1;
        }
    }
    void access(unsigned device) {
        const Ipa at{ipa(pick(leaves)) + pick(512) * 8};
        const bool write = pick(2) == 0;
        const SmmuModel::Access got = model.dma(streams[device], at, write);
        bool allowed = false;
        if (owner[device] >= 0) {
            auto& table = model.tables[vm(owner[device]).root.value];
            const auto it = table.find(at.align_down(page_size).value);
            allowed = it != table.end() && (it->second.writable || !write);
            allowed = allowed && (!got.ok || got.pa.align_down(page_size).value == it->second.pa);
        }
        if (got.ok && !allowed) {
            escapes.push_back("device " + std::to_string(device));
        }
        if (!got.ok && allowed) {
            escapes.push_back("device " + std::to_string(device) + " is shut out");
        }
    }
    void step() {
        switch (pick(8)) {
        case 0:
            map_some(static_cast<int>(pick(vms)));
            break;
        case 1:
            unmap_some(static_cast<int>(pick(vms)));
            break;
        case 2:
            change_owner(static_cast<unsigned>(pick(devices)));
            break;
        case 3:
            if (const StreamId stream = streams[pick(devices)]; pick(4) == 0) {
                smmu->silence(stream);
                break;
            }
            model.start(streams[pick(devices)], {ipa(pick(leaves))});
            break;
        case 4:
            if (pick(4) == 0) {
                model.finish();
            }
            smmu->drain(sink(), 1000);
            break;
        default:
            access(static_cast<unsigned>(pick(devices)));
            break;
        }
    }
};

} // namespace

TEST_CASE("smmu random: a device reaches what its owner maps, and nothing else") {
    for (u64 seed = 1; seed <= 6; ++seed) {
        CAPTURE(seed);
        World world(seed);
        world.model.id.idr3 = seed % 2 == 0 ? 0 : 1u << 10;
        if (seed % 3 == 0) {
            world.model.id.idr0 &= ~static_cast<u32>(Idr0::COHACC::mask);
        }
        world.model.slow = seed == 4 ? 1 : 0;
        if (seed == 5) { // a command queue of two entries: wraps at every other command
            world.model.id.idr1 = static_cast<u32>(Idr1::CMDQS::set(world.model.id.idr1, 1));
        }
        REQUIRE(world.init().ok());
        for (unsigned i = 0; i < 4000; ++i) {
            world.step();
        }
        CHECK(world.escapes.empty());
        CHECK(world.model.violations.empty());
        CHECK(world.smmu->running());
        CHECK(!world.model.bypassed);
    }
}

TEST_CASE("smmu random: the test notices an invalidation that does nothing") {
    const Op what[] = {Op::TLBI_S2_IPA, Op::TLBI_S12_VMALL, Op::CFGI_STE};
    for (const Op op : what) {
        CAPTURE(static_cast<unsigned>(op));
        World world(7);
        world.model.id.idr3 = 0;
        REQUIRE(world.init().ok());
        world.model.drop = {op};
        for (unsigned i = 0; i < 4000; ++i) {
            world.step();
        }
        CHECK(world.escapes.size() + world.model.violations.size() > 0);
    }
}
