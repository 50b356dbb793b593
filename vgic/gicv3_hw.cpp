// SPDX-License-Identifier: Apache-2.0
// The physical GICv3: bring-up and per-interrupt configuration. The CPU interface's hot accessors are in the
// header. Locks: none (see the header). Register accesses are single-copy atomic stores to device memory of
// the direct map. Spec: [IHI0069 §3, §4, §12.8 to §12.11].
#include "lib/arch/its.hpp"
#include "vgic/frame_hw.hpp"
#include "vgic/gic_hw.hpp"
#include "vgic/its.hpp"
#include "vgic/lr_file_hw.hpp"

namespace atl::vgic {
namespace {

namespace gicd = gic::gicd;
namespace gicr = gic::gicr;

} // namespace

u64 GicV3::virtual_interface_type() {
    u64 value;
    asm volatile("mrs %0, ich_vtr_el2" : "=r"(value));
    return value;
}

Status GicV3::init(const GicV3Layout& layout) {
    if (layout.distributor.size < gicd::frame_size || !layout.distributor.base.is_aligned(gicd::frame_size) ||
        layout.redistributors.empty()) {
        return Error::invalid_argument;
    }
    layout_ = layout;
    distributor_ = to_hyp_va(layout.distributor.base);
    const u64 revision = gic::Pidr2ArchRev::get(read32(distributor_, gic::pidr2));
    if (revision != 3 && revision != 4) {
        return Error::not_supported;
    }
    architecture_ = static_cast<unsigned>(revision);
    const u64 lines = gic::GicdTyper::ITLinesNumber::get(read32(distributor_, gicd::typer));
    intids_ = static_cast<u32>(32 * (lines + 1));
    if (intids_ > gic::first_special) {
        intids_ = gic::first_special;
    }

    // Firmware may have left anything: off, and quiet, before affinity routing is turned on [§3.1, §12.9
    // GICD_CTLR].
    write32(distributor_, gicd::ctlr, 0);
    ATOLL_TRY(wait_clear(distributor_, gicd::ctlr, gic::GicdCtlr::RWP::mask));
    write32(distributor_, gicd::ctlr, gic::GicdCtlr::ARE::mask);
    ATOLL_TRY(wait_clear(distributor_, gicd::ctlr, gic::GicdCtlr::RWP::mask));
    for (u32 first = gic::first_spi; first < intids_; first += 32) {
        const u64 word = first / 8;
        write32(distributor_, gicd::icenabler + word, ~u32{0});
        write32(distributor_, gicd::icpendr + word, ~u32{0});
        write32(distributor_, gicd::icactiver + word, ~u32{0});
        write32(distributor_, gicd::igroupr + word, ~u32{0});
        write32(distributor_, gicd::igrpmodr + word, 0);
        write32(distributor_, gicd::icfgr + u64{first} / 4, 0);
        write32(distributor_, gicd::icfgr + u64{first} / 4 + 4, 0);
        for (u32 i = 0; i < 32; i += 4) {
            write32(distributor_, gicd::ipriorityr + first + i, host_priority * 0x0101'0101u);
        }
    }
    ATOLL_TRY(wait_clear(distributor_, gicd::ctlr, gic::GicdCtlr::RWP::mask));
    // Bit 1 is EnableGrp1A in the Non-secure view and EnableGrp1 when there is one security state.
    write32(distributor_, gicd::ctlr, gic::GicdCtlr::ARE::mask | gic::GicdCtlr::EnableGrp1::mask);
    return wait_clear(distributor_, gicd::ctlr, gic::GicdCtlr::RWP::mask);
}

/// Walks each region's frames up to the one marked Last, never past the region's end.
Result<HypVa> GicV3::find_redistributor(Mpidr mpidr) const {
    const u64 affinity = (mpidr.value & 0xff'ffff) | ((mpidr.value >> 8) & 0xff00'0000);
    for (const Range<Pa>& region : layout_.redistributors) {
        u64 offset = 0;
        while (region.contains(region.base + offset, gicr::frame_size)) {
            const HypVa frame = to_hyp_va(region.base + offset);
            const u64 revision = gic::Pidr2ArchRev::get(read32(frame, gic::pidr2));
            if (revision != 3 && revision != 4) {
                break; // nothing there: reading on would read some other device
            }
            const u64 typer = read64(frame, gicr::typer);
            if (gic::GicrTyper::Affinity::get(typer) == affinity) {
                return frame;
            }
            if (gic::GicrTyper::Last::test(typer)) {
                break;
            }
            offset += layout_.stride != 0                  ? layout_.stride
                      : gic::GicrTyper::VLPIS::test(typer) ? gicr::frame_size_vlpi
                                                           : gicr::frame_size;
        }
    }
    return Error::not_found;
}

Status GicV3::init_redistributor(HypVa frame) const {
    // Wake it: no interrupt reaches a CPU whose redistributor sleeps [§12.11 GICR_WAKER].
    const u32 waker = read32(frame, gicr::waker);
    write32(frame, gicr::waker, waker & ~static_cast<u32>(gic::GicrWaker::ProcessorSleep::mask));
    ATOLL_TRY(wait_clear(frame, gicr::waker, gic::GicrWaker::ChildrenAsleep::mask));
    write32(frame, gicr::icenabler0, ~u32{0});
    write32(frame, gicr::icpendr0, ~u32{0});
    write32(frame, gicr::icactiver0, ~u32{0});
    write32(frame, gicr::igroupr0, ~u32{0});
    write32(frame, gicr::igrpmodr0, 0);
    for (u32 i = 0; i < 32; i += 4) {
        write32(frame, gicr::ipriorityr + i, host_priority * 0x0101'0101u);
    }
    return wait_clear(frame, gicr::ctlr, gic::GicrCtlr::RWP::mask);
}

Status GicV3::init_cpu(PcpuIndex cpu, Mpidr mpidr) {
    if (cpu.value >= max_pcpus) {
        return Error::invalid_argument;
    }
    const Result<HypVa> frame = find_redistributor(mpidr);
    if (!frame) {
        return frame.error();
    }
    // System registers for EL2; no IRQ or FIQ bypass. Enable = 0: EL1's view of ICC_SRE_EL1 traps, so that no
    // guest turns system registers off for the next one [§12.2 ICC_SRE_EL2].
    asm volatile("msr icc_sre_el2, %0\n isb" ::"r"(u64{0x7}));
    u64 sre;
    asm volatile("mrs %0, icc_sre_el2" : "=r"(sre));
    if ((sre & 1) == 0) {
        return Error::not_supported; // EL3 keeps the CPU interface to itself
    }
    asm volatile("msr icc_sre_el1, %0\n isb" ::"r"(u64{7}));
    ATOLL_TRY(init_redistributor(*frame));

    mpidrs_[cpu.value] = mpidr;
    LrFile& file = files_[cpu.value];
    const u64 v = virtual_interface_type();
    file.redistributor_ = *frame;
    file.count_ = static_cast<u8>(gic::IchVtr::ListRegs::get(v) + 1);
    file.priority_bits_ = static_cast<u8>(gic::IchVtr::PRIbits::get(v) + 1);
    file.preemption_bits_ = static_cast<u8>(gic::IchVtr::PREbits::get(v) + 1);
    file.takes_vlpis_ = !gic::IchVtr::nV4::test(v);
    file.hcr_on_ = gic::IchHcr::En::mask | (gic::IchVtr::TDS::test(v) ? gic::IchHcr::TDIR::mask : 0);
    if (file.count_ > gic::max_list_registers || file.preemption_bits_ < 5) {
        return Error::not_supported; // reserved values
    }
    LrFile::set_hcr(0);
    LrFile::set_vmcr(0);
    for (unsigned slot = 0; slot < file.count_; ++slot) {
        LrFile::write(slot, 0);
    }
    file.restore_active(CpuInterface{});

    // EOImode = 1: EL2 drops priority when it has taken an interrupt, the guest's EOI (or EL2) deactivates
    // [§4.3].
    asm volatile("msr icc_pmr_el1, %0" ::"r"(u64{0xff}));
    asm volatile("msr icc_bpr1_el1, %0" ::"r"(u64{0}));
    asm volatile("msr icc_ctlr_el1, %0" ::"r"(u64{2}));
    asm volatile("isb");
    // Active priorities that firmware or a previous kernel left would mask ours for ever; one register per 32
    // levels.
    asm volatile("msr icc_ap1r0_el1, xzr");
    if (file.preemption_bits_ > 5) {
        asm volatile("msr icc_ap1r1_el1, xzr");
    }
    asm volatile("msr icc_igrpen1_el1, %0\n isb" ::"r"(u64{1}));
    return {};
}

/// [§12.11 GICR_CTLR.EnableLPIs, GICR_PROPBASER, GICR_PENDBASER; §5.1.1 LPI tables]
Status GicV3::enable_lpis(PcpuIndex cpu, Pa configuration, Pa pending, bool coherent) {
    const HypVa frame = files_[cpu.value].redistributor_;
    if (!gic::GicrTyper::PLPIS::test(read64(frame, gicr::typer))) {
        return Error::not_supported;
    }
    constexpr auto enable = static_cast<u32>(gic::GicrCtlr::EnableLPIs::mask);
    write32(frame, gicr::ctlr, read32(frame, gicr::ctlr) & ~enable);
    ATOLL_TRY(wait_clear(frame, gicr::ctlr, gic::GicrCtlr::RWP::mask));
    if ((read32(frame, gicr::ctlr) & enable) != 0) {
        return Error::not_supported; // once set it may be fixed, and the tables with it
    }
    const u64 shareability = coherent ? gic::shareability_inner : 0;
    const u64 cache = coherent ? gic::cache_write_back : 1;
    write64(frame, gicr::propbaser,
            gic::GicrPropbaser::IDbits::of(lpi_id_bits - 1) | gic::GicrPropbaser::InnerCache::of(cache) |
                gic::GicrPropbaser::Shareability::of(shareability) |
                (configuration.value & gic::GicrPropbaser::Physical_Address::mask));
    write64(frame, gicr::pendbaser,
            gic::GicrPendbaser::PTZ::mask | gic::GicrPendbaser::InnerCache::of(cache) |
                gic::GicrPendbaser::Shareability::of(shareability) |
                (pending.value & gic::GicrPendbaser::Physical_Address::mask));
    const bool snoops = gic::GicrPropbaser::Shareability::test(read64(frame, gicr::propbaser));
    if (coherent && !snoops) {
        return Error::
            not_supported; // the ITS snoops and the redistributor does not: no such machine is known
    }
    write32(frame, gicr::ctlr, read32(frame, gicr::ctlr) | enable);
    // Enabled before the first MAPC names this redistributor.
    asm volatile("dsb sy" ::: "memory");
    return {};
}

std::string_view GicV3::why_no_vlpis(PcpuIndex cpu) const {
    const LrFile& file = files_[cpu.value];
    const u64 typer = read64(file.redistributor_, gicr::typer);
    return !gic::GicrTyper::VLPIS::test(typer)   ? "a redistributor has no virtual LPIs (GICv3)"
           : gic::GicrTyper::RVPEID::test(typer) ? "a redistributor is GICv4.1, whose vPE tables are not used"
           : !file.takes_vlpis_                  ? "a CPU interface takes none (ICH_VTR_EL2.nV4)"
                                                 : "";
}

Pa GicV3::vlpi_frame(PcpuIndex cpu) const {
    return direct_map_pa(files_[cpu.value].redistributor_) + gic::gicr_vlpi::frame;
}

u64 GicV3::its_target(PcpuIndex cpu, bool by_address) const {
    const HypVa frame = files_[cpu.value].redistributor_;
    return by_address ? direct_map_pa(frame).value
                      : gic::GicrTyper::ProcessorNumber::get(read64(frame, gicr::typer)) << 16;
}

HypVa GicV3::frame_of(PcpuIndex cpu, Intid intid) const {
    if (intid.value >= gic::first_spi) {
        return distributor_;
    }
    const HypVa redistributor = cpu.value < max_pcpus ? files_[cpu.value].redistributor_ : HypVa{};
    return redistributor.value == 0 ? HypVa{} : redistributor + gicr::sgi_base;
}

/// Until its disabled interrupts cannot fire any more [§12.9 GICD_CTLR.RWP, §12.11 GICR_CTLR.RWP].
Status GicV3::wait_for_writes(PcpuIndex cpu, Intid intid) const {
    if (intid.value < gic::first_spi) {
        return wait_clear(files_[cpu.value].redistributor_, gicr::ctlr, gic::GicrCtlr::RWP::mask);
    }
    return wait_clear(distributor_, gicd::ctlr, gic::GicdCtlr::RWP::mask);
}

void GicV3::route(Intid spi, PcpuIndex target) {
    write64(distributor_, gicd::irouter + 8 * u64{spi.value}, mpidrs_[target.value].value & Mpidr::mask);
}

u64 GicV3::sgi_value(PcpuIndex cpu, u8 sgi) const {
    using R = gic::IccSgir;
    const Mpidr target = mpidrs_[cpu.value];
    const u64 aff0 = target.value & 0xff;
    return R::Aff3::of(target.value >> 32) | R::Aff2::of(target.value >> 16) |
           R::Aff1::of(target.value >> 8) | R::RS::of(aff0 >> 4) | R::INTID::of(sgi) |
           R::TargetList::of(u64{1} << (aff0 & 15));
}

/// The read back makes the write complete; then the redistributor's state is ordered before the guest's EOI.
void LrFile::hold(u16 pintid) const {
    const HypVa sgi_frame = redistributor_ + gicr::sgi_base;
    write32(sgi_frame, gicd::isactiver, 1u << (pintid % 32));
    static_cast<void>(read32(sgi_frame, gicd::isactiver));
    asm volatile("dsb sy" ::: "memory");
}

} // namespace atl::vgic
