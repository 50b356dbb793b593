// SPDX-License-Identifier: Apache-2.0
// panic() for the host: says why and aborts, so that the sanitizer's run shows the stack. Target:
// el2/panic_hw.cpp.
#include <cstdio>
#include <cstdlib>

#include "lib/panic.hpp"

namespace atl {

void panic(std::string_view why, const char* file, int line) {
    std::fprintf(stderr, "panic: %.*s [%s:%d]\n", static_cast<int>(why.size()), why.data(), file, line);
    std::abort();
}

} // namespace atl
