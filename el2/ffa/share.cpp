// SPDX-License-Identifier: Apache-2.0
// Shares, the owner's side: MEM_SHARE and its fragments, MEM_RECLAIM. See share.hpp.
#include "el2/ffa/share.hpp"

#include <algorithm>

#include "lib/panic.hpp"

namespace atl::ffa {

namespace {

/// Bit 63 says that the hypervisor allocated the handle [DEN0140 §1.8]; bits 9:0 are the slot, the rest is
/// random.
constexpr u64 handle_by_hypervisor = u64{1} << 63;
constexpr u64 slot_mask = max_handles - 1;
static_assert((max_handles & slot_mask) == 0);

/// Normal write-back memory, inner shareable or outer shareable: what a borrower gets [DEN0140 §1.10.4].
bool acceptable_attributes(u16 attributes) {
    return (attributes & ~0x3u) == (FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK) && (attributes & 0x2) != 0;
}

constexpr u32 range_size = sizeof(ffa_mem_region_addr_range);

} // namespace

Status Shares::add(const Endpoint& endpoint) {
    ATOLL_TRY(tables_->windows[endpoint.id.value].init(endpoint.window));
    tables_->storage_quota[endpoint.id.value] = max_storage_pages_per_vm;
    return {};
}

Share* Shares::find(u64 handle) {
    Share& share = tables_->shares[handle & slot_mask];
    return share.state != ShareState::free && share.handle == handle ? &share : nullptr;
}

Share* Shares::find_free(VmId owner) {
    Share* const first = &tables_->shares[(owner.value - 1u) * max_handles_per_vm];
    for (Share* share = first; share != first + max_handles_per_vm; ++share) {
        if (share->state == ShareState::free) {
            return share;
        }
    }
    return nullptr;
}

/// A value that was not used for this slot the last time and that nobody can guess (splitmix64 over a secret
/// seed).
u64 Shares::new_handle(const Share& share) {
    const auto slot = static_cast<u64>(&share - tables_->shares);
    u64 handle = 0;
    do {
        u64 z = tables_->handle_state += 0x9e37'79b9'7f4a'7c15;
        z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
        z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
        z ^= z >> 31;
        handle = (z & ~slot_mask) | slot | handle_by_hypervisor;
    } while (handle == share.handle || handle == ~u64{0});
    return handle;
}

/// What a sender may say in a share transaction [DEN0140 §1.10.2, §2.1].
Status Shares::check_share(VmId caller, const Transaction& t) const {
    if (t.sender != caller || t.handle != 0 || (t.flags & ~FFA_MEM_FLAG_TIME_SLICE) != 0 ||
        t.composite_offset == 0) {
        return Error::invalid_argument;
    }
    if (!acceptable_attributes(t.attributes)) {
        return (t.attributes & 0xffc0) != 0 ? Error::invalid_argument : Error::denied;
    }
    for (u32 i = 0; i < t.endpoint_count; ++i) {
        const EndpointAccess& e = t.endpoints[i];
        const u32 data = e.permissions & 0x3;
        const u32 instructions = e.permissions & 0xc; // borrowers never execute shared memory
        if (!mailboxes_.known(e.vm) || e.vm == caller || e.flags != 0 ||
            (data != FFA_MEM_PERM_RO && data != FFA_MEM_PERM_RW) ||
            (instructions != 0 && instructions != FFA_MEM_PERM_NX)) {
            return Error::invalid_argument;
        }
        if (!mailboxes_.allowed(caller, e.vm)) {
            return Error::denied;
        }
    }
    return {};
}

/// FFA_MEM_SHARE [DEN0140 §2.1]: w1 total length, w2 length of this fragment, w3/w4 zero: the TX buffer is
/// used.
Result<Reply> Shares::share(const Ports& ports, VmId caller, const Call& call) {
    LockGuard guard(lock_);
    const Buffers own = mailboxes_.buffers(caller);
    const bool wide = (call.function() & FFA_FN64) != 0;
    const u64 buffer = wide ? call.x[3] : call.w(3);
    if (own.page_count == 0) {
        return Error::denied;
    }
    if (buffer != 0 || call.w(4) != 0 || call.w(2) > call.w(1) || call.w(2) > own.size()) {
        return Error::invalid_argument;
    }
    if (tables_->receiving[caller.value] != nullptr) {
        return Error::busy;
    }
    return begin_share(ports, caller, GuestBytes{ports, caller, own.tx, call.w(2)}, call.w(1));
}

Result<Reply> Shares::begin_share(const Ports& ports, VmId caller, const GuestBytes& bytes,
                                  u32 total_length) {
    const auto t = read_transaction(bytes, mailboxes_.speaks_v1_1(caller));
    if (!t.ok()) {
        return t.error();
    }
    ATOLL_TRY(check_share(caller, *t));
    const auto composite = read_composite(bytes, t->composite_offset);
    if (!composite.ok()) {
        return composite.error();
    }
    const u64 ranges_offset = u64{t->composite_offset} + sizeof(ffa_composite_mem_region);
    if (total_length != ranges_offset + u64{composite->range_count} * range_size) {
        return Error::invalid_argument;
    }
    Share* const share = find_free(caller);
    if (share == nullptr) {
        return Error::no_memory;
    }
    share->state = ShareState::receiving;
    share->owner = caller;
    share->handle = new_handle(*share);
    share->tag = t->tag;
    share->page_count = composite->page_count;
    share->pages_left = composite->page_count;
    share->total_length = total_length;
    share->received_length = static_cast<u32>(bytes.size);
    share->borrower_count = static_cast<u8>(t->endpoint_count);
    for (u32 i = 0; i < t->endpoint_count; ++i) {
        const bool writable = (t->endpoints[i].permissions & FFA_MEM_PERM_RW) != 0;
        share->borrowers[i] = {t->endpoints[i].vm, writable ? Access::read_write : Access::read_only, false};
    }
    if (const auto status = claim_ranges(ports, *share, bytes, ranges_offset); !status.ok()) {
        destroy(ports, *share);
        return status.error();
    }
    return transfer_reply(*share);
}

/// Claims every constituent from `offset` to the end of the fragment. Constituents are never split between
/// fragments.
Status Shares::claim_ranges(const Ports& ports, Share& share, const GuestBytes& bytes, u64 offset) {
    if ((bytes.size - offset) % range_size != 0) {
        return Error::invalid_argument;
    }
    const Buffers own = mailboxes_.buffers(share.owner);
    ffa_mem_region_addr_range chunk[32];
    while (offset < bytes.size) {
        const std::span<ffa_mem_region_addr_range> part(
            chunk, std::min<u64>(std::size(chunk), (bytes.size - offset) / range_size));
        ATOLL_TRY(bytes.read(offset, std::as_writable_bytes(part)));
        for (const auto& range : part) {
            ATOLL_TRY(claim_range(ports, share, own, range));
        }
        offset += part.size_bytes();
    }
    if (share.received_length == share.total_length && share.pages_left != 0) {
        return Error::invalid_argument; // fewer pages than the composite descriptor promised
    }
    return {};
}

Status Shares::claim_range(const Ports& ports, Share& share, const Buffers& own,
                           const ffa_mem_region_addr_range& range) {
    const u64 size = u64{range.pg_cnt} * page_size;
    if (range.reserved != 0 || range.pg_cnt == 0 || range.pg_cnt > share.pages_left ||
        (range.address & (page_size - 1)) != 0 || range.address >= ipa_limit ||
        size > ipa_limit - range.address) {
        return Error::invalid_argument;
    }
    Ipa ipa{range.address};
    if (own.overlaps(ipa, size)) {
        return Error::denied; // RX and TX buffers are never shared
    }
    share.pages_left -= range.pg_cnt;
    for (u64 left = range.pg_cnt; left != 0;) {
        const auto run = ports.claim(ports.context, share.owner, ipa, left);
        if (!run.ok()) {
            return run.error();
        }
        ATOLL_CHECK(run->page_count != 0 && run->page_count <= left);
        const auto added = share.runs.append(ports, *run, tables_->storage_quota[share.owner.value]);
        if (!added.ok()) {
            ports.release(ports.context, share.owner, std::span<const PaRun>(&*run, 1));
            return added.error();
        }
        left -= run->page_count;
        ipa += run->page_count * page_size;
    }
    return {};
}

/// SUCCESS with the handle, or MEM_FRAG_RX that asks for the rest [DEN0140 §2.9].
Result<Reply> Shares::transfer_reply(Share& share) {
    Share*& unfinished = tables_->receiving[share.owner.value];
    if (share.received_length == share.total_length) {
        share.state = ShareState::shared;
        unfinished = nullptr;
        return success_handle(share.handle);
    }
    unfinished = &share;
    return Reply{{FFA_MEM_FRAG_RX, static_cast<u32>(share.handle), share.handle >> 32, share.received_length,
                  0, 0, 0, 0}};
}

/// FFA_MEM_FRAG_TX [DEN0140 §2.10]: w1/w2 handle, w3 length of the fragment in the TX buffer, w4 zero from a
/// VM. A bad fragment ends the transfer; a call that does not belong to the transfer leaves it alone.
Result<Reply> Shares::fragment(const Ports& ports, VmId caller, const Call& call) {
    LockGuard guard(lock_);
    Share* const share = tables_->receiving[caller.value];
    const u32 sender = call.w(4) >> 16;
    if (share == nullptr || share->handle != call.pair(1) || (sender != 0 && sender != caller.value) ||
        (call.w(4) & 0xffff) != 0) {
        return Error::invalid_argument;
    }
    const Buffers own = mailboxes_.buffers(caller);
    const u32 length = call.w(3);
    Status status = Error::invalid_argument;
    if (length != 0 && length <= own.size() && length <= share->total_length - share->received_length) {
        share->received_length += length;
        status = claim_ranges(ports, *share, GuestBytes{ports, caller, own.tx, length}, 0);
    }
    if (!status.ok()) {
        abort_transfer(ports, caller);
        return status.error();
    }
    return transfer_reply(*share);
}

void Shares::abort_transfer(const Ports& ports, VmId vm) {
    if (Share* const share = tables_->receiving[vm.value]; share != nullptr) {
        tables_->receiving[vm.value] = nullptr;
        destroy(ports, *share);
    }
}

/// Shared pages are the owner's alone again; those of an orphan go back to the pool. Nobody has them
/// retrieved.
void Shares::destroy(const Ports& ports, Share& share) {
    for (const RunPage* page = share.runs.first(); page != nullptr; page = page->next) {
        if (share.state == ShareState::orphan) {
            ports.free_retained(ports.context, page->span());
        } else {
            ports.release(ports.context, share.owner, page->span());
        }
    }
    share.runs.clear(ports, tables_->storage_quota[share.owner.value]);
    share.state = ShareState::free; // the handle value stays, so that the next one differs
}

/// FFA_MEM_RECLAIM [DEN0140 §2.6]: w1/w2 handle, w3 flags. Of an unfinished transfer: gives it up.
Result<Reply> Shares::reclaim(const Ports& ports, VmId caller, const Call& call) {
    LockGuard guard(lock_);
    Share* const share = find(call.pair(1));
    if (share == nullptr || share->owner != caller || share->state == ShareState::orphan ||
        (call.w(3) & ~FFA_MEM_FLAG_TIME_SLICE) != 0) {
        return Error::invalid_argument;
    }
    if (share->state == ShareState::receiving) {
        abort_transfer(ports, caller);
        return success();
    }
    if (share->retrieved()) {
        return Error::denied;
    }
    destroy(ports, *share);
    return success();
}

} // namespace atl::ffa
