// SPDX-License-Identifier: Apache-2.0
// el2/pages: every operation in every state, by every kind of actor, against a table written down
// independently; the counts; the ledger's ranges.
#include "el2/pages.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

using namespace atl;
using namespace atl::el2;
using S = PageState;
using O = PageOp;

namespace {

constexpr VmId alpha{1};
constexpr VmId beta{2};

bool orphan(S state) {
    return state == S::reserved || state == S::free || state == S::hypervisor || state == S::retained ||
           state == S::scrubbing;
}

PageRecord make(S state, u16 mappings = 0, u16 dma = 0) {
    PageRecord page;
    page.state = state;
    page.owner = orphan(state) ? hypervisor_id : alpha;
    if (state == S::free) {
        page.link = {PageLedger::no_page, PageLedger::no_page};
    } else {
        page.use = {mappings, dma, 0};
    }
    return page;
}

/// The allowed transitions with no counts, one line each: (operation, state) -> what comes out.
const std::map<std::pair<O, S>, S> allowed{
    {{O::add_to_pool, S::reserved}, S::free},
    {{O::allocate_to_hypervisor, S::free}, S::hypervisor},
    {{O::allocate_to_vm, S::free}, S::owned},
    {{O::free, S::hypervisor}, S::free},
    {{O::free, S::scrubbing}, S::free},
    {{O::share, S::owned}, S::shared},
    {{O::lend, S::owned}, S::lent},
    {{O::donate, S::owned}, S::donating},
    {{O::retrieve, S::shared}, S::shared},
    {{O::retrieve, S::lent}, S::lent},
    {{O::retrieve, S::donating}, S::donating},
    {{O::reclaim, S::shared}, S::owned},
    {{O::reclaim, S::lent}, S::owned},
    {{O::reclaim, S::donating}, S::owned},
    {{O::release, S::owned}, S::scrubbing},
    {{O::owner_died, S::owned}, S::scrubbing},
    {{O::owner_died, S::shared}, S::scrubbing},
    {{O::owner_died, S::lent}, S::scrubbing},
    {{O::owner_died, S::donating}, S::scrubbing},
};

VmId rightful_actor(O op) {
    switch (op) {
    case O::add_to_pool:
    case O::allocate_to_hypervisor:
    case O::free:
        return hypervisor_id;
    case O::allocate_to_vm:
    case O::share:
    case O::lend:
    case O::donate:
    case O::reclaim:
    case O::release:
    case O::owner_died:
        return alpha;
    case O::retrieve:
    case O::relinquish:
    case O::dma_map:
    case O::dma_unmap:
    case O::accept:
        return beta;
    }
    return hypervisor_id;
}

bool same(const PageRecord& a, const PageRecord& b) {
    return a.owner == b.owner && a.state == b.state && a.use.mappings == b.use.mappings &&
           a.use.dma_mappings == b.use.dma_mappings && a.use.share == b.use.share;
}

void apply(O op, PageRecord& page, VmId actor) {
    REQUIRE(check(op, page, actor).ok());
    commit(op, page, actor);
}

} // namespace

TEST_CASE("el2 pages: every operation in every state by every actor") {
    for (unsigned o = 0; o < page_ops; ++o) {
        for (unsigned s = 0; s < page_states; ++s) {
            for (const VmId actor : {hypervisor_id, alpha, beta}) {
                const O op = static_cast<O>(o);
                const S state = static_cast<S>(s);
                PageRecord page = make(state);
                CAPTURE(std::string{to_string(op)});
                CAPTURE(std::string{to_string(state)});
                CAPTURE(actor.value);
                const auto rule = allowed.find({op, state});
                // A free page may go to any VM; in every other case one kind of actor is right.
                const bool right_actor =
                    rightful_actor(op) == actor || (op == O::allocate_to_vm && actor != hypervisor_id);
                const Status status = check(op, page, actor);
                REQUIRE(status.ok() == (rule != allowed.end() && right_actor));
                if (!status.ok()) {
                    REQUIRE(status.error() == Error::denied);
                    continue;
                }
                commit(op, page, actor);
                REQUIRE(page.state == rule->second);
                // An owner exactly where the state has one.
                REQUIRE((page.owner == hypervisor_id) == orphan(page.state));
                if (op == O::allocate_to_vm) {
                    REQUIRE(page.owner == actor);
                }
            }
        }
    }
}

TEST_CASE("el2 pages: the counts decide about relinquish, DMA, reclaim and the owner's death") {
    for (const S state : {S::shared, S::lent, S::donating, S::retained}) {
        CAPTURE(std::string{to_string(state)});
        PageRecord page = make(state, 2, 1);
        CHECK(check(O::reclaim, page, alpha).error() == (state == S::retained ? Error::denied : Error::busy));
        apply(O::relinquish, page, beta);
        CHECK(page.state == state);
        CHECK(check(O::relinquish, page, beta).error() == Error::busy); // a device still reaches it
        if (state == S::retained) {
            CHECK(check(O::dma_map, page, beta).error() == Error::denied);
        } else {
            CHECK(check(O::dma_map, page, beta).error() == Error::denied); // no mapping left for it
        }
        apply(O::dma_unmap, page, beta);
        CHECK(check(O::dma_unmap, page, beta).error() == Error::denied);
        apply(O::relinquish, page, beta);
        if (state == S::retained) {
            CHECK(page.state == S::scrubbing);
            CHECK(check(O::free, page, hypervisor_id).ok());
        } else {
            CHECK(page.state == state);
            CHECK(check(O::relinquish, page, beta).error() == Error::denied);
            apply(O::reclaim, page, alpha);
            CHECK(page.state == S::owned);
        }
    }
    for (const S state : {S::shared, S::lent, S::donating}) {
        PageRecord page = make(state, 1, 1);
        apply(O::owner_died, page, alpha);
        CHECK(page.state == S::retained);
        CHECK(page.owner == hypervisor_id);
        CHECK(check(O::retrieve, page, beta).error() == Error::denied);
        CHECK(check(O::free, page, hypervisor_id).error() == Error::denied);
        apply(O::dma_unmap, page, beta);
        CHECK(page.state == S::retained);
        apply(O::relinquish, page, beta);
        CHECK(page.state == S::scrubbing);
    }
    PageRecord full = make(S::shared, 0xffff, 0);
    CHECK(check(O::retrieve, full, beta).error() == Error::overflow);
    const PageRecord before = full;
    CHECK(same(full, before));
}

TEST_CASE("el2 pages: a donation is accepted by the one who has the page mapped, and forgets the counts") {
    PageRecord page = make(S::donating);
    CHECK(check(O::accept, page, beta).error() == Error::denied); // nobody has it
    apply(O::retrieve, page, beta);
    apply(O::dma_map, page, beta);
    CHECK(check(O::reclaim, page, alpha).error() == Error::busy);
    CHECK(check(O::accept, page, alpha).error() == Error::denied);
    PageRecord twice = make(S::donating, 2, 0);
    CHECK(check(O::accept, twice, beta).error() == Error::busy);
    apply(O::accept, page, beta);
    CHECK(page.owner == beta);
    CHECK(page.state == S::owned);
    CHECK(page.use.mappings == 0);
    CHECK(page.use.dma_mappings == 0);
    apply(O::share, page, beta); // it is its own in every respect
}

TEST_CASE("el2 pages: a page is in one handle at a time") {
    PageRecord page = make(S::owned);
    apply(O::share, page, alpha);
    for (const O op : {O::share, O::lend, O::donate, O::release}) {
        CHECK(check(op, page, alpha).error() == Error::denied);
    }
    CHECK(check(O::share, page, beta).error() == Error::denied); // nor by a borrower
    apply(O::retrieve, page, beta);
    CHECK(check(O::share, page, beta).error() == Error::denied);
}

TEST_CASE("el2 pages: random operations keep the invariants") {
    std::mt19937 random{7};
    PageRecord page = make(S::free);
    std::map<S, unsigned> visits;
    for (unsigned step = 0; step < 200'000; ++step) {
        const O op = static_cast<O>(random() % page_ops);
        const VmId actor{static_cast<u16>(random() % 4)};
        if (!check(op, page, actor).ok()) {
            continue;
        }
        commit(op, page, actor);
        ++visits[page.state];
        REQUIRE((page.owner == hypervisor_id) == orphan(page.state));
        if (page.state != S::free) {
            REQUIRE(page.use.dma_mappings <= page.use.mappings);
            const bool may_be_mapped = page.state == S::shared || page.state == S::lent ||
                                       page.state == S::donating || page.state == S::retained;
            REQUIRE((may_be_mapped || page.use.mappings == 0));
            REQUIRE((page.state != S::retained || page.use.mappings != 0));
        }
    }
    CHECK(visits.size() == page_states - 1); // all but reserved
}

TEST_CASE("el2 pages: ledger ranges") {
    std::vector<PageRecord> storage(64);
    PageLedger ledger;
    ledger.init(storage);
    CHECK(ledger.record({0x4000'0000}) == nullptr);
    CHECK(PageLedger::records_for({{0x4000'0800}, 0x3000}) == 2);
    CHECK(PageLedger::records_for({{0x4000'0000}, 0x3fff}) == 3);
    CHECK(PageLedger::records_for({{0x4000'0800}, 0x900}) == 0);
    REQUIRE(ledger.add_range({{0x4000'0800}, 0x8000}).ok()); // 7 whole pages from 0x4000'1000
    REQUIRE(ledger.add_range({{0}, 0x2000}).ok());           // RAM at 0 is RAM
    CHECK(ledger.page_count() == 9);
    CHECK(ledger.record({0x4000'0fff}) == nullptr);
    CHECK(ledger.record({0x4000'1000}) == &storage[0]);
    CHECK(ledger.record({0x4000'7fff}) == &storage[6]);
    CHECK(ledger.record({0x4000'8000}) == nullptr);
    CHECK(ledger.record({0x1fff}) == &storage[8]);
    CHECK(ledger.record({0x2000}) == nullptr);
    CHECK(ledger.record({~u64{0}}) == nullptr);
    CHECK(ledger.index_of({0x1000}) == 8);
    CHECK(ledger.address_of(8).value == 0x1000);
    CHECK(ledger.address_of(6).value == 0x4000'7000);
    CHECK(ledger.range_of({0x4000'3123}) == Range<Pa>{{0x4000'1000}, 0x7000});
    CHECK(ledger.range_of({0x5000'0000}).empty());
    CHECK(ledger.add_range({{0x4000'6000}, 0x4000}).error() == Error::already_exists);
    CHECK(ledger.add_range({{0x5000'0000}, 0x800}).error() == Error::invalid_argument);
    CHECK(ledger.add_range({{0x5000'0000}, 0}).error() == Error::invalid_argument);
    CHECK(ledger.add_range({{~u64{0xfff}}, 0x2000}).error() == Error::invalid_argument);
    CHECK(ledger.add_range({{0x5000'0000}, 56 * page_size}).error() == Error::no_memory);
    for (unsigned i = 2; i < PageLedger::max_ranges; ++i) {
        REQUIRE(ledger.add_range({{i * gib * 4}, page_size}).ok());
    }
    CHECK(ledger.add_range({{gib * 100}, page_size}).error() == Error::no_memory);
}

TEST_CASE("el2 pages: runs are checked as a whole before they change") {
    std::vector<PageRecord> storage(8);
    PageLedger ledger;
    ledger.init(storage);
    REQUIRE(ledger.add_range({{0x8000'0000}, 8 * page_size}).ok());
    const Pa base{0x8000'0000};
    ledger.commit_run(O::add_to_pool, base, 8 * page_size, hypervisor_id);
    ledger.commit_run(O::allocate_to_vm, base, 4 * page_size, alpha);
    CHECK(ledger.check_run(O::share, base, 4 * page_size, alpha).ok());
    CHECK(ledger.check_run(O::share, base, 5 * page_size, alpha).error() == Error::denied);
    CHECK(ledger.check_run(O::share, base + page_size, 8 * page_size, alpha).error() == Error::not_found);
    CHECK(ledger.check_run(O::share, base, ~u64{0xfff}, alpha).error() == Error::not_found);
    CHECK(ledger.check_run(O::share, base, 0, alpha).error() == Error::invalid_argument);
    CHECK(ledger.check_run(O::share, base + 1, page_size, alpha).error() == Error::invalid_argument);
    CHECK(ledger.check_run(O::share, {0}, page_size, alpha).error() == Error::not_found);
    ledger.commit_run(O::share, base, 2 * page_size, alpha);
    const PageLedger::Census census = ledger.census();
    CHECK(census.pages[static_cast<unsigned>(S::shared)] == 2);
    CHECK(census.pages[static_cast<unsigned>(S::owned)] == 2);
    CHECK(census.pages[static_cast<unsigned>(S::free)] == 4);
}
