// SPDX-License-Identifier: Apache-2.0
// From the vectors to the handlers and back into a guest. Reads the syndrome once; what a handler wants done
// (el2/vcpu.hpp, action::) happens here, unless it is so common that el2/vectors.S does it. [DDI0487 D1.3]
// An exit comes with x0-x9 in the frame. That is enough for calls, interrupts and most trapped accesses;
// whatever wants more (full_frame), or another vCPU (leave), goes on in el2_finish_full.
#include "el2/cpu_hw.hpp"
#include "el2/dispatch.hpp"
#include "el2/housekeeping.hpp"
#include "el2/hw.hpp"
#include "el2/inject.hpp"
#include "el2/interrupt_hw.hpp"
#include "el2/its.hpp"
#include "el2/lifecycle.hpp"
#include "el2/panic.hpp"
#include "el2/passthrough.hpp"
#include "el2/run.hpp"
#include "el2/switch_hw.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/esr.hpp"
#include "lib/arch/sysreg_hw.hpp"
#include "vgic/gic_hw.hpp"

extern "C" atl::el2::Action spill_and_call(atl::el2::Vcpu& vcpu, atl::u64 esr, atl::el2::SyncHandler handler);

namespace atl::el2 {
namespace {

constexpr unsigned max_flushes = 2;         // in a row, before the guest runs on
constexpr unsigned last_saved_register = 9; // el2/vectors.S save_volatile

GuestFrame* frame_of(Vcpu& vcpu) {
    return &vcpu;
}

/// Vcpu::exception becomes the guest's: EL1 exception registers, vector, PSTATE. [DDI0487 D1.3.5]
[[gnu::noinline]] void take_exception(Vcpu& vcpu) {
    const u64 pstate = ATOLL_MRS(spsr_el2);
    const bool has_pan = Field<23, 20>::get(ATOLL_MRS(id_aa64mmfr1_el1)) != 0;
    const ExceptionEntry entry =
        exception_entry(pstate, ATOLL_MRS(vbar_el1), ATOLL_MRS(sctlr_el1), has_pan, 0);
    ATOLL_MSR(esr_el1, vcpu.exception.esr);
    if (vcpu.exception.has_far) {
        ATOLL_MSR(far_el1, vcpu.exception.far);
    }
    ATOLL_MSR(elr_el1, ATOLL_MRS(elr_el2));
    ATOLL_MSR(spsr_el1, pstate);
    ATOLL_MSR(elr_el2, entry.pc);
    ATOLL_MSR(spsr_el2, entry.pstate);
}

[[gnu::noinline]] void housekeep_now(PerCpu& cpu) {
    housekeep(*cpu.world, hw::counter());
}

inline void boot_cpu_duties(PerCpu& cpu) {
    if (cpu.index.value == 0 && housekeeping_deadline(*cpu.world) != ~u64{0}) [[unlikely]] {
        housekeep_now(cpu);
    }
}

/// Nobody is loaded: finds the next vCPU, doing jobs and waiting for interrupts meanwhile.
[[gnu::noinline]] Vcpu& next_vcpu(PerCpu& cpu) {
    for (;;) {
        reap_stopped(cpu);
        const bool job = run_job_step(cpu);
        if (SchedNode* const node = cpu.queue.pick(); node != nullptr) {
            return *static_cast<Vcpu*>(node);
        }
        boot_cpu_duties(cpu);
        cpu.slice_end = ~u64{0};
        arm_timer(cpu, nullptr);
        cpu.work_pending = 0;
        if (!job) {
            leave_no_guest();
            // Interrupts are masked but still end the WFI; whoever queued a vCPU since then has sent one.
            const u64 asleep = hw::counter();
            arch::dsb_sy();
            arch::wfi();
            cpu.idle_ticks += hw::counter() - asleep;
        }
        take_interrupt(cpu, nullptr);
    }
}

/// Gives the pCPU to the next vCPU (perhaps the same) and returns its frame.
Vcpu& schedule(PerCpu& cpu, Vcpu* loaded) {
    Vcpu* next = nullptr;
    u64 now = 0;
    if (loaded != nullptr) {
        now = save_vcpu(*loaded);
        next = settle_and_pick(cpu, *loaded);
    }
    if (next == nullptr) {
        next = &next_vcpu(cpu);
        now = hw::counter();
    }
    cpu.slice_end = ~u64{0};
    load_vcpu(*next, now);
    cpu.work_pending = 0;
    retarget(cpu, next);
    return *next;
}

/// Part of the commands that wait for this vCPU, and an interrupt, which might be the end of its slice.
[[gnu::noinline]] void run_its(PerCpu& cpu, Vcpu& vcpu) {
    its_step(vcpu);
    take_interrupt(cpu, &vcpu);
}

/// Before a guest is entered: everything that was noted for it or for this pCPU. Returns leave when somebody
/// else is to run instead. Interrupts are looked at a bounded number of times: what other pCPUs post after
/// that comes with an SGI, so that a VM whose vCPUs keep posting cannot hold the pCPU at EL2.
[[gnu::always_inline]] inline Action do_work(PerCpu& cpu, Vcpu& vcpu) {
    for (unsigned flushes = 0;;) {
        if (cpu.work_pending != 0) [[unlikely]] {
            const u64 work = cpu.work_pending;
            cpu.work_pending = 0;
            if (__atomic_load_n(&cpu.reap_pending, __ATOMIC_RELAXED) != 0 || (work & work::resched) != 0) {
                return action::leave;
            }
            boot_cpu_duties(cpu);
            retarget(cpu, &vcpu);
            continue;
        }
        const u64 waiting = vcpu.gic->work.load(std::memory_order_relaxed);
        if (waiting == 0) {
            return action::resume;
        }
        if (vgic::only_sgis(waiting) && vgic::relist_sgis(*vcpu.gic, *cpu.list_registers) == 0) [[likely]] {
            return action::resume; // whoever posts from now on also sends an SGI, which ends the guest's turn
        }
        if (its_waits(vcpu)) [[unlikely]] {
            run_its(cpu, vcpu);
            continue;
        }
        if (flushes++ == max_flushes) {
            return action::resume;
        }
        const VcpuMask others = vgic::flush(vcpu.vm->gic, vcpu.index, *cpu.list_registers);
        if (others != 0) [[unlikely]] {
            kick_vcpus(*vcpu.vm, others);
        }
    }
}

constexpr u64 hvc_bytes = 4;

[[gnu::noinline]] void step_special() {
    const ExceptionEntry next = step_over(ATOLL_MRS(elr_el2), ATOLL_MRS(spsr_el2), ATOLL_MRS(esr_el2));
    ATOLL_MSR(elr_el2, next.pc);
    ATOLL_MSR(spsr_el2, next.pstate);
}

inline void step_guest() {
    const u64 pstate = ATOLL_MRS(spsr_el2);
    constexpr u64 special = arch::Spsr::M4_AArch32 | arch::Spsr::BTYPE | arch::Spsr::SS;
    if ((pstate & special) == 0) [[likely]] { // as advance_or in el2/vectors.S
        ATOLL_MSR(elr_el2, ATOLL_MRS(elr_el2) + 4);
        return;
    }
    step_special();
}

[[gnu::always_inline]] inline void advance_or_inject(Vcpu& vcpu, Action action) {
    if ((action & action::advance) != 0) {
        step_guest();
    }
    if ((action & action::repeat) != 0) {
        ATOLL_MSR(elr_el2, ATOLL_MRS(elr_el2) - hvc_bytes);
    }
    if ((action & action::inject) != 0) {
        take_exception(vcpu);
    }
}

Action want_full_frame(Vcpu&, u64) {
    return action::full_frame;
}

// The register of a trapped access may be one that is still in the CPU. Then all go to the frame first, which
// must happen in a tail call, while x19-x29 are the guest's.

Action sysreg_full(Vcpu& vcpu, u64 esr) {
    return on_sysreg(vcpu, esr) | action::reload;
}

Action fast_sysreg(Vcpu& vcpu, u64 esr) {
    if (arch::SysregTrap::Rt::get(esr) <= last_saved_register) [[likely]] {
        return on_sysreg(vcpu, esr);
    }
    // What is written to a system register need not come back.
    return spill_and_call(vcpu, esr, arch::SysregTrap::Read::test(esr) ? sysreg_full : on_sysreg);
}

/// HPFAR_EL2 is valid after a translation fault [DDI0487 D19.2.52].
Ipa translation_fault_ipa() {
    const u64 page = arch::hpfar_to_ipa_page(ATOLL_MRS(hpfar_el2));
    return Ipa{page | (ATOLL_MRS(far_el2) & (page_size - 1))};
}

Action store_full(Vcpu& vcpu, u64 esr) {
    return emulate_access(vcpu, esr, translation_fault_ipa());
}

Action load_full(Vcpu& vcpu, u64 esr) {
    return emulate_access(vcpu, esr, translation_fault_ipa()) | action::reload;
}

/// A plain load or store of one register where stage 2 has nothing: a device, or on_data_abort finds out
/// what.
Action fast_data_abort(Vcpu& vcpu, u64 esr) {
    using namespace arch::DataAbort;
    constexpr u64 plain = ISV::mask | S1PTW::mask | DFSC::of(0b111100);
    constexpr u64 device = ISV::mask | DFSC::of(arch::fsc_translation);
    if ((esr & plain) != device) [[unlikely]] {
        return action::full_frame;
    }
    if (SRT::get(esr) <= last_saved_register) [[likely]] {
        return emulate_access(vcpu, esr, translation_fault_ipa());
    }
    return spill_and_call(vcpu, esr, WnR::test(esr) ? store_full : load_full);
}

/// Which handlers do with x0-x9.
struct FastHandlers {
    SyncHandler by_class[64];
};
constexpr FastHandlers fast_handlers = [] {
    FastHandlers handlers{};
    for (SyncHandler& handler : handlers.by_class) {
        handler = want_full_frame;
    }
    handlers.by_class[static_cast<unsigned>(arch::ExceptionClass::wfx)] = on_wfx;
    handlers.by_class[static_cast<unsigned>(arch::ExceptionClass::fp_simd)] = on_fp;
    handlers.by_class[static_cast<unsigned>(arch::ExceptionClass::hvc64)] = on_hvc;
    handlers.by_class[static_cast<unsigned>(arch::ExceptionClass::smc64)] = on_smc;
    handlers.by_class[static_cast<unsigned>(arch::ExceptionClass::sysreg)] = fast_sysreg;
    handlers.by_class[static_cast<unsigned>(arch::ExceptionClass::data_abort_lower)] = fast_data_abort;
    return handlers;
}();

} // namespace

extern "C" {

Action el2_handle_sync(GuestFrame* frame) {
    Vcpu& vcpu = *static_cast<Vcpu*>(frame);
    const u64 esr = ATOLL_MRS(esr_el2);
    const u64 pc = ATOLL_MRS(elr_el2);
    const auto ec = static_cast<unsigned>(esr >> 26) & 63;
    vcpu.pc = pc;
    ++vcpu.exits[ec];
    record(*vcpu.cpu, vcpu, esr, pc);
    return fast_handlers.by_class[ec](vcpu, esr);
}

/// An SError: an asynchronous external abort. It is the guest's: it gets a virtual one, once its PSTATE.A
/// lets it. [DDI0487 D1.3.6, D19.2.48 HCR_EL2.VSE]
Action el2_handle_serror(GuestFrame* frame) {
    Vcpu& vcpu = *static_cast<Vcpu*>(frame);
    const u64 esr = ATOLL_MRS(esr_el2);
    vcpu.pc = ATOLL_MRS(elr_el2);
    record(*vcpu.cpu, vcpu, esr, vcpu.pc);
    if (may_report(*vcpu.vm)) {
        log::error("{} vcpu {}: SError at pc {:x}, esr {:x}: delivered to the guest", vcpu.vm->name(),
                   vcpu.index, vcpu.pc, esr);
    }
    vcpu.vsesr = esr & arch::Esr::ISS::mask;
    if (vcpu.cpu->has_ras) {
        ATOLL_MSR(s3_4_c5_c2_3, vcpu.vsesr); // VSESR_EL2
    }
    ATOLL_MSR(hcr_el2, ATOLL_MRS(hcr_el2) | arch::HcrEl2::VSE::mask);
    return action::resume;
}

/// What vectors.S has not done itself. Returns what is left: nothing, or a reason to go on in
/// el2_finish_full.
Action el2_finish(Action action) {
    PerCpu& cpu = this_cpu();
    Vcpu& vcpu = *cpu.current;
    if (action != action::resume) {
        advance_or_inject(vcpu, action);
        action &= action::full_frame | action::leave | action::reload;
        if (action != 0) {
            return action;
        }
    }
    return do_work(cpu, vcpu);
}

/// The rest, with all registers in the frame: what el2_finish has left, or an action with `leave` as it is. Returns the frame to resume, perhaps another vCPU's.
GuestFrame* el2_finish_full(GuestFrame* frame, Action action) {
    Vcpu* at = static_cast<Vcpu*>(frame);
    PerCpu& cpu = *at->cpu;
    if ((action & action::full_frame) != 0) {
        const u64 esr = ATOLL_MRS(esr_el2);
        const Action todo = sync_handlers[static_cast<unsigned>(esr >> 26) & 63](*at, esr);
        advance_or_inject(*at, todo);
        action = (action & action::leave) | todo;
    } else {
        advance_or_inject(*at, action); // of one that came here directly, to leave
    }
    for (;;) {
        if ((action & action::leave) != 0) {
            at = &schedule(cpu, at);
        }
        action = do_work(cpu, *at);
        if (action == action::resume) {
            return frame_of(*at);
        }
    }
}

} // extern "C"

} // namespace atl::el2

extern "C" [[noreturn]] void enter_guest(atl::el2::GuestFrame* frame);
extern "C" [[noreturn]] void reset_stack_and_call(atl::u64 stack_top, void (*function)());

namespace atl::el2 {

void run_pcpu() {
    PerCpu& cpu = this_cpu();
    cpu.list_registers = &cpu.world->gic->lr_file(cpu.index);
    reset_stack_and_call(
        cpu.stack_top, +[] {
            PerCpu& self = this_cpu();
            Vcpu* first = &schedule(self, nullptr);
            while (do_work(self, *first) != action::resume) {
                first = &schedule(self, first);
            }
            enter_guest(frame_of(*first));
        });
}

} // namespace atl::el2
