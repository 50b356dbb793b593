// SPDX-License-Identifier: Apache-2.0
// Owns: the manifest: the bundle's bytes -> VmConfig[], checked against the machine. The binding and every
// message is in docs/manifest.md. Does not own: creating the VMs. Lock: none; runs once, on the boot CPU. The
// bundle is untrusted: whatever is in it, the answer is a value and sentences, in time linear in its
// structure.
#pragma once
#include <span>

#include "boot/diagnostic.hpp"
#include "el2/vm_config.hpp"
#include "lib/result.hpp"

namespace atl::boot {

/// One PCI function of the machine, as far as a manifest can be wrong about it.
struct DeviceAnswer {
    std::string_view why{}; // why no VM can have it; empty: one can
    u32 group = 0;          // functions of one group go to one VM together,
    u32 group_size = 1;     // all of them
    u32 intx = 0;           // the host's INTID of its INTx line; 0: none
};

/// What the machine has to give.
struct ManifestLimits {
    u64 guest_ram_bytes = 0; // free RAM for guests, after everything that EL2 keeps
    void* context = nullptr;
    DeviceAnswer (*device)(void* context, const el2::PciAddress& address) = nullptr;
    /// Called once for each function of which VFs are named, before `device` is asked about them: VFs 0 to count - 1 are
    /// wanted. May be empty.
    void (*enable_vfs)(void* context, const el2::PciAddress& pf, unsigned count) = nullptr;
};

/// What a VM costs beyond its RAM: its stage-2 tables, at worst all of 4 KiB pages, and its own records.
constexpr u64 vm_overhead(u64 ram_bytes, u64 window_bytes) {
    return 1 * mib + (ram_bytes + window_bytes) / 512;
}

struct Manifest {
    StaticVector<el2::VmConfig, max_vms> vms; // those that can start, in the manifest's order. vms[i].id is
                                              // not i + 1 when an earlier VM was refused
    StaticVector<u8, max_vms> start_order;    // indexes into vms, start-after respected; autostart or not
    u32 refused = 0;                          // VMs that will not start
};

/// Reads and checks a bundle (8-byte aligned; may be followed by padding). The spans in `out` point into it,
/// so it must stay. A mistake in one VM refuses that VM with a sentence, and the others are still there. An
/// error is returned when there is nothing to start at all: corrupt: no bundle. overflow: truncated.
/// not_found: no VM is left. `out` is large (tens of KiB): a global, not on a stack.
Status read_manifest(std::span<const u8> bundle, const ManifestLimits& limits, Manifest& out,
                     Diagnostics& diagnostics);

/// "0000:00:02.0" or "0000:00:05.0/vf0" -> address. invalid_argument for anything else.
Result<el2::PciAddress> parse_pci_address(std::string_view text);

} // namespace atl::boot
