// SPDX-License-Identifier: Apache-2.0
// Trapped system registers: ID registers, SGIs, the physical timer, debug, and what the guest's CPU does not
// have. Portable. [DDI0487 D19; traps: HCR_EL2.{TID3,TSW,TACR,TIDCP,TLOR}, MDCR_EL2, CNTHCTL_EL2, CPTR_EL2]
#include <bit>

#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/inject.hpp"
#include "el2/run.hpp"
#include "el2/vm_time.hpp"
#include "el2/world.hpp"
#include "lib/arch/esr.hpp"
#include "lib/arch/icc.hpp"
#include "vgic/switch.hpp"

namespace atl::el2 {
namespace {

using arch::sysreg_id;
using arch::SysregTrap::Rt;

// Syndromes as they are, without Rt: comparing them costs less than taking the encoding apart.
namespace Trap = arch::SysregTrap;
constexpr u64 trap_encoding =
    Trap::Op0::mask | Trap::Op1::mask | Trap::CRn::mask | Trap::CRm::mask | Trap::Op2::mask;
constexpr u64 sgi1r_write = Trap::Op0::of(3) | Trap::CRn::of(12) | Trap::CRm::of(11) | Trap::Op2::of(5);
constexpr u64 id_space_mask = (trap_encoding & ~(Trap::CRm::of(7) | Trap::Op2::mask)) | Trap::Read::mask;
constexpr u64 id_space_read = Trap::Op0::of(3) | Trap::Read::mask; // Op1 = CRn = 0, CRm = 0..7

constexpr u32 cntpct = sysreg_id(3, 3, 14, 0, 1);
constexpr u32 cntp_tval = sysreg_id(3, 3, 14, 2, 0);
constexpr u32 cntp_ctl = sysreg_id(3, 3, 14, 2, 1);
constexpr u32 cntp_cval = sysreg_id(3, 3, 14, 2, 2);
constexpr u32 actlr = sysreg_id(3, 0, 1, 0, 1);
constexpr u32 dc_isw = sysreg_id(1, 0, 7, 6, 2);
constexpr u32 dc_csw = sysreg_id(1, 0, 7, 10, 2);
constexpr u32 dc_cisw = sysreg_id(1, 0, 7, 14, 2);

constexpr u32 oslar = sysreg_id(2, 0, 1, 0, 4);
constexpr u32 oslsr = sysreg_id(2, 0, 1, 1, 4);
constexpr u32 osdlr = sysreg_id(2, 0, 1, 3, 4);
constexpr u32 dbgprcr = sysreg_id(2, 0, 1, 4, 4);
constexpr u32 mdrar = sysreg_id(2, 0, 1, 0, 0);
constexpr u32 mdscr = sysreg_id(2, 0, 0, 2, 2);
constexpr u32 mdccint = sysreg_id(2, 0, 0, 2, 0);
constexpr u32 mdccsr = sysreg_id(2, 3, 0, 1, 0);
constexpr u32 dbgdtr = sysreg_id(2, 3, 0, 4, 0);
constexpr u32 dbgdtrx = sysreg_id(2, 3, 0, 5, 0);
constexpr u32 osdtrrx = sysreg_id(2, 0, 0, 0, 2);
constexpr u32 osdtrtx = sysreg_id(2, 0, 0, 3, 2);
constexpr u32 oseccr = sysreg_id(2, 0, 0, 6, 2);
constexpr u32 dbgclaimset = sysreg_id(2, 0, 7, 8, 6);
constexpr u32 dbgclaimclr = sysreg_id(2, 0, 7, 9, 6);
constexpr u32 dbgauthstatus = sysreg_id(2, 0, 7, 14, 6);

constexpr u64 oslsr_implemented = 1u << 3; // OSLM = 0b10: OS Lock implemented

Action finish_read(Vcpu& vcpu, u64 esr, u64 value) {
    vcpu.set_reg(static_cast<unsigned>(Rt::get(esr)), value);
    return action::advance;
}

[[gnu::noinline]] Action send_sgi(Vcpu& vcpu, vgic::SgiRegister reg, u64 value) {
    if (const VcpuMask mask = vcpu.vm->gic.sgi_write(vcpu.index, reg, value); mask != 0) {
        kick_vcpus(*vcpu.vm, mask);
    }
    return action::advance;
}

/// What guests mostly send: to one vCPU by its affinity. Anything else is VirtualGic's to take apart.
[[gnu::noinline]] Action send_sgi1r(Vcpu& vcpu, u64 value) {
    using R = gic::IccSgir;
    constexpr u64 elsewhere =
        R::Aff3::mask | R::Aff2::mask | R::Aff1::mask | R::RS::mask | R::IRM::mask | R::TargetList::mask;
    const Vm& vm = *vcpu.vm;
    const u64 list = value & elsewhere; // nothing but TargetList when it is below its end
    const auto index = static_cast<unsigned>(std::countr_zero(list)); // 64: nobody
    if (index >= vm.short_sgis.load(std::memory_order_relaxed) || (list >> index) != 1) {
        return send_sgi(vcpu, vgic::SgiRegister::sgi1r, value);
    }
    Vcpu& target = *vm.vcpus[index];
    if (target.gic->post(u64{1} << R::INTID::get(value)) && &target != &vcpu) {
        kick_vcpu(target);
    }
    return action::advance;
}

/// CNTPCT_EL0 as the guest has it.
u64 guest_count(Vcpu& vcpu) {
    const u64 now = hw::counter();
    return now - physical_offset(*vcpu.vm, now);
}

Action physical_timer(Vcpu& vcpu, u32 id, u64 esr, bool read) {
    vtimer::PhysicalTimer& timer = vcpu.ptimer;
    const u64 value = vcpu.reg(static_cast<unsigned>(Rt::get(esr)));
    switch (id) {
    case cntp_ctl:
        if (read) {
            return finish_read(vcpu, esr, timer.read_ctl(guest_count(vcpu)));
        }
        timer.write_ctl(value);
        break;
    case cntp_cval:
        if (read) {
            return finish_read(vcpu, esr, timer.read_cval());
        }
        timer.write_cval(value);
        break;
    default:
        if (read) {
            return finish_read(vcpu, esr, timer.read_tval(guest_count(vcpu)));
        }
        timer.write_tval(value, guest_count(vcpu));
        break;
    }
    on_physical_timer_write(vcpu);
    return action::advance;
}

/// Debug registers, op0 = 2. Breakpoints, watchpoints and MDSCR_EL1 become live on first use; the external
/// debug interface and the OS double lock are not there.
Action debug_register(Vcpu& vcpu, u32 id, u64 esr, bool read) {
    switch (id) {
    case oslar:
        if (read) {
            return inject_undefined(vcpu);
        }
        vcpu.os_lock = (vcpu.reg(static_cast<unsigned>(Rt::get(esr))) & 1) != 0;
        return action::advance;
    case oslsr:
        return read ? finish_read(vcpu, esr, oslsr_implemented | (vcpu.os_lock ? 2 : 0))
                    : inject_undefined(vcpu);
    case osdlr:
    case dbgprcr:
    case mdrar:
    case mdccint:
    case mdccsr:
    case dbgdtr:
    case dbgdtrx:
    case osdtrrx:
    case osdtrtx:
    case oseccr:
    case dbgclaimset:
    case dbgclaimclr:
    case dbgauthstatus:
        return read ? finish_read(vcpu, esr, 0) : action::advance;
    default:
        break;
    }
    const u32 crn = (id >> 7) & 15;
    const u32 op1 = (id >> 11) & 7;
    const u32 op2 = id & 7;
    const bool breakpoint_or_watchpoint = op1 == 0 && crn == 0 && op2 >= 4;
    if ((breakpoint_or_watchpoint || id == mdscr) && !vcpu.debug_live) {
        hw::enter_debug(vcpu); // no longer trapped: the access is repeated
        return action::resume;
    }
    return inject_undefined(vcpu); // trace (op1 = 1) and unallocated encodings
}

/// Of a VM whose CPU interface is software; no other VM's traps.
Action cpu_interface(Vcpu& vcpu, u32 id, u64 esr, bool read, u64 value) {
    const vgic::InterfaceAccess access = hw::gic_interface_access(vcpu, id, !read, value);
    kick_vcpus(*vcpu.vm, access.kick);
    if (!access.defined) {
        return inject_undefined(vcpu);
    }
    return read ? finish_read(vcpu, esr, access.value) : action::advance;
}

/// Kept apart so that the two common ones above all need no stack.
[[gnu::noinline]] Action other_sysreg(Vcpu& vcpu, u64 esr) {
    const u32 id = arch::sysreg_id_of(esr);
    const bool read = Trap::Read::test(esr);
    const u64 value = vcpu.reg(static_cast<unsigned>(Rt::get(esr)));
    switch (id) {
    case gic::icc::sgi1r:
        return read ? inject_undefined(vcpu) : send_sgi(vcpu, vgic::SgiRegister::sgi1r, value);
    case gic::icc::sgi0r:
        return read ? inject_undefined(vcpu) : send_sgi(vcpu, vgic::SgiRegister::sgi0r, value);
    case gic::icc::asgi1r:
        return read ? inject_undefined(vcpu) : send_sgi(vcpu, vgic::SgiRegister::asgi1r, value);
    case gic::icc::dir:
        if (read) {
            return inject_undefined(vcpu);
        }
        kick_vcpus(*vcpu.vm, hw::gic_dir_write(vcpu, value));
        return action::advance;
    case cntpct: // trapped in VMs that count their own time only
        return read ? finish_read(vcpu, esr, guest_count(vcpu)) : inject_undefined(vcpu);
    case cntp_ctl:
    case cntp_cval:
    case cntp_tval:
        return physical_timer(vcpu, id, esr, read);
    case gic::icc::sre: // SRE, DFB, DIB are RAO/WI: there is no other interface [IHI0069 §12.2.22]
        return read ? finish_read(vcpu, esr, 7) : action::advance;
    case actlr: // implementation defined content: none
        return read ? finish_read(vcpu, esr, 0) : action::advance;
    case dc_isw:
    case dc_csw:
    case dc_cisw:
        // Set/way operations reach one CPU's caches only and cannot be virtualised; architecturally they
        // guarantee nothing to a guest that other observers could rely on [DDI0487 D7.5.9.4]. Memory is
        // coherent; nothing to do.
        return action::advance;
    default:
        break;
    }
    if (arch::SysregTrap::Op0::get(esr) == 2) {
        return debug_register(vcpu, id, esr, read);
    }
    if (vcpu.vm->gic.in_software()) {
        return cpu_interface(vcpu, id, esr, read, value);
    }
    return inject_undefined(vcpu); // PMU, SPE, AMU, LORegions, RAS, implementation defined: not in this CPU
}

} // namespace

Action on_sysreg(Vcpu& vcpu, u64 esr) {
    if ((esr & (trap_encoding | Trap::Read::mask)) == sgi1r_write) {
        return send_sgi1r(vcpu, vcpu.reg(static_cast<unsigned>(Rt::get(esr))));
    }
    if ((esr & id_space_mask) == id_space_read) {
        return finish_read(vcpu, esr, vcpu.vm->id_registers[Trap::CRm::get(esr) << 3 | Trap::Op2::get(esr)]);
    }
    return other_sysreg(vcpu, esr);
}

} // namespace atl::el2
