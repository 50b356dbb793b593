// SPDX-License-Identifier: Apache-2.0
// Shares, the borrower's side: MEM_RETRIEVE_REQ and MEM_RELINQUISH, and the steps by which the owner or the
// death of either takes their place. See share.hpp.
#include "el2/ffa/share.hpp"

#include <algorithm>

#include "lib/panic.hpp"

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

/// Work goes from one 2 MiB boundary of the window to the next, so that it never cuts a block.
u32 pages_to_boundary(Ipa ipa) {
    return Window::block_pages - static_cast<u32>(ipa.page_number() & (Window::block_pages - 1));
}

} // namespace

Borrower* find_borrower(Share& share, VmId vm) {
    for (u32 i = 0; i < share.borrower_count; ++i) {
        if (share.borrowers[i].vm == vm) {
            return &share.borrowers[i];
        }
    }
    return nullptr;
}

/// FFA_MEM_RETRIEVE_REQ [DEN0140 §2.4]: the answer is in the RX buffer and in MEM_RETRIEVE_RESP's w1 and w2.
/// It is one range, so it is never fragmented.
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
    const auto t =
        read_transaction(GuestBytes{ports, caller, own.tx, call.w(1)}, mailboxes_.speaks_v1_1(caller));
    if (!t.ok()) {
        return t.error();
    }
    Share* const share = find(t->handle);
    if (share == nullptr || (share->state != ShareState::shared && share->state != ShareState::zeroing) ||
        tables_->receiving[share->owner.value] == share || forgetting(share->owner)) {
        return Error::invalid_argument;
    }
    for (u32 i = 0; i < t->endpoint_count; ++i) { // the others may be listed or not
        if (find_borrower(*share, t->endpoints[i].vm) == nullptr) {
            return Error::invalid_argument;
        }
    }
    Borrower* const b = find_borrower(*share, caller);
    if (b == nullptr) {
        return Error::invalid_argument;
    }
    const auto grant = check_retrieve(caller, *t, share->offer_to(*b));
    if (!grant.ok()) {
        return grant.error();
    }
    Budget budget(units_);
    if (share->state == ShareState::zeroing) { // nobody has it
        ATOLL_TRY(zero_step(ports, *share, budget));
    }
    switch (b->hold) {
    case Hold::none:
        ATOLL_TRY(begin_loan(*share, *b, *grant));
        break;
    case Hold::mapping:
    case Hold::accepting:
    case Hold::rolling_back:
        if (b->grant != *grant) {
            return Error::denied; // not what is being done
        }
        break;
    case Hold::held:
    case Hold::returning:
    case Hold::revoking:
        return Error::denied;
    }
    return loan(ports, *share, *b, budget);
}

/// none -> mapping. The buffer gets its range of the window.
Status Shares::begin_loan(const Share& share, Borrower& b, const Grant& grant) {
    if (!mailboxes_.rx_free(b.vm)) {
        return Error::busy; // known now rather than when all is mapped
    }
    const auto region = tables_->windows[b.vm.value].reserve(share.page_count, best_phase(share.runs),
                                                             share.handle, share.owner);
    if (!region.ok()) {
        return region.error();
    }
    b.hold = Hold::mapping;
    b.grant = grant;
    b.at = share.runs.begin();
    return {};
}

/// From mapping, accepting or rolling_back to the end of the retrieve.
Result<Reply> Shares::loan(const Ports& ports, Share& share, Borrower& b, Budget& budget) {
    if (b.hold == Hold::mapping) {
        Status status = map_step(ports, share, b, budget);
        if (status.ok()) {
            status = answer(ports, share, b);
        }
        if (status.ok()) {
            b.hold = share.kind == Kind::donate ? Hold::accepting : Hold::held;
            b.at = share.kind == Kind::donate ? share.runs.begin() : b.at;
            share.zero_after |= b.grant.zero_after;
        } else if (status.error() == Error::interrupted) {
            return status.error();
        } else {
            b.error = status.error();
            begin_unmap(share, b, Hold::rolling_back);
        }
    }
    if (b.hold == Hold::rolling_back) {
        ATOLL_TRY(unmap_step(ports, share, b, budget));
        Window& window = tables_->windows[b.vm.value];
        window.remove(window.find(share.handle));
        let_go(share, b);
        return b.error;
    }
    if (b.hold == Hold::accepting) {
        ATOLL_TRY(accept_step(ports, share, b, budget));
    }
    const u32 length = response_length(mailboxes_.speaks_v1_1(b.vm));
    return Reply{{FFA_MEM_RETRIEVE_RESP, length, length, 0, 0, 0, 0, 0}};
}

/// Counts and maps; a part that fails is undone, those before it stay.
Status Shares::map_step(const Ports& ports, const Share& share, Borrower& b, Budget& budget) {
    Window& window = tables_->windows[b.vm.value];
    const Ipa base = window.base_of(*window.find(share.handle));
    PaRun piece{};
    while (b.at.page != nullptr) {
        if (budget.empty()) {
            return Error::interrupted;
        }
        const Ipa ipa = base + u64{b.at.done} * page_size;
        Cursor next = b.at;
        const auto runs = next.take(piece, pages_to_boundary(ipa));
        ATOLL_TRY(ports.retrieve(ports.context, b.vm, runs));
        const Status mapped = ports.map(ports.context, b.vm, ipa, runs, b.grant.access, b.grant.execute);
        if (!mapped.ok()) {
            ports.unmap(ports.context, b.vm, ipa, next.done - b.at.done);
            ports.relinquish(ports.context, b.vm, runs);
            return mapped;
        }
        budget.spend(next.done - b.at.done);
        b.at = next;
    }
    return {};
}

/// All is mapped: tells the borrower where.
Status Shares::answer(const Ports& ports, const Share& share, const Borrower& b) {
    Window& window = tables_->windows[b.vm.value];
    const auto rx = mailboxes_.begin_rx(b.vm);
    if (!rx.ok()) {
        return rx.error();
    }
    const u32 flags = type_flag(share.kind) | (share.zeroed ? FFA_MEM_FLAG_ZERO : 0);
    const Status written =
        write_response(ports, rx->rx,
                       {share.owner, b.vm, share.handle, share.tag, flags, b.grant.access, b.grant.execute,
                        window.base_of(*window.find(share.handle)), share.page_count},
                       mailboxes_.speaks_v1_1(b.vm));
    mailboxes_.end_rx(ports, b.vm, written.ok());
    return written;
}

/// accepting -> the pages are the receiver's, and the share is free. Cannot fail: it goes forward whoever
/// dies.
Status Shares::accept_step(const Ports& ports, Share& share, Borrower& b, Budget& budget) {
    ATOLL_TRY(sweep(b.at, budget, counting, [&](std::span<const PaRun> runs) {
        ports.accept(ports.context, share.owner, b.vm, runs);
        return Status{};
    }));
    Region& region = *tables_->windows[b.vm.value].find(share.handle);
    region.state = RegionState::given;
    region.cleared = 0;
    share.charged = false; // it stays charged to the donor until the region ends
    free_share(ports, share);
    return {};
}

/// What is mapped so far is to be unmapped.
void Shares::begin_unmap(const Share& share, Borrower& b, Hold hold) {
    b.hold = hold;
    b.mapped = b.at.done;
    b.at = share.runs.begin();
}

/// Unmapped everywhere first, and only then not counted any more.
Status Shares::unmap_step(const Ports& ports, const Share& share, Borrower& b, Budget& budget) {
    Window& window = tables_->windows[b.vm.value];
    const Ipa base = window.base_of(*window.find(share.handle));
    PaRun piece{};
    while (b.at.done < b.mapped) {
        if (budget.empty()) {
            return Error::interrupted;
        }
        const Ipa ipa = base + u64{b.at.done} * page_size;
        const u32 pages = std::min(pages_to_boundary(ipa), b.mapped - b.at.done);
        ports.unmap(ports.context, b.vm, ipa, pages);
        for (const u32 end = b.at.done + pages; b.at.done < end;) {
            ports.relinquish(ports.context, b.vm, b.at.take(piece, end - b.at.done));
        }
        budget.spend(pages + Budget::invalidation);
    }
    return {};
}

/// Nothing of it is mapped any more. The last one to let go decides what becomes of the pages.
void Shares::let_go(Share& share, Borrower& b) {
    b.hold = Hold::none;
    if (share.held()) {
        return;
    }
    if (share.state == ShareState::orphan) {
        share.state = ShareState::freeing;
        share.at = share.runs.begin();
    } else if (share.state == ShareState::shared && share.zero_after) {
        share.state = ShareState::zeroing; // done before the owner or the next borrower gets it
        share.at = share.runs.begin();
        share.zero_after = false;
    }
}

/// Takes it from the borrower, whatever it was doing. The range of one that had it stays taken, so that a
/// stale pointer meets nothing else and an unfinished MEM_RELINQUISH finds its end.
Status Shares::force_step(const Ports& ports, Share& share, Borrower& b, Budget& budget) {
    if (b.hold == Hold::none) {
        return {};
    }
    Window& window = tables_->windows[b.vm.value];
    if (b.hold == Hold::mapping) {
        b.error = Error::denied;
        begin_unmap(share, b, Hold::rolling_back);
    } else if (b.hold == Hold::held) {
        begin_unmap(share, b, Hold::revoking);
    }
    Region* const region = window.find(share.handle);
    if (b.hold != Hold::rolling_back) {
        region->state = RegionState::revoked; // from now on, a fault there gets the answer for revoked memory
    }
    ATOLL_TRY(unmap_step(ports, share, b, budget));
    if (b.hold == Hold::rolling_back) {
        window.remove(region);
    }
    let_go(share, b);
    return {};
}

/// The region leaves the window. What it held is given back, or was taken before.
Status Shares::leave_step(const Ports& ports, VmId borrower, Region& region, Budget& budget) {
    Window& window = tables_->windows[borrower.value];
    Share* const share = find(region.handle);
    Borrower* const b = share == nullptr ? nullptr : find_borrower(*share, borrower);
    if (b != nullptr && b->hold != Hold::none) {
        if (b->hold == Hold::mapping || b->hold == Hold::held) {
            begin_unmap(*share, *b, Hold::returning);
        }
        ATOLL_TRY(unmap_step(ports, *share, *b, budget));
        let_go(*share, *b);
    }
    if (share != nullptr && share->state == ShareState::freeing) {
        ATOLL_TRY(free_step(ports, *share, budget));
    }
    if (region.state != RegionState::live) { // stand-in pages may be there
        region.state = RegionState::leaving;
        while (region.cleared < region.page_count) {
            if (budget.empty()) {
                return Error::interrupted;
            }
            const Ipa ipa = window.base_of(region) + u64{region.cleared} * page_size;
            const u32 pages = std::min(pages_to_boundary(ipa), region.page_count - region.cleared);
            ports.unmap(ports.context, borrower, ipa, pages);
            region.cleared += pages;
            budget.spend(pages + Budget::invalidation);
        }
    }
    window.remove(&region);
    return {};
}

/// FFA_MEM_RELINQUISH [DEN0140 §2.5]: the descriptor is in the TX buffer. Also the way out of a retrieve that
/// is not finished.
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
    if (request->endpoint != caller ||
        (request->flags & ~(FFA_MEM_FLAG_ZERO | FFA_MEM_FLAG_TIME_SLICE)) != 0) {
        return Error::invalid_argument;
    }
    Share* const share = find(request->handle);
    Region* const region = tables_->windows[caller.value].find(request->handle);
    if (region == nullptr) {
        return share != nullptr ? Error::denied : Error::invalid_argument;
    }
    if (Borrower* const b = share == nullptr ? nullptr : find_borrower(*share, caller);
        b != nullptr && b->hold != Hold::none) {
        if (b->hold == Hold::accepting) {
            return Error::denied; // it is on the way to being the caller's own
        }
        if ((request->flags & FFA_MEM_FLAG_ZERO) != 0) {
            if (share->kind == Kind::share) {
                return Error::invalid_argument;
            }
            if (b->grant.access == Access::read_only) {
                return Error::denied;
            }
            share->zero_after = true;
        }
    }
    Budget budget(units_);
    ATOLL_TRY(leave_step(ports, caller, *region, budget));
    return success();
}

} // namespace atl::ffa
