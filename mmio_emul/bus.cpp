// SPDX-License-Identifier: Apache-2.0
// Filling one VM's MMIO bus. The look-up is in the header: it is on the path of every trapped access. No
// lock.
#include "mmio_emul/bus.hpp"

namespace atl::mmio_emul {

Status Bus::add(Ipa base, u64 size, Device* device) {
    constexpr u64 granule = u64{1} << granule_shift;
    if (device == nullptr || size == 0 || !base.is_aligned(granule) || !window.contains(base, size)) {
        return Error::invalid_argument;
    }
    if (count_ == max_devices) {
        return Error::no_memory;
    }
    const std::size_t first = (base - window.base) >> granule_shift;
    const std::size_t last = (base - window.base + size - 1) >> granule_shift;
    for (std::size_t i = first; i <= last; ++i) {
        if (granules_[i] != empty_slot) {
            return Error::already_exists;
        }
    }
    entries_[++count_] = {base, size, device};
    for (std::size_t i = first; i <= last; ++i) {
        granules_[i] = static_cast<u8>(count_);
    }
    return {};
}

void Bus::reset_all() {
    for (std::size_t i = 1; i <= count_; ++i) {
        entries_[i].device->reset();
    }
}

} // namespace atl::mmio_emul
