// SPDX-License-Identifier: Apache-2.0
// The SR-IOV capability that the guest of a PF sees: registers only. EL2 has switched the VFs on and keeps them so;
// what the guest writes tells its own driver that there are VFs to care for, and changes nothing else. Where it then
// looks for them it finds stubs, which decode nothing: the VFs themselves are functions of the VMs that have them.
// Owns the virtual registers; touches no hardware. Lock: VirtualBridge's. [docs/adr/0023]
// Spec: [PCIe Base §9.3.3 SR-IOV Extended Capability, §9.3.4 a VF's configuration space]. Pure.
#pragma once
#include "pci/function.hpp"

namespace atl::pci {

class VirtualSriov {
  public:
    // Stubs are at odd function numbers only, so that none is where somebody looks for a device.
    static constexpr u16 stride = 2;

    constexpr VirtualSriov() = default;

    /// `function`: the PF's function number here; `first_offset`: from its place to the first stub's. Without VFs nothing
    /// is shown.
    void attach(const SriovInfo& physical, unsigned function, u16 first_offset);
    void power_on();
    bool shown() const { return total_vfs_ != 0; }

    /// `at`: of a dword in the capability, below sriov::length.
    u32 read(u32 at) const;
    /// `mask`: the bytes that are written.
    void write(u32 at, u32 value, u32 mask);

    /// Whether a stub would be `distance` after the PF's place if the guest enabled all VFs;
    bool reserves(unsigned distance) const { return covers(distance, total_vfs_); }
    /// whether one is there now.
    bool has_stub(unsigned distance) const;

    /// A stub's configuration space: a VF without BARs and capabilities.
    static u32 read_stub(u32 offset);

  private:
    bool covers(unsigned distance, unsigned vfs) const;

    u16 total_vfs_ = 0;
    u16 first_offset_ = 0;
    u8 function_ = 0;
    u16 control_ = 0;
    u16 num_vfs_ = 0;
    u32 page_size_ = 0;
};

} // namespace atl::pci
