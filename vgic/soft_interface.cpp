// SPDX-License-Identifier: Apache-2.0
// The virtual CPU interface in software: see vgic/soft_interface.hpp. No locks.
// Spec: [IHI0069 §4.8 prioritization, §12.3 ICV_*, §12.4 ICH_MISR_EL2]; [IHI0048B §5.3, §5.4].
#include "vgic/soft_interface.hpp"

#include <bit>
#include <initializer_list>

#include "lib/arch/gicv2.hpp"
#include "lib/arch/icc.hpp"
#include "lib/arch/its.hpp"

namespace atl::vgic {
namespace {

constexpr u64 state_mask = gic::IchLr::Pending::mask | gic::IchLr::Active::mask;

constexpr u32 v2_iar_mask = gic::GiccIar::INTID::mask | gic::GiccIar::CPUID::mask;

constexpr u64 larger(u64 a, u64 b) {
    return a > b ? a : b;
}

} // namespace

InterfaceShape InterfaceShape::of_vtr(u64 vtr) {
    using Vtr = gic::IchVtr;
    using Ctlr = gic::IcvCtlr;
    InterfaceShape shape;
    shape.priority_bits = static_cast<u8>(Vtr::PRIbits::get(vtr) + 1);
    shape.preemption_bits = static_cast<u8>(Vtr::PREbits::get(vtr) + 1);
    shape.ctlr =
        static_cast<u32>(Ctlr::PRIbits::of(Vtr::PRIbits::get(vtr)) | Ctlr::IDbits::of(Vtr::IDbits::get(vtr)) |
                         Ctlr::SEIS::of(Vtr::SEIS::get(vtr)) | Ctlr::A3V::of(Vtr::A3V::get(vtr)));
    return shape;
}

void SoftInterface::write(unsigned slot, u64 value) {
    lists_[slot] = value;
    const u32 bit = u32{1} << slot;
    valid_ = (value & state_mask) != 0 ? valid_ | bit : valid_ & ~bit;
    const bool ended = (value & (state_mask | Lr::HW::mask | Lr::EOI::mask)) == Lr::EOI::mask;
    eisr_ = ended ? eisr_ | bit : eisr_ & ~bit;
}

/// Binary points have a least value, priorities a least step [§12.4 ICH_VMCR_EL2].
void SoftInterface::set_vmcr(u64 value) {
    constexpr u64 computed = Vmcr::VBPR0::mask | Vmcr::VBPR1::mask | Vmcr::VPMR::mask;
    const u64 least = level_shift();
    vmcr_ = (value & ~computed) | Vmcr::VBPR0::of(larger(Vmcr::VBPR0::get(value), least - 1)) |
            Vmcr::VBPR1::of(larger(Vmcr::VBPR1::get(value), least)) |
            Vmcr::VPMR::of(Vmcr::VPMR::get(value) & (0xff00u >> shape_.priority_bits));
}

void SoftInterface::save_active(CpuInterface& cpu) const {
    cpu.level_shift = static_cast<u8>(level_shift());
    for (unsigned n = 0; n < 4; ++n) {
        cpu.ap0r[n] = active_[0][n];
        cpu.ap1r[n] = active_[1][n];
    }
}

void SoftInterface::restore_active(const CpuInterface& cpu) {
    for (unsigned n = 0; n < 4; ++n) {
        active_[0][n] = cpu.ap0r[n];
        active_[1][n] = cpu.ap1r[n];
    }
}

/// Group 0 compares bits 7..b+1, Group 1 bits 7..b unless it shares Group 0's binary point [§4.8.2].
u32 SoftInterface::group_priority(u64 lr) const {
    auto point = static_cast<unsigned>(Vmcr::VBPR0::get(vmcr_)) + 1;
    if (Lr::Group::test(lr) && !Vmcr::VCBPR::test(vmcr_)) {
        point = static_cast<unsigned>(Vmcr::VBPR1::get(vmcr_));
    }
    return static_cast<u32>(Lr::Priority::get(lr) & (0xffu << larger(point, level_shift())) & 0xff);
}

u32 SoftInterface::running_priority() const {
    for (unsigned n = 0; n < active_words(); ++n) {
        if (const u32 levels = active_[0][n] | active_[1][n]; levels != 0) {
            return (32 * n + static_cast<u32>(std::countr_zero(levels))) << level_shift();
        }
    }
    return idle_priority;
}

u32 SoftInterface::iar_of(u64 lr) const {
    const bool has_sender = shape_.gicv2 && !Lr::HW::test(lr);
    return static_cast<u32>(Lr::VINTID::get(lr) |
                            (has_sender ? gic::GiccIar::CPUID::of(gic::LrSource::get(lr)) : 0));
}

/// The most urgent one that pends and whose group is on; of equals that in the lowest list register.
int SoftInterface::most_urgent() const {
    int found = none;
    if (!Hcr::En::test(hcr_)) {
        return none;
    }
    for (u32 valid = valid_; valid != 0; valid &= valid - 1) {
        const int i = std::countr_zero(valid);
        const u64 lr = lists_[i];
        if ((lr & state_mask) == Lr::Pending::mask && enabled(lr) &&
            (found == none || Lr::Priority::get(lr) < Lr::Priority::get(lists_[found]))) {
            found = i;
        }
    }
    return found;
}

/// The same, if the mask lets it through and it preempts what runs [§4.8.5, §4.8.6].
int SoftInterface::signalled() const {
    const int i = most_urgent();
    return i != none && Lr::Priority::get(lists_[i]) < Vmcr::VPMR::get(vmcr_) &&
                   group_priority(lists_[i]) < running_priority()
               ? i
               : none;
}

u32 SoftInterface::offered(bool group1) const {
    const int i = signalled();
    return i == none || Lr::Group::test(lists_[i]) != group1 ? spurious : iar_of(lists_[i]);
}

u32 SoftInterface::highest_pending(bool group1) const {
    const int i = most_urgent();
    return i == none || Lr::Group::test(lists_[i]) != group1 ? spurious : iar_of(lists_[i]);
}

VirtualLines SoftInterface::lines() const {
    const int i = signalled();
    if (i == none) {
        return {};
    }
    const bool fiq = !Lr::Group::test(lists_[i]) && Vmcr::VFIQEn::test(vmcr_);
    return {!fiq, fiq};
}

u32 SoftInterface::acknowledge(bool group1) {
    const int i = signalled();
    if (i == none || Lr::Group::test(lists_[i]) != group1) {
        return spurious;
    }
    const u64 lr = lists_[i];
    const u32 level = group_priority(lr) >> level_shift();
    active_[group1 && !shape_.gicv2 ? 1 : 0][level / 32] |= u32{1} << (level % 32);
    // LPIs have no active state [§4.1.2]: only their priority is active.
    const bool lpi = Lr::VINTID::get(lr) >= gic::first_lpi;
    write(static_cast<unsigned>(i), (lr & ~state_mask) | (lpi ? 0 : Lr::Active::mask));
    return iar_of(lr);
}

/// False: no priority is active. Of a GICv3 each group's EOIR drops that group's.
bool SoftInterface::drop_priority(bool group1) {
    u32* const words = active_[group1 && !shape_.gicv2 ? 1 : 0];
    for (unsigned n = 0; n < active_words(); ++n) {
        if (words[n] != 0) {
            words[n] &= words[n] - 1;
            return true;
        }
    }
    return false;
}

void SoftInterface::end(u32 iar, bool group1) {
    iar &= shape_.gicv2 ? v2_iar_mask : 0xff'ffff;
    const u32 intid = shape_.gicv2 ? iar & gic::v2_intid_mask : iar;
    if ((intid >= gic::first_special && intid < 1024) || !drop_priority(group1) || Vmcr::VEOIM::test(vmcr_) ||
        intid >= gic::first_lpi) {
        return;
    }
    for (u32 valid = valid_; valid != 0; valid &= valid - 1) {
        const int i = std::countr_zero(valid);
        const u64 lr = lists_[i];
        if (Lr::Active::test(lr) && iar_of(lr) == iar) {
            write(static_cast<unsigned>(i), lr & ~Lr::Active::mask);
            ended_ = Lr::HW::test(lr) ? static_cast<u16>(Lr::PINTID::get(lr)) : u16{0};
            return;
        }
    }
    // Active without a list register: whose it is, is not for the interface to say.
    hcr_ = (hcr_ & ~Hcr::EOIcount::mask) | Hcr::EOIcount::of(Hcr::EOIcount::get(hcr_) + 1);
}

bool SoftInterface::none_pending() const {
    for (u32 valid = valid_; valid != 0; valid &= valid - 1) {
        if ((lists_[std::countr_zero(valid)] & state_mask) == Lr::Pending::mask) {
            return false;
        }
    }
    return true;
}

bool SoftInterface::maintenance_asserted() const {
    if (!Hcr::En::test(hcr_)) {
        return false;
    }
    const bool g0 = Vmcr::VENG0::test(vmcr_);
    const bool g1 = Vmcr::VENG1::test(vmcr_);
    return eisr_ != 0 || (Hcr::UIE::test(hcr_) && (valid_ & (valid_ - 1)) == 0) ||
           (Hcr::LRENPIE::test(hcr_) && Hcr::EOIcount::test(hcr_)) ||
           (Hcr::NPIE::test(hcr_) && none_pending()) || (Hcr::VGrp0EIE::test(hcr_) && g0) ||
           (Hcr::VGrp0DIE::test(hcr_) && !g0) || (Hcr::VGrp1EIE::test(hcr_) && g1) ||
           (Hcr::VGrp1DIE::test(hcr_) && !g1);
}

/// ICV_AP0R<n>_EL1, ICV_AP1R<n>_EL1: one for each 32 levels of preemption [§12.3]. nullptr: another register, or none.
u32* SoftInterface::active_word(u32 id) {
    for (const unsigned group : {0u, 1u}) {
        const u32 n = id - (group == 0 ? gic::icc::ap0r0 : gic::icc::ap1r0);
        if (n < active_words()) {
            return &active_[group][n];
        }
    }
    return nullptr;
}

bool SoftInterface::read_register(u32 id, u64& value) {
    namespace icc = gic::icc;
    if (shape_.gicv2) {
        value = read_frame(id);
        return true;
    }
    switch (id) {
    case icc::pmr:
        value = Vmcr::VPMR::get(vmcr_);
        return true;
    case icc::iar0:
    case icc::iar1:
        value = acknowledge(id == icc::iar1);
        return true;
    case icc::hppir0:
    case icc::hppir1:
        value = highest_pending(id == icc::hppir1);
        return true;
    case icc::rpr:
        value = running_priority() == idle_priority ? 0xff : running_priority();
        return true;
    case icc::bpr0:
        value = Vmcr::VBPR0::get(vmcr_);
        return true;
    case icc::bpr1: // shared: Group 0's, as Group 1 counts
        value = !Vmcr::VCBPR::test(vmcr_)          ? Vmcr::VBPR1::get(vmcr_)
                : Vmcr::VBPR0::get(vmcr_) + 1 <= 7 ? Vmcr::VBPR0::get(vmcr_) + 1
                                                   : 7;
        return true;
    case icc::ctlr:
        value = shape_.ctlr | gic::IcvCtlr::CBPR::of(Vmcr::VCBPR::get(vmcr_)) |
                gic::IcvCtlr::EOImode::of(Vmcr::VEOIM::get(vmcr_));
        return true;
    case icc::igrpen0:
        value = Vmcr::VENG0::get(vmcr_);
        return true;
    case icc::igrpen1:
        value = Vmcr::VENG1::get(vmcr_);
        return true;
    default:
        break;
    }
    const u32* const word = active_word(id);
    if (word != nullptr) {
        value = *word;
    }
    return word != nullptr;
}

bool SoftInterface::write_register(u32 id, u64 value) {
    namespace icc = gic::icc;
    if (shape_.gicv2) {
        write_frame(id, static_cast<u32>(value));
        return true;
    }
    const auto change = [this](u64 mask, u64 bits) { set_vmcr((vmcr_ & ~mask) | (bits & mask)); };
    switch (id) {
    case icc::pmr:
        change(Vmcr::VPMR::mask, Vmcr::VPMR::of(value));
        return true;
    case icc::eoir0:
    case icc::eoir1:
        end(static_cast<u32>(value), id == icc::eoir1);
        return true;
    case icc::bpr0:
        change(Vmcr::VBPR0::mask, Vmcr::VBPR0::of(value));
        return true;
    case icc::bpr1:
        if (!Vmcr::VCBPR::test(vmcr_)) {
            change(Vmcr::VBPR1::mask, Vmcr::VBPR1::of(value));
        }
        return true;
    case icc::ctlr:
        change(Vmcr::VCBPR::mask | Vmcr::VEOIM::mask, Vmcr::VCBPR::of(gic::IcvCtlr::CBPR::get(value)) |
                                                          Vmcr::VEOIM::of(gic::IcvCtlr::EOImode::get(value)));
        return true;
    case icc::igrpen0:
        change(Vmcr::VENG0::mask, Vmcr::VENG0::of(value));
        return true;
    case icc::igrpen1:
        change(Vmcr::VENG1::mask, Vmcr::VENG1::of(value));
        return true;
    default:
        break;
    }
    u32* const word = active_word(id);
    if (word != nullptr) {
        *word = static_cast<u32>(value);
    }
    return word != nullptr;
}

} // namespace atl::vgic
