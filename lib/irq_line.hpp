// SPDX-License-Identifier: Apache-2.0
// The wire between a device and whatever interrupt controller the VM has: leaves know a line, not the vGIC.
#pragma once
#include "lib/types.hpp"

namespace atl {

/// A level-triggered output. set() may be called with the level unchanged; it must be cheap then.
struct IrqLine {
    void* context = nullptr;
    void (*drive)(void* context, u32 intid, bool high) = nullptr;
    u32 intid = 0;

    void set(bool high) const {
        if (drive != nullptr) {
            drive(context, intid, high);
        }
    }
};

} // namespace atl
