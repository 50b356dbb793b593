// SPDX-License-Identifier: Apache-2.0
// Switching on virtual functions: see sriov.hpp. Boot CPU only: no lock.
// Spec: [PCIe Base, SR-IOV Extended Capability, VF configuration space].
#include "pci/sriov.hpp"

#include "pci/describe.hpp"

namespace atl::pci {

using namespace reg;

Status SriovJob::start(Topology& topology, Bdf pf, u16 vfs, const Clock& clock) {
    Function* found = topology.find(pf);
    if (found == nullptr || found->sriov.offset == 0 || found->verdict == Verdict::malformed ||
        found->verdict == Verdict::no_space) {
        return Error::not_found;
    }
    SriovInfo& info = found->sriov;
    if (info.enabled_vfs != 0) {
        return Error::already_exists;
    }
    if (vfs == 0 || vfs > info.total_vfs) {
        return Error::overflow;
    }
    if (topology.functions.size() + vfs > topology.functions.capacity()) {
        return Error::no_memory;
    }
    const Config& config = found->config;
    config.write16(info.offset + sriov::num_vfs, vfs);
    // They may depend on NumVFs, and buses were reserved for what enumeration had read.
    const u16 first = config.read16(info.offset + sriov::first_vf_offset);
    const u16 stride = config.read16(info.offset + sriov::vf_stride);
    const u32 last = pf.value + first + u32{stride} * (vfs - 1u);
    const u32 last_reserved = pf.value + info.first_offset + u32{info.stride} * (info.total_vfs - 1u);
    if (first == 0 || (stride == 0 && vfs > 1) || last > last_reserved) {
        config.write16(info.offset + sriov::num_vfs, 0);
        return Error::not_found;
    }
    info.first_offset = first;
    info.stride = stride;
    info.enabled_vfs = vfs;
    found->verdict = Verdict::has_vfs;
    topology_ = &topology;
    clock_ = clock;
    pf_ = static_cast<u16>(found - topology.functions.begin());
    vfs_ = vfs;
    made_ = 0;
    // The PF's own command register stays quiet: VFs decode by VF MSE and master by their own bit.
    config.write16_settled(info.offset + sriov::control, sriov::vf_enable | sriov::vf_memory_space);
    until_us_ = clock_.now() + enable_us;
    deadline_us_ = until_us_ + ready_us;
    state_ = Step::busy;
    return {};
}

Function SriovJob::make_vf(u16 number) const {
    const Function& pf = topology_->functions[pf_];
    Function vf{};
    vf.bdf = {static_cast<u16>(pf.bdf.value + pf.sriov.first_offset + pf.sriov.stride * number)};
    vf.config = topology_->config_of(vf.bdf);
    vf.parent = pf.parent;
    vf.physical = pf_;
    return vf;
}

Step SriovJob::give_up() {
    Function& pf = topology_->functions[pf_];
    pf.config.write16_settled(pf.sriov.offset + sriov::control, 0);
    pf.config.write16(pf.sriov.offset + sriov::num_vfs, 0);
    pf.sriov.enabled_vfs = 0;
    pf.verdict = Verdict::lost;
    while (made_ != 0) {
        topology_->functions.erase(topology_->functions.size() - 1);
        --made_;
    }
    state_ = Step::failed;
    return state_;
}

Step SriovJob::step() {
    while (state_ == Step::busy) {
        if (clock_.now() < until_us_) {
            return Step::busy;
        }
        if (made_ == vfs_) {
            state_ = Step::done;
            break;
        }
        Function vf = make_vf(made_);
        if (vf.config.read32(command) == absent) {
            if (clock_.now() >= deadline_us_) {
                return give_up();
            }
            until_us_ = clock_.now() + ResetJob::poll_us;
            return Step::busy;
        }
        describe_vf(*topology_, vf);
        (void)topology_->functions.push_back(vf); // start() has seen that there is room
        ++made_;
    }
    return state_;
}

} // namespace atl::pci
