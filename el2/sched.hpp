// SPDX-License-Identifier: Apache-2.0
// The scheduler's pure part: one run queue per pCPU, round robin. vCPUs are pinned to a home pCPU; only the
// home pCPU takes from its queue, any pCPU may wake. Owns: who is runnable. Does not own: timers, the world
// switch (el2/run.cpp). Lock: RunQueue::lock (rank scheduler), taken inside every operation.
#pragma once
#include "lib/spinlock.hpp"
#include "lib/types.hpp"

namespace atl::el2 {

/// Where a vCPU is. Transitions:
///   off -> ready          start()   PSCI CPU_ON, VM start
///   ready -> running      pick()    home pCPU
///   running -> ready      requeue() end of slice, WFE
///   running -> parked     park()    WFI, CPU_SUSPEND
///   parked -> ready       wake()    anyone who made an interrupt pending
///   any -> off            stop()    CPU_OFF, VM stop: the home pCPU itself when running
enum class SchedState : u8 { off, ready, running, parked };

struct SchedNode {
    SchedNode* next = nullptr;
    PcpuIndex home{};
    SchedState state = SchedState::off;
    bool wake_hint = false;    // woken while running: the next park() must not sleep
    u64 ready_since = ~u64{0}; // physical count: since when it waits to be loaded, if it is ready
};

/// By the generic built-ins: clang knows the others for integers only.
template <int order>
SchedState load_state(const SchedNode& node) {
    SchedState state;
    __atomic_load(&node.state, &state, order);
    return state;
}
template <int order>
void store_state(SchedNode& node, SchedState state) {
    __atomic_store(&node.state, &state, order);
}

/// What the waker has to do for the home pCPU.
enum class WakeEffect : u8 {
    none,    // nothing to do: it was off, or already queued
    queued,  // became ready; the home pCPU must look at its queue
    running, // it is loaded on its home pCPU, which must re-evaluate its interrupts
};

class RunQueue {
  public:
    constexpr RunQueue() : lock_(LockRank::scheduler) {}

    // `now`: the physical count, for SchedNode::ready_since. Who leaves running has set it: requeue() keeps it.

    /// off -> ready.
    void start(SchedNode& node, u64 now);
    /// Make a parked vCPU ready; remember the wake-up for a running one.
    WakeEffect wake(SchedNode& node, u64 now) {
        return wake_running(node) ? WakeEffect::running : wake_locked(node, now);
    }
    /// The same, for one that wake_running() has just refused.
    WakeEffect wake_locked(SchedNode& node, u64 now);
    /// wake() for one that runs, without the lock; false: it does not run, use wake(). Sequentially
    /// consistent with park(): it stores the state and then reads the hint, so that one of the two sees the
    /// other.
    static bool wake_running(SchedNode& node) {
        if (load_state<__ATOMIC_RELAXED>(node) != SchedState::running) {
            return false;
        }
        __atomic_store_n(&node.wake_hint, true, __ATOMIC_SEQ_CST);
        return load_state<__ATOMIC_SEQ_CST>(node) == SchedState::running;
    }
    /// running -> parked, unless a wake-up came in since the last pick: then it stays running and false is
    /// returned.
    bool park(SchedNode& node);
    /// running -> ready at the tail.
    void requeue(SchedNode& node);
    /// Any state -> off. For a queued vCPU: unlinks it.
    void stop(SchedNode& node);
    /// The head of the queue becomes running; nullptr when nothing is ready.
    SchedNode* pick();
    /// park() of the one that leaves, or requeue() when it is not to `sleep` or may not; then pick(). In one.
    SchedNode* hand_over(SchedNode& leaving, bool sleep);
    /// True when another vCPU waits for this pCPU. Read without the lock: a hint, re-checked by whoever acts
    /// on it.
    bool contended() const { return __atomic_load_n(&head_, __ATOMIC_RELAXED) != nullptr; }

  private:
    void push(SchedNode& node);
    SchedNode* pop();
    static bool may_sleep(SchedNode& node);

    SpinLock lock_;
    SchedNode* head_ = nullptr;
    SchedNode* tail_ = nullptr;
};

} // namespace atl::el2
