// SPDX-License-Identifier: Apache-2.0
// TLB maintenance instructions and their barriers: see tlb_hw.hpp.
#include "stage2/tlb_hw.hpp"

namespace atl::stage2 {
namespace {

/// Loads a VM's VTTBR_EL2 while in scope: TLBI takes its VMID from there [DDI0487 D8.13].
class VttbrSwitch {
  public:
    explicit VttbrSwitch(u64 vttbr) {
        asm volatile("mrs %0, vttbr_el2" : "=r"(saved_));
        switched_ = vmid_of(saved_) != vmid_of(vttbr);
        if (switched_) {
            // ISB: the new VMID before the first TLBI.
            asm volatile("msr vttbr_el2, %0\n isb" ::"r"(vttbr) : "memory");
        }
    }
    ~VttbrSwitch() {
        if (switched_) {
            asm volatile("msr vttbr_el2, %0\n isb" ::"r"(saved_) : "memory");
        }
    }
    VttbrSwitch(const VttbrSwitch&) = delete;
    VttbrSwitch& operator=(const VttbrSwitch&) = delete;

  private:
    u64 saved_ = 0;
    bool switched_ = false;
};

/// TLBI IPAS2E1IS operand: IPA[51:12] in bits 39:0, TTL (47:44) zero: any level [DDI0487 C5.5].
u64 ipa_operand(Ipa ipa) {
    return ipa.value >> page_shift;
}

} // namespace

void tlb_invalidate(const TlbScope& scope) {
    if (scope.empty()) {
        return;
    }
    const VttbrSwitch loaded{scope.vttbr};
    // The changed descriptors are visible to all walkers before any TLBI.
    asm volatile("dsb ishst" ::: "memory");
    if (scope.whole_vm || scope.operations() > max_tlb_operations) {
        // Both stages, combined entries included: nothing has to follow.
        asm volatile("tlbi vmalls12e1is\n dsb ish\n isb" ::: "memory");
        return;
    }
    const u64 stride = scope.stride();
    Ipa ipa = scope.base.align_down(stride);
    for (u64 count = scope.operations(); count != 0; --count) {
        asm volatile("tlbi ipas2e1is, %0" ::"r"(ipa_operand(ipa)) : "memory");
        ipa += stride;
    }
    // Stage 2 entries are gone before the combined ones are dropped; otherwise a walk in between could make a
    // new combined entry from an old stage 2 one. By-IPA operations do not touch combined entries [DDI0487
    // D8.14].
    asm volatile("dsb ish\n tlbi vmalle1is\n dsb ish\n isb" ::: "memory");
}

void tlb_invalidate_vmid(u64 vttbr) {
    TlbScope scope;
    scope.vttbr = vttbr;
    scope.whole_vm = true;
    tlb_invalidate(scope);
}

void tlb_invalidate_all() {
    asm volatile("dsb ishst\n tlbi alle1is\n dsb ish\n isb" ::: "memory");
}

void tlb_invalidate_all_local() {
    asm volatile("dsb nshst\n tlbi alle1\n dsb nsh\n isb" ::: "memory");
}

} // namespace atl::stage2
