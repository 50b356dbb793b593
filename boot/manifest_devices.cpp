// SPDX-License-Identifier: Apache-2.0
// Owns: what a manifest says about PCI functions, against what the machine has: there at all, assignable, whole groups,
// INTx lines, virtual functions. Does not own: reading the property (manifest_vm.cpp), the bus (pci/). Lock: none.
#include "boot/manifest_parts.hpp"

#include <algorithm>

namespace atl::boot {
namespace {

using el2::PciAddress;
using el2::PciText;

DeviceAnswer ask(const ManifestReader& reader, const PciAddress& address) {
    if (reader.limits.device == nullptr) {
        return {"this machine's PCI devices are not known", 0, 1, 0};
    }
    return reader.limits.device(reader.limits.context, address);
}

/// Every function alone.
void check_each(ManifestReader& reader, std::size_t i) {
    for (const PciAddress& address : reader.vm(i).devices) {
        const DeviceAnswer answer = ask(reader, address);
        if (!answer.why.empty()) {
            reader.refuse(i, "devices", "{}: {}", PciText(address).text(), answer.why);
            return;
        }
    }
}

void check_owners(ManifestReader& reader, std::size_t i) {
    for (const PciAddress& address : reader.vm(i).devices) {
        for (std::size_t k = 0; k < i; ++k) {
            for (const PciAddress& other : reader.vm(k).devices) {
                if (!reader.drafts[k].refused && other == address) {
                    reader.refuse(i, "devices", "{} has {} already", reader.vm(k).name.view(),
                                  PciText(address).text());
                    return;
                }
            }
        }
    }
}

/// Functions that could reach each other behind the SMMU's back come together or not at all.
void check_groups(ManifestReader& reader, std::size_t i) {
    for (const PciAddress& address : reader.vm(i).devices) {
        const DeviceAnswer answer = ask(reader, address);
        u32 mine = 0;
        for (const PciAddress& other : reader.vm(i).devices) {
            mine += ask(reader, other).group == answer.group ? 1 : 0;
        }
        if (mine != answer.group_size) {
            reader.refuse(
                i, "devices",
                "{}: it is one of {} functions that are not isolated from each other (a multi-function "
                "device, or one port without ACS), and {} of them are listed: list all of them",
                PciText(address).text(), answer.group_size, mine);
            return;
        }
    }
}

/// A line that two VMs share would let each of them hold up the other's interrupts.
void check_lines(ManifestReader& reader, std::size_t i) {
    for (const PciAddress& address : reader.vm(i).devices) {
        const u32 line = ask(reader, address).intx;
        for (std::size_t k = 0; line != 0 && k < i; ++k) {
            for (const PciAddress& other : reader.vm(k).devices) {
                if (!reader.drafts[k].refused && ask(reader, other).intx == line) {
                    reader.refuse(
                        i, "devices",
                        "{}: its INTx line (INTID {}) is also that of {}, which {} has: put one of them into "
                        "another slot (QEMU: addr=, four slots share no line), or give both to one VM",
                        PciText(address).text(), line, PciText(other).text(), reader.vm(k).name.view());
                    return;
                }
            }
        }
    }
}

/// Every VF that a VM may get has to be there before it can be looked at; a PF's all at once.
void enable_named_vfs(const ManifestReader& reader) {
    StaticVector<PciAddress, max_vms * el2::max_devices_per_vm> done;
    const auto each_vf = [&](auto visit) {
        for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
            for (const PciAddress& address : reader.out.vms[i].devices) {
                if (!reader.drafts[i].refused && address.is_vf()) {
                    visit(address);
                }
            }
        }
    };
    each_vf([&](const PciAddress& first) {
        for (const PciAddress& pf : done) {
            if (pf == first.pf()) {
                return;
            }
        }
        unsigned count = 0;
        each_vf([&](const PciAddress& other) {
            count = other.pf() == first.pf() && other.vf >= count ? other.vf + 1u : count;
        });
        static_cast<void>(done.push_back(first.pf())); // there is room for all
        reader.limits.enable_vfs(reader.limits.context, first.pf(), count);
    });
}

} // namespace

void link_devices(ManifestReader& reader) {
    if (reader.limits.enable_vfs != nullptr) {
        enable_named_vfs(reader);
    }
    for (auto* const check : {&check_each, &check_owners, &check_groups, &check_lines}) {
        for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
            if (!reader.drafts[i].refused) {
                check(reader, i);
            }
        }
    }
}

void settle_vfs(ManifestReader& reader) {
    const auto has = [&](std::size_t k, const PciAddress& pf) {
        const auto& devices = reader.vm(k).devices;
        return !reader.drafts[k].refused && std::find(devices.begin(), devices.end(), pf) != devices.end();
    };
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        for (const PciAddress& address : reader.vm(i).devices) {
            if (reader.drafts[i].refused || !address.is_vf() || has(i, address.pf())) {
                continue;
            }
            std::size_t owner = 0;
            while (owner < reader.drafts.size() && !has(owner, address.pf())) {
                ++owner;
            }
            if (owner == reader.drafts.size()) {
                reader.warn(i, "devices",
                            "{}: no VM has its physical function: it works only if it needs no driver there",
                            PciText(address).text());
            } else {
                reader.note(i, "devices",
                            "{}: {} has its physical function, and can stop this device, or make it read and "
                            "write memory of this VM",
                            PciText(address).text(), reader.vm(owner).name.view());
            }
        }
    }
}

} // namespace atl::boot
