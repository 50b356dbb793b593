// SPDX-License-Identifier: Apache-2.0
// Switching on virtual functions: see sriov.hpp. Boot CPU only: no lock.
// Spec: [PCIe Base, SR-IOV Extended Capability, VF configuration space].
#include "pci/sriov.hpp"

#include "pci/describe.hpp"

namespace atl::pci {

using namespace reg;

namespace {

/// No VF may take the place of a function that was found, nor lie outside the buses that lead to it.
Status check_places(const Topology& topology, Bdf pf, const SriovInfo& reserved, const SriovInfo& there,
                    u16 vfs) {
    if (there.first_offset == 0 || (there.stride == 0 && vfs > 1) ||
        there.distance(vfs - 1u) > reserved.distance(reserved.total_vfs - 1u)) {
        return Error::not_found;
    }
    for (unsigned i = 0; i < vfs; ++i) {
        if (topology.find({static_cast<u16>(pf.value + there.distance(i))}) != nullptr) {
            return Error::already_exists;
        }
    }
    return {};
}

} // namespace

bool enable_vfs(const Function& pf) {
    const SriovInfo& info = pf.sriov;
    const Config& config = pf.config;
    config.write32(info.offset + sriov::system_page_size, sriov::page_4k);
    config.write16(info.offset + sriov::num_vfs, info.enabled_vfs);
    if (!put_bars(config, info.offset + sriov::vf_bar0, info.bars) ||
        config.read16(info.offset + sriov::num_vfs) != info.enabled_vfs ||
        config.read16(info.offset + sriov::first_vf_offset) != info.first_offset ||
        config.read16(info.offset + sriov::vf_stride) != info.stride) {
        config.write16(info.offset + sriov::num_vfs, 0);
        return false;
    }
    // The PF's own command register stays quiet: VFs decode by VF MSE and master by their own bit.
    config.write16_settled(info.offset + sriov::control, sriov::vf_enable | sriov::vf_memory_space);
    return true;
}

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
    // NumVFs may change the places; buses were reserved for those of all VFs, so that these are inside.
    const Config& config = found->config;
    config.write16(info.offset + sriov::num_vfs, vfs);
    SriovInfo there = info;
    there.first_offset = config.read16(info.offset + sriov::first_vf_offset);
    there.stride = config.read16(info.offset + sriov::vf_stride);
    if (const Status places = check_places(topology, pf, info, there, vfs); !places.ok()) {
        config.write16(info.offset + sriov::num_vfs, 0);
        return places;
    }
    info.first_offset = there.first_offset;
    info.stride = there.stride;
    info.enabled_vfs = vfs;
    if (!enable_vfs(*found)) {
        info.enabled_vfs = 0;
        return Error::not_found;
    }
    topology_ = &topology;
    clock_ = clock;
    pf_ = static_cast<u16>(found - topology.functions.begin());
    vfs_ = vfs;
    made_ = 0;
    until_us_ = clock_.now() + ResetJob::vf_enable_us;
    deadline_us_ = until_us_ + ready_us;
    state_ = Step::busy;
    return {};
}

Function SriovJob::make_vf(u16 number) const {
    const Function& pf = topology_->functions[pf_];
    Function vf{};
    vf.bdf = {static_cast<u16>(pf.bdf.value + pf.sriov.distance(number))};
    vf.config = topology_->config_of(vf.bdf);
    vf.parent = pf.parent;
    vf.pf = &pf;
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
