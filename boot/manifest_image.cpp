// SPDX-License-Identifier: Apache-2.0
// Owns: /images: what each image is, whether a VM can run it, and whether all fits the VM's RAM. Lock: none.
// Does not own: the arm64 Image header (image.cpp) and the placement (guest_layout.cpp).
#include "boot/guest_dt.hpp"
#include "boot/image.hpp"
#include "boot/manifest_parts.hpp"

namespace atl::boot {
namespace {

using el2::KernelImage;

constexpr std::string_view known[] = {"type",       "data",    "load-offset", "entry-offset",
                                      "dtb-offset", "phandle", "description", "linux,phandle"};

/// Two sentences: what is wrong with the image, with its value, and which VM does not start because of it.
template <class... Args>
void refuse_image(ManifestReader& reader, std::size_t index, FdtNode image, std::string_view property,
                  std::string_view reason, const Args&... args) {
    const FormatBuffer<max_reason> why(reason, args...);
    reader.diagnostics.say(Severity::refusal, reader.tree, image, property, "{}", why.text());
    reader.refuse(index, "", "not started: {} of {}: {}", property, reader.tree.path(image).view(),
                  why.text());
}

/// The one image that `property` names and that is of one of two types; offset -1 after a refusal.
FdtNode find_image(ManifestReader& reader, std::size_t index, std::string_view property,
                   const FdtProperty& value) {
    const auto name = value.as_string();
    if (!name.ok() || name->empty()) {
        reader.refuse(index, property, "the name of one image is wanted");
        return {};
    }
    FdtNode found{};
    unsigned count = 0;
    if (reader.images.offset >= 0) {
        reader.tree.each_child(reader.images, [&](FdtNode node) {
            if (reader.tree.name(node) == *name) {
                found = node;
                ++count;
            }
        });
    }
    if (count == 0) {
        reader.refuse(index, property, "there is no /images/{}", *name);
        return {};
    }
    if (count > 1) {
        reader.refuse(index, property, "there are {} images of this name", count);
        return {};
    }
    return found;
}

/// The image's bytes; empty after a refusal.
std::span<const u8> data_of(ManifestReader& reader, std::size_t index, FdtNode image) {
    const auto data = reader.tree.property(image, "data");
    if (!data.ok()) {
        refuse_image(reader, index, image, "data", "it is missing; write data = /incbin/(\"file\")");
        return {};
    }
    if (data->value.empty()) {
        refuse_image(reader, index, image, "data", "it is empty");
        return {};
    }
    return data->value;
}

/// `type`, or an empty string after a refusal.
std::string_view type_of(ManifestReader& reader, std::size_t index, FdtNode image) {
    const auto property = reader.tree.property(image, "type");
    if (!property.ok()) {
        refuse_image(reader, index, image, "type", "it is missing: \"kernel\", \"ramdisk\" or \"raw\"");
        return {};
    }
    const auto text = property->as_string();
    if (!text.ok() || (*text != "kernel" && *text != "ramdisk" && *text != "raw")) {
        refuse_image(reader, index, image, "type", "it is \"kernel\", \"ramdisk\" or \"raw\"");
        return {};
    }
    return *text;
}

/// An optional offset into the VM's RAM. False after a refusal.
bool offset(ManifestReader& reader, std::size_t index, FdtNode image, std::string_view name, u64& value) {
    const auto property = reader.tree.property(image, name);
    if (!property.ok()) {
        return true;
    }
    const auto parsed = property->as_number();
    if (!parsed.ok() || *parsed >= el2::guest_map::ram_low_max) {
        refuse_image(reader, index, image, name,
                     "one number below 2 GiB is wanted: an offset into the VM's RAM");
        return false;
    }
    value = *parsed;
    return true;
}

bool read_raw(ManifestReader& reader, std::size_t index, FdtNode image, KernelImage& kernel) {
    kernel.kind = el2::ImageKind::raw;
    kernel.memory_bytes = kernel.bytes.size();
    if (!offset(reader, index, image, "load-offset", kernel.load_offset)) {
        return false;
    }
    kernel.entry_offset = kernel.load_offset;
    if (!offset(reader, index, image, "entry-offset", kernel.entry_offset)) {
        return false;
    }
    const auto dtb = reader.tree.property(image, "dtb-offset");
    const auto text = dtb.ok() ? dtb->as_string() : Result<std::string_view>(dtb.error());
    if (text.ok() && *text == "none") {
        kernel.dtb = KernelImage::Dtb::none;
    } else if (dtb.ok()) {
        kernel.dtb = KernelImage::Dtb::fixed;
        return offset(reader, index, image, "dtb-offset", kernel.dtb_offset);
    }
    return true;
}

bool read_linux(ManifestReader& reader, std::size_t index, FdtNode image, KernelImage& kernel) {
    const auto header = parse_image(kernel.bytes);
    if (!header.ok()) {
        refuse_image(reader, index, image, "data", "no usable kernel: {}", why_not_image(kernel.bytes));
        return false;
    }
    for (const std::string_view name : {"load-offset", "entry-offset", "dtb-offset"}) {
        if (reader.tree.has(image, name)) {
            reader.diagnostics.say(Severity::warning, reader.tree, image, name,
                                   "ignored: only type = \"raw\" has it; a kernel's header decides");
        }
    }
    kernel.kind = el2::ImageKind::linux_image;
    kernel.load_offset = header->text_offset; // guest RAM begins on a 2 MiB boundary
    kernel.entry_offset = header->text_offset;
    kernel.memory_bytes = header->memory_bytes;
    return true;
}

bool read_kernel(ManifestReader& reader, std::size_t index) {
    const auto property = reader.tree.property(reader.node(index), "kernel");
    if (!property.ok()) {
        reader.refuse(index, "kernel", "it is missing: which image does this VM run?");
        return false;
    }
    const FdtNode image = find_image(reader, index, "kernel", *property);
    if (image.offset < 0) {
        return false;
    }
    const std::string_view type = type_of(reader, index, image);
    if (type.empty()) {
        return false;
    }
    if (type == "ramdisk") {
        reader.refuse(index, "kernel", "this image is a ramdisk");
        return false;
    }
    KernelImage& kernel = reader.vm(index).kernel;
    kernel.bytes = data_of(reader, index, image);
    if (kernel.bytes.empty()) {
        return false;
    }
    return type == "raw" ? read_raw(reader, index, image, kernel) : read_linux(reader, index, image, kernel);
}

bool read_ramdisk(ManifestReader& reader, std::size_t index) {
    const auto property = reader.tree.property(reader.node(index), "ramdisk");
    if (!property.ok()) {
        return true;
    }
    const FdtNode image = find_image(reader, index, "ramdisk", *property);
    if (image.offset < 0) {
        return false;
    }
    const std::string_view type = type_of(reader, index, image);
    if (type != "ramdisk") {
        if (!type.empty()) {
            reader.refuse(index, "ramdisk", "this image is of type \"{}\"", type);
        }
        return false;
    }
    reader.vm(index).ramdisk = data_of(reader, index, image);
    return !reader.vm(index).ramdisk.empty();
}

constexpr u64 in_mib(u64 bytes) {
    return (bytes + mib - 1) / mib;
}

} // namespace

void read_vm_images(ManifestReader& reader, std::size_t index) {
    if (!read_kernel(reader, index) || !read_ramdisk(reader, index)) {
        return;
    }
    const el2::VmConfig& vm = reader.vm(index);
    const auto layout = plan_guest(vm);
    if (layout.ok()) {
        return;
    }
    if (layout.error() == Error::no_memory) {
        reader.refuse(index, "memory-mib",
                      "too little: kernel ({} MiB at offset {:x}), ramdisk ({} MiB) and device tree "
                      "do not fit",
                      in_mib(vm.kernel.memory_bytes), vm.kernel.load_offset, in_mib(vm.ramdisk.size()));
    } else {
        reader.refuse(
            index, "kernel",
            "its offsets do not work: entry {:x} must be a multiple of 4 inside the image "
            "({} bytes at {:x}), and {} KiB at dtb-offset {:x}, a multiple of 8, inside RAM and clear of it",
            vm.kernel.entry_offset, vm.kernel.bytes.size(), vm.kernel.load_offset, guest_dtb_bytes / kib,
            vm.kernel.dtb_offset);
    }
}

void check_images(ManifestReader& reader) {
    if (reader.images.offset < 0) {
        return; // every VM's `kernel` will say so
    }
    reader.tree.each_child(reader.images, [&](FdtNode image) {
        reader.tree.each_property(image, [&](const FdtProperty& property) {
            bool found = false;
            for (const std::string_view name : known) {
                found = found || name == property.name;
            }
            if (!found) {
                reader.diagnostics.say(Severity::warning, reader.tree, image, property.name,
                                       "unknown property, ignored");
            }
        });
    });
}

} // namespace atl::boot
