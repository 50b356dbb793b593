// SPDX-License-Identifier: Apache-2.0
// VM life cycle and its jobs. Portable. See el2/vm.hpp for the states.
#include "el2/lifecycle.hpp"

#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/its.hpp"
#include "el2/passthrough.hpp"
#include "el2/virtual_interface.hpp"
#include "el2/vm_time.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/esr.hpp"
#include "lib/log.hpp"
#include "lib/panic.hpp"

namespace atl::el2 {
namespace {

constexpr u64 step_bytes = 2 * mib; // a job's step: bounds what it adds to other VMs' latency

// Stages of the load job, in order; a reboot begins with one of its own, and teardown is one.
constexpr u32 stage_zero = 0;
constexpr u32 stage_kernel = 1;
constexpr u32 stage_ramdisk = 2;
constexpr u32 stage_devices = 3; // their resets have to be over
constexpr u32 stage_start = 4;
constexpr u32 stage_quiesce = 9; // the same before RAM is scrubbed
constexpr u32 stage_scrub = 10;
constexpr u32 stage_renew = 20;

PerCpu& job_cpu(const Vm& vm) {
    return *vm.vcpus[0]->cpu;
}

/// Caller: lifecycle_lock.
void queue_job(Vm& vm, u32 stage) {
    PerCpu& cpu = job_cpu(vm);
    vm.job_stage = stage;
    vm.job_position = 0;
    vm.job_not_before = 0;
    vm.next_job = nullptr;
    Vm** at = &cpu.jobs;
    while (*at != nullptr) {
        at = &(*at)->next_job;
    }
    __atomic_store_n(at, &vm, __ATOMIC_RELEASE);
    hw::send_kick(cpu.index);
}

Vm* next_in_list(const Vm& vm) {
    return __atomic_load_n(&vm.next_job, __ATOMIC_ACQUIRE);
}

/// Jobs join and leave under lifecycle_lock; only the pCPU that reads here takes any off its list.
Vm* first_ready_job(const PerCpu& cpu) {
    Vm* vm = __atomic_load_n(&cpu.jobs, __ATOMIC_ACQUIRE);
    while (vm != nullptr && vm->job_not_before != 0 && hw::counter() < vm->job_not_before) {
        vm = next_in_list(*vm);
    }
    return vm;
}

/// Caller: lifecycle_lock.
void unqueue_job(PerCpu& cpu, Vm& vm) {
    for (Vm** at = &cpu.jobs; *at != nullptr; at = &(*at)->next_job) {
        if (*at == &vm) {
            __atomic_store_n(at, vm.next_job, __ATOMIC_RELEASE);
            vm.next_job = nullptr;
            return;
        }
    }
}

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

/// One step of giving the runs back, from the end of the last one. False: there was nothing left.
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

/// The map goes, and with it the pages that only the map knows: those that replaced retained ones.
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

void start_first_vcpu(Vm& vm, const Hooks::Placement& place) {
    Vcpu& first = *vm.vcpus[0];
    first.start_pc = place.entry.value;
    first.start_context = place.x0;
    first.power.store(Power::on_pending, std::memory_order_release);
    first.cpu->queue.start(first, hw::counter());
    hw::send_kick(first.cpu->index);
}

Status write_device_tree(World& world, Vm& vm, const Hooks::Placement& place) {
    alignas(16) static constinit u8 tree[64 * kib]; // under lifecycle_lock
    const auto bytes = world.hooks.write_device_tree(world, vm, std::span<u8>(tree, sizeof(tree)));
    ATOLL_TRY(bytes);
    return copy_to_guest(vm, place.device_tree, std::span<const u8>(tree, *bytes));
}

Status finish_load(World& world, Vm& vm, const Hooks::Placement& place) {
    LockGuard guard(world.lifecycle_lock);
    if (place.has_device_tree) {
        ATOLL_TRY(write_device_tree(world, vm, place));
    }
    ATOLL_TRY(map_virtual_interface(world, vm));
    vm.state = VmState::running;
    vm.crashed = false;
    ++vm.boots;
    unqueue_job(job_cpu(vm), vm);
    if (vm.bridge != nullptr) {
        ATOLL_TRY(connect_devices(vm));
    }
    if (!vm.rebooting) {
        world.ffa.vm_started(vm.id); // vm_reset() has done it otherwise
    }
    vm.rebooting = false;
    start_time(vm);
    start_first_vcpu(vm, place);
    return {};
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

/// One step of copying `from` to `to`. True while there is more.
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

void next_stage(Vm& vm) {
    ++vm.job_stage;
    vm.job_position = 0;
}

/// Every vCPU has left: resets what the VM had besides its memory.
void reset_devices(Vm& vm) {
    if (vm.bridge != nullptr) {
        disconnect_devices(vm); // first: nothing that they write may reach what follows
    }
    reset_its(vm);
    ATOLL_CHECK(vm.gic.reset().ok()); // every vCPU has been saved
    vm.bus.reset_all();
    for (unsigned i = 0; i < vm.vcpu_count; ++i) {
        Vcpu& v = *vm.vcpus[i];
        v.ptimer.reset();
        v.ptimer_deadline = vtimer::never;
        v.deadline = vtimer::never;
        v.debug = {};
        v.debug_live = false;
        v.os_lock = true;
        v.park_request = false;
        v.stop_request = false;
    }
    for (LastVcpu& last : vm.last_on) {
        last.vcpu = nullptr; // forces a TLB invalidation at the next load
    }
}

/// Pages that survive in a borrower are no longer this VM's: fresh ones take their place.
/// [ffa::Ports::retain]
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

/// The last vCPU of a stopping VM has left. Caller: lifecycle_lock.
void all_left(Vm& vm) {
    reset_devices(vm);
    if (vm.after_stop == AfterStop::restart) {
        vm.state = VmState::loading;
        vm.rebooting = true;
        queue_job(vm, stage_renew);
    } else {
        vm.state = VmState::tearing_down;
        queue_job(vm, vm.bridge != nullptr ? stage_quiesce : stage_scrub);
    }
}

bool any_alive(const World& world) {
    for (unsigned id = 1; id <= world.vm_slots; ++id) {
        if (world.vms[id] != nullptr && (world.vms[id]->state != VmState::absent || world.vms[id]->crashed)) {
            return true;
        }
    }
    return false;
}

void fail_load(World& world, Vm& vm, Error error) {
    log::error("{}: cannot be loaded: {}", vm.name(), error);
    LockGuard guard(world.lifecycle_lock);
    unqueue_job(job_cpu(vm), vm);
    vm.crashed = true;
    vm.state = VmState::tearing_down;
    queue_job(vm, stage_scrub);
}

/// Frees the RAM of a VM that is off, step by step.
void scrub_step(World& world, Vm& vm) {
    if (vm.job_position == 0) {
        vm.job_position = world.ffa.vm_died(vm.id) ? 1 : 0;
        return;
    }
    release_map(world, vm); // nothing to do from the second time on
    if (free_step(world, vm)) {
        return;
    }
    release_rest(world, vm);
    LockGuard guard(world.lifecycle_lock);
    unqueue_job(job_cpu(vm), vm);
    vm.state = VmState::absent;
    log::info("{}: is off{}", vm.name(), vm.crashed ? " after a crash" : "");
    if (!any_alive(world) && world.power_off_when_done) {
        log::info("every VM is off: turning the machine off");
        world.hooks.power_off(world);
    }
}

} // namespace

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

Status create_vm(World& world, Vm& vm) {
    LockGuard guard(world.lifecycle_lock);
    if (vm.state != VmState::absent) {
        return Error::busy;
    }
    const auto vmid = world.vmids.allocate();
    ATOLL_TRY(vmid);
    vm.vmid = *vmid;
    Status status = init_space(world, vm);
    if (status.ok()) {
        status = create_time_page(world, vm);
    }
    if (status.ok()) {
        status = map_ram(world, vm);
    }
    if (!status.ok()) {
        release_vm_memory(world, vm);
        return status;
    }
    vm.crashed = false;
    vm.rebooting = false;
    reset_devices(vm);
    vm.state = VmState::loading;
    queue_job(vm, stage_zero);
    return {};
}

void stop_vm(Vm& vm, AfterStop after, bool crashed) {
    World& world = *vm.world;
    LockGuard guard(world.lifecycle_lock);
    if (vm.state != VmState::running) {
        return; // stopping already, or not there
    }
    vm.state = VmState::stopping;
    vm.after_stop = after;
    vm.crashed = crashed;
    vm.vcpus_left = vm.vcpu_count;
    for (unsigned i = 0; i < vm.vcpu_count; ++i) {
        vm.vcpus[i]->left = false;
    }
    if (!crashed && (after == AfterStop::off || may_report(vm))) {
        log::info("{}: {}", vm.name(), after == AfterStop::restart ? "restarts" : "turns off");
    }
    for (unsigned cpu = 0; cpu < world.pcpu_count; ++cpu) {
        __atomic_store_n(&world.pcpus[cpu]->reap_pending, 1U, __ATOMIC_RELEASE);
        hw::send_kick(world.pcpus[cpu]->index);
    }
}

Action crash_vm(Vcpu& vcpu, std::string_view why, u64 esr, Ipa ipa) {
    Vm& vm = *vcpu.vm;
    log::error("{} vcpu {}: stopped at pc {:x}, ipa {:x}, esr {:x} ({}): {}", vm.name(), vcpu.index, vcpu.pc,
               ipa, esr, arch::to_string(arch::exception_class(esr)), why);
    stop_vm(vm, vm.config->on_crash == CrashPolicy::restart ? AfterStop::restart : AfterStop::off, true);
    return action::leave;
}

void reap_stopped(PerCpu& cpu) {
    if (__atomic_exchange_n(&cpu.reap_pending, 0U, __ATOMIC_ACQUIRE) == 0) {
        return;
    }
    World& world = *cpu.world;
    LockGuard guard(world.lifecycle_lock);
    for (Vcpu* v = cpu.home_list; v != nullptr; v = v->next_at_home) {
        Vm& vm = *v->vm;
        if (vm.state != VmState::stopping || v->left) {
            continue;
        }
        v->left = true;
        v->deadline = vtimer::never;
        cpu.queue.stop(*v);
        v->power.store(Power::off, std::memory_order_release);
        if (--vm.vcpus_left == 0) {
            all_left(vm);
        }
    }
}

bool job_is_ready(const PerCpu& cpu) {
    return first_ready_job(cpu) != nullptr;
}

void delay_job(Vm& vm, u64 at) {
    PerCpu& cpu = job_cpu(vm); // this one
    vm.job_not_before = at;
    cpu.next_deadline = at < cpu.next_deadline ? at : cpu.next_deadline;
}

u64 job_deadline(const PerCpu& cpu, u64 now) {
    u64 earliest = ~u64{0};
    for (const Vm* vm = __atomic_load_n(&cpu.jobs, __ATOMIC_ACQUIRE); vm != nullptr; vm = next_in_list(*vm)) {
        earliest = vm->job_not_before > now && vm->job_not_before < earliest ? vm->job_not_before : earliest;
    }
    return earliest;
}

bool run_job_step(PerCpu& cpu) {
    Vm* const vm = first_ready_job(cpu);
    if (vm == nullptr) {
        return false;
    }
    vm->job_not_before = 0;
    World& world = *cpu.world;
    if (vm->job_stage == stage_quiesce) {
        if (devices_are_reset(*vm)) {
            next_stage(*vm);
        }
        return true;
    }
    if (vm->job_stage == stage_scrub) {
        scrub_step(world, *vm);
        return true;
    }
    const auto place = world.hooks.place(world, *vm);
    if (!place.ok()) {
        fail_load(world, *vm, place.error());
        return true;
    }
    Result<bool> more = false;
    switch (vm->job_stage) {
    case stage_renew:
        if (!world.ffa.vm_reset(vm->id)) {
            return true; // one step of it
        }
        if (const Status refilled = refill_holes(world, *vm); !refilled.ok()) {
            fail_load(world, *vm, refilled.error());
        } else {
            vm->job_stage = stage_zero;
        }
        return true;
    case stage_zero:
        more = zero_step(*vm);
        break;
    case stage_kernel:
        more = copy_step(*vm, place->kernel, vm->config->kernel.bytes);
        break;
    case stage_ramdisk:
        more = copy_step(*vm, place->ramdisk, vm->config->ramdisk);
        break;
    case stage_devices:
        more = vm->bridge != nullptr && !devices_are_reset(*vm);
        break;
    case stage_start:
        if (const Status started = finish_load(world, *vm, *place); !started.ok()) {
            fail_load(world, *vm, started.error());
        }
        return true;
    default:
        break;
    }
    if (!more.ok()) {
        fail_load(world, *vm, more.error());
    } else if (!*more) {
        next_stage(*vm);
    }
    return true;
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

void reset_vcpu_registers(Vcpu& vcpu, u64 pc, u64 context) {
    for (u64& x : vcpu.x) {
        x = 0;
    }
    vcpu.x[0] = context;
    vcpu.pc = pc;
    namespace Spsr = arch::Spsr;
    vcpu.pstate = Spsr::EL1h | Spsr::D | Spsr::A | Spsr::I | Spsr::F;
    vcpu.sys = {};
    vcpu.sys.sctlr = 0x30d0'0800; // RES1 bits; MMU and caches off, little endian [DDI0487 D19.2.124]
    vcpu.fp = {};
    vcpu.debug = {};
    vcpu.debug_live = false;
    vcpu.os_lock = true;
    // A CPU comes out of reset with its timers disabled: nothing that it left behind at CPU_OFF may fire.
    vcpu.ptimer.reset();
    vcpu.ptimer_deadline = vtimer::never;
}

const char* to_string(VmState state) {
    switch (state) {
    case VmState::absent:
        return "off";
    case VmState::loading:
        return "loading";
    case VmState::running:
        return "running";
    case VmState::stopping:
        return "stopping";
    case VmState::tearing_down:
        return "turning off";
    }
    return "?";
}

} // namespace atl::el2
