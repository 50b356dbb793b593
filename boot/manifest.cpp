// SPDX-License-Identifier: Apache-2.0
// Owns: the bundle as a whole, the names of VMs, and the order of the checks. Lock: none.
// Does not own: one VM's properties (manifest_vm.cpp), images (manifest_image.cpp), links
// (manifest_links.cpp).
#include "boot/manifest.hpp"

#include "boot/manifest_parts.hpp"

namespace atl::boot {
namespace {

bool starts_with(std::span<const u8> bytes, std::string_view text) {
    if (bytes.size() < text.size()) {
        return false;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (bytes[i] != static_cast<u8>(text[i])) {
            return false;
        }
    }
    return true;
}

void explain_no_bundle(std::span<const u8> bundle, Error error, Diagnostics& diagnostics) {
    const auto size = FdtView::total_size(bundle);
    if (bundle.empty()) {
        diagnostics.say(Severity::refusal,
                        "bundle: none was handed over; pass one as the boot loader's initrd");
    } else if (starts_with(bundle, "070701") || starts_with(bundle, "\x1f\x8b")) {
        diagnostics.say(Severity::refusal,
                        "bundle: this is an initramfs; put it into a manifest as a ramdisk and "
                        "build a bundle (`make bundle`)");
    } else if (!size.ok()) {
        diagnostics.say(Severity::refusal, "bundle: no device tree blob (its first bytes are not d00dfeed)");
    } else if (*size > bundle.size()) {
        diagnostics.say(Severity::refusal,
                        "bundle: truncated: it names {} bytes, the boot loader handed over {}", *size,
                        bundle.size());
    } else if (error == Error::overflow) {
        diagnostics.say(Severity::refusal, "bundle: more than {} nodes and properties", fdt_max_tags);
    } else if (error == Error::not_supported) {
        diagnostics.say(Severity::refusal, "bundle: not version 17 of the device tree format");
    } else if (error == Error::invalid_argument) {
        diagnostics.say(Severity::refusal, "bundle: the boot loader did not put it on an 8-byte boundary");
    } else {
        diagnostics.say(Severity::refusal, "bundle: its structure is damaged");
    }
}

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_but_case(std::string_view a, std::string_view b) {
    bool same = a.size() == b.size();
    for (std::size_t i = 0; same && i < a.size(); ++i) {
        same = lower(a[i]) == lower(b[i]);
    }
    return same;
}

bool is_letter(char c) {
    return lower(c) >= 'a' && lower(c) <= 'z';
}

bool is_name(std::string_view name) {
    if (name.empty() || !is_letter(name.front())) {
        return false;
    }
    for (const char c : name) {
        if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '-' && c != '_') {
            return false;
        }
    }
    return true;
}

/// Names label console lines and are typed by people: short, plain, and never confusable.
void name_vm(ManifestReader& reader, std::size_t index) {
    const std::string_view name = reader.tree.name(reader.node(index));
    if (!is_name(name)) {
        reader.refuse(index, "",
                      "a VM's name begins with a letter and has letters, digits, '-' and '_' only");
        return;
    }
    if (name.size() > max_name_length) {
        reader.refuse(index, "", "a VM's name has at most {} characters", max_name_length);
        return;
    }
    if (same_but_case(name, "atoll")) {
        reader.refuse(index, "", "this name is Atoll's own");
        return;
    }
    for (std::size_t other = 0; other < index; ++other) {
        if (same_but_case(name, reader.out.vms[other].name.view())) {
            reader.refuse(index, "", "another VM has this name (upper and lower case count as one)");
            return;
        }
    }
    reader.vm(index).name.assign(name);
}

void collect_vms(ManifestReader& reader, FdtNode vms) {
    reader.tree.each_child(vms, [&](FdtNode node) {
        if (reader.drafts.full()) {
            ++reader.out.refused;
            reader.diagnostics.say(Severity::refusal, reader.tree, node, "", "more than {} VMs", max_vms);
            return;
        }
        const std::size_t index = reader.drafts.size();
        reader.drafts.push_back(Draft{node, false, -1});
        reader.out.vms.push_back(el2::VmConfig{});
        reader.vm(index).id = VmId{static_cast<u16>(index + 1)};
        name_vm(reader, index);
    });
}

/// Finds /images and /vms, each there at most once. vms.offset stays -1 when there is no usable one.
FdtNode read_root(ManifestReader& reader) {
    FdtNode vms{};
    bool twice = false;
    reader.tree.each_child(reader.tree.root(), [&](FdtNode node) {
        const std::string_view name = reader.tree.name(node);
        FdtNode* const slot = name == "vms" ? &vms : name == "images" ? &reader.images : nullptr;
        if (slot == nullptr) {
            reader.diagnostics.say(Severity::warning, reader.tree, node, "", "unknown node, ignored");
        } else if (slot->offset >= 0) {
            twice = true;
            reader.diagnostics.say(Severity::refusal, reader.tree, node, "",
                                   "there are two nodes of this name");
        } else {
            *slot = node;
        }
    });
    if (vms.offset < 0) {
        reader.diagnostics.say(Severity::refusal, "bundle: no /vms node: this device tree is no manifest");
    }
    return twice ? FdtNode{} : vms;
}

void check_everything(ManifestReader& reader) {
    check_images(reader);
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        if (!reader.drafts[i].refused) {
            read_vm(reader, i);
        }
        if (!reader.drafts[i].refused) {
            read_vm_images(reader, i);
        }
    }
    link_start_order(reader);
    link_shares(reader);
    link_focus(reader);
    link_devices(reader);
    link_budget(reader);
    settle_shares(reader);
    settle_vfs(reader);
    finish_vms(reader);
}

} // namespace

i32 ManifestReader::find_vm(std::string_view name) const {
    for (std::size_t i = 0; i < out.vms.size(); ++i) {
        if (!name.empty() && out.vms[i].name.view() == name) {
            return static_cast<i32>(i);
        }
    }
    return -1;
}

Status read_manifest(std::span<const u8> bundle, const ManifestLimits& limits, Manifest& out,
                     Diagnostics& diagnostics) {
    out.vms.clear();
    out.start_order.clear();
    out.refused = 0;
    const auto tree = FdtView::open(bundle);
    if (!tree.ok()) {
        explain_no_bundle(bundle, tree.error(), diagnostics);
        return tree.error();
    }
    ManifestReader reader{*tree, limits, out, diagnostics, {}, {}};
    const FdtNode vms = read_root(reader);
    if (vms.offset < 0) {
        return Error::corrupt;
    }
    collect_vms(reader, vms);
    if (reader.drafts.empty()) {
        diagnostics.say(Severity::refusal, *tree, vms, "", "it has no VM");
        return Error::not_found;
    }
    check_everything(reader);
    return out.vms.empty() ? Status(Error::not_found) : Status();
}

} // namespace atl::boot
