// SPDX-License-Identifier: Apache-2.0
// Shares, the end of a VM: what it owned is its own again or stays with its borrowers, what it borrowed is
// given back, what it was given is freed; step by step. See share.hpp and adr/0011.
#include "el2/ffa/share.hpp"

namespace atl::ffa {

bool Shares::forget(const Ports& ports, VmId vm, Held held, u32& others) {
    LockGuard guard(lock_);
    Tables::Forgetting& f = tables_->forgetting[vm.value];
    if (!f.begun) {
        f = {true, partners(vm)};
    }
    Budget budget(units_);
    if (!forget_step(ports, vm, held, budget).ok()) {
        return false;
    }
    others = f.others;
    f = {};
    return true;
}

/// Whoever owns what `vm` was offered, or was offered what it owns.
u32 Shares::partners(VmId vm) {
    u32 others = 0;
    for (Share& share : tables_->shares) {
        if (share.state == ShareState::free || share.state == ShareState::orphan ||
            share.state == ShareState::freeing || tables_->receiving[share.owner.value] == &share) {
            continue;
        }
        for (u32 i = 0; share.owner == vm && i < share.borrower_count; ++i) {
            others |= 1u << share.borrowers[i].vm.value;
        }
        others |= find_borrower(share, vm) != nullptr ? 1u << share.owner.value : 0;
    }
    const Window& window = tables_->windows[vm.value];
    for (u32 i = 0; i < window.count(); ++i) {
        others |= window[i].state == RegionState::given ? 0 : 1u << window[i].owner.value;
    }
    return others & ~(1u << vm.value);
}

Status Shares::forget_step(const Ports& ports, VmId vm, Held held, Budget& budget) {
    u32 kept = tables_->away[vm.value];
    for (Share& share : shares_of(vm)) {
        const bool keep = held == Held::keep && share.page_count <= max_away_pages_per_vm - kept;
        ATOLL_TRY(end_owned(ports, share, keep, budget));
        kept += share.state == ShareState::shared ? share.page_count : 0;
    }
    for (Share& share : shares_of(vm)) {
        ATOLL_TRY(retain_step(ports, share, budget));
    }
    // Last: what was given to the VM may have been in its own shares.
    Window& window = tables_->windows[vm.value];
    while (window.count() != 0) {
        ATOLL_TRY(end_region(ports, vm, window[window.count() - 1], budget));
    }
    return {};
}

/// Ends a share of a VM that died; one that a borrower has stays `shared` when it may keep it.
Status Shares::end_owned(const Ports& ports, Share& share, bool keep, Budget& budget) {
    switch (share.state) {
    case ShareState::free:
    case ShareState::retaining:
    case ShareState::orphan:
    case ShareState::freeing:
        return {};
    case ShareState::receiving:
    case ShareState::hiding:
    case ShareState::zeroing:
        begin_end(share, false, Error::denied); // its RAM is zeroed in any case
        break;
    case ShareState::shared:
        for (u32 i = 0; i < share.borrower_count; ++i) {
            Borrower& b = share.borrowers[i];
            if (b.hold == Hold::accepting) { // too late to keep it: it is the receiver's
                return accept_step(ports, share, b, budget);
            }
            if (b.hold != Hold::held) {
                ATOLL_TRY(force_step(ports, share, b, budget));
            }
        }
        if (share.state == ShareState::shared && share.held() && keep) {
            return {};
        }
        [[fallthrough]];
    case ShareState::revoking:
        ATOLL_TRY(take_back_step(ports, share, budget));
        break;
    case ShareState::ending:
        break;
    }
    return end_step(ports, share, budget);
}

/// shared -> orphan: the pages are nobody's, and stay where they are mapped.
Status Shares::retain_step(const Ports& ports, Share& share, Budget& budget) {
    if (share.state == ShareState::shared) {
        share.state = ShareState::retaining;
        share.at = share.runs.begin();
        share.charged = true;
        tables_->away[share.owner.value] += share.page_count;
    }
    if (share.state == ShareState::retaining) {
        ATOLL_TRY(sweep(share.at, budget, unmapping, [&](std::span<const PaRun> runs) {
            ports.retain(ports.context, share.owner, runs);
            return Status{};
        }));
        share.state = share.held() ? ShareState::orphan : ShareState::freeing;
        share.at = share.runs.begin();
    }
    // The last one let go meanwhile, or has not finished letting go.
    return share.state == ShareState::freeing ? free_step(ports, share, budget) : Status{};
}

/// A region of a VM that died leaves the window.
Status Shares::end_region(const Ports& ports, VmId vm, Region& region, Budget& budget) {
    if (region.state != RegionState::given) {
        Share* const share = find(region.handle);
        Borrower* const b = share == nullptr ? nullptr : find_borrower(*share, vm);
        if (b == nullptr || b->hold != Hold::accepting) {
            return leave_step(ports, vm, region, budget);
        }
        ATOLL_TRY(accept_step(ports, *share, *b, budget));
    }
    Window& window = tables_->windows[vm.value];
    while (region.cleared < region.page_count) {
        if (budget.empty()) {
            return Error::interrupted;
        }
        const Ipa ipa = window.base_of(region) + u64{region.cleared} * page_size;
        const auto pages =
            static_cast<u32>(ports.end_gift(ports.context, vm, ipa, region.page_count - region.cleared));
        region.cleared += pages;
        budget.spend(u64{pages} * Budget::zeroed_page);
    }
    tables_->away[region.owner.value] -= region.page_count;
    window.remove(&region);
    return {};
}

} // namespace atl::ffa
