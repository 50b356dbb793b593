// SPDX-License-Identifier: Apache-2.0
// MEM_LEND and MEM_DONATE: what may be said, who loses access when, zeroes, ownership.
#include <doctest/doctest.h>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

namespace {

const std::vector<Part> five{{Guest::ipa(16), 4}, {Guest::ipa(30), 1}};
constexpr ShareOptions not_executable{.permissions = FFA_MEM_PERM_NX};

u64 send(Islands& w, Kind kind, const std::vector<u16>& to = {2}, u32 flags = 0) {
    return Guest::handle_of(w.a.share(five, to, by_the_book(kind, to.size(), flags)));
}
bool reached_by_owner(Islands& w) {
    return w.host.at(w.host.vms[1], Guest::ipa(16)) != nullptr;
}
u32 zeroed(Islands& w) {
    u32 n = 0;
    for (const auto& [pa, p] : w.host.pages) {
        n += p.zeroed;
    }
    return n;
}

} // namespace

TEST_CASE("lend: the owner is out before the handle is known, and back after the reclaim") {
    for (const u32 version : {FFA_VERSION_1_0, FFA_VERSION_1_1}) {
        Islands w(256, 3, 64, version);
        const u64 h = send(w, Kind::lend);
        REQUIRE(h != 0);
        CHECK(!reached_by_owner(w));
        CHECK(w.host.count(PageStateFake::lent) == 5);
        CHECK(Guest::error(w.a.share({{Guest::ipa(16), 1}}, {2})) == FFA_DENIED); // it is in a handle
        const Call c = w.b.retrieve(h, 1, not_executable, FFA_MEM_FLAG_TYPE_LEND);
        REQUIRE(c.x[0] == FFA_MEM_RETRIEVE_RESP);
        CHECK(w.b.get<u32>(w.b.rx() + 4) == FFA_MEM_FLAG_TYPE_LEND);
        const u32 head = version == FFA_VERSION_1_1 ? 48 : 32;
        CHECK(w.b.get<ffa_mem_region_attributes>(w.b.rx() + head).permissions ==
              (FFA_MEM_PERM_RW | FFA_MEM_PERM_NX));
        CHECK(w.b.response().second == 5);
        CHECK(Guest::error(w.a.reclaim(h)) == FFA_DENIED);
        CHECK(Guest::error(w.b.relinquish(h)) == 0);
        CHECK(!reached_by_owner(w));
        CHECK(Guest::error(w.a.reclaim(h)) == 0);
        CHECK(reached_by_owner(w));
        CHECK(zeroed(w) == 0);
        CHECK(w.pristine());
    }
}

TEST_CASE("lend and donate: what a sender may not say") {
    Islands w;
    const auto refused = [&](Kind kind, const std::vector<u16>& to, auto change) {
        ShareOptions o = by_the_book(kind, to.size());
        change(o);
        const int error = Guest::error(w.a.share(five, to, o));
        CHECK(w.pristine());
        return error;
    };
    for (const Kind kind : {Kind::lend, Kind::donate}) {
        const auto attributes = [](ShareOptions& o) { o.attributes = memory_attributes; };
        const auto execute = [](ShareOptions& o) { o.permissions |= FFA_MEM_PERM_X; };
        const auto no_execute = [](ShareOptions& o) { o.permissions |= FFA_MEM_PERM_NX; };
        CHECK(refused(kind, {2}, attributes) == FFA_INVALID_PARAMETERS);
        CHECK(refused(kind, {2}, execute) == FFA_INVALID_PARAMETERS);
        CHECK(refused(kind, {2}, no_execute) == FFA_INVALID_PARAMETERS);
        CHECK(refused(kind, {2}, [](ShareOptions& o) { o.permissions = 3; }) == FFA_INVALID_PARAMETERS);
        CHECK(refused(kind, {2}, [](ShareOptions& o) { o.flags = FFA_MEM_FLAG_ZERO_AFTER; }) ==
              FFA_INVALID_PARAMETERS);
        CHECK(refused(kind, {4}, [](ShareOptions&) {}) == FFA_DENIED);
        CHECK(refused(kind, {1}, [](ShareOptions&) {}) == FFA_INVALID_PARAMETERS);
    }
    CHECK(refused(Kind::lend, {2}, [](ShareOptions& o) { o.permissions = 0; }) == FFA_INVALID_PARAMETERS);
    CHECK(refused(Kind::donate, {2}, [](ShareOptions& o) { o.permissions = FFA_MEM_PERM_RW; }) ==
          FFA_INVALID_PARAMETERS);
    CHECK(refused(Kind::donate, {2, 3}, [](ShareOptions& o) { o.attributes = memory_attributes; }) ==
          FFA_INVALID_PARAMETERS);
    CHECK(refused(Kind::lend, {2, 3}, [](ShareOptions& o) { o.attributes = 0; }) == FFA_DENIED);
    CHECK(refused(Kind::share, {2}, [](ShareOptions& o) { o.flags = FFA_MEM_FLAG_ZERO; }) ==
          FFA_INVALID_PARAMETERS);
    // No page for the split of a block: the owner has everything back.
    w.host.fail_hide = 1;
    CHECK(Guest::error(w.a.share(five, {2}, by_the_book(Kind::lend))) == FFA_NO_MEMORY);
    CHECK(reached_by_owner(w));
    CHECK(w.pristine());
}

TEST_CASE("lend: what a borrower may not ask for") {
    Islands w;
    const u64 h = send(w, Kind::lend);
    const auto ask = [&](u32 permissions, u32 flags) {
        return Guest::error(w.b.retrieve(h, 1, {.permissions = permissions}, flags));
    };
    CHECK(ask(FFA_MEM_PERM_NX, FFA_MEM_FLAG_TYPE_SHARE) == FFA_INVALID_PARAMETERS);
    CHECK(ask(FFA_MEM_PERM_NX, FFA_MEM_FLAG_TYPE_DONATE) == FFA_INVALID_PARAMETERS);
    CHECK(ask(FFA_MEM_PERM_RW, 0) == FFA_INVALID_PARAMETERS);     // instructions must be said
    CHECK(ask(FFA_MEM_PERM_NX, FFA_MEM_FLAG_ZERO) == FFA_DENIED); // the sender did not
    CHECK(ask(FFA_MEM_PERM_RO | FFA_MEM_PERM_NX, FFA_MEM_FLAG_ZERO_AFTER) == FFA_DENIED);
    CHECK(ask(FFA_MEM_PERM_NX, 0x20) == FFA_INVALID_PARAMETERS); // a hint that is not valid
    CHECK(w.host.mappings() == 0);
    CHECK(ask(FFA_MEM_PERM_X, 0x3e0) == 0); // alone with it, it may execute
    CHECK(w.host.vms[2].window.at(w.b.response().first).execute);
    CHECK(Guest::error(w.b.relinquish(h)) == 0);
    CHECK(Guest::error(w.a.reclaim(h)) == 0);
    const u64 two = send(w, Kind::lend, {2, 3});
    CHECK(Guest::error(w.b.retrieve(two, 1, {.permissions = FFA_MEM_PERM_X})) == FFA_DENIED);
    CHECK(Guest::error(w.b.retrieve(two, 1, {.permissions = 0}, FFA_MEM_FLAG_ONE_BORROWER)) == 0);
    CHECK(!w.host.vms[2].window.at(w.b.response().first).execute);
    CHECK(Guest::error(w.c.retrieve(two, 1, {.permissions = FFA_MEM_PERM_RO})) == 0);
    w.c.response();
    CHECK(w.host.mappings() == 10);
    CHECK(Guest::error(w.c.relinquish(two, FFA_MEM_FLAG_ZERO)) == FFA_DENIED); // it could not write
    CHECK(Guest::error(w.c.relinquish(two)) == 0);
    CHECK(Guest::error(w.a.reclaim(two)) == FFA_DENIED);
    CHECK(Guest::error(w.b.relinquish(two)) == 0);
    CHECK(Guest::error(w.a.reclaim(two)) == 0);
    CHECK(zeroed(w) == 0);
    CHECK(w.pristine());
}

TEST_CASE("zeroes: before anybody retrieves, after the last has relinquished, before the owner is back") {
    Islands w;
    u64 h = send(w, Kind::lend, {2}, FFA_MEM_FLAG_ZERO);
    CHECK(zeroed(w) == 5);
    CHECK(Guest::error(w.b.retrieve(h, 1, not_executable, FFA_MEM_FLAG_ZERO)) == 0);
    CHECK((w.b.get<u32>(w.b.rx() + 4) & FFA_MEM_FLAG_ZERO) != 0);
    w.b.response();
    CHECK(Guest::error(w.b.relinquish(h)) == 0);
    CHECK(Guest::error(w.a.reclaim(h)) == 0);
    CHECK(zeroed(w) == 5);

    h = send(w, Kind::lend, {2, 3}); // one of two wants it, when both have let go
    w.b.borrow(h, 1, {.permissions = 0});
    w.c.borrow(h, 1, {.permissions = 0});
    CHECK(Guest::error(w.b.relinquish(h, FFA_MEM_FLAG_ZERO)) == 0);
    CHECK(zeroed(w) == 5);
    CHECK(Guest::error(w.c.relinquish(h)) == 0);
    w.c.borrow(h, 1, {.permissions = 0});
    CHECK(zeroed(w) == 10); // before the next one gets it
    CHECK(Guest::error(w.c.relinquish(h)) == 0);
    CHECK(Guest::error(w.a.reclaim(h)) == 0);
    CHECK(zeroed(w) == 10);

    h = send(w, Kind::lend); // as a flag of the retrieve request
    CHECK(Guest::error(w.b.retrieve(h, 1, not_executable, FFA_MEM_FLAG_ZERO_AFTER)) == 0);
    w.b.response();
    CHECK(Guest::error(w.b.relinquish(h)) == 0);
    CHECK(Guest::error(w.a.reclaim(h)) == 0);
    CHECK(zeroed(w) == 15);

    h = send(w, Kind::lend); // the borrower dies, or is robbed
    CHECK(Guest::error(w.b.retrieve(h, 1, not_executable, FFA_MEM_FLAG_ZERO_AFTER)) == 0);
    CHECK(w.a.call(ATOLL_MEM_REVOKE, h).x[0] == 0);
    CHECK(zeroed(w) == 20);

    h = send(w, Kind::lend);
    CHECK(Guest::error(w.a.reclaim(h, FFA_MEM_FLAG_ZERO)) == 0);
    CHECK(zeroed(w) == 25);
    CHECK(w.host.violations == 0);
    w.host.reset(2);
    CHECK(w.pristine());

    Islands s;
    h = send(s, Kind::share);
    s.b.borrow(h, 1);
    CHECK(Guest::error(s.b.relinquish(h, FFA_MEM_FLAG_ZERO)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(s.b.relinquish(h)) == 0);
    CHECK(zeroed(s) == 0);
}

TEST_CASE("donate: the pages are the receiver's for good, and the handle is gone") {
    Islands w;
    u64 h = send(w, Kind::donate);
    REQUIRE(h != 0);
    CHECK(!reached_by_owner(w));
    CHECK(Guest::error(w.a.reclaim(h)) == 0); // nobody wanted it yet
    CHECK(reached_by_owner(w));
    CHECK(w.host.tables->away[1] == 0);
    CHECK(w.pristine());

    h = send(w, Kind::donate);
    CHECK(Guest::error(w.c.retrieve(h, 1, not_executable)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.b.retrieve(h, 1, {.permissions = FFA_MEM_PERM_X})) == 0);
    const Part p = w.b.response();
    CHECK(p.second == 5);
    CHECK(w.host.vms[2].window.at(p.first).execute);
    CHECK(w.host.page(2, 0).owner == 2);
    CHECK(w.host.pages[w.host.vms[2].window.at(p.first).pa].owner == 2);
    CHECK(w.host.count(PageStateFake::donating) == 0);
    CHECK(w.host.storage_in_use() == 0);
    for (Guest* g : {&w.a, &w.b}) {
        CHECK(Guest::error(g->reclaim(h)) == FFA_INVALID_PARAMETERS);
        CHECK(Guest::error(g->retrieve(h, 1, not_executable)) == FFA_INVALID_PARAMETERS);
        CHECK(Guest::error(g->relinquish(h)) == FFA_INVALID_PARAMETERS);
    }
    CHECK(!w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}));
    // The receiver may share it on, not send it away again.
    CHECK(Guest::error(w.b.share({{p.first, 5}}, {1}, by_the_book(Kind::lend))) == FFA_DENIED);
    const u64 on = Guest::handle_of(w.b.share({{p.first + page_size, 2}}, {1}));
    REQUIRE(on != 0);
    CHECK(w.a.borrow(on, 2).second == 2);
    CHECK(w.host.tables->away[1] == 5);
    w.host.die(2); // the borrower of it keeps its two
    CHECK(w.host.tables->away[1] == 0);
    CHECK(w.host.tables->away[2] == 2);
    CHECK(w.host.count(PageStateFake::free) == 3);
    CHECK(w.host.count(PageStateFake::retained) == 2);
    CHECK(Guest::error(w.a.relinquish(on)) == 0);
    CHECK(w.host.count(PageStateFake::free) == 5);
    CHECK(w.host.tables->away[2] == 0);
    CHECK(w.host.violations == 0);
}

TEST_CASE("donate: whoever dies, no page is lost") {
    for (const bool retrieved : {false, true}) {
        for (const u16 dead : {u16{1}, u16{2}}) {
            Islands w;
            const u64 h = send(w, Kind::donate);
            if (retrieved) {
                CHECK(w.b.retrieve(h, 1, not_executable).x[0] == FFA_MEM_RETRIEVE_RESP);
            }
            w.host.reset(dead);
            CHECK(w.host.violations == 0);
            CHECK(w.host.count(PageStateFake::donating) == (dead == 2 && !retrieved ? 5 : 0));
            CHECK(w.host.count(PageStateFake::free) == (dead == 2 && retrieved ? 5 : 0));
            CHECK(w.host.tables->away[1] == ((dead == 2) == retrieved ? 0 : 5));
            w.host.die(3 - dead);
            CHECK(w.host.count(PageStateFake::free) == (retrieved ? 5 : 0));
            CHECK(w.host.tables->away[1] == 0);
            CHECK(w.pristine());
        }
    }
}

TEST_CASE("pages that are away are bounded for each VM") {
    Islands w(256, 0, 128);
    w.host.tables->away[1] = max_away_pages_per_vm - 7; // others have as many
    const u64 given = send(w, Kind::donate);
    REQUIRE(given != 0);
    CHECK(Guest::error(w.a.share({{Guest::ipa(40), 3}}, {2}, by_the_book(Kind::donate))) == FFA_NO_MEMORY);
    const u64 small = Guest::handle_of(w.a.share({{Guest::ipa(40), 2}}, {2}));
    const u64 large = Guest::handle_of(w.a.share({{Guest::ipa(50), 3}}, {2}));
    const Part kept = w.b.borrow(small, 1);
    const Part taken = w.b.borrow(large, 1);
    w.b.borrow(given, 1, not_executable);
    w.host.reset(1);
    CHECK(w.host.violations == 0);
    CHECK(w.host.vms[2].window.count(kept.first) == 1); // fits
    CHECK(w.host.vms[2].window.count(taken.first) == 0);
    CHECK(w.host.ffa->is_revoked(VmId{2}, Ipa{taken.first}));
    CHECK(w.host.tables->away[1] == max_away_pages_per_vm);
    CHECK(Guest::error(w.b.relinquish(small)) == 0);
    CHECK(Guest::error(w.b.relinquish(large)) == 0);
    CHECK(w.host.tables->away[1] == max_away_pages_per_vm - 2);
    w.host.die(2);
    CHECK(w.host.tables->away[1] == max_away_pages_per_vm - 7);
    CHECK(w.host.violations == 0);
}

TEST_CASE("an owner of lent memory dies: who has it keeps it, else it goes home") {
    for (const Held held : {Held::keep, Held::revoke}) {
        Islands w;
        const u64 h = send(w, Kind::lend);
        const u64 idle = Guest::handle_of(w.a.share({{Guest::ipa(50), 3}}, {2}, by_the_book(Kind::lend)));
        REQUIRE(idle != 0);
        w.b.borrow(h, 1, not_executable);
        w.host.reset(1, held);
        CHECK(w.host.count(PageStateFake::retained) == (held == Held::keep ? 5 : 0));
        CHECK(w.host.count(PageStateFake::lent) == 0);
        CHECK(w.host.at(w.host.vms[1], Guest::ipa(50)) != nullptr);
        CHECK(Guest::error(w.b.relinquish(h)) == 0);
        CHECK(w.host.count(PageStateFake::free) == (held == Held::keep ? 5 : 0));
        CHECK(w.pristine());
    }
}
