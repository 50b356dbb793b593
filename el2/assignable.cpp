// SPDX-License-Identifier: Apache-2.0
// What a manifest may name: which functions can be given to a VM, and switching on the virtual functions that it names.
// Portable. See el2/passthrough.hpp. Boot CPU, before any VM runs: no lock.
#include "el2/passthrough.hpp"
#include "el2/world.hpp"
#include "lib/log.hpp"
#include "pci/sriov.hpp"
#include "pci/virtio.hpp"

namespace atl::el2 {
namespace {

constexpr pci::Bdf bdf_of(const PciAddress& address) {
    return pci::Bdf::of(address.bus, address.device, address.function);
}

const pci::Function* find_at(const Passthrough& all, const PciAddress& address) {
    return address.segment == all.topology.host.segment ? all.topology.find(bdf_of(address)) : nullptr;
}

/// Whether some PF has, or could have, a VF there: somebody has read it off a machine where it is switched on.
bool is_place_of_vf(const pci::Topology& topology, pci::Bdf bdf) {
    for (const pci::Function& pf : topology.functions) {
        for (unsigned vf = 0; vf < pf.sriov.total_vfs; ++vf) {
            if (pf.bdf.value + pf.sriov.distance(vf) == bdf.value) {
                return true;
            }
        }
    }
    return false;
}

const pci::Function* find_physical(const Passthrough& all, const PciAddress& address, std::string_view& why) {
    const pci::Function* const function = find_at(all, address);
    if ((function == nullptr || function->is_vf()) && is_place_of_vf(all.topology, bdf_of(address))) {
        why =
            "this is the place of a virtual function: name that by its physical function and its number, as "
            "0000:00:05.0/vf0";
    } else if (function == nullptr) {
        why = "there is no such PCI function on this machine";
    }
    return why.empty() ? function : nullptr;
}

const pci::Function* find_virtual(const Passthrough& all, const PciAddress& address, std::string_view& why) {
    const pci::Function* const pf = find_physical(all, address.pf(), why);
    if (pf == nullptr) {
        return nullptr;
    }
    if (pf->sriov.offset == 0) {
        why = "it has no virtual functions (SR-IOV) that could be used";
    } else if (address.vf >= pf->sriov.total_vfs) {
        why = "it has fewer virtual functions than that: they are numbered from 0 (monitor: devices)";
    } else if (address.vf >= pf->sriov.enabled_vfs) {
        why = "its virtual functions could not be switched on (see above)";
    } else {
        return all.topology.find({static_cast<u16>(pf->bdf.value + pf->sriov.distance(address.vf))});
    }
    return nullptr;
}

} // namespace

Assignable find_assignable(const Passthrough& all, const PciAddress& address) {
    Assignable found;
    if (!all.unusable.empty()) {
        found.why = all.unusable.view();
        return found;
    }
    const pci::Function* const function =
        address.is_vf() ? find_virtual(all, address, found.why) : find_physical(all, address, found.why);
    if (function == nullptr) {
        return found;
    }
    if (function->verdict != pci::Verdict::assignable) {
        found.why = pci::to_string(function->verdict);
        return found;
    }
    const auto stream = all.routes.stream(all.routes.context, function->bdf.value);
    const auto device_id = all.routes.device_id(all.routes.context, function->bdf.value);
    if (!stream.ok()) {
        found.why = "its DMA does not go through the SMMU (iommu-map of the host's device tree)";
    } else if (!device_id.ok() || *device_id == 0) {
        // DeviceID 0 is also what writes by CPUs carry.
        found.why = "its messages do not reach the ITS under a DeviceID of their own (msi-map)";
    } else {
        found.function = function;
        found.stream = *stream;
        found.device_id = *device_id;
        found.intx = all.routes.intx(all.routes.context, function->root_device, function->root_pin);
        found.group = function->group;
        found.group_size = 0;
        for (const pci::Function& other : all.topology.functions) {
            found.group_size += other.group == function->group && !other.is_bridge ? 1 : 0;
        }
    }
    return found;
}

void enable_vfs(World& world, const PciAddress& pf, unsigned count) {
    Passthrough& all = *world.passthrough;
    const pci::Function* const function = all.unusable.empty() ? find_at(all, pf) : nullptr;
    if (function == nullptr || function->verdict != pci::Verdict::assignable ||
        function->sriov.total_vfs == 0) {
        return; // find_assignable() has a sentence for each
    }
    const std::size_t before = all.topology.functions.size();
    const unsigned total = function->sriov.total_vfs;
    pci::SriovJob job;
    const Status started = job.start(all.topology, function->bdf,
                                     static_cast<u16>(count < total ? count : total), device_clock(world));
    pci::Step step = started.ok() ? pci::Step::busy : pci::Step::failed;
    while (step == pci::Step::busy) {
        step = job.step(); // at most ResetJob::vf_enable_us and SriovJob::ready_us; nobody else runs yet
    }
    if (step == pci::Step::failed) {
        log::error("PCI function {}: its virtual functions cannot be switched on: {}", PciText(pf).text(),
                   started.ok() ? "one of them did not answer" : to_string(started.error()));
        return;
    }
    for (std::size_t i = before; i < all.topology.functions.size(); ++i) {
        static_cast<void>(pci::probe_virtio(all.topology.functions[i], all.mmio));
    }
}

} // namespace atl::el2
