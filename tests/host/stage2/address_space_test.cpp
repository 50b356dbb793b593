// SPDX-License-Identifier: Apache-2.0
// stage2/address_space: every operation under the monitors of tests/support/stage2_monitor.hpp, with every
// allocation failing once, and with impossible arguments.
#include "stage2/address_space.hpp"

#include <doctest/doctest.h>

#include "tests/support/stage2_fixture.hpp"
#include "tests/support/stage2_memory.hpp"

using namespace atl;
using namespace atl::test;
using Fixture = SpaceFixture;

TEST_CASE("stage2 address space: the largest leaves are chosen") {
    Fixture f;
    // IPA and PA congruent modulo 1 GiB: 4 KiB pages up to 2 MiB, blocks up to 1 GiB, and down again.
    REQUIRE(f.space.map({g1 - m2 - k4}, {5 * g1 - m2 - k4}, 2 * g1 + 2 * m2 + 2 * k4, ram_attributes).ok());
    CHECK(f.level(g1 - m2 - k4) == 3);
    CHECK(f.level(g1 - m2) == 2);
    CHECK(f.level(g1) == 1);
    CHECK(f.level(3 * g1 - 1) == 1);
    CHECK(f.level(3 * g1) == 2);
    CHECK(f.level(3 * g1 + m2) == 3);
    CHECK(f.space.walk({3 * g1 + m2 + k4}).mapped == false);
    // Congruent modulo 2 MiB only: no 1 GiB block.
    REQUIRE(f.space.map({8 * g1}, {20 * g1 + m2}, g1, ram_attributes).ok());
    CHECK(f.level(8 * g1) == 2);
    // Not congruent: pages.
    REQUIRE(f.space.map({16 * g1}, {30 * g1 + k4}, m2, ram_attributes).ok());
    CHECK(f.level(16 * g1) == 3);
    const Walk walk = f.space.walk({16 * g1 + 0x1234});
    CHECK(walk.pa.value == 30 * g1 + k4 + 0x1234);
    CHECK(walk.bytes_left == k4 - 0x234);
    CHECK(walk.start_level == 1);
    CHECK(is_table(walk.entries[1], 1));
    CHECK(is_table(walk.entries[2], 2));
    CHECK(walk.entries[3] == walk.descriptor);
    f.check_quiet();
    CHECK(f.machine.invalidations == 0); // mapping alone invalidates nothing
}

TEST_CASE("stage2 address space: the largest leaf can be limited") {
    Fixture f{40, LargestLeaf::page_4k};
    REQUIRE(f.space.map({g1}, {g1}, 2 * m2, ram_attributes).ok());
    CHECK(f.level(g1) == 3);
    REQUIRE(f.unmap(g1 + k4, k4).ok());
    CHECK(f.machine.operations == 1); // no split, one page
    CHECK(*f.space.merge({g1}, 2 * m2) == 0);
    Fixture g{40, LargestLeaf::block_2m};
    REQUIRE(g.space.map({g1}, {g1}, g1, ram_attributes).ok());
    CHECK(g.level(g1) == 2);
    CHECK(*g.space.merge({g1}, g1) == 0);
}

TEST_CASE("stage2 address space: a live mapping is not overwritten") {
    Fixture f;
    REQUIRE(f.space.map({4 * g1 + m2}, {g1}, k4, ram_attributes).ok());
    const auto before = f.machine.snapshot();
    CHECK(f.space.map({4 * g1}, {8 * g1}, g1, ram_attributes).error() == Error::already_exists);
    CHECK(f.space.map({4 * g1 + m2}, {8 * g1}, k4, ram_attributes).error() == Error::already_exists);
    CHECK(f.space.map({4 * g1}, {8 * g1}, m2 + k4, read_only).error() == Error::already_exists);
    CHECK(f.machine.snapshot() == before);
}

TEST_CASE("stage2 address space: unmap splits at the edges and frees empty tables") {
    Fixture f;
    REQUIRE(f.space.map({g1}, {4 * g1}, 2 * g1, ram_attributes).ok());
    CHECK(f.space.table_pages() == 2);          // 2 concatenated root tables, no other
    REQUIRE(f.unmap(2 * g1 - k4, 2 * k4).ok()); // cuts both 1 GiB blocks
    CHECK(f.space.table_pages() == 6);
    CHECK(f.space.translate({2 * g1 - k4}).ok() == false);
    CHECK(f.space.translate({2 * g1}).ok() == false);
    CHECK(f.space.translate({2 * g1 - 2 * k4})->value == 5 * g1 - 2 * k4);
    CHECK(f.space.translate({2 * g1 + k4})->value == 5 * g1 + k4);
    f.check_quiet();
    REQUIRE(f.unmap(0, geometry_of(40).ipa_size()).ok()); // everything, holes included
    CHECK(f.space.table_pages() == 2);
    REQUIRE(f.unmap(0, k4).ok()); // nothing there
}

TEST_CASE("stage2 address space: one table is split in the middle of a block, twice cut") {
    Fixture f;
    REQUIRE(f.space.map({0}, {0}, g1, ram_attributes).ok());
    REQUIRE(f.unmap(m2 + 4 * k4, 2 * k4).ok()); // both edges in the same 2 MiB of the same 1 GiB
    CHECK(f.space.table_pages() == 4);
    CHECK(f.level(0) == 2);
    CHECK(f.level(m2) == 3);
    CHECK(f.level(2 * m2) == 2);
}

TEST_CASE("stage2 address space: protect changes permissions in place and splits only at edges") {
    Fixture f;
    REQUIRE(f.space.map({g1}, {g1}, g1, ram_attributes).ok());
    REQUIRE(f.protect(g1, g1, read_only).ok());
    CHECK(f.level(g1) == 1);
    CHECK(f.machine.operations == 1);
    CHECK(f.space.walk({g1}).attributes == read_only);
    REQUIRE(f.protect(g1 + m2, m2, ram_attributes).ok());
    CHECK(f.level(g1) == 2);
    CHECK(f.space.walk({g1 + m2}).attributes == ram_attributes);
    CHECK(f.space.walk({g1}).attributes == read_only);
    // Nothing changes: nothing is invalidated.
    const u64 before = f.machine.invalidations;
    REQUIRE(f.protect(g1 + m2, m2, ram_attributes).ok());
    CHECK(f.machine.invalidations == before);
    // A hole or another memory type anywhere: refused, unchanged.
    REQUIRE(f.space.map({3 * g1}, {0x900'0000}, k4, device_attributes).ok());
    const auto tables = f.machine.snapshot();
    CHECK(f.protect(g1, 2 * g1, ram_attributes).error() == Error::not_found);
    CHECK(f.protect(3 * g1, k4, read_only).error() == Error::invalid_argument);
    CHECK(f.protect(3 * g1, k4, {MemoryType::device, false, true, false}).ok()); // write-only doorbell
    REQUIRE(f.protect(3 * g1, k4, device_attributes).ok());
    CHECK(f.machine.snapshot() == tables);
}

TEST_CASE("stage2 address space: merge restores blocks") {
    Fixture f;
    REQUIRE(f.space.map({g1}, {g1}, g1, ram_attributes).ok());
    REQUIRE(f.protect(g1 + 5 * m2 + k4, k4, read_only).ok());
    CHECK(*f.space.merge({g1}, g1) == 0); // not equal
    CHECK(f.space.table_pages() == 4);
    REQUIRE(f.protect(g1 + 5 * m2 + k4, k4, ram_attributes).ok());
    CHECK(*f.space.merge({g1 + 5 * m2 + k4}, k4) == 2); // 2 MiB, then 1 GiB
    CHECK(f.level(g1) == 1);
    CHECK(f.space.table_pages() == 2);
    f.check_quiet();
    // Equal and contiguous, but the output is not aligned like a block.
    REQUIRE(f.space.map({8 * g1}, {8 * g1 + k4}, m2, ram_attributes).ok());
    CHECK(*f.space.merge({8 * g1}, m2) == 0);
    // A hole, and a page in the wrong place.
    REQUIRE(f.space.map({9 * g1}, {9 * g1}, m2 - k4, ram_attributes).ok());
    CHECK(*f.space.merge({9 * g1}, m2) == 0);
    REQUIRE(f.space.map({9 * g1 + m2 - k4}, {10 * g1}, k4, ram_attributes).ok());
    CHECK(*f.space.merge({9 * g1}, m2) == 0);
    REQUIRE(f.unmap(9 * g1 + m2 - k4, k4).ok());
    REQUIRE(f.space.map({9 * g1 + m2 - k4}, {9 * g1 + m2 - k4}, k4, ram_attributes).ok());
    CHECK(*f.space.merge({9 * g1}, m2) == 1);
    CHECK(f.level(9 * g1) == 2);
}

TEST_CASE("stage2 address space: invalidation is by IPA when short and of the VMID when long") {
    Fixture f;
    REQUIRE(f.space.map({g1}, {g1 + k4}, 4 * m2, ram_attributes).ok()); // pages
    REQUIRE(f.unmap(g1, 64 * k4).ok());
    CHECK(f.machine.operations == 64);
    CHECK(f.machine.whole_invalidations == 0);
    REQUIRE(f.unmap(g1 + 64 * k4, 65 * k4).ok());
    CHECK(f.machine.whole_invalidations == 1);
    REQUIRE(f.unmap(g1, 4 * m2).ok());
    CHECK(f.machine.whole_invalidations == 2);
    CHECK(vmid_of(f.space.vttbr()).value == 5);
}

TEST_CASE("stage2 address space: impossible arguments are refused and change nothing") {
    Fixture f;
    const u64 ipa_size = geometry_of(40).ipa_size();
    const u64 pa_size = geometry_of(40).pa_size();
    const auto before = f.machine.snapshot();
    struct Case {
        u64 ipa, pa, bytes;
        MapAttributes attributes;
        Error error;
    };
    const Case cases[] = {
        {k4, k4, 0, ram_attributes, Error::invalid_argument},
        {1, k4, k4, ram_attributes, Error::invalid_argument},
        {k4, 1, k4, ram_attributes, Error::invalid_argument},
        {k4, k4, k4 + 1, ram_attributes, Error::invalid_argument},
        {k4, k4, k4, {MemoryType::normal, false, false, false}, Error::invalid_argument},
        {k4, k4, k4, {MemoryType::normal, false, true, true}, Error::invalid_argument},
        {k4, k4, k4, {MemoryType::device, true, true, true}, Error::invalid_argument},
        {ipa_size, k4, k4, ram_attributes, Error::overflow},
        {ipa_size - k4, 0, 2 * k4, ram_attributes, Error::overflow},
        {k4, pa_size, k4, ram_attributes, Error::overflow},
        {k4, pa_size - k4, 2 * k4, ram_attributes, Error::overflow},
        {~u64{0} & ~(k4 - 1), 0, k4, ram_attributes, Error::overflow},
        {k4, ~u64{0} & ~(k4 - 1), 2 * k4, ram_attributes, Error::overflow},
        {k4, k4, ~u64{0} & ~(k4 - 1), ram_attributes, Error::overflow},
    };
    for (const Case& c : cases) {
        CAPTURE(c.ipa);
        CAPTURE(c.bytes);
        CHECK(f.space.map({c.ipa}, {c.pa}, c.bytes, c.attributes).error() == c.error);
    }
    CHECK(f.unmap(1, k4).error() == Error::invalid_argument);
    CHECK(f.unmap(0, 0).error() == Error::invalid_argument);
    CHECK(f.unmap(ipa_size - k4, 2 * k4).error() == Error::overflow);
    CHECK(f.protect(k4, k4, ram_attributes).error() == Error::not_found);
    CHECK(f.protect(ipa_size, k4, ram_attributes).error() == Error::overflow);
    CHECK(f.space.merge({0}, 2 * ipa_size).error() == Error::overflow);
    CHECK_FALSE(f.space.walk({ipa_size}).mapped);
    CHECK_FALSE(f.space.translate({~u64{0}}).ok());
    CHECK(f.machine.snapshot() == before);
    // The very last page of both spaces works.
    CHECK(f.space.map({ipa_size - k4}, {pa_size - k4}, k4, ram_attributes).ok());
    CHECK(f.space.translate({ipa_size - 1})->value == pa_size - 1);
}

TEST_CASE("stage2 address space: creation is checked and a dead space translates nothing") {
    TableMachine machine;
    Space space;
    CHECK_FALSE(space.translate({0}).ok());
    CHECK_FALSE(space.walk({0}).mapped);
    const MonitoredMemory memory{machine};
    const Geometry narrow = *make_geometry(40, {44, 8});
    CHECK(space.init(narrow, Vmid{0}, memory).error() == Error::invalid_argument);
    CHECK(space.init(narrow, Vmid{256}, memory).error() == Error::invalid_argument);
    CHECK(space.init(Geometry{}, Vmid{1}, memory).error() == Error::invalid_argument);
    machine.fail_at = 0;
    CHECK(space.init(narrow, Vmid{255}, memory).error() == Error::no_memory);
    CHECK_FALSE(space.alive());
    machine.fail_at = ~u64{0};
    machine.set_geometry(narrow);
    REQUIRE(space.init(narrow, Vmid{255}, memory).ok());
    CHECK(space.init(narrow, Vmid{1}, memory).error() == Error::already_exists);
    REQUIRE(space.map({0}, {0}, 3 * k4, ram_attributes).ok());
    space.destroy();
    CHECK(machine.whole_invalidations == 1);
    CHECK(machine.pages_allocated() == 0);
    CHECK_FALSE(space.translate({0}).ok());
    REQUIRE(space.init(narrow, Vmid{7}, memory).ok()); // can live again
    space.destroy();
    CHECK(machine.violations.empty());
}

TEST_CASE("stage2 address space: every allocation may fail and then nothing has changed") {
    const auto prepare = [](Fixture& f) {
        REQUIRE(f.space.map({g1}, {g1}, g1, ram_attributes).ok());
        REQUIRE(f.space.map({4 * g1}, {4 * g1}, k4, ram_attributes).ok());
    };
    const auto attempt = [](Fixture& f, unsigned operation) -> Status {
        switch (operation) {
        case 0:
            return f.space.map({3 * g1 - m2 - k4}, {7 * g1 - m2 - k4}, g1 + m2 + k4, ram_attributes);
        case 1:
            return f.unmap(g1 + m2 + k4, 100 * m2);
        case 2:
            return f.protect(g1 + k4, k4, read_only);
        default:
            return f.space.map({16 * g1}, {32 * g1 + k4}, 8 * m2, ram_attributes);
        }
    };
    for (unsigned operation = 0; operation < 4; ++operation) {
        u64 needed = 0;
        for (;; ++needed) {
            Fixture f;
            prepare(f);
            const auto before = f.machine.snapshot();
            const u64 tables = f.space.table_pages();
            f.machine.fail_at = f.machine.allocations + needed;
            const Status status = attempt(f, operation);
            f.check_quiet();
            if (status.ok()) {
                break;
            }
            CHECK(status.error() == Error::no_memory);
            CHECK(f.machine.snapshot() == before);
            CHECK(f.space.table_pages() == tables);
            REQUIRE(needed < 64);
        }
        CHECK(needed >= 2);
    }
}

TEST_CASE("stage2 address space: the target's instantiation pays CPU and SMMU") {
    auto& hardware = fake_hardware();
    hardware.reset();
    struct Pool {
        u64 next = 0x4000'0000;
        u64 released = 0;
        u64 smmu = 0;
    } pool;
    TableMemory::Config config;
    config.pages = {
        &pool,
        [](void* context, unsigned order) -> Result<Pa> {
            auto& p = *static_cast<Pool*>(context);
            const u64 size = page_size << order;
            p.next = (p.next + size - 1) & ~(size - 1);
            p.next += size;
            return Pa{p.next - size};
        },
        [](void* context, Pa, unsigned order) { static_cast<Pool*>(context)->released += u64{1} << order; }};
    config.smmu = {&pool, [](void* context, const TlbScope& scope) {
                       ++static_cast<Pool*>(context)->smmu;
                       CHECK(scope.vmid().value == 3);
                       CHECK(!fake_hardware().invalidations.empty()); // the CPU's half came first
                   }};
    AddressSpace space;
    REQUIRE(space.init(geometry_of(36), Vmid{3}, TableMemory{config}).ok());
    REQUIRE(space.map({0x4000'0000}, {0x8000'0000}, m2, ram_attributes).ok());
    Result<TlbWork> work = space.unmap({0x4000'0000}, m2);
    REQUIRE(work.ok());
    CHECK(hardware.invalidations.empty());
    CHECK(pool.released == 0); // deferred
    space.complete(std::move(*work));
    CHECK(hardware.invalidations.size() == 1);
    CHECK(hardware.invalidations[0].base.value == 0x4000'0000);
    CHECK(hardware.invalidations[0].operations() == 1);
    CHECK(pool.smmu == 1);
    CHECK(pool.released == 1); // the level-2 table
    space.destroy();
    CHECK(pool.smmu == 2);
    CHECK(hardware.invalidations.back().whole_vm);
    hardware.reset();
}
