// SPDX-License-Identifier: Apache-2.0
// PCI Express extended capabilities: ACS switched on in ports, ATS, PRI and PASID off everywhere, SR-IOV
// read and sized. Owns nothing. No lock: boot CPU only. Spec: [PCIe Base §7, extended capabilities].
#include "pci/describe.hpp"

namespace atl::pci {
namespace {

using namespace reg;

/// Peers must not reach each other without the SMMU, nor send another's Requester ID. Translation Blocking
/// stops a device that claims to have translated itself; not every port has it.
void switch_acs_on(Function& f, u32 at) {
    if (f.pcie_type != PcieType::root_port && f.pcie_type != PcieType::downstream_port) {
        return;
    }
    constexpr u16 wanted =
        acs::source_validation | acs::request_redirect | acs::completion_redirect | acs::upstream_forwarding;
    const u16 offered = f.config.read16(at + acs::capability);
    f.config.write16(at + acs::control, offered & (wanted | acs::translation_blocking));
    f.acs = (f.config.read16(at + acs::control) & wanted) == wanted;
}

bool sriov_fits(const Function& f) {
    const SriovInfo& info = f.sriov;
    if (!f.flr) { // a PF has it, and what is said of VFs after a reset of their PF is said of an FLR
        return false;
    }
    if (info.first_offset == 0 || (info.stride == 0 && info.total_vfs > 1)) {
        return false;
    }
    if (f.bdf.value + info.distance(info.total_vfs - 1u) > 0xffff) {
        return false;
    }
    for (const Bar& bar : info.bars) {
        if (bar.kind == BarKind::io || (bar.is_memory() && bar.size < page_size)) {
            return false;
        }
    }
    return true;
}

void read_sriov(Topology& topology, Function& f, u32 at) {
    const Config& config = f.config;
    if (f.is_bridge || f.sriov.offset != 0 || at + sriov::length > config_size) {
        return;
    }
    config.write16_settled(at + sriov::control, 0);
    const u16 total = config.read16(at + sriov::total_vfs);
    const u16 initial = config.read16(at + sriov::initial_vfs);
    u16 count = initial < total ? initial : total;
    count = count < max_vfs_per_function ? count : static_cast<u16>(max_vfs_per_function);
    if (count == 0) {
        return;
    }
    f.sriov.total_vfs = count;
    f.sriov.device_id = config.read16(at + sriov::vf_device_id);
    // First VF Offset and VF Stride may depend on NumVFs.
    config.write16(at + sriov::num_vfs, count);
    f.sriov.first_offset = config.read16(at + sriov::first_vf_offset);
    f.sriov.stride = config.read16(at + sriov::vf_stride);
    config.write16(at + sriov::num_vfs, 0);
    const bool pages = (config.read32(at + sriov::supported_page_sizes) & sriov::page_4k) != 0;
    config.write32(at + sriov::system_page_size, sriov::page_4k);
    u8 bad = 0;
    if (!pages || !size_bars(config, at + sriov::vf_bar0, type0_bars, f.sriov.bars.data(), bad) ||
        !sriov_fits(f)) {
        topology.note({ProblemKind::bad_sriov, f.bdf, bad, at});
        f.sriov = SriovInfo{};
        return;
    }
    f.sriov.offset = static_cast<u16>(at);
}

void take(Topology& topology, Function& f, u16 id, u32 at) {
    switch (id) {
    case ext_acs:
        switch_acs_on(f, at);
        break;
    case ext_ats:
        f.config.write16(at + ats_control, 0);
        break;
    case ext_pri:
        f.config.write16(at + pri_control, 0);
        break;
    case ext_pasid:
        f.config.write16(at + pasid_control, 0);
        break;
    case ext_sriov:
        read_sriov(topology, f, at);
        break;
    default:
        break;
    }
}

} // namespace

void describe_extended(Topology& topology, Function& function) {
    u32 at = first_extended;
    // A capability is 8 bytes at least, so that a list without a loop has no more than these.
    for (unsigned left = (config_size - first_extended) / 8; at != 0; --left) {
        if (left == 0 || at < first_extended) {
            topology.note({ProblemKind::bad_capability_list, function.bdf, 0, at});
            return;
        }
        const u32 header = function.config.read32(at);
        if (header == 0 || header == absent) {
            return;
        }
        if (at + 8 <= config_size) {
            take(topology, function, static_cast<u16>(ext::Id::get(header)), at);
        }
        at = static_cast<u32>(ext::Next::get(header)) & ~u32{3};
    }
}

} // namespace atl::pci
