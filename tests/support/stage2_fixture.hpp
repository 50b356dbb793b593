// SPDX-License-Identifier: Apache-2.0
// An address space on the recording table memory, for the tests of stage2/address_space. Its end checks that
// no monitor complained, that nothing stayed unpublished or stale, and that every table page came back.
#pragma once
#include <doctest/doctest.h>

#include "stage2/address_space.hpp"
#include "stage2/address_space_impl.hpp"
#include "stage2/split_merge_impl.hpp"
#include "tests/support/stage2_monitor.hpp"

namespace atl::test {

using namespace atl::stage2;
using Space = BasicAddressSpace<MonitoredMemory>;

constexpr MapAttributes read_only{MemoryType::normal, true, false, false};
constexpr u64 k4 = page_size;
constexpr u64 m2 = 2 * mib;
constexpr u64 g1 = gib;

inline Geometry geometry_of(unsigned ipa_bits) {
    const Result<Geometry> geometry = make_geometry(ipa_bits, {48, 16});
    REQUIRE(geometry.ok());
    return *geometry;
}

struct SpaceFixture {
    TableMachine machine;
    Space space;

    explicit SpaceFixture(unsigned ipa_bits = 40, LargestLeaf largest = LargestLeaf::block_1g) {
        machine.set_geometry(geometry_of(ipa_bits));
        REQUIRE(space.init(geometry_of(ipa_bits), Vmid{5}, MonitoredMemory{machine}, largest).ok());
    }
    ~SpaceFixture() {
        check_quiet();
        space.destroy();
        CHECK(machine.pages_allocated() == 0);
        CHECK(machine.violations.empty());
    }
    void check_quiet() {
        for (const std::string& text : machine.violations) {
            FAIL_CHECK(text);
        }
        CHECK(machine.quiet());
        CHECK(machine.pages_live() == space.table_pages());
        CHECK(machine.pages_allocated() == space.table_pages());
    }
    Status unmap(u64 ipa, u64 bytes) {
        Result<TlbWork> work = space.unmap({ipa}, bytes);
        if (!work) {
            return work.error();
        }
        space.complete(std::move(*work));
        return {};
    }
    Status protect(u64 ipa, u64 bytes, const MapAttributes& attributes) {
        Result<TlbWork> work = space.protect({ipa}, bytes, attributes);
        if (!work) {
            return work.error();
        }
        space.complete(std::move(*work));
        return {};
    }
    unsigned level(u64 ipa) { return space.walk({ipa}).level; }
};

} // namespace atl::test
