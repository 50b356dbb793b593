// SPDX-License-Identifier: Apache-2.0
// Switching on a PF's virtual functions, in steps. They stay on from then on: a reset of the PF ends with them on
// again (ResetJob), and no guest reaches VF Enable (VirtualSriov).
// Owns the SR-IOV capability's registers; appends to the Topology. Boot CPU, before VMs run: no lock.
// Spec: [PCIe Base, SR-IOV Extended Capability].
#pragma once
#include "pci/bridge.hpp"
#include "pci/reset.hpp"

namespace atl::pci {

/// Programs page size, VF BARs and NumVFs, and sets VF Enable and VF MSE, for `pf.sriov.enabled_vfs` VFs. The PF is quiet,
/// VF Enable clear. No VF may be accessed for ResetJob::vf_enable_us. False: a register does not hold, or First VF
/// Offset and VF Stride are not those of enumeration, from which its VFs' StreamIDs follow; they are off then.
bool enable_vfs(const Function& pf);

class SriovJob {
  public:
    static constexpr u64 ready_us = 1'000'000;

    constexpr SriovJob() = default;

    /// After assign(). not_found: no such PF, no (usable) SR-IOV; overflow: more VFs than it has, or 0;
    /// already_exists: it has VFs, or one would have another function's place; no_memory: the table of functions is full. Nothing is changed on error.
    Status start(Topology& topology, Bdf pf, u16 vfs, const Clock& clock);
    /// done: the VFs are the last `vfs` functions of the topology, in their order, quiet, each with its BARs' addresses.
    /// failed: a VF did not come; VF Enable is off again.
    Step step();
    u64 not_before_us() const { return until_us_; }

  private:
    Step give_up();
    Function make_vf(u16 number) const;

    Topology* topology_ = nullptr;
    Clock clock_{};
    u64 until_us_ = 0;
    u64 deadline_us_ = 0;
    u16 pf_ = Function::none;
    u16 vfs_ = 0;
    u16 made_ = 0;
    Step state_ = Step::failed;
};

} // namespace atl::pci
