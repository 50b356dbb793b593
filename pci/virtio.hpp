// SPDX-License-Identifier: Apache-2.0
// Whether a virtio function's DMA goes through the SMMU. Owns nothing. Boot CPU, before VMs run: no lock.
// Spec: [virtio 1.2 §4.1.4.3 common configuration, §6 VIRTIO_F_ACCESS_PLATFORM].
#pragma once
#include "pci/bridge.hpp"

namespace atl::pci {

/// After assign(), before the function is given to anybody. Decoding is on while it reads, and off again
/// after. What it finds is the function's verdict from then on; a function that is no virtio keeps the one it
/// has.
Verdict probe_virtio(Function& function, const MmioSeam& mmio);

} // namespace atl::pci
