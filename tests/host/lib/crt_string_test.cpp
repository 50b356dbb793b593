// SPDX-License-Identifier: Apache-2.0
// The C library functions of the image [lib/crt/string.hpp] beside the C library's own, at every small size
// and alignment.
#include "lib/crt/string.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using Bytes = std::array<unsigned char, 128>;

Bytes pattern(unsigned salt) {
    Bytes b;
    for (unsigned i = 0; i < b.size(); ++i) {
        b[i] = static_cast<unsigned char>(i * 37 + salt);
    }
    return b;
}
int sign(int v) {
    return (v > 0) - (v < 0);
}

} // namespace

TEST_CASE("crt: memcpy, memset and memmove touch what they should and nothing else") {
    for (std::size_t to = 0; to < 9; ++to) {
        for (std::size_t from = 0; from < 9; ++from) {
            for (std::size_t n = 0; n < 72; ++n) {
                Bytes mine = pattern(1), theirs = mine;
                const Bytes source = pattern(100);
                CHECK(atl_crt_memcpy(&mine[to], &source[from], n) == &mine[to]);
                std::memcpy(&theirs[to], &source[from], n);
                REQUIRE(mine == theirs);
                CHECK(atl_crt_memset(&mine[to], static_cast<int>(0x1f0 + n), n) == &mine[to]);
                std::memset(&theirs[to], static_cast<int>(0x1f0 + n), n);
                REQUIRE(mine == theirs);
                mine = theirs = pattern(7);
                CHECK(atl_crt_memmove(&mine[to], &mine[from], n) == &mine[to]); // overlapping, both ways
                std::memmove(&theirs[to], &theirs[from], n);
                REQUIRE(mine == theirs);
            }
        }
    }
}

TEST_CASE("crt: memcmp and memchr compare bytes as unsigned") {
    for (std::size_t n = 0; n < 40; ++n) {
        for (std::size_t at = 0; at <= n; ++at) {
            Bytes a = pattern(3), b = a;
            if (at < n) {
                b[at] = static_cast<unsigned char>(b[at] ^ 0x80);
            }
            CHECK(sign(atl_crt_memcmp(a.data(), b.data(), n)) == sign(std::memcmp(a.data(), b.data(), n)));
            CHECK(sign(atl_crt_memcmp(b.data(), a.data(), n)) == sign(std::memcmp(b.data(), a.data(), n)));
            CHECK(atl_crt_memchr(a.data(), a[at], n) == std::memchr(a.data(), a[at], n));
            CHECK(atl_crt_memchr(a.data(), a[at] | 0x100, n) == std::memchr(a.data(), a[at], n));
        }
    }
}

TEST_CASE("crt: strings") {
    for (const char* s : {"", "a", "abcabc", "a somewhat longer string\xff"}) {
        CHECK(atl_crt_strlen(s) == std::strlen(s));
        for (std::size_t limit = 0; limit < 30; ++limit) {
            CHECK(atl_crt_strnlen(s, limit) == strnlen(s, limit));
        }
        for (int c = 0; c < 256; ++c) {
            CHECK(atl_crt_strchr(s, c) == std::strchr(s, c));
            CHECK(atl_crt_strrchr(s, c) == std::strrchr(s, c));
        }
    }
}

TEST_CASE("crt: strtoul") {
    for (const char* s : {"0",
                          "42",
                          "  42x",
                          "-1",
                          "+7",
                          "0x1f",
                          "0X1F",
                          "0x",
                          "0xg",
                          "077",
                          "08",
                          "",
                          "-",
                          "zz",
                          "ff",
                          "18446744073709551615",
                          "18446744073709551616",
                          "99999999999999999999999",
                          "\t\n 12 ",
                          "0x10000000000000000",
                          "1z"}) {
        for (const int base : {0, 2, 8, 10, 16, 36}) {
            char* mine = nullptr;
            char* theirs = nullptr;
            INFO("'" << s << "' in base " << base);
            CHECK(atl_crt_strtoul(s, &mine, base) == std::strtoul(s, &theirs, base));
            CHECK(mine - s == theirs - s);
        }
    }
    CHECK(atl_crt_strtoul("12", nullptr, 10) == 12);
}
