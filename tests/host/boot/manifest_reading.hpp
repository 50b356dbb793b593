// SPDX-License-Identifier: Apache-2.0
// Owns: how tests write a manifest and read it back. Test use only.
#pragma once
#include <doctest/doctest.h>

#include "boot/manifest.hpp"
#include "tests/host/boot/kernel.hpp"

namespace atl::test {

/// A machine with functions in every slot of two buses: INTx as on QEMU's virt, slots 8 and 9 one group, slot 31 a bridge.
inline boot::DeviceAnswer machine_device(void*, const el2::PciAddress& address) {
    if (address.segment != 0 || address.bus > 1 || address.device == 0) {
        return {"there is no such PCI function on this machine", 0, 1, 0};
    }
    if (address.bus == 0 && address.device == 31) {
        return {"is a bridge: bridges stay with the hypervisor", 0, 1, 0};
    }
    if (address.is_vf()) { // each function of device 5 has four
        return {address.device == 5 && address.vf < 4 ? "" : "it has fewer virtual functions than that",
                0x1000u + address.function * 16 + address.vf, 1, 0};
    }
    const bool pair = address.device == 8 || address.device == 9;
    return {{},
            pair ? 8u : u32{address.bus} << 8 | address.device,
            pair ? 2u : 1u,
            address.device < 20 ? 35u + (address.device & 3) : 0};
}

struct Reading {
    Blob blob;
    boot::Manifest manifest;
    Sentences sentences;
    Status status;
    std::vector<std::pair<el2::PciAddress, unsigned>> enabled; // which VFs the machine was asked for

    explicit Reading(Blob bundle, u64 ram_mib = 2048) : blob(std::move(bundle)) {
        const boot::ManifestLimits limits{ram_mib * mib, this, &machine_device,
                                          [](void* context, const el2::PciAddress& pf, unsigned count) {
                                              static_cast<Reading*>(context)->enabled.emplace_back(pf, count);
                                          }};
        status = read_manifest(blob.span(), limits, manifest, sentences.sink);
    }
    const el2::VmConfig* vm(std::string_view name) const {
        for (const el2::VmConfig& candidate : manifest.vms) {
            if (candidate.name.view() == name) {
                return &candidate;
            }
        }
        return nullptr;
    }
};

inline const char* const images = R"(images {
    linux { type = "kernel"; data = /incbin/("Image"); };
    rootfs { type = "ramdisk"; data = [01 02 03 04 05]; };
    payload { type = "raw"; data = [00 01 02 03 04 05 06 07]; load-offset = <0x1000>; entry-offset = <0x1004>;
              dtb-offset = "none"; };
};)";

/// The bundle of `vms` with the usual images.
inline Blob bundle(const std::string& vms, const std::string& more_images = images) {
    scratch_file("Image", make_image());
    return compile("/ { " + more_images + " vms { " + vms + " }; };");
}

/// The properties of a VM without a mistake.
inline const std::string good = "kernel = \"linux\"; memory-mib = <16>;";

} // namespace atl::test
