// SPDX-License-Identifier: Apache-2.0
// Window: see window.hpp.
#include "el2/ffa/window.hpp"

namespace atl::ffa {

Status Window::init(Range<Ipa> range) {
    if (!range.base.is_aligned(page_size) || (range.size & (page_size - 1)) != 0 ||
        range.base.value > ipa_limit || range.size > ipa_limit - range.base.value ||
        range.size / page_size > 0xffff'ffff) {
        return Error::invalid_argument;
    }
    range_ = range;
    count_ = 0;
    return {};
}

u64 Window::place(u64 from, u32 phase) const {
    if (phase >= block_pages) {
        return from;
    }
    const u64 now = (range_.base.page_number() + from) & (block_pages - 1);
    return from + ((phase - now) & (block_pages - 1));
}

Result<Region*> Window::reserve_phase(u32 page_count, u32 phase, u64 handle, VmId owner) {
    u64 gap = 0;
    for (u32 i = 0; i <= count_; ++i) {
        const u64 limit = i == count_ ? range_.size / page_size : regions_[i].first_page;
        const u64 start = place(gap, phase);
        if (start <= limit && page_count <= limit - start) {
            for (u32 k = count_; k > i; --k) {
                regions_[k] = regions_[k - 1];
            }
            ++count_;
            regions_[i] = Region{handle, static_cast<u32>(start), page_count, owner, RegionState::live, 0};
            return &regions_[i];
        }
        if (i < count_) {
            gap = u64{regions_[i].first_page} + regions_[i].page_count;
        }
    }
    return Error::no_memory;
}

Result<Region*> Window::reserve(u32 page_count, u32 phase, u64 handle, VmId owner) {
    if (count_ == max_retrieved_per_vm || page_count == 0) {
        return Error::no_memory;
    }
    if (page_count >= block_pages) {
        if (const auto region = reserve_phase(page_count, phase, handle, owner); region.ok()) {
            return region;
        }
    }
    return reserve_phase(page_count, block_pages, handle, owner);
}

void Window::remove(const Region* region) {
    const auto index = static_cast<u32>(region - regions_);
    for (u32 k = index + 1; k < count_; ++k) {
        regions_[k - 1] = regions_[k];
    }
    --count_;
}

Region* Window::find(u64 handle) {
    for (u32 i = 0; i < count_; ++i) {
        if (regions_[i].handle == handle && regions_[i].state != RegionState::given) {
            return &regions_[i];
        }
    }
    return nullptr;
}

const Region* Window::at(Ipa ipa) const {
    if (!range_.contains(ipa)) {
        return nullptr;
    }
    const u64 page = (ipa - range_.base) / page_size;
    u32 low = 0;
    u32 high = count_;
    while (low < high) { // first region that starts above `page`
        const u32 middle = low + (high - low) / 2;
        if (regions_[middle].first_page <= page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return nullptr;
    }
    const Region& region = regions_[low - 1];
    return page - region.first_page < region.page_count ? &region : nullptr;
}

} // namespace atl::ffa
