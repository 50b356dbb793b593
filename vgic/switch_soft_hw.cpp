// SPDX-License-Identifier: Apache-2.0
// vgic/switch.hpp for a VM whose CPU interface is software: SoftSwitch<SoftFile>, an instance of its own, so that no other VM
// pays for it. Locks: as in refill.hpp. Spec: [DDI0487 D19.2.48 HCR_EL2], [IHI0069 §6].
#include "lib/arch/el2_regs.hpp"
#include "vgic/gicv2_hw.hpp"
#include "vgic/soft_file_hw.hpp"
#include "vgic/soft_switch.hpp"

namespace atl::vgic {

void SoftFile::signal(VirtualLines lines) {
    using namespace arch::HcrEl2;
    u64 old;
    asm volatile("mrs %0, hcr_el2" : "=r"(old));
    const u64 wanted = (old & ~(VI::mask | VF::mask)) | VI::of(lines.irq ? 1 : 0) | VF::of(lines.fiq ? 1 : 0);
    if (wanted != old) {
        asm volatile("msr hcr_el2, %0" ::"r"(wanted));
    }
}

void SoftFile::hold(u16 pintid) const {
    if (const LrFileV2* const gicv2 = hardware_->gicv2(); gicv2 != nullptr) {
        return gicv2->hold(pintid);
    }
    hardware_->hold(pintid);
}

void SoftFile::release(u16 pintid) const {
    if (const LrFileV2* const gicv2 = hardware_->gicv2(); gicv2 != nullptr) {
        return gicv2->release(pintid);
    }
    LrFile::release(pintid);
}

void SoftFile::open() const {
    if (hardware_->gicv2() == nullptr) {
        LrFile::set_hcr(Hcr::TC::mask | Hcr::TALL0::mask | Hcr::TALL1::mask);
    }
}

void SoftFile::close() const {
    signal({});
    if (hardware_->gicv2() == nullptr) {
        LrFile::set_hcr(0);
    }
}

namespace soft {

VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file) {
    return SoftSwitch<SoftFile>::load(gic, vcpu, file);
}

VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file) {
    return SoftSwitch<SoftFile>::save(gic, vcpu, file);
}

VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file) {
    return SoftSwitch<SoftFile>::flush(gic, vcpu, file);
}

void inject_timer(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file) {
    SoftSwitch<SoftFile>::inject_timer(gic, vcpu, file);
}

VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file, u64 value) {
    return SoftSwitch<SoftFile>::dir_write(gic, vcpu, file, value);
}

InterfaceAccess interface_access(VirtualGic& gic, VcpuIndex vcpu, SoftFile& file, u32 id, bool write,
                                 u64 value) {
    return SoftSwitch<SoftFile>::access(gic, vcpu, file, id, write, value);
}

} // namespace soft
} // namespace atl::vgic
