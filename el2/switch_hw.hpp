// SPDX-License-Identifier: Apache-2.0
// The world switch: a vCPU's registers into the hardware and back. On its home pCPU, interrupts masked.
#pragma once
#include "el2/vcpu.hpp"

namespace atl::el2 {

/// What EL2 programs once per CPU before the first guest: traps, timers, and whatever firmware may have left.
/// [DDI0487 D19.2 EL2 control registers]
void init_cpu_for_guests(u64 vtcr);

/// HCR_EL2 for guests, without the traps for WFI and WFE that come and go.
u64 base_hcr();

/// Nobody is loaded and this pCPU may sleep: no guest's tables are in reach of a walk.
void leave_no_guest();
/// `now`: the counter, a moment ago.
void load_vcpu(Vcpu& vcpu, u64 now);
/// Everything that the guest can change goes back into `vcpu`; its timers are sampled, its interrupts read
/// back. Returns the counter at that moment.
u64 save_vcpu(Vcpu& vcpu);

/// A trapped use of FP/SIMD by the loaded vCPU: its registers come in, those of the owner go out.
Action on_fp(Vcpu& vcpu, u64 esr);

/// This pCPU becomes its vCPUs': never returns. Its PerCpu is set, its GIC and timers are ready.
[[noreturn]] void run_pcpu();

} // namespace atl::el2

extern "C" {
void fp_save(atl::el2::FpRegs* regs);
void fp_load(const atl::el2::FpRegs* regs);
}
