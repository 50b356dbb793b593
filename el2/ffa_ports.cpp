// SPDX-License-Identifier: Apache-2.0
// FF-A's ports on the real thing [el2/ffa/ports.hpp]. Portable. Called with the share_ledger lock held (or
// none); takes address-space locks one at a time.
#include "el2/ffa_ports.hpp"

#include "el2/dispatch.hpp"
#include "el2/guest_memory.hpp"
#include "el2/hw.hpp"
#include "el2/world.hpp"
#include "lib/panic.hpp"

namespace atl::el2 {
namespace {

World& world_of(void* context) {
    return *static_cast<World*>(context);
}

/// Translates one page of a VM's own RAM. Caller: no address-space lock.
Result<Pa> own_page(World& world, VmId id, Ipa ipa) {
    const auto vm = vm_with_ram(world, id, ipa);
    ATOLL_TRY(vm);
    LockGuard guard((*vm)->space.lock());
    return (*vm)->space.translate(ipa);
}

Status read_guest(void* context, VmId vm, Ipa ipa, std::span<std::byte> bytes) {
    return read_guest_memory(world_of(context), vm, ipa, bytes);
}

Status write_guest(void* context, VmId vm, Ipa ipa, std::span<const std::byte> bytes) {
    return write_guest_memory(world_of(context), vm, ipa, bytes);
}

Status check_owned(void* context, VmId vm, Ipa ipa, u64 page_count) {
    World& world = world_of(context);
    for (u64 i = 0; i < page_count; ++i) {
        const auto pa = own_page(world, vm, ipa + i * page_size);
        ATOLL_TRY(pa);
        const PageRecord* const record = world.ledger.record(*pa);
        if (record == nullptr || record->owner != vm || record->state != PageState::owned) {
            return Error::denied;
        }
    }
    return {};
}

PageOp op_of(ffa::Kind kind) {
    switch (kind) {
    case ffa::Kind::share:
        return PageOp::share;
    case ffa::Kind::lend:
        return PageOp::lend;
    case ffa::Kind::donate:
        return PageOp::donate;
    }
    return PageOp::share;
}

Result<ffa::PaRun> claim(void* context, VmId owner, ffa::Kind kind, Ipa ipa, u64 max_pages) {
    World& world = world_of(context);
    Vm* const vm = world.vm(owner);
    if (vm == nullptr || !ipa.is_aligned(page_size) || max_pages == 0) {
        return Error::invalid_argument;
    }
    const RamBanks banks = ram_banks(vm->config->ram_bytes);
    if (kind != ffa::Kind::share && !banks.low.contains(ipa) && !banks.high.contains(ipa)) {
        return Error::denied; // donated memory: its place in the window's tables may be needed by others
    }
    stage2::Walk walk;
    {
        LockGuard guard(vm->space.lock());
        walk = vm->space.walk(ipa);
    }
    if (!walk.mapped) {
        return Error::denied;
    }
    u64 pages = walk.bytes_left / page_size; // of one leaf: contiguous
    pages = pages < max_pages ? pages : max_pages;
    const u64 claimed = world.ledger.commit_leading(op_of(kind), walk.pa, pages, owner,
                                                    static_cast<u32>(ipa.page_number())); // for_extents()
    if (claimed == 0) {
        return Error::denied;
    }
    return ffa::PaRun{walk.pa, claimed};
}

void commit_all(World& world, PageOp op, VmId actor, std::span<const ffa::PaRun> runs) {
    for (const ffa::PaRun& run : runs) {
        world.ledger.commit_run(op, run.base, run.page_count * page_size, actor);
    }
}

/// Claimed pages as they lie in their owner's map: claim() has noted where, so nothing is searched for. Calls
/// visit(Ipa, Pa, pages) for pieces that are contiguous in both.
template <class Visit>
Status for_extents(World& world, std::span<const ffa::PaRun> runs, Visit visit) {
    for (const ffa::PaRun& run : runs) {
        for (u64 done = 0; done < run.page_count;) {
            const Pa pa = run.base + done * page_size;
            const auto records = world.ledger.records(world.ledger.index_of(pa), run.page_count - done);
            const u32 first = records[0].use.share;
            u64 pages = 1;
            while (pages < records.size() && records[pages].use.share == first + pages) {
                ++pages;
            }
            ATOLL_TRY(visit(Ipa{u64{first} << page_shift}, pa, pages));
            done += pages;
        }
    }
    return {};
}

/// The owner's tables stay, so that release() needs none.
Status hide(void* context, VmId owner, std::span<const ffa::PaRun> runs) {
    World& world = world_of(context);
    Vm& vm = *world.vm(owner);
    LockGuard guard(vm.space.lock());
    return for_extents(world, runs, [&](Ipa ipa, Pa, u64 pages) -> Status {
        auto debt = vm.space.unmap(ipa, pages * page_size, stage2::EmptyTables::keep);
        if (!debt.ok()) {
            return debt.error();
        }
        vm.space.complete(std::move(*debt)); // CPU and SMMU: no device of the owner reaches it any more
        return {};
    });
}

void release(void* context, VmId owner, ffa::Kind kind, std::span<const ffa::PaRun> runs) {
    World& world = world_of(context);
    if (kind != ffa::Kind::share) {
        Vm& vm = *world.vm(owner);
        LockGuard guard(vm.space.lock());
        const Status back = for_extents(world, runs, [&](Ipa ipa, Pa pa, u64 pages) -> Status {
            if (vm.space.translate(ipa).ok()) {
                return {}; // hide() did not get here
            }
            return vm.space.map(ipa, pa, pages * page_size, stage2::ram_attributes);
        });
        ATOLL_CHECK(back.ok()); // the same pieces, into tables that were kept
    }
    commit_all(world, PageOp::reclaim, owner, runs);
}

void zero(void*, std::span<const ffa::PaRun> runs) {
    for (const ffa::PaRun& run : runs) {
        hw::zero_pages(run.base, run.page_count);
    }
}

/// The one table is walked by the VM's devices, too: a VM that has some reaches by DMA what it has mapped.
Status retrieve(void* context, VmId borrower, std::span<const ffa::PaRun> runs) {
    World& world = world_of(context);
    for (const ffa::PaRun& run : runs) {
        ATOLL_TRY(world.ledger.check_run(PageOp::retrieve, run.base, run.page_count * page_size, borrower));
    }
    commit_all(world, PageOp::retrieve, borrower, runs);
    if (world.vm(borrower)->dma) {
        commit_all(world, PageOp::dma_map, borrower, runs);
    }
    return {};
}

/// After unmap(): complete() has waited for the SMMU, so no device reaches the pages.
void relinquish(void* context, VmId borrower, std::span<const ffa::PaRun> runs) {
    World& world = world_of(context);
    if (world.vm(borrower)->dma) {
        commit_all(world, PageOp::dma_unmap, borrower, runs);
    }
    commit_all(world, PageOp::relinquish, borrower, runs);
}

void accept(void* context, VmId donor, VmId receiver, std::span<const ffa::PaRun> runs) {
    World& world = world_of(context);
    world.vm(donor)->patched = true; // its restart puts others in their place
    commit_all(world, PageOp::accept, receiver, runs);
}

/// One leaf. The VM is dead: nobody uses its map.
u64 end_gift(void* context, VmId id, Ipa ipa, u64 max_pages) {
    World& world = world_of(context);
    Vm& vm = *world.vm(id);
    LockGuard guard(vm.space.lock());
    const auto walk = vm.space.walk(ipa);
    const u64 in_leaf = walk.bytes_left / page_size;
    const u64 pages = in_leaf < max_pages ? in_leaf : max_pages;
    if (!walk.mapped) {
        return pages;
    }
    auto debt = vm.space.unmap(ipa, pages * page_size);
    ATOLL_CHECK(debt.ok()); // a leaf lies in one region: none is split
    vm.space.complete(std::move(*debt));
    for (u64 i = 0; i < pages; ++i) {
        const Pa page = walk.pa + i * page_size;
        if (world.ledger.check_run(PageOp::release, page, page_size, id).ok()) {
            world.ledger.commit_run(PageOp::release, page, page_size, id);
            hw::zero_pages(page, 1);
            ATOLL_CHECK(world.pool.free_run(PageRun{page, page_size}).ok());
        }
    }
    return pages;
}

/// Takes pages out of a VM's own map. Caller: the address space's lock.
void unmap_own(Vm& vm, Ipa ipa, u64 pages) {
    auto debt = vm.space.unmap(ipa, pages * page_size, stage2::EmptyTables::keep);
    if (debt.ok()) {
        vm.space.complete(std::move(*debt));
        return;
    }
    // The pool has no table page for a split: whole blocks go, which needs none. Their other pages stay the
    // VM's and come back to the pool with it, but it has no complete RAM to boot from.
    for (const Ipa end = ipa + pages * page_size; ipa < end;) {
        const auto walk = vm.space.walk(ipa);
        const u64 block = stage2::level_size(walk.level);
        if (walk.mapped) {
            auto whole = vm.space.unmap(ipa.align_down(block), block, stage2::EmptyTables::keep);
            ATOLL_CHECK(whole.ok());
            vm.space.complete(std::move(*whole));
            vm.incomplete = vm.incomplete || block != page_size;
        }
        ipa += walk.bytes_left;
    }
}

void retain(void* context, VmId owner, std::span<const ffa::PaRun> runs) {
    World& world = world_of(context);
    Vm& vm = *world.vm(owner);
    LockGuard guard(vm.space.lock());
    vm.patched = true;
    const Status done = for_extents(world, runs, [&](Ipa ipa, Pa pa, u64 pages) -> Status {
        unmap_own(vm, ipa, pages);
        world.ledger.commit_run(PageOp::owner_died, pa, pages * page_size, owner);
        return {};
    });
    ATOLL_CHECK(done.ok());
}

void free_retained(void* context, std::span<const ffa::PaRun> runs) {
    World& world = world_of(context);
    for (const ffa::PaRun& run : runs) {
        hw::zero_pages(run.base, run.page_count);
        ATOLL_CHECK(world.pool.free_run(PageRun{run.base, run.page_count * page_size}).ok());
    }
}

Status map(void* context, VmId borrower, Ipa ipa, std::span<const ffa::PaRun> runs, ffa::Access access,
           bool execute) {
    Vm& vm = *world_of(context).vm(borrower);
    stage2::MapAttributes attributes = stage2::ram_attributes;
    attributes.execute = execute;
    attributes.write = access == ffa::Access::read_write;
    LockGuard guard(vm.space.lock());
    for (const ffa::PaRun& run : runs) {
        ATOLL_TRY(vm.space.map(ipa, run.base, run.page_count * page_size, attributes));
        ipa += run.page_count * page_size;
    }
    return {};
}

void unmap(void* context, VmId borrower, Ipa ipa, u64 page_count) {
    Vm& vm = *world_of(context).vm(borrower);
    LockGuard guard(vm.space.lock());
    auto debt = vm.space.unmap(ipa, page_count * page_size);
    ATOLL_CHECK(debt.ok()); // a whole buffer: no block is split, so no table is needed
    vm.space.complete(std::move(*debt));
}

std::byte* alloc_page(void* context) {
    const auto page = world_of(context).pool.allocate(0);
    return page.ok() ? static_cast<std::byte*>(static_cast<void*>(hw::ram(*page, page_size).data()))
                     : nullptr;
}

void free_page(void* context, std::byte* page) {
    World& world = world_of(context);
    ATOLL_CHECK(world.pool.free(hw::pa_of(page), 0).ok());
}

void raise_notification(void* context, VmId id) {
    Vm* const vm = world_of(context).vm(id);
    if (vm != nullptr && vm->state == VmState::running) {
        kick_vcpus(*vm, vm->gic.pulse(Intid{ffa::notification_intid}));
    }
}

} // namespace

ffa::Ports make_ffa_ports(World& world) {
    return {&world, read_guest, write_guest, check_owned,       claim,
            hide,   release,    zero,        retrieve,          relinquish,
            accept, end_gift,   retain,      free_retained,     map,
            unmap,  alloc_page, free_page,   raise_notification};
}

} // namespace atl::el2
