// SPDX-License-Identifier: Apache-2.0
// lib/format: every placeholder, every argument kind, cutting, and text that only looks like a placeholder.
#include "lib/format.hpp"

#include <limits>
#include <string>

#include <doctest/doctest.h>

using namespace atl;

namespace {

template <class... Args>
std::string text(std::string_view format, const Args&... args) {
    std::string out;
    const TextSink sink{
        &out, [](void* context, std::string_view part) { static_cast<std::string*>(context)->append(part); }};
    format_to(sink, format, args...);
    return out;
}

} // namespace

TEST_CASE("format: numbers") {
    CHECK(text("{}", 0U) == "0");
    CHECK(text("{}", std::numeric_limits<u64>::max()) == "18446744073709551615");
    CHECK(text("{}", std::numeric_limits<i64>::min()) == "-9223372036854775808");
    CHECK(text("{}", -1) == "-1");
    CHECK(text("{:x}", 0U) == "0x0");
    CHECK(text("{:x}", 0xdeadU) == "0xdead");
    CHECK(text("{:016x}", u64{0x1234}) == "0x0000000000001234");
    CHECK(text("{:x}", i64{-1}) == "0xffffffffffffffff");
    CHECK(text("{:5}|", 42U) == "   42|");
    CHECK(text("{:05}", 42U) == "00042");
    CHECK(text("{}", u8{200}) == "200");
}

TEST_CASE("format: text, characters, booleans, addresses, ids, errors") {
    CHECK(text("{}{}", "a", std::string_view("bc")) == "abc");
    CHECK(text("[{:6}]", "abc") == "[abc   ]");
    CHECK(text("{}", static_cast<const char*>(nullptr)) == "(null)");
    CHECK(text("{}", 'x') == "x");
    CHECK(text("{} {}", true, false) == "yes no");
    CHECK(text("{}", Pa{0x4000'0000}) == "0x40000000");
    CHECK(text("{}", Ipa{0}) == "0x0");
    CHECK(text("{}", VmId{3}) == "3");
    CHECK(text("{}", Mpidr{0x103}) == "0x103");
    CHECK(text("{}", Error::denied) == "denied");
}

TEST_CASE("format: what is no placeholder stays, arguments are never read past the end") {
    CHECK(text("{") == "{");
    CHECK(text("a{b", 1U) == "a{b");
    CHECK(text("{q} {}", 1U) == "{q} 1");
    CHECK(text("{:zz}", 1U) == "{:zz}");
    CHECK(text("{} {}", 1U) == "1 {}");
    CHECK(text("{}") == "{}");
    CHECK(text("} {}", 1U) == "} 1");
    CHECK(text("", 1U).empty());
}

TEST_CASE("format: a width is bounded") {
    CHECK(text("{:99999999}", 1U).size() < 1000);
}

TEST_CASE("format: a buffer cuts what does not fit") {
    const FormatBuffer<4> small("{}{}", "abc", "defgh");
    CHECK(small.text() == "abcd");
    const FormatBuffer<16> large("{}", "abc");
    CHECK(large.text() == "abc");
}
