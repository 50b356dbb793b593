// SPDX-License-Identifier: Apache-2.0
// Owns: reading a generic PCI host bridge out of the host's tree: configuration space, windows, who translates its DMA
// and its MSIs, where its INTx lines end. Does not own: looking at the bus (pci/). Lock: none. Spec: Linux bindings
// pci/host-generic-pci, pci/pci-iommu, pci/pci-msi; IEEE 1275 PCI bus binding §2.2.1.1 (phys.hi) and §6 (interrupt-map).
#include "boot/platform_parts.hpp"

namespace atl::boot {

Result<u32> RidMap::translate(u32 rid, u32 phandle) const {
    const u32 masked = rid & mask;
    for (const RidRange& range : ranges) {
        if (masked >= range.first && masked - range.first < range.count) {
            return range.phandle == phandle ? Result<u32>(range.target + (masked - range.first))
                                            : Result<u32>(Error::not_found);
        }
    }
    return Error::not_found;
}

namespace {

constexpr u64 bus_config_bytes = 1 * mib; // 32 devices of 8 functions of 4 KiB
constexpr u32 space_mask = 3u << 24;      // phys.hi: which address space
constexpr u32 space_io = 1, space_mem32 = 2, space_mem64 = 3;
constexpr u32 prefetchable = 1u << 30;

void read_rid_map(PlatformReader& reader, const FdtWalk& walk, const char* name, const char* mask_name,
                  RidMap& out) {
    const auto mask = reader.tree.property(walk.node(), mask_name);
    out.mask = mask.ok() ? static_cast<u32>(mask->as_number().value_or(0xffff)) : 0xffff;
    const auto map = reader.tree.property(walk.node(), name);
    if (!map.ok()) {
        return;
    }
    if (map->cell_count() % 4 != 0 || !map->is_cells()) {
        reader.warn(walk.node(), name, "its entries are not of four cells: not used");
        return;
    }
    for (std::size_t i = 0; i < map->cell_count(); i += 4) {
        const RidRange range{map->cell(i), map->cell(i + 1), map->cell(i + 2), map->cell(i + 3)};
        if (!out.ranges.push_back(range)) {
            reader.warn(walk.node(), name, "more than {} entries: the rest is not used",
                        out.ranges.capacity());
            return;
        }
    }
}

void read_windows(PlatformReader& reader, const FdtWalk& walk, HostPci& pci) {
    constexpr std::size_t entry = 3 + 2 + 2;
    const auto ranges = reader.tree.property(walk.node(), "ranges");
    if (!ranges.ok() || ranges->cell_count() % entry != 0) {
        reader.warn(walk.node(), "ranges", "its entries are not of seven cells: no window is used");
        return;
    }
    for (std::size_t i = 0; i < ranges->cell_count(); i += entry) {
        const u32 hi = ranges->cell(i);
        const PciWindow window{*ranges->number(i + 1, 2), Pa{*ranges->number(i + 3, 2)},
                               *ranges->number(i + 5, 2)};
        const u32 space = (hi & space_mask) >> 24;
        if (space == space_io || window.size == 0) {
            continue; // nothing that is passed through has to have I/O ports
        }
        const bool fits = window.cpu.value <= host_pa_limit &&
                          window.size <= host_pa_limit - window.cpu.value &&
                          window.pci + window.size > window.pci;
        if (!fits || !window.cpu.is_aligned(page_size) || window.size % page_size != 0) {
            reader.warn(walk.node(), "ranges", "the window at {:x} of {:x} bytes is not usable", window.cpu,
                        window.size);
            continue;
        }
        const bool low =
            space == space_mem32 && (hi & prefetchable) == 0 && window.pci + window.size <= 4 * gib;
        PciWindow& slot = low ? pci.mmio32 : pci.mmio64;
        if (slot.size < window.size) {
            slot = window;
        }
    }
}

/// INTx of every slot of the first bus. An entry is: child address (3), child pin (1), parent's phandle (1), parent's
/// address, parent's specifier.
void read_intx(PlatformReader& reader, const FdtWalk& walk, HostPci& pci) {
    const auto map = reader.tree.property(walk.node(), "interrupt-map");
    const auto mask = reader.tree.property(walk.node(), "interrupt-map-mask");
    if (!map.ok() || !mask.ok() || mask->cell_count() != 4) {
        return;
    }
    const std::size_t entry = 5 + reader.gic_address_cells + reader.gic_cells;
    for (std::size_t i = 0; i + entry <= map->cell_count(); i += entry) {
        if (map->cell(i + 4) != reader.gic_phandle) {
            reader.warn(walk.node(), "interrupt-map", "entry {} is not for the GIC: the rest is not used",
                        i / entry);
            return;
        }
        const std::size_t at = i + 5 + reader.gic_address_cells;
        const u32 intid = intid_of(map->cell(at), map->cell(at + 1));
        const u32 pin = map->cell(i + 3) & mask->cell(3);
        for (u32 device = 0; device < 32 && pin >= 1 && pin <= 4; ++device) {
            if (((device << 11) & mask->cell(0)) == (map->cell(i) & mask->cell(0)) && intid < 1020) {
                pci.intx[device][pin - 1] = static_cast<u16>(intid);
            }
        }
    }
}

} // namespace

void read_pci(PlatformReader& reader, const FdtWalk& walk) {
    if (!reader.out.pci.ecam.empty()) {
        reader.warn(walk.node(), "", "a second PCI host bridge: not used");
        return;
    }
    HostPci pci;
    pci.ecam = frame(reader, walk, 0, bus_config_bytes);
    const auto buses = reader.tree.property(walk.node(), "bus-range");
    u32 first = 0;
    u32 last = 0xff;
    if (buses.ok() && buses->cell_count() == 2) {
        first = buses->cell(0);
        last = buses->cell(1);
    }
    const u64 room = pci.ecam.size / bus_config_bytes;
    if (pci.ecam.empty() || first > last || last > 0xff || room == 0) {
        reader.warn(walk.node(), "bus-range", "no usable configuration space: no PCI device can be assigned");
        return;
    }
    last = last - first >= room ? first + static_cast<u32>(room) - 1 : last;
    pci.first_bus = static_cast<u8>(first);
    pci.last_bus = static_cast<u8>(last);
    const auto domain = reader.tree.property(walk.node(), "linux,pci-domain");
    pci.segment = domain.ok() ? static_cast<u16>(domain->as_number().value_or(0)) : 0;
    pci.coherent = reader.tree.has(walk.node(), "dma-coherent");
    read_windows(reader, walk, pci);
    read_rid_map(reader, walk, "iommu-map", "iommu-map-mask", pci.iommu);
    read_rid_map(reader, walk, "msi-map", "msi-map-mask", pci.msi);
    read_intx(reader, walk, pci);
    reader.out.pci = pci;
}

} // namespace atl::boot
