// SPDX-License-Identifier: Apache-2.0
// Shares, the way back: MEM_RECLAIM, ATOLL_MEM_REVOKE, and what ends a share without its owner. See share.hpp.
#include "el2/ffa/share.hpp"

namespace atl::ffa {

/// zeroing -> shared. Nobody reaches the pages.
Status Shares::zero_step(const Ports& ports, Share& share, Budget& budget) {
    ATOLL_TRY(sweep(share.at, budget, zero_filling, [&](std::span<const PaRun> runs) {
        ports.zero(ports.context, runs);
        return Status{};
    }));
    share.state = ShareState::shared;
    return {};
}

/// Nobody has it retrieved.
void Shares::begin_end(Share& share, bool zero_first, Error error) {
    share.state = ShareState::ending;
    share.zero_first = zero_first;
    share.error = error;
    share.at = share.runs.begin();
}

/// ending -> free: the pages are the owner's alone again.
Status Shares::end_step(const Ports& ports, Share& share, Budget& budget) {
    if (share.zero_first) {
        ATOLL_TRY(sweep(share.at, budget, zero_filling, [&](std::span<const PaRun> runs) {
            ports.zero(ports.context, runs);
            return Status{};
        }));
        share.zero_first = false;
        share.at = share.runs.begin();
    }
    ATOLL_TRY(sweep(share.at, budget, counting, [&](std::span<const PaRun> runs) {
        ports.release(ports.context, share.owner, share.kind, runs);
        return Status{};
    }));
    free_share(ports, share);
    return {};
}

/// freeing -> free: the pages go back to the pool.
Status Shares::free_step(const Ports& ports, Share& share, Budget& budget) {
    ATOLL_TRY(sweep(share.at, budget, zero_filling, [&](std::span<const PaRun> runs) {
        ports.free_retained(ports.context, runs);
        return Status{};
    }));
    free_share(ports, share);
    return {};
}

Status Shares::abort_transfer(const Ports& ports, VmId vm) {
    Share* const share = tables_->receiving[vm.value];
    if (share == nullptr) {
        return {};
    }
    if (share->state != ShareState::ending) {
        begin_end(*share, false, Error::denied);
    }
    Budget budget(units_);
    return end_step(ports, *share, budget);
}

/// FFA_MEM_RECLAIM [DEN0140 §2.6]: w1/w2 handle, w3 flags. Of an unfinished transfer: gives it up. Of an
/// unfinished MEM_REVOKE, or MEM_RECLAIM on another CPU: goes on with it.
Result<Reply> Shares::reclaim(const Ports& ports, VmId caller, const Call& call) {
    LockGuard guard(lock_);
    Share* const share = find(call.pair(1));
    if (share == nullptr || share->owner != caller) {
        return Error::invalid_argument;
    }
    const u32 flags = call.w(3);
    const bool zero = (flags & FFA_MEM_FLAG_ZERO) != 0;
    if ((flags & ~(FFA_MEM_FLAG_ZERO | FFA_MEM_FLAG_TIME_SLICE)) != 0 ||
        (zero && share->kind == Kind::share)) {
        return Error::invalid_argument;
    }
    Budget budget(units_);
    switch (share->state) {
    case ShareState::receiving:
    case ShareState::hiding:
        begin_end(*share, false, Error::denied);
        break;
    case ShareState::zeroing:
        begin_end(*share, true, Error::denied);
        break;
    case ShareState::shared:
        if (share->held()) {
            return Error::denied;
        }
        begin_end(*share, zero, Error::denied);
        break;
    case ShareState::revoking:
        ATOLL_TRY(take_back_step(ports, *share, budget));
        break;
    case ShareState::ending:
        break;
    case ShareState::free:
    case ShareState::retaining:
    case ShareState::orphan:
    case ShareState::freeing:
        return Error::invalid_argument;
    }
    ATOLL_TRY(end_step(ports, *share, budget));
    return success();
}

/// revoking -> ending: out of every borrower. The ranges of those who had it stay taken, marked, until each of
/// them relinquishes or dies.
Status Shares::take_back_step(const Ports& ports, Share& share, Budget& budget) {
    share.state = ShareState::revoking;
    for (u32 i = 0; i < share.borrower_count; ++i) {
        ATOLL_TRY(force_step(ports, share, share.borrowers[i], budget));
    }
    begin_end(share, share.zero_after, Error::denied);
    return {};
}

/// ATOLL_MEM_REVOKE: MEM_RECLAIM that does not ask. A donation that its receiver has begun to accept is
/// completed: it is too late.
Status Shares::revoke(const Ports& ports, VmId caller, u64 handle) {
    LockGuard guard(lock_);
    Budget budget(units_);
    Share* const share = find(handle);
    if (share == nullptr || share->owner != caller || tables_->receiving[caller.value] == share) {
        return Error::invalid_argument;
    }
    switch (share->state) {
    case ShareState::shared:
        if (share->borrowers[0].hold == Hold::accepting) {
            ATOLL_TRY(accept_step(ports, *share, share->borrowers[0], budget));
            return Error::invalid_argument;
        }
        [[fallthrough]];
    case ShareState::revoking:
        ATOLL_TRY(take_back_step(ports, *share, budget));
        break;
    case ShareState::zeroing:
        begin_end(*share, true, Error::denied);
        break;
    case ShareState::ending:
        break;
    case ShareState::free:
    case ShareState::receiving:
    case ShareState::hiding:
    case ShareState::retaining:
    case ShareState::orphan:
    case ShareState::freeing:
        return Error::invalid_argument;
    }
    return end_step(ports, *share, budget);
}

} // namespace atl::ffa
