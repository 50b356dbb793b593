// SPDX-License-Identifier: Apache-2.0
// Access to the physical configuration space, an ECAM in the direct map: the folder's one seam to hardware.
// Owns no state. Target: config_hw.cpp; host tests: tests/support/pci_model.cpp. No lock: one access is one
// load or store, and a function's registers have one owner at a time. Spec: [PCIe Base, ECAM].
#pragma once
#include "lib/types.hpp"

namespace atl::pci {

namespace hw {
/// `size` is 1, 2 or 4 bytes, `at` a multiple of it and inside the ECAM. All ones where nobody answers.
u32 config_read(Pa at, unsigned size);
/// On return the write has left the CPU; the function has seen it when a later read of it has returned.
void config_write(Pa at, unsigned size, u32 value);
} // namespace hw

/// One function's configuration space.
struct Config {
    Pa page{};

    u32 read32(u32 offset) const { return hw::config_read(page + offset, 4); }
    u16 read16(u32 offset) const { return static_cast<u16>(hw::config_read(page + offset, 2)); }
    u8 read8(u32 offset) const { return static_cast<u8>(hw::config_read(page + offset, 1)); }
    void write32(u32 offset, u32 value) const { hw::config_write(page + offset, 4, value); }
    void write16(u32 offset, u16 value) const { hw::config_write(page + offset, 2, value); }
    void write8(u32 offset, u8 value) const { hw::config_write(page + offset, 1, value); }
    /// A write that has reached the function on return: the read that follows cannot overtake it. For what
    /// decides who may decode or master.
    void write16_settled(u32 offset, u16 value) const {
        write16(offset, value);
        (void)read16(offset);
    }
};

} // namespace atl::pci
