// SPDX-License-Identifier: Apache-2.0
// The third tier of errors: our own broken invariant. Never for a guest's, manifest's or device's mistake.
#pragma once
#include <string_view>

namespace atl {

/// Prints cause, registers, backtrace and the last exits, stops all CPUs. Host tests: aborts. [el2/panic.cpp]
[[noreturn]] void panic(std::string_view why, const char* file, int line);

} // namespace atl

#define ATOLL_PANIC(why) ::atl::panic((why), __FILE__, __LINE__)
/// For what can never legitimately be false.
#define ATOLL_CHECK(condition)                                                                               \
    do {                                                                                                     \
        if (!(condition)) [[unlikely]] {                                                                     \
            ::atl::panic("check failed: " #condition, __FILE__, __LINE__);                                   \
        }                                                                                                    \
    } while (false)
