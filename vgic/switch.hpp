// SPDX-License-Identifier: Apache-2.0
// The face that el2's world switch sees: what touches list registers. The target's implementation is
// vgic/switch_hw.cpp over the real ones; host tests link tests/support/gic_fake_lr.cpp over a fake.
// All calls are made on the vCPU's home pCPU with interrupts masked. They take the distributor's and the
// vCPU's lock when needed. A returned VcpuMask is to be kicked (see vgic/virtual_gic.hpp).
#pragma once
#include "vgic/virtual_gic.hpp"

namespace atl::vgic {

class LrFile; // one per pCPU: the list registers and the timer PPI's active state

/// Enter: CPU interface registers restored, list registers filled, ICH_HCR_EL2.En set. Before the timer is
/// restored.
VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, LrFile& file);
/// Leave: list registers read back and emptied, CPU interface saved and off. After CNTV_CTL_EL0 is disabled
/// (and an ISB): the timer's physical PPI is released here and must not fire for the next vCPU.
VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, LrFile& file);
/// The most common case of each, alone: nothing but SGIs has happened. False: nothing was done.
bool load_quiet(VirtualGic& gic, VcpuGic& vcpu, LrFile& file);
bool save_quiet(VcpuGic& vcpu, LrFile& file);
/// Only when needs_flush(). Repeat until it is false, then enter the guest.
VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, LrFile& file);
/// The most common case of flush(), alone: SGIs that have list registers already. Returns what is left of the
/// vCPU's work; not 0: flush() is needed.
u64 relist_sgis(VcpuGic& vcpu, LrFile& file);
/// On the maintenance interrupt, before its deactivation: afterwards no maintenance condition holds.
VcpuMask maintenance(VirtualGic& gic, VcpuIndex vcpu, LrFile& file);
/// The virtual timer's physical PPI was acknowledged and its priority dropped (not deactivated) with the vCPU
/// loaded.
void inject_timer(VirtualGic& gic, VcpuIndex vcpu, LrFile& file);
/// Trapped ICC_DIR_EL1: always, where ICH_HCR_EL2.TDIR exists.
VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, LrFile& file, u64 value);

/// What became of a trapped access to the CPU interface, which is software.
struct InterfaceAccess {
    bool defined = false; // false: no such register, or it cannot be read or written
    u64 value = 0;        // read
    VcpuMask kick = 0;
};
/// ICC_* by its encoding [lib/arch/icc.hpp], but for SGIR, DIR and SRE; of a GICv2, GICC_* by its offset, but for DIR. Only of a VM whose interface is software; the loaded
/// guest's interrupt inputs follow.
InterfaceAccess interface_access(VirtualGic& gic, VcpuIndex vcpu, LrFile& file, u32 id, bool write,
                                 u64 value);

} // namespace atl::vgic
