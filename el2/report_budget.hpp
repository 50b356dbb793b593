// SPDX-License-Identifier: Apache-2.0
// How often the log tells of one offender: so many lines in so long. No lock: pCPUs may count one line twice or not at all.
#pragma once
#include <string_view>

#include "lib/types.hpp"

namespace atl::el2 {

struct World;

constexpr u32 max_reports = 40;    // of one offender
constexpr u64 report_seconds = 10; // in so long

struct ReportBudget {
    u64 since = 0; // counter ticks
    u32 used = 0;

    /// False: this line is to be left out. The last that is not told of says so in a line of its own. The budget comes
    /// back with time, not with a restart: a VM that keeps restarting is as loud as any other.
    bool take(const World& world, std::string_view offender);
};

} // namespace atl::el2
