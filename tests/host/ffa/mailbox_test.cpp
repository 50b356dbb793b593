// SPDX-License-Identifier: Apache-2.0
// RX/TX buffers, ownership of RX, indirect messages, notices from the hypervisor.
#include "el2/ffa/mailbox.hpp"

#include <doctest/doctest.h>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

TEST_CASE("RXTX_MAP: what may be a buffer") {
    FakeHost host;
    host.add_vm(1, 256, 0, 0, 0);
    Guest g(host, 1);
    const auto map = [&](u64 tx, u64 rx, u64 pages) {
        return Guest::error(g.call(FFA_RXTX_MAP64, tx, rx, pages));
    };
    const u64 p = ram_base;
    CHECK(map(p, p + page_size, 0) == FFA_INVALID_PARAMETERS);
    CHECK(map(p, p + 65 * page_size, 65) == FFA_INVALID_PARAMETERS);
    CHECK(map(p, p, 1) == FFA_INVALID_PARAMETERS);
    CHECK(map(p, p + page_size, 2) == FFA_INVALID_PARAMETERS);     // overlap
    CHECK(map(p + 1, p + page_size, 1) == FFA_INVALID_PARAMETERS); // unaligned
    CHECK(map(p, p + 2048, 1) == FFA_INVALID_PARAMETERS);
    CHECK(map(p, 0x1000, 1) == FFA_INVALID_PARAMETERS);              // not RAM
    CHECK(map(p, ~u64{0xfff}, 1) == FFA_INVALID_PARAMETERS);         // wraps
    CHECK(map(p + 255 * page_size, p, 2) == FFA_INVALID_PARAMETERS); // leaves RAM
    CHECK(map(window_base, window_base + page_size, 1) == FFA_INVALID_PARAMETERS);
    host.page(1, 3).state = PageStateFake::shared;
    CHECK(map(p, p + 3 * page_size, 1) == FFA_INVALID_PARAMETERS);
    host.page(1, 3).state = PageStateFake::owned;
    CHECK(map(p, p + 64 * page_size, 64) == 0);
    CHECK(map(p, p + 64 * page_size, 64) == FFA_DENIED); // registered already
    CHECK(Guest::error(g.call(FFA_RXTX_UNMAP, 2u << 16)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(g.call(FFA_RXTX_UNMAP, 1u << 16)) == 0);
    CHECK(Guest::error(g.call(FFA_RXTX_UNMAP)) == FFA_INVALID_PARAMETERS);
    // The 32-bit form takes 32 bits of each register.
    CHECK(Guest::error(g.call(FFA_RXTX_MAP, p | 0xdead'0000'0000'0000, p + page_size, 1)) == 0);
    CHECK(host.violations == 0);
}

TEST_CASE("RX_RELEASE: only what the caller owns") {
    Islands w;
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == FFA_DENIED);
    w.a.call(FFA_PARTITION_INFO_GET);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE, 2)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == 0);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == FFA_DENIED);
}

TEST_CASE("MSG_SEND2: arrives, rings, and waits while RX is full") {
    Islands w;
    CHECK(w.a.message(2, "ahoy").x[0] == FFA_SUCCESS);
    CHECK(w.host.vms[2].interrupts == 1);
    CHECK(w.b.received() == "ahoy");
    CHECK(w.b.get<ffa_msg_header>(w.b.rx()).ids == (1u << 16 | 2));
    CHECK(Guest::error(w.a.message(2, "again")) == FFA_BUSY);
    CHECK(Guest::error(w.a.message(3, "other")) == 0);
    CHECK(w.b.notifications().x[7] == FFA_NOTIFICATION_RX_FULL);
    CHECK(w.b.notifications().x[7] == 0);
    w.b.call(FFA_RX_RELEASE);
    CHECK(w.a.message(2, "again", 20).x[0] == FFA_SUCCESS);
    CHECK(w.b.received() == "again");
    CHECK(w.host.violations == 0);
}

TEST_CASE("MSG_SEND2: every malformed header") {
    Islands w;
    const ffa_msg_header good{0, 0, 24, 1u << 16 | 2, 4};
    const auto send = [&](ffa_msg_header h, u64 w1 = 0, u64 w2 = 0) {
        w.a.put(w.a.tx(), &h, sizeof(h));
        return Guest::error(w.a.call(FFA_MSG_SEND2, w1, w2));
    };
    const auto with = [&](auto change) {
        ffa_msg_header h = good;
        change(h);
        return send(h);
    };
    CHECK(with([](auto& h) { h.flags = 1; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.reserved = 1; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.offset = 19; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.offset = 0; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.offset = 4096; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.size = 0; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.size = 4096 - 23; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.offset = h.size = ~0u; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.ids = 3u << 16 | 2; }) == FFA_INVALID_PARAMETERS); // another's name
    CHECK(with([](auto& h) { h.ids = 0u << 16 | 2; }) == FFA_INVALID_PARAMETERS); // the hypervisor's
    CHECK(with([](auto& h) { h.ids = 1u << 16 | 1; }) == FFA_INVALID_PARAMETERS); // to itself
    CHECK(with([](auto& h) { h.ids = 1u << 16 | 0; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.ids = 1u << 16 | 9; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.ids = 1u << 16 | 0xffff; }) == FFA_INVALID_PARAMETERS);
    CHECK(with([](auto& h) { h.ids = 1u << 16 | 4; }) == FFA_DENIED); // not a peer
    CHECK(send(good, 2u << 16) == FFA_INVALID_PARAMETERS);
    CHECK(send(good, 1) == FFA_INVALID_PARAMETERS);
    CHECK(send(good, 0, 1) == FFA_INVALID_PARAMETERS);
    CHECK(send(good, 1u << 16, 2) == 0);
    w.b.call(FFA_RX_RELEASE);
    CHECK(with([](auto& h) { h.size = 4096 - 24; }) == 0); // the whole buffer
}

TEST_CASE("MSG_SEND2: receivers that cannot take it") {
    Islands w;
    w.b.call(FFA_RXTX_UNMAP);
    CHECK(Guest::error(w.a.message(2, "x")) == FFA_DENIED);
    w.host.die(3);
    CHECK(Guest::error(w.a.message(3, "x")) == FFA_DENIED);
    w.a.call(FFA_RXTX_UNMAP);
    w.a.buffer_pages = 2;
    CHECK(Guest::error(w.a.call(FFA_RXTX_MAP64, w.a.tx(), w.a.rx(), 2)) == 0);
    w.b.start();
    CHECK(Guest::error(w.a.message(2, std::string(5000, 'x'))) == FFA_NO_MEMORY);
    CHECK(Guest::error(w.a.message(2, std::string(4072, 'x'))) == 0); // RX was not lost
    CHECK(w.b.received() == std::string(4072, 'x'));
    w.b.call(FFA_RX_RELEASE);
    for (const int failing : {1, 2, 3}) {
        w.host.fail_write = failing;
        CHECK(Guest::error(w.a.message(2, std::string(2000, 'x'))) == FFA_DENIED);
        w.host.fail_write = 0;
    }
    w.host.fail_read = 2;
    CHECK(Guest::error(w.a.message(2, "x")) == FFA_DENIED);
    CHECK(Guest::error(w.a.message(2, "x")) == 0);
    CHECK(Guest::error(w.b.call(FFA_RXTX_UNMAP)) == 0); // a full buffer may go
    CHECK(w.b.notifications().x[7] == 0);
}

TEST_CASE("the header that is delivered is the one that was checked") {
    Islands w;
    w.host.track_reads = true;
    CHECK(w.a.message(2, std::string(1500, 'y')).x[0] == FFA_SUCCESS);
    CHECK(w.host.violations == 0);
}

TEST_CASE("notices: delivered in order, kept while RX is full or absent") {
    Islands w;
    w.a.bind(2, 1);
    w.a.bind(3, 2);
    w.a.call(FFA_PARTITION_INFO_GET); // RX is full
    w.host.die(3);
    w.host.die(2);
    w.host.ffa->vm_started(VmId{2});
    w.host.reset(2); // died and came back
    const auto notice = [&] {
        CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == 0);
        CHECK((w.a.notifications().x[7] & FFA_NOTIFICATION_RX_FULL) != 0);
        const auto h = w.a.get<ffa_msg_header>(w.a.rx());
        CHECK(h.ids == 1);
        CHECK(h.size == sizeof(atoll_peer_notice));
        return w.a.get<atoll_peer_notice>(w.a.rx() + h.offset);
    };
    auto n = notice();
    CHECK(n.type == ATOLL_NOTICE_PEER_DIED);
    CHECK(n.vm_id == 2);
    n = notice();
    CHECK(n.type == ATOLL_NOTICE_PEER_DIED);
    CHECK(n.vm_id == 3);
    w.a.call(FFA_RXTX_UNMAP);
    w.a.start(); // the third waits for a buffer
    CHECK(w.a.get<atoll_peer_notice>(w.a.rx() + 20).type == ATOLL_NOTICE_PEER_RESTARTED);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == 0);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == FFA_DENIED); // no more
    CHECK(w.host.violations == 0);
}

TEST_CASE("notices: an old comeback is dropped when the peer dies again; a failed write is tried again") {
    Islands w;
    w.a.bind(2, 1);
    w.host.fail_write = 1;
    w.host.reset(2);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == FFA_DENIED);
    w.host.die(2);
    CHECK(w.a.get<atoll_peer_notice>(w.a.rx() + 20).type == ATOLL_NOTICE_PEER_DIED);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == 0);
    CHECK(Guest::error(w.a.call(FFA_RX_RELEASE)) == FFA_DENIED);
}
