// SPDX-License-Identifier: Apache-2.0
// VMID allocation. A VMID belongs to a VM from its creation to its end, so VTTBR_EL2 and the SMMU's S2VMID
// are constants and a world switch checks nothing: even 8 bits hold many times max_vms. A released VMID may
// still tag TLB entries; it is not handed out again in the same generation. When the numbers run out a new
// generation starts: one invalidation of all EL1&0 translations, then every VMID that no live VM holds is
// clean again. VMID 0 is never given to a VM: VTTBR_EL2 holds it while none is loaded. Lock: the caller's
// vm_lifecycle. [DDI0487 D8.13]
#pragma once
#include <array>

#include "lib/limits.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::stage2 {

class VmidAllocator {
  public:
    /// Invalidates everything in all TLBs (CPUs and SMMU) before the call returns.
    struct Flush {
        void* context = nullptr;
        void (*all)(void* context) = nullptr;
    };

    /// `bits`: 8 or 16, what all CPUs and the SMMU have; else invalid_argument.
    Status init(unsigned bits, const Flush& flush);
    /// no_memory: max_vms VMIDs are in use.
    Result<Vmid> allocate();
    /// not_found when it is not in use.
    Status release(Vmid vmid);

    u64 generation() const { return generation_; }

  private:
    static_assert(max_vms < 255, "a VMID per live VM must always be available with 8 bits");

    std::array<u16, max_vms> live_{};    // 0: unused slot
    std::array<u16, max_vms> carried_{}; // live when this generation began
    Flush flush_{};
    u32 next_ = 1; // numbers from here on are clean, but for the carried ones
    u32 limit_ = 0;
    u64 generation_ = 1;
};

} // namespace atl::stage2
