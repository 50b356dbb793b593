// SPDX-License-Identifier: Apache-2.0
// MEM_RETRIEVE_REQ, MEM_RELINQUISH, revocation: the borrower's side.
#include <doctest/doctest.h>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

namespace {

struct Shared : Islands {
    u64 handle;
    explicit Shared(u32 permissions = FFA_MEM_PERM_RW, std::vector<u16> to = {2},
                    u32 version = FFA_VERSION_1_1)
        : Islands(256, 3, 64, version),
          handle(Guest::handle_of(
              a.share({{Guest::ipa(16), 4}, {Guest::ipa(30), 1}}, to, {.permissions = permissions}))) {
        REQUIRE(handle != 0);
    }
};

} // namespace

TEST_CASE("retrieve: the answer says where, how, and from whom, in both layouts") {
    for (const u32 version : {FFA_VERSION_1_0, FFA_VERSION_1_1}) {
        for (const bool wide : {false, true}) {
            Shared w(FFA_MEM_PERM_RW | FFA_MEM_PERM_NX, {2}, version);
            const Call c =
                w.b.retrieve(w.handle, 1, {.permissions = 0, .wide = wide}, FFA_MEM_FLAG_TYPE_SHARE);
            REQUIRE(c.x[0] == FFA_MEM_RETRIEVE_RESP);
            const u32 head = version == FFA_VERSION_1_1 ? 48 : 32;
            CHECK(c.x[1] == head + 48);
            CHECK(c.x[2] == head + 48);
            CHECK(w.b.get<u16>(w.b.rx()) == 1);
            CHECK(w.b.get<u8>(w.b.rx() + 2) == 0x2f);
            CHECK(w.b.get<u32>(w.b.rx() + 4) == FFA_MEM_FLAG_TYPE_SHARE);
            CHECK(w.b.get<u64>(w.b.rx() + 8) == w.handle);
            CHECK(w.b.get<u64>(w.b.rx() + 16) == 0x7a67);
            CHECK(w.b.get<u32>(w.b.rx() + 28) == 1);
            const auto e = w.b.get<ffa_mem_region_attributes>(w.b.rx() + head);
            CHECK(e.receiver == 2);
            CHECK(e.permissions == (FFA_MEM_PERM_RW | FFA_MEM_PERM_NX));
            CHECK(e.composite_off == head + 16);
            const auto m = w.b.get<ffa_composite_mem_region>(w.b.rx() + head + 16);
            CHECK(m.total_pg_cnt == 5);
            CHECK(m.addr_range_cnt == 1);
            const Part p = w.b.response();
            CHECK(p.first == window_base);
            CHECK(p.second == 5);
            const u64 pages[] = {16, 17, 18, 19, 30};
            for (u32 i = 0; i < 5; ++i) {
                const FakeMapping& mapping = w.host.vms[2].window.at(p.first + i * page_size);
                CHECK(mapping.pa == w.host.vms[1].pa_of[pages[i]]);
                CHECK(mapping.access == Access::read_write);
            }
            CHECK(w.host.mappings() == 5);
            CHECK(Guest::error(w.a.reclaim(w.handle)) == FFA_DENIED);
            CHECK(Guest::error(w.b.retrieve(w.handle, 1)) == FFA_DENIED); // once
            CHECK(Guest::error(w.b.relinquish(w.handle, 1)) == FFA_INVALID_PARAMETERS);
            CHECK(Guest::error(w.b.relinquish(w.handle)) == 0);
            CHECK(Guest::error(w.b.relinquish(w.handle)) == FFA_DENIED);
            CHECK(w.host.mappings() == 0);
            CHECK(w.b.borrow(w.handle, 1).first == window_base); // again, after relinquishing
            CHECK(Guest::error(w.b.relinquish(w.handle)) == 0);
            CHECK(Guest::error(w.a.reclaim(w.handle)) == 0);
            CHECK(w.pristine());
        }
    }
}

TEST_CASE("access: read-only stays read-only, and may be asked for") {
    Shared ro(FFA_MEM_PERM_RO);
    CHECK(Guest::error(ro.b.retrieve(ro.handle, 1)) == FFA_DENIED);
    ro.b.borrow(ro.handle, 1, {.permissions = FFA_MEM_PERM_RO});
    CHECK(ro.host.vms[2].window.at(window_base).access == Access::read_only);
    Shared unspecified(FFA_MEM_PERM_RO);
    unspecified.b.borrow(unspecified.handle, 1, {.permissions = 0});
    CHECK(unspecified.host.vms[2].window.at(window_base).access == Access::read_only);
    Shared rw;
    rw.b.borrow(rw.handle, 1, {.permissions = FFA_MEM_PERM_RO | FFA_MEM_PERM_NX});
    CHECK(rw.host.vms[2].window.at(window_base).access == Access::read_only);
    CHECK(rw.host.violations == 0);
}

TEST_CASE("retrieve: requests that do not fit") {
    Shared w;
    const auto request = [&](const ShareOptions& o, u16 owner = 1, u32 flags = 0, u64 handle = 0) {
        return Guest::error(w.b.retrieve(handle == 0 ? w.handle : handle, owner, o, flags));
    };
    CHECK(request({}, 3) == FFA_INVALID_PARAMETERS);
    CHECK(request({.tag = 1}) == FFA_INVALID_PARAMETERS);
    CHECK(request({}, 1, 0, w.handle + 1) == FFA_INVALID_PARAMETERS);
    CHECK(request({}, 1, 0, ~u64{0}) == FFA_INVALID_PARAMETERS);
    CHECK(request({}, 1, 0x1) == FFA_INVALID_PARAMETERS);  // zero shared memory?
    CHECK(request({}, 1, 0x10) == FFA_INVALID_PARAMETERS); // lend
    CHECK(request({}, 1, 0x18) == FFA_INVALID_PARAMETERS); // donate
    CHECK(request({}, 1, 0x800) == FFA_INVALID_PARAMETERS);
    CHECK(request({.permissions = 3}) == FFA_INVALID_PARAMETERS);
    CHECK(request({.permissions = 0xc}) == FFA_INVALID_PARAMETERS);
    CHECK(request({.permissions = FFA_MEM_PERM_RW | FFA_MEM_PERM_X}) == FFA_DENIED);
    CHECK(request({.attributes = 0x1f}) == FFA_DENIED);
    CHECK(Guest::error(w.c.retrieve(w.handle, 1)) == FFA_INVALID_PARAMETERS); // not its borrower
    CHECK(Guest::error(w.a.retrieve(w.handle, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.c.relinquish(w.handle)) == FFA_DENIED);
    CHECK(w.host.mappings() == 0);
    // In registers and in the endpoint list.
    auto d = w.b.head(w.handle, 0, {2}, 1, {}, false);
    const auto send = [&](u64 total, u64 fragment, u64 address = 0, u64 pages = 0) {
        w.b.put(w.b.tx(), d.data(), d.size());
        return Guest::error(w.b.call(FFA_MEM_RETRIEVE_REQ64, total, fragment, address, pages));
    };
    CHECK(send(64, 48) == FFA_INVALID_PARAMETERS);
    CHECK(send(5000, 5000) == FFA_INVALID_PARAMETERS);
    CHECK(send(32, 32) == FFA_INVALID_PARAMETERS);
    CHECK(send(64, 64, 0x1000) == FFA_INVALID_PARAMETERS);
    CHECK(send(64, 64, 0, 1) == FFA_INVALID_PARAMETERS);
    const u32 own_addresses = 64;
    std::memcpy(d.data() + 52, &own_addresses, 4);
    CHECK(send(64, 64) == FFA_INVALID_PARAMETERS); // EL2 chooses where
    d = w.b.head(w.handle, 0, {2, 3}, 1, {}, false);
    CHECK(send(80, 80) == FFA_INVALID_PARAMETERS); // 3 is no borrower
    d = w.b.head(w.handle, 0, {3}, 1, {}, false);
    CHECK(send(64, 64) == FFA_INVALID_PARAMETERS); // for another
    CHECK(request({.attributes = 0}, 1, 0x408 | 0x202) == 0);
    w.b.call(FFA_RX_RELEASE);
    w.b.call(FFA_RXTX_UNMAP);
    CHECK(Guest::error(w.b.call(FFA_MEM_RELINQUISH)) == FFA_DENIED);
    CHECK(Guest::error(w.b.call(FFA_MEM_RETRIEVE_REQ, 64, 64)) == FFA_DENIED);
    CHECK(w.host.violations == 0);
}

TEST_CASE("retrieve: whatever fails on the way is undone") {
    Shared w;
    w.b.call(FFA_PARTITION_INFO_GET);
    CHECK(Guest::error(w.b.retrieve(w.handle, 1)) == FFA_BUSY); // RX is full
    w.b.call(FFA_RX_RELEASE);
    const auto clean = [&] {
        return w.host.violations == 0 && w.host.mappings() == 0 && w.host.vms[2].window.empty() &&
               w.host.tables->windows[2].count() == 0;
    };
    w.host.fail_retrieve = 1;
    CHECK(Guest::error(w.b.retrieve(w.handle, 1)) == FFA_BUSY);
    CHECK(clean());
    w.host.fail_map = 1;
    CHECK(Guest::error(w.b.retrieve(w.handle, 1)) == FFA_NO_MEMORY);
    CHECK(clean());
    for (int i = 1; i <= 2; ++i) {
        w.host.fail_write = i;
        CHECK(Guest::error(w.b.retrieve(w.handle, 1)) == FFA_DENIED);
        CHECK(clean());
    }
    CHECK(w.b.borrow(w.handle, 1).first == window_base);
}

TEST_CASE("retrieve: failure in the middle of a long run list") {
    Islands w(1200, 1);
    std::vector<Part> parts;
    for (u32 i = 0; i < 520; ++i) {
        parts.emplace_back(Guest::ipa(16 + 2 * i), 1);
    }
    const u64 h = Guest::handle_of(w.a.send_fragments(w.a.share_descriptor(parts, {2}), 4096));
    REQUIRE(w.host.storage_in_use() == 3);
    for (int i = 1; i <= 3; ++i) {
        w.host.fail_retrieve = i;
        CHECK(Guest::error(w.b.retrieve(h, 1)) == FFA_BUSY);
        CHECK(w.host.mappings() == 0);
        w.host.fail_map = i;
        CHECK(Guest::error(w.b.retrieve(h, 1)) == FFA_NO_MEMORY);
        CHECK(w.host.mappings() == 0);
        CHECK(w.host.vms[2].window.empty());
    }
    CHECK(w.b.borrow(h, 1).second == 520);
    CHECK(w.host.violations == 0);
}

TEST_CASE("several borrowers, each on its own") {
    Shared w(FFA_MEM_PERM_RW, {2, 3});
    w.b.borrow(w.handle, 1);
    w.c.borrow(w.handle, 1, {.permissions = FFA_MEM_PERM_RO});
    CHECK(w.host.mappings() == 10);
    CHECK(w.host.vms[2].window.at(window_base).pa == w.host.vms[3].window.at(window_base).pa);
    CHECK(w.host.vms[3].window.at(window_base).access == Access::read_only);
    CHECK(Guest::error(w.b.relinquish(w.handle)) == 0);
    CHECK(w.host.vms[3].window.size() == 5);
    CHECK(Guest::error(w.a.reclaim(w.handle)) == FFA_DENIED);
    CHECK(Guest::error(w.c.relinquish(w.handle)) == 0);
    CHECK(Guest::error(w.a.reclaim(w.handle)) == 0);
    CHECK(w.pristine());
}

TEST_CASE("window: exhaustion, fragmentation, and reuse") {
    Islands w(256, 0, 8);
    const u64 h4 = Guest::handle_of(w.a.share({{Guest::ipa(16), 4}}, {2}));
    const u64 h2 = Guest::handle_of(w.a.share({{Guest::ipa(24), 2}}, {2}));
    const u64 h3 = Guest::handle_of(w.a.share({{Guest::ipa(32), 3}}, {2}));
    const u64 h1 = Guest::handle_of(w.a.share({{Guest::ipa(40), 1}}, {2}));
    CHECK(w.b.borrow(h4, 1).first == window_base);
    CHECK(w.b.borrow(h2, 1).first == window_base + 4 * page_size);
    CHECK(Guest::error(w.b.retrieve(h3, 1)) == FFA_NO_MEMORY);
    CHECK(w.b.borrow(h1, 1).first == window_base + 6 * page_size); // RX was given back
    w.b.relinquish(h2);
    CHECK(Guest::error(w.b.retrieve(h3, 1)) == FFA_NO_MEMORY); // two free and one free are not three
    w.b.relinquish(h4);
    CHECK(w.b.borrow(h3, 1).first == window_base);
    CHECK(w.host.violations == 0);
}

TEST_CASE("window: a VM without one cannot borrow") {
    FakeHost host;
    host.add_vm(1, 64, 0, 1u << 2, 0);
    host.add_vm(2, 64, 0, 1u << 1, 0);
    Guest a(host, 1), b(host, 2);
    a.start();
    b.start();
    const u64 h = Guest::handle_of(a.share({{Guest::ipa(16), 1}}, {2}));
    CHECK(Guest::error(b.retrieve(h, 1)) == FFA_NO_MEMORY);
}

TEST_CASE("large buffers begin where their blocks do") {
    Islands w(2048, 0, 4096);
    w.host.vms[1].window.clear();
    const u64 phase = (w.host.vms[1].pa_of[100] / page_size) % 512;
    const u64 h = Guest::handle_of(w.a.share({{Guest::ipa(60), 1}, {Guest::ipa(100), 1100}}, {2}));
    const Part p = w.b.borrow(h, 1);
    CHECK((p.first / page_size + 1) % 512 == phase);
}

TEST_CASE("revoke: at once, in the borrower alone, marked until it lets go") {
    Shared w(FFA_MEM_PERM_RW, {2, 3});
    const Part p = w.b.borrow(w.handle, 1);
    CHECK(!w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}));
    CHECK(w.b.call(ATOLL_MEM_REVOKE, w.handle).x[0] == static_cast<u64>(i64{FFA_INVALID_PARAMETERS}));
    CHECK(w.a.call(ATOLL_MEM_REVOKE, w.handle ^ 1).x[0] == static_cast<u64>(i64{FFA_INVALID_PARAMETERS}));
    CHECK(w.a.call(ATOLL_MEM_REVOKE, w.handle).x[0] == 0);
    CHECK(w.pristine());
    CHECK(w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}));
    CHECK(w.host.ffa->is_revoked(VmId{2}, Ipa{p.first + 5 * page_size - 1}));
    CHECK(!w.host.ffa->is_revoked(VmId{2}, Ipa{p.first + 5 * page_size}));
    CHECK(!w.host.ffa->is_revoked(VmId{3}, Ipa{p.first}));
    CHECK(!w.host.ffa->is_revoked(VmId{2}, Ipa{ram_base}));
    CHECK(Guest::error(w.a.reclaim(w.handle)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.c.retrieve(w.handle, 1)) == FFA_INVALID_PARAMETERS);
    int ran = 0;
    CHECK(w.host.ffa->while_revoked(VmId{2}, Ipa{p.first}, [&] { ++ran; }));
    CHECK(!w.host.ffa->while_revoked(VmId{3}, Ipa{p.first}, [&] { ++ran; }));
    CHECK(ran == 1);
    // The range stays taken, so that a stale pointer meets nothing else.
    const u64 next = Guest::handle_of(w.a.share({{Guest::ipa(16), 4}}, {2}));
    CHECK(w.b.borrow(next, 1).first == p.first + 5 * page_size);
    const u32 unmaps = w.host.vms[2].unmaps;
    CHECK(Guest::error(w.b.relinquish(w.handle)) == 0);
    CHECK(w.host.vms[2].unmaps == unmaps + 1); // a stand-in page may be there
    CHECK(!w.host.ffa->is_revoked(VmId{2}, Ipa{p.first}));
    CHECK(Guest::error(w.b.relinquish(w.handle)) == FFA_INVALID_PARAMETERS);
    CHECK(w.host.mappings() == 4);
    CHECK(w.a.call(ATOLL_MEM_REVOKE, next).x[0] == 0);
    CHECK(w.host.violations == 0);
}

TEST_CASE("revoke of what nobody retrieved is a reclaim") {
    Shared w;
    CHECK(w.a.call(ATOLL_MEM_REVOKE, w.handle).x[0] == 0);
    CHECK(w.pristine());
}

TEST_CASE("relinquish: malformed descriptors") {
    Shared w;
    w.b.borrow(w.handle, 1);
    struct {
        u64 handle;
        u32 flags, count;
        u16 endpoint;
    } d{w.handle, 0, 1, 2};
    const auto send = [&] {
        w.b.put(w.b.tx(), &d, 18);
        return Guest::error(w.b.call(FFA_MEM_RELINQUISH));
    };
    d.count = 0;
    CHECK(send() == FFA_INVALID_PARAMETERS);
    d.count = 2;
    CHECK(send() == FFA_INVALID_PARAMETERS);
    d.count = 0xffffffff;
    CHECK(send() == FFA_INVALID_PARAMETERS);
    d.count = 1;
    d.endpoint = 3;
    CHECK(send() == FFA_INVALID_PARAMETERS);
    d.endpoint = 2;
    d.flags = 4;
    CHECK(send() == FFA_INVALID_PARAMETERS);
    d.flags = 2;
    d.handle ^= 1;
    CHECK(send() == FFA_INVALID_PARAMETERS);
    d.handle ^= 1;
    CHECK(send() == 0);
}
