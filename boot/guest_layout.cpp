// SPDX-License-Identifier: Apache-2.0
// Owns: the placement of kernel, device tree and ramdisk in a guest's RAM. Lock: none; pure.
// Spec: Linux booting.rst: the DTB on an 8-byte boundary in at most 2 MiB, the ramdisk within 32 GiB of the
// kernel.
#include "boot/guest_dt.hpp"

namespace atl::boot {
namespace {

using el2::KernelImage;

constexpr u64 align_up(u64 value, u64 alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

/// Finds room for `size` bytes at a multiple of `alignment` inside [0, ram) clear of two taken ranges; ~0:
/// none.
u64 place(u64 ram, u64 size, u64 alignment, Range<Ipa> first, Range<Ipa> second) {
    const u64 candidates[] = {align_up(first.end().value, alignment), align_up(second.end().value, alignment),
                              0};
    for (const u64 at : candidates) {
        const Range<Ipa> here{Ipa{at}, size};
        if (at <= ram && size <= ram - at && !here.overlaps(first) && !here.overlaps(second)) {
            return at;
        }
    }
    return ~u64{0};
}

} // namespace

Result<GuestLayout> plan_guest(const el2::VmConfig& vm) {
    const u64 ram = el2::ram_banks(vm.ram_bytes).low.size;
    const KernelImage& image = vm.kernel;
    if (image.memory_bytes < image.bytes.size() || image.load_offset > ram ||
        image.memory_bytes > ram - image.load_offset) {
        return Error::no_memory;
    }
    const Range<Ipa> kernel{Ipa{image.load_offset}, image.memory_bytes};
    if (!kernel.contains(Ipa{image.entry_offset}, 4) || image.entry_offset % 4 != 0) {
        return Error::invalid_argument;
    }
    Range<Ipa> dtb{};
    if (image.dtb == KernelImage::Dtb::fixed) {
        dtb = {Ipa{image.dtb_offset}, guest_dtb_bytes};
        if (image.dtb_offset % 8 != 0 || image.dtb_offset > ram || guest_dtb_bytes > ram - image.dtb_offset ||
            dtb.overlaps(kernel)) {
            return Error::invalid_argument;
        }
    } else if (image.dtb == KernelImage::Dtb::placed) {
        dtb = {Ipa{place(ram, guest_dtb_bytes, guest_dtb_bytes, kernel, {})}, guest_dtb_bytes};
    }
    Range<Ipa> ramdisk{};
    if (!vm.ramdisk.empty()) {
        const u64 size =
            align_up(vm.ramdisk.size(), page_size); // whole pages, so that the guest can free them
        ramdisk = {Ipa{place(ram, size, page_size, kernel, dtb)}, vm.ramdisk.size()};
    }
    if (dtb.base.value == ~u64{0} || ramdisk.base.value == ~u64{0}) {
        return Error::no_memory;
    }
    const u64 base = el2::guest_map::ram_base.value;
    GuestLayout layout;
    layout.kernel = {Ipa{base} + kernel.base.value, kernel.size};
    layout.entry = Ipa{base} + image.entry_offset;
    if (!dtb.empty()) {
        layout.dtb = {Ipa{base} + dtb.base.value, dtb.size};
        layout.x0 = layout.dtb.base;
    }
    if (!ramdisk.empty()) {
        layout.ramdisk = {Ipa{base} + ramdisk.base.value, ramdisk.size};
    }
    return layout;
}

} // namespace atl::boot
