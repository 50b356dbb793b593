// SPDX-License-Identifier: Apache-2.0
// History: the last events of a VM's interrupts, for the monitor. While no INTID is watched: what registers and ITS commands
// changed, of any. While one is: everything about that one, and nothing else. Whoever takes a short way records nothing, so
// a VM in which an INTID is watched takes none [vgic/refill.hpp VcpuGic::long_way]; nobody else pays.
// Lock: one of its own (rank vgic_history), taken for a few words. Spec: none.
#pragma once
#include <atomic>

#include "lib/format.hpp"
#include "lib/spinlock.hpp"

namespace atl::vgic {

constexpr u8 no_vcpu = 0xff;

enum class Happened : u8 {
    line_high, // an input
    line_low,
    message, // an edge, an LPI
    sgi,     // value: the sender
    fired,   // the host's timer
    listed,  // value: the state in the list register, bit 0 pending, bit 1 active
    read_back,
    ended, // deactivated without a list register
    // Words of GICD and GICR [vgic/bank.hpp WordRegister, in its order]
    group, // value: the new one
    enabled,
    disabled,
    set_pending,
    cleared,
    set_active,
    deactivated,
    level,
    edge,
    priority, // value: the new one
    routed,   // value: the vCPU
    unrouted,
    mapped, // LPIs; value: the collection
    unmapped,
    moved,         // value: the collection
    moved_pending, // value: the vCPU; all that pended at `vcpu`
    configured,    // value: the byte of the table
    reset,
    watched,
};

/// A VM's virtual count, in microseconds.
struct GuestClock {
    void* context = nullptr;
    u64 (*us)(void* context) = nullptr;
};

class History {
  public:
    static constexpr u32 nothing = ~u32{0};

    void set_clock(const GuestClock& clock) { clock_ = clock; }
    void watch(u32 intid) { watched_.store(intid, std::memory_order_relaxed); }
    bool watching() const { return watched_.load(std::memory_order_relaxed) != nothing; }
    bool watches(u32 intid) const { return watched_.load(std::memory_order_relaxed) == intid; }

    /// Something that happens all the time: only of the one that is watched.
    void note(u32 intid, Happened what, u8 vcpu, u32 value = 0) {
        if (watches(intid)) [[unlikely]] {
            put(intid, 1, what, vcpu, value);
        }
    }
    /// A register or a command changed interrupts: bit i of `bits` is INTID first + i.
    void note_change(u32 first, u32 bits, Happened what, u8 vcpu, u32 value = 0);

    void note_reset() { put(0, 0, Happened::reset, no_vcpu, 0); }

    /// What there is of one INTID, the newest last.
    void print(u32 intid, const TextSink& sink);

  private:
    struct Event {
        u64 us;
        u32 first;
        u32 bits;
        u32 value;
        Happened what;
        u8 vcpu;
    };
    static constexpr unsigned capacity = 128;
    void put(u32 first, u32 bits, Happened what, u8 vcpu, u32 value);

    std::atomic<u32> watched_{nothing};
    GuestClock clock_{};
    SpinLock lock_{LockRank::vgic_history};
    u64 count_ = 0; // ever recorded
    Event events_[capacity] = {};
};

} // namespace atl::vgic
