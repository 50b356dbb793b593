// SPDX-License-Identifier: Apache-2.0
// The identification registers that every PrimeCell ends with: PeriphID0-3 at 0xFE0, PCellID0-3 at 0xFF0.
// Owns nothing, no lock. [DDI0183 §3.3.15, §3.3.16], the same in [DDI0224 §3.3].
#pragma once
#include "lib/types.hpp"

namespace atl::mmio_emul {

struct PrimeCellId {
    u32 peripheral = 0; // configuration, revision, designer and part number in 8-bit quarters

    /// The register at `offset`, a multiple of 4; 0 when it is none of these.
    constexpr u32 read(u32 offset) const {
        constexpr u32 cell = 0xb105'f00d;
        if (offset < 0xfe0 || offset > 0xffc) {
            return 0;
        }
        const unsigned quarter = (offset >> 2) & 3;
        return ((offset < 0xff0 ? peripheral : cell) >> (8 * quarter)) & 0xff;
    }
};

} // namespace atl::mmio_emul
