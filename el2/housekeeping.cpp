// SPDX-License-Identifier: Apache-2.0
// The boot CPU's timed duties. Portable. See el2/housekeeping.hpp.
#include "el2/housekeeping.hpp"

#include "el2/hw.hpp"
#include "el2/passthrough.hpp"
#include "el2/world.hpp"

namespace atl::el2 {
namespace {

constexpr u64 never = ~u64{0};

/// Counter value at which the wall clock shows `seconds`; a moment late rather than early.
u64 counter_at(const World& world, u64 seconds) {
    const u64 since_zero = seconds > world.wall_clock_base ? seconds - world.wall_clock_base : 0;
    const u64 limit = never / world.counter_hz - 1;
    return since_zero < limit ? since_zero * world.counter_hz : never;
}

void update_rtc_deadline(World& world) {
    u64 earliest = never;
    for (unsigned id = 1; id <= world.vm_slots; ++id) {
        if (world.vms[id] == nullptr) {
            continue;
        }
        if (const auto seconds = world.vms[id]->rtc.next_deadline(); seconds.has_value()) {
            const u64 at = counter_at(world, *seconds);
            earliest = at < earliest ? at : earliest;
        }
    }
    world.rtc_deadline.store(earliest, std::memory_order_relaxed);
}

/// What devices of guests have left to do [el2/passthrough.hpp].
void care_for_devices(World& world, u64 now) {
    // First: whoever leaves something from here on sets it again.
    world.devices_deadline.store(never, std::memory_order_relaxed);
    Passthrough& all = *world.passthrough;
    if (all.faults_left.load(std::memory_order_relaxed)) {
        on_smmu_event(world);
    }
    care_for_resets(world);
    if (const u64 at = all.let_go_at.load(std::memory_order_acquire); at <= now) {
        let_messages_go(world);
    } else {
        bring_forward(world.devices_deadline, at);
    }
}

} // namespace

void housekeep(World& world, u64 now) {
    if (world.console.deadline() <= now) {
        world.console.service(world);
    }
    if (world.devices_deadline.load(std::memory_order_acquire) <= now) {
        care_for_devices(world, now);
    }
    if (world.rtc_deadline.load(std::memory_order_relaxed) <= now) {
        for (unsigned id = 1; id <= world.vm_slots; ++id) {
            if (world.vms[id] != nullptr) {
                world.vms[id]->rtc.poll();
            }
        }
        update_rtc_deadline(world);
    }
}

void rtc_changed(void* context) {
    World& world = *static_cast<World*>(context);
    update_rtc_deadline(world);
    hw::send_kick(PcpuIndex{0}); // it arms its timer anew
}

} // namespace atl::el2
