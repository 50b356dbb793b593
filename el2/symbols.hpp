// SPDX-License-Identifier: Apache-2.0
// The image's own function names, for backtraces. [tools/symbols.py]
#pragma once
#include "lib/types.hpp"

namespace atl::el2 {

struct Symbol {
    const char* name = nullptr; // nullptr: not code
    u64 offset = 0;             // from the function's start
};

Symbol find_symbol(HypVa address);
bool is_code(HypVa address);

} // namespace atl::el2
