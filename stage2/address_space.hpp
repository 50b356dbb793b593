// SPDX-License-Identifier: Apache-2.0
// One VM's stage-2 translation, walked by its vCPUs and by the SMMU for its devices: map, unmap, protect,
// split, merge, walk. Owns the table pages; does not own the pages that it maps (el2/pages.hpp) nor the VMID.
// Lock: lock(), rank address_space; the caller holds it around every member except init() and vttbr(), and
// from an unmap()/protect() until its complete(). Two spaces: ascending VM id. [DDI0487 D8.2 translation
// process, D8.3 descriptors, D8.14.1 break-before-make]
//
//   VTTBR -> root (1..16 pages side by side) -> level 1: 1 GiB -> level 2: 2 MiB -> level 3: 4 KiB
//
// While a block is split or merged its entry is invalid for a moment. A vCPU that faults there finds, under
// the lock, a walk() that succeeds: that fault is spurious and the access is to be repeated. Devices cannot
// repeat: a space with DMA is created with LargestLeaf::page_4k, so that nothing is ever split or merged.
#pragma once
#include "lib/result.hpp"
#include "lib/spinlock.hpp"
#include "lib/types.hpp"
#include "stage2/descriptor.hpp"
#include "stage2/geometry.hpp"
#include "stage2/table_memory_hw.hpp"
#include "stage2/tlb_work.hpp"

namespace atl::stage2 {

/// The largest mapping that one descriptor may make.
enum class LargestLeaf : u8 { block_1g = 1, block_2m = 2, page_4k = 3 }; // the value is the level

/// What becomes of a table whose last leaf unmap() removed. `keep`: the same pieces can be mapped again
/// without memory.
enum class EmptyTables : u8 { release, keep };

/// What a walker would find for one IPA. For diagnostics: `entries[level]` from the start level to `level`.
struct Walk {
    bool mapped = false;
    u8 start_level = 0;
    u8 level = 0;       // where the walk ended
    u64 descriptor = 0; // the last one read
    Pa pa{};            // of the IPA itself, when mapped
    u64 bytes_left = 0; // to the end of that leaf, when mapped; to the end of the hole's entry otherwise
    MapAttributes attributes{}; // when mapped
    u64 entries[last_level + 1] = {};
};

/// `Memory` is the policy: read, write, clear, publish, invalidate, allocate, release (see TableMemory).
/// invalidate() begins by publishing what was written before it.
template <class Memory>
class BasicAddressSpace {
  public:
    constexpr BasicAddressSpace() = default;
    BasicAddressSpace(const BasicAddressSpace&) = delete;
    BasicAddressSpace& operator=(const BasicAddressSpace&) = delete;

    /// Allocates an empty root. no_memory; invalid_argument for VMID 0; already_exists when alive.
    Status init(const Geometry& geometry, Vmid vmid, const Memory& memory,
                LargestLeaf largest = LargestLeaf::block_1g);
    /// Frees every table after invalidating the whole VMID. No vCPU may run on it and no stream may use it.
    void destroy();

    SpinLock& lock() { return lock_; }
    bool alive() const { return root_ != no_table; }
    /// For VTTBR_EL2 at the world switch, and for the SMMU's stream table entry: constant while alive.
    u64 vttbr() const { return vttbr_; }
    const Geometry& geometry() const { return geometry_; }
    /// Pages in use for tables, the root included.
    u64 table_pages() const { return table_pages_; }

    /// Maps [ipa, ipa + bytes) to [pa, pa + bytes) with the largest leaves that fit. All or nothing.
    /// invalid_argument: unaligned, empty, attributes without access; overflow: outside the IPA or PA space;
    /// already_exists: a page of the range is mapped; no_memory. No TLB effect: invalid entries are not
    /// cached.
    Status map(Ipa ipa, Pa pa, u64 bytes, const MapAttributes& attributes);
    /// Removes whatever is mapped in the range; holes are fine. Splits blocks at the edges.
    /// invalid_argument, overflow, no_memory (a split needs tables; nothing changed).
    Result<TlbWork> unmap(Ipa ipa, u64 bytes, EmptyTables tables = EmptyTables::release);
    /// Changes the permissions of a range that is mapped throughout. not_found: a hole; invalid_argument:
    /// also when the memory type differs (unmap and map instead); no_memory. All or nothing.
    Result<TlbWork> protect(Ipa ipa, u64 bytes, const MapAttributes& attributes);
    /// Pays the debt: CPU and SMMU invalidation, then frees the unlinked tables.
    void complete(TlbWork&& work);
    /// Turns full tables of contiguous equal leaves that lie inside the range back into blocks. Never fails
    /// for memory; returns how many blocks were made. invalid_argument, overflow.
    Result<u64> merge(Ipa ipa, u64 bytes);

    /// invalid entries, tables and leaves on the way to `ipa`; outside the IPA space: not mapped, level 0.
    Walk walk(Ipa ipa) const;
    /// The PA behind `ipa`; not_found when unmapped.
    Result<Pa> translate(Ipa ipa) const;

  private:
    struct Reserve { // table pages taken before the first change, so that the change cannot fail
        Pa head = no_table;
    };

    Pa entry_address(Pa table, unsigned level, Ipa ipa) const;
    bool leaf_fits(unsigned level, Ipa ipa, Pa pa, u64 bytes) const;
    static u64 chunk_at(unsigned level, Ipa ipa, u64 bytes);
    Status check_ipa_range(Ipa ipa, u64 bytes) const;

    Status reserve_tables(Reserve& reserve, u64 count);
    Pa take_table(Reserve& reserve);
    void release_chain(Pa head);

    Result<u64> plan(Pa table, unsigned level, Ipa ipa, Pa pa, u64 bytes) const;
    Result<bool> map_pages_quickly(Ipa ipa, Pa pa, u64 bytes, u64 attributes);
    u64 tables_below(unsigned level, Ipa ipa, Pa pa, u64 bytes) const;
    void install(Pa table, unsigned level, Ipa ipa, Pa pa, u64 bytes, u64 attributes, Reserve& reserve);

    u64 tables_to_split(Ipa boundary) const;
    Status split_edges(Ipa ipa, u64 bytes);
    void split_at(Ipa boundary, Reserve& reserve);
    void split_entry(Pa entry, unsigned level, Ipa ipa, Reserve& reserve);

    void detach(Pa table, unsigned level, Ipa ipa, u64 bytes, EmptyTables tables, TlbWork& work);
    void retire_tree(Pa table, unsigned level, Ipa base, TlbWork& work);
    void retire(Pa table, TlbWork& work);
    bool is_empty(Pa table) const;

    Status check_mapped(Pa table, unsigned level, Ipa ipa, u64 bytes, MemoryType memory) const;
    void reprotect(Pa table, unsigned level, Ipa ipa, u64 bytes, u64 permissions, TlbWork& work);

    u64 merge_range(Pa table, unsigned level, Ipa ipa, u64 bytes);
    bool mergeable(Pa table, unsigned level, u64& first) const;

    void invalidate_now(Ipa ipa, u64 bytes, unsigned leaf_level);

    SpinLock lock_{LockRank::address_space};
    Geometry geometry_{};
    Pa root_ = no_table;
    u64 vttbr_ = 0;
    u64 table_pages_ = 0;
    Memory memory_{};
    LargestLeaf largest_ = LargestLeaf::block_1g;
    bool work_outstanding_ = false;
};

using AddressSpace = BasicAddressSpace<TableMemory>;

} // namespace atl::stage2
