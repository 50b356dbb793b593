// SPDX-License-Identifier: Apache-2.0
// What a vCPU keeps while it is not loaded: general registers, EL1 system registers, FP/SIMD, debug
// registers. Layout only; el2/vectors.S and el2/switch_hw.cpp move it. Offsets are checked against the
// assembly there.
#pragma once
#include "lib/types.hpp"

namespace atl::el2 {

/// SP_EL2 points here while the guest runs, so that an exit stores x0..x30 without finding anything first.
struct alignas(16) GuestFrame {
    u64 x[31];
    u64 stack_top; // this pCPU's EL2 stack, loaded right after the registers are saved
};
static_assert(sizeof(GuestFrame) == 256);

/// EL1&0 system registers that belong to a guest [DDI0487 D1.2.4 "EL1 and EL0 context"].
struct SysRegs {
    u64 sctlr, cpacr, ttbr0, ttbr1, tcr, esr, far, afsr0, afsr1, mair, amair, vbar, contextidr;
    u64 tpidr_el0, tpidrro_el0, tpidr_el1, sp_el0, sp_el1, elr, spsr, par, cntkctl, csselr, mdscr, actlr;
    u64 cntv_ctl, cntv_cval;
};

struct alignas(16) FpRegs {
    u8 q[512];
    u64 fpcr;
    u64 fpsr;
};

/// Hardware breakpoints and watchpoints [DDI0487 D19.3]; switched only for a guest that uses them.
struct DebugRegs {
    u64 bvr[16], bcr[16], wvr[16], wcr[16];
};

} // namespace atl::el2
