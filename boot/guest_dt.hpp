// SPDX-License-Identifier: Apache-2.0
// Owns: where kernel, ramdisk and device tree go in a guest's RAM, and the device tree that a guest gets:
// generated from what EL2 really emulates. Does not own: copying anything there; the address map itself
// (el2/vm_config.hpp). Lock: none; pure. Spec: Linux booting.rst section 2 to 4; Devicetree Specification
// v0.4; Linux bindings arm,gic, arm,gic-v3, arm,arch_timer, psci, pl011, arm,pl031, reserved-memory.
#pragma once
#include <array>
#include <span>

#include "el2/vm_config.hpp"
#include "lib/result.hpp"

namespace atl::boot {

/// What a guest's device tree may occupy at most; its place is a multiple of this, so that it crosses no 2
/// MiB boundary.
constexpr u64 guest_dtb_bytes = 64 * kib;

/// Where things go. Empty ranges: not there. `entry` is the first PC, `x0` its argument (0 without a device
/// tree).
struct GuestLayout {
    Range<Ipa> kernel;  // with its .bss; the file's bytes go to kernel.base
    Range<Ipa> ramdisk; // exactly the ramdisk's bytes, at a page boundary
    Range<Ipa> dtb;     // guest_dtb_bytes
    Ipa entry;
    Ipa x0;
};

/// Places everything in the low RAM bank without overlaps: the kernel where it wants to be, then device tree,
/// then ramdisk. Depends on kernel, ramdisk and ram_bytes only, so that every boot of a VM looks the same.
/// no_memory: it does not fit. invalid_argument: the offsets of a raw image are outside RAM or overlap.
Result<GuestLayout> plan_guest(const el2::VmConfig& vm);

/// Fresh random bytes for each boot of a guest; all zero: the properties are left out.
struct GuestEntropy {
    u64 kaslr_seed = 0;
    std::array<u8, 32> rng_seed{};
};

/// The interrupt controller that guests see: the host's, since its virtual interface is theirs.
enum class GuestGic : u8 { v2, v3 };

/// Writes the guest's tree to `out` (8-byte aligned; guest_dtb_bytes always suffice) and returns its size in
/// bytes. `all` holds every VM, for the names of the peers. no_memory: `out` is too small.
Result<u32> write_guest_dt(const el2::VmConfig& vm, std::span<const el2::VmConfig> all,
                           const GuestLayout& layout, const GuestEntropy& entropy, GuestGic gic,
                           std::span<u8> out);

} // namespace atl::boot
