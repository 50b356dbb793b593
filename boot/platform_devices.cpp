// SPDX-License-Identifier: Apache-2.0
// Owns: reading the devices that EL2 itself needs out of the host's tree. Does not own: driving them. Lock:
// none. Spec: Linux bindings interrupt-controller/arm,gic-v3 and arm,gic, timer/arm,arch_timer, arm/psci,
// serial/pl011, rtc/arm,pl031, iommu/arm,smmu-v3.
#include "boot/platform_parts.hpp"
#include "lib/arch/gicv2.hpp"

namespace atl::boot {
namespace {

constexpr u64 gicd_min = 64 * kib;
constexpr u64 gicr_frames_min = 128 * kib; // RD_base and SGI_base [IHI0069 12.10]

/// #interrupt-cells of the GIC: 3, or 4 with PPI partitions.
unsigned gic_cells(const PlatformReader& reader, FdtNode gic) {
    const auto cells = reader.tree.property(gic, "#interrupt-cells");
    return cells.ok() && cells->value.size() == 4 && cells->cell(0) == 4 ? 4 : 3;
}

/// Interrupt `index` of a node whose interrupt parent is the GIC; 0 when it has none there.
u32 interrupt(const PlatformReader& reader, const FdtWalk& walk, std::size_t index) {
    const unsigned cells = reader.gic_cells;
    const auto extended = reader.tree.property(walk.node(), "interrupts-extended");
    if (extended.ok()) {
        const std::size_t at = index * (cells + 1); // only lists whose every parent is the GIC are understood
        for (std::size_t k = 0; k <= at; k += cells + 1) {
            if (k + cells >= extended->cell_count() || extended->cell(k) != reader.gic_phandle) {
                return 0;
            }
        }
        return intid_of(extended->cell(at + 1), extended->cell(at + 2));
    }
    const auto list = reader.tree.property(walk.node(), "interrupts");
    const auto parent = walk.interrupt_parent();
    if (!list.ok() || !parent.ok() || *parent != reader.gic_phandle ||
        (index + 1) * cells > list->cell_count()) {
        return 0;
    }
    return intid_of(list->cell(index * cells), list->cell(index * cells + 1));
}

/// The interrupt that `interrupt-names` calls `name`.
u32 named_interrupt(const PlatformReader& reader, const FdtWalk& walk, std::string_view name) {
    const auto names = reader.tree.property(walk.node(), "interrupt-names");
    if (!names.ok() || !names->is_string_list()) {
        return 0;
    }
    FdtStrings list = names->strings();
    std::string_view text;
    for (std::size_t i = 0; list.next(text); ++i) {
        if (text == name) {
            return interrupt(reader, walk, i);
        }
    }
    return 0;
}

void read_gic_v3(PlatformReader& reader, const FdtWalk& walk) {
    HostGic gic;
    gic.kind = GicKind::v3;
    gic.its = reader.out.gic.its;
    gic.its_phandle = reader.out.gic.its_phandle;
    gic.distributor = frame(reader, walk, 0, gicd_min);
    const auto regions = reader.tree.property(walk.node(), "#redistributor-regions");
    const u64 count = regions.ok() ? regions->as_number().value_or(0) : 1;
    if (count == 0 || count > gic.redistributors.capacity()) {
        reader.refuse(walk.node(), "#redistributor-regions", "1 to {} redistributor regions are supported",
                      gic.redistributors.capacity());
        return;
    }
    for (u64 i = 0; i < count; ++i) {
        const Range<Pa> region = frame(reader, walk, 1 + i, gicr_frames_min);
        if (!region.empty()) {
            gic.redistributors.push_back(region);
        }
    }
    const auto stride = reader.tree.property(walk.node(), "redistributor-stride");
    gic.redistributor_stride = stride.ok() ? stride->as_number().value_or(1) : 0;
    if (gic.redistributor_stride % (64 * kib) != 0) {
        reader.refuse(walk.node(), "redistributor-stride", "it is no multiple of 64 KiB");
        return;
    }
    if (gic.distributor.empty() || gic.redistributors.empty()) {
        reader.refuse(walk.node(), "reg",
                      "a GICv3 needs a distributor and at least one redistributor region");
        return;
    }
    reader.out.gic = gic;
}

void read_gic_v2(PlatformReader& reader, const FdtWalk& walk) {
    HostGic gic;
    gic.kind = GicKind::v2;
    gic.distributor = frame(reader, walk, 0, page_size);
    gic.cpu_interface = frame(reader, walk, 1, page_size);
    const auto count = walk.reg_count();
    if (count.ok() && *count >= 4) {
        gic.hypervisor_interface = frame(reader, walk, 2, page_size);
        gic.vcpu_interface = frame(reader, walk, 3, page_size);
    }
    reader.out.gic = gic;
}

void read_timer(PlatformReader& reader, const FdtWalk& walk) {
    HostTimer& timer = reader.out.timer;
    if (reader.tree.has(walk.node(), "interrupt-names")) {
        timer = {named_interrupt(reader, walk, "sec-phys"), named_interrupt(reader, walk, "phys"),
                 named_interrupt(reader, walk, "virt"), named_interrupt(reader, walk, "hyp-phys"),
                 named_interrupt(reader, walk, "hyp-virt")};
    } else {
        timer = {interrupt(reader, walk, 0), interrupt(reader, walk, 1), interrupt(reader, walk, 2),
                 interrupt(reader, walk, 3), interrupt(reader, walk, 4)};
    }
    if (timer.el1_virtual == 0 || timer.el2_physical == 0) {
        reader.warn(walk.node(), "interrupts", "no virtual or no EL2 timer interrupt at the GIC");
    }
}

void read_psci(PlatformReader& reader, const FdtWalk& walk) {
    const auto property = reader.tree.property(walk.node(), "method");
    const auto method = property.ok() ? property->as_string() : Result<std::string_view>(property.error());
    if (method.ok() && *method == "smc") {
        reader.out.psci = PsciConduit::smc;
    } else if (method.ok() && *method == "hvc") {
        reader.out.psci = PsciConduit::hvc;
    } else {
        reader.warn(walk.node(), "method", "neither \"smc\" nor \"hvc\": PSCI is not used");
    }
}

void read_pl011(PlatformReader& reader, const FdtWalk& walk) {
    const bool chosen = walk.node() == reader.stdout_node;
    if (!reader.out.console.registers.empty() && !chosen) {
        return;
    }
    const Range<Pa> registers = frame(reader, walk, 0, page_size);
    if (!registers.empty()) {
        reader.out.console = {registers, interrupt(reader, walk, 0), chosen};
    }
}

void read_smmu(PlatformReader& reader, const FdtWalk& walk) {
    if (!reader.out.smmu.registers.empty()) {
        reader.warn(walk.node(), "", "a second SMMUv3: not used");
        return;
    }
    HostSmmu& smmu = reader.out.smmu;
    smmu.registers = frame(reader, walk, 0, 128 * kib); // pages 0 and 1 [IHI0070 6.1]
    smmu.phandle = reader.tree.phandle(walk.node());
    smmu.event_intid = named_interrupt(reader, walk, "eventq");
    smmu.priority_intid = named_interrupt(reader, walk, "priq");
    smmu.sync_intid = named_interrupt(reader, walk, "cmdq-sync");
    smmu.error_intid = named_interrupt(reader, walk, "gerror");
}

} // namespace

const char* refusal(const HostGic& gic) {
    if (gic.kind == GicKind::none) {
        return "the host's device tree names no interrupt controller that Atoll knows (GICv2 or GICv3)";
    }
    if (gic.kind == GicKind::v3) {
        return nullptr;
    }
    if (gic.hypervisor_interface.empty() || gic.vcpu_interface.empty()) {
        return "this machine's GICv2 has no virtualization extensions (GICH and GICV) in its device tree";
    }
    if (gic.cpu_interface.size < gic::gicc::frame_size || gic.vcpu_interface.size < gic::gicc::frame_size) {
        return "this machine's GICv2 has CPU interfaces of less than 8 KiB in its device tree: GICC_DIR is "
               "missing";
    }
    return nullptr;
}

u32 intid_of(u32 type, u32 number) {
    if (type == 0 && number < 988) {
        return number + 32; // SPI
    }
    if (type == 1 && number < 16) {
        return number + 16; // PPI
    }
    if (type == 2 && number < 1024) {
        return number + 4096; // extended SPI
    }
    if (type == 3 && number < 64) {
        return number + 1056; // extended PPI
    }
    return 0;
}

Range<Pa> frame(PlatformReader& reader, const FdtWalk& walk, std::size_t index, u64 least) {
    const auto range = walk.reg(index);
    if (range.ok() && range->size >= least && range->end().value <= host_pa_limit &&
        range->base.is_aligned(page_size)) {
        return *range;
    }
    reader.warn(walk.node(), "reg",
                "entry {} is no page-aligned register frame of at least {:x} bytes: not used", index, least);
    return {};
}

void read_interrupt_controller(PlatformReader& reader, const FdtWalk& walk) {
    const FdtView& tree = reader.tree;
    const auto compatible = tree.property(walk.node(), "compatible");
    if (!compatible.ok()) {
        return;
    }
    if (compatible->has_string("arm,gic-v3-its")) {
        if (reader.out.gic.its.empty()) {
            reader.out.gic.its =
                frame(reader, walk, 0, 128 * kib); // GITS control and translation [IHI0069 12.18]
            reader.out.gic.its_phandle = tree.phandle(walk.node());
        }
        return;
    }
    const bool v3 = compatible->has_string("arm,gic-v3");
    const bool v2 = compatible->has_string("arm,cortex-a15-gic") || compatible->has_string("arm,gic-400") ||
                    compatible->has_string("arm,cortex-a7-gic");
    if (!v3 && !v2) {
        return;
    }
    if (reader.out.gic.kind != GicKind::none) {
        reader.warn(walk.node(), "compatible", "a second interrupt controller: not used");
        return;
    }
    reader.gic_phandle = tree.phandle(walk.node());
    reader.gic_cells = gic_cells(reader, walk.node());
    const auto address_cells = tree.property(walk.node(), "#address-cells");
    reader.gic_address_cells =
        address_cells.ok() ? static_cast<unsigned>(address_cells->as_number().value_or(0) & 3) : 0;
    if (v3) {
        read_gic_v3(reader, walk);
    } else {
        read_gic_v2(reader, walk);
    }
    // The GIC's own interrupt is the maintenance interrupt. Its specifier has the GIC's own format.
    const auto own = tree.property(walk.node(), "interrupts");
    if (own.ok() && own->cell_count() >= 2) {
        reader.out.gic.maintenance_intid = intid_of(own->cell(0), own->cell(1));
    }
}

void read_device(PlatformReader& reader, const FdtWalk& walk) {
    const auto compatible = reader.tree.property(walk.node(), "compatible");
    if (!compatible.ok()) {
        return;
    }
    if (compatible->has_string("arm,pl011")) {
        read_pl011(reader, walk);
    } else if (compatible->has_string("arm,armv8-timer")) {
        read_timer(reader, walk);
    } else if (compatible->has_string("arm,psci-1.0") || compatible->has_string("arm,psci-0.2")) {
        read_psci(reader, walk);
    } else if (compatible->has_string("arm,pl031")) {
        if (reader.out.rtc.empty()) {
            reader.out.rtc = frame(reader, walk, 0, page_size);
        }
    } else if (compatible->has_string("arm,smmu-v3")) {
        read_smmu(reader, walk);
    } else if (compatible->has_string("pci-host-ecam-generic")) {
        read_pci(reader, walk);
    } else if (walk.node() == reader.stdout_node) {
        reader.warn(walk.node(), "compatible",
                    "the console of /chosen is no PL011: Atoll cannot print there");
    }
}

} // namespace atl::boot
