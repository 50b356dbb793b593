// SPDX-License-Identifier: Apache-2.0
// Shares, the borrower's side: MEM_RETRIEVE_REQ and MEM_RELINQUISH; and the two ends that are not orderly:
// revocation by the owner, and the death of either. See share.hpp.
#include "el2/ffa/share.hpp"

namespace atl::ffa {

namespace {

/// Where in a 2 MiB block the buffer had best start: as its first large run does, so that blocks map onto
/// blocks.
u32 best_phase(const RunList& runs) {
    u64 before = 0;
    for (const RunPage* page = runs.first(); page != nullptr; page = page->next) {
        for (const PaRun& run : page->span()) {
            if (run.page_count >= Window::block_pages) {
                return static_cast<u32>((run.base.page_number() - before) & (Window::block_pages - 1));
            }
            before += run.page_count;
        }
    }
    return 0;
}

Borrower* find_borrower(Share& share, VmId vm) {
    for (u32 i = 0; i < share.borrower_count; ++i) {
        if (share.borrowers[i].vm == vm) {
            return &share.borrowers[i];
        }
    }
    return nullptr;
}

/// Retrieve flags that a borrower may set: time slicing, the transaction type, and the alignment hint, which
/// is only a hint [DEN0140 §1.10.4.2]. Zeroing is for memory that somebody gave away; bit 10 is about whom
/// the request lists.
constexpr u32 retrieve_flags = FFA_MEM_FLAG_TIME_SLICE | FFA_MEM_FLAG_TYPE_MASK | 0x3e0 | 0x400;

} // namespace

/// The request must repeat what the owner said [DEN0140 §2.4]: sender, tag and type; it may ask for less
/// access.
Result<Borrower*> Shares::check_retrieve(VmId caller, const Transaction& t, Share& share,
                                         Access& access) const {
    const u32 type = t.flags & FFA_MEM_FLAG_TYPE_MASK;
    if (t.sender != share.owner || t.tag != share.tag || t.composite_offset != 0 ||
        (t.flags & ~retrieve_flags) != 0 || (type != 0 && type != FFA_MEM_FLAG_TYPE_SHARE)) {
        return Error::invalid_argument;
    }
    if (t.attributes != 0 &&
        t.attributes != (FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER)) {
        return Error::denied;
    }
    u32 permissions = 0;
    bool listed = false;
    for (u32 i = 0; i < t.endpoint_count; ++i) { // the others may be listed or not
        if (find_borrower(share, t.endpoints[i].vm) == nullptr || (t.endpoints[i].flags & ~1u) != 0) {
            return Error::invalid_argument;
        }
        if (t.endpoints[i].vm == caller) {
            permissions = t.endpoints[i].permissions;
            listed = true;
        }
    }
    if (!listed) {
        return Error::invalid_argument;
    }
    const u32 data = permissions & 0x3;
    if (data == 0x3 || (permissions & 0xc) == 0xc) {
        return Error::invalid_argument;
    }
    Borrower& borrower = *find_borrower(share, caller);
    if (borrower.retrieved || (permissions & FFA_MEM_PERM_X) != 0 ||
        (data == FFA_MEM_PERM_RW && borrower.access == Access::read_only)) {
        return Error::denied;
    }
    access = data == FFA_MEM_PERM_RO ? Access::read_only : borrower.access;
    return &borrower;
}

/// Counts and maps all runs, or nothing.
Status Shares::attach(const Ports& ports, VmId borrower, const Share& share, const Region& region,
                      Access access) {
    const Ipa base = tables_->windows[borrower.value].base_of(region);
    Status status;
    const RunPage* failed = share.runs.first();
    for (; failed != nullptr; failed = failed->next) {
        if (status = ports.retrieve(ports.context, borrower, failed->span()); !status.ok()) {
            break;
        }
    }
    Ipa at = base;
    for (const RunPage* page = share.runs.first(); page != nullptr && status.ok(); page = page->next) {
        status = ports.map(ports.context, borrower, at, page->span(), access);
        for (const PaRun& run : page->span()) {
            at += run.page_count * page_size;
        }
    }
    if (status.ok()) {
        return {};
    }
    if (at != base) {
        ports.unmap(ports.context, borrower, base, share.page_count);
    }
    for (const RunPage* page = share.runs.first(); page != failed; page = page->next) {
        ports.relinquish(ports.context, borrower, page->span());
    }
    return status;
}

/// Unmapped everywhere first, and only then not counted any more.
void Shares::detach(const Ports& ports, VmId borrower, const Share& share, const Region& region) {
    ports.unmap(ports.context, borrower, tables_->windows[borrower.value].base_of(region), region.page_count);
    for (const RunPage* page = share.runs.first(); page != nullptr; page = page->next) {
        ports.relinquish(ports.context, borrower, page->span());
    }
}

/// FFA_MEM_RETRIEVE_REQ [DEN0140 §2.4]: the answer is in the RX buffer and in MEM_RETRIEVE_RESP's w1 and w2.
Result<Reply> Shares::retrieve(const Ports& ports, VmId caller, const Call& call) {
    LockGuard guard(lock_);
    const Buffers own = mailboxes_.buffers(caller);
    const bool wide = (call.function() & FFA_FN64) != 0;
    if (own.page_count == 0) {
        return Error::denied;
    }
    if ((wide ? call.x[3] : call.w(3)) != 0 || call.w(4) != 0 || call.w(1) != call.w(2) ||
        call.w(1) > own.size()) {
        return Error::invalid_argument;
    }
    const bool v1_1 = mailboxes_.speaks_v1_1(caller);
    const auto t = read_transaction(GuestBytes{ports, caller, own.tx, call.w(1)}, v1_1);
    if (!t.ok()) {
        return t.error();
    }
    Share* const share = find(t->handle);
    if (share == nullptr || share->state != ShareState::shared) {
        return Error::invalid_argument;
    }
    Access access{};
    const auto borrower = check_retrieve(caller, *t, *share, access);
    if (!borrower.ok()) {
        return borrower.error();
    }
    ATOLL_TRY(mailboxes_.begin_rx(caller));
    Window& window = tables_->windows[caller.value];
    const auto region =
        window.reserve(share->page_count, best_phase(share->runs), share->handle, share->owner);
    if (!region.ok()) {
        mailboxes_.end_rx(ports, caller, false);
        return region.error();
    }
    Result<u32> length = Error::no_memory;
    const Status attached = attach(ports, caller, *share, **region, access);
    if (attached.ok()) {
        length = write_response(ports, own.rx,
                                {share->owner, caller, share->handle, share->tag, access,
                                 window.base_of(**region), share->page_count},
                                v1_1);
        if (!length.ok()) {
            detach(ports, caller, *share, **region);
        }
    } else {
        length = attached.error();
    }
    if (!length.ok()) {
        window.remove(*region);
        mailboxes_.end_rx(ports, caller, false);
        return length.error();
    }
    (*borrower)->retrieved = true;
    mailboxes_.end_rx(ports, caller, true);
    return Reply{{FFA_MEM_RETRIEVE_RESP, *length, *length, 0, 0, 0, 0, 0}};
}

/// The region leaves the window. What it held is given back, or was taken before.
void Shares::end_loan(const Ports& ports, VmId borrower, Region& region) {
    Window& window = tables_->windows[borrower.value];
    Share* const share = region.revoked ? nullptr : find(region.handle);
    if (share == nullptr) {
        ports.unmap(ports.context, borrower, window.base_of(region), region.page_count);
    } else {
        detach(ports, borrower, *share, region);
        find_borrower(*share, borrower)->retrieved = false;
        if (share->state == ShareState::orphan && !share->retrieved()) {
            destroy(ports, *share);
        }
    }
    window.remove(&region);
}

/// FFA_MEM_RELINQUISH [DEN0140 §2.5]: the descriptor is in the TX buffer.
Result<Reply> Shares::relinquish(const Ports& ports, VmId caller) {
    LockGuard guard(lock_);
    const Buffers own = mailboxes_.buffers(caller);
    if (own.page_count == 0) {
        return Error::denied;
    }
    const auto request = read_relinquish(GuestBytes{ports, caller, own.tx, own.size()});
    if (!request.ok()) {
        return request.error();
    }
    if (request->endpoint != caller || (request->flags & ~FFA_MEM_FLAG_TIME_SLICE) != 0) {
        return Error::invalid_argument;
    }
    Region* const region = tables_->windows[caller.value].find(request->handle);
    if (region == nullptr) {
        return find(request->handle) != nullptr ? Error::denied : Error::invalid_argument;
    }
    end_loan(ports, caller, *region);
    return success();
}

/// Unmaps it from every borrower. Their ranges stay taken, marked, until each of them relinquishes or dies.
void Shares::take_back(const Ports& ports, Share& share) {
    for (u32 i = 0; i < share.borrower_count; ++i) {
        Borrower& borrower = share.borrowers[i];
        if (borrower.retrieved) {
            Region* const region = tables_->windows[borrower.vm.value].find(share.handle);
            detach(ports, borrower.vm, share, *region);
            region->revoked = true;
            borrower.retrieved = false;
        }
    }
    destroy(ports, share);
}

/// ATOLL_MEM_REVOKE: MEM_RECLAIM that does not ask.
Status Shares::revoke(const Ports& ports, VmId caller, u64 handle) {
    LockGuard guard(lock_);
    Share* const share = find(handle);
    if (share == nullptr || share->owner != caller || share->state != ShareState::shared) {
        return Error::invalid_argument;
    }
    take_back(ports, *share);
    return {};
}

u32 Shares::forget(const Ports& ports, VmId vm, Held held) {
    LockGuard guard(lock_);
    u32 others = 0;
    abort_transfer(ports, vm);
    Window& window = tables_->windows[vm.value];
    while (window.count() != 0) {
        Region& region = window[window.count() - 1];
        others |= 1u << region.owner.value;
        end_loan(ports, vm, region);
    }
    for (Share& share : tables_->shares) {
        if (share.state != ShareState::shared) {
            continue;
        }
        if (share.owner != vm) {
            others |= find_borrower(share, vm) != nullptr ? 1u << share.owner.value : 0;
            continue;
        }
        for (u32 i = 0; i < share.borrower_count; ++i) {
            others |= 1u << share.borrowers[i].vm.value;
        }
        if (!share.retrieved() || held == Held::revoke) {
            take_back(ports, share);
            continue;
        }
        for (const RunPage* page = share.runs.first(); page != nullptr; page = page->next) {
            ports.retain(ports.context, vm, page->span());
        }
        share.state = ShareState::orphan;
    }
    return others & ~(1u << vm.value);
}

} // namespace atl::ffa
