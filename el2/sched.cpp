// SPDX-License-Identifier: Apache-2.0
// Run queue operations. Pure; see el2/sched.hpp for the state machine.
#include "el2/sched.hpp"

namespace atl::el2 {

void RunQueue::push(SchedNode& node) {
    node.state = SchedState::ready;
    node.next = nullptr;
    if (tail_ == nullptr) {
        __atomic_store_n(&head_, &node, __ATOMIC_RELAXED);
    } else {
        tail_->next = &node;
    }
    tail_ = &node;
}

void RunQueue::start(SchedNode& node) {
    LockGuard guard(lock_);
    if (node.state == SchedState::off) {
        node.wake_hint = false;
        push(node);
    }
}

WakeEffect RunQueue::wake(SchedNode& node) {
    LockGuard guard(lock_);
    switch (node.state) {
    case SchedState::off:
    case SchedState::ready:
        return WakeEffect::none;
    case SchedState::running:
        node.wake_hint = true;
        return WakeEffect::running;
    case SchedState::parked:
        push(node);
        return WakeEffect::queued;
    }
    return WakeEffect::none;
}

bool RunQueue::park(SchedNode& node) {
    LockGuard guard(lock_);
    if (node.wake_hint) {
        node.wake_hint = false;
        return false;
    }
    node.state = SchedState::parked;
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
    node.wake_hint = false;
    node.state = SchedState::off;
}

SchedNode* RunQueue::pick() {
    LockGuard guard(lock_);
    SchedNode* const node = head_;
    if (node == nullptr) {
        return nullptr;
    }
    __atomic_store_n(&head_, node->next, __ATOMIC_RELAXED);
    if (head_ == nullptr) {
        tail_ = nullptr;
    }
    node->next = nullptr;
    node->state = SchedState::running;
    node->wake_hint = false;
    return node;
}

} // namespace atl::el2
