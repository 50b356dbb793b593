// SPDX-License-Identifier: Apache-2.0
// Registers of a GIC's frame in the direct map: single-copy atomic accesses to device memory. Owns nothing. No locks.
#pragma once
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::vgic {

inline u32 read32(HypVa frame, u64 offset) {
    return *reinterpret_cast<volatile u32*>(frame.value + offset);
}
inline void write32(HypVa frame, u64 offset, u32 value) {
    *reinterpret_cast<volatile u32*>(frame.value + offset) = value;
}
inline u64 read64(HypVa frame, u64 offset) {
    return *reinterpret_cast<volatile u64*>(frame.value + offset);
}
inline void write64(HypVa frame, u64 offset, u64 value) {
    *reinterpret_cast<volatile u64*>(frame.value + offset) = value;
}
inline void write8(HypVa frame, u64 offset, u8 value) {
    *reinterpret_cast<volatile u8*>(frame.value + offset) = value;
}

/// Waits, with an end, for bits to become zero. not_supported: they did not.
inline Status wait_clear(HypVa frame, u64 offset, u64 mask) {
    constexpr unsigned tries = 1'000'000;
    for (unsigned i = 0; i < tries; ++i) {
        if ((read32(frame, offset) & mask) == 0) {
            return {};
        }
    }
    return Error::not_supported;
}

} // namespace atl::vgic
