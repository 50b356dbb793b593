// SPDX-License-Identifier: Apache-2.0
// stage2/address_space: random operations with fixed seeds, for every kind of geometry, against a simple
// model.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/support/stage2_fixture.hpp"

using namespace atl;
using namespace atl::test;

namespace {

/// What a range maps to, as a map of disjoint segments.
class Model {
  public:
    struct Segment {
        u64 end, pa;
        MapAttributes attributes;
    };
    bool free(u64 first, u64 bytes) const {
        const auto next = segments_.lower_bound(first);
        if (next != segments_.end() && next->first < first + bytes) {
            return false;
        }
        return next == segments_.begin() || std::prev(next)->second.end <= first;
    }
    bool full(u64 first, u64 bytes) const {
        u64 at = first;
        while (at < first + bytes) {
            const Segment* segment = find(at);
            if (segment == nullptr) {
                return false;
            }
            at = segment->end;
        }
        return true;
    }
    void map(u64 first, u64 pa, u64 bytes, const MapAttributes& attributes) {
        segments_[first] = {first + bytes, pa, attributes};
    }
    void unmap(u64 first, u64 bytes) {
        cut(first);
        cut(first + bytes);
        segments_.erase(segments_.lower_bound(first), segments_.lower_bound(first + bytes));
    }
    void protect(u64 first, u64 bytes, const MapAttributes& attributes) {
        cut(first);
        cut(first + bytes);
        for (auto it = segments_.lower_bound(first); it != segments_.end() && it->first < first + bytes;
             ++it) {
            it->second.attributes = attributes;
        }
    }
    const Segment* find(u64 ipa, u64* offset = nullptr) const {
        auto it = segments_.upper_bound(ipa);
        if (it == segments_.begin() || (--it)->second.end <= ipa) {
            return nullptr;
        }
        if (offset != nullptr) {
            *offset = ipa - it->first;
        }
        return &it->second;
    }
    const std::map<u64, Segment>& segments() const { return segments_; }

  private:
    void cut(u64 at) {
        u64 offset = 0;
        const Segment* found = find(at, &offset);
        if (found != nullptr && offset != 0) {
            const Segment whole = *found;
            segments_[at - offset].end = at;
            segments_[at] = {whole.end, whole.pa + offset, whole.attributes};
        }
    }
    std::map<u64, Segment> segments_;
};

void check_address(const Space& space, const Model& model, u64 ipa) {
    u64 offset = 0;
    const Model::Segment* segment = model.find(ipa, &offset);
    const Walk walk = space.walk({ipa});
    const Result<Pa> pa = space.translate({ipa});
    REQUIRE(walk.mapped == (segment != nullptr));
    REQUIRE(pa.ok() == walk.mapped);
    if (segment != nullptr) {
        REQUIRE(walk.pa.value == segment->pa + offset);
        REQUIRE(*pa == walk.pa);
        REQUIRE(walk.attributes == segment->attributes);
    }
}

} // namespace

TEST_CASE("stage2 address space: random operations agree with the model") {
    for (const unsigned ipa_bits : {32U, 34U, 36U, 40U, 43U, 44U, 48U}) {
        for (const LargestLeaf largest :
             {LargestLeaf::block_1g, LargestLeaf::block_2m, LargestLeaf::page_4k}) {
            CAPTURE(ipa_bits);
            SpaceFixture f{ipa_bits, largest};
            Model model;
            std::mt19937_64 random{ipa_bits * 8 + static_cast<unsigned>(largest)};
            const u64 arena = f.space.geometry().ipa_size() - 4 * g1; // the last 4 GiB: also the last entry
            const bool small = largest == LargestLeaf::page_4k;
            const auto pick = [&](u64 limit) { return random() % limit; };
            for (unsigned step = 0; step < 400; ++step) {
                static constexpr u64 units[] = {k4, 16 * k4, m2, 16 * m2, g1};
                const u64 unit = units[pick(small ? 3 : 5)];
                const u64 area = small ? 32 * m2 : 4 * g1;
                const u64 limit = area / unit;
                const u64 first = arena + pick(limit) * unit + (pick(4) == 0 && unit > k4 ? k4 : 0);
                u64 bytes = unit * (1 + pick(3)) - (pick(4) == 0 && unit > k4 ? k4 : 0);
                bytes = std::min(bytes, arena + area - first);
                const MapAttributes attributes = pick(2) == 0 ? ram_attributes : read_only;
                const u64 shift = pick(3) == 0 ? k4 : (pick(3) == 0 ? m2 : 0);
                switch (pick(5)) {
                case 0:
                case 1: {
                    const u64 pa = (first & (g1 - 1)) + pick(64) * g1 + shift;
                    const Status status = f.space.map({first}, {pa}, bytes, attributes);
                    REQUIRE(status.ok() == model.free(first, bytes));
                    if (status.ok()) {
                        model.map(first, pa, bytes, attributes);
                    }
                    break;
                }
                case 2:
                    REQUIRE(f.unmap(first, bytes).ok());
                    model.unmap(first, bytes);
                    break;
                case 3: {
                    const Status status = f.protect(first, bytes, attributes);
                    REQUIRE(status.ok() == model.full(first, bytes));
                    if (status.ok()) {
                        model.protect(first, bytes, attributes);
                    }
                    break;
                }
                default:
                    REQUIRE(f.space.merge({first}, bytes).ok());
                    break;
                }
                REQUIRE(f.machine.violations.empty());
                REQUIRE(f.machine.quiet());
                REQUIRE(f.machine.pages_allocated() == f.space.table_pages());
                for (const u64 edge : {first, first + bytes}) {
                    for (const u64 delta : {u64{0}, k4, m2}) {
                        check_address(f.space, model, edge + delta);
                        check_address(f.space, model, edge - delta);
                    }
                }
                check_address(f.space, model, arena + pick(area));
            }
            for (const auto& [first, segment] : model.segments()) {
                check_address(f.space, model, first);
                check_address(f.space, model, segment.end - 1);
                check_address(f.space, model, segment.end);
            }
        }
    }
}
