// SPDX-License-Identifier: Apache-2.0
// Shares, the sender's side: MEM_SHARE, MEM_LEND, MEM_DONATE and their fragments. See share.hpp.
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

constexpr u32 range_size = sizeof(ffa_mem_region_addr_range);

/// A constituent as the guest wrote it becomes the one that is being claimed.
Status begin_range(Share& share, const Buffers& own, const ffa_mem_region_addr_range& range) {
    const u64 size = u64{range.pg_cnt} * page_size;
    if (range.reserved != 0 || range.pg_cnt == 0 || range.pg_cnt > share.pages_left ||
        (range.address & (page_size - 1)) != 0 || range.address >= ipa_limit ||
        size > ipa_limit - range.address) {
        return Error::invalid_argument;
    }
    if (own.overlaps(Ipa{range.address}, size)) {
        return Error::denied; // RX and TX buffers never change hands
    }
    share.pages_left -= range.pg_cnt;
    share.range = Ipa{range.address};
    share.range_left = range.pg_cnt;
    return {};
}

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

std::span<Share> Shares::shares_of(VmId owner) {
    return std::span(tables_->shares).subspan((owner.value - 1u) * max_handles_per_vm, max_handles_per_vm);
}

Share* Shares::find_free(VmId owner) {
    for (Share& share : shares_of(owner)) {
        if (share.state == ShareState::free) {
            return &share;
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

/// FFA_MEM_SHARE, FFA_MEM_LEND, FFA_MEM_DONATE: w1 total length, w2 length of this fragment, w3/w4 zero: the
/// TX buffer is used. [DEN0140 §2.1]
Result<Reply> Shares::send(const Ports& ports, VmId caller, const Call& call, Kind kind) {
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
    Share* const unfinished = tables_->receiving[caller.value];
    if (unfinished == nullptr) {
        return begin_send(ports, caller, own, call, kind);
    }
    if (unfinished->paused != call.function() || unfinished->total_length != call.w(1) ||
        unfinished->fragment_size != call.w(2)) {
        return Error::busy;
    }
    Budget budget(units_);
    return go_on(ports, *unfinished, budget);
}

/// Everything of the descriptor but its constituents is read here, once.
Result<Reply> Shares::begin_send(const Ports& ports, VmId caller, const Buffers& own, const Call& call,
                                 Kind kind) {
    const GuestBytes bytes{ports, caller, own.tx, call.w(2)};
    const u32 total_length = call.w(1);
    const auto t = read_transaction(bytes, mailboxes_.speaks_v1_1(caller));
    if (!t.ok()) {
        return t.error();
    }
    ATOLL_TRY(check_send(mailboxes_, caller, kind, *t));
    const auto composite = read_composite(bytes, t->composite_offset);
    if (!composite.ok()) {
        return composite.error();
    }
    const u64 ranges_offset = u64{t->composite_offset} + sizeof(ffa_composite_mem_region);
    if (total_length != ranges_offset + u64{composite->range_count} * range_size ||
        (bytes.size - ranges_offset) % range_size != 0) {
        return Error::invalid_argument;
    }
    Share* const share = find_free(caller);
    u32& away = tables_->away[caller.value];
    const bool charged = kind == Kind::donate;
    if (share == nullptr || (charged && composite->page_count > max_away_pages_per_vm - away)) {
        return Error::no_memory;
    }
    away += charged ? composite->page_count : 0;
    *share = Share{.state = ShareState::receiving,
                   .kind = kind,
                   .borrower_count = static_cast<u8>(t->endpoint_count),
                   .zeroed = (t->flags & FFA_MEM_FLAG_ZERO) != 0,
                   .zero_after = false,
                   .zero_first = false,
                   .charged = charged,
                   .error = Error::denied,
                   .owner = caller,
                   .page_count = composite->page_count,
                   .handle = new_handle(*share),
                   .tag = t->tag,
                   .borrowers = {},
                   .runs = {},
                   .at = {},
                   .paused = call.function(),
                   .total_length = total_length,
                   .received_length = call.w(2),
                   .fragment_size = call.w(2),
                   .fragment_at = static_cast<u32>(ranges_offset),
                   .pages_left = composite->page_count,
                   .range_left = 0,
                   .range = {}};
    for (u32 i = 0; i < t->endpoint_count; ++i) {
        share->borrowers[i].vm = t->endpoints[i].vm;
        share->borrowers[i].access = (t->endpoints[i].permissions & FFA_MEM_PERM_RW) != 0 || charged
                                         ? Access::read_write
                                         : Access::read_only;
    }
    tables_->receiving[caller.value] = share;
    Budget budget(units_);
    return go_on(ports, *share, budget);
}

/// The unfinished transfer, to SUCCESS with the handle, or MEM_FRAG_RX that asks for the rest [DEN0140 §2.9],
/// or an error with everything undone.
Result<Reply> Shares::go_on(const Ports& ports, Share& share, Budget& budget) {
    if (share.state != ShareState::ending) {
        const Status status = send_step(ports, share, budget);
        if (status.ok()) {
            share.paused = 0;
            if (share.state == ShareState::receiving) {
                return Reply{{FFA_MEM_FRAG_RX, static_cast<u32>(share.handle), share.handle >> 32,
                              share.received_length, 0, 0, 0, 0}};
            }
            tables_->receiving[share.owner.value] = nullptr;
            return success_handle(share.handle);
        }
        if (status.error() == Error::interrupted) {
            return status.error();
        }
        begin_end(share, false, status.error());
    }
    const Error error = share.error;
    ATOLL_TRY(end_step(ports, share, budget));
    return error;
}

Status Shares::send_step(const Ports& ports, Share& share, Budget& budget) {
    if (share.state == ShareState::receiving) {
        ATOLL_TRY(claim_ranges(ports, share, budget));
        if (share.received_length != share.total_length) {
            return {};
        }
        if (share.pages_left != 0) {
            return Error::invalid_argument; // fewer pages than the composite descriptor promised
        }
        share.state = share.kind == Kind::share ? ShareState::shared : ShareState::hiding;
        share.at = share.runs.begin();
    }
    if (share.state == ShareState::hiding) {
        ATOLL_TRY(sweep(share.at, budget, unmapping, [&](std::span<const PaRun> runs) {
            return ports.hide(ports.context, share.owner, runs);
        }));
        share.state = share.zeroed ? ShareState::zeroing : ShareState::shared;
        share.at = share.runs.begin();
    }
    return share.state == ShareState::zeroing ? zero_step(ports, share, budget) : Status{};
}

/// Claims every constituent of the present fragment. Constituents are never split between fragments.
Status Shares::claim_ranges(const Ports& ports, Share& share, Budget& budget) {
    const Buffers own = mailboxes_.buffers(share.owner);
    const GuestBytes bytes{ports, share.owner, own.tx, share.fragment_size};
    ffa_mem_region_addr_range chunk[32];
    for (;;) {
        ATOLL_TRY(claim_range(ports, share, budget));
        if (share.fragment_at == share.fragment_size) {
            return {};
        }
        if (budget.empty()) {
            return Error::interrupted;
        }
        const std::span<ffa_mem_region_addr_range> part(
            chunk,
            std::min<std::size_t>(std::size(chunk), (share.fragment_size - share.fragment_at) / range_size));
        ATOLL_TRY(bytes.read(share.fragment_at, std::as_writable_bytes(part)));
        for (const auto& range : part) { // those after an interruption are read again, and only then used
            ATOLL_TRY(begin_range(share, own, range));
            share.fragment_at += range_size;
            budget.spend(1);
            ATOLL_TRY(claim_range(ports, share, budget));
        }
    }
}

/// What is left of the present constituent.
Status Shares::claim_range(const Ports& ports, Share& share, Budget& budget) {
    while (share.range_left != 0) {
        if (budget.empty()) {
            return Error::interrupted;
        }
        const u32 wanted = std::min<u32>(share.range_left, Budget::per_call);
        const auto run = ports.claim(ports.context, share.owner, share.kind, share.range, wanted);
        if (!run.ok()) {
            return run.error();
        }
        ATOLL_CHECK(run->page_count != 0 && run->page_count <= wanted);
        const auto added = share.runs.append(ports, *run, tables_->storage_quota[share.owner.value]);
        if (!added.ok()) {
            ports.release(ports.context, share.owner, share.kind, std::span<const PaRun>(&*run, 1));
            return added.error();
        }
        share.range_left -= static_cast<u32>(run->page_count);
        share.range += run->page_count * page_size;
        budget.spend(run->page_count);
    }
    return {};
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
    const u32 length = call.w(3);
    if (share->paused != 0) {
        if (share->paused != call.function() || share->fragment_size != length) {
            return Error::busy;
        }
    } else {
        if (length == 0 || length % range_size != 0 || length > mailboxes_.buffers(caller).size() ||
            length > share->total_length - share->received_length) {
            begin_end(*share, false, Error::invalid_argument);
        }
        share->paused = call.function();
        share->received_length += length;
        share->fragment_size = length;
        share->fragment_at = 0;
    }
    Budget budget(units_);
    return go_on(ports, *share, budget);
}

void Shares::free_share(const Ports& ports, Share& share) {
    Share*& unfinished = tables_->receiving[share.owner.value];
    unfinished = unfinished == &share ? nullptr : unfinished;
    share.runs.clear(ports, tables_->storage_quota[share.owner.value]);
    tables_->away[share.owner.value] -= share.charged ? share.page_count : 0;
    share.state = ShareState::free; // the handle value stays, so that the next one differs
}

} // namespace atl::ffa
