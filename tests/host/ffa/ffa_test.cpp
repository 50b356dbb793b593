// SPDX-License-Identifier: Apache-2.0
// What becomes of shared memory and of peers when a VM dies or reboots, in every state.
#include "el2/ffa/ffa.hpp"

#include <doctest/doctest.h>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

namespace {

u32 notice_type(Guest& g, u16 about) {
    if ((g.notifications().x[7] & FFA_NOTIFICATION_RX_FULL) == 0) {
        return 0;
    }
    const auto h = g.get<ffa_msg_header>(g.rx());
    const auto n = g.get<atoll_peer_notice>(g.rx() + h.offset);
    return h.ids >> 16 == 0 && n.vm_id == about ? n.type : 0;
}

const std::vector<Part> parts = {{Guest::ipa(16), 4}, {Guest::ipa(30), 1}};

} // namespace

TEST_CASE("the borrower dies: given back, the owner is told and can reclaim") {
    Islands w;
    const u64 h = Guest::handle_of(w.a.share(parts, {2, 3}));
    w.b.borrow(h, 1);
    w.c.borrow(h, 1);
    w.host.die(2);
    CHECK(w.host.vms[2].window.empty());
    CHECK(w.host.mappings() == 5);
    CHECK(notice_type(w.a, 2) == ATOLL_NOTICE_PEER_DIED);
    CHECK(w.host.vms[3].interrupts == 0); // it had nothing to do with 2
    CHECK(Guest::error(w.a.reclaim(h)) == FFA_DENIED);
    w.host.die(3);
    CHECK(Guest::error(w.a.reclaim(h)) == 0);
    CHECK(w.pristine());
}

TEST_CASE("a borrower that has not retrieved dies: the owner is told, and it may retrieve after its return") {
    Islands w;
    const u64 h = Guest::handle_of(w.a.share(parts, {2}));
    w.host.reset(2);
    CHECK(notice_type(w.a, 2) == ATOLL_NOTICE_PEER_RESTARTED);
    CHECK(Guest::error(w.b.call(FFA_MEM_RELINQUISH)) == FFA_DENIED); // buffers are gone
    w.b.start();
    CHECK(w.b.borrow(h, 1).second == 5);
    CHECK(w.host.violations == 0);
}

TEST_CASE("the owner dies, nobody has it: the pages are its own again, the handle is gone") {
    Islands w;
    const u64 h = Guest::handle_of(w.a.share(parts, {2}));
    w.host.die(1);
    CHECK(w.pristine());
    CHECK(notice_type(w.b, 1) == ATOLL_NOTICE_PEER_DIED);
    w.b.call(FFA_RX_RELEASE);
    CHECK(Guest::error(w.b.retrieve(h, 1)) == FFA_INVALID_PARAMETERS);
}

TEST_CASE("the owner dies while it is borrowed: pages stay until the last borrower lets go") {
    Islands w;
    const u64 h = Guest::handle_of(w.a.share(parts, {2, 3}));
    const Part p = w.b.borrow(h, 1);
    w.c.borrow(h, 1);
    w.host.die(1);
    CHECK(w.host.count(PageStateFake::retained) == 5);
    CHECK(w.host.vms[1].pa_of[16] == 0); // no longer part of its RAM
    CHECK(w.host.vms[2].window.size() == 5);
    CHECK(!w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}));
    w.host.ffa->vm_started(VmId{1}); // another life: the handle is not its own
    w.a.start();
    CHECK(Guest::error(w.a.reclaim(h)) == FFA_INVALID_PARAMETERS);
    CHECK(w.a.call(ATOLL_MEM_REVOKE, h).x[0] != 0);
    w.host.die(1); // and dies again
    CHECK(Guest::error(w.b.relinquish(h)) == 0);
    CHECK(w.host.count(PageStateFake::retained) == 5);
    CHECK(Guest::error(w.b.retrieve(h, 1)) != 0);
    w.host.die(3);
    CHECK(w.host.count(PageStateFake::retained) == 0);
    CHECK(w.host.count(PageStateFake::free) == 5);
    CHECK(w.pristine());
    CHECK(w.host.tables->storage_quota[1] == max_storage_pages_per_vm);
}

TEST_CASE("the owner dies, with force: like a revocation") {
    Islands w;
    const u64 h = Guest::handle_of(w.a.share(parts, {2}));
    const Part p = w.b.borrow(h, 1);
    w.host.reset(1, Held::revoke);
    CHECK(w.pristine());
    CHECK(w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}));
    CHECK(notice_type(w.b, 1) == ATOLL_NOTICE_PEER_RESTARTED);
    w.b.call(FFA_RX_RELEASE);
    CHECK(Guest::error(w.b.relinquish(h)) == 0);
    CHECK(w.host.violations == 0);
}

TEST_CASE("the borrower of a revoked range dies") {
    Islands w;
    const u64 h = Guest::handle_of(w.a.share(parts, {2}));
    const Part p = w.b.borrow(h, 1);
    w.a.call(ATOLL_MEM_REVOKE, h);
    w.host.die(2);
    CHECK(!w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}));
    CHECK(w.host.tables->windows[2].count() == 0);
    CHECK(notice_type(w.a, 2) == ATOLL_NOTICE_PEER_DIED);
    CHECK(w.pristine());
}

TEST_CASE("both directions, both dead") {
    Islands w;
    const u64 ab = Guest::handle_of(w.a.share(parts, {2}));
    const u64 ba = Guest::handle_of(w.b.share({{Guest::ipa(20), 3}}, {1}));
    w.b.borrow(ab, 1);
    w.a.borrow(ba, 2);
    w.host.die(1);
    CHECK(w.host.count(PageStateFake::retained) == 5);
    CHECK(w.host.count(PageStateFake::shared) == 3);
    w.host.die(2);
    CHECK(w.host.count(PageStateFake::free) == 5);
    CHECK(w.pristine());
}

TEST_CASE("a dead VM is told nothing, and starts with nothing") {
    Islands w;
    w.a.bind(2, 1);
    const u64 h = Guest::handle_of(w.a.share(parts, {2}));
    w.b.borrow(h, 1);
    w.host.die(1);
    const u32 before = w.host.vms[1].interrupts;
    w.host.die(2);
    CHECK(w.host.vms[1].interrupts == before);
    w.host.ffa->vm_started(VmId{1});
    w.a.start();
    CHECK(w.a.notifications().x[7] == 0);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == FFA_DENIED);
    CHECK(w.host.count(PageStateFake::free) == 5);
}

TEST_CASE("registers: the answer replaces x0 to x7") {
    Islands w;
    const Call c = w.a.call(FFA_ID_GET, 1, 2, 3, 4, 5, 6, 7);
    CHECK(c.x[0] == FFA_SUCCESS);
    CHECK(c.x[2] == 1);
    for (const unsigned i : {1u, 3u, 4u, 5u, 6u, 7u}) {
        CHECK(c.x[i] == 0);
    }
    // The upper half of x0 is not part of a function identifier.
    CHECK(w.a.call(u64{FFA_ID_GET} | 0xffff'ffff'0000'0000).x[2] == 1);
}
