// SPDX-License-Identifier: Apache-2.0
// How much one call does before it lets interrupts and other guests have their turn: interrupts are masked at
// EL2. Unfinished work is Error::interrupted, and the same call with the same registers goes on with it.
#pragma once
#include "el2/ffa/limits.hpp"

namespace atl::ffa {

/// The unit is about what counting and mapping one page costs: some 100 ns.
class Budget {
  public:
    static constexpr i32 per_call = 512;
    static constexpr u32 zeroed_page = 8; // costs as much as so many
    static constexpr u32 invalidation = 8;

    explicit constexpr Budget(i32 units) : left_(units) {}

    bool empty() const { return left_ <= 0; }
    void spend(u64 units) { left_ -= static_cast<i32>(units); }

  private:
    i32 left_;
};

} // namespace atl::ffa
