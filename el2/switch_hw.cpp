// SPDX-License-Identifier: Apache-2.0
// The world switch. Order matters and is explained where it does. [DDI0487 D19, D12; IHI0069 §6]
#include "el2/switch_hw.hpp"

#include "el2/cpu_hw.hpp"
#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/inject.hpp"
#include "el2/its.hpp"
#include "el2/lifecycle.hpp"
#include "el2/run.hpp"
#include "el2/vm_time.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/sysreg_hw.hpp"

namespace atl::el2 {
namespace {

using namespace arch;

constexpr u64 tcr_epd = u64{1} << 7 | u64{1}
                                          << 23; // no stage-1 walks while registers of two guests are mixed

u64 mdcr_value(bool trap_debug) {
    // HPMN keeps all counters with EL1 as at reset; the guest has no PMU and every access traps.
    const u64 counters = Field<15, 11>::get(ATOLL_MRS(pmcr_el0));
    return MdcrEl2::HPMN::of(counters) | MdcrEl2::TPM::mask | MdcrEl2::TPMCR::mask | MdcrEl2::TDOSA::mask |
           MdcrEl2::TDRA::mask | MdcrEl2::TPMS::mask | MdcrEl2::TTRF::mask |
           (trap_debug ? MdcrEl2::TDA::mask : 0);
}

/// FEAT_RAS: DISR_EL1 of a guest is VDISR_EL2 while HCR_EL2.AMO is 1, whatever its ID registers say.
bool has_ras() {
    return Field<31, 28>::get(ATOLL_MRS(id_aa64pfr0_el1)) != 0;
}

bool has_pmu() {
    const u64 version = Field<11, 8>::get(ATOLL_MRS(id_aa64dfr0_el1));
    return version != 0 && version != 0xf;
}

void set_mdcr(bool trap_debug) {
    const u64 no_pmu = MdcrEl2::TDOSA::mask | MdcrEl2::TDRA::mask | (trap_debug ? MdcrEl2::TDA::mask : 0);
    ATOLL_MSR(mdcr_el2, has_pmu() ? mdcr_value(trap_debug) : no_pmu);
}

// Neighbours in SysRegs go two at a time. GCC does not pair loads and stores around the moves of its own.
#define ATOLL_TOGETHER(first, second)                                                                        \
    static_assert(__builtin_offsetof(SysRegs, second) == __builtin_offsetof(SysRegs, first) + sizeof(u64))
#define ATOLL_SAVE_TWO(first, first_register, second, second_register)                                       \
    do {                                                                                                     \
        ATOLL_TOGETHER(first, second);                                                                       \
        asm volatile("stp %1, %2, [%3, %4]"                                                                  \
                     : "+m"(s)                                                                               \
                     : "r"(ATOLL_MRS(first_register)), "r"(ATOLL_MRS(second_register)), "r"(&s),             \
                       "i"(__builtin_offsetof(SysRegs, first)));                                             \
    } while (false)
#define ATOLL_LOAD_TWO(first, first_register, second, second_register)                                       \
    do {                                                                                                     \
        ATOLL_TOGETHER(first, second);                                                                       \
        u64 first_;                                                                                          \
        u64 second_;                                                                                         \
        asm volatile("ldp %0, %1, [%2, %3]"                                                                  \
                     : "=&r"(first_), "=&r"(second_)                                                         \
                     : "r"(&s), "i"(__builtin_offsetof(SysRegs, first)), "m"(s));                            \
        ATOLL_MSR(first_register, first_);                                                                   \
        ATOLL_MSR(second_register, second_);                                                                 \
    } while (false)

void save_sysregs(SysRegs& s) {
    ATOLL_SAVE_TWO(sctlr, sctlr_el1, cpacr, cpacr_el1);
    ATOLL_SAVE_TWO(ttbr0, ttbr0_el1, ttbr1, ttbr1_el1);
    ATOLL_SAVE_TWO(tcr, tcr_el1, esr, esr_el1);
    ATOLL_SAVE_TWO(far, far_el1, afsr0, afsr0_el1);
    ATOLL_SAVE_TWO(afsr1, afsr1_el1, mair, mair_el1);
    ATOLL_SAVE_TWO(amair, amair_el1, vbar, vbar_el1);
    ATOLL_SAVE_TWO(contextidr, contextidr_el1, tpidr_el0, tpidr_el0);
    ATOLL_SAVE_TWO(tpidrro_el0, tpidrro_el0, tpidr_el1, tpidr_el1);
    ATOLL_SAVE_TWO(sp_el0, sp_el0, sp_el1, sp_el1);
    ATOLL_SAVE_TWO(elr, elr_el1, spsr, spsr_el1);
    ATOLL_SAVE_TWO(par, par_el1, cntkctl, cntkctl_el1);
    ATOLL_SAVE_TWO(csselr, csselr_el1, mdscr, mdscr_el1);
}

/// All but TCR_EL1: the caller writes it last.
void load_sysregs(const SysRegs& s) {
    ATOLL_LOAD_TWO(sctlr, sctlr_el1, cpacr, cpacr_el1);
    ATOLL_LOAD_TWO(ttbr0, ttbr0_el1, ttbr1, ttbr1_el1);
    ATOLL_MSR(esr_el1, s.esr);
    ATOLL_LOAD_TWO(far, far_el1, afsr0, afsr0_el1);
    ATOLL_LOAD_TWO(afsr1, afsr1_el1, mair, mair_el1);
    ATOLL_LOAD_TWO(amair, amair_el1, vbar, vbar_el1);
    ATOLL_LOAD_TWO(contextidr, contextidr_el1, tpidr_el0, tpidr_el0);
    ATOLL_LOAD_TWO(tpidrro_el0, tpidrro_el0, tpidr_el1, tpidr_el1);
    ATOLL_LOAD_TWO(sp_el0, sp_el0, sp_el1, sp_el1);
    ATOLL_LOAD_TWO(elr, elr_el1, spsr, spsr_el1);
    ATOLL_LOAD_TWO(par, par_el1, cntkctl, cntkctl_el1);
    ATOLL_LOAD_TWO(csselr, csselr_el1, mdscr, mdscr_el1);
}

#undef ATOLL_SAVE_TWO
#undef ATOLL_LOAD_TWO
#undef ATOLL_TOGETHER

/// Takes effect at the ERET, or the caller's ISB. CPTR_EL2.TFP traps EL2's own use as well [DDI0487 D19.2.34].
void allow_fp(PerCpu& cpu, bool allowed) {
    const u64 wanted = allowed ? cpu.cptr & ~CptrEl2::TFP::mask : cpu.cptr | CptrEl2::TFP::mask;
    if (wanted != cpu.cptr) {
        cpu.cptr = wanted;
        ATOLL_MSR(cptr_el2, wanted);
    }
}

constexpr u64 cnthctl_wall = CnthctlEl2::EL1PCTEN::mask;

/// A guest whose count stands still now and then must not see the physical one: reads trap.
[[gnu::noinline]] void load_time(Vcpu& vcpu, u64 now) {
    time_on_load(vcpu, now);
    if (vcpu.vm->run_time) {
        ATOLL_MSR(cnthctl_el2, 0);
    }
}

[[gnu::noinline]] void save_time(Vcpu& vcpu, u64 now) {
    if (vcpu.vm->run_time) {
        ATOLL_MSR(cnthctl_el2, cnthctl_wall); // complete at the ERET to whoever runs next
    }
    time_on_save(vcpu, now);
}

/// FEAT_FGT, FEAT_HCX and others add trap registers whose content firmware may have changed.
void clear_newer_controls() {
    const u64 mmfr0 = ATOLL_MRS(id_aa64mmfr0_el1);
    const u64 mmfr1 = ATOLL_MRS(id_aa64mmfr1_el1);
    if (Field<43, 40>::get(mmfr1) != 0) { // FEAT_HCX: HCRX_EL2 = 0 keeps TCR2, SCTLR2, MOPS and the like away
        ATOLL_MSR(s3_4_c1_c2_2, 0);
    }
    if (Field<43, 40>::get(ATOLL_MRS(id_aa64pfr0_el1)) != 0) { // MPAM: MPAM2_EL2.TRAPMPAM0EL1, TRAPMPAM1EL1
        ATOLL_MSR(s3_4_c10_c5_0, u64{3} << 48);
    }
    if (Field<59, 56>::get(mmfr0) != 0) { // FEAT_FGT: HFG[RWI]TR, HDFG[RW]TR: no finer traps
        ATOLL_MSR(s3_4_c1_c1_4, 0);
        ATOLL_MSR(s3_4_c1_c1_5, 0);
        ATOLL_MSR(s3_4_c1_c1_6, 0);
        ATOLL_MSR(s3_4_c3_c1_4, 0);
        ATOLL_MSR(s3_4_c3_c1_5, 0);
    }
}

} // namespace

u64 base_hcr() {
    return HcrEl2::VM::mask |   // stage 2
           HcrEl2::SWIO::mask | // DC ISW behaves as CISW: no data is lost (also trapped, below)
           HcrEl2::FMO::mask | HcrEl2::IMO::mask | // physical interrupts to EL2, virtual ones to the guest
           HcrEl2::AMO::mask |                     // SErrors to EL2
           HcrEl2::FB::mask |   // local TLB and I-cache maintenance is broadcast: vCPUs of one VM may share a
                                // pCPU
           HcrEl2::BSU::of(1) | // barriers reach at least the inner-shareable domain
           HcrEl2::TSC::mask |  // SMC is answered, never forwarded
           HcrEl2::TID3::mask | // sanitised ID registers
           HcrEl2::TIDCP::mask | // implementation-defined registers
           HcrEl2::TACR::mask |  // ACTLR_EL1
           HcrEl2::TSW::mask |   // set/way cache maintenance
           HcrEl2::TLOR::mask |  // LORegions (RES0 where there are none)
           HcrEl2::TERR::mask |  // RAS error records
           HcrEl2::RW::mask;     // EL1 is AArch64
    // HCD, TGE, E2H, TVM, PTW, DC, API, APK, VI, VF, VSE are 0: HVC works, EL1 exists, nVHE, stage-1
    // registers are the guest's, walks through device memory are the guest's problem, PAuth traps, nothing is
    // injected by hand but in VMs that want it [docs/adr/0024].
}

void init_cpu_for_guests(u64 vtcr) {
    ATOLL_MSR(vtcr_el2, vtcr);
    ATOLL_MSR(vttbr_el2, 0);
    ATOLL_MSR(hcr_el2, HcrEl2::RW::mask | HcrEl2::IMO::mask | HcrEl2::FMO::mask | HcrEl2::AMO::mask);
    u64 cptr = CptrEl2::res1 | CptrEl2::TZ::mask | CptrEl2::TSM::mask | CptrEl2::TTA::mask;
    if (Field<47, 44>::get(ATOLL_MRS(id_aa64pfr0_el1)) != 0) {
        cptr |= CptrEl2::TAM::mask; // activity monitors
    }
    this_cpu().cptr = cptr;
    ATOLL_MSR(cptr_el2, cptr);
    ATOLL_MSR(hstr_el2, 0);
    ATOLL_MSR(vpidr_el2, ATOLL_MRS(midr_el1));
    // The counter is the guest's to read, the physical timer is emulated [DDI0487 D12.2.4].
    ATOLL_MSR(cnthctl_el2, cnthctl_wall);
    ATOLL_MSR(cnthp_ctl_el2, 0);
    ATOLL_MSR(cntv_ctl_el0, 0);
    ATOLL_MSR(cntp_ctl_el0, 0);
    ATOLL_MSR(cntvoff_el2, 0);
    ATOLL_MSR(oslar_el1, 0); // the guests' OS Lock is virtual
    this_cpu().has_ras = has_ras();
    set_mdcr(true);
    clear_newer_controls();
    isb();
}

Action on_fp(Vcpu& vcpu, u64) {
    PerCpu& cpu = *vcpu.cpu;
    if (cpu.fp_owner == &vcpu) {
        return inject_undefined(vcpu); // nothing of EL2's traps it
    }
    allow_fp(cpu, true);
    isb(); // the registers are EL2's to move
    if (cpu.fp_owner != nullptr) {
        fp_save(&cpu.fp_owner->fp);
    }
    fp_load(&vcpu.fp);
    cpu.fp_owner = &vcpu;
    return action::resume;
}

void leave_no_guest() {
    // The tables of the VM that ran last may be freed while this pCPU idles: nothing may walk them any more.
    ATOLL_MSR(tcr_el1, tcr_epd);
    isb();
    ATOLL_MSR(vttbr_el2, 0);
    isb();
}

void load_vcpu(Vcpu& vcpu, u64 now) {
    Vm& vm = *vcpu.vm;
    PerCpu& cpu = *vcpu.cpu;
    if (vcpu.power.load(std::memory_order_acquire) == Power::on_pending) {
        reset_vcpu_registers(vcpu, vcpu.start_pc, vcpu.start_context);
        if (cpu.fp_owner == &vcpu) {
            cpu.fp_owner = nullptr; // what is in the CPU is of its former life
        }
        vcpu.power.store(Power::on, std::memory_order_release);
    }
    // No stage-1 walk with registers of two guests mixed, not even a speculative one (the Cortex-A57/A72
    // erratum 1319367 class): walks off, synchronise, change everything, synchronise, walks as the guest
    // wants them.
    ATOLL_MSR(tcr_el1, tcr_epd);
    isb();
    if (vcpu.keeps_time) [[unlikely]] {
        load_time(vcpu, now);
    }
    ATOLL_MSR(vttbr_el2, vm.space.vttbr());
    ATOLL_MSR(vmpidr_el2, u64{1} << 31 | vcpu.index.value);
    load_sysregs(vcpu.sys);
    ATOLL_MSR(cntvoff_el2, vm.cntvoff);
    ATOLL_MSR(cntv_cval_el0, vcpu.sys.cntv_cval);
    isb(); // and the timer's offset and compare value are there before it may fire
    LastVcpu& last = vm.last_on[cpu.index.value];
    if (last.vcpu != &vcpu) {
        // Another vCPU of this VM may have left non-global entries of its own with the same VMID and ASID.
        asm volatile("tlbi vmalle1\n\tdsb nsh\n\tisb" ::: "memory");
        last.vcpu = &vcpu;
    }
    ATOLL_MSR(tcr_el1, vcpu.sys.tcr);
    if (cpu.has_ras) {
        ATOLL_MSR(s3_4_c12_c1_1, 0);         // VDISR_EL2: guests have no RAS and no state there
        ATOLL_MSR(s3_4_c5_c2_3, vcpu.vsesr); // VSESR_EL2: of a virtual SError that still waits
    }
    allow_fp(cpu, cpu.fp_owner == &vcpu);
    if (vcpu.debug_live) {
        hw::enter_debug(vcpu);
    }
    vcpu.hcr &= ~(HcrEl2::TWI::mask | HcrEl2::TWE::mask);
    ATOLL_MSR(hcr_el2, vcpu.hcr); // before the vGIC, which may set VI and VF
    if (!vgic::load_quiet(vm.gic, *vcpu.gic, *cpu.list_registers)) [[unlikely]] {
        kick_vcpus(vm, vgic::load(vm.gic, vcpu.index, *cpu.list_registers));
        watch_timer(cpu, vcpu);
    }
    if (vcpu.vpe != nullptr) [[unlikely]] {
        vcpu.vpe->load();
    }
    ATOLL_MSR(cntv_ctl_el0, vcpu.sys.cntv_ctl);
    ATOLL_MSR(elr_el2, vcpu.pc);
    ATOLL_MSR(spsr_el2, vcpu.pstate);
    vcpu.stack_top = cpu.stack_top;
    vcpu.deadline = ~u64{0};
    cpu.current = &vcpu;
    cpu.gic_work = &vcpu.gic->work;
    ++cpu.switches;
    vcpu.loaded_at = now;
}

u64 save_vcpu(Vcpu& vcpu) {
    Vm& vm = *vcpu.vm;
    PerCpu& cpu = *vcpu.cpu;
    vcpu.pc = ATOLL_MRS(elr_el2);
    vcpu.pstate = ATOLL_MRS(spsr_el2);
    vcpu.sys.cntv_ctl = ATOLL_MRS(cntv_ctl_el0);
    vcpu.sys.cntv_cval = ATOLL_MRS(cntv_cval_el0);
    ATOLL_MSR(cntv_ctl_el0, 0);
    isb(); // the line is low before its physical interrupt is released
    if (!vgic::save_quiet(*vcpu.gic, *cpu.list_registers)) [[unlikely]] {
        kick_vcpus(vm, vgic::save(vm.gic, vcpu.index, *cpu.list_registers));
    }
    if (vcpu.vpe != nullptr) [[unlikely]] {
        isb(); // the virtual CPU interface is off before its vPE leaves [IHI0069 §12.11 GICR_VPENDBASER.Valid]
        save_vpe(vcpu);
    }
    save_sysregs(vcpu.sys);
    // HCR_EL2.VSE clears itself when the guest takes the virtual SError.
    vcpu.hcr = (vcpu.hcr & ~HcrEl2::VSE::mask) | (ATOLL_MRS(hcr_el2) & HcrEl2::VSE::mask);
    if (vcpu.debug_live) {
        hw::leave_debug(vcpu);
    }
    cpu.current = nullptr;
    const u64 now = hw::counter();
    vcpu.run_ticks += now - vcpu.loaded_at;
    if (vcpu.keeps_time) [[unlikely]] {
        save_time(vcpu, now);
    }
    sample_timers(vcpu, now);
    return now;
}

} // namespace atl::el2
