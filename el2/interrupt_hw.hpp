// SPDX-License-Identifier: Apache-2.0
// Physical interrupts: acknowledged, handled, ended. Own pCPU, interrupts masked.
#pragma once
#include "el2/vcpu.hpp"

namespace atl::el2 {

/// Takes one interrupt, if there is one, outside an exit for it.
void take_interrupt(PerCpu& cpu, Vcpu* loaded);

/// Notes an exit in this pCPU's history; `esr` is ~INTID for an interrupt.
inline void record(PerCpu& cpu, const Vcpu& vcpu, u64 esr, u64 pc) {
    ExitRecord& slot = cpu.history[cpu.history_next++ % PerCpu::history_size];
    slot.esr = esr;
    slot.pc = pc;
    slot.vcpu = &vcpu;
}

} // namespace atl::el2
