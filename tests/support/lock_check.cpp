// SPDX-License-Identifier: Apache-2.0
// Host side of lib/spinlock.hpp's debug check: each thread is a CPU. Target: el2/lock_check_hw.cpp.
#include <string>

#include "lib/lock_order.hpp"
#include "lib/panic.hpp"

#ifdef ATOLL_DEBUG

namespace atl {
namespace {

thread_local HeldLocks held;

} // namespace

void lock_check_acquire(LockRank rank, const void* lock) {
    if (const LockOrder order = held.acquire(rank, lock); order.violated) {
        panic(std::string("lock order: ") + to_string(rank) + " taken with " + to_string(order.held) +
                  " held",
              __FILE__, __LINE__);
    }
}

void lock_check_release(LockRank, const void* lock) {
    held.release(lock);
}

} // namespace atl

#endif
