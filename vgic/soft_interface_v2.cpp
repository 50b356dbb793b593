// SPDX-License-Identifier: Apache-2.0
// The virtual CPU interface in software, as a GICv2's guest sees it: GICC's frame, behind which hardware has GICV. No Security
// Extensions: both groups, and GICC_CTLR.AckCtl. GICC_DIR is not here [el2/virtual_interface.hpp]. No locks.
// Spec: [IHI0048B §4.4, §5.4], where GICV_* is said to be GICC_*.
#include "lib/arch/gicv2.hpp"
#include "vgic/soft_interface.hpp"

namespace atl::vgic {
namespace {

namespace gicc = gic::gicc;
constexpr u32 other_group = 1022;
/// What both have at the same place: EnableGrp0, EnableGrp1, AckCtl, FIQEn, CBPR, EOImode.
constexpr u64 ctlr_mask = gic::IchVmcr::VENG0::mask | gic::IchVmcr::VENG1::mask |
                          gic::IchVmcr::VAckCtl::mask | gic::IchVmcr::VFIQEn::mask |
                          gic::IchVmcr::VCBPR::mask | gic::IchVmcr::VEOIM::mask;

} // namespace

/// GICC_IAR or GICC_HPPIR [§4.4.4, §4.4.7]: Group 1's only with AckCtl; without it, that there is one.
u32 SoftInterface::either_group(bool take) {
    const u32 of_group0 = take ? acknowledge(false) : highest_pending(false);
    if (of_group0 != spurious) {
        return of_group0;
    }
    if (!Vmcr::VAckCtl::test(vmcr_)) {
        const u32 waits = take ? offered(true) : highest_pending(true);
        return waits != spurious ? other_group : spurious;
    }
    return take ? acknowledge(true) : highest_pending(true);
}

u32 SoftInterface::read_frame(u64 offset) {
    switch (offset) {
    case gicc::ctlr:
        return static_cast<u32>(vmcr_ & ctlr_mask);
    case gicc::pmr:
        return static_cast<u32>(Vmcr::VPMR::get(vmcr_));
    case gicc::bpr:
        return static_cast<u32>(Vmcr::VBPR0::get(vmcr_));
    case gicc::abpr:
        return static_cast<u32>(Vmcr::VBPR1::get(vmcr_));
    case gicc::iar:
        return either_group(true);
    case gicc::hppir:
        return either_group(false);
    case gicc::aiar:
        return acknowledge(true);
    case gicc::ahppir:
        return highest_pending(true);
    case gicc::rpr:
        return running_priority() == idle_priority ? 0xff : running_priority();
    case gicc::apr:
        return active_[0][0];
    case gicc::iidr:
        return gic::gicc_iidr_v2;
    default:
        return 0;
    }
}

void SoftInterface::write_frame(u64 offset, u32 value) {
    switch (offset) {
    case gicc::ctlr:
        set_vmcr((vmcr_ & ~ctlr_mask) | (value & ctlr_mask));
        break;
    case gicc::pmr:
        set_vmcr(Vmcr::VPMR::set(vmcr_, value));
        break;
    case gicc::bpr:
        set_vmcr(Vmcr::VBPR0::set(vmcr_, value));
        break;
    case gicc::abpr:
        set_vmcr(Vmcr::VBPR1::set(vmcr_, value));
        break;
    case gicc::eoir:
    case gicc::aeoir:
        end(value, offset == gicc::aeoir);
        break;
    case gicc::apr:
        active_[0][0] = value;
        break;
    default:
        break;
    }
}

} // namespace atl::vgic
