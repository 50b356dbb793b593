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
    carried_ = {};
    flush_ = flush;
    next_ = 1;
    limit_ = 1U << bits;
    generation_ = 1;
    return {};
}

Result<Vmid> VmidAllocator::allocate() {
    u16* const slot = std::find(live_.begin(), live_.end(), u16{0});
    if (slot == live_.end()) {
        return Error::no_memory;
    }
    // Ends: at most max_vms numbers of a generation are skipped. Flush before reuse: also of the SMMU's
    // entries.
    for (;;) {
        if (next_ == limit_) {
            flush_.all(flush_.context);
            ++generation_;
            carried_ = live_;
            next_ = 1;
        }
        const u32 number = next_++;
        if (std::find(carried_.begin(), carried_.end(), number) == carried_.end()) {
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
