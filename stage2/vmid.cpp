// SPDX-License-Identifier: Apache-2.0
// VMID allocation: see vmid.hpp. Pure; the flush is a call-back.
#include "stage2/vmid.hpp"

#include <algorithm>

namespace atl::stage2 {

Status VmidAllocator::init(unsigned bits, const Flush& flush) {
    if ((bits != 8 && bits != 16) || flush.all == nullptr) {
        return Error::invalid_argument;
    }
    live_ = {};
    flush_ = flush;
    next_ = 1;
    limit_ = 1U << bits;
    generation_ = 1;
    return {};
}

bool VmidAllocator::in_use(u32 number) const {
    return std::find(live_.begin(), live_.end(), number) != live_.end();
}

Result<Vmid> VmidAllocator::allocate() {
    u16* const slot = std::find(live_.begin(), live_.end(), u16{0});
    if (slot == live_.end()) {
        return Error::no_memory;
    }
    // At most max_vms numbers are skipped, and at most once round: fewer live VMIDs than numbers.
    for (;;) {
        if (next_ == limit_) {
            flush_.all(flush_.context);
            ++generation_;
            next_ = 1;
        }
        const u32 number = next_++;
        if (!in_use(number)) {
            *slot = static_cast<u16>(number);
            return Vmid{*slot};
        }
    }
}

Status VmidAllocator::release(Vmid vmid) {
    u16* const slot = std::find(live_.begin(), live_.end(), vmid.value);
    if (vmid.value == 0 || slot == live_.end()) {
        return Error::not_found;
    }
    *slot = 0;
    return {};
}

} // namespace atl::stage2
