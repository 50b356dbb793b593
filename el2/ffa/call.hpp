// SPDX-License-Identifier: Apache-2.0
// An FF-A call and its answer as register values, and the translation of errors. No state.
// [DEN0077A §11 calling convention, §12.1 status codes, §13 interfaces]
#pragma once
#include "lib/abi/ffa.h"
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::ffa {

/// x0..x7 of the caller. x8..x17 are not parameters of any call that is served and stay as they are.
struct Call {
    u64 x[8];

    u32 function() const { return static_cast<u32>(x[0]); }
    /// Parameter of a 32-bit call: the upper half of the register means nothing.
    u32 w(unsigned i) const { return static_cast<u32>(x[i]); }
    u64 pair(unsigned low) const { return u64{w(low)} | u64{w(low + 1)} << 32; }
};

/// x0..x7 of the answer.
using Reply = Call;

constexpr Reply success(u32 w2 = 0, u32 w3 = 0) {
    return {{FFA_SUCCESS, 0, w2, w3, 0, 0, 0, 0}};
}
constexpr Reply success_handle(u64 handle) {
    return success(static_cast<u32>(handle), static_cast<u32>(handle >> 32));
}

constexpr i32 status_code(Error error) {
    switch (error) {
    case Error::invalid_argument:
    case Error::not_found:
    case Error::already_exists:
    case Error::overflow:
    case Error::corrupt:
        return FFA_INVALID_PARAMETERS;
    case Error::not_supported:
        return FFA_NOT_SUPPORTED;
    case Error::no_memory:
        return FFA_NO_MEMORY;
    case Error::denied:
        return FFA_DENIED;
    case Error::busy:
        return FFA_BUSY;
    case Error::interrupted:
        return FFA_INTERRUPTED;
    }
    return FFA_NOT_SUPPORTED;
}

constexpr Reply failure(Error error) {
    return {{FFA_ERROR, 0, static_cast<u32>(status_code(error)), 0, 0, 0, 0, 0}};
}

} // namespace atl::ffa
