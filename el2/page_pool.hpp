// SPDX-License-Identifier: Apache-2.0
// The page pool: a buddy allocator over the page records. Block of order n: 2^n pages, naturally aligned by
// physical address; orders 0 (4 KiB) to 18 (1 GiB). Links are page indexes inside the records: free memory is
// never touched. Not here: zeroing (the caller, before a VM sees a page), ownership changes of pages in use
// (pages.hpp). Lock: its own, rank page_pool. Deterministic: the same calls give the same pages.
#pragma once
#include <array>
#include <span>

#include "el2/pages.hpp"
#include "lib/result.hpp"
#include "lib/spinlock.hpp"
#include "lib/types.hpp"
#include "stage2/table_memory_hw.hpp"

namespace atl::el2 {

/// Physically contiguous memory.
using PageRun = Range<Pa>;

class PagePool {
  public:
    static constexpr unsigned max_order = 18;
    static constexpr u64 block_bytes(unsigned order) { return u64{page_size} << order; }

    struct Counters {
        u64 total_pages = 0; // ever added
        u64 free_pages = 0;
        u64 allocations = 0;
        u64 frees = 0;
        u64 failures = 0; // allocations refused for want of memory
    };

    void init(PageLedger& ledger);
    /// Hands the whole pages of a RAM range to the pool, except those that touch one of `reserved`. Pages
    /// that are not in the ledger or not `reserved` there: not_found or denied, nothing changed.
    Status add_range(Range<Pa> range, std::span<const Range<Pa>> reserved);

    /// 2^order pages for EL2 itself (state hypervisor) or for a VM (state owned). Contents are undefined.
    /// invalid_argument: order > max_order; no_memory.
    Result<Pa> allocate(unsigned order, VmId owner = hypervisor_id);
    /// Gives back pages in state hypervisor or scrubbing, zeroed by the caller if a VM had them.
    /// denied: another state (a double free, a page that a VM still uses); nothing changed.
    Status free(Pa pages, unsigned order);
    /// The same for any whole pages side by side.
    Status free_run(PageRun run);

    /// RAM for a VM: `bytes` (whole pages) in runs, the largest blocks first, so that a map from an IPA
    /// aligned like the first block uses the largest leaves throughout. Returns how many of `runs` were
    /// filled. All or nothing. no_memory; overflow: more runs than fit; invalid_argument.
    Result<std::size_t> allocate_ram(u64 bytes, VmId owner, std::span<PageRun> runs);

    Counters counters();
    /// Free blocks of each order: for the monitor and for tests.
    std::array<u32, max_order + 1> free_blocks();

  private:
    Result<Pa> allocate_locked(unsigned order, VmId owner);
    Status check_free_locked(PageRun run) const;
    void free_run_locked(PageRun run, PageOp op);
    void insert_block(u32 index, unsigned order);
    void remove_block(u32 index, unsigned order);
    void coalesce(u32 index, Pa block, unsigned order, const Range<Pa>& ram);
    static unsigned largest_order(Pa pa, u64 bytes);

    SpinLock lock_{LockRank::page_pool};
    PageLedger* ledger_ = nullptr;
    std::array<u32, max_order + 1> heads_{};
    u32 orders_ = 0; // bit n: heads_[n] is not empty
    Counters counters_{};
};

/// Table pages of address spaces from `pool`, in state hypervisor. Releasing what is not such a page panics.
stage2::TablePages table_pages(PagePool& pool);

} // namespace atl::el2
