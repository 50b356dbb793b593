// SPDX-License-Identifier: Apache-2.0
// Owns: what a VM is to be: plain values that the manifest yields and the core consumes, and the address map
// that every guest sees (QEMU virt's). Does not own: parsing and checking (boot/manifest), placement
// (boot/guest_dt). Lock: none; written once at boot, constant afterwards.
#pragma once
#include <array>
#include <span>

#include "lib/containers.hpp"
#include "lib/types.hpp"

namespace atl::el2 {

/// Guest-physical addresses and interrupts, as in QEMU's `virt` machine so that stock images run.
namespace guest_map {
constexpr Range<Ipa> gicd{Ipa{0x0800'0000}, 64 * kib};
constexpr Range<Ipa> gicc{Ipa{0x0801'0000}, 8 * kib}; // GICv2: behind it the host's GICV
constexpr Ipa gicr_base{0x080a'0000};
constexpr u64 gicr_stride = 128 * kib;                 // one redistributor for each vCPU
constexpr Range<Ipa> its{Ipa{0x0808'0000}, 128 * kib}; // control and translation frame
constexpr Ipa msi_page{0x0809'0000}; // the latter; in VMs with devices the host ITS's is behind it
constexpr Range<Ipa> uart{Ipa{0x0900'0000}, 4 * kib};
constexpr Range<Ipa> rtc{Ipa{0x0901'0000}, 4 * kib};
constexpr Ipa stolen_time{0x090a'0000}; // one page, read-only; told by PV_TIME_ST only
constexpr Ipa ram_base{0x4000'0000};
constexpr u64 ram_low_max = 2 * gib;        // up to the window
constexpr Ipa window_base{0xc000'0000};     // below 4 GiB, so that the guest's swiotlb stays as it is
constexpr u64 window_max = 1 * gib;         // up to 4 GiB
constexpr Ipa ram_high_base{0x1'0000'0000}; // what does not fit below the window
constexpr u64 ram_max = 256 * gib;          // keeps the whole map below a 40-bit IPA
constexpr Range<Ipa> pci_mem32{Ipa{0x1000'0000}, 0x2eff'0000};
constexpr Range<Ipa> pci_config{Ipa{0x3f00'0000}, 1 * mib};               // bus 0 of an ECAM
constexpr Range<Ipa> pci_mem64{Ipa{0x80'0000'0000}, u64{0x40'0000'0000}}; // ends below 40 bits
constexpr u32 uart_spi = 1;                                               // INTID 33
constexpr u32 rtc_spi = 2;                                                // INTID 34
constexpr u32 lagoon_spi = 8; // INTID 40, edge: FF-A notification pending
constexpr u32 first_spi = 32;
constexpr u32 pci_spi = 3;     // INTx: INTIDs 35 to 38, by slot and pin
constexpr u32 first_mbi = 96;  // INTIDs that MSIs may use, in VMs with devices and MsiKind::mbi
constexpr u32 mbi_count = 128; // 96 to 223
constexpr unsigned spis = 64, spis_with_mbi = first_mbi + mbi_count - first_spi;
constexpr u32 ppi_timer_secure = 13, ppi_timer_el1 = 14, ppi_timer_virtual = 11, ppi_timer_el2 = 10;
} // namespace guest_map

enum class ImageKind : u8 {
    linux_image, // arm64 Image header: its text_offset decides
    raw,         // the manifest decides
};

/// What runs first. `bytes` lies in the bundle, which stays untouched so that the VM can reboot from it.
/// All offsets count from the first byte of the VM's RAM.
struct KernelImage {
    ImageKind kind = ImageKind::linux_image;
    std::span<const u8> bytes;
    u64 load_offset = 0;
    u64 entry_offset = 0;
    u64 memory_bytes = 0; // from load_offset on, what follows `bytes` (.bss) included; >= bytes.size()
    enum class Dtb : u8 { placed, fixed, none } dtb = Dtb::placed;
    u64 dtb_offset = 0; // Dtb::fixed only
};

/// A PCI function, as "segment:bus:device.function"; or a virtual function of it, as ".../vf0": where that lies on the bus is
/// for its physical function to say.
struct PciAddress {
    static constexpr u8 no_vf = 0xff;
    u16 segment = 0;
    u8 bus = 0;
    u8 device = 0;
    u8 function = 0;
    u8 vf = no_vf; // 0 .. 99
    constexpr bool is_vf() const { return vf != no_vf; }
    constexpr PciAddress pf() const { return {segment, bus, device, function}; }
    constexpr bool operator==(const PciAddress&) const = default;
};

/// As a manifest writes it: "0000:00:02.0", "0000:00:05.0/vf0".
struct PciText {
    explicit constexpr PciText(const PciAddress& a) {
        constexpr const char* hex = "0123456789abcdef";
        const u32 digits = u32{a.segment} << 16 | u32{a.bus} << 8 | a.device;
        std::size_t& at = length;
        for (int shift = 28; shift >= 0; shift -= 4) {
            chars[at++] = hex[(digits >> shift) & 15];
            if (shift == 16 || shift == 8) {
                chars[at++] = ':';
            }
        }
        chars[at++] = '.';
        chars[at++] = hex[a.function & 7];
        if (a.is_vf()) {
            chars[at++] = '/';
            chars[at++] = 'v';
            chars[at++] = 'f';
            if (a.vf >= 10) {
                chars[at++] = hex[a.vf / 10 % 10];
            }
            chars[at++] = hex[a.vf % 10];
        }
    }
    constexpr std::string_view text() const { return {chars, length}; }
    std::size_t length = 0;
    char chars[17] = {};
};

/// What a device's message is to the guest.
enum class MsiKind : u8 {
    its, // an event of the VM's emulated ITS, which makes an LPI of it
    mbi, // a message-based SPI; the VM has no ITS and no LPIs
};

/// How LPIs of the VM's devices get into it.
enum class LpiKind : u8 {
    automatic, // directly where the host's GIC can (GICv4.0), else by software
    direct,    // the same, with a line in the log where it cannot
    software,  // through EL2 and list registers
};

enum class CrashPolicy : u8 { stop, restart };

/// What a VM's counters count: time as it passes, or only while the VM runs or sleeps of its own will.
enum class VmClock : u8 { wall, run };

/// Who tells the guest's CPU of interrupts, and answers its CPU interface.
enum class InterruptMode : u8 {
    virtual_interface, // the GIC's virtual CPU interface
    vi,                // EL2, by HCR_EL2.VI and VF alone: to see what the former saves [docs/adr/0024]
};

constexpr unsigned max_devices_per_vm = 8;

/// Bit n stands for VmId n (1 .. max_vms).
using VmMask = u32;
constexpr VmMask vm_bit(VmId id) {
    return VmMask{1} << id.value;
}

struct VmConfig {
    VmId id;                            // position in the manifest, from 1; refused VMs leave a gap
    FixedString<max_name_length> name;  // letters, digits, '-', '_'; unique
    u8 vcpus = 1;                       // 1 .. max_vcpus_per_vm
    u64 ram_bytes = 0;                  // multiple of 1 MiB
    u64 window_bytes = 0;               // of the share window, multiple of 2 MiB; 0: none
    FixedString<max_bootargs> bootargs; // kernel command line
    KernelImage kernel;
    std::span<const u8> ramdisk; // in the bundle; empty: none
    VmMask share_with = 0;       // symmetric: both manifests nodes list each other
    StaticVector<PciAddress, max_devices_per_vm> devices;
    MsiKind msi = MsiKind::its;
    InterruptMode interrupts = InterruptMode::virtual_interface;
    LpiKind lpis = LpiKind::automatic;
    bool autostart = true;
    bool focus = false; // has the keyboard first; at most one VM
    CrashPolicy on_crash = CrashPolicy::stop;
    VmClock clock = VmClock::wall;
};

/// Guest RAM in at most two banks: from ram_base up to the window, the rest from ram_high_base. `high` may be
/// empty.
struct RamBanks {
    Range<Ipa> low;
    Range<Ipa> high;
};
constexpr RamBanks ram_banks(u64 ram_bytes) {
    const u64 low = ram_bytes < guest_map::ram_low_max ? ram_bytes : guest_map::ram_low_max;
    return {{guest_map::ram_base, low}, {guest_map::ram_high_base, ram_bytes - low}};
}
constexpr unsigned spis_of(const VmConfig& vm) {
    return vm.devices.empty() || vm.msi == MsiKind::its ? guest_map::spis : guest_map::spis_with_mbi;
}
constexpr Range<Ipa> window_of(const VmConfig& vm) {
    return {guest_map::window_base, vm.window_bytes};
}

} // namespace atl::el2
