// SPDX-License-Identifier: Apache-2.0
// Values for exception injection. Pure. [DDI0487 D1.3]
#include "el2/inject.hpp"

#include "el2/vm.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/esr.hpp"

namespace atl::el2 {
namespace {

namespace Spsr = arch::Spsr;
constexpr u64 sctlr_span = u64{1} << 23;
constexpr u64 sctlr_dssbs = u64{1} << 44; // RES0 without FEAT_SSBS
constexpr u64 spsr_ssbs = u64{1} << 12;
constexpr u64 spsr_btype = u64{3} << 10; // AArch64: BTYPE
constexpr u64 it_high = Field<15, 10>::mask;
constexpr u64 it_low = Field<26, 25>::mask;

/// One step of AArch32's IT state [DDI0487 G1.10 ITAdvance].
u64 advance_it(u64 pstate) {
    u64 it = Field<15, 10>::get(pstate) << 2 | Field<26, 25>::get(pstate);
    it = (it & 7) == 0 ? 0 : (it & 0xe0) | ((it << 1) & 0x1f);
    return (pstate & ~(it_high | it_low)) | Field<15, 10>::of(it >> 2) | Field<26, 25>::of(it);
}

} // namespace

ExceptionEntry exception_entry(u64 pstate, u64 vbar_el1, u64 sctlr_el1, bool has_pan, u64 offset) {
    u64 vector = vbar_el1 + offset;
    const u64 mode = pstate & Spsr::mode_mask;
    if ((mode & Spsr::M4_AArch32) != 0) {
        vector += 0x600;
    } else if (mode == Spsr::EL0t) {
        vector += 0x400;
    } else if (mode == Spsr::EL1h) {
        vector += 0x200;
    }
    u64 entry = Spsr::EL1h | Spsr::D | Spsr::A | Spsr::I | Spsr::F;
    // SPSR_EL2 has these in the same bits after an exception from AArch32 [DDI0487 C5.2.20].
    entry |= pstate & (Spsr::NZCV | Spsr::DIT | Spsr::PAN);
    if ((sctlr_el1 & sctlr_dssbs) != 0) {
        entry |= spsr_ssbs;
    }
    if (has_pan && (sctlr_el1 & sctlr_span) == 0) {
        entry |= Spsr::PAN;
    }
    return {vector, entry};
}

ExceptionEntry step_over(u64 pc, u64 pstate, u64 esr) {
    const u64 length = arch::Esr::IL::test(esr) ? 4 : 2;
    if ((pstate & Spsr::M4_AArch32) != 0) {
        return {pc + length, advance_it(pstate & ~Spsr::SS)};
    }
    return {pc + length, pstate & ~(spsr_btype | Spsr::SS)};
}

Action inject_undefined(Vcpu& vcpu) {
    vcpu.exception = {arch::Esr::EC::of(0) | arch::Esr::IL::mask, 0, false};
    ++vcpu.vm->undefined_injected;
    return action::inject;
}

Action inject_external_abort(Vcpu& vcpu, u64 esr, u64 far, u64 pstate) {
    const bool instruction = arch::exception_class(esr) == arch::ExceptionClass::instruction_abort_lower;
    const bool from_el0 =
        (pstate & (Spsr::M4_AArch32 | Spsr::mode_mask)) == Spsr::EL0t || (pstate & Spsr::M4_AArch32) != 0;
    using arch::ExceptionClass;
    const ExceptionClass lower =
        instruction ? ExceptionClass::instruction_abort_lower : ExceptionClass::data_abort_lower;
    const ExceptionClass same =
        instruction ? ExceptionClass::instruction_abort_same : ExceptionClass::data_abort_same;
    u64 fsc = arch::fsc_external;
    if (arch::DataAbort::S1PTW::test(esr)) {
        fsc = 0b010100 | (arch::DataAbort::DFSC::get(esr) & 3); // on the walk, level n
    }
    // ISV is 0, so that IL is 1 whatever the instruction's length was.
    u64 syndrome = arch::Esr::EC::of(static_cast<u64>(from_el0 ? lower : same)) | arch::Esr::IL::mask | fsc;
    if (!instruction) {
        syndrome |= esr & (arch::DataAbort::WnR::mask | arch::DataAbort::CM::mask);
    }
    vcpu.exception = {syndrome, far, true};
    ++vcpu.vm->aborts_injected;
    return action::inject;
}

} // namespace atl::el2
