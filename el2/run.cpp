// SPDX-License-Identifier: Apache-2.0
// Timers and scheduling decisions of one pCPU. Portable. [DDI0487 D12 generic timer]
#include "el2/run.hpp"

#include "el2/dispatch.hpp"
#include "el2/housekeeping.hpp"
#include "el2/hw.hpp"
#include "el2/lifecycle.hpp"
#include "el2/vm_time.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"

namespace atl::el2 {
namespace {

constexpr Intid ptimer_intid{30}; // EL1 physical timer, PPI 14
constexpr Intid vtimer_intid{27}; // virtual timer, PPI 11

constexpr u64 timer_fired = 0; // a value of PerCpu::armed that no deadline has

u64 earlier(u64 a, u64 b) {
    return a < b ? a : b;
}

/// When the line rises, on the physical counter; `count` is the guest's.
u64 physical_deadline(const vtimer::PhysicalTimer& timer, u64 count, u64 now) {
    const auto deadline = timer.deadline(count);
    return deadline ? vtimer::after(now, *deadline - count) : vtimer::never;
}

} // namespace

void arm_timer(PerCpu& cpu, const Vcpu* loaded) {
    u64 deadline = earlier(cpu.slice_end, cpu.next_deadline);
    if (loaded != nullptr) {
        deadline = earlier(deadline, loaded->ptimer_deadline);
    }
    if (cpu.index.value == 0) {
        deadline = earlier(deadline, housekeeping_deadline(*cpu.world));
    }
    if (deadline < cpu.armed || cpu.armed == timer_fired) {
        cpu.armed = deadline;
        hw::set_timer(deadline);
    }
}

void watch_timer(PerCpu& cpu, const Vcpu& loaded) {
    // One that is on its way already finds this one still held, or makes the GIC look.
    if (cpu.world->recheck_ticks != 0 && cpu.recheck_at == vtimer::never) {
        cpu.recheck_at = hw::counter() + cpu.world->recheck_ticks;
        cpu.next_deadline = earlier(cpu.next_deadline, cpu.recheck_at);
        arm_timer(cpu, &loaded);
    }
}

void on_physical_timer_write(Vcpu& vcpu) {
    const u64 now = hw::counter();
    const u64 count = now - physical_offset(*vcpu.vm, now);
    vcpu.ptimer_deadline = physical_deadline(vcpu.ptimer, count, now);
    kick_vcpus(*vcpu.vm, vcpu.vm->gic.set_ppi(vcpu.index, ptimer_intid, vcpu.ptimer.line_high(count)));
    arm_timer(*vcpu.cpu, &vcpu);
}

static void sample_armed_timers(Vcpu& vcpu, u64 now);

void sample_timers(Vcpu& vcpu, u64 now) {
    if (!vtimer::line_follows_condition(vcpu.sys.cntv_ctl) && vcpu.ptimer.line_stays_low() &&
        vcpu.gic->priv.line.load(std::memory_order_relaxed) == 0) {
        vcpu.ptimer_deadline = vcpu.deadline = vtimer::never; // neither is in use
        return;
    }
    sample_armed_timers(vcpu, now);
}

[[gnu::noinline]] static void sample_armed_timers(Vcpu& vcpu, u64 now) {
    Vm& vm = *vcpu.vm;
    vgic::VirtualGic& gic = vm.gic;
    VcpuMask mask = 0;
    const u64 count = now - physical_offset(vm, now);
    const auto virtual_timer =
        vtimer::parked_virtual_timer(vcpu.sys.cntv_ctl, vcpu.sys.cntv_cval, virtual_offset(vm, now), now);
    mask |= gic.set_ppi(vcpu.index, vtimer_intid, virtual_timer.line_high);
    mask |= gic.set_ppi(vcpu.index, ptimer_intid, vcpu.ptimer.line_high(count));
    vcpu.ptimer_deadline = physical_deadline(vcpu.ptimer, count, now);
    vcpu.deadline = earlier(virtual_timer.deadline, vcpu.ptimer_deadline);
    if (vcpu.deadline != vtimer::never && time_stands(vcpu)) {
        const u64 look_again = now + vm.world->slice_ticks; // however near: it does not come nearer
        vcpu.deadline = vcpu.deadline > look_again ? vcpu.deadline : look_again;
    }
    vcpu.cpu->next_deadline = earlier(vcpu.cpu->next_deadline, vcpu.deadline);
    if (mask != 0) {
        kick_vcpus(*vcpu.vm, mask);
    }
}

void on_timer(PerCpu& cpu, Vcpu* loaded) {
    const u64 now = hw::counter();
    cpu.armed = timer_fired; // its output stays high until it is programmed again, be it to "never"
    cpu.next_deadline = vtimer::never;
    for (Vcpu* v = cpu.home_list; v != nullptr; v = v->next_at_home) {
        if (v == loaded) {
            if (v->ptimer_deadline <= now) {
                on_physical_timer_write(*v);
            }
            continue;
        }
        if (v->deadline <= now) {
            v->deadline = vtimer::never;
            sample_timers(*v, now);
        }
        cpu.next_deadline = earlier(cpu.next_deadline, v->deadline);
    }
    if (cpu.index.value == 0) {
        housekeep(*cpu.world, now);
    }
    if (cpu.jobs != nullptr) {
        cpu.next_deadline = earlier(cpu.next_deadline, job_deadline(cpu, now));
        cpu.work_pending |= work::retarget; // one of them may have waited for this
    }
    if (cpu.slice_end <= now) {
        cpu.slice_end = vtimer::never;
        cpu.work_pending |= work::resched;
    }
    if (cpu.recheck_at <= now) {
        cpu.recheck_at =
            loaded != nullptr && hw::timer_is_held(cpu) ? now + cpu.world->recheck_ticks : vtimer::never;
    }
    cpu.next_deadline = earlier(cpu.next_deadline, cpu.recheck_at);
    arm_timer(cpu, loaded);
}

constexpr u64 wait_traps = arch::HcrEl2::TWI::mask | arch::HcrEl2::TWE::mask;

[[gnu::noinline]] static void change_target(PerCpu& cpu, Vcpu* loaded) {
    const bool contended = cpu.queue.contended() || has_job(cpu);
    if (!contended) {
        cpu.slice_end = vtimer::never;
    } else if (cpu.slice_end == vtimer::never) {
        // The slice of whoever runs began when it was loaded: who has had its own alone gives way at once.
        const u64 now = hw::counter();
        const u64 end = loaded != nullptr ? loaded->loaded_at + cpu.world->slice_ticks : now;
        cpu.slice_end = end > now ? end : now;
    }
    if (loaded != nullptr) {
        const u64 wanted = contended ? loaded->hcr | wait_traps : loaded->hcr & ~wait_traps;
        if (wanted != loaded->hcr) {
            loaded->hcr = wanted;
            hw::set_hcr(wanted);
        }
    }
    arm_timer(cpu, loaded);
}

void retarget(PerCpu& cpu, Vcpu* loaded) {
    if (cpu.queue.contended() || __atomic_load_n(&cpu.jobs, __ATOMIC_RELAXED) != nullptr ||
        (loaded != nullptr && (loaded->hcr & wait_traps) != 0)) {
        return change_target(cpu, loaded);
    }
    cpu.slice_end = vtimer::never;
    arm_timer(cpu, loaded);
}

void settle(PerCpu& cpu, Vcpu& vcpu) {
    const bool park = vcpu.park_request;
    const bool stop = vcpu.stop_request;
    vcpu.park_request = false;
    vcpu.stop_request = false;
    if (stop) {
        vcpu.deadline = vtimer::never;
        cpu.queue.stop(vcpu);
        vcpu.power.store(Power::off, std::memory_order_release);
        return;
    }
    if (park && !vcpu.vm->gic.has_pending(vcpu.index) && cpu.queue.park(vcpu)) {
        return;
    }
    cpu.queue.requeue(vcpu);
}

Vcpu* settle_and_pick(PerCpu& cpu, Vcpu& vcpu) {
    if (vcpu.stop_request || has_job(cpu) || __atomic_load_n(&cpu.reap_pending, __ATOMIC_RELAXED) != 0)
        [[unlikely]] {
        settle(cpu, vcpu);
        return nullptr;
    }
    const bool sleep = vcpu.park_request && (vcpu.gic->idle() || !vcpu.vm->gic.look_for_pending(vcpu.index));
    vcpu.park_request = false;
    return static_cast<Vcpu*>(cpu.queue.hand_over(vcpu, sleep));
}

} // namespace atl::el2
