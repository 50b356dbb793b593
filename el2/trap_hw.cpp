// SPDX-License-Identifier: Apache-2.0
// From the vectors to the handlers and back into a guest. Reads the syndrome once; what a handler wants done
// (el2/vcpu.hpp, action::) happens here. [DDI0487 D1.3]
#include "el2/cpu_hw.hpp"
#include "el2/dispatch.hpp"
#include "el2/housekeeping.hpp"
#include "el2/hw.hpp"
#include "el2/inject.hpp"
#include "el2/lifecycle.hpp"
#include "el2/panic.hpp"
#include "el2/run.hpp"
#include "el2/switch_hw.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/esr.hpp"
#include "lib/arch/sysreg_hw.hpp"
#include "vgic/gicv3_hw.hpp"

namespace atl::el2 {
namespace {

using vgic::GicV3;

constexpr u32 first_special_intid = 1020;
constexpr u64 reload_flag = 1; // el2/vectors.S: bit 0 of the returned frame address
constexpr u64 serror_offset = 0x180;

void record(Vcpu& vcpu, u64 esr, u64 pc) {
    PerCpu& cpu = *vcpu.cpu;
    ExitRecord& slot = cpu.history[cpu.history_next++ % PerCpu::history_size];
    slot.esr = esr;
    slot.pc = pc;
    slot.vcpu = &vcpu;
}

u64 frame_of(Vcpu& vcpu) {
    return reinterpret_cast<u64>(static_cast<GuestFrame*>(&vcpu));
}

/// Vcpu::exception becomes the guest's: EL1 exception registers, vector, PSTATE. [DDI0487 D1.3.5]
void take_exception(Vcpu& vcpu) {
    const u64 pstate = ATOLL_MRS(spsr_el2);
    const bool has_pan = Field<23, 20>::get(ATOLL_MRS(id_aa64mmfr1_el1)) != 0;
    const ExceptionEntry entry =
        exception_entry(pstate, ATOLL_MRS(vbar_el1), ATOLL_MRS(sctlr_el1), has_pan, vcpu.exception.offset);
    ATOLL_MSR(esr_el1, vcpu.exception.esr);
    if (vcpu.exception.has_far) {
        ATOLL_MSR(far_el1, vcpu.exception.far);
    }
    ATOLL_MSR(elr_el1, ATOLL_MRS(elr_el2));
    ATOLL_MSR(spsr_el1, pstate);
    ATOLL_MSR(elr_el2, entry.pc);
    ATOLL_MSR(spsr_el2, entry.pstate);
}

/// An interrupt that EL2 takes for itself. `loaded`: nullptr while the pCPU is idle. Priority is dropped and
/// the interrupt deactivated here; the guest's own timer is the exception.
void handle_interrupt(PerCpu& cpu, Vcpu* loaded, Intid intid) {
    World& world = *cpu.world;
    if (intid.value >= first_special_intid) {
        return; // spurious: it went away meanwhile
    }
    GicV3::drop_priority(intid);
    if (intid.value == kick_sgi) {
        cpu.work_pending |= work::retarget;
    } else if (intid.value == world.intids.virtual_timer && loaded != nullptr) {
        vgic::inject_timer(loaded->vm->gic, loaded->index, world.gic->lr_file(cpu.index));
        return; // the guest deactivates it
    } else if (intid.value == world.intids.el2_timer) {
        on_timer(cpu, loaded);
    } else if (intid.value == world.intids.maintenance && loaded != nullptr) {
        kick_vcpus(*loaded->vm,
                   vgic::maintenance(loaded->vm->gic, loaded->index, world.gic->lr_file(cpu.index)));
    } else if (intid.value == world.intids.uart) {
        world.console.on_interrupt(world);
    } else if (intid.value == stop_sgi) {
        stop_for_panic();
    }
    GicV3::deactivate(intid);
}

void flush_interrupts(Vcpu& vcpu) {
    World& world = *vcpu.vm->world;
    while (vcpu.gic->needs_flush()) {
        kick_vcpus(*vcpu.vm, vgic::flush(vcpu.vm->gic, vcpu.index, world.gic->lr_file(vcpu.cpu->index)));
    }
}

/// Nobody is loaded: finds the next vCPU, doing jobs and waiting for interrupts meanwhile.
Vcpu& next_vcpu(PerCpu& cpu) {
    for (;;) {
        reap_stopped(cpu);
        const bool job = run_job_step(cpu);
        if (SchedNode* const node = cpu.queue.pick(); node != nullptr) {
            return *static_cast<Vcpu*>(node);
        }
        if (cpu.index.value == 0) {
            housekeep(*cpu.world, hw::counter());
        }
        cpu.slice_end = ~u64{0};
        arm_timer(cpu, nullptr);
        cpu.work_pending = 0;
        if (!job) {
            // Interrupts are masked but still end the WFI; whoever queued a vCPU since then has sent one.
            const u64 asleep = hw::counter();
            arch::dsb_sy();
            arch::wfi();
            cpu.idle_ticks += hw::counter() - asleep;
        }
        handle_interrupt(cpu, nullptr, GicV3::acknowledge());
    }
}

/// Gives the pCPU to the next vCPU (perhaps the same) and returns its frame.
Vcpu& schedule(PerCpu& cpu, Vcpu* loaded) {
    if (loaded != nullptr) {
        save_vcpu(*loaded);
        settle(cpu, *loaded);
    }
    Vcpu& next = next_vcpu(cpu);
    cpu.slice_end = ~u64{0};
    load_vcpu(next);
    cpu.work_pending = 0;
    retarget(cpu, &next);
    return next;
}

/// Everything that is not the common case. Returns the frame to resume.
[[gnu::noinline]] u64 finish_slow(Vcpu& vcpu, Action action) {
    PerCpu& cpu = *vcpu.cpu;
    Vcpu* at = &vcpu;
    if ((action & action::inject) != 0) {
        take_exception(vcpu);
    }
    if ((action & action::leave) != 0) {
        at = &schedule(cpu, at);
    }
    for (;;) {
        if (__atomic_load_n(&cpu.reap_pending, __ATOMIC_RELAXED) != 0 ||
            (cpu.work_pending & work::resched) != 0) {
            cpu.work_pending &= ~work::resched;
            at = &schedule(cpu, at);
            continue;
        }
        if (cpu.work_pending != 0) {
            cpu.work_pending = 0;
            if (cpu.index.value == 0) {
                housekeep(*cpu.world, hw::counter());
            }
            retarget(cpu, at);
            continue;
        }
        if (!at->gic->needs_flush()) {
            break;
        }
        flush_interrupts(*at);
    }
    return frame_of(*at) | reload_flag;
}

inline u64 finish(Vcpu& vcpu, Action action, u64 esr) {
    if ((action & action::advance) != 0) {
        const ExceptionEntry next = step_over(vcpu.pc, ATOLL_MRS(spsr_el2), esr);
        ATOLL_MSR(elr_el2, next.pc);
        ATOLL_MSR(spsr_el2, next.pstate);
    }
    const bool slow = (action & (action::inject | action::leave)) != 0 || vcpu.cpu->work_pending != 0 ||
                      vcpu.gic->needs_flush();
    if (slow) [[unlikely]] {
        return finish_slow(vcpu, action);
    }
    return frame_of(vcpu) | ((action & action::reload) != 0 ? reload_flag : 0);
}

} // namespace

extern "C" {

u64 el2_handle_sync(GuestFrame* frame) {
    Vcpu& vcpu = *static_cast<Vcpu*>(frame);
    const u64 esr = ATOLL_MRS(esr_el2);
    const auto ec = static_cast<unsigned>(esr >> 26) & 63;
    vcpu.pc = ATOLL_MRS(elr_el2);
    ++vcpu.exits[ec];
    record(vcpu, esr, vcpu.pc);
    return finish(vcpu, sync_handlers[ec](vcpu, esr), esr);
}

u64 el2_handle_irq(GuestFrame* frame) {
    Vcpu& vcpu = *static_cast<Vcpu*>(frame);
    PerCpu& cpu = *vcpu.cpu;
    World& world = *cpu.world;
    ++vcpu.irq_exits;
    const Intid intid = GicV3::acknowledge();
    record(vcpu, ~u64{intid.value}, ATOLL_MRS(elr_el2));
    if (intid.value == world.intids.virtual_timer) [[likely]] {
        GicV3::drop_priority(intid);
        vgic::inject_timer(vcpu.vm->gic, vcpu.index, world.gic->lr_file(cpu.index));
    } else {
        handle_interrupt(cpu, &vcpu, intid);
    }
    return finish(vcpu, action::resume, 0);
}

/// An SError: an asynchronous external abort. It is the guest's: it gets a virtual one. [DDI0487 D1.3.6]
u64 el2_handle_serror(GuestFrame* frame) {
    Vcpu& vcpu = *static_cast<Vcpu*>(frame);
    const u64 esr = ATOLL_MRS(esr_el2);
    vcpu.pc = ATOLL_MRS(elr_el2);
    record(vcpu, esr, vcpu.pc);
    log::error("{} vcpu {}: SError at pc {:x}, esr {:x}: delivered to the guest", vcpu.vm->name(), vcpu.index,
               vcpu.pc, esr);
    vcpu.exception = {arch::Esr::EC::of(static_cast<u64>(arch::ExceptionClass::serror)) |
                          arch::Esr::IL::mask | (esr & arch::Esr::ISS::mask),
                      0, false, serror_offset};
    return finish(vcpu, action::inject, esr);
}

} // extern "C"

} // namespace atl::el2

extern "C" [[noreturn]] void enter_guest(atl::u64 frame);
extern "C" [[noreturn]] void reset_stack_and_call(atl::u64 stack_top, void (*function)());

namespace atl::el2 {

void run_pcpu() {
    PerCpu& cpu = this_cpu();
    reset_stack_and_call(
        cpu.stack_top, +[] {
            PerCpu& self = this_cpu();
            enter_guest(frame_of(schedule(self, nullptr)));
        });
}

} // namespace atl::el2
