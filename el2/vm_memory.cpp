// SPDX-License-Identifier: Apache-2.0
// RAM of VMs. Portable; see el2/vm_memory.hpp.
#include "el2/vm_memory.hpp"

#include "el2/hw.hpp"
#include "el2/passthrough.hpp"
#include "el2/vm_time.hpp"
#include "el2/world.hpp"
#include "lib/panic.hpp"

namespace atl::el2 {
namespace {

constexpr u64 step_bytes = 2 * mib;

/// RAM at `ipa` as runs of physical memory: calls visit(Pa, bytes) until `bytes` are done.
template <class Visit>
Status for_ram(const Vm& vm, Ipa ipa, u64 bytes, Visit visit) {
    while (bytes != 0) {
        const auto walk = vm.space.walk(ipa);
        if (!walk.mapped) {
            return Error::not_found;
        }
        const u64 part = walk.bytes_left < bytes ? walk.bytes_left : bytes;
        visit(walk.pa, part);
        ipa += part;
        bytes -= part;
    }
    return {};
}

/// Gives back those of the pages that are the VM's own: released, scrubbed and freed.
void free_own_pages(World& world, const Vm& vm, PageRun pages) {
    const bool all = world.ledger.check_run(PageOp::release, pages.base, pages.size, vm.id).ok();
    const u64 step = all ? pages.size : page_size; // some are others' by now
    for (u64 offset = 0; offset < pages.size; offset += step) {
        const PageRun part{pages.base + offset, step};
        if (world.ledger.check_run(PageOp::release, part.base, part.size, vm.id).ok()) {
            world.ledger.commit_run(PageOp::release, part.base, part.size, vm.id);
            hw::zero_pages(part.base, part.size / page_size);
            ATOLL_CHECK(world.pool.free_run(part).ok());
        }
    }
}

} // namespace

Status copy_to_guest(Vm& vm, Ipa to, std::span<const u8> from) {
    const u8* source = from.data();
    return for_ram(vm, to, from.size(), [&](Pa pa, u64 bytes) {
        hw::copy_out(pa, source, bytes);
        hw::sync_instructions(pa, bytes);
        source += bytes;
    });
}

Status map_ram(World& world, Vm& vm) {
    const RamBanks banks = ram_banks(vm.config->ram_bytes);
    static constinit PageRun found[Vm::max_runs]; // under lifecycle_lock
    vm.run_count = 0;
    for (const Range<Ipa>& bank : {banks.low, banks.high}) {
        if (bank.empty()) {
            continue;
        }
        const auto count =
            world.pool.allocate_ram(bank.size, vm.id, std::span(found, Vm::max_runs - vm.run_count));
        ATOLL_TRY(count);
        Ipa at = bank.base;
        for (std::size_t i = 0; i < *count; ++i) {
            vm.runs[vm.run_count++] = {at, found[i]};
            at += found[i].size;
        }
    }
    LockGuard guard(vm.space.lock());
    for (unsigned i = 0; i < vm.run_count; ++i) {
        ATOLL_TRY(vm.space.map(vm.runs[i].ipa, vm.runs[i].pages.base, vm.runs[i].pages.size,
                               stage2::ram_attributes));
    }
    return {};
}

bool free_step(World& world, Vm& vm) {
    if (vm.run_count == 0) {
        return false;
    }
    PageRun& run = vm.runs[vm.run_count - 1].pages;
    const u64 bytes = run.size < step_bytes ? run.size : step_bytes;
    run.size -= bytes;
    free_own_pages(world, vm, {run.base + run.size, bytes});
    vm.run_count -= run.size == 0 ? 1 : 0;
    return true;
}

void release_map(World& world, Vm& vm) {
    if (!vm.space.alive()) {
        return;
    }
    LockGuard guard(vm.space.lock()); // the monitor may be walking it
    for (unsigned i = 0; vm.patched && i < vm.run_count; ++i) {
        for (u64 offset = 0; offset < vm.runs[i].pages.size; offset += page_size) {
            const auto walk = vm.space.walk(vm.runs[i].ipa + offset);
            if (walk.mapped && walk.pa != vm.runs[i].pages.base + offset) {
                free_own_pages(world, vm, {walk.pa, page_size});
            }
        }
    }
    vm.patched = false;
    vm.incomplete = false;
    vm.space.destroy();
}

void release_rest(World& world, Vm& vm) {
    release_time_page(world, vm);
    if (vm.has_scratch) {
        hw::zero_pages(vm.scratch, 1);
        ATOLL_CHECK(world.pool.free(vm.scratch, 0).ok());
        vm.has_scratch = false;
    }
    if (vm.vmid.value != 0) {
        static_cast<void>(world.vmids.release(vm.vmid));
        vm.vmid = {};
    }
}

/// One step of zeroing the RAM that the VM has now: positions count bytes over all runs. At a reboot too: a
/// dirty cache line of the last life must not be written back over what the next one writes with its caches
/// off, and the guest finds what it found the first time. [DDI0487 B2.8 mismatched attributes]
Result<bool> zero_step(Vm& vm) {
    u64 skip = vm.job_position;
    for (unsigned i = 0; i < vm.run_count; ++i) {
        const RamRun& run = vm.runs[i];
        if (skip >= run.pages.size) {
            skip -= run.pages.size;
            continue;
        }
        const u64 left = run.pages.size - skip;
        const u64 bytes = left < step_bytes ? left : step_bytes;
        ATOLL_TRY(for_ram(vm, run.ipa + skip, bytes,
                          [](Pa pa, u64 part) { hw::zero_pages(pa, part / page_size); }));
        vm.job_position += bytes;
        return true;
    }
    return false;
}

Result<bool> copy_step(Vm& vm, Ipa to, std::span<const u8> from) {
    if (vm.job_position >= from.size()) {
        return false;
    }
    const u64 left = from.size() - vm.job_position;
    const u64 bytes = left < step_bytes ? left : step_bytes;
    ATOLL_TRY(copy_to_guest(vm, to + vm.job_position, from.subspan(vm.job_position, bytes)));
    vm.job_position += bytes;
    return true;
}

Status refill_holes(World& world, Vm& vm) {
    if (vm.incomplete) {
        return Error::no_memory;
    }
    LockGuard guard(vm.space.lock());
    for (unsigned i = 0; i < vm.run_count; ++i) {
        const RamRun run = vm.runs[i];
        for (u64 offset = 0; offset < run.pages.size; offset += page_size) {
            const auto walk = vm.space.walk(run.ipa + offset);
            if (walk.mapped) {
                offset += (walk.bytes_left & ~(page_size - 1)) - page_size;
                continue;
            }
            auto page = world.pool.allocate(0, vm.id);
            ATOLL_TRY(page);
            const Status mapped = vm.space.map(run.ipa + offset, *page, page_size, stage2::ram_attributes);
            if (!mapped.ok()) {
                free_own_pages(world, vm, {*page, page_size});
                return mapped;
            }
            vm.patched = true;
        }
    }
    return {};
}

/// Devices walk the same table, without repeating what faults: pages only, so that no mapping is ever taken apart.
Status init_space(World& world, Vm& vm) {
    stage2::TableMemory::Config memory = world.table_memory;
    if (vm.bridge == nullptr) {
        memory.smmu = {};
        return vm.space.init(world.geometry, vm.vmid, stage2::TableMemory(memory));
    }
    ATOLL_TRY(
        vm.space.init(world.geometry, vm.vmid, stage2::TableMemory(memory), stage2::LargestLeaf::page_4k));
    // A message is a write to GITS_TRANSLATER behind this page, which holds nothing else [IHI0069 §12.19].
    LockGuard guard(vm.space.lock());
    return vm.space.map(guest_map::msi_page, world.passthrough->its.doorbell_page(), page_size,
                        {stage2::MemoryType::device, false, true, false});
}

void release_vm_memory(World& world, Vm& vm) {
    release_map(world, vm);
    while (free_step(world, vm)) {
    }
    release_rest(world, vm);
}

Status map_scratch(Vm& vm, Ipa page) {
    World& world = *vm.world;
    LockGuard guard(vm.space.lock());
    if (!vm.has_scratch) {
        const auto scratch = world.pool.allocate(0);
        ATOLL_TRY(scratch);
        vm.scratch = *scratch;
        vm.has_scratch = true;
        hw::zero_pages(vm.scratch, 1);
    }
    stage2::MapAttributes attributes = stage2::ram_attributes;
    attributes.execute = false;
    const Status mapped = vm.space.map(page.align_down(page_size), vm.scratch, page_size, attributes);
    if (!mapped.ok() && mapped.error() == Error::already_exists) {
        return {}; // another vCPU was faster
    }
    return mapped;
}

} // namespace atl::el2
