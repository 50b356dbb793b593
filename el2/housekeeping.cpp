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

u64 devices_deadline(const World& world, u64 earliest) {
    const u64 messages = world.passthrough->let_go_at.load(std::memory_order_relaxed);
    earliest = messages < earliest ? messages : earliest;
    if (world.passthrough->faults_left.load(std::memory_order_relaxed)) [[unlikely]] {
        const u64 soon = hw::counter() + world.counter_hz / 1000; // guests run meanwhile
        earliest = soon < earliest ? soon : earliest;
    }
    return earliest;
}

} // namespace

u64 housekeeping_deadline(const World& world) {
    const u64 console = world.console.deadline();
    const u64 rtc = world.rtc_deadline.load(std::memory_order_relaxed);
    const u64 earliest = console < rtc ? console : rtc;
    return world.passthrough == nullptr ? earliest : devices_deadline(world, earliest);
}

void housekeep(World& world, u64 now) {
    if (world.console.deadline() <= now) {
        world.console.service(world);
    }
    if (world.passthrough != nullptr) {
        if (world.passthrough->faults_left.load(std::memory_order_relaxed)) {
            on_smmu_event(world);
        }
        if (world.passthrough->let_go_at.load(std::memory_order_acquire) <= now) {
            let_messages_go(world);
        }
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
