// SPDX-License-Identifier: Apache-2.0
// Virtual counters and stolen time. Portable; see el2/vm_time.hpp.
#include "el2/vm_time.hpp"

#include "el2/hw.hpp"
#include "el2/world.hpp"
#include "lib/abi/smccc.hpp"
#include "lib/panic.hpp"

namespace atl::el2 {
namespace {

/// Since when a vCPU of the VM (`but` this one) has been waiting for a CPU; `never`: none does. Other pCPUs push theirs meanwhile: one that
/// has just become ready counts from now on.
u64 waiting_since(const Vm& vm, const Vcpu* but = nullptr) {
    u64 earliest = vtimer::never;
    for (unsigned i = 0; i < vm.vcpu_count; ++i) {
        const Vcpu& v = *vm.vcpus[i];
        if (&v == but || load_state<__ATOMIC_RELAXED>(v) == SchedState::parked) {
            continue;
        }
        const u64 since = __atomic_load_n(&v.ready_since, __ATOMIC_RELAXED);
        earliest = since < earliest ? since : earliest;
    }
    return earliest;
}

StolenTime& record(Vcpu& vcpu) {
    const auto page = hw::ram(vcpu.vm->time_page, page_size);
    return reinterpret_cast<StolenTime*>(page.data())[vcpu.index.value];
}

void count_stolen(Vcpu& vcpu, u64 ticks) {
    vcpu.stolen_ticks += ticks;
    const u64 ns = vcpu.vm->world->scale.ticks_to_ns(vcpu.stolen_ticks);
    __atomic_store_n(&record(vcpu).nanoseconds, ns, __ATOMIC_RELAXED);
}

} // namespace

Status create_time_page(World& world, Vm& vm) {
    const auto page = world.pool.allocate(0);
    ATOLL_TRY(page);
    vm.time_page = *page;
    vm.has_time_page = true;
    hw::zero_pages(*page, 1);
    LockGuard guard(vm.space.lock());
    return vm.space.map(guest_map::stolen_time, *page, page_size,
                        {stage2::MemoryType::normal, true, false, false});
}

void release_time_page(World& world, Vm& vm) {
    if (vm.has_time_page) {
        hw::zero_pages(vm.time_page, 1);
        ATOLL_CHECK(world.pool.free(vm.time_page, 0).ok());
        vm.has_time_page = false;
    }
}

void start_time(Vm& vm) {
    const u64 now = hw::counter();
    LockGuard guard(vm.clock_lock);
    vm.run_time = vm.config->clock == VmClock::run;
    vm.run_clock.start(now);
    vm.cntvoff = now;
    hw::zero_pages(vm.time_page, 1);
    for (unsigned i = 0; i < vm.vcpu_count; ++i) {
        vm.vcpus[i]->keeps_time = vm.run_time;
        vm.vcpus[i]->steals = false;
        vm.vcpus[i]->stolen_ticks = 0;
    }
}

void time_on_load(Vcpu& vcpu, u64 now) {
    Vm& vm = *vcpu.vm;
    // 0: who woke it had looked before it asked for the first time [kick_slow()].
    if (const u64 since = vcpu.ready_since; vcpu.steals && since != 0 && now > since) {
        count_stolen(vcpu, now - since);
    }
    if (!vm.run_time) {
        return;
    }
    LockGuard guard(vm.clock_lock);
    vm.cntvoff = vm.run_clock.on_load(now, waiting_since(vm));
    __atomic_store_n(&vcpu.ready_since, vtimer::never, __ATOMIC_RELAXED);
}

void time_on_save(Vcpu& vcpu, u64 now) {
    __atomic_store_n(&vcpu.ready_since, now, __ATOMIC_RELAXED); // unless it is parked next
    if (vcpu.vm->run_time) {
        LockGuard guard(vcpu.vm->clock_lock);
        vcpu.vm->run_clock.on_save(now);
    }
}

u64 virtual_offset(Vm& vm, u64 now) {
    if (!vm.run_time) {
        return vm.cntvoff;
    }
    LockGuard guard(vm.clock_lock);
    return vm.run_clock.offset(now, waiting_since(vm));
}

vgic::GuestClock guest_clock(Vm& vm) {
    return {&vm, [](void* context) {
                Vm& its = *static_cast<Vm*>(context);
                const u64 now = hw::counter();
                return its.world->scale.ticks_to_ns(now - virtual_offset(its, now)) / 1000;
            }};
}

bool time_stands(Vcpu& vcpu) {
    Vm& vm = *vcpu.vm;
    if (!vm.run_time) {
        return false;
    }
    LockGuard guard(vm.clock_lock);
    return vm.run_clock.stands(waiting_since(vm, &vcpu));
}

u64 pv_time_call(Vcpu& vcpu, u32 function) {
    if (function == abi::pv_time_features) {
        const auto about = static_cast<u32>(vcpu.x[1]);
        return about == abi::pv_time_features || about == abi::pv_time_st ? 0 : abi::smccc_not_supported;
    }
    vcpu.steals = true;
    vcpu.keeps_time = true;
    return guest_map::stolen_time.value + vcpu.index.value * sizeof(StolenTime);
}

} // namespace atl::el2
