// SPDX-License-Identifier: Apache-2.0
// The physical GICv2: bring-up, routes and SGIs. The CPU interface's hot accessors are in the header. Locks: none.
// Spec: [IHI0048B §3, §4].
#include "vgic/gicv2_hw.hpp"

#include "vgic/gic_hw.hpp"

namespace atl::vgic {
namespace {

namespace gicd = gic::gicd;
namespace gicc = gic::gicc;
namespace gich = gic::gich;
constexpr u64 page_alias_step = 0xf000; // from the first alias of page 0 to its last, next to page 1

using IidrArchitecture = Field<19, 16>; // GICC_IIDR

/// The two pages of a CPU interface, next to each other. On boards that show each 4 KiB page sixteen times, for guests
/// with 64 KiB pages, the last alias of the first one is next to the second; the identification register tells.
Range<Pa> two_pages(Range<Pa> frame) {
    if (frame.size >= gicc::aliased_size) {
        const HypVa at = to_hyp_va(frame.base);
        const u32 iidr = read32(at, gicc::iidr);
        if (iidr != 0 && iidr == read32(at, page_alias_step + gicc::iidr)) {
            return {frame.base + page_alias_step, gicc::frame_size};
        }
    }
    return {frame.base, frame.size >= gicc::frame_size ? gicc::frame_size : 0};
}

/// A CPU that has the system registers of a GICv3 all the same would offer them to guests: no such machine is known, and
/// none is taken [DDI0487 ID_AA64PFR0_EL1.GIC].
bool has_system_registers() {
    u64 features;
    asm volatile("mrs %0, id_aa64pfr0_el1" : "=r"(features));
    return Field<27, 24>::get(features) != 0;
}

} // namespace

Status GicV2::init(const GicV2Layout& layout) {
    const Range<Pa> interface = two_pages(layout.cpu_interface);
    guest_ = two_pages(layout.guest);
    if (layout.distributor.size < gicd::v2_frame_size || layout.control.size < gich::frame_size ||
        interface.empty() || guest_.empty()) {
        return Error::invalid_argument;
    }
    distributor_ = to_hyp_va(layout.distributor.base);
    cpu_interface_ = to_hyp_va(interface.base);
    control_ = to_hyp_va(layout.control.base);
    if (IidrArchitecture::get(read32(cpu_interface_, gicc::iidr)) < 2) {
        return Error::not_supported;
    }
    intids_ =
        static_cast<u32>(32 * (gic::GicdTyper::ITLinesNumber::get(read32(distributor_, gicd::typer)) + 1));
    if (intids_ > gic::first_special) {
        intids_ = gic::first_special;
    }

    // Firmware may have left anything. Groups: Group 0 where there is one security state; in the Non-secure view these
    // registers ignore writes, and everything is Group 1, which bit 0 of both control registers then means.
    const u32 everywhere = own_mask() * 0x0101'0101u;
    write32(distributor_, gicd::ctlr, 0);
    for (u32 first = gic::first_spi; first < intids_; first += 32) {
        const u64 word = first / 8;
        write32(distributor_, gicd::icenabler + word, ~u32{0});
        write32(distributor_, gicd::icpendr + word, ~u32{0});
        write32(distributor_, gicd::icactiver + word, ~u32{0});
        write32(distributor_, gicd::igroupr + word, 0);
        write32(distributor_, gicd::icfgr + u64{first} / 4, 0);
        write32(distributor_, gicd::icfgr + u64{first} / 4 + 4, 0);
        for (u32 i = 0; i < 32; i += 4) {
            write32(distributor_, gicd::ipriorityr + first + i, host_priority * 0x0101'0101u);
            write32(distributor_, gicd::itargetsr + first + i, everywhere);
        }
    }
    write32(distributor_, gicd::ctlr, 1);
    return {};
}

/// Reading GICD_ITARGETSR0 to 7 a CPU finds its own bit; with one CPU they are RAZ [IHI0048B §4.3.12].
u8 GicV2::own_mask() const {
    u32 bits = 0;
    for (u64 i = 0; i < gic::first_spi; i += 4) {
        bits |= read32(distributor_, gicd::itargetsr + i);
    }
    bits |= bits >> 16;
    bits |= bits >> 8;
    return (bits & 0xff) != 0 ? static_cast<u8>(bits) : u8{1};
}

Status GicV2::init_cpu(PcpuIndex cpu) {
    if (cpu.value >= max_pcpus) {
        return Error::invalid_argument;
    }
    if (has_system_registers()) {
        return Error::not_supported;
    }
    write32(distributor_, gicd::icenabler, ~u32{0});
    write32(distributor_, gicd::icpendr, ~u32{0}); // of PPIs; SGIs have their own:
    for (u64 i = 0; i < gic::first_ppi; i += 4) {
        write32(distributor_, gicd::cpendsgir + i, ~u32{0});
    }
    write32(distributor_, gicd::icactiver, ~u32{0});
    write32(distributor_, gicd::igroupr, 0);
    for (u32 i = 0; i < gic::first_spi; i += 4) {
        write32(distributor_, gicd::ipriorityr + i, host_priority * 0x0101'0101u);
    }

    LrFileV2& file = files_[cpu.value];
    file.control_ = control_;
    file.distributor_ = distributor_;
    file.cpu_interface_ = cpu_interface_;
    const u32 vtr = read32(control_, gich::vtr);
    const auto lists = static_cast<unsigned>(gic::GichVtr::ListRegs::get(vtr) + 1);
    file.count_ = static_cast<u8>(lists < gic::max_list_registers ? lists : gic::max_list_registers);
    file.priority_bits_ = static_cast<u8>(gic::GichVtr::PRIbits::get(vtr) + 1);
    file.preemption_bits_ = static_cast<u8>(gic::GichVtr::PREbits::get(vtr) + 1);
    if (file.priority_bits_ < 4 || file.preemption_bits_ < 4 || file.preemption_bits_ > 5) {
        return Error::not_supported; // reserved values; a fifth bit of preemption fills GICH_APR
    }
    file.set_hcr(0);
    file.set_vmcr(0);
    for (unsigned slot = 0; slot < lists; ++slot) {
        write32(control_, gich::lr0 + 4 * slot, 0);
    }
    file.restore_active(CpuInterface{});

    // Split EOI: EL2 drops priority when it has taken an interrupt, the guest's EOI (or EL2) deactivates [§3.2.1]. The
    // bypass bits stay as firmware wants them.
    constexpr u32 bypass = 0x1e0;
    const u32 kept = read32(cpu_interface_, gicc::ctlr) & bypass;
    write32(cpu_interface_, gicc::ctlr, kept);
    for (u64 i = 0; i < 16; i += 4) {
        // Active priorities that a previous kernel left would mask ours for ever.
        write32(cpu_interface_, gicc::apr + i, 0);
        write32(cpu_interface_, gicc::nsapr + i, 0);
    }
    write32(cpu_interface_, gicc::pmr, 0xff);
    write32(cpu_interface_, gicc::bpr, 0);
    constexpr auto on = static_cast<u32>(gic::GiccCtlr::Enable::mask | gic::GiccCtlr::EOImode::mask);
    write32(cpu_interface_, gicc::ctlr, kept | on);
    if ((read32(cpu_interface_, gicc::ctlr) & on) != on) {
        return Error::not_supported;
    }
    masks_[cpu.value] = own_mask();
    return {};
}

void GicV2::route(Intid spi, PcpuIndex target) const {
    write8(distributor_, gicd::itargetsr + spi.value, masks_[target.value]);
}

void GicV2::send_sgi(PcpuIndex target, u8 sgi) const {
    // Orders the stores that the target will look at before the interrupt that tells it to.
    asm volatile("dsb ishst" ::: "memory");
    write32(distributor_, gicd::sgir,
            static_cast<u32>(gic::GicdSgir::CPUTargetList::of(masks_[target.value]) |
                             gic::GicdSgir::SGIINTID::of(sgi)));
}

} // namespace atl::vgic
