// SPDX-License-Identifier: Apache-2.0
// vgic/switch.hpp over a GICv2's list registers: Refill<LrFileV2>. Its SGIs carry a sender, so it has short ways of its own
// for them [vgic/refill_sources.hpp].
// Locks: as in refill.hpp. Spec: [IHI0048B §5].
#include "vgic/gicv2_hw.hpp"
#include "vgic/refill.hpp"
#include "vgic/soft_file_hw.hpp"

namespace atl::vgic::v2 {

VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file) {
    return Refill<LrFileV2>::load_quiet_sources(gic, gic.vcpu(vcpu), file) ? 0
                                                                           : Refill(gic, vcpu, file).load();
}

VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file) {
    return Refill<LrFileV2>::save_quiet_sources(gic.vcpu(vcpu), file) ? 0 : Refill(gic, vcpu, file).save();
}

VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file) {
    if (Refill<LrFileV2>::flush_sources(gic, gic.vcpu(vcpu), file)) {
        return 0;
    }
    return Refill(gic, vcpu, file).flush();
}

VcpuMask maintenance(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file) {
    const VcpuMask mask = Refill(gic, vcpu, file).maintenance();
    // The new list registers take effect before the caller deactivates the maintenance interrupt, which is level
    // sensitive and would otherwise be pending once more.
    asm volatile("dsb sy" ::: "memory");
    return mask;
}

void inject_timer(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    LrFileV2& gicv2 = *file.gicv2();
    if (Refill<LrFileV2>::inject_timer_fast(gic.vcpu(vcpu), gicv2)) [[likely]] {
        return;
    }
    if (gic.in_software()) {
        return soft::inject_timer(gic, vcpu, *file.software());
    }
    Refill(gic, vcpu, gicv2).inject_timer_slow();
}

VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file, u64 value) {
    return Refill(gic, vcpu, file).dir_write(static_cast<u32>(value & gic::v2_intid_mask));
}

} // namespace atl::vgic::v2
