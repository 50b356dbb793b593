// SPDX-License-Identifier: Apache-2.0
// Host tests of el2/insn_decode: words from the assembler, each with its source line.
#include <doctest/doctest.h>

#include "el2/insn_decode.hpp"

using namespace atl;
using namespace atl::el2;

namespace {

struct Single {
    u32 word;
    const char* source;
    RegisterAccess access;
    u8 base;
    i64 offset;
    bool writeback;
    i64 amount;
};

constexpr bool load = false;
constexpr bool store = true;

constexpr Single singles[] = {
    {0xf8408441, "ldr x1, [x2], #8", {1, 8, load, false, true, 0}, 2, 0, true, 8},
    {0xb85fc441, "ldr w1, [x2], #-4", {1, 4, load, false, false, 0}, 2, 0, true, -4},
    {0xb8010c83, "str w3, [x4, #16]!", {3, 4, store, false, false, 0}, 4, 16, true, 16},
    {0xf81f0ffe, "str x30, [sp, #-16]!", {30, 8, store, false, false, 0}, 31, -16, true, -16},
    {0xf84107ff, "ldr xzr, [sp], #16", {31, 8, load, false, true, 0}, 31, 0, true, 16},
    {0xf80087ff, "str xzr, [sp], #8", {31, 8, store, false, false, 0}, 31, 0, true, 8},
    {0x380014c5, "strb w5, [x6], #1", {5, 1, store, false, false, 0}, 6, 0, true, 1},
    {0x384ffcc5, "ldrb w5, [x6, #255]!", {5, 1, load, false, false, 0}, 6, 255, true, 255},
    {0x78002507, "strh w7, [x8], #2", {7, 2, store, false, false, 0}, 8, 0, true, 2},
    {0x78500d07, "ldrh w7, [x8, #-256]!", {7, 2, load, false, false, 0}, 8, -256, true, -256},
    {0x38801549, "ldrsb x9, [x10], #1", {9, 1, load, true, true, 0}, 10, 0, true, 1},
    {0x38c01549, "ldrsb w9, [x10], #1", {9, 1, load, true, false, 0}, 10, 0, true, 1},
    {0x78802d8b, "ldrsh x11, [x12, #2]!", {11, 2, load, true, true, 0}, 12, 2, true, 2},
    {0x78c02d8b, "ldrsh w11, [x12, #2]!", {11, 2, load, true, false, 0}, 12, 2, true, 2},
    {0xb88045cd, "ldrsw x13, [x14], #4", {13, 4, load, true, true, 0}, 14, 0, true, 4},
    {0xf97ffc41, "ldr x1, [x2, #32760]", {1, 8, load, false, true, 0}, 2, 32760, false, 0},
    {0xb9400421, "ldr w1, [x1, #4]", {1, 4, load, false, false, 0}, 1, 4, false, 0},
    {0x393ffc20, "strb w0, [x1, #4095]", {0, 1, store, false, false, 0}, 1, 4095, false, 0},
    {0xb9bffc83, "ldrsw x3, [x4, #16380]", {3, 4, load, true, true, 0}, 4, 16380, false, 0},
    {0xf8500041, "ldur x1, [x2, #-256]", {1, 8, load, false, true, 0}, 2, -256, false, 0},
    {0xb80ff041, "stur w1, [x2, #255]", {1, 4, store, false, false, 0}, 2, 255, false, 0},
    {0xb89ff041, "ldursw x1, [x2, #-1]", {1, 4, load, true, true, 0}, 2, -1, false, 0},
    {0xb8408841, "ldtr w1, [x2, #8]", {1, 4, load, false, false, 0}, 2, 8, false, 0},
    {0x381f8841, "sttrb w1, [x2, #-8]", {1, 1, store, false, false, 0}, 2, -8, false, 0},
};

struct Indexed {
    u32 word;
    const char* source;
    RegisterAccess access;
    u8 base;
    u8 index;
    IndexExtend extend;
    u8 shift;
};

constexpr Indexed indexed[] = {
    {0xb8636841, "ldr w1, [x2, x3]", {1, 4, load, false, false, 0}, 2, 3, IndexExtend::lsl, 0},
    {0xf8635841, "ldr x1, [x2, w3, uxtw #3]", {1, 8, load, false, true, 0}, 2, 3, IndexExtend::uxtw, 3},
    {0xb823c841, "str w1, [x2, w3, sxtw]", {1, 4, store, false, false, 0}, 2, 3, IndexExtend::sxtw, 0},
    {0x78637be1, "ldrh w1, [sp, x3, lsl #1]", {1, 2, load, false, false, 0}, 31, 3, IndexExtend::lsl, 1},
    {0x38a3e841, "ldrsb x1, [x2, x3, sxtx]", {1, 1, load, true, true, 0}, 2, 3, IndexExtend::sxtx, 0},
};

struct Pair {
    u32 word;
    const char* source;
    RegisterAccess first;
    RegisterAccess second;
    u8 base;
    i64 offset;
    bool writeback;
    i64 amount;
};

constexpr Pair pairs[] = {
    {0xa9400861,
     "ldp x1, x2, [x3]",
     {1, 8, load, false, true, 0},
     {2, 8, load, false, true, 8},
     3,
     0,
     false,
     0},
    {0x29600861,
     "ldp w1, w2, [x3, #-256]",
     {1, 4, load, false, false, 0},
     {2, 4, load, false, false, 4},
     3,
     -256,
     false,
     0},
    {0xa8c17bfd,
     "ldp x29, x30, [sp], #16",
     {29, 8, load, false, true, 0},
     {30, 8, load, false, true, 8},
     31,
     0,
     true,
     16},
    {0xa9a07bfd,
     "stp x29, x30, [sp, #-512]!",
     {29, 8, store, false, true, 0},
     {30, 8, store, false, true, 8},
     31,
     -512,
     true,
     -512},
    {0x291ffc7f,
     "stp wzr, wzr, [x3, #252]",
     {31, 4, store, false, false, 0},
     {31, 4, store, false, false, 4},
     3,
     252,
     false,
     0},
    {0xa8810441,
     "stp x1, x1, [x2], #16",
     {1, 8, store, false, true, 0},
     {1, 8, store, false, true, 8},
     2,
     0,
     true,
     16},
    {0x69410861,
     "ldpsw x1, x2, [x3, #8]",
     {1, 4, load, true, true, 0},
     {2, 4, load, true, true, 4},
     3,
     8,
     false,
     0},
    {0x68c10861,
     "ldpsw x1, x2, [x3], #8",
     {1, 4, load, true, true, 0},
     {2, 4, load, true, true, 4},
     3,
     0,
     true,
     8},
    {0xa85f8861,
     "ldnp x1, x2, [x3, #504]",
     {1, 8, load, false, true, 0},
     {2, 8, load, false, true, 8},
     3,
     504,
     false,
     0},
    {0x28000861,
     "stnp w1, w2, [x3]",
     {1, 4, store, false, false, 0},
     {2, 4, store, false, false, 4},
     3,
     0,
     false,
     0},
};

struct Refused {
    u32 word;
    const char* source;
    Error error;
};

constexpr Refused refused[] = {
    {0xc85f7c41, "ldxr x1, [x2]", Error::not_supported},
    {0x889ffc41, "stlr w1, [x2]", Error::not_supported},
    {0x88dffc41, "ldar w1, [x2]", Error::not_supported},
    {0x58000001, "ldr x1, .", Error::not_supported},
    {0x3dc00020, "ldr q0, [x1]", Error::not_supported},
    {0xad000420, "stp q0, q1, [x1]", Error::not_supported},
    {0xfc008420, "str d0, [x1], #8", Error::not_supported},
    {0x4c407020, "ld1 {v0.16b}, [x1]", Error::not_supported},
    {0xf9800020, "prfm pldl1keep, [x1]", Error::not_supported},
    {0xf8801020, "prfum pldl1keep, [x1, #1]", Error::not_supported},
    {0xf8a04841, "prfm pldl1strm, [x2, w0, uxtw]", Error::not_supported},
    {0xf8210062, "ldadd x1, x2, [x3]", Error::not_supported},
    {0xb8218062, "swp w1, w2, [x3]", Error::not_supported},
    {0xc8a17c62, "cas x1, x2, [x3]", Error::not_supported},
    {0x69010861, "stgp x1, x2, [x3, #32]", Error::not_supported},
    {0xe9400861, "pair with opc 3", Error::not_supported},
    {0x68400861, "ldpsw, no-allocate", Error::not_supported},
    {0xb8e06841, "size 2, opc 3", Error::not_supported},
    {0xb8602841, "register offset, option 1", Error::not_supported},
    {0xb8404421, "ldr w1, [x1], #4: base is the target", Error::not_supported},
    {0xa8c10400, "ldp x0, x1, [x0], #16: base is a target", Error::not_supported},
    {0xa9400441, "ldp x1, x1, [x2]: one target twice", Error::not_supported},
    {0x8b020020, "add x0, x1, x2", Error::invalid_argument},
    {0x14000000, "b .", Error::invalid_argument},
    {0xd503201f, "nop", Error::invalid_argument},
    {0xd4000001, "svc #0", Error::invalid_argument},
    {0x00000000, "udf #0", Error::invalid_argument},
    {0xffffffff, "all ones", Error::invalid_argument},
};

} // namespace

TEST_CASE("insn_decode: one register, immediate forms") {
    for (const Single& c : singles) {
        CAPTURE(c.source);
        const auto decoded = decode_load_store(c.word);
        REQUIRE(decoded.ok());
        CHECK(decoded->count == 1);
        CHECK(decoded->access[0] == c.access);
        CHECK(decoded->base == c.base);
        CHECK(decoded->offset == c.offset);
        CHECK_FALSE(decoded->has_index);
        CHECK(decoded->writeback == c.writeback);
        CHECK(decoded->writeback_amount == c.amount);
        CHECK(decoded->address(0, 0x9000'0000, 77) == 0x9000'0000 + static_cast<u64>(c.offset));
    }
}

TEST_CASE("insn_decode: register offsets") {
    for (const Indexed& c : indexed) {
        CAPTURE(c.source);
        const auto decoded = decode_load_store(c.word);
        REQUIRE(decoded.ok());
        CHECK(decoded->count == 1);
        CHECK(decoded->access[0] == c.access);
        CHECK(decoded->base == c.base);
        CHECK(decoded->offset == 0);
        CHECK(decoded->has_index);
        CHECK(decoded->index == c.index);
        CHECK(decoded->extend == c.extend);
        CHECK(decoded->shift == c.shift);
        CHECK_FALSE(decoded->writeback);
    }
    const u64 index = 0xdead'beef'ffff'fffe;
    CHECK(decode_load_store(0xb8636841)->address(0, 0x1000, 0x20) == 0x1020);
    CHECK(decode_load_store(0xf8635841)->address(0, 0x1000, index) == 0x1000 + (u64{0xffff'fffe} << 3));
    CHECK(decode_load_store(0xb823c841)->address(0, 0x1000, index) == 0xffe);
    CHECK(decode_load_store(0x38a3e841)->address(0, 0x1000, ~u64{0}) == 0xfff);
    CHECK(decode_load_store(0x78637be1)->address(0, 0x1000, 3) == 0x1006);
}

TEST_CASE("insn_decode: pairs") {
    for (const Pair& c : pairs) {
        CAPTURE(c.source);
        const auto decoded = decode_load_store(c.word);
        REQUIRE(decoded.ok());
        CHECK(decoded->count == 2);
        CHECK(decoded->access[0] == c.first);
        CHECK(decoded->access[1] == c.second);
        CHECK(decoded->base == c.base);
        CHECK(decoded->offset == c.offset);
        CHECK(decoded->writeback == c.writeback);
        CHECK(decoded->writeback_amount == c.amount);
        CHECK(decoded->address(1, 0x1'0000, 0) == 0x1'0000 + static_cast<u64>(c.offset) + c.first.size);
    }
}

TEST_CASE("insn_decode: what the guest gets an abort for") {
    for (const Refused& c : refused) {
        CAPTURE(c.source);
        const auto decoded = decode_load_store(c.word);
        REQUIRE_FALSE(decoded.ok());
        CHECK(decoded.error() == c.error);
    }
}

TEST_CASE("insn_decode: any word decodes to something sane or to an error") {
    u64 state = 88172645463325252ull;
    for (int i = 0; i < 2'000'000; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Force the load/store group half of the time.
        const u32 word =
            (i & 1) != 0 ? (static_cast<u32>(state) & ~0x0200'0000u) | 0x0800'0000u : static_cast<u32>(state);
        const auto decoded = decode_load_store(word);
        if (!decoded) {
            continue;
        }
        const bool sane = (decoded->count == 1 || decoded->count == 2) && decoded->access[0].size <= 8 &&
                          decoded->access[0].size >= 1 && decoded->shift <= 3 && decoded->base <= 31 &&
                          decoded->access[0].displacement == 0;
        if (!sane) {
            CAPTURE(word);
            REQUIRE(sane);
        }
    }
}

TEST_CASE("insn_decode: loaded values are cut, extended and placed") {
    CHECK(loaded_value(0xffff'ffff'ffff'ff80, 1, false, false) == 0x80);
    CHECK(loaded_value(0x80, 1, true, false) == 0xffff'ff80);
    CHECK(loaded_value(0x80, 1, true, true) == 0xffff'ffff'ffff'ff80);
    CHECK(loaded_value(0x1'7fff, 2, true, true) == 0x7fff);
    CHECK(loaded_value(0xffff'ffff'8000'0000, 4, false, false) == 0x8000'0000);
    CHECK(loaded_value(0x8000'0000, 4, true, true) == 0xffff'ffff'8000'0000);
    CHECK(loaded_value(0x8000'0000'0000'0001, 8, false, true) == 0x8000'0000'0000'0001);
}
