// SPDX-License-Identifier: Apache-2.0
// EL2's own map [boot/el2_map.hpp], read back by a walker of its own. [DDI0487 D8.3]
#include "boot/el2_map.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace atl;
using namespace atl::boot;

namespace {

constexpr Pa tables_at{0x9000'0000};
constexpr u64 read_only = u64{1} << 7, never_execute = u64{1} << 54, access_flag = u64{1} << 10;

struct Found {
    bool mapped = false;
    u64 pa = 0;
    unsigned level = 0;
    u64 descriptor = 0;
};

struct Maker {
    std::vector<El2Table> tables;
    El2Map map;

    explicit Maker(std::size_t count = 64) : tables(count), map(tables, tables_at) {}

    Found walk(u64 va) const {
        const El2Table* table = &tables[(map.root() - tables_at) / page_size];
        for (unsigned level = 0; level < 4; ++level) {
            const unsigned shift = 39 - 9 * level;
            const u64 entry = table->entry[va >> shift & 511];
            if ((entry & 1) == 0) {
                return {};
            }
            if (level == 3 || (entry & 2) == 0) {
                const u64 size = u64{1} << shift;
                return {true, (entry & 0x0000'ffff'ffff'f000 & ~(size - 1)) | (va & (size - 1)), level,
                        entry};
            }
            table = &tables[((entry & 0x0000'ffff'ffff'f000) - tables_at.value) / page_size];
        }
        return {};
    }
};

} // namespace

TEST_CASE("el2 map: the largest blocks, and what lies beside is not mapped") {
    Maker m;
    const u64 va = 0x8000'4000'0000, pa = 0x4000'0000;
    const u64 bytes = gib + 2 * mib + 3 * page_size;
    REQUIRE(m.map.map(HypVa{va}, Pa{pa}, bytes, El2Kind::data).ok());
    CHECK(m.walk(va).level == 1);
    CHECK(m.walk(va + gib).level == 2);
    CHECK(m.walk(va + gib + 2 * mib).level == 3);
    for (const u64 offset : {u64{0}, u64{0x1234}, u64{gib - 1}, u64{gib}, u64{gib + 2 * mib}, bytes - 1}) {
        CHECK(m.walk(va + offset).pa == pa + offset);
    }
    CHECK(!m.walk(va - 1).mapped);
    CHECK(!m.walk(va + bytes).mapped);
    CHECK(m.map.tables_used() == 4);
}

TEST_CASE("el2 map: no kind is both writable and executable") {
    Maker m;
    const El2Kind kinds[] = {El2Kind::code, El2Kind::rodata, El2Kind::data, El2Kind::device};
    for (unsigned i = 0; i < 4; ++i) {
        REQUIRE(m.map.map(HypVa{0x4000'0000'0000 + i * 2 * page_size}, Pa{i * page_size}, page_size, kinds[i])
                    .ok());
        const u64 d = m.walk(0x4000'0000'0000 + i * 2 * page_size).descriptor;
        const bool writable = (d & read_only) == 0;
        const bool executable = (d & never_execute) == 0;
        CHECK(!(writable && executable));
        CHECK(executable == (kinds[i] == El2Kind::code));
        CHECK(writable == (kinds[i] == El2Kind::data || kinds[i] == El2Kind::device));
        CHECK((d & access_flag) != 0);
        CHECK((d & 3) == 3);
        CHECK((d >> 2 & 7) == (kinds[i] == El2Kind::device ? 0 : 1)); // AttrIndx
        CHECK((d >> 8 & 3) == (kinds[i] == El2Kind::device ? 0 : 3)); // inner shareable
        CHECK(!m.walk(0x4000'0000'1000 + i * 2 * page_size).mapped);  // a guard page
    }
}

TEST_CASE("el2 map: overlaps are refused at every level") {
    Maker m;
    REQUIRE(m.map.map(HypVa{gib}, Pa{0}, gib, El2Kind::data).ok());
    REQUIRE(m.map.map(HypVa{4 * gib}, Pa{0}, 2 * mib, El2Kind::data).ok());
    REQUIRE(m.map.map(HypVa{8 * gib}, Pa{0}, page_size, El2Kind::data).ok());
    CHECK(m.map.map(HypVa{gib + 0x5000}, Pa{0}, page_size, El2Kind::code).error() == Error::already_exists);
    CHECK(m.map.map(HypVa{4 * gib + 0x5000}, Pa{0}, page_size, El2Kind::code).error() ==
          Error::already_exists);
    CHECK(m.map.map(HypVa{8 * gib}, Pa{0}, page_size, El2Kind::code).error() == Error::already_exists);
    CHECK(m.map.map(HypVa{4 * gib}, Pa{0}, gib, El2Kind::data).error() == Error::already_exists);
    CHECK(m.map.map(HypVa{8 * gib}, Pa{0}, 2 * mib, El2Kind::data).error() == Error::already_exists);
}

TEST_CASE("el2 map: alignment, range and the end of the tables") {
    Maker m(3);
    CHECK(m.map.map(HypVa{1}, Pa{0}, page_size, El2Kind::data).error() == Error::invalid_argument);
    CHECK(m.map.map(HypVa{0}, Pa{0x800}, page_size, El2Kind::data).error() == Error::invalid_argument);
    CHECK(m.map.map(HypVa{0}, Pa{0}, 100, El2Kind::data).error() == Error::invalid_argument);
    CHECK(m.map.map(HypVa{(u64{1} << 48) - page_size}, Pa{0}, 2 * page_size, El2Kind::data).error() ==
          Error::invalid_argument);
    CHECK(m.map.map(HypVa{0}, Pa{u64{1} << 48}, page_size, El2Kind::data).error() == Error::invalid_argument);
    CHECK(m.map.map(HypVa{0}, Pa{0}, ~u64{0xfff}, El2Kind::data).error() == Error::invalid_argument);
    CHECK(m.map.map(HypVa{0}, Pa{0}, 0, El2Kind::data).ok());
    CHECK(m.map.tables_used() == 1);
    CHECK(m.map.map(HypVa{0}, Pa{0}, page_size, El2Kind::data).error() ==
          Error::no_memory); // needs three more
    REQUIRE(Maker(4).map.map(HypVa{0}, Pa{0}, page_size, El2Kind::data).ok());
    Maker last;
    REQUIRE(last.map.map(HypVa{(u64{1} << 48) - page_size}, Pa{0}, page_size, El2Kind::data).ok());
    CHECK(last.walk((u64{1} << 48) - 1).mapped);
}
