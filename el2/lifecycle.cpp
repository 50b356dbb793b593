// SPDX-License-Identifier: Apache-2.0
// VM life cycle and its jobs. Portable. See el2/vm.hpp for the states.
#include "el2/lifecycle.hpp"

#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/its.hpp"
#include "el2/passthrough.hpp"
#include "el2/virtual_interface.hpp"
#include "el2/vm_memory.hpp"
#include "el2/vm_time.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/esr.hpp"
#include "lib/log.hpp"
#include "lib/panic.hpp"

namespace atl::el2 {
namespace {

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
