// SPDX-License-Identifier: Apache-2.0
// See vgic/history.hpp.
#include "vgic/history.hpp"

namespace atl::vgic {
namespace {

bool concerns(u32 intid, u32 first, u32 bits) {
    return intid - first < 32 && ((bits >> (intid - first)) & 1) != 0;
}

/// In the order of Happened; {} is the value.
constexpr std::string_view words[] = {
    "line high",
    "line low",
    "signalled by a message",
    "sent by vCPU {}",
    "the host's timer fired",
    "into a list register: {}",
    "read back: {}",
    "deactivated by the guest, without a list register",
    "group {}",
    "enabled",
    "disabled",
    "made pending by a register",
    "pending state cleared",
    "made active by a register",
    "deactivated by a register",
    "level-sensitive",
    "edge-triggered",
    "priority {:x}",
    "routed to vCPU {}",
    "routed to no vCPU",
    "mapped to collection {}",
    "unmapped",
    "moved to collection {}",
    "all that pended moved to vCPU {}",
    "configuration {:x}",
    "all of the VM's interrupts were reset",
    "watched from here on",
};
static_assert(sizeof(words) / sizeof(words[0]) == static_cast<unsigned>(Happened::watched) + 1);
constexpr std::string_view states[] = {"inactive", "pending", "active", "pending and active"};

} // namespace

void History::note_change(u32 first, u32 bits, Happened what, u8 vcpu, u32 value) {
    const u32 watched = watched_.load(std::memory_order_relaxed);
    if (bits != 0 && (watched == nothing || concerns(watched, first, bits))) {
        put(first, bits, what, vcpu, value);
    }
}

void History::put(u32 first, u32 bits, Happened what, u8 vcpu, u32 value) {
    const u64 us = clock_.us != nullptr ? clock_.us(clock_.context) : 0;
    LockGuard guard(lock_);
    events_[count_++ % capacity] = {us, first, bits, value, what, vcpu};
}

void History::print(u32 intid, const TextSink& sink) {
    u64 next = 0;
    u64 end = 0;
    {
        LockGuard guard(lock_);
        end = count_;
        next = end > capacity ? end - capacity : 0;
    }
    format_to(sink, "{}\n",
              watches(intid) ? "  watched; last events, guest time in us:"
              : watching()   ? "  events before another one was watched:"
                             : "  changes by registers and commands (to see everything, watch it):");
    for (; next < end; ++next) {
        Event event;
        {
            LockGuard guard(lock_); // not over the output, which may wait
            event = events_[next % capacity];
        }
        if (event.what == Happened::reset || concerns(intid, event.first, event.bits)) {
            format_to(sink, "  {:10} ", event.us);
            if (event.vcpu != no_vcpu) {
                format_to(sink, "vCPU {}: ", event.vcpu);
            }
            const bool state = event.what == Happened::listed || event.what == Happened::read_back;
            format_to(sink, words[static_cast<unsigned>(event.what)],
                      state ? FormatArg(states[event.value & 3]) : FormatArg(event.value));
            sink.put("\n");
        }
    }
}

} // namespace atl::vgic
