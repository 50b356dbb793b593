// SPDX-License-Identifier: Apache-2.0
// The face of every emulated device: the one place with `virtual` in the hypervisor (an open set of devices).
// Owns no state. A device has its own lock; the caller holds none that ranks above it (lib/spinlock.hpp).
#pragma once
#include "lib/types.hpp"

namespace atl::mmio_emul {

/// Guest accesses reach a device only through Bus::find(), which has checked that [offset, offset + size)
/// lies inside the device. `size` is 1, 2, 4 or 8 bytes; the offset need not be aligned. Whatever the guest
/// does must end in a value: a device never fails, blocks or panics on an access.
class Device {
  public:
    /// The value read. It starts from 0, so nothing of EL2 can leak; bits above `size` bytes are ignored by
    /// the caller, which also does sign extension and register width, in one place.
    virtual u64 read(VcpuIndex vcpu, u64 offset, unsigned size) = 0;

    /// `value` has no bits set above `size` bytes.
    virtual void write(VcpuIndex vcpu, u64 offset, unsigned size, u64 value) = 0;

    /// Back to the state of power-on, interrupt outputs low. Called while no vCPU of the VM runs.
    virtual void reset() = 0;

  protected:
    constexpr Device() = default;
    ~Device() = default; // never destroyed through the base
};

} // namespace atl::mmio_emul
