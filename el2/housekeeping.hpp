// SPDX-License-Identifier: Apache-2.0
// What the boot CPU does for everybody at certain times: console output that waits, guests' RTC alarms.
// Deadlines are counter values; any CPU may bring them forward.
#pragma once
#include "el2/world.hpp"

namespace atl::el2 {

/// The earliest time at which housekeep() has work; ~0: none. Any CPU.
inline u64 housekeeping_deadline(const World& world) {
    const u64 console = world.console.deadline();
    const u64 rtc = world.rtc_deadline.load(std::memory_order_relaxed);
    const u64 devices = world.devices_deadline.load(std::memory_order_relaxed);
    const u64 earliest = console < rtc ? console : rtc;
    return devices < earliest ? devices : earliest;
}
/// Does what is due. Boot CPU, no lock held.
void housekeep(World& world, u64 now);
/// A guest wrote its RTC: the alarms' next deadline is computed anew. `context` is the World. Any CPU, no
/// lock held.
void rtc_changed(void* context);

} // namespace atl::el2
