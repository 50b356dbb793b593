// SPDX-License-Identifier: Apache-2.0
// SoftFile: one pCPU's SoftInterface with its ties to hardware: the timer's physical side, HCR_EL2.{VI, VF}, and the traps
// that make the guest's accesses ours. Owns these two bits while such a guest is loaded. Locks: none; own pCPU, interrupts
// masked. Spec: [DDI0487 D19.2.48 HCR_EL2], [IHI0069 §12.4 ICH_HCR_EL2].
#pragma once
#include "vgic/gicv3_hw.hpp"
#include "vgic/soft_interface.hpp"

namespace atl::vgic {

class SoftFile : public SoftInterface {
  public:
    static constexpr bool has_sources = true; // where the host has a GICv2
    static constexpr InSoftware in_software = InSoftware::always;

    SoftFile() = default;
    SoftFile(const InterfaceShape& shape, LrFile& hardware) : SoftInterface(shape), hardware_(&hardware) {}

    void hold(u16 pintid) const;
    void release(u16 pintid) const;
    static bool timer_line() { return LrFile::timer_line(); }

    /// The hardware's interface is off, and each access of the guest's traps, also to what is common to both groups. Of a
    /// GICv2 that is off while no guest is loaded on it, and has no page in the guest's map.
    void open() const;
    void close() const;
    /// Takes effect when the guest is entered.
    static void signal(VirtualLines lines);

  private:
    LrFile* hardware_ = nullptr;
};

// vgic/switch.hpp over it. Its calls come here for a VM whose interface is software.
namespace soft {
VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file);
VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file);
VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file);
void inject_timer(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file);
VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file, u64 value);
InterfaceAccess interface_access(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file, u32 id, bool write,
                                 u64 value);
} // namespace soft

} // namespace atl::vgic
