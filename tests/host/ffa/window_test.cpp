// SPDX-License-Identifier: Apache-2.0
// The share window's allocator: placement, alignment, fragmentation, exhaustion, look-up.
#include "el2/ffa/window.hpp"

#include <doctest/doctest.h>

using namespace atl;
using namespace atl::ffa;

namespace {
constexpr Ipa base{0xc000'0000};
u64 handles = 0;
Region* reserve(Window& w, u32 pages, u32 phase = 0) {
    const auto r = w.reserve(pages, phase, ++handles, VmId{1});
    return r.ok() ? *r : nullptr;
}
} // namespace

TEST_CASE("window: ranges that cannot be a window are refused") {
    Window w;
    CHECK(!w.init({Ipa{0xc000'0800}, page_size}).ok());
    CHECK(!w.init({base, 100}).ok());
    CHECK(!w.init({Ipa{ipa_limit - page_size}, 2 * page_size}).ok());
    CHECK(!w.init({Ipa{~u64{0} << 12}, page_size}).ok());
    CHECK(w.init({Ipa{ipa_limit - page_size}, page_size}).ok());
    CHECK(w.init({base, 0}).ok());
    CHECK(reserve(w, 1) == nullptr);
}

TEST_CASE("window: first fit, holes are reused, nothing overlaps") {
    Window w;
    REQUIRE(w.init({base, 16 * page_size}).ok());
    CHECK(reserve(w, 0) == nullptr);
    CHECK(reserve(w, 17) == nullptr);
    CHECK(w.base_of(*reserve(w, 4)) == base);
    const u64 middle = ++handles;
    REQUIRE(w.reserve(4, 0, middle, VmId{1}).ok());
    CHECK(w.base_of(*reserve(w, 8)) == base + 8 * page_size);
    CHECK(reserve(w, 1) == nullptr);
    w.remove(w.find(middle));
    CHECK(w.find(middle) == nullptr);
    CHECK(reserve(w, 5) == nullptr); // four free pages are not five
    CHECK(w.base_of(*reserve(w, 3)) == base + 4 * page_size);
    CHECK(w.base_of(*reserve(w, 1)) == base + 7 * page_size);
    CHECK(reserve(w, 1) == nullptr);
}

TEST_CASE("window: large buffers start where their blocks do, and anywhere when that does not fit") {
    Window w;
    REQUIRE(w.init({base, 2048 * page_size}).ok());
    CHECK(w.base_of(*reserve(w, 1)) == base);
    CHECK(w.base_of(*reserve(w, 512, 0)) == base + 2 * mib);
    CHECK(w.base_of(*reserve(w, 512, 3)) == base + 4 * mib + 3 * page_size);
    CHECK(reserve(w, 513, 0) == nullptr);
    // 511 free pages from page 1 on, and 509 at the end: a block fits nowhere.
    CHECK(reserve(w, 512, 0) == nullptr);
    CHECK(w.base_of(*reserve(w, 511)) == base + page_size);
}

TEST_CASE("window: unaligned fallback") {
    Window w;
    REQUIRE(w.init({base + page_size, 600 * page_size}).ok());
    CHECK(w.base_of(*reserve(w, 600, 0)) == base + page_size);
}

TEST_CASE("window: the number of regions is bounded") {
    Window w;
    REQUIRE(w.init({base, 1024 * page_size}).ok());
    for (u32 i = 0; i < max_retrieved_per_vm; ++i) {
        REQUIRE(reserve(w, 1) != nullptr);
    }
    CHECK(reserve(w, 1) == nullptr);
    CHECK(w.count() == max_retrieved_per_vm);
    while (w.count() != 0) {
        w.remove(&w[w.count() / 2]);
    }
    CHECK(reserve(w, 1024) != nullptr);
}

TEST_CASE("window: look-up by address") {
    Window w;
    REQUIRE(w.init({base, 64 * page_size}).ok());
    Region* const first = reserve(w, 2);
    const u64 first_handle = first->handle;
    const u64 hole = reserve(w, 3)->handle;
    const u64 last = reserve(w, 1)->handle;
    w.remove(w.find(hole));
    CHECK(w.at(base - 1) == nullptr);
    CHECK(w.at(base)->handle == first_handle);
    CHECK(w.at(base + 2 * page_size - 1)->handle == first_handle);
    CHECK(w.at(base + 2 * page_size) == nullptr);
    CHECK(w.at(base + 5 * page_size + 7)->handle == last);
    CHECK(w.at(base + 6 * page_size) == nullptr);
    CHECK(w.at(base + 64 * page_size) == nullptr);
    CHECK(w.at(Ipa{~u64{0}}) == nullptr);
}
