// SPDX-License-Identifier: Apache-2.0
// ECAM loads and stores through the direct map, which holds it as Device-nGnRE memory (boot/el2_map.cpp).
// Owns nothing. No lock. Spec: [PCIe Base, ECAM]; [DDI0487 B2.3] for the barriers.
#include "pci/config_hw.hpp"

namespace atl::pci::hw {

u32 config_read(Pa at, unsigned size) {
    const u64 va = to_hyp_va(at).value;
    u32 value = 0;
    if (size == 4) {
        value = *reinterpret_cast<volatile u32*>(va);
    } else if (size == 2) {
        value = *reinterpret_cast<volatile u16*>(va);
    } else {
        value = *reinterpret_cast<volatile u8*>(va);
    }
    // DSB: the read has completed, and with it every earlier write to this function, before anything that
    // relies on it: an access to what a BAR decodes, a change of a page table or of a stream table entry.
    asm volatile("dsb sy" ::: "memory");
    return value;
}

void config_write(Pa at, unsigned size, u32 value) {
    const u64 va = to_hyp_va(at).value;
    // DSB: table and memory writes of before are visible to the function that this write may start.
    asm volatile("dsb sy" ::: "memory");
    if (size == 4) {
        *reinterpret_cast<volatile u32*>(va) = value;
    } else if (size == 2) {
        *reinterpret_cast<volatile u16*>(va) = static_cast<u16>(value);
    } else {
        *reinterpret_cast<volatile u8*>(va) = static_cast<u8>(value);
    }
    // DSB: the store has been acknowledged. With early acknowledgement (nGnRE) that may be the bridge's word:
    // Config::write16_settled() adds the read that brings the function's own.
    asm volatile("dsb sy" ::: "memory");
}

} // namespace atl::pci::hw
