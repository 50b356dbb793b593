// SPDX-License-Identifier: Apache-2.0
// A PF and its VFs, which may be in different VMs: a reset of the PF takes its VFs away, and brings them back. To the
// guest of a VF that is a time in which its function is not there: configuration space reads as ones, BARs are not
// mapped. Then EL2 puts back what that guest had programmed of the VF's configuration and its messages; what was in
// the VF's own registers is gone, and is its driver's to notice. Lock: the group's, held by the caller.
// Spec: [PCIe Base §9.3.3.3.1 VF Enable; §2.2.2 (SR-IOV) FLR of a PF]. [docs/adr/0023]
#include "pci/describe.hpp"
#include "pci/virtual_bridge.hpp"

namespace atl::pci {

/// `f` is new in this bridge: finds its PF, or its VFs.
void VirtualBridge::join_family(VirtualFunction& f) {
    f.bridge = this;
    for (VirtualBridge* bridge = setup_.group->first; bridge != nullptr; bridge = bridge->next_) {
        for (VirtualFunction& other : bridge->functions_) {
            if (f.physical().pf == &other.physical()) {
                f.pf = &other;
                f.held = other.job.busy();
            } else if (other.physical().pf == &f.physical()) {
                other.pf = &f;
            }
        }
    }
    hold_vfs(f); // its first reset is about to begin
}

void VirtualBridge::hold_vfs(const VirtualFunction& pf) {
    for (VirtualBridge* bridge = setup_.group->first; bridge != nullptr; bridge = bridge->next_) {
        for (VirtualFunction& vf : bridge->functions_) {
            if (vf.pf == &pf && !vf.held) {
                bridge->hold(vf);
            }
        }
    }
}

void VirtualBridge::release_vfs(const VirtualFunction& pf) {
    for (VirtualBridge* bridge = setup_.group->first; bridge != nullptr; bridge = bridge->next_) {
        for (VirtualFunction& vf : bridge->functions_) {
            if (vf.pf == &pf && vf.held) {
                bridge->release(vf, pf.lost);
            }
        }
    }
}

void VirtualBridge::hold(VirtualFunction& vf) {
    // Before it goes: an access to a BAR that nobody decodes may end as an SError.
    for (unsigned i = 0; i < reg::type0_bars; ++i) {
        unmap(vf, i);
    }
    if (ready(vf)) {
        vf.keep_messages(setup_.mmio);
        if (vf.attached) { // its VM runs
            report(vf, 0, Offence::Kind::pf_reset);
        }
        quiesce(vf.physical().config);
        vf.written_command = 0;
    }
    vf.job.cancel(); // the PF's reset is one of the VF
    vf.held = true;
}

void VirtualBridge::release(VirtualFunction& vf, bool pf_lost) {
    vf.held = false;
    vf.lost = pf_lost;
    if (pf_lost) {
        report(vf, 0, Offence::Kind::reset_failed);
        return;
    }
    vf.job.start_after_pf(vf.physical(), setup_.clock);
    step_reset(vf);
}

} // namespace atl::pci
