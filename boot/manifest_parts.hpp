// SPDX-License-Identifier: Apache-2.0
// Owns: what the parts of the manifest reader share (manifest.cpp: order of work and whole-bundle checks;
// manifest_vm.cpp: one VM's node; manifest_image.cpp: /images; manifest_links.cpp: references between VMs and
// the shared budget). Not for anyone else. Lock: none.
#pragma once
#include "boot/manifest.hpp"

namespace atl::boot {

/// What is known of out.vms[i] while it is being checked.
struct Draft {
    FdtNode node{};
    bool refused = false;
    i32 start_after = -1; // index of another draft
};

struct ManifestReader {
    const FdtView& tree;
    const ManifestLimits& limits;
    Manifest& out;
    Diagnostics& diagnostics;
    FdtNode images{};                    // offset -1: there is no /images
    StaticVector<Draft, max_vms> drafts; // parallel to out.vms

    el2::VmConfig& vm(std::size_t index) { return out.vms[index]; }
    FdtNode node(std::size_t index) const { return drafts[index].node; }
    /// The draft of this name (exact), -1: none.
    i32 find_vm(std::string_view name) const;

    /// The VM will not start; the sentence says which property and why.
    template <class... Args>
    void refuse(std::size_t index, std::string_view property, std::string_view reason, const Args&... args) {
        drafts[index].refused = true;
        diagnostics.say(Severity::refusal, tree, node(index), property, reason, args...);
    }
    template <class... Args>
    void warn(std::size_t index, std::string_view property, std::string_view reason, const Args&... args) {
        diagnostics.say(Severity::warning, tree, node(index), property, reason, args...);
    }
    template <class... Args>
    void note(std::size_t index, std::string_view property, std::string_view reason, const Args&... args) {
        diagnostics.say(Severity::note, tree, node(index), property, reason, args...);
    }
};

/// Everything about one VM that needs no other VM.
void read_vm(ManifestReader& reader, std::size_t index);
/// Resolves `kernel` and `ramdisk`, and checks that all fits the VM's RAM.
void read_vm_images(ManifestReader& reader, std::size_t index);
/// One sentence for each mistake in /images that no VM would tell of.
void check_images(ManifestReader& reader);

/// start-after: dangling, self, cycles.
void link_start_order(ManifestReader& reader);
/// share-with: dangling, self; after link_budget(): one-sided or with a refused VM.
void link_shares(ManifestReader& reader);
void settle_shares(ManifestReader& reader);
/// Two VMs with the keyboard.
void link_focus(ManifestReader& reader);
/// Devices that the machine has not, two VMs with one device, half groups, INTx lines of two VMs. Has the named VFs
/// switched on. Before the RAM is dealt out.
void link_devices(ManifestReader& reader);
/// Who has the physical functions of VFs; after link_budget().
void settle_vfs(ManifestReader& reader);
/// RAM, in the manifest's order.
void link_budget(ManifestReader& reader);
/// Drops the refused ones and orders the rest.
void finish_vms(ManifestReader& reader);

} // namespace atl::boot
