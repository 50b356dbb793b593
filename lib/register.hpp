// SPDX-License-Identifier: Apache-2.0
// Field<hi, lo>: a bit field as printed in the Arm manuals. Pure; the accessors of system registers are in
// *_hw files.
#pragma once
#include "lib/types.hpp"

namespace atl {

/// Bits hi..lo of a 64-bit (or narrower) register.
template <unsigned hi, unsigned lo = hi>
struct Field {
    static_assert(hi >= lo && hi < 64);
    static constexpr unsigned shift = lo;
    static constexpr unsigned width = hi - lo + 1;
    static constexpr u64 max = width == 64 ? ~u64{0} : (u64{1} << (width % 64)) - 1;
    static constexpr u64 mask = max << lo;

    /// The field's value inside `reg`, shifted down.
    static constexpr u64 get(u64 reg) { return (reg >> lo) & max; }
    /// `value` shifted into place; excess bits are cut off.
    static constexpr u64 of(u64 value) { return (value & max) << lo; }
    /// `reg` with the field replaced.
    static constexpr u64 set(u64 reg, u64 value) { return (reg & ~mask) | of(value); }
    static constexpr bool test(u64 reg) { return (reg & mask) != 0; }
};

template <unsigned bit>
using Bit = Field<bit, bit>;

/// The field's value as a signed number.
template <class F>
constexpr i64 signed_get(u64 reg) {
    const u64 raw = F::get(reg);
    const u64 sign = u64{1} << (F::width - 1);
    return static_cast<i64>((raw ^ sign) - sign);
}

} // namespace atl
