// SPDX-License-Identifier: Apache-2.0
// One VM's MMIO bus: which emulated device answers at an IPA. One table read, no search.
// Owns the map, not the devices. Filled before the VM runs and constant from then on: no lock.
#pragma once
#include <array>

#include "lib/result.hpp"
#include "mmio_emul/device.hpp"

namespace atl::mmio_emul {

class Bus {
  public:
    /// The guest's device window, QEMU virt's: GIC, UART, RTC, GPIO (a VM has RAM or nothing elsewhere).
    static constexpr Range<Ipa> window{Ipa{0x0800'0000}, 0x0400'0000};
    /// A granule belongs to one device at most: the largest stage-2 granule, and the spacing that virt uses.
    static constexpr unsigned granule_shift = 16;
    static constexpr std::size_t max_devices = 32;

    /// The device of an access and the access's offset in it; device is nullptr where nothing answers.
    struct Target {
        Device* device = nullptr;
        u64 offset = 0;
    };

    /// Puts `device` at [base, base + size). invalid_argument: null, empty, unaligned to a granule, outside
    /// the window; already_exists: a granule is taken; no_memory: more than max_devices. On error nothing
    /// changed.
    Status add(Ipa base, u64 size, Device* device);

    /// The device that contains the *whole* access of `size` bytes at `address`. Any address is safe to ask
    /// for.
    Target find(Ipa address, unsigned size) const {
        const u64 distance = address.value - window.base.value; // wraps to a huge number below the window
        if (distance >= window.size) [[unlikely]] {
            return {};
        }
        const u8 slot = granules_[distance >> granule_shift];
        if (slot == empty_slot) [[unlikely]] {
            return {};
        }
        const Entry& entry = entries_[slot];
        const u64 offset = address.value - entry.base.value;
        // add() keeps offset + size from wrapping: both are below 2^32.
        if (offset + size > entry.size) [[unlikely]] {
            return {};
        }
        return {entry.device, offset};
    }

    /// Resets every device, in the order in which they were added.
    void reset_all();

    std::size_t device_count() const { return count_; }

  private:
    struct alignas(32) Entry { // a power of two: found with a shift
        Ipa base{};
        u64 size = 0;
        Device* device = nullptr;
    };
    static constexpr u8 empty_slot = 0; // entries_[0] is nobody's

    std::array<u8, (window.size >> granule_shift)> granules_{};
    std::array<Entry, max_devices + 1> entries_{};
    std::size_t count_ = 0;
};

} // namespace atl::mmio_emul
