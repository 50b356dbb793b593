// SPDX-License-Identifier: Apache-2.0
// el2/page_pool: alignment, splitting, coalescing, holes, exhaustion, double frees, and a random run against
// a model.
#include "el2/page_pool.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "stage2/address_space.hpp"
#include "tests/support/stage2_memory.hpp"

using namespace atl;
using namespace atl::el2;

namespace {

constexpr VmId alpha{1};
constexpr u64 k4 = page_size;

struct Fixture {
    std::vector<PageRecord> storage;
    PageLedger ledger;
    PagePool pool;

    explicit Fixture(std::vector<Range<Pa>> ram, std::vector<Range<Pa>> reserved = {}) {
        u64 records = 0;
        for (const Range<Pa>& range : ram) {
            records += PageLedger::records_for(range);
        }
        storage.resize(records);
        ledger.init(storage);
        pool.init(ledger);
        for (const Range<Pa>& range : ram) {
            REQUIRE(ledger.add_range(range).ok());
            REQUIRE(pool.add_range(range, reserved).ok());
        }
    }
    u64 blocks(unsigned order) { return pool.free_blocks()[order]; }
    u64 free_by_lists() {
        u64 pages = 0;
        const auto blocks = pool.free_blocks();
        for (unsigned order = 0; order < blocks.size(); ++order) {
            pages += u64{blocks[order]} << order;
        }
        return pages;
    }
    u32 in_state(PageState state) { return ledger.census().pages[static_cast<unsigned>(state)]; }
    void check_consistent() {
        CHECK(free_by_lists() == pool.counters().free_pages);
        CHECK(in_state(PageState::free) == pool.counters().free_pages);
    }
};

} // namespace

TEST_CASE("el2 page pool: blocks are aligned by address, not by position in the range") {
    Fixture f{{{{0x4000'3000}, 13 * k4}}};
    CHECK(f.blocks(0) == 1); // 3
    CHECK(f.blocks(2) == 1); // 4..7
    CHECK(f.blocks(3) == 1); // 8..15
    CHECK(f.pool.counters().total_pages == 13);
    f.check_consistent();
    const Result<Pa> eight = f.pool.allocate(3);
    REQUIRE(eight.ok());
    CHECK(eight->value == 0x4000'8000);
    CHECK(f.pool.allocate(3).error() == Error::no_memory);
    CHECK(f.pool.counters().failures == 1);
    CHECK(f.pool.allocate(PagePool::max_order + 1).error() == Error::invalid_argument);
    REQUIRE(f.pool.free(*eight, 3).ok());
    f.check_consistent();
}

TEST_CASE("el2 page pool: split and coalesce up to 1 GiB") {
    Fixture f{{{{gib}, gib}}};
    CHECK(f.blocks(18) == 1);
    const Result<Pa> page = f.pool.allocate(0);
    REQUIRE(page.ok());
    CHECK(page->value == gib); // the lower half each time
    CHECK(f.blocks(18) == 0);
    for (unsigned order = 0; order < 18; ++order) {
        CHECK(f.blocks(order) == 1);
    }
    CHECK(f.ledger.record(*page)->state == PageState::hypervisor);
    REQUIRE(f.pool.free(*page, 0).ok());
    CHECK(f.blocks(18) == 1);
    CHECK(f.pool.counters().free_pages == gib / k4);
}

TEST_CASE("el2 page pool: reserved ranges stay out, whatever their order and overlap") {
    const std::vector<Range<Pa>> reserved{
        {{0x4000'a800}, 0x1000},       // touches pages a and b
        {{0x3fff'f000}, 0x1800},       // pages 0 (and outside)
        {{0x4000'4000}, 0x2000},       // 4, 5
        {{0x4000'5000}, 0x1001},       // 5, 6
        {{0x4000'f000}, ~u64{0} >> 1}, // f and far beyond
        {{0x4000'8000}, 0},            // empty
        {{~u64{0xfff}}, 0x5000},       // wraps
    };
    Fixture f{{{{0x4000'0000}, 16 * k4}}, reserved};
    const std::vector<unsigned> kept_out{0, 4, 5, 6, 0xa, 0xb, 0xf};
    for (unsigned i = 0; i < 16; ++i) {
        CAPTURE(i);
        const bool out = std::find(kept_out.begin(), kept_out.end(), i) != kept_out.end();
        CHECK((f.ledger.record({0x4000'0000 + i * k4})->state == PageState::reserved) == out);
    }
    CHECK(f.pool.counters().total_pages == 9);
    f.check_consistent();
    // Again: everything that is left is free already or must stay out. Nothing changes.
    CHECK(f.pool.add_range({{0x4000'0000}, 16 * k4}, {}).error() == Error::denied);
    CHECK(f.pool.add_range({{0x5000'0000}, k4}, {}).error() == Error::not_found);
    CHECK(f.pool.add_range({{0x4000'0000}, 10}, {}).error() == Error::invalid_argument);
    CHECK(f.pool.add_range({{~u64{0xfff}}, 0x2000}, {}).error() == Error::invalid_argument);
    CHECK(f.pool.counters().total_pages == 9);
    f.check_consistent();
}

TEST_CASE("el2 page pool: buddies in another range do not join") {
    // Two ranges that touch, and RAM at address 0.
    Fixture f{{{{0}, 4 * k4}, {{4 * k4}, 4 * k4}}};
    CHECK(f.blocks(2) == 2);
    CHECK(f.blocks(3) == 0);
    const Result<Pa> a = f.pool.allocate(2);
    const Result<Pa> b = f.pool.allocate(2);
    REQUIRE(a.ok());
    REQUIRE(b.ok());
    REQUIRE(f.pool.free(*a, 2).ok());
    REQUIRE(f.pool.free(*b, 2).ok());
    CHECK(f.blocks(2) == 2);
    f.check_consistent();
}

TEST_CASE("el2 page pool: wrong frees are refused and change nothing") {
    Fixture f{{{{0x4000'0000}, 16 * k4}}};
    const Pa page = *f.pool.allocate(1);
    const Pa owned = *f.pool.allocate(0, alpha);
    CHECK(f.pool.free(page, 0).ok());
    CHECK(f.pool.free(page, 0).error() == Error::denied);                // twice
    CHECK(f.pool.free(page, 1).error() == Error::denied);                // half of it is free
    CHECK(f.pool.free(page + k4, 1).error() == Error::invalid_argument); // not aligned
    CHECK(f.pool.free(page, 19).error() == Error::invalid_argument);
    CHECK(f.pool.free(owned, 0).error() == Error::denied); // a VM's
    CHECK(f.pool.free({0x5000'0000}, 0).error() == Error::not_found);
    CHECK(f.pool.free_run({page, 64 * k4}).error() == Error::not_found);
    CHECK(f.pool.free_run({page, 0}).error() == Error::invalid_argument);
    CHECK(f.pool.free(page + k4, 0).ok());
    // The VM's page goes through its owner's release and scrubbing.
    f.ledger.commit_run(PageOp::release, owned, k4, alpha);
    CHECK(f.pool.free(owned, 0).ok());
    CHECK(f.blocks(4) == 1);
    f.check_consistent();
}

TEST_CASE("el2 page pool: RAM for a VM comes largest first, all or nothing") {
    Fixture f{{{{0x4000'0000}, 2 * gib}}, {{{0x4000'0000}, 2 * mib}}};
    std::vector<PageRun> runs(16);
    const u64 bytes = gib + 5 * mib;
    const Result<std::size_t> count = f.pool.allocate_ram(bytes, alpha, runs);
    REQUIRE(count.ok());
    u64 total = 0;
    u64 ipa = gib; // as the VM sees it
    for (std::size_t i = 0; i < *count; ++i) {
        CHECK(runs[i].base.is_aligned(runs[i].size));
        CHECK(ipa % runs[i].size == 0); // the same block fits in stage 2
        CHECK((i == 0 || runs[i].size <= runs[i - 1].size));
        total += runs[i].size;
        ipa += runs[i].size;
    }
    CHECK(runs[0].size == gib);
    CHECK(total == bytes);
    CHECK(f.in_state(PageState::owned) == bytes / k4);
    f.check_consistent();
    const auto before = f.pool.free_blocks();
    std::vector<PageRun> others(16);
    CHECK(f.pool.allocate_ram(2 * gib, alpha, others).error() == Error::no_memory);
    CHECK(f.pool.allocate_ram(3 * mib, alpha, std::span{others}.first(1)).error() == Error::overflow);
    CHECK(f.pool.allocate_ram(0, alpha, runs).error() == Error::invalid_argument);
    CHECK(f.pool.allocate_ram(100, alpha, runs).error() == Error::invalid_argument);
    CHECK(f.pool.allocate_ram(mib, hypervisor_id, runs).error() == Error::invalid_argument);
    CHECK(f.pool.free_blocks() == before);
    CHECK(f.in_state(PageState::owned) == bytes / k4);
    CHECK(f.in_state(PageState::scrubbing) == 0);
    // All of it back, as at the end of a VM.
    for (std::size_t i = 0; i < *count; ++i) {
        f.ledger.commit_run(PageOp::owner_died, runs[i].base, runs[i].size, alpha);
        REQUIRE(f.pool.free_run(runs[i]).ok());
    }
    CHECK(f.blocks(18) == 1);
    f.check_consistent();
}

TEST_CASE("el2 page pool: RAM from a fragmented pool, down to the last page") {
    Fixture f{{{{0x4000'0000}, 64 * k4}}};
    std::vector<Pa> pages;
    for (unsigned i = 0; i < 64; ++i) {
        pages.push_back(*f.pool.allocate(0));
    }
    CHECK(f.pool.allocate(0).error() == Error::no_memory);
    for (unsigned i = 0; i < 64; i += 2) {
        REQUIRE(f.pool.free(pages[i], 0).ok());
    }
    CHECK(f.blocks(0) == 32);
    std::vector<PageRun> runs(32);
    CHECK(f.pool.allocate_ram(33 * k4, alpha, runs).error() == Error::no_memory);
    CHECK(f.pool.allocate_ram(32 * k4, alpha, std::span{runs}.first(31)).error() == Error::overflow);
    f.check_consistent();
    CHECK(*f.pool.allocate_ram(32 * k4, alpha, runs) == 32);
    CHECK(f.pool.counters().free_pages == 0);
    f.check_consistent();
}

TEST_CASE("el2 page pool: random use never hands out a page twice and always joins up again") {
    Fixture f{{{{0x4000'5000}, 3000 * k4}, {{0x8000'0000}, 1024 * k4}}};
    const auto initial = f.pool.free_blocks();
    std::mt19937 random{11};
    std::map<u64, unsigned> held; // base -> order
    for (unsigned step = 0; step < 20'000; ++step) {
        if (random() % 2 == 0) {
            const unsigned order = random() % 8;
            const Result<Pa> block = f.pool.allocate(order);
            if (!block) {
                continue;
            }
            REQUIRE(block->is_aligned(k4 << order));
            const auto next = held.lower_bound(block->value);
            REQUIRE((next == held.end() || next->first >= block->value + (k4 << order)));
            REQUIRE((next == held.begin() ||
                     std::prev(next)->first + (k4 << std::prev(next)->second) <= block->value));
            held[block->value] = order;
        } else if (!held.empty()) {
            auto which = held.begin();
            std::advance(which, random() % held.size());
            REQUIRE(f.pool.free({which->first}, which->second).ok());
            held.erase(which);
        }
    }
    f.check_consistent();
    for (const auto& [base, order] : held) {
        REQUIRE(f.pool.free({base}, order).ok());
    }
    CHECK(f.pool.free_blocks() == initial);
    f.check_consistent();
}

TEST_CASE("el2 page pool: an address space takes its tables from the pool and gives all of them back") {
    test::fake_hardware().reset();
    Fixture f{{{{0x4000'0000}, 256 * k4}}};
    const auto initial = f.pool.free_blocks();
    stage2::TableMemory::Config config;
    config.pages = table_pages(f.pool);
    const stage2::Geometry geometry = *stage2::make_geometry(34, {40, 8}); // 16 root tables: order 4
    stage2::AddressSpace space;
    REQUIRE(space.init(geometry, Vmid{1}, stage2::TableMemory{config}).ok());
    CHECK(f.in_state(PageState::hypervisor) == 16);
    REQUIRE(space.map({gib}, {0x4000'1000}, 100 * 2 * mib, stage2::ram_attributes).ok());
    CHECK(f.in_state(PageState::hypervisor) == space.table_pages());
    // More tables than the pool has: refused, nothing taken.
    CHECK(space.map({2 * gib}, {0x4000'1000}, gib, stage2::ram_attributes).error() == Error::no_memory);
    CHECK(f.in_state(PageState::hypervisor) == space.table_pages());
    Result<stage2::TlbWork> work = space.unmap({gib}, 50 * 2 * mib);
    REQUIRE(work.ok());
    space.complete(std::move(*work));
    CHECK(f.in_state(PageState::hypervisor) == space.table_pages());
    space.destroy();
    CHECK(f.pool.free_blocks() == initial);
    f.check_consistent();
    test::fake_hardware().reset();
}
