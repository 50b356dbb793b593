// SPDX-License-Identifier: Apache-2.0
// stage2/vmid: no VMID is in two hands, none is reused before a flush, whatever the sequence.
#include "stage2/vmid.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>
#include <vector>

using namespace atl;
using namespace atl::stage2;

namespace {

struct Flushes {
    unsigned count = 0;
    std::set<u16> dirty; // released since the last flush
    VmidAllocator::Flush hook() {
        return {this, [](void* context) {
                    auto& self = *static_cast<Flushes*>(context);
                    ++self.count;
                    self.dirty.clear();
                }};
    }
};

} // namespace

TEST_CASE("stage2 vmid: arguments") {
    Flushes flushes;
    VmidAllocator vmids;
    CHECK(vmids.init(12, flushes.hook()).error() == Error::invalid_argument);
    CHECK(vmids.init(8, {}).error() == Error::invalid_argument);
    REQUIRE(vmids.init(8, flushes.hook()).ok());
    CHECK(vmids.release(Vmid{0}).error() == Error::not_found);
    CHECK(vmids.release(Vmid{9}).error() == Error::not_found);
    for (unsigned i = 0; i < max_vms; ++i) {
        REQUIRE(vmids.allocate().ok());
    }
    CHECK(vmids.allocate().error() == Error::no_memory);
    CHECK(vmids.release(Vmid{3}).ok());
    CHECK(vmids.release(Vmid{3}).error() == Error::not_found);
    CHECK(vmids.allocate()->value == max_vms + 1); // 3 is still dirty
}

TEST_CASE("stage2 vmid: no reuse within a generation, none of a live VM ever") {
    for (const unsigned bits : {8U, 16U}) {
        Flushes flushes;
        VmidAllocator vmids;
        REQUIRE(vmids.init(bits, flushes.hook()).ok());
        std::mt19937 random{bits};
        std::vector<Vmid> live;
        const u64 steps = bits == 8 ? 5000 : 200'000;
        for (u64 step = 0; step < steps; ++step) {
            if (live.size() < max_vms && random() % 2 == 0) {
                const Result<Vmid> vmid = vmids.allocate();
                REQUIRE(vmid.ok());
                REQUIRE(vmid->value != 0);
                REQUIRE(vmid->value < 1U << bits);
                REQUIRE(flushes.dirty.count(vmid->value) == 0);
                for (const Vmid other : live) {
                    REQUIRE(other != *vmid);
                }
                live.push_back(*vmid);
            } else if (!live.empty()) {
                const std::size_t which = random() % live.size();
                REQUIRE(vmids.release(live[which]).ok());
                flushes.dirty.insert(live[which].value);
                live.erase(live.begin() + static_cast<std::ptrdiff_t>(which));
            }
        }
        CHECK(flushes.count >= 1);
        CHECK(vmids.generation() == flushes.count + 1);
    }
}
