// SPDX-License-Identifier: Apache-2.0
// TLB maintenance for the EL1&0 regime, broadcast to the inner-shareable domain, executed at EL2 (E2H = 0,
// TGE = 0). The SMMU hears none of it: its half is TlbWork's hook. Interrupts are masked, so that VTTBR_EL2
// may be switched for the duration. No lock. [DDI0487 D8.14 TLB maintenance, C5.5 TLB instructions]
#pragma once
#include "lib/types.hpp"
#include "stage2/tlb_work.hpp"

namespace atl::stage2 {

/// Completes when no CPU can use a translation of `scope`. Loads scope.vttbr meanwhile when another VMID is
/// current.
void tlb_invalidate(const TlbScope& scope);
/// All translations of one VM, both stages: VM reset.
void tlb_invalidate_vmid(u64 vttbr);
/// All EL1&0 translations of all VMIDs: boot, new VMID generation.
void tlb_invalidate_all();
/// This CPU only, all VMIDs: before a freshly started CPU enables stage 2.
void tlb_invalidate_all_local();

} // namespace atl::stage2
