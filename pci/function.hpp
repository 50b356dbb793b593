// SPDX-License-Identifier: Apache-2.0
// What EL2 knows of one PCI function. Filled by enumerate(), assign(), probe_virtio() and SriovJob
// at boot, constant from then on: no lock. Does not own the function's registers, nor who may use it.
#pragma once
#include "lib/containers.hpp"
#include "lib/format.hpp"
#include "pci/config_hw.hpp"
#include "pci/registers.hpp"

namespace atl::pci {

/// Bus, device and function number: the Routing ID. On a generic host it is the StreamID and the DeviceID
/// too, unless the device tree's iommu-map and msi-map say otherwise.
struct Bdf {
    u16 value = 0;
    static constexpr Bdf of(unsigned bus, unsigned device, unsigned function) {
        return {static_cast<u16>((bus & 0xff) << 8 | (device & 31) << 3 | (function & 7))};
    }
    constexpr unsigned bus() const { return value >> 8; }
    constexpr unsigned device() const { return (value >> 3) & 31; }
    constexpr unsigned function() const { return value & 7; }
    constexpr u8 devfn() const { return static_cast<u8>(value); }
    constexpr auto operator<=>(const Bdf&) const = default;
};

/// "01:00.0", as lspci prints it.
struct BdfText {
    explicit constexpr BdfText(Bdf bdf) {
        constexpr const char* hex = "0123456789abcdef";
        chars[0] = hex[bdf.bus() >> 4];
        chars[1] = hex[bdf.bus() & 15];
        chars[3] = hex[bdf.device() >> 4];
        chars[4] = hex[bdf.device() & 15];
        chars[6] = hex[bdf.function()];
    }
    constexpr std::string_view view() const { return {chars, 7}; }
    char chars[8] = "00:00.0";
};

enum class BarKind : u8 {
    none, // not implemented
    io,   // sized, never assigned nor decoded: endpoints must work without [PCIe Base, BARs]
    mem32,
    mem64,      // this slot and the next
    upper_half, // of the mem64 below it
};

struct Bar {
    BarKind kind = BarKind::none;
    bool prefetchable = false;
    bool assigned = false; // bus_address and pa hold
    u64 size = 0;          // bytes that the function decodes, a power of two
    u64 bus_address = 0;   // what is in the register
    Pa pa{};               // where the CPU finds it
    constexpr bool is_memory() const { return kind == BarKind::mem32 || kind == BarKind::mem64; }
    /// The whole pages that it occupies; nothing else is in them.
    constexpr u64 span() const { return (size + page_size - 1) & ~u64{page_size - 1}; }
};

/// Why a function cannot be given to a VM.
enum class Verdict : u8 {
    assignable,
    is_bridge,
    malformed,           // header, BAR or capability that contradicts the specification
    no_space,            // a BAR found no place in the host bridge's windows
    behind_conventional, // shares the requester id of a conventional PCI bridge: no stream of its own
    virtio_bypasses,     // virtio without VIRTIO_F_ACCESS_PLATFORM: its DMA goes around the SMMU
    virtio_legacy,       // virtio with the legacy interface only, which cannot go through the SMMU
    virtio_unreadable,   // its common configuration could not be found or read
    lost,                // it did not come back from a reset
};

/// A capability that Atoll understands, in the order of the function's list.
struct Capability {
    u8 id = 0;
    u8 offset = 0;
    u8 length = 0;      // bytes, offset + length <= 0x100
    u8 virtio_type = 0; // cap_vendor of a virtio function: cfg_type, else 0
};

struct MsixInfo {
    u16 entries = 0; // 0: no MSI-X
    u8 table_bar = 0;
    u8 pba_bar = 0;
    u32 table_offset = 0;
    u32 pba_offset = 0;
};

struct MsiInfo {
    u8 vectors = 0; // 0: no MSI; else 1, 2, 4, 8, 16 or 32
    bool is_64 = false;
    bool maskable = false;
};

enum class PcieType : u8 {
    endpoint = 0,
    legacy_endpoint = 1,
    root_port = 4,
    upstream_port = 5,
    downstream_port = 6,
    pcie_to_pci = 7,
    pci_to_pcie = 8,
    integrated_endpoint = 9,
    event_collector = 10,
    none = 0xff, // conventional
};

struct SriovInfo {
    u16 offset = 0;    // of the extended capability; 0: none, or unusable
    u16 total_vfs = 0; // what this host gives place to: at most max_vfs_per_function
    u16 first_offset = 0;
    u16 stride = 0;
    u16 device_id = 0;   // of the VFs
    u16 enabled_vfs = 0; // VF Enable is set, but while the PF is being reset
    /// One VF's; VF n's is at bus_address + n * size, pa + n * size.
    std::array<Bar, reg::type0_bars> bars{};
    /// What a VF's Routing ID is more than its PF's [PCIe Base, SR-IOV, First VF Offset and VF Stride]; VFs from 0.
    constexpr u32 distance(unsigned vf) const { return first_offset + u32{stride} * vf; }
};

struct VirtioInfo {
    bool is_virtio = false;
    bool has_common = false;
    u8 common_bar = 0;
    u32 common_offset = 0;
};

struct Function {
    static constexpr u16 none = 0xffff; // an index that names no function

    Bdf bdf{};
    Config config{};
    u16 vendor = 0;
    u16 device = 0;
    u16 subsystem_vendor = 0;
    u16 subsystem = 0;
    u32 revision_class = 0; // as the register: class code in bits 31:8
    bool is_bridge = false;
    bool multi_function = false; // header bit 7: other functions of this device may exist
    bool acs = false;            // a port that keeps peers apart, switched on
    Verdict verdict = Verdict::assignable;
    u16 parent = none;            // index of the bridge that it is behind
    const Function* pf = nullptr; // a VF's PF
    u16 group = none;             // who shares its isolation: equal for functions that go to one VM together
    u8 interrupt_pin = 0;         // 1: INTA .. 4: INTD, 0: none
    u8 root_device = 0;           // device on the root bus that its INTx seems to come from,
    u8 root_pin = 0;              // and its pin there: what the host's interrupt-map wants
    u8 secondary_bus = 0;         // bridges
    u8 subordinate_bus = 0;       // bridges
    PcieType pcie_type = PcieType::none;
    bool flr = false;
    bool soft_reset = false; // D3hot to D0 resets it: No_Soft_Reset is clear
    u16 device_control = 0;  // PCI Express, as found: put back after a reset
    std::array<Bar, reg::type0_bars> bars{};
    MsiInfo msi{};
    MsixInfo msix{};
    SriovInfo sriov{};
    VirtioInfo virtio{};
    StaticVector<Capability, 16> capabilities{};

    constexpr bool is_vf() const { return pf != nullptr; }
    constexpr unsigned bar_count() const { return is_bridge ? reg::type1_bars : reg::type0_bars; }
    /// Offset of the first capability `id`; 0 when there is none.
    constexpr u8 find(u8 id) const {
        for (const Capability& capability : capabilities) {
            if (capability.id == id) {
                return capability.offset;
            }
        }
        return 0;
    }
};

constexpr const char* to_string(Verdict verdict) {
    switch (verdict) {
    case Verdict::assignable:
        return "can be assigned";
    case Verdict::is_bridge:
        return "is a bridge: bridges stay with the hypervisor";
    case Verdict::malformed:
        return "its configuration space contradicts the specification";
    case Verdict::no_space:
        return "its BARs do not fit into the host bridge's windows";
    case Verdict::behind_conventional:
        return "sits behind a conventional PCI bridge: its DMA has no StreamID of its own";
    case Verdict::virtio_bypasses:
        return "its DMA bypasses the SMMU: virtio without VIRTIO_F_ACCESS_PLATFORM (QEMU: iommu_platform=on)";
    case Verdict::virtio_legacy:
        return "is a legacy virtio device, whose DMA bypasses the SMMU (QEMU: "
               "iommu_platform=on,disable-legacy=on)";
    case Verdict::virtio_unreadable:
        return "its virtio features cannot be read: whether its DMA bypasses the SMMU is not known";
    case Verdict::lost:
        return "did not come back from its last reset";
    }
    return "?";
}

/// Access to a BAR that has been assigned, by its physical address; 8 and 32 bits, aligned.
struct MmioSeam {
    void* context = nullptr;
    u32 (*read)(void* context, Pa at, unsigned size) = nullptr;
    void (*write)(void* context, Pa at, unsigned size, u32 value) = nullptr;
};

/// One line for the boot banner and the monitor: who it is, BARs, interrupts, reset, and why not assignable.
void print(const TextSink& sink, const Function& function);

} // namespace atl::pci
