// SPDX-License-Identifier: Apache-2.0
// One VM's share window: which parts of it hold which borrowed buffer. Owns IPA space only, no mapping.
// A sorted table of regions; the gaps between them are free. Protected by the share_ledger lock.
#pragma once
#include "el2/ffa/limits.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::ffa {

/// What a region of the window holds.
enum class RegionState : u8 {
    live, // a buffer, being mapped, mapped or being unmapped [share.hpp Hold]; leaves: relinquished, revoked
    revoked, // the owner takes or took it back: nothing but stand-in pages comes; leaves: relinquished
    leaving, // was revoked, and is being cleared of stand-in pages; leaves: free
    given,   // donated to this VM, for its life; leaves: the VM dies
};

/// One borrowed buffer in the window.
struct Region {
    u64 handle;
    u32 first_page; // from the window's base
    u32 page_count;
    VmId owner;
    RegionState state;
    u32 cleared; // pages, while leaving and at the end of a given one
};

class Window {
  public:
    static constexpr u32 block_pages = 2 * mib / page_size;

    /// Errors: invalid_argument (not page aligned, wraps, above ipa_limit). An empty window lends nothing.
    Status init(Range<Ipa> range);
    /// Takes a free range, first fit. When `page_count` is at least a 2 MiB block, a place whose page number
    /// is `phase` modulo a block is preferred, so that the buffer's blocks can be mapped as blocks. Errors:
    /// no_memory, busy never. The pointer is valid until the next reserve or remove.
    Result<Region*> reserve(u32 page_count, u32 phase, u64 handle, VmId owner);
    void remove(const Region* region);

    /// A buffer that is not given.
    Region* find(u64 handle);
    /// The region that contains `ipa`, or nullptr.
    const Region* at(Ipa ipa) const;
    Ipa base_of(const Region& region) const { return range_.base + u64{region.first_page} * page_size; }

    u32 count() const { return count_; }
    Region& operator[](u32 i) { return regions_[i]; }
    const Region& operator[](u32 i) const { return regions_[i]; }

  private:
    /// First start page >= `from` with the wanted phase; any when `phase` is block_pages.
    u64 place(u64 from, u32 phase) const;
    Result<Region*> reserve_phase(u32 page_count, u32 phase, u64 handle, VmId owner);

    Range<Ipa> range_{};
    u32 count_ = 0;
    Region regions_[max_retrieved_per_vm]{};
};

} // namespace atl::ffa
