// SPDX-License-Identifier: Apache-2.0
// Debug builds: each pCPU's stack of held locks, checked against the total order of docs/locking.md at every
// acquisition, before the wait that could be a deadlock. Does not own: the order (lib/spinlock.hpp).
// No lock: a CPU touches its own stack only, with interrupts masked. Until TPIDR_EL2 names a PerCpu only the
// boot CPU runs, and nothing can be waited for: not checked.
#include "el2/cpu_hw.hpp"
#include "lib/format.hpp"
#include "lib/lock_order.hpp"
#include "lib/panic.hpp"

#ifdef ATOLL_DEBUG

namespace atl {
namespace {

constinit HeldLocks held[max_pcpus] = {};

} // namespace

void lock_check_acquire(LockRank rank, const void* lock) {
    const el2::PerCpu* const cpu = el2::this_cpu_or_null();
    if (cpu == nullptr) {
        return;
    }
    if (const LockOrder order = held[cpu->index.value].acquire(rank, lock); order.violated) {
        panic(FormatBuffer<96>("lock order: {} taken with {} held", to_string(rank), to_string(order.held))
                  .text(),
              __FILE__, __LINE__);
    }
}

void lock_check_release(LockRank, const void* lock) {
    if (const el2::PerCpu* const cpu = el2::this_cpu_or_null(); cpu != nullptr) {
        held[cpu->index.value].release(lock);
    }
}

} // namespace atl

#endif
