// SPDX-License-Identifier: Apache-2.0
// el2/hw.hpp on the target.
#include "el2/cpu_hw.hpp"

#include "el2/hw.hpp"
#include "el2/switch_hw.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/esr.hpp"
#include "lib/arch/sysreg_hw.hpp"
#include "lib/log.hpp"
#include "stage2/cache_hw.hpp"
#include "vgic/gic_hw.hpp"

namespace atl::el2::hw {
namespace {

using namespace arch;

constexpr unsigned debug_slots = 16;

// Breakpoint and watchpoint registers carry their number in the instruction.
#define ATOLL_EACH_SLOT(X)                                                                                   \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

unsigned breakpoints() {
    return static_cast<unsigned>(Field<15, 12>::get(ATOLL_MRS(id_aa64dfr0_el1))) + 1;
}
unsigned watchpoints() {
    return static_cast<unsigned>(Field<23, 20>::get(ATOLL_MRS(id_aa64dfr0_el1))) + 1;
}

void set_trap_debug(bool on) {
    const u64 mdcr = ATOLL_MRS(mdcr_el2);
    ATOLL_MSR(mdcr_el2, on ? mdcr | MdcrEl2::TDA::mask : mdcr & ~MdcrEl2::TDA::mask);
}

} // namespace

u64 counter() {
    isb();
    return ATOLL_MRS(cntpct_el0);
}

u64 counter_frequency() {
    return ATOLL_MRS(cntfrq_el0);
}

void set_timer(u64 deadline) {
    if (deadline == ~u64{0}) {
        ATOLL_MSR(cnthp_ctl_el2, 0);
    } else {
        ATOLL_MSR(cnthp_cval_el2, deadline);
        ATOLL_MSR(cnthp_ctl_el2, CntCtl::ENABLE);
    }
    isb(); // the level follows before the next acknowledge
}

bool timer_is_held(const PerCpu& cpu) {
    return cpu.world->gic->v2().lr_file(cpu.index).held(static_cast<u16>(cpu.world->intids.virtual_timer));
}

void send_kick(PcpuIndex target) {
    PerCpu& self = this_cpu();
    if (target == self.index) {
        self.work_pending |= work::retarget;
        return;
    }
    PerCpu* const cpu = self.world->pcpus[target.value];
    if (cpu != nullptr) {
        __atomic_store_n(&cpu->attention, 1U, __ATOMIC_RELAXED); // before the SGI, which orders it
        interrupt(*cpu);
    }
}

/// Whoever is first computes the value; all would store the same. A GICv2 has no such value, and every kick comes here.
[[gnu::noinline]] static void interrupt_first(PerCpu& target) {
    const vgic::Gic& gic = *target.world->gic;
    if (gic.is_v2()) {
        return gic.send_sgi(target.index, kick_sgi);
    }
    const u64 value = gic.v3().sgi_value(target.index, kick_sgi);
    __atomic_store_n(&target.kick_value, value, __ATOMIC_RELAXED);
    vgic::GicV3::send_sgi(value);
}

void interrupt(PerCpu& target) {
    if (&target == &this_cpu()) {
        return; // its work word is looked at before every entry
    }
    const u64 value = __atomic_load_n(&target.kick_value, __ATOMIC_RELAXED);
    if (value == 0) [[unlikely]] {
        return interrupt_first(target);
    }
    vgic::GicV3::send_sgi(value);
}

FaultAddress fault_address(u64 esr) {
    const u64 far = ATOLL_MRS(far_el2);
    const u64 fsc = DataAbort::DFSC::get(esr);
    const bool s1ptw = DataAbort::S1PTW::test(esr);
    const u64 page_offset = far & (page_size - 1);
    if (s1ptw || fsc_type(fsc) != fsc_permission) {
        // HPFAR_EL2 is valid; for a fault on a stage-1 walk it names the descriptor's page [DDI0487
        // D19.2.52].
        return {far, Ipa{hpfar_to_ipa_page(ATOLL_MRS(hpfar_el2)) + (s1ptw ? 0 : page_offset)}, true};
    }
    const bool el0 = (ATOLL_MRS(spsr_el2) & Spsr::mode_mask) == Spsr::EL0t;
    const auto ipa = translate_stage1(GuestVa{far}, false, el0);
    return {far, ipa.ok() ? *ipa : Ipa{}, ipa.ok()};
}

void set_hcr(u64 value) {
    // VSE is the hardware's: it clears when the guest takes the SError. VI and VF are the vGIC's [vgic/soft_file_hw.hpp].
    // Synchronised by the ERET.
    constexpr u64 others = HcrEl2::VSE::mask | HcrEl2::VI::mask | HcrEl2::VF::mask;
    ATOLL_MSR(hcr_el2, (value & ~others) | (ATOLL_MRS(hcr_el2) & others));
}

u64 guest_pstate() {
    return ATOLL_MRS(spsr_el2);
}

u64 guest_vbar() {
    return ATOLL_MRS(vbar_el1);
}

u64 guest_sp() {
    return (guest_pstate() & Spsr::mode_mask) == Spsr::EL1h ? ATOLL_MRS(sp_el1) : ATOLL_MRS(sp_el0);
}

void set_guest_sp(u64 value) {
    if ((guest_pstate() & Spsr::mode_mask) == Spsr::EL1h) {
        ATOLL_MSR(sp_el1, value);
    } else {
        ATOLL_MSR(sp_el0, value);
    }
}

void prepare_spi(World& world, Intid spi, PcpuIndex target) {
    vgic::Gic& gic = *world.gic;
    const bool ok = gic.disable(target, spi).ok() &&
                    gic.set_priority(target, spi, vgic::host_priority).ok() &&
                    gic.set_trigger(target, spi, vgic::Trigger::level).ok() && gic.route(spi, target).ok();
    if (!ok) {
        log::warn("SPI {} of the host's PCI bridge cannot be used", spi);
    }
}

void enable_spi(World& world, Intid spi, bool enabled) {
    static_cast<void>(enabled ? world.gic->enable({}, spi) : world.gic->disable({}, spi));
}

void deactivate_spi(World& world, Intid spi) {
    static_cast<void>(world.gic->set_active({}, spi, false));
}

VcpuMask gic_flush(Vcpu& vcpu) {
    return vgic::flush(vcpu.vm->gic, vcpu.index, vcpu.vm->world->gic->lr_file(vcpu.cpu->index));
}

VcpuMask gic_dir_write(Vcpu& vcpu, u64 value) {
    return vgic::dir_write(vcpu.vm->gic, vcpu.index, vcpu.vm->world->gic->lr_file(vcpu.cpu->index), value);
}

vgic::InterfaceAccess gic_interface_access(Vcpu& vcpu, u32 id, bool write, u64 value) {
    return vgic::interface_access(vcpu.vm->gic, vcpu.index, vcpu.vm->world->gic->lr_file(vcpu.cpu->index), id,
                                  write, value);
}

void enter_debug(Vcpu& vcpu) {
    const DebugRegs& d = vcpu.debug;
    const unsigned b = breakpoints();
    const unsigned w = watchpoints();
#define ATOLL_LOAD_SLOT(n)                                                                                   \
    if (n < b) {                                                                                             \
        ATOLL_MSR(dbgbvr##n##_el1, d.bvr[n]);                                                                \
        ATOLL_MSR(dbgbcr##n##_el1, d.bcr[n]);                                                                \
    }                                                                                                        \
    if (n < w) {                                                                                             \
        ATOLL_MSR(dbgwvr##n##_el1, d.wvr[n]);                                                                \
        ATOLL_MSR(dbgwcr##n##_el1, d.wcr[n]);                                                                \
    }
    ATOLL_EACH_SLOT(ATOLL_LOAD_SLOT)
#undef ATOLL_LOAD_SLOT
    vcpu.debug_live = true;
    set_trap_debug(false);
}

void leave_debug(Vcpu& vcpu) {
    DebugRegs& d = vcpu.debug;
    const unsigned b = breakpoints();
    const unsigned w = watchpoints();
    bool armed = false;
#define ATOLL_SAVE_SLOT(n)                                                                                   \
    if (n < b) {                                                                                             \
        d.bvr[n] = ATOLL_MRS(dbgbvr##n##_el1);                                                               \
        d.bcr[n] = ATOLL_MRS(dbgbcr##n##_el1);                                                               \
        ATOLL_MSR(dbgbcr##n##_el1, 0);                                                                       \
        armed = armed || (d.bcr[n] & 1) != 0;                                                                \
    }                                                                                                        \
    if (n < w) {                                                                                             \
        d.wvr[n] = ATOLL_MRS(dbgwvr##n##_el1);                                                               \
        d.wcr[n] = ATOLL_MRS(dbgwcr##n##_el1);                                                               \
        ATOLL_MSR(dbgwcr##n##_el1, 0);                                                                       \
        armed = armed || (d.wcr[n] & 1) != 0;                                                                \
    }
    ATOLL_EACH_SLOT(ATOLL_SAVE_SLOT)
#undef ATOLL_SAVE_SLOT
    static_assert(debug_slots == 16);
    // Nothing armed and nothing enabled: back to the shadow, which costs no switch.
    constexpr u64 mdscr_enables = u64{1} << 15 | u64{1} << 13 | 1; // MDE, KDE, SS
    vcpu.debug_live = armed || (vcpu.sys.mdscr & mdscr_enables) != 0;
    set_trap_debug(true);
}

Result<Pa> translate_guest_read(GuestVa va, bool el0) {
    const u64 par = ATOLL_MRS(par_el1); // the guest's: AT must leave no trace
    if (el0) {
        asm volatile("at s12e0r, %0\n\tisb" ::"r"(va.value) : "memory");
    } else {
        asm volatile("at s12e1r, %0\n\tisb" ::"r"(va.value) : "memory");
    }
    const u64 result = ATOLL_MRS(par_el1);
    ATOLL_MSR(par_el1, par);
    if ((result & 1) != 0) {
        return Error::not_found;
    }
    return Pa{(result & Field<51, 12>::mask) | (va.value & (page_size - 1))};
}

Result<Ipa> translate_stage1(GuestVa va, bool write, bool el0) {
    const u64 par = ATOLL_MRS(par_el1);
    if (el0) {
        if (write) {
            asm volatile("at s1e0w, %0\n\tisb" ::"r"(va.value) : "memory");
        } else {
            asm volatile("at s1e0r, %0\n\tisb" ::"r"(va.value) : "memory");
        }
    } else if (write) {
        asm volatile("at s1e1w, %0\n\tisb" ::"r"(va.value) : "memory");
    } else {
        asm volatile("at s1e1r, %0\n\tisb" ::"r"(va.value) : "memory");
    }
    const u64 result = ATOLL_MRS(par_el1);
    ATOLL_MSR(par_el1, par);
    if ((result & 1) != 0) {
        return Error::not_found;
    }
    return Ipa{(result & Field<51, 12>::mask) | (va.value & (page_size - 1))};
}

void copy_in(void* to, Pa from, u64 bytes) {
    __builtin_memcpy(to, pointer<const void>(to_hyp_va(from)), bytes);
}

void copy_out(Pa to, const void* from, u64 bytes) {
    __builtin_memcpy(pointer<void>(to_hyp_va(to)), from, bytes);
}

void zero_pages(Pa at, u64 pages) {
    stage2::zero_pages(to_hyp_va(at), pages);
}

void clean(Pa at, u64 bytes) {
    stage2::clean_to_poc(to_hyp_va(at), bytes);
}

void sync_instructions(Pa at, u64 bytes) {
    stage2::sync_instructions(to_hyp_va(at), bytes);
}

Pa pa_of(const void* p) {
    return direct_map_pa(HypVa{reinterpret_cast<u64>(p)});
}

std::span<u8> ram(Pa at, u64 bytes) {
    return {pointer<u8>(to_hyp_va(at)), bytes};
}

} // namespace atl::el2::hw
