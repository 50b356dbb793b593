// SPDX-License-Identifier: Apache-2.0
// The fake list-register file's guest side, and vgic/switch.hpp over it. No locks: tests are single-threaded
// here. Spec: [IHI0069 §4.8 prioritization, §6.3, §12.3 ICV_IAR1_EL1, ICV_EOIR1_EL1, ICV_DIR_EL1, §12.4
// ICH_MISR_EL2].
#include "tests/support/gic_fake_lr.hpp"

#include "vgic/refill.hpp"

namespace atl::vgic {

u64 LrFile::group_priority(u64 priority, bool group1) const {
    unsigned point = static_cast<unsigned>(Vmcr::VBPR0::get(vmcr_)) + 1;
    if (group1 && !Vmcr::VCBPR::test(vmcr_)) {
        point = static_cast<unsigned>(Vmcr::VBPR1::get(vmcr_));
    }
    point = point < level_shift ? level_shift : point;
    return priority & (0xffu << point) & 0xff;
}

u32 LrFile::running_priority() const {
    const u32 levels = ap0 | ap1;
    return levels == 0 ? 0x100 : static_cast<u32>(std::countr_zero(levels)) << level_shift;
}

u32 LrFile::best(bool group1) const {
    if (!Hcr::En::test(hcr_)) {
        return spurious;
    }
    int found = -1;
    for (unsigned i = 0; i < count_; ++i) {
        const u64 lr = lrs[i];
        const bool enabled = Lr::Group::test(lr) ? Vmcr::VENG1::test(vmcr_) : Vmcr::VENG0::test(vmcr_);
        if (Lr::Pending::test(lr) && !Lr::Active::test(lr) && enabled &&
            (found < 0 || Lr::Priority::get(lr) < Lr::Priority::get(lrs[found]))) {
            found = static_cast<int>(i);
        }
    }
    if (found < 0 || Lr::Group::test(lrs[found]) != group1) {
        return spurious;
    }
    const u64 priority = Lr::Priority::get(lrs[found]);
    if (priority >= Vmcr::VPMR::get(vmcr_) || group_priority(priority, group1) >= running_priority()) {
        return spurious;
    }
    return iar_of(lrs[found]);
}

u32 LrFile::iar_of(u64 lr) const {
    const u64 sender = gicv2_ ? gic::GiccIar::CPUID::of(Lr::HW::test(lr) ? 0 : gic::LrSource::get(lr)) : 0;
    return static_cast<u32>(Lr::VINTID::get(lr) | sender);
}

u32 LrFile::acknowledge(bool group1) {
    const u32 intid = best(group1);
    if (intid == spurious) {
        return spurious;
    }
    for (unsigned i = 0; i < count_; ++i) {
        if (iar_of(lrs[i]) == intid && Lr::Pending::test(lrs[i])) {
            const u64 level = group_priority(Lr::Priority::get(lrs[i]), group1) >> level_shift;
            (group1 ? ap1 : ap0) |= 1u << level;
            lrs[i] = (lrs[i] & ~Lr::Pending::mask) | Lr::Active::mask;
        }
    }
    return intid;
}

int LrFile::slot_of_active(u32 intid) const {
    for (unsigned i = 0; i < count_; ++i) {
        if (iar_of(lrs[i]) == intid && Lr::Active::test(lrs[i])) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

void LrFile::deactivate(unsigned slot) {
    lrs[slot] &= ~Lr::Active::mask;
    if (Lr::HW::test(lrs[slot])) {
        if (!physical_active) {
            std::abort(); // the physical interrupt of an active HW=1 one must be held
        }
        physical_active = false;
    }
}

void LrFile::eoi(u32 intid, bool group1) {
    u32& levels = gicv2_
                      ? (ap0 != 0 && (ap1 == 0 || std::countr_zero(ap0) <= std::countr_zero(ap1)) ? ap0 : ap1)
                  : group1 ? ap1
                           : ap0;
    if (levels == 0) {
        return;
    }
    levels &= levels - 1; // drops the highest
    const bool lpi = intid >= gic::first_lpi;
    if (Vmcr::VEOIM::test(vmcr_) && !lpi) {
        return;
    }
    if (const int slot = slot_of_active(intid); slot < 0 && lpi) {
        return; // not counted [IHI0069 ICH_HCR_EL2.EOIcount]
    } else if (slot >= 0) {
        deactivate(static_cast<unsigned>(slot));
    } else {
        hcr_ += Hcr::EOIcount::of(1);
    }
}

bool LrFile::dir(u32 intid) {
    if (Hcr::TDIR::test(hcr_) || gicv2_) { // a GICv2 has no page mapped there
        return false;
    }
    if (!Vmcr::VEOIM::test(vmcr_)) {
        return true;
    }
    if (const int slot = slot_of_active(intid); slot >= 0) {
        deactivate(static_cast<unsigned>(slot));
    } else {
        hcr_ += Hcr::EOIcount::of(1);
    }
    return true;
}

u32 LrFile::eoi_slots() const {
    u32 slots = 0;
    for (unsigned i = 0; i < count_; ++i) {
        if ((lrs[i] & (Lr::Pending::mask | Lr::Active::mask | Lr::HW::mask)) == 0 && Lr::EOI::test(lrs[i])) {
            slots |= 1u << i;
        }
    }
    return slots;
}

bool LrFile::maintenance_asserted() const {
    if (!Hcr::En::test(hcr_)) {
        return false;
    }
    unsigned valid = 0;
    unsigned pending = 0;
    for (unsigned i = 0; i < count_; ++i) {
        valid += (lrs[i] & (Lr::Pending::mask | Lr::Active::mask)) != 0;
        pending += (lrs[i] & (Lr::Pending::mask | Lr::Active::mask)) == Lr::Pending::mask;
    }
    const bool g0 = Vmcr::VENG0::test(vmcr_);
    const bool g1 = Vmcr::VENG1::test(vmcr_);
    return eoi_slots() != 0 || (Hcr::UIE::test(hcr_) && valid <= 1) ||
           (Hcr::LRENPIE::test(hcr_) && Hcr::EOIcount::get(hcr_) != 0) ||
           (Hcr::NPIE::test(hcr_) && pending == 0) || (Hcr::VGrp0EIE::test(hcr_) && g0) ||
           (Hcr::VGrp0DIE::test(hcr_) && !g0) || (Hcr::VGrp1EIE::test(hcr_) && g1) ||
           (Hcr::VGrp1DIE::test(hcr_) && !g1);
}

VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    return load_quiet(gic, gic.vcpu(vcpu), file) ? 0 : Refill(gic, vcpu, file).load();
}
VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    return save_quiet(gic.vcpu(vcpu), file) ? 0 : Refill(gic, vcpu, file).save();
}
bool load_quiet(VirtualGic& gic, VcpuGic& vcpu, LrFile& file) {
    return Refill<LrFile>::load_quiet(gic, vcpu, file);
}
bool save_quiet(VcpuGic& vcpu, LrFile& file) {
    return Refill<LrFile>::save_quiet(vcpu, file);
}
VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (gic.is_v2() ? Refill<LrFile>::flush_sources(gic, gic.vcpu(vcpu), file)
                    : Refill<LrFile>::flush_fast(gic, gic.vcpu(vcpu), file)) {
        return 0;
    }
    return Refill(gic, vcpu, file).flush();
}
VcpuMask maintenance(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    return Refill(gic, vcpu, file).maintenance();
}
void inject_timer(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (!Refill<LrFile>::inject_timer_fast(gic.vcpu(vcpu), file)) {
        Refill(gic, vcpu, file).inject_timer_slow();
    }
}
VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, LrFile& file, u64 value) {
    return Refill(gic, vcpu, file).dir_write(static_cast<u32>(value & 0xff'ffff));
}

} // namespace atl::vgic
