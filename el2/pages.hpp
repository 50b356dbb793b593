// SPDX-License-Identifier: Apache-2.0
// Page ownership: one record per physical 4 KiB page of RAM (owner, state, counts) and the only ways to
// change it. A transition is check (may fail, changes nothing) for every page concerned, then commit (cannot
// fail). Not here: page contents, stage-2 tables, handles, free lists (page_pool.hpp uses the link fields of
// free pages). Locks: share_ledger for states of pages that are not free; page_pool for free pages and for
// the way to and from `free`. [DEN0077A §5 memory ownership and access states; architecture.md decision 4]
//
//  state        who may use the page                       left when
//  reserved     nobody through Atoll: firmware, image      added to the pool
//  free         nobody; on a free list                     allocated to the hypervisor or to a VM
//  hypervisor   EL2                                        freed
//  owned        the owner alone                            shared, lent, donated; released by the owner's end
//  shared       the owner, and borrowers who retrieved     reclaimed once nobody maps it; the owner died
//  lent         borrowers who retrieved                    the same
//  donating     the new owner, once it has retrieved it    accepted by the new owner; reclaimed; owner died
//  retained     borrowers only: the owner is gone          the last borrower relinquished
//  scrubbing    EL2, which zeroes it                       freed
//
// A page is in at most one handle: a shared, lent or donating page cannot be shared again until it is
// reclaimed. `mappings` counts retrieved mappings of borrowers; `dma_mappings` those of them that a device
// can reach: dropped only after the SMMU's invalidation has completed, so that no page moves on while a
// device can still write to it.
#pragma once
#include <span>

#include "lib/containers.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::el2 {

constexpr VmId hypervisor_id{0};

enum class PageState : u8 {
    reserved,
    free,
    hypervisor,
    owned,
    shared,
    lent,
    donating,
    retained,
    scrubbing,
};
constexpr unsigned page_states = 9;

enum class PageOp : u8 {
    add_to_pool,            // reserved -> free                                       by the pool
    allocate_to_hypervisor, // free -> hypervisor                                     by the pool
    allocate_to_vm,         // free -> owned by the actor                             by the pool
    free,                   // hypervisor, scrubbing -> free                          by the pool
    share,                  // owned -> shared                                        actor: owner
    lend,                   // owned -> lent                                          actor: owner
    donate,                 // owned -> donating                                      actor: owner
    retrieve,               // shared, lent, donating: one mapping more               actor: not the owner
    relinquish,             // shared, lent, donating, retained: one mapping less     actor: not the owner
    dma_map,                // shared, lent, donating: one mapping reaches a device   actor: not the owner
    dma_unmap,              // the same or retained: it does not any more             actor: not the owner
    accept,                 // donating, mapped once -> owned by the actor            actor: not the owner
    reclaim,                // shared, lent, donating -> owned, with all counts zero  actor: owner
    release,                // owned -> scrubbing                                     actor: owner
    owner_died,             // owned, shared, lent, donating -> scrubbing or retained actor: owner
};
constexpr unsigned page_ops = 15;

const char* to_string(PageState state);
const char* to_string(PageOp op);

/// 12 bytes: 0.3 % of the RAM that it describes.
struct PageRecord {
    static constexpr u8 no_order = 0xff;

    VmId owner = hypervisor_id;
    PageState state = PageState::reserved;
    u8 order = no_order; // of the free block that starts here (page_pool.hpp)
    union {
        struct {
            u32 next; // page indexes, while free
            u32 previous;
        } link;
        struct {
            u16 mappings; // in every other state
            u16 dma_mappings;
            u32 share; // which handle: written by its keeper after commit(share); zero again after reclaim
        } use = {};
    };
};
static_assert(sizeof(PageRecord) == 12);

/// Whether `actor` may do `op` on the page now. denied: wrong state or actor; busy: still mapped by a
/// borrower or a device; overflow: a count is full; invalid_argument: not a VM id.
Status check(PageOp op, const PageRecord& page, VmId actor);
/// Does what check() allowed. Panics when it would not have: that is our own bug.
/// Ends in `scrubbing` when nobody may use the page any more: zero it and give it to PagePool::free().
void commit(PageOp op, PageRecord& page, VmId actor);

/// commit() of a pool operation for consecutive records. Only PagePool calls it.
void commit_pool(PageOp op, std::span<PageRecord> pages, VmId actor);

/// All records, over the RAM ranges that the host's device tree names.
class PageLedger {
  public:
    static constexpr unsigned max_ranges = 16;
    static constexpr u32 no_page = ~u32{0};

    /// How many records add_range() will take for `range`: the whole pages inside.
    static constexpr u64 records_for(const Range<Pa>& range);

    /// `storage`: memory for the records, at least records_for() of all ranges; it is initialised by
    /// add_range().
    void init(std::span<PageRecord> storage);
    /// Adds the whole pages of a RAM range, all `reserved`. invalid_argument: no whole page, or the end
    /// wraps; already_exists: overlaps; no_memory: storage or range table full.
    Status add_range(Range<Pa> range);

    /// nullptr when `pa` is not RAM. At most max_ranges comparisons; one or two on real machines.
    PageRecord* record(Pa pa);
    const PageRecord* record(Pa pa) const;
    /// Pages are also numbered, consecutively within a range. no_page when not RAM.
    u32 index_of(Pa pa) const;
    Pa address_of(u32 index) const;
    /// Consecutive records of one range.
    std::span<PageRecord> records(u32 first, u64 count) { return storage_.subspan(first, count); }
    PageRecord& at(u32 index) { return storage_[index]; }
    const PageRecord& at(u32 index) const { return storage_[index]; }
    u32 page_count() const { return used_; }
    /// The RAM range that contains the page, in whole pages; empty when not RAM.
    Range<Pa> range_of(Pa pa) const;

    /// check() for every page of [pa, pa + bytes); not_found when part of it is not RAM.
    Status check_run(PageOp op, Pa pa, u64 bytes, VmId actor) const;
    /// commit() for every page of a run that check_run() allowed.
    void commit_run(PageOp op, Pa pa, u64 bytes, VmId actor);
    /// An owner's operation for the pages from `pa` on, up to the first that check() refuses, max_pages, or the
    /// end of the range. Their use.share becomes note, note + 1, .. Returns how many; 0 also when not RAM.
    u64 commit_leading(PageOp op, Pa pa, u64 max_pages, VmId actor, u32 note);

    /// Pages in each state, by a pass over all records: for the monitor and for tests.
    struct Census {
        u32 pages[page_states] = {};
    };
    Census census() const;

  private:
    struct Entry {
        Range<Pa> range{};
        u32 first = 0; // index of the range's first page
    };
    const Entry* find(Pa pa) const;

    std::span<PageRecord> storage_{};
    StaticVector<Entry, max_ranges> ranges_{};
    u32 used_ = 0;
};

constexpr u64 PageLedger::records_for(const Range<Pa>& range) {
    const u64 first = range.base.value / page_size + (range.base.is_aligned(page_size) ? 0 : 1);
    const u64 last = (range.base.value + range.size) / page_size;
    return last > first ? last - first : 0;
}

} // namespace atl::el2
