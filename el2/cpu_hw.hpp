// SPDX-License-Identifier: Apache-2.0
// This pCPU: its PerCpu, and the SGIs that EL2 sends to itself.
#pragma once
#include "el2/percpu.hpp"
#include "lib/arch/sysreg_hw.hpp"

namespace atl::el2 {

constexpr u8 kick_sgi = 0; // leave the guest, look at your work
constexpr u8 stop_sgi = 1; // another pCPU has panicked

/// TPIDR_EL2 holds it from the first C++ instruction of each pCPU.
inline PerCpu& this_cpu() {
    return *arch::pointer<PerCpu>(HypVa{ATOLL_MRS(tpidr_el2)});
}
inline PerCpu* this_cpu_or_null() {
    return arch::pointer<PerCpu>(HypVa{ATOLL_MRS(tpidr_el2)});
}
inline void set_this_cpu(PerCpu* cpu) {
    ATOLL_MSR(tpidr_el2, reinterpret_cast<u64>(cpu));
}

} // namespace atl::el2
