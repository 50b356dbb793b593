// SPDX-License-Identifier: Apache-2.0
// Exits of a guest, by exception class. A handler gets its vCPU and the syndrome, touches nothing else, and
// says with an Action what is to happen next; el2/trap_hw.cpp does it. Every handler is portable and runs in
// host tests. All run on the vCPU's home pCPU, with it loaded, and with no lock held.
#pragma once
#include "el2/vcpu.hpp"

namespace atl::el2 {

using SyncHandler = Action (*)(Vcpu& vcpu, u64 esr);
/// Indexed by ESR_EL2.EC.
extern const SyncHandler sync_handlers[64];

Action on_hvc(Vcpu& vcpu, u64 esr);
Action on_smc(Vcpu& vcpu, u64 esr);
Action on_wfx(Vcpu& vcpu, u64 esr);
Action on_sysreg(Vcpu& vcpu, u64 esr);
Action on_data_abort(Vcpu& vcpu, u64 esr);
/// A load or store of one register (ISV = 1, translation fault, not on a stage-1 walk) at a device.
/// full_frame, and nothing done, when there is no device: on_data_abort then says what is wrong.
Action emulate_access(Vcpu& vcpu, u64 esr, Ipa ipa);
Action on_instruction_abort(Vcpu& vcpu, u64 esr);

/// SMC Calling Convention: the function in x0..x7 of the vCPU [DEN0028]. `hvc`: by which instruction.
Action smccc_call(Vcpu& vcpu, bool hvc);
/// PSCI functions; x0 is one of them.
Action psci_call(Vcpu& vcpu, u32 function);

/// Tells vCPUs that an interrupt waits for them: parked ones become runnable, pCPUs that run them look again.
void kick_vcpus(Vm& vm, VcpuMask mask);
void kick_vcpu(Vcpu& target);

/// One line about a guest's mistake: VM, vCPU, PC and what `why` says. Throttled per VM.
bool may_report(Vm& vm);

} // namespace atl::el2
