// SPDX-License-Identifier: Apache-2.0
// Owns: how tests write a manifest and read it back. Test use only.
#pragma once
#include <doctest/doctest.h>

#include "boot/manifest.hpp"
#include "tests/host/boot/kernel.hpp"

namespace atl::test {

struct Reading {
    Blob blob;
    boot::Manifest manifest;
    Sentences sentences;
    Status status;

    explicit Reading(Blob bundle, u64 ram_mib = 2048) : blob(std::move(bundle)) {
        status = read_manifest(blob.span(), boot::ManifestLimits{ram_mib * mib}, manifest, sentences.sink);
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
