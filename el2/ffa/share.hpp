// SPDX-License-Identifier: Apache-2.0
// Memory that VMs share: handles, who borrows what, where it appears in each borrower's window. Owns the
// handle table, the run lists and the windows; page records and mappings are behind the ports.
//
// Lock: lock(), rank share_ledger. Every public function but the constructor takes it unless it says
// "locked". A handle's life:
//   free       -> receiving   MEM_SHARE whose descriptor continues in fragments
//   free       -> shared      MEM_SHARE, complete
//   receiving  -> shared      the last fragment
//   receiving  -> free        a bad fragment, MEM_RECLAIM by the owner, RXTX_UNMAP, the owner dies
//   shared     -> free        MEM_RECLAIM (nobody has it retrieved), ATOLL_MEM_REVOKE, the owner dies
//   shared     -> orphan      the owner dies while a borrower has it
//   orphan     -> free        the last borrower relinquishes or dies; the pages go back to the pool
// Pages are claimed as the descriptor is read, constituent by constituent, and released again when any is
// refused, so a transaction is all or nothing and a page that is named twice is found by its own record.
// [DEN0140 v1.1 memory management protocol]
#pragma once
#include "el2/ffa/descriptor.hpp"
#include "el2/ffa/mailbox.hpp"
#include "el2/ffa/run_list.hpp"
#include "el2/ffa/window.hpp"

namespace atl::ffa {

enum class ShareState : u8 { free, receiving, shared, orphan };

struct Borrower {
    VmId vm;
    Access access;
    bool retrieved;
};

struct Share {
    ShareState state;
    u8 borrower_count;
    VmId owner;
    u32 page_count;
    u64 handle;
    u64 tag;
    Borrower borrowers[max_borrowers];
    RunList runs;
    // While receiving:
    u32 total_length;    // of the descriptor, in bytes
    u32 received_length; // of it, so far
    u32 pages_left;      // of page_count, not yet claimed

    bool retrieved() const {
        for (u32 i = 0; i < borrower_count; ++i) {
            if (borrowers[i].retrieved) {
                return true;
            }
        }
        return false;
    }
};

/// The big tables: all zero at the start, so that they live in .bss and not in the image.
struct Tables {
    Share shares[max_handles]{};
    Window windows[max_vms + 1]{};
    u32 storage_quota[max_vms + 1]{}; // pages left, by owner
    Share* receiving[max_vms + 1]{};  // the one unfinished transfer of each VM
    u64 handle_state = 0;             // of the generator of handle values
};

/// What becomes of memory that others still have retrieved when its owner stops.
enum class Held : u8 {
    keep,   // it stays with the borrowers; the owner's RAM loses those pages
    revoke, // taken back by force, as ATOLL_MEM_REVOKE does
};

class Shares {
  public:
    explicit constexpr Shares(Mailboxes& mailboxes) : lock_(LockRank::share_ledger), mailboxes_(mailboxes) {}

    SpinLock& lock() { return lock_; }
    /// First of all. `tables` is all zero; `seed` is secret.
    void init(Tables& tables, u64 seed) {
        tables_ = &tables;
        tables.handle_state = seed;
    }
    /// Once for each VM, before any call. Errors: invalid_argument (window).
    Status add(const Endpoint& endpoint);

    Result<Reply> share(const Ports& ports, VmId caller, const Call& call);
    Result<Reply> fragment(const Ports& ports, VmId caller, const Call& call);
    Result<Reply> retrieve(const Ports& ports, VmId caller, const Call& call);
    Result<Reply> relinquish(const Ports& ports, VmId caller);
    Result<Reply> reclaim(const Ports& ports, VmId caller, const Call& call);
    Status revoke(const Ports& ports, VmId caller, u64 handle);

    /// Locked. Forgets the unfinished transfer of `vm`, if any.
    void abort_transfer(const Ports& ports, VmId vm);
    /// Gives back what `vm` borrowed, ends what it owned. Returns the VMs that had to do with it, as bits.
    u32 forget(const Ports& ports, VmId vm, Held held);
    /// Runs `action` under the lock when `ipa` lies in a revoked buffer of `vm`; returns whether it did.
    template <class Action>
    bool while_revoked(VmId vm, Ipa ipa, Action action) {
        LockGuard guard(lock_);
        const Region* const region = tables_->windows[vm.value].at(ipa);
        if (region == nullptr || !region->revoked) {
            return false;
        }
        action();
        return true;
    }

  private:
    Share* find(u64 handle);
    Share* find_free(VmId owner);
    u64 new_handle(const Share& share);

    // share.cpp
    Status check_share(VmId caller, const Transaction& t) const;
    Result<Reply> begin_share(const Ports& ports, VmId caller, const GuestBytes& bytes, u32 total_length);
    Status claim_ranges(const Ports& ports, Share& share, const GuestBytes& bytes, u64 offset);
    Status claim_range(const Ports& ports, Share& share, const Buffers& own,
                       const ffa_mem_region_addr_range& range);
    Result<Reply> transfer_reply(Share& share);
    void destroy(const Ports& ports, Share& share);

    // borrow.cpp
    Result<Borrower*> check_retrieve(VmId caller, const Transaction& t, Share& share, Access& access) const;
    Status attach(const Ports& ports, VmId borrower, const Share& share, const Region& region, Access access);
    void detach(const Ports& ports, VmId borrower, const Share& share, const Region& region);
    void end_loan(const Ports& ports, VmId borrower, Region& region);
    void take_back(const Ports& ports, Share& share);

    SpinLock lock_;
    Tables* tables_ = nullptr;
    Mailboxes& mailboxes_;
};

} // namespace atl::ffa
