// SPDX-License-Identifier: Apache-2.0
// When a generic timer's line next rises [DDI0487 D12.2.4]. Pure arithmetic, no lock.
#include "vtimer/timer.hpp"

namespace atl::vtimer {

std::optional<Ticks> next_rise(u64 ctl, Ticks compare, Ticks offset, Ticks physical_now) {
    const Ticks count = physical_now - offset; // the timer's own count; wraps as the hardware's
    if (!line_follows_condition(ctl) || condition_met(count, compare)) {
        return std::nullopt;
    }
    const Ticks distance = compare - count; // at least 1
    if (distance >= never - physical_now) {
        return std::nullopt; // the physical counter wraps before: never, for any real frequency
    }
    return physical_now + distance;
}

ParkedTimer parked_virtual_timer(u64 cntv_ctl, Ticks cntv_cval, Ticks cntvoff, Ticks physical_now) {
    if (line_level(cntv_ctl, cntv_cval, cntvoff, physical_now)) {
        return {true, never};
    }
    return {false, next_rise(cntv_ctl, cntv_cval, cntvoff, physical_now).value_or(never)};
}

} // namespace atl::vtimer
