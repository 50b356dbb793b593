// SPDX-License-Identifier: Apache-2.0
// Long calls come in steps, and whatever happens in between has a defined end: joined, given up, overtaken by
// the owner or by the death of either VM, with nothing left behind.
#include <doctest/doctest.h>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

namespace {

constexpr u32 many = 3000;                                    // pages, each a constituent of its own
constexpr ShareOptions plain{.permissions = FFA_MEM_PERM_NX}; // by the book for lend and donate

struct Sea : Islands {
    std::vector<Part> parts;
    explicit Sea(u32 pages = many) : Islands(2 * many + 64, 1, 2 * many, FFA_VERSION_1_1, 1) {
        host.slow_checks = false;
        for (u32 i = 0; i < pages; ++i) {
            parts.emplace_back(Guest::ipa(32 + 2 * i), 1);
        }
        a.call(FFA_RXTX_UNMAP);
        a.buffer_pages = 12;
        REQUIRE(Guest::error(a.call(FFA_RXTX_MAP64, a.tx(), a.rx(), 12)) == 0);
    }
    ShareOptions options(Kind kind, const std::vector<u16>& to = {2}, u32 flags = 0) const {
        return by_the_book(kind, to.size(), flags);
    }
    u64 send(Kind kind, const std::vector<u16>& to = {2}, u32 flags = 0) {
        return Guest::handle_of(a.share(parts, to, options(kind, to, flags)));
    }
    /// The call with its descriptor in place, not yet made.
    Call prepared(Kind kind) {
        const auto bytes = a.share_descriptor(parts, {2}, options(kind));
        a.put(a.tx(), bytes.data(), bytes.size());
        return {{function_of(kind), bytes.size(), bytes.size(), 0, 0, 0, 0, 0}};
    }
    Call prepared_retrieve(Guest& g, u64 handle, Kind kind) {
        const auto bytes = g.head(handle, 0, {g.id}, 1, kind == Kind::share ? ShareOptions{} : plain, false);
        g.put(g.tx(), bytes.data(), bytes.size());
        return {{FFA_MEM_RETRIEVE_REQ, bytes.size(), bytes.size(), 0, 0, 0, 0, 0}};
    }
};

} // namespace

TEST_CASE("resume: every long call takes steps, small ones none") {
    for (const Kind kind : {Kind::share, Kind::lend, Kind::donate}) {
        CAPTURE(static_cast<int>(kind));
        Sea w;
        const u32 flags = kind == Kind::share ? 0 : FFA_MEM_FLAG_ZERO;
        const u64 h = w.send(kind, {2}, flags);
        REQUIRE(h != 0);
        CHECK(w.a.repeats >= (kind == Kind::share ? 5 : 80)); // zeroing and unmapping cost more
        CHECK(w.host.max_claim <= Budget::per_call);
        REQUIRE(w.b.retrieve(h, 1, kind == Kind::share ? ShareOptions{} : plain).x[0] ==
                FFA_MEM_RETRIEVE_RESP);
        CHECK(w.b.response().second == many);
        CHECK(w.b.repeats >= 5);
        CHECK(w.host.vms[2].window.size() == many);
        if (kind != Kind::donate) {
            w.b.repeats = w.a.repeats = 0;
            CHECK(Guest::error(w.b.relinquish(h)) == 0);
            CHECK(w.b.repeats >= 5);
            CHECK(Guest::error(w.a.reclaim(h)) == 0);
            CHECK(w.a.repeats >= 5);
            CHECK(w.pristine());
        }
    }
    Islands small;
    const u64 h = Guest::handle_of(small.a.share({{Guest::ipa(16), 40}}, {2}, by_the_book(Kind::lend)));
    small.b.borrow(h, 1, plain);
    CHECK(Guest::error(small.b.relinquish(h)) == 0);
    CHECK(Guest::error(small.a.reclaim(h)) == 0);
    CHECK(small.a.repeats + small.b.repeats == 0);
}

TEST_CASE("resume: one contiguous buffer takes steps, too") {
    Islands w(4096, 0, 8192);
    w.host.slow_checks = false;
    const u64 h = Guest::handle_of(w.a.share({{Guest::ipa(16), 4000}}, {2}));
    CHECK(w.a.repeats >= 6);
    CHECK(w.host.max_claim <= Budget::per_call);
    CHECK(w.b.borrow(h, 1).second == 4000);
    CHECK(w.b.repeats >= 6);
    CHECK(w.a.call(ATOLL_MEM_REVOKE, h).x[0] == 0);
    CHECK(w.host.violations == 0);
}

TEST_CASE("resume: a send that is not finished") {
    for (const Kind kind : {Kind::share, Kind::lend, Kind::donate}) {
        for (const u32 steps : {1u, 4u, 9u, 20u}) {
            CAPTURE(steps);
            // 0: another send, 1: RXTX_UNMAP, 2: dies, 3: the descriptor changes, 4: another vCPU joins
            for (int how = 0; how <= 4; ++how) {
                CAPTURE(how);
                Sea w;
                Call c = w.prepared(kind);
                bool finished = false;
                for (u32 i = 0; i < steps && !finished; ++i) {
                    finished = w.a.step(c);
                }
                if (finished) {
                    continue;
                }
                switch (how) {
                case 0: {
                    Call other = c;
                    other.x[0] = function_of(kind == Kind::share ? Kind::lend : Kind::share);
                    CHECK(Guest::error(w.a.call(other)) == FFA_BUSY);
                    other = c;
                    other.x[1] = other.x[2] = c.x[1] - 16;
                    CHECK(Guest::error(w.a.call(other)) == FFA_BUSY);
                    CHECK(Guest::error(w.a.call(FFA_MEM_FRAG_TX, 1, 2, 16)) == FFA_INVALID_PARAMETERS);
                    REQUIRE(Guest::handle_of(w.a.call(c)) != 0); // and goes on as if nothing had been
                    w.host.die(1);
                    break;
                }
                case 1:
                    CHECK(Guest::error(w.a.call(FFA_RXTX_UNMAP)) == 0);
                    break;
                case 2:
                    w.host.die(1);
                    CHECK((steps == 1 || w.host.steps != 0));
                    break;
                case 3: { // what was read stays as read; what comes is checked as it is now
                    std::vector<u8> junk(12 * page_size, 0xff);
                    w.a.put(w.a.tx(), junk.data(), junk.size());
                    const Call end = w.a.call(c);
                    if (Guest::handle_of(end) != 0) {
                        CHECK(Guest::error(w.a.reclaim(Guest::handle_of(end))) == 0);
                    } else {
                        CHECK(Guest::error(end) == FFA_INVALID_PARAMETERS);
                    }
                    break;
                }
                case 4: {
                    const u64 h = Guest::handle_of(w.a.call(c));
                    REQUIRE(h != 0);
                    CHECK(Guest::error(w.a.call(c)) == FFA_DENIED); // the first vCPU: its pages are sent
                    CHECK(Guest::error(w.a.reclaim(h)) == 0);
                    break;
                }
                }
                CHECK(w.pristine());
                CHECK(w.host.tables->away[1] == 0);
                CHECK(w.host.at(w.host.vms[1], w.parts[0].first) != nullptr);
            }
        }
    }
}

TEST_CASE("resume: a send that fails late is undone in steps") {
    Sea w;
    w.parts.back() = w.parts.front(); // named twice
    for (const Kind kind : {Kind::share, Kind::lend}) {
        w.a.repeats = 0;
        CHECK(Guest::error(w.a.share(w.parts, {2}, w.options(kind))) == FFA_DENIED);
        CHECK(w.a.repeats >= 10);
        CHECK(w.pristine());
    }
    // The same in fragments; and the guest gives up while it is being undone.
    const auto d = w.a.share_descriptor(w.parts, {2}, w.options(Kind::lend));
    CHECK(Guest::error(w.a.send_fragments(d, 10 * page_size, Kind::lend)) == FFA_DENIED);
    CHECK(w.pristine());
    Call c = w.prepared(Kind::lend);
    for (int i = 0; i < 8; ++i) {
        REQUIRE(!w.a.step(c));
    }
    CHECK(Guest::error(w.a.call(FFA_RXTX_UNMAP)) == 0);
    CHECK(w.pristine());
}

TEST_CASE("resume: a retrieve that is not finished") {
    for (const Kind kind : {Kind::share, Kind::lend, Kind::donate}) {
        for (const u32 steps : {1u, 3u, kind == Kind::donate ? 8u : 5u}) {
            // 0: the owner reclaims, then revokes. 1, 2: owner, borrower dies. 3: relinquish. 4: another vCPU
            // joins. 5: RX fills up. 6: asks for something else.
            for (int how = 0; how <= 6; ++how) {
                CAPTURE(static_cast<int>(kind));
                CAPTURE(steps);
                CAPTURE(how);
                Sea w;
                const u64 h = w.send(kind);
                REQUIRE(h != 0);
                Call c = w.prepared_retrieve(w.b, h, kind);
                for (u32 i = 0; i < steps; ++i) {
                    REQUIRE(!w.b.step(c));
                }
                const bool accepting = kind == Kind::donate && steps == 8;
                switch (how) {
                case 0:
                    CHECK(Guest::error(w.a.reclaim(h)) == FFA_DENIED);
                    CHECK((w.a.call(ATOLL_MEM_REVOKE, h).x[0] == 0) == !accepting);
                    CHECK(Guest::error(w.b.call(c)) == FFA_INVALID_PARAMETERS);
                    break;
                case 1:
                    w.host.die(1);
                    CHECK(Guest::error(w.b.call(c)) == FFA_INVALID_PARAMETERS);
                    break;
                case 2:
                    w.host.die(2);
                    CHECK(Guest::error(w.a.reclaim(h)) == (accepting ? FFA_INVALID_PARAMETERS : 0));
                    break;
                case 3:
                    CHECK(Guest::error(w.b.relinquish(h)) == (accepting ? FFA_DENIED : 0));
                    break;
                case 4: {
                    CHECK(w.b.call(c).x[0] == FFA_MEM_RETRIEVE_RESP);
                    w.b.call(FFA_RX_RELEASE);
                    const int late = Guest::error(w.b.call(w.prepared_retrieve(w.b, h, kind)));
                    CHECK(late == (kind == Kind::donate ? FFA_INVALID_PARAMETERS : FFA_DENIED));
                    break;
                }
                case 5:
                    if (!accepting) {
                        w.b.call(FFA_PARTITION_INFO_GET);
                        c = w.prepared_retrieve(w.b, h, kind);
                        CHECK(Guest::error(w.b.call(c)) == FFA_BUSY);
                        CHECK(w.host.vms[2].window.empty());
                        w.b.call(FFA_RX_RELEASE);
                        CHECK(w.b.call(c).x[0] == FFA_MEM_RETRIEVE_RESP);
                    }
                    break;
                case 6:
                    CHECK(Guest::error(w.b.retrieve(
                              h, 1, {.permissions = FFA_MEM_PERM_RO | FFA_MEM_PERM_NX})) == FFA_DENIED);
                    c = w.prepared_retrieve(w.b, h, kind);
                    CHECK(w.b.call(c).x[0] == FFA_MEM_RETRIEVE_RESP);
                    break;
                }
                w.host.die(2);
                w.host.die(1);
                CHECK(w.pristine());
                CHECK(w.host.tables->away[1] == 0);
                CHECK(w.host.tables->windows[2].count() == 0);
                CHECK(w.host.count(PageStateFake::retained) == 0);
            }
        }
    }
}

TEST_CASE("resume: a retrieve that fails late is undone in steps, and may be abandoned then") {
    Sea w;
    const u64 h = w.send(Kind::share);
    w.host.fail_map = 40;
    CHECK(Guest::error(w.b.retrieve(h, 1)) == FFA_NO_MEMORY);
    CHECK(w.b.repeats >= 8);
    CHECK(w.host.mappings() == 0);
    w.host.fail_map = 40;
    Call c = w.prepared_retrieve(w.b, h, Kind::share);
    while (w.host.fail_map != 0) {
        REQUIRE(!w.b.step(c));
    }
    CHECK(Guest::error(w.a.reclaim(h)) == FFA_DENIED); // part is still mapped
    CHECK(Guest::error(w.b.relinquish(h)) == 0);
    CHECK(Guest::error(w.a.reclaim(h)) == 0);
    CHECK(w.pristine());
}

TEST_CASE("resume: a relinquish or a revocation that is not finished") {
    // 0: revoked by the owner, 1, 2: owner, borrower dies, 3: joined, 4: retrieved again
    for (int how = 0; how <= 4; ++how) {
        for (const bool revoke : {false, true}) {
            CAPTURE(how);
            CAPTURE(revoke);
            Sea w;
            const u64 h = w.send(Kind::lend, {2, 3});
            const Part p = w.b.borrow(h, 1, {.permissions = 0});
            struct {
                u64 handle;
                u32 flags, count;
                u16 endpoint;
            } d{h, 0, 1, 2};
            w.b.put(w.b.tx(), &d, 18);
            Call returning{{FFA_MEM_RELINQUISH, 0, 0, 0, 0, 0, 0, 0}};
            Call robbing{{ATOLL_MEM_REVOKE, h, 0, 0, 0, 0, 0, 0}};
            for (int i = 0; i < 3; ++i) {
                REQUIRE(!(revoke ? w.a.step(robbing) : w.b.step(returning)));
            }
            CHECK(w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}) == revoke);
            CHECK(Guest::error(w.a.reclaim(h ^ 1)) == FFA_INVALID_PARAMETERS);
            switch (how) {
            case 0:
                CHECK(w.a.call(robbing).x[0] == 0);
                CHECK(w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}));
                CHECK(Guest::error(w.b.call(returning)) == 0); // finds its end
                break;
            case 1:
                w.host.die(1);
                CHECK(Guest::error(w.b.call(returning)) == 0);
                break;
            case 2:
                w.host.die(2);
                CHECK((w.a.call(robbing).x[0] == 0));
                break;
            case 3:
                CHECK(Guest::error(w.b.call(returning)) == 0);
                CHECK(Guest::error(w.b.call(returning)) == FFA_DENIED);
                CHECK(Guest::error(w.a.reclaim(h)) == 0);
                break;
            case 4:
                CHECK(Guest::error(w.b.retrieve(h, 1, {.permissions = 0})) ==
                      (revoke ? FFA_INVALID_PARAMETERS : FFA_DENIED));
                CHECK(Guest::error(w.c.retrieve(h, 1, {.permissions = 0})) ==
                      (revoke ? FFA_INVALID_PARAMETERS : 0)); // the other borrower is not held up
                w.host.die(3);
                w.host.die(2);
                w.host.die(1);
                break;
            }
            CHECK(w.pristine());
            CHECK(w.host.tables->windows[2].count() == 0);
        }
    }
}

TEST_CASE("resume: a reclaim that is not finished") {
    for (int how = 0; how <= 2; ++how) {
        Sea w;
        const u64 h = w.send(Kind::lend);
        Call c{{FFA_MEM_RECLAIM, static_cast<u32>(h), h >> 32, FFA_MEM_FLAG_ZERO, 0, 0, 0, 0}};
        for (int i = 0; i < 50; ++i) {
            REQUIRE(!w.a.step(c));
        }
        CHECK(Guest::error(w.b.retrieve(h, 1, plain)) == FFA_INVALID_PARAMETERS);
        if (how == 0) {
            w.host.die(1);
        } else {
            CHECK(Guest::error(how == 1 ? w.a.call(c) : w.a.reclaim(h)) == 0);
            CHECK(Guest::error(w.a.call(c)) == FFA_INVALID_PARAMETERS);
        }
        CHECK(w.pristine());
    }
}

TEST_CASE("resume: a death takes steps, others go on in between, and nobody joins the dying") {
    for (const Kind kind : {Kind::share, Kind::lend}) {
        for (const bool let_go : {false, true}) {
            Sea w;
            const u64 h = w.send(kind, {2, 3});
            const u64 idle = Guest::handle_of(w.a.share({{Guest::ipa(40 + 2 * many - 18), 1}}, {2}));
            w.b.borrow(h, 1, {.permissions = 0});
            REQUIRE(!w.host.ffa->vm_reset(VmId{1}));
            CHECK(Guest::error(w.c.retrieve(h, 1, {.permissions = 0})) == FFA_INVALID_PARAMETERS);
            CHECK(Guest::error(w.b.retrieve(idle, 1)) == FFA_INVALID_PARAMETERS);
            if (let_go) {
                CHECK(Guest::error(w.b.relinquish(h)) == 0);
            }
            w.host.reset(1);
            CHECK(w.host.steps > 4);
            CHECK(w.host.count(PageStateFake::retained) == (let_go ? 0 : many));
            if (!let_go) {
                w.b.repeats = 0;
                CHECK(Guest::error(w.b.relinquish(h)) == 0);
                CHECK(w.b.repeats > 40); // it scrubs them
            }
            CHECK(w.host.count(PageStateFake::retained) == 0);
            CHECK(w.host.tables->away[1] == 0);
            CHECK(w.pristine());
        }
    }
}
