// SPDX-License-Identifier: Apache-2.0
// What FF-A needs from the rest of EL2, as functions with a context: guest memory, page records, stage 2,
// storage, the notification interrupt. The target binds them to the page ledger, the address spaces and the
// vGIC; host tests bind fakes. FF-A calls them with its share_ledger lock held unless said otherwise, so they
// may take any later rank.
#pragma once
#include <cstddef>
#include <span>

#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::ffa {

/// Physically contiguous pages; page_count is never 0.
struct PaRun {
    Pa base;
    u64 page_count;
};

enum class Access : u8 { read_only, read_write };

/// How memory goes to others [DEN0140]: the owner keeps its access, loses it until MEM_RECLAIM, or for good.
enum class Kind : u8 { share, lend, donate };

/// None may be null. Where the return type is void the operation cannot fail: its conditions were established
/// by an earlier call under the same lock, and a violation is EL2's own bug.
struct Ports {
    void* context;

    /// Copies guest memory. The whole range must be RAM that `vm` owns (shared with others or not), else an
    /// error and nothing is promised about the bytes. Called with and without the share_ledger lock, never
    /// under another.
    Status (*read_guest)(void* context, VmId vm, Ipa ipa, std::span<std::byte> bytes);
    Status (*write_guest)(void* context, VmId vm, Ipa ipa, std::span<const std::byte> bytes);

    /// Ok when every page of the range is RAM that `vm` owns exclusively (state owned, not shared).
    Status (*check_owned)(void* context, VmId vm, Ipa ipa, u64 page_count);
    /// owned -> shared, lent or donating: translates `ipa` and claims the longest physically contiguous run of
    /// exclusively owned pages from there, at most max_pages. An error (denied, invalid_argument) when the
    /// first page cannot be claimed: not owned, or claimed already, which is how duplicates are found. What
    /// was donated to the owner can be shared only. The owner's mapping is left alone.
    Result<PaRun> (*claim)(void* context, VmId owner, Kind kind, Ipa ipa, u64 max_pages);
    /// Takes lent or donated pages out of the owner's map; returns when no CPU and no device of the owner
    /// reaches them. no_memory: some may be out; release() puts them back.
    Status (*hide)(void* context, VmId owner, std::span<const PaRun> runs);
    /// shared, lent, donating -> owned, and back in the owner's map. No borrower has them mapped or counted
    /// any more. Needs no memory, provided that it gets the runs cut as hide() got them.
    void (*release)(void* context, VmId owner, Kind kind, std::span<const PaRun> runs);
    /// Fills pages with zeroes that neither a VM nor a device reaches.
    void (*zero)(void* context, std::span<const PaRun> runs);
    /// Mapping count of each page + 1: all of the runs or none.
    Status (*retrieve)(void* context, VmId borrower, std::span<const PaRun> runs);
    /// Mapping count of each page - 1; the pages are unmapped and every TLB knows.
    void (*relinquish)(void* context, VmId borrower, std::span<const PaRun> runs);
    /// donating -> owned by the receiver, which alone has them mapped and counted.
    void (*accept)(void* context, VmId donor, VmId receiver, std::span<const PaRun> runs);
    /// Part of a dead VM's window that held donated memory: unmaps at most max_pages from `ipa`, and scrubs and
    /// frees those that are still the VM's own. Returns how many pages it went on, at least one; it cuts no
    /// block. The VM's own shares have ended.
    u64 (*end_gift)(void* context, VmId vm, Ipa ipa, u64 max_pages);
    /// shared, lent -> retained: the owner died while borrowers have the pages mapped. They are no longer part of
    /// its RAM.
    void (*retain)(void* context, VmId owner, std::span<const PaRun> runs);
    /// retained -> free: the last borrower is gone. Scrubs and returns the pages to the pool.
    void (*free_retained)(void* context, std::span<const PaRun> runs);

    /// Maps the runs one after the other from `ipa`, normal write-back, for CPU and DMA.
    /// The range is unmapped before. After an error any part of this call's range may be mapped: unmap
    /// follows.
    Status (*map)(void* context, VmId borrower, Ipa ipa, std::span<const PaRun> runs, Access access,
                  bool execute);
    /// Unmaps whatever is mapped in the range; holes are fine, as is a scratch page that stands in for
    /// revoked memory. Returns when CPU TLBs and SMMU have completed. It is called with
    /// the pieces of a buffer between 2 MiB boundaries of the window, so no block is ever split.
    void (*unmap)(void* context, VmId borrower, Ipa ipa, u64 page_count);

    /// One page of EL2's own memory, 4 KiB aligned, content undefined; nullptr when the pool is empty.
    std::byte* (*alloc_page)(void* context);
    void (*free_page)(void* context, std::byte* page);

    /// Makes the edge interrupt notification_intid of `vm` pending and wakes who takes it. Called with or
    /// without the share_ledger lock.
    void (*raise_notification)(void* context, VmId vm);
};

} // namespace atl::ffa
