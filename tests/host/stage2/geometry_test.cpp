// SPDX-License-Identifier: Apache-2.0
// stage2/geometry and stage2/descriptor: all sizes, against the rules of the architecture.
#include "stage2/geometry.hpp"

#include <doctest/doctest.h>

#include "stage2/tlb_work.hpp"

using namespace atl;
using namespace atl::stage2;

TEST_CASE("stage2 geometry: every IPA size on every PA size") {
    for (const unsigned pa_bits : {32U, 36U, 40U, 42U, 44U, 48U}) {
        for (unsigned ipa_bits = 0; ipa_bits <= 64; ++ipa_bits) {
            CAPTURE(pa_bits);
            CAPTURE(ipa_bits);
            const Result<Geometry> geometry = make_geometry(ipa_bits, {pa_bits, 16});
            if (ipa_bits < 32 || ipa_bits > 48 || ipa_bits > pa_bits) {
                REQUIRE_FALSE(geometry.ok());
                continue;
            }
            REQUIRE(geometry.ok());
            // AArch64.S2InconsistentSL: the start level must resolve the size, with 1 to 16 tables.
            const unsigned below = (3 - geometry->start_level) * 9 + 12;
            REQUIRE(ipa_bits >= below + 1);
            REQUIRE(ipa_bits <= below + 9 + 4);
            REQUIRE(geometry->root_order <= 4);
            REQUIRE(geometry->root_entries() <= 512U << geometry->root_order);
            REQUIRE(geometry->root_entries() >
                    (geometry->root_order == 0 ? 0 : 256U << geometry->root_order));
            // AArch64.S2InvalidSL: level 0 needs 44 bits of PA.
            REQUIRE((geometry->start_level != 0 || pa_bits >= 44));
            REQUIRE(VtcrEl2::T0SZ::get(geometry->vtcr) == 64 - ipa_bits);
            REQUIRE(VtcrEl2::SL0::get(geometry->vtcr) == 2U - geometry->start_level);
        }
    }
}

TEST_CASE("stage2 geometry: known values of VTCR_EL2") {
    // 40-bit IPA, 40-bit PA, VMID 8: level 1, 2 tables. RES1 | PS=2 | TG0=0 | SH0=3 | ORGN0=IRGN0=1 | SL0=1 |
    // T0SZ=24.
    const Geometry a = *make_geometry(40, {40, 8});
    CHECK(a.start_level == 1);
    CHECK(a.root_order == 1);
    CHECK(a.vtcr == 0x8002'3558);
    // 48-bit IPA, 48-bit PA, VMID 16: level 0.
    const Geometry b = *make_geometry(48, {48, 16});
    CHECK(b.start_level == 0);
    CHECK(b.root_order == 0);
    CHECK(b.vtcr == 0x800d'3590);
    // 34 bits still start at level 2, with 16 tables; 35 at level 1 with one; 43 at level 1 with 16.
    CHECK(make_geometry(34, {44, 16})->root_order == 4);
    CHECK(make_geometry(34, {44, 16})->start_level == 2);
    CHECK(make_geometry(35, {44, 16})->root_order == 0);
    CHECK(make_geometry(35, {44, 16})->root_entries() == 32);
    CHECK(make_geometry(43, {44, 16})->root_order == 4);
    CHECK(make_geometry(44, {44, 16})->start_level == 0);
}

TEST_CASE("stage2 geometry: odd features are refused") {
    CHECK(make_geometry(36, {41, 16}).error() == Error::invalid_argument);
    CHECK(make_geometry(36, {52, 16}).error() == Error::invalid_argument);
    CHECK(make_geometry(36, {40, 12}).error() == Error::invalid_argument);
    CHECK(make_geometry(36, {0, 0}).error() == Error::invalid_argument);
}

TEST_CASE("stage2 geometry: ID registers") {
    // cortex-a57: PARange 4 (44 bits), TGran4 0, VMIDBits 0.
    CHECK(decode_features(0x1124, 0)->pa_bits == 44);
    CHECK(decode_features(0x1124, 0)->vmid_bits == 8);
    // FEAT_LPA2: 52 bits are used as 48; VMID16.
    CHECK(decode_features(0x0000'0300'1000'0006, 0x20)->pa_bits == 48);
    CHECK(decode_features(0x0000'0300'1000'0006, 0x20)->vmid_bits == 16);
    // No 4 KiB granule at stage 1, and stage 2 says "as stage 1"; then stage 2 says no; then yes after all.
    CHECK(decode_features(0xf000'0005, 0x20).error() == Error::not_supported);
    CHECK(decode_features(0x0000'0100'0000'0005, 0x20).error() == Error::not_supported);
    CHECK(decode_features(0x0000'0200'f000'0005, 0x20).ok());
    // Reserved PARange.
    CHECK(decode_features(0x8, 0).error() == Error::not_supported);
}

TEST_CASE("stage2 geometry: VTTBR_EL2") {
    const u64 vttbr = make_vttbr({0x1234'5678'9000}, Vmid{0xabcd});
    CHECK(vttbr == 0xabcd'1234'5678'9000);
    CHECK(vmid_of(vttbr).value == 0xabcd);
}

TEST_CASE("stage2 descriptor: known encodings") {
    // Normal write-back, inner shareable, RW, executable: MemAttr f, S2AP 3, SH 3, AF.
    CHECK(leaf_descriptor({0x4000'0000}, 1, attribute_bits(ram_attributes)) == 0x0000'0000'4000'07fd);
    CHECK(leaf_descriptor({0x4000'1000}, 3, attribute_bits(ram_attributes)) == 0x0000'0000'4000'17ff);
    // Device-nGnRE, RW, XN.
    CHECK(leaf_descriptor({0x0900'0000}, 3, attribute_bits(device_attributes)) == 0x0040'0000'0900'04c7);
    CHECK(leaf_descriptor({0x0900'0000}, 3, attribute_bits({MemoryType::device, false, true, false})) ==
          0x0040'0000'0900'0487);
    CHECK(table_descriptor({0x8000'3000}) == 0x8000'3003);
    CHECK(is_table(0x8000'3003, 0));
    CHECK(is_table(0x8000'3003, 2));
    CHECK_FALSE(is_table(0x8000'3003, 3));
    CHECK(is_leaf(0x8000'3003, 3));
    CHECK_FALSE(is_leaf(0x8000'3001, 3)); // reserved
    CHECK_FALSE(is_leaf(0x8000'3001, 0)); // no blocks at level 0 with 4 KiB
    CHECK(is_leaf(0x8000'3001, 1));
    CHECK_FALSE(is_valid(no_table.value)); // a chain link never looks like a descriptor
    for (const bool read : {false, true}) {
        for (const bool write : {false, true}) {
            for (const bool execute : {false, true}) {
                for (const MemoryType memory : {MemoryType::normal, MemoryType::device}) {
                    const MapAttributes attributes{memory, read, write, execute};
                    CHECK(attributes_of(leaf_descriptor({0}, 2, attribute_bits(attributes))) == attributes);
                }
            }
        }
    }
}

TEST_CASE("stage2 tlb scope: union, stride, operations") {
    TlbScope scope;
    CHECK(scope.empty());
    scope.add({0x20'0000}, 0x20'0000, 2);
    CHECK(scope.operations() == 1);
    scope.add({0x80'0000}, 0x20'0000, 2);
    CHECK(scope.base.value == 0x20'0000);
    CHECK(scope.bytes == 0x80'0000);
    CHECK(scope.operations() == 4);
    scope.add({0x40'0000}, 0x1000, 3);
    CHECK(scope.operations() == 2048);
    CHECK_FALSE(scope.empty());
    TlbScope zero;
    zero.add({0}, 0x1000, 3);
    CHECK(zero.operations() == 1);
    CHECK_FALSE(zero.empty());
}
