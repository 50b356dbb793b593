// SPDX-License-Identifier: Apache-2.0
// lib/types, lib/register, lib/result: arithmetic at the edges.
#include "lib/types.hpp"

#include <string_view>

#include <doctest/doctest.h>

#include "lib/register.hpp"
#include "lib/result.hpp"

using namespace atl;

TEST_CASE("Address: alignment and differences") {
    CHECK(Pa{0x1fff}.align_down(page_size) == Pa{0x1000});
    CHECK(Pa{0x1001}.align_up(page_size) == Pa{0x2000});
    CHECK(Pa{0x2000}.align_up(page_size) == Pa{0x2000});
    CHECK(Pa{0}.is_aligned(page_size));
    CHECK_FALSE(Pa{0x800}.is_aligned(page_size));
    CHECK(Ipa{0x3000} - Ipa{0x1000} == 0x2000);
    CHECK(Pa{0x1'0000'0000}.page_number() == 0x10'0000);
    CHECK(direct_map_pa(to_hyp_va(Pa{0x4000'1234})) == Pa{0x4000'1234});
}

TEST_CASE("Range: contains is immune to wrap-around") {
    const Range<Ipa> r{Ipa{0x1000}, 0x1000};
    CHECK(r.contains(Ipa{0x1000}));
    CHECK(r.contains(Ipa{0x1fff}));
    CHECK_FALSE(r.contains(Ipa{0x2000}));
    CHECK_FALSE(r.contains(Ipa{0xfff}));
    CHECK(r.contains(Ipa{0x1000}, 0x1000));
    CHECK_FALSE(r.contains(Ipa{0x1000}, 0x1001));
    CHECK_FALSE(r.contains(Ipa{0x1ffc}, 8));
    CHECK_FALSE(r.contains(Ipa{0x1000}, ~u64{0}));
    CHECK_FALSE(r.contains(Ipa{~u64{0}}, 2));
    const Range<Ipa> top{Ipa{~u64{0} - 0xfff}, 0x1000};
    CHECK(top.contains(Ipa{~u64{0}}));
    CHECK_FALSE(top.contains(Ipa{~u64{0}}, 2));
    CHECK_FALSE(Range<Ipa>{}.contains(Ipa{0}));
}

TEST_CASE("Range: overlap") {
    const Range<Pa> r{Pa{0x1000}, 0x1000};
    CHECK(r.overlaps({Pa{0x1fff}, 1}));
    CHECK(r.overlaps({Pa{0}, 0x1001}));
    CHECK(r.overlaps({Pa{0}, 0x9000}));
    CHECK_FALSE(r.overlaps({Pa{0x2000}, 0x1000}));
    CHECK_FALSE(r.overlaps({Pa{0}, 0x1000}));
    CHECK_FALSE(r.overlaps({Pa{0x1800}, 0}));
}

TEST_CASE("Field: get, set, excess bits, whole register, sign") {
    using Middle = Field<15, 8>;
    CHECK(Middle::mask == 0xff00);
    CHECK(Middle::get(0x12'34'56) == 0x34);
    CHECK(Middle::of(0x1ff) == 0xff00);
    CHECK(Middle::set(0xffff'ffff, 0) == 0xffff'00ff);
    CHECK(Middle::test(0x0100));
    CHECK_FALSE(Middle::test(0x00ff));
    using All = Field<63, 0>;
    CHECK(All::mask == ~u64{0});
    CHECK(All::get(~u64{0}) == ~u64{0});
    CHECK(All::set(1, 2) == 2);
    CHECK(Bit<63>::mask == u64{1} << 63);
    CHECK(signed_get<Field<3, 0>>(0xf) == -1);
    CHECK(signed_get<Field<3, 0>>(0x7) == 7);
    CHECK(signed_get<All>(~u64{0}) == -1);
}

namespace {
Status fail_when(bool fail) {
    if (fail) {
        return Error::busy;
    }
    return {};
}
Result<int> through(bool fail) {
    ATOLL_TRY(fail_when(fail));
    return 7;
}
} // namespace

TEST_CASE("Result: value, error, propagation") {
    CHECK(through(false).ok());
    CHECK(*through(false) == 7);
    CHECK(through(false).value_or(1) == 7);
    CHECK_FALSE(through(true).ok());
    CHECK(through(true).error() == Error::busy);
    CHECK(through(true).value_or(1) == 1);
    CHECK(static_cast<bool>(fail_when(false)));
}

TEST_CASE("Error: each has its own words") {
    for (unsigned a = 0; a <= static_cast<unsigned>(Error::interrupted); ++a) {
        const std::string_view text = to_string(static_cast<Error>(a));
        CHECK(text != "?");
        for (unsigned b = 0; b < a; ++b) {
            CHECK(text != to_string(static_cast<Error>(b)));
        }
    }
}
