// SPDX-License-Identifier: Apache-2.0
// MEM_SHARE, fragments, MEM_RECLAIM: the owner's side, all or nothing.
#include "el2/ffa/share.hpp"

#include <doctest/doctest.h>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

namespace {

/// `count` single pages, each two apart.
std::vector<Part> scattered(u32 count, u64 from = 16) {
    std::vector<Part> parts;
    for (u32 i = 0; i < count; ++i) {
        parts.emplace_back(Guest::ipa(from + 2 * i), 1);
    }
    return parts;
}

} // namespace

TEST_CASE("share and reclaim, both versions and both widths") {
    for (const u32 version : {FFA_VERSION_1_0, FFA_VERSION_1_1}) {
        for (const bool wide : {false, true}) {
            Islands w(256, 3, 64, version);
            const Call c = w.a.share({{Guest::ipa(16), 4}, {Guest::ipa(30), 1}}, {2}, {.wide = wide});
            const u64 handle = Guest::handle_of(c);
            REQUIRE(handle != 0);
            CHECK((handle >> 63) == 1);
            CHECK(w.host.count(PageStateFake::shared) == 5);
            CHECK(w.host.page(1, 16).claims == 1);
            CHECK(Guest::error(w.b.reclaim(handle)) == FFA_INVALID_PARAMETERS); // not its own
            CHECK(Guest::error(w.a.reclaim(handle ^ 1)) == FFA_INVALID_PARAMETERS);
            CHECK(Guest::error(w.a.reclaim(handle ^ u64{1} << 40)) == FFA_INVALID_PARAMETERS);
            CHECK(Guest::error(w.a.reclaim(handle, 1)) ==
                  FFA_INVALID_PARAMETERS); // shared memory is not zeroed
            CHECK(Guest::error(w.a.reclaim(handle, 2)) == 0);
            CHECK(Guest::error(w.a.reclaim(handle)) == FFA_INVALID_PARAMETERS);
            CHECK(w.pristine());
        }
    }
}

TEST_CASE("a page is in one handle at a time, and a shared page is no buffer") {
    Islands w;
    const u64 handle = Guest::handle_of(w.a.share({{Guest::ipa(16), 4}}, {2}));
    CHECK(Guest::error(w.a.share({{Guest::ipa(10), 3}, {Guest::ipa(19), 1}}, {3})) == FFA_DENIED);
    CHECK(w.host.page(1, 10).state == PageStateFake::owned);
    CHECK(w.host.count(PageStateFake::shared) == 4);
    w.a.call(FFA_RXTX_UNMAP);
    CHECK(Guest::error(w.a.call(FFA_RXTX_MAP64, Guest::ipa(19), Guest::ipa(1), 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.reclaim(handle)) == 0);
    CHECK(Guest::error(w.a.call(FFA_RXTX_MAP64, Guest::ipa(19), Guest::ipa(1), 1)) == 0);
    CHECK(w.pristine());
}

TEST_CASE("handles: not reused at once, unique, bounded for each VM") {
    Islands w;
    const u64 first = Guest::handle_of(w.a.share({{Guest::ipa(16), 1}}, {2}));
    w.a.reclaim(first);
    const u64 second = Guest::handle_of(w.a.share({{Guest::ipa(16), 1}}, {2}));
    CHECK(first != second);
    CHECK(Guest::error(w.b.retrieve(first, 1)) == FFA_INVALID_PARAMETERS);
    w.a.reclaim(second);
    std::set<u64> handles;
    for (u32 i = 0; i < max_handles_per_vm; ++i) {
        handles.insert(Guest::handle_of(w.a.share({{Guest::ipa(16 + i), 1}}, {2})));
    }
    CHECK(handles.size() == max_handles_per_vm);
    CHECK(handles.count(0) == 0);
    CHECK(Guest::error(w.a.share({{Guest::ipa(200), 1}}, {2})) == FFA_NO_MEMORY);
    CHECK(Guest::error(w.b.share({{Guest::ipa(16), 1}}, {1})) == 0); // another VM has its own
    CHECK(Guest::error(w.a.reclaim(*handles.begin())) == 0);
    CHECK(Guest::error(w.a.share({{Guest::ipa(200), 1}}, {2})) == 0);
}

TEST_CASE("fragments: every size of step gives the same") {
    for (const std::size_t step : {80u, 96u, 160u, 1024u, 4096u}) {
        CAPTURE(step);
        Islands w(1200, 1);
        const auto parts = scattered(500);
        const Call c = w.a.send_fragments(w.a.share_descriptor(parts, {2}), step);
        REQUIRE(c.x[0] == FFA_SUCCESS);
        CHECK(w.host.count(PageStateFake::shared) == 500);
        CHECK(w.host.storage_in_use() == 2);
        const Part where = w.b.borrow(Guest::handle_of(c), 1);
        CHECK(where.second == 500);
        for (u32 i = 0; i < 500; ++i) {
            REQUIRE(w.host.vms[2].window.at(where.first + i * page_size).pa ==
                    w.host.vms[1].pa_of[16 + 2 * i]);
        }
        CHECK(Guest::error(w.b.relinquish(Guest::handle_of(c))) == 0);
        CHECK(Guest::error(w.a.reclaim(Guest::handle_of(c))) == 0);
        CHECK(w.pristine());
    }
}

TEST_CASE("fragments: what ends a transfer, and what does not") {
    Islands w;
    const auto d = w.a.share_descriptor(scattered(20), {2});
    const auto begin = [&] {
        w.a.put(w.a.tx(), d.data(), 160);
        const Call c = w.a.call(FFA_MEM_SHARE, d.size(), 160);
        REQUIRE(c.x[0] == FFA_MEM_FRAG_RX);
        CHECK(c.x[3] == 160);
        CHECK(w.host.count(PageStateFake::shared) == 5);
        w.a.put(w.a.tx(), d.data() + 160, d.size() - 160);
        return c.x[1] | c.x[2] << 32;
    };
    const auto more = [&](u64 handle, u64 length, u64 w4 = 0) {
        return Guest::error(w.a.call(FFA_MEM_FRAG_TX, static_cast<u32>(handle), handle >> 32, length, w4));
    };
    u64 h = begin();
    const u64 rest = d.size() - 160;
    // Not its business: the transfer goes on.
    CHECK(more(h ^ 1, rest) == FFA_INVALID_PARAMETERS);
    CHECK(more(h, rest, 2u << 16) == FFA_INVALID_PARAMETERS);
    CHECK(more(h, rest, 1) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.b.call(FFA_MEM_FRAG_TX, static_cast<u32>(h), h >> 32, 16)) ==
          FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.b.reclaim(h)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.b.retrieve(h, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(w.a.call(ATOLL_MEM_REVOKE, h).x[0] == static_cast<u64>(i64{FFA_INVALID_PARAMETERS}));
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE, d.size(), 160)) == FFA_BUSY);
    CHECK(w.host.count(PageStateFake::shared) == 5);
    CHECK(more(h, rest) == 0);
    CHECK(w.host.count(PageStateFake::shared) == 20);
    CHECK(more(h, 16) == FFA_INVALID_PARAMETERS); // complete
    CHECK(Guest::error(w.a.reclaim(h)) == 0);
    // A bad fragment ends it and leaves nothing.
    for (const u64 length : {u64{0}, u64{15}, rest + 16, u64{5000}, u64{0xffffffff}}) {
        h = begin();
        CHECK(more(h, length) == FFA_INVALID_PARAMETERS);
        CHECK(w.pristine());
        CHECK(more(h, rest) == FFA_INVALID_PARAMETERS);
    }
    h = begin();
    const u64 rx = w.a.rx();
    w.a.put(w.a.tx() + 32, &rx, 8); // the third of them
    CHECK(more(h, rest) == FFA_DENIED);
    CHECK(w.pristine());
    h = begin();
    CHECK(Guest::error(w.a.reclaim(h)) == 0);
    CHECK(w.pristine());
    begin();
    CHECK(Guest::error(w.a.call(FFA_RXTX_UNMAP)) == 0);
    CHECK(w.pristine());
    w.a.start();
    begin();
    w.host.die(1);
    CHECK(w.pristine());
}

TEST_CASE("fragments: the first must hold everything but constituents") {
    Islands w;
    const auto d = w.a.share_descriptor(scattered(4), {2});
    w.a.put(w.a.tx(), d.data(), d.size());
    for (u64 first = 0; first < d.size(); ++first) {
        CAPTURE(first);
        const Call c = w.a.call(FFA_MEM_SHARE, d.size(), first);
        if (first >= 80 && first % 16 == 0) {
            CHECK(c.x[0] == FFA_MEM_FRAG_RX);
            CHECK(Guest::error(w.a.reclaim(c.x[1] | c.x[2] << 32)) == 0);
        } else {
            CHECK(Guest::error(c) == FFA_INVALID_PARAMETERS);
        }
        CHECK(w.pristine());
    }
}

TEST_CASE("storage: exhaustion undoes everything") {
    Islands w(600, 1);
    for (int i = 1; i <= 2; ++i) {
        w.host.fail_alloc = i; // the run list needs two pages
        const Call c = w.a.send_fragments(w.a.share_descriptor(scattered(290), {2}), 4096);
        CHECK(Guest::error(c) == FFA_NO_MEMORY);
        CHECK(w.pristine());
    }
    w.host.tables->storage_quota[1] = 1;
    CHECK(Guest::error(w.a.send_fragments(w.a.share_descriptor(scattered(290), {2}), 4096)) == FFA_NO_MEMORY);
    CHECK(w.host.tables->storage_quota[1] == 1);
    CHECK(w.pristine());
}

TEST_CASE("64 MiB of scattered pages, in one go with the largest buffer and in 4 KiB fragments") {
    for (const u32 buffer : {64u, 1u}) {
        CAPTURE(buffer);
        Islands w(2 * max_buffer_pages + 256, 1, max_buffer_pages + 64, FFA_VERSION_1_1);
        w.host.slow_checks = false;
        if (buffer != 1) {
            w.a.call(FFA_RXTX_UNMAP);
            w.a.buffer_pages = buffer;
            REQUIRE(Guest::error(w.a.call(FFA_RXTX_MAP64, w.a.tx(), w.a.rx(), buffer)) == 0);
        }
        const auto d = w.a.share_descriptor(scattered(max_buffer_pages, 200), {2});
        const u64 h = Guest::handle_of(w.a.send_fragments(d, buffer * page_size));
        REQUIRE(h != 0);
        CHECK(w.host.count(PageStateFake::shared) == max_buffer_pages);
        const Part p = w.b.borrow(h, 1);
        CHECK(p.second == max_buffer_pages);
        CHECK(w.host.vms[2].window.size() == max_buffer_pages);
        CHECK(Guest::error(w.b.relinquish(h)) == 0);
        CHECK(Guest::error(w.a.reclaim(h)) == 0);
        CHECK(w.pristine());
        auto more = scattered(max_buffer_pages, 200);
        more.emplace_back(Guest::ipa(190), 1);
        CHECK(Guest::error(w.a.send_fragments(w.a.share_descriptor(more, {2}), page_size)) ==
              FFA_INVALID_PARAMETERS);
        CHECK(w.pristine());
    }
}
