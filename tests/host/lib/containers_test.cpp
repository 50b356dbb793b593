// SPDX-License-Identifier: Apache-2.0
// lib/containers: bounds, order, wrap-around of the ring's counters.
#include "lib/containers.hpp"

#include <doctest/doctest.h>

using namespace atl;

TEST_CASE("StaticVector: fills, refuses, erases in order") {
    StaticVector<int, 3> v;
    CHECK(v.empty());
    CHECK(v.push_back(1));
    CHECK(v.push_back(2));
    CHECK(v.push_back(3));
    CHECK(v.full());
    CHECK_FALSE(v.push_back(4));
    CHECK(v.size() == 3);
    v.erase(0);
    CHECK(v.size() == 2);
    CHECK(v[0] == 2);
    CHECK(v.back() == 3);
    v.erase(1);
    CHECK(v.back() == 2);
    int sum = 0;
    for (const int x : v) {
        sum += x;
    }
    CHECK(sum == 2);
    CHECK(v.span().size() == 1);
    v.clear();
    CHECK(v.empty());
}

TEST_CASE("Ring: first in first out, also after the indexes have wrapped many times") {
    Ring<unsigned, 4> ring;
    unsigned next_in = 0;
    unsigned next_out = 0;
    for (unsigned i = 0; i < 1000; ++i) {
        while (ring.push(next_in)) {
            ++next_in;
        }
        CHECK(ring.full());
        CHECK(ring.room() == 0);
        for (unsigned k = 0; k <= i % 4; ++k) {
            CHECK(ring.front() == next_out);
            CHECK(ring.pop() == next_out);
            ++next_out;
        }
        CHECK(ring.size() == next_in - next_out);
    }
    ring.clear();
    CHECK(ring.empty());
    CHECK(ring.room() == ring.capacity());
}

TEST_CASE("FixedString: refuses what does not fit and keeps the old text") {
    FixedString<3> s;
    CHECK(s.empty());
    CHECK(s.view().empty());
    CHECK(s.assign("abc"));
    CHECK(s.view() == "abc");
    CHECK(s.c_str()[3] == '\0');
    CHECK_FALSE(s.assign("abcd"));
    CHECK(s.view() == "abc");
    CHECK(s.assign("x"));
    CHECK(s.view() == "x");
    CHECK(s.c_str()[1] == '\0');
    CHECK(s.assign(""));
    CHECK(s.empty());
}
