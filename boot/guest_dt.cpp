// SPDX-License-Identifier: Apache-2.0
// Owns: the text of the guest's device tree. Every address and interrupt comes from el2::guest_map, which the
// emulation uses too. Does not own: placement (guest_layout.cpp). Lock: none; pure.
#include "boot/guest_dt.hpp"

#include "boot/fdt.hpp"
#include "lib/arch/gicv2.hpp"
#include "lib/format.hpp"

namespace atl::boot {
namespace {

using namespace el2::guest_map;
using el2::VmConfig;

constexpr u32 phandle_gic = 1, phandle_clock = 2, phandle_window = 3, phandle_its = 4;
constexpr u32 spi = 0, ppi = 1;                // first cell of a GIC specifier
constexpr u32 edge_rising = 1, level_high = 4; // third cell

/// "name@address": node names need a NUL behind them.
class NodeName {
  public:
    NodeName(const char* base, u64 unit) : buffer_("{}@", base) {
        char digits[16];
        std::size_t n = sizeof(digits);
        do {
            digits[--n] = "0123456789abcdef"[unit & 15];
            unit >>= 4;
        } while (unit != 0);
        text_.assign(
            FormatBuffer<31>("{}{}", buffer_.text(), std::string_view(digits + n, sizeof(digits) - n))
                .text());
    }
    const char* c_str() const { return text_.c_str(); }

  private:
    FormatBuffer<31> buffer_;
    FixedString<31> text_;
};

void write_chosen(FdtWriter& fdt, const VmConfig& vm, const GuestLayout& layout,
                  const GuestEntropy& entropy) {
    fdt.begin_node("chosen");
    fdt.property_string("bootargs", vm.bootargs.view());
    fdt.property_string("stdout-path", NodeName("/pl011", uart.base.value).c_str());
    if (!layout.ramdisk.empty()) {
        fdt.property_u64("linux,initrd-start", layout.ramdisk.base.value);
        fdt.property_u64("linux,initrd-end", layout.ramdisk.end().value);
    }
    if (entropy.kaslr_seed != 0) {
        fdt.property_u64("kaslr-seed", entropy.kaslr_seed);
    }
    u8 any = 0;
    for (const u8 byte : entropy.rng_seed) {
        any |= byte;
    }
    if (any != 0) {
        fdt.property("rng-seed", entropy.rng_seed);
    }
    fdt.end_node();
}

void write_memory_node(FdtWriter& fdt, Range<Ipa> range) {
    if (range.empty()) {
        return;
    }
    fdt.begin_node(NodeName("memory", range.base.value).c_str());
    fdt.property_string("device_type", "memory");
    fdt.property_reg("reg", range.base.value, range.size);
    fdt.end_node();
}

/// RAM, and the share window twice: as memory, so that the kernel has struct pages for it, and reserved, so
/// that it never uses them; without no-map, which would take the struct pages away again.
void write_memory(FdtWriter& fdt, const VmConfig& vm) {
    const el2::RamBanks banks = el2::ram_banks(vm.ram_bytes);
    const Range<Ipa> window = el2::window_of(vm);
    write_memory_node(fdt, banks.low);
    write_memory_node(fdt, window);
    write_memory_node(fdt, banks.high);
    if (window.empty()) {
        return;
    }
    fdt.begin_node("reserved-memory");
    fdt.property_cells("#address-cells", {2});
    fdt.property_cells("#size-cells", {2});
    fdt.property_empty("ranges");
    fdt.begin_node(NodeName("lagoon", window.base.value).c_str());
    fdt.property_reg("reg", window.base.value, window.size);
    fdt.property_cells("phandle", {phandle_window});
    fdt.end_node();
    fdt.end_node();
}

void write_cpus(FdtWriter& fdt, const VmConfig& vm) {
    fdt.begin_node("cpus");
    fdt.property_cells("#address-cells", {1});
    fdt.property_cells("#size-cells", {0});
    for (u32 index = 0; index < vm.vcpus; ++index) { // Aff0 is the vCPU's index
        fdt.begin_node(NodeName("cpu", index).c_str());
        fdt.property_string("device_type", "cpu");
        fdt.property_string("compatible", "arm,armv8");
        fdt.property_cells("reg", {index});
        fdt.property_string("enable-method", "psci");
        fdt.end_node();
    }
    fdt.end_node();
    fdt.begin_node("psci");
    fdt.property_strings("compatible", {"arm,psci-1.0", "arm,psci-0.2"});
    fdt.property_string("method", "hvc");
    fdt.end_node();
}

void write_gic_v2(FdtWriter& fdt) {
    fdt.property_string("compatible", "arm,cortex-a15-gic");
    fdt.property_cells("reg",
                       {0, static_cast<u32>(gicd.base.value), 0, static_cast<u32>(gic::gicd::v2_frame_size),
                        0, static_cast<u32>(gicc.base.value), 0, static_cast<u32>(gicc.size)});
}

void write_gic_v3(FdtWriter& fdt, const VmConfig& vm) {
    fdt.property_string("compatible", "arm,gic-v3");
    fdt.property_cells("#redistributor-regions", {1});
    const u64 redistributors = gicr_stride * vm.vcpus;
    fdt.property_cells("reg", {0, static_cast<u32>(gicd.base.value), 0, static_cast<u32>(gicd.size), 0,
                               static_cast<u32>(gicr_base.value), 0, static_cast<u32>(redistributors)});
    fdt.property_cells("phandle", {phandle_gic});
    if (vm.msi == el2::MsiKind::its) {
        fdt.begin_node(NodeName("its", its.base.value).c_str());
        fdt.property_string("compatible", "arm,gic-v3-its");
        fdt.property_empty("msi-controller");
        fdt.property_cells("#msi-cells", {1});
        fdt.property_reg("reg", its.base.value, its.size);
        fdt.property_cells("phandle", {phandle_its});
        fdt.end_node();
    } else if (!vm.devices.empty()) {
        // MSIs without an ITS of its own: a device writes the SPI's number to the alias [Linux arm,gic-v3 binding].
        fdt.property_empty("msi-controller");
        fdt.property_cells("mbi-ranges", {first_mbi, mbi_count});
        fdt.property_cells("mbi-alias", {0, static_cast<u32>(msi_page.value)});
    }
}

void write_interrupts(FdtWriter& fdt, const VmConfig& vm, GuestGic version) {
    fdt.begin_node(NodeName("intc", gicd.base.value).c_str());
    fdt.property_empty("interrupt-controller");
    fdt.property_cells("#interrupt-cells", {3});
    fdt.property_cells("#address-cells", {2});
    fdt.property_cells("#size-cells", {2});
    fdt.property_empty("ranges");
    fdt.property_cells("phandle", {phandle_gic});
    if (version == GuestGic::v2) {
        write_gic_v2(fdt);
    } else {
        write_gic_v3(fdt, vm);
    }
    fdt.end_node();
    // A PPI's flags name the CPUs that have it, with GICv2 [Linux arm,gic binding].
    const u32 flags = version == GuestGic::v2 ? level_high | ((1u << vm.vcpus) - 1) << 8 : level_high;
    fdt.begin_node("timer");
    fdt.property_string("compatible", "arm,armv8-timer");
    fdt.property_cells("interrupts", {ppi, ppi_timer_secure, flags, ppi, ppi_timer_el1, flags, ppi,
                                      ppi_timer_virtual, flags, ppi, ppi_timer_el2, flags});
    fdt.property_empty("always-on");
    fdt.end_node();
}

void write_amba(FdtWriter& fdt, const char* name, Range<Ipa> registers, const char* compatible, u32 interrupt,
                bool uart_clock) {
    fdt.begin_node(NodeName(name, registers.base.value).c_str());
    fdt.property_strings("compatible", {compatible, "arm,primecell"});
    fdt.property_reg("reg", registers.base.value, registers.size);
    fdt.property_cells("interrupts", {spi, interrupt, level_high});
    if (uart_clock) {
        fdt.property_cells("clocks", {phandle_clock, phandle_clock});
        fdt.property_strings("clock-names", {"uartclk", "apb_pclk"});
    } else {
        fdt.property_cells("clocks", {phandle_clock});
        fdt.property_string("clock-names", "apb_pclk");
    }
    fdt.end_node();
}

void write_devices(FdtWriter& fdt) {
    fdt.begin_node("apb-pclk");
    fdt.property_string("compatible", "fixed-clock");
    fdt.property_cells("#clock-cells", {0});
    fdt.property_cells("clock-frequency", {24'000'000});
    fdt.property_string("clock-output-names", "clk24mhz");
    fdt.property_cells("phandle", {phandle_clock});
    fdt.end_node();
    write_amba(fdt, "pl011", uart, "arm,pl011", uart_spi, true);
    write_amba(fdt, "pl031", rtc, "arm,pl031", rtc_spi, false);
}

/// The VM's own host bridge [el2/passthrough.hpp]. INTx as on QEMU's virt: slot and pin choose one of four SPIs.
void write_pci(FdtWriter& fdt, const VmConfig& vm) {
    if (vm.devices.empty()) {
        return;
    }
    const auto low = [](u64 value) { return static_cast<u32>(value); };
    const auto high = [](u64 value) { return static_cast<u32>(value >> 32); };
    constexpr u32 mem32 = 0x0200'0000, mem64 = 0x0300'0000; // phys.hi [IEEE 1275 PCI binding]
    fdt.begin_node(NodeName("pcie", pci_config.base.value).c_str());
    fdt.property_string("compatible", "pci-host-ecam-generic");
    fdt.property_string("device_type", "pci");
    fdt.property_cells("#address-cells", {3});
    fdt.property_cells("#size-cells", {2});
    fdt.property_cells("#interrupt-cells", {1});
    fdt.property_reg("reg", pci_config.base.value, pci_config.size);
    fdt.property_cells("bus-range", {0, 0});
    fdt.property_cells("linux,pci-domain", {0});
    fdt.property_cells("ranges", {mem32, 0, low(pci_mem32.base.value), 0, low(pci_mem32.base.value), 0,
                                  low(pci_mem32.size), mem64, high(pci_mem64.base.value),
                                  low(pci_mem64.base.value), high(pci_mem64.base.value),
                                  low(pci_mem64.base.value), high(pci_mem64.size), low(pci_mem64.size)});
    // DeviceIDs are RequesterIDs.
    fdt.property_cells("msi-map", {0, vm.msi == el2::MsiKind::its ? phandle_its : phandle_gic, 0, 0x1'0000});
    fdt.property_empty("dma-coherent"); // the SMMU's table says inner shareable, write-back
    fdt.property_cells("interrupt-map-mask", {0x1800, 0, 0, 7});
    u8 map[4 * 4 * 10 * 4];
    std::size_t at = 0;
    for (u32 slot = 0; slot < 4; ++slot) {
        for (u32 pin = 1; pin <= 4; ++pin) {
            const u32 line = pci_spi + ((slot + pin - 1) & 3);
            for (const u32 cell : {slot << 11, 0u, 0u, pin, phandle_gic, 0u, 0u, spi, line, level_high}) {
                for (int shift = 24; shift >= 0; shift -= 8) {
                    map[at++] = static_cast<u8>(cell >> shift);
                }
            }
        }
    }
    fdt.property("interrupt-map", std::span<const u8>(map, at));
    fdt.end_node();
}

/// Tells the lagoon driver its doorbell, its window and its peers.
void write_lagoon(FdtWriter& fdt, const VmConfig& vm, std::span<const VmConfig> all) {
    if (vm.share_with == 0 && vm.window_bytes == 0) {
        return;
    }
    fdt.begin_node("firmware");
    fdt.begin_node("lagoon");
    fdt.property_string("compatible", "atoll,lagoon");
    fdt.property_empty("dma-coherent"); // stage 2 maps shared memory write-back for CPUs and devices alike
    fdt.property_cells("interrupts", {spi, lagoon_spi, edge_rising});
    if (vm.window_bytes != 0) {
        fdt.property_cells("memory-region", {phandle_window});
    }
    fdt.property_cells("#address-cells", {1});
    fdt.property_cells("#size-cells", {0});
    for (const VmConfig& peer : all) {
        if ((vm.share_with & el2::vm_bit(peer.id)) == 0) {
            continue;
        }
        fdt.begin_node(NodeName("peer", peer.id.value).c_str());
        fdt.property_cells("reg", {peer.id.value});
        fdt.property_string("atoll,name", peer.name.view());
        fdt.end_node();
    }
    fdt.end_node();
    fdt.end_node();
}

} // namespace

Result<u32> write_guest_dt(const VmConfig& vm, std::span<const VmConfig> all, const GuestLayout& layout,
                           const GuestEntropy& entropy, GuestGic gic, std::span<u8> out) {
    FdtWriter fdt(out);
    fdt.begin_node("");
    fdt.property_string("model", "Atoll virtual machine");
    fdt.property_strings("compatible", {"atoll,vm", "linux,dummy-virt"});
    fdt.property_cells("#address-cells", {2});
    fdt.property_cells("#size-cells", {2});
    fdt.property_cells("interrupt-parent", {phandle_gic});
    fdt.begin_node("aliases");
    fdt.property_string("serial0", NodeName("/pl011", uart.base.value).c_str());
    fdt.end_node();
    write_chosen(fdt, vm, layout, entropy);
    write_memory(fdt, vm);
    write_cpus(fdt, vm);
    write_interrupts(fdt, vm, gic);
    write_devices(fdt);
    write_pci(fdt, vm);
    write_lagoon(fdt, vm, all);
    fdt.end_node();
    return fdt.finish();
}

} // namespace atl::boot
