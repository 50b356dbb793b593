// SPDX-License-Identifier: Apache-2.0
// Ticket spinlock with a rank. The total order is in docs/locking.md; debug builds check it on every
// acquisition. Interrupts are always masked at EL2, so a holder is never interrupted.
#pragma once
#include <atomic>

#include "lib/types.hpp"

namespace atl {

/// A lock may be taken only while every lock already held by this CPU has a smaller rank; two of one rank are
/// never held together.
enum class LockRank : u8 {
    vm_lifecycle,  // VM start, stop, reset
    virtual_pci,   // the VMs' PCI host bridges (BARs move in stage 2)
    virtual_its,   // one VM's emulated ITS
    share_ledger,  // FF-A memory handles and page ownership changes
    address_space, // one VM's stage-2 table
    device,        // one emulated device (drives interrupt lines and the console)
    vgic_dist,     // one VM's virtual distributor
    vgic_vcpu,     // one vCPU's interrupt state
    vgic_history,  // one VM's last interrupt events
    scheduler,     // one pCPU's run queue
    vm_clock,      // one VM's count of run time
    smmu_queue,    // each SMMU's command queue
    its_queue,     // the ITS's command queue
    page_pool,
    console,
    log,
};
constexpr unsigned lock_ranks = 16;
static_assert(static_cast<unsigned>(LockRank::log) + 1 == lock_ranks);

#if defined(ATOLL_DEBUG)
/// Panics when the order is violated [el2/lock_check_hw.cpp; host tests: tests/support/lock_check.cpp].
void lock_check_acquire(LockRank rank, const void* lock);
void lock_check_release(LockRank rank, const void* lock);
#else
inline void lock_check_acquire(LockRank, const void*) {}
inline void lock_check_release(LockRank, const void*) {}
#endif

class SpinLock {
  public:
    explicit constexpr SpinLock(LockRank rank) : rank_(rank) {}
    SpinLock(const SpinLock&) = delete;
    SpinLock& operator=(const SpinLock&) = delete;

    void lock() {
        lock_check_acquire(rank_, this);
        const u32 ticket = next_.fetch_add(1, std::memory_order_relaxed);
        // Acquire: orders the critical section after the previous holder's release.
        while (serving_.load(std::memory_order_acquire) != ticket) {
        }
    }
    void unlock() {
        // Release: makes this section's writes visible to the next holder.
        serving_.store(serving_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
        lock_check_release(rank_, this);
    }

  private:
    std::atomic<u32> next_{0};
    std::atomic<u32> serving_{0};
    LockRank rank_;
};

class [[nodiscard]] LockGuard {
  public:
    explicit LockGuard(SpinLock& lock) : lock_(lock) { lock_.lock(); }
    ~LockGuard() { lock_.unlock(); }
    LockGuard(const LockGuard&) = delete;
    LockGuard& operator=(const LockGuard&) = delete;

  private:
    SpinLock& lock_;
};

} // namespace atl
