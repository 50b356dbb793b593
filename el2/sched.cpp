// SPDX-License-Identifier: Apache-2.0
// Run queue operations. Pure; see el2/sched.hpp for the state machine.
#include "el2/sched.hpp"

namespace atl::el2 {
namespace {

/// Changes under the lock, but wake() reads without it.
void set_state(SchedNode& node, SchedState state) {
    store_state<__ATOMIC_RELAXED>(node, state);
}

/// Read by other pCPUs [el2/vm_time.cpp].
void set_ready_since(SchedNode& node, u64 now) {
    __atomic_store_n(&node.ready_since, now, __ATOMIC_RELAXED);
}

} // namespace

void RunQueue::push(SchedNode& node) {
    set_state(node, SchedState::ready);
    node.next = nullptr;
    if (tail_ == nullptr) {
        __atomic_store_n(&head_, &node, __ATOMIC_RELAXED);
    } else {
        tail_->next = &node;
    }
    tail_ = &node;
}

void RunQueue::start(SchedNode& node, u64 now) {
    LockGuard guard(lock_);
    if (node.state == SchedState::off) {
        __atomic_store_n(&node.wake_hint, false, __ATOMIC_RELAXED);
        set_ready_since(node, now);
        push(node);
    }
}

WakeEffect RunQueue::wake_locked(SchedNode& node, u64 now) {
    LockGuard guard(lock_);
    switch (node.state) {
    case SchedState::off:
    case SchedState::ready:
        return WakeEffect::none;
    case SchedState::running:
        __atomic_store_n(&node.wake_hint, true, __ATOMIC_RELAXED);
        return WakeEffect::running;
    case SchedState::parked:
        set_ready_since(node, now);
        push(node);
        return WakeEffect::queued;
    }
    return WakeEffect::none;
}

/// Parks it; false when a wake-up was noted, which is consumed: the state is then the caller's to set.
inline bool RunQueue::may_sleep(SchedNode& node) {
    // State first, then the hint: see wake_running().
    store_state<__ATOMIC_SEQ_CST>(node, SchedState::parked);
    if (__atomic_load_n(&node.wake_hint, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&node.wake_hint, false, __ATOMIC_RELAXED);
        return false;
    }
    return true;
}

bool RunQueue::park(SchedNode& node) {
    LockGuard guard(lock_);
    if (!may_sleep(node)) {
        set_state(node, SchedState::running);
        return false;
    }
    return true;
}

void RunQueue::requeue(SchedNode& node) {
    LockGuard guard(lock_);
    if (node.state == SchedState::running) {
        push(node);
    }
}

void RunQueue::stop(SchedNode& node) {
    LockGuard guard(lock_);
    if (node.state == SchedState::ready) {
        SchedNode* previous = nullptr;
        for (SchedNode* at = head_; at != nullptr; previous = at, at = at->next) {
            if (at != &node) {
                continue;
            }
            if (previous == nullptr) {
                __atomic_store_n(&head_, node.next, __ATOMIC_RELAXED);
            } else {
                previous->next = node.next;
            }
            if (tail_ == &node) {
                tail_ = previous;
            }
            break;
        }
    }
    node.next = nullptr;
    set_ready_since(node, ~u64{0});
    __atomic_store_n(&node.wake_hint, false, __ATOMIC_RELAXED);
    set_state(node, SchedState::off);
}

inline SchedNode* RunQueue::pop() {
    SchedNode* const node = head_;
    if (node == nullptr) {
        return nullptr;
    }
    __atomic_store_n(&head_, node->next, __ATOMIC_RELAXED);
    if (head_ == nullptr) {
        tail_ = nullptr;
    }
    node->next = nullptr;
    // The hint first: one that is set from now on belongs to this turn.
    __atomic_store_n(&node->wake_hint, false, __ATOMIC_RELAXED);
    store_state<__ATOMIC_RELEASE>(*node, SchedState::running);
    return node;
}

SchedNode* RunQueue::pick() {
    LockGuard guard(lock_);
    return pop();
}

SchedNode* RunQueue::hand_over(SchedNode& leaving, bool sleep) {
    LockGuard guard(lock_);
    if (leaving.state == SchedState::running && !(sleep && may_sleep(leaving))) {
        push(leaving);
    }
    return pop();
}

} // namespace atl::el2
