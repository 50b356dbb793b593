// SPDX-License-Identifier: Apache-2.0
// Exceptions that EL2 makes a guest take, and stepping over an emulated instruction, as values. Pure.
// [DDI0487 D1.3.5 exception entry; D1.3.4 PSTATE on entry; ESR_EL1 encodings D19.2.40]
#pragma once
#include "el2/vcpu.hpp"

namespace atl::el2 {

/// PC and PSTATE of a guest after it takes an exception to EL1.
struct ExceptionEntry {
    u64 pc;
    u64 pstate;
};
/// `offset`: 0 synchronous, 0x80 IRQ, 0x100 FIQ, 0x180 SError.
ExceptionEntry exception_entry(u64 pstate, u64 vbar_el1, u64 sctlr_el1, bool has_pan, u64 offset);

/// After an instruction of 4 (or, AArch32 Thumb, 2) bytes was emulated: PC, IT state, BTYPE and SS.
ExceptionEntry step_over(u64 pc, u64 pstate, u64 esr);

/// The guest takes "undefined instruction" (EC 0).
Action inject_undefined(Vcpu& vcpu);
/// The guest takes a synchronous external abort for the access described by `esr` (a data or instruction
/// abort from EL1 or EL0) at `far`. [DDI0487 D19.2.40 DFSC 0b010000, or 0b0101xx on a table walk]
Action inject_external_abort(Vcpu& vcpu, u64 esr, u64 far, u64 pstate);

} // namespace atl::el2
