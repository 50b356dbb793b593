// SPDX-License-Identifier: Apache-2.0
// See el2/report_budget.hpp.
#include "el2/report_budget.hpp"

#include "el2/hw.hpp"
#include "el2/world.hpp"
#include "lib/log.hpp"

namespace atl::el2 {

bool ReportBudget::take(const World& world, std::string_view offender) {
    const u64 now = hw::counter();
    if (now - __atomic_load_n(&since, __ATOMIC_RELAXED) > report_seconds * world.counter_hz) {
        __atomic_store_n(&since, now, __ATOMIC_RELAXED);
        __atomic_store_n(&used, 0U, __ATOMIC_RELAXED);
    }
    const u32 n = __atomic_add_fetch(&used, 1, __ATOMIC_RELAXED);
    if (n == max_reports) {
        log::warn("{}: further reports are left out for {} s", offender, report_seconds);
    }
    return n < max_reports;
}

} // namespace atl::el2
