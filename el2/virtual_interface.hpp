// SPDX-License-Identifier: Apache-2.0
// The virtual CPU interface of a VM with a GICv2: GICV's first page in its stage-2 map, where it expects GICC, so that
// acknowledge and EOI cost no exit. GICV_DIR, alone in the second page, always traps [docs/adr/0021]; where the interface is
// software [docs/adr/0024] both pages do. Owns nothing; nothing
// of it happens in a VM with a GICv3. [IHI0048B §5]
#pragma once
#include "el2/vm.hpp"

namespace atl::el2 {

/// For every boot of a VM. Caller: lifecycle_lock; takes the address space's lock.
Status map_virtual_interface(World& world, Vm& vm);

/// An access where GICC is. False: this VM has no such place. `value`: written; what is read.
bool access_interface(Vcpu& vcpu, Ipa ipa, bool write, unsigned size, u64& value);

} // namespace atl::el2
