// SPDX-License-Identifier: Apache-2.0
// Reads the offered feature VIRTIO_F_ACCESS_PLATFORM: see virtio.hpp. No lock.
// Spec: [virtio 1.2 §4.1.4.3].
#include "pci/virtio.hpp"

#include "pci/describe.hpp"

namespace atl::pci {

using namespace reg;

namespace {

/// A device that offers the feature sends its DMA through the IOMMU, whether the driver takes it or not, and
/// does not let a driver work that refuses it. The legacy interface, which knows no such feature, is an I/O
/// BAR: that is never decoded.
Verdict ask(const Function& f, const MmioSeam& mmio) {
    const Bar& bar = f.bars[f.virtio.common_bar];
    const Pa common = bar.pa + f.virtio.common_offset;
    f.config.write16_settled(command, cmd::interrupt_disable | cmd::memory_space);
    mmio.write(mmio.context, common + virtio::device_feature_select, 4, virtio::access_platform_word);
    const u32 features = mmio.read(mmio.context, common + virtio::device_feature, 4);
    mmio.write(mmio.context, common + virtio::device_feature_select, 4, 0);
    quiesce(f.config);
    if (features == absent) {
        return Verdict::virtio_unreadable; // nobody decodes there
    }
    return (features & virtio::access_platform) != 0 ? Verdict::assignable : Verdict::virtio_bypasses;
}

} // namespace

Verdict probe_virtio(Function& function, const MmioSeam& mmio) {
    if (!function.virtio.is_virtio || function.verdict != Verdict::assignable) {
        return function.verdict;
    }
    if (function.virtio.has_common && function.bars[function.virtio.common_bar].assigned) {
        function.verdict = ask(function, mmio);
    } else {
        const bool transitional = function.device < virtio::first_modern;
        function.verdict = transitional ? Verdict::virtio_legacy : Verdict::virtio_unreadable;
    }
    return function.verdict;
}

} // namespace atl::pci
