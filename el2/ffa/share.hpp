// SPDX-License-Identifier: Apache-2.0
// Memory that VMs share, lend and donate: handles, who borrows what, where it appears in each borrower's
// window. Owns the handle table, the run lists and the windows; page records and mappings are behind the
// ports.
//
// Lock: lock(), rank share_ledger. Every public function but the constructor takes it unless it says
// "locked"; none holds it for more than one Budget of work. What is not done then returns
// Error::interrupted, and the same call goes on with it [adr/0015]. All that is half done stands in the Share
// and the Region, so that another call, or the death of either VM, can finish or undo it:
//   state      what is under way               left by
//   free
//   receiving  the descriptor is read          its end: shared, hiding; an error, MEM_RECLAIM, RXTX_UNMAP: ending
//   hiding     lend, donate: out of the owner  zeroing, shared; an error, MEM_RECLAIM: ending
//   zeroing    nobody reaches the pages        shared; MEM_RECLAIM: ending
//   shared     nothing                         MEM_RECLAIM, nobody has it: ending; MEM_REVOKE: revoking;
//                                              the last lets go, zero wanted: zeroing; donation accepted: free
//   revoking   out of the borrowers            ending
//   ending     back to the owner               free
//   retaining  the owner died                  orphan
//   orphan     borrowers have it               the last of them lets go: freeing
//   freeing    to the pool                     free
// Pages are claimed as the descriptor is read, constituent by constituent, and released again when any is
// refused, so a transaction is all or nothing and a page that is named twice is found by its own record.
// [DEN0140 v1.1 memory management protocol]
#pragma once
#include "el2/ffa/budget.hpp"
#include "el2/ffa/rules.hpp"
#include "el2/ffa/run_list.hpp"
#include "el2/ffa/window.hpp"

namespace atl::ffa {

enum class ShareState : u8 {
    free,
    receiving,
    hiding,
    zeroing,
    shared,
    revoking,
    ending,
    retaining,
    orphan,
    freeing,
};

/// What a borrower has of a share. All but `none` keep the owner from reclaiming it.
enum class Hold : u8 {
    none,
    mapping,      // MEM_RETRIEVE_REQ; then held, accepting, or rolling_back when it fails
    accepting,    // donated: all is mapped, the pages change owner; then the region is `given`
    held,         // retrieved
    rolling_back, // a retrieve that failed is undone; then none, and the region goes
    returning,    // MEM_RELINQUISH; then none, and the region goes
    revoking,     // taken by force; then none, and the region stays as `revoked`
};

struct Borrower {
    VmId vm;
    Access access; // offered
    Hold hold;
    Grant grant; // asked for and given, while held
    Error error; // of what is rolled back
    u32 mapped;  // pages to unmap, from the first on
    Cursor at;
};

struct Share {
    ShareState state;
    Kind kind;
    u8 borrower_count;
    bool zeroed;     // the sender asked for zeroes
    bool zero_after; // a borrower wants zeroes once all have let go
    bool zero_first; // while ending: before the owner gets it back
    bool charged;    // counts as away from its owner
    Error error;     // while ending: what the unfinished transfer is told
    VmId owner;
    u32 page_count;
    u64 handle;
    u64 tag;
    Borrower borrowers[max_borrowers];
    RunList runs;
    Cursor at; // while hiding, zeroing, ending, retaining, freeing
    // While receiving:
    u32 paused;          // function of the call that is unfinished; 0: between fragments
    u32 total_length;    // of the descriptor, in bytes
    u32 received_length; // of it, with the present fragment
    u32 fragment_size;
    u32 fragment_at; // next constituent in the TX buffer
    u32 pages_left;  // of page_count, not in a constituent yet
    u32 range_left;  // pages of the present constituent, not yet claimed
    Ipa range;

    bool held() const {
        for (u32 i = 0; i < borrower_count; ++i) {
            if (borrowers[i].hold != Hold::none) {
                return true;
            }
        }
        return false;
    }
    Offer offer_to(const Borrower& b) const {
        return {owner, tag, kind, zeroed, borrower_count > 1, b.access};
    }
};

/// The big tables: all zero at the start, so that they live in .bss and not in the image.
struct Tables {
    struct Forgetting { // a VM's end, under way
        bool begun;
        u32 others; // VMs that had to do with it, as bits
    };
    Share shares[max_handles]{};
    Window windows[max_vms + 1]{};
    u32 storage_quota[max_vms + 1]{}; // pages left, by owner
    u32 away[max_vms + 1]{};          // pages that others have of this VM for good, or after its death
    Share* receiving[max_vms + 1]{};  // the one unfinished transfer of each VM
    Forgetting forgetting[max_vms + 1]{};
    u64 handle_state = 0; // of the generator of handle values
};

/// What becomes of memory that others still have retrieved when its owner stops.
enum class Held : u8 {
    keep,   // it stays with the borrowers, up to max_away_pages_per_vm; the owner's RAM loses those pages
    revoke, // taken back by force, as ATOLL_MEM_REVOKE does
};

class Shares {
  public:
    explicit constexpr Shares(Mailboxes& mailboxes) : lock_(LockRank::share_ledger), mailboxes_(mailboxes) {}

    SpinLock& lock() { return lock_; }
    /// First of all. `tables` is all zero; `seed` is secret; `units` of work are one call's Budget.
    void init(Tables& tables, u64 seed, i32 units) {
        tables_ = &tables;
        units_ = units;
        tables.handle_state = seed;
    }
    /// Once for each VM, before any call. Errors: invalid_argument (window).
    Status add(const Endpoint& endpoint);

    // Each may return interrupted.
    Result<Reply> send(const Ports& ports, VmId caller, const Call& call, Kind kind);
    Result<Reply> fragment(const Ports& ports, VmId caller, const Call& call);
    Result<Reply> retrieve(const Ports& ports, VmId caller, const Call& call);
    Result<Reply> relinquish(const Ports& ports, VmId caller);
    Result<Reply> reclaim(const Ports& ports, VmId caller, const Call& call);
    Status revoke(const Ports& ports, VmId caller, u64 handle);
    /// Locked. Gives up the unfinished transfer of `vm`, if any. ok or interrupted.
    Status abort_transfer(const Ports& ports, VmId vm);

    /// One step of giving back what `vm` borrowed and ending what it owned. True when all is done: `others`
    /// are then the VMs that had to do with it, as bits. Once begun, nobody retrieves from `vm` any more.
    [[nodiscard]] bool forget(const Ports& ports, VmId vm, Held held, u32& others);
    bool forgetting(VmId vm) const { return tables_->forgetting[vm.value].begun; }

    /// Runs `action` under the lock when `ipa` lies in a revoked buffer of `vm`; returns whether it did.
    template <class Action>
    bool while_revoked(VmId vm, Ipa ipa, Action action) {
        LockGuard guard(lock_);
        const Region* const region = tables_->windows[vm.value].at(ipa);
        if (region == nullptr || region->state != RegionState::revoked) {
            return false;
        }
        action();
        return true;
    }

  private:
    Share* find(u64 handle);
    Share* find_free(VmId owner);
    u64 new_handle(const Share& share);
    std::span<Share> shares_of(VmId owner);

    // share.cpp: the sender. Status: ok or interrupted, or an error that ends the transfer.
    Result<Reply> begin_send(const Ports& ports, VmId caller, const Buffers& own, const Call& call,
                             Kind kind);
    Result<Reply> go_on(const Ports& ports, Share& share, Budget& budget);
    Status send_step(const Ports& ports, Share& share, Budget& budget);
    Status claim_ranges(const Ports& ports, Share& share, Budget& budget);
    Status claim_range(const Ports& ports, Share& share, Budget& budget);
    void free_share(const Ports& ports, Share& share);

    // reclaim.cpp: back to the owner, or to the pool. ok or interrupted.
    Status zero_step(const Ports& ports, Share& share, Budget& budget);
    static void begin_end(Share& share, bool zero_first, Error error);
    Status end_step(const Ports& ports, Share& share, Budget& budget);
    Status take_back_step(const Ports& ports, Share& share, Budget& budget);
    Status free_step(const Ports& ports, Share& share, Budget& budget);

    // borrow.cpp: the borrower.
    Status begin_loan(const Share& share, Borrower& b, const Grant& grant);
    Result<Reply> loan(const Ports& ports, Share& share, Borrower& b, Budget& budget);
    Status map_step(const Ports& ports, const Share& share, Borrower& b, Budget& budget);
    Status answer(const Ports& ports, const Share& share, const Borrower& b);
    Status accept_step(const Ports& ports, Share& share, Borrower& b, Budget& budget);
    static void begin_unmap(const Share& share, Borrower& b, Hold hold);
    Status unmap_step(const Ports& ports, const Share& share, Borrower& b, Budget& budget);
    Status force_step(const Ports& ports, Share& share, Borrower& b, Budget& budget);
    Status leave_step(const Ports& ports, VmId borrower, Region& region, Budget& budget);
    static void let_go(Share& share, Borrower& b);

    // forget.cpp: deaths.
    u32 partners(VmId vm);
    Status forget_step(const Ports& ports, VmId vm, Held held, Budget& budget);
    Status end_owned(const Ports& ports, Share& share, bool keep, Budget& budget);
    Status retain_step(const Ports& ports, Share& share, Budget& budget);
    Status end_region(const Ports& ports, VmId vm, Region& region, Budget& budget);

    SpinLock lock_;
    Tables* tables_ = nullptr;
    i32 units_ = Budget::per_call;
    Mailboxes& mailboxes_;
};

Borrower* find_borrower(Share& share, VmId vm);

/// What the parts of a sweep cost, in units of Budget, and how many pages one part has at most.
struct Cost {
    u32 max_pages;
    u32 page;
    u32 run;
};
constexpr Cost counting{Budget::per_call, 1, 1};
constexpr Cost unmapping{Budget::per_call, 1, Budget::invalidation};
constexpr Cost zero_filling{64, Budget::zeroed_page, 1};

/// Visits the runs from `at` on, in parts that depend on nothing but the list and `cost.max_pages`, until the
/// end (ok), the end of the budget (interrupted), or an error of visit(span), whose part is not passed.
template <class Visit>
Status sweep(Cursor& at, Budget& budget, Cost cost, Visit visit) {
    PaRun piece{};
    while (at.page != nullptr) {
        if (budget.empty()) {
            return Error::interrupted;
        }
        Cursor next = at;
        const std::span<const PaRun> runs = next.take(piece, cost.max_pages);
        ATOLL_TRY(visit(runs));
        budget.spend(u64{next.done - at.done} * cost.page + runs.size() * cost.run);
        at = next;
    }
    return {};
}

} // namespace atl::ffa
