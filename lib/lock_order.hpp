// SPDX-License-Identifier: Apache-2.0
// The check behind debug builds' lock order: one CPU's stack of held locks. Pure. Does not own: the order
// itself (LockRank in lib/spinlock.hpp), whose stack is whose (el2/lock_check_hw.cpp;
// tests/support/lock_check.cpp).
#pragma once
#include "lib/spinlock.hpp"

namespace atl {

constexpr const char* to_string(LockRank rank) {
    switch (rank) {
    case LockRank::vm_lifecycle:
        return "vm_lifecycle";
    case LockRank::virtual_pci:
        return "virtual_pci";
    case LockRank::virtual_its:
        return "virtual_its";
    case LockRank::share_ledger:
        return "share_ledger";
    case LockRank::address_space:
        return "address_space";
    case LockRank::device:
        return "device";
    case LockRank::vgic_dist:
        return "vgic_dist";
    case LockRank::vgic_vcpu:
        return "vgic_vcpu";
    case LockRank::vgic_history:
        return "vgic_history";
    case LockRank::scheduler:
        return "scheduler";
    case LockRank::vm_clock:
        return "vm_clock";
    case LockRank::smmu_queue:
        return "smmu_queue";
    case LockRank::its_queue:
        return "its_queue";
    case LockRank::page_pool:
        return "page_pool";
    case LockRank::console:
        return "console";
    case LockRank::log:
        return "log";
    }
    return "?";
}

/// What acquire() found: the held lock that should have been taken later.
struct LockOrder {
    bool violated = false;
    LockRank held{};
};

class HeldLocks {
  public:
    /// Notes the lock. Violated when a lock of the same or a later rank is held, itself included.
    constexpr LockOrder acquire(LockRank rank, const void* lock) {
        for (unsigned i = 0; i < count_; ++i) {
            if (entries_[i].rank >= rank) {
                return {true, entries_[i].rank};
            }
        }
        // Ranks on the stack are distinct, so that it cannot run over.
        entries_[count_++] = {lock, rank};
        return {};
    }
    /// In any order. A lock that was taken before checking began is not there: nothing to do.
    constexpr void release(const void* lock) {
        for (unsigned i = count_; i-- > 0;) {
            if (entries_[i].lock == lock) {
                for (--count_; i < count_; ++i) {
                    entries_[i] = entries_[i + 1];
                }
                return;
            }
        }
    }
    constexpr unsigned count() const { return count_; }

  private:
    struct Entry {
        const void* lock = nullptr;
        LockRank rank{};
    };
    Entry entries_[lock_ranks] = {};
    unsigned count_ = 0;
};

} // namespace atl
