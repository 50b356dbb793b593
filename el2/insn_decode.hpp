// SPDX-License-Identifier: Apache-2.0
// Decodes the A64 load or store at a guest's PC, for data aborts whose syndrome says nothing (ESR_EL2.ISS.ISV
// = 0): pairs and writeback forms. Owns nothing and reads no memory: a 32-bit word in, a value out. No lock.
// [DDI0487 C4.1.94 Loads and Stores]
#pragma once
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::el2 {

/// One general-purpose register moved to or from memory.
struct RegisterAccess {
    u8 reg = 0;               // 0..30, 31 is XZR
    u8 size = 0;              // bytes: 1, 2, 4, 8
    bool write = false;       // a store
    bool sign_extend = false; // loads: from `size` bytes
    bool to_64 = false;  // loads: to 64 bits; else to 32, the upper half becomes zero (stores: no meaning)
    u8 displacement = 0; // bytes from the instruction's address: 0, or `size` for the second of a pair

    constexpr bool operator==(const RegisterAccess&) const = default;
};

/// How a register offset becomes a 64-bit number [DDI0487 C6.2, ExtendReg].
enum class IndexExtend : u8 { uxtw, lsl, sxtw, sxtx };

struct LoadStore {
    RegisterAccess access[2];
    u8 count = 0;   // 1, or 2 for a pair
    u8 base = 0;    // 0..30, 31 is SP of the current exception level
    i64 offset = 0; // address = base + offset (+ index)
    bool has_index = false;
    u8 index = 0; // 0..30, 31 is XZR
    IndexExtend extend = IndexExtend::lsl;
    u8 shift = 0;
    bool writeback = false;
    i64 writeback_amount = 0; // added to the base once the access has been done

    /// Virtual address of access i, given the registers' values before the instruction (index_value: any,
    /// without one).
    u64 address(unsigned i, u64 base_value, u64 index_value) const;
};

/// not_supported: a load or store that EL2 does not emulate (SIMD, exclusive, atomic, acquire/release,
/// literal, prefetch, tags, pointer authentication), or one whose registers make it CONSTRAINED
/// UNPREDICTABLE; invalid_argument: not a load or store at all. In both cases the guest gets the abort.
Result<LoadStore> decode_load_store(u32 instruction);

/// What a load puts into its 64-bit register; bits of `raw` above `size` bytes are ignored.
constexpr u64 loaded_value(u64 raw, unsigned size, bool sign_extend, bool to_64) {
    const unsigned unused = 64 - 8 * size;
    const u64 zero_extended = raw << unused >> unused;
    const u64 value =
        sign_extend ? static_cast<u64>(static_cast<i64>(raw << unused) >> unused) : zero_extended;
    return to_64 ? value : static_cast<u32>(value);
}

} // namespace atl::el2
