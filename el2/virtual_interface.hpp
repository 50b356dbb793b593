// SPDX-License-Identifier: Apache-2.0
// The virtual CPU interface of a VM with a GICv2: GICV's two pages in its stage-2 map, where it expects GICC, so that
// acknowledge, EOI and DIR cost no exit. Owns nothing; nothing of it happens in a VM with a GICv3. [IHI0048B §5]
#pragma once
#include "el2/vm.hpp"

namespace atl::el2 {

/// For every boot of a VM. Caller: lifecycle_lock; takes the address space's lock.
Status map_virtual_interface(World& world, Vm& vm);

/// GICV_DIR of a VM some vCPU of which has more active interrupts than list registers is trapped: the hardware would only
/// count it, and which one it was would be lost, as ends come in any order with EOImode = 1. The page stays unmapped for
/// the rest of the VM's life. No lock may be held.
void trap_dir(Vm& vm);

/// After whatever may have filled list registers anew.
inline void watch_deactivations(Vcpu& vcpu) {
    if (vcpu.gic->unlisted_active && vcpu.vm->dir_mapped) [[unlikely]] {
        trap_dir(*vcpu.vm);
    }
}

/// An access where GICC_DIR's page is, and is trapped. False: this VM has no such place.
bool access_dir(Vcpu& vcpu, Ipa ipa, bool write, unsigned size, u64 value);

} // namespace atl::el2
