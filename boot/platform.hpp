// SPDX-License-Identifier: Apache-2.0
// Owns: `Platform`, what the host's device tree says about the machine, as plain values.
// Does not own: driving any of it, and what EL2 itself occupies (image, device tree and bundle are the
// caller's to reserve). Lock: none; written once by the boot CPU, constant afterwards. Spec: Devicetree
// Specification v0.4; Linux bindings arm/cpus, arm,gic-v3, arm,gic, arm,arch_timer, psci, pl011.
#pragma once
#include "boot/diagnostic.hpp"
#include "boot/fdt.hpp"
#include "lib/containers.hpp"
#include "lib/types.hpp"

namespace atl::boot {

constexpr u64 host_pa_limit = u64{1} << 47; // what EL2's direct map reaches [lib/types.hpp]

enum class EnableMethod : u8 { psci, other };

struct HostCpu {
    Mpidr mpidr;
    EnableMethod enable_method = EnableMethod::other;
};

enum class GicKind : u8 { none, v2, v3 };

struct HostGic {
    GicKind kind = GicKind::none;
    Range<Pa> distributor;
    StaticVector<Range<Pa>, 8> redistributors; // v3 only
    u64 redistributor_stride = 0;              // v3: 0 when the frames are contiguous by GICR_TYPER
    Range<Pa> cpu_interface, hypervisor_interface, vcpu_interface; // v2 only
    Range<Pa> its; // v3: the first ITS, empty when there is none
    u32 its_phandle = 0;
    u32 maintenance_intid = 0; // 0: the tree does not say
};

/// A sentence why EL2 cannot drive it; nullptr: it can.
const char* refusal(const HostGic& gic);

struct HostUart {
    Range<Pa> registers;
    u32 intid = 0; // 0: polled only
    bool from_stdout_path = false;
};

struct HostSmmu {
    Range<Pa> registers; // empty: none
    u32 event_intid = 0, priority_intid = 0, sync_intid = 0, error_intid = 0;
    u32 phandle = 0;
};

/// RequesterIDs [first, first + count) -> target + (rid - first) at the device with that phandle: an entry of iommu-map
/// or msi-map [Linux bindings pci/pci-iommu.txt, pci/pci-msi.txt].
struct RidRange {
    u32 first = 0;
    u32 phandle = 0;
    u32 target = 0;
    u32 count = 0;
};
struct RidMap {
    StaticVector<RidRange, 8> ranges;
    u32 mask = 0xffff;
    /// not_found: no entry, or not one of the device `phandle`.
    Result<u32> translate(u32 rid, u32 phandle) const;
};

/// A window through which the CPU reaches PCI memory.
struct PciWindow {
    u64 pci = 0; // bus address
    Pa cpu{};
    u64 size = 0; // 0: none
};

struct HostPci {    // pci-host-ecam-generic
    Range<Pa> ecam; // empty: none
    u16 segment = 0;
    u8 first_bus = 0;
    u8 last_bus = 0;
    PciWindow mmio32;     // non-prefetchable, below 4 GiB
    PciWindow mmio64;     // above 4 GiB, or prefetchable
    RidMap iommu;         // RequesterID -> StreamID
    RidMap msi;           // RequesterID -> DeviceID
    u16 intx[32][4] = {}; // INTID by device number on the first bus and pin (A is 0); 0: none
    bool coherent = false;
};

struct HostTimer { // INTIDs, 0: the tree does not say
    u32 secure = 0, el1_physical = 0, el1_virtual = 0, el2_physical = 0, el2_virtual = 0;
};

enum class PsciConduit : u8 { none, smc, hvc };

struct Platform {
    FixedString<63> model;
    FixedString<63> compatible;      // the most specific string
    StaticVector<Range<Pa>, 32> ram; // sorted, disjoint, page-aligned, below host_pa_limit
    StaticVector<Range<Pa>, 64>
        reserved; // memory reservation block and /reserved-memory, page-aligned outwards
    StaticVector<HostCpu, max_pcpus> cpus; // [0] is the CPU that booted
    u32 cpus_in_tree = 0;                  // usable ones, also those beyond max_pcpus
    HostGic gic;
    HostUart console; // empty registers: none
    Range<Pa> rtc;    // PL031, empty: none
    HostSmmu smmu;
    HostPci pci;
    HostTimer timer;
    PsciConduit psci = PsciConduit::none;
    Range<Pa> initrd; // empty: none
    FixedString<255> bootargs;
    u64 kaslr_seed = 0;
    std::array<u8, 32> rng_seed{};
    u32 rng_seed_bytes = 0;

    u64 ram_bytes() const;
    /// True when [base, base + bytes) is RAM and touches no reserved range.
    bool is_free_ram(Range<Pa> range) const;
};

/// Reads the tree. `boot_cpu` is the CPU that runs this; it becomes cpus[0]. Everything that a usable machine
/// needs and that is missing or malformed gives one refusal sentence, and Error::corrupt at the end; the rest
/// is read all the same. An odd GICv2, an absent PSCI node and the like are recorded, not refused: the caller
/// decides.
Status read_platform(const FdtView& tree, Mpidr boot_cpu, Platform& out, Diagnostics& diagnostics);

} // namespace atl::boot
