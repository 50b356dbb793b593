// SPDX-License-Identifier: Apache-2.0
// vgic/switch.hpp over the real list registers: Refill<LrFile>, one instance of the code, everything inlined. On a machine
// with GICv2, and for a VM whose CPU interface is software, other instances do it (switch_v2_hw.cpp, switch_soft_hw.cpp): where
// a call may come there, it looks whether it is one of them. The short ways find nothing of theirs then and return:
// VcpuGic::quiet and timer_lr are never set, and SGIs are not in the low bits of `work` or `long_way` is set.
// Locks: as in refill.hpp. Spec: [IHI0069 §6, §12.4].
#include "vgic/gicv2_hw.hpp"
#include "vgic/lr_file_hw.hpp"
#include "vgic/refill.hpp"
#include "vgic/soft_file_hw.hpp"

namespace atl::vgic {

VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (gic.listed_elsewhere()) [[unlikely]] {
        return gic.in_software() ? soft::load(gic, vcpu, *file.software())
                                 : v2::load(gic, vcpu, *file.gicv2());
    }
    return Refill(gic, vcpu, file).load();
}

VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (gic.listed_elsewhere()) [[unlikely]] {
        return gic.in_software() ? soft::save(gic, vcpu, *file.software())
                                 : v2::save(gic, vcpu, *file.gicv2());
    }
    return Refill(gic, vcpu, file).save();
}

bool load_quiet(VirtualGic& gic, VcpuGic& vcpu, LrFile& file) {
    return Refill<LrFile>::load_quiet(gic, vcpu, file);
}

bool save_quiet(VcpuGic& vcpu, LrFile& file) {
    return Refill<LrFile>::save_quiet(vcpu, file);
}

VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (gic.listed_elsewhere()) [[unlikely]] {
        return gic.in_software() ? soft::flush(gic, vcpu, *file.software())
                                 : v2::flush(gic, vcpu, *file.gicv2());
    }
    if (Refill<LrFile>::flush_sgis(gic, gic.vcpu(vcpu), file)) {
        return 0;
    }
    return Refill(gic, vcpu, file).flush();
}

u64 relist_sgis(VcpuGic& vcpu, LrFile& file) {
    return Refill<LrFile>::relist_sgis(vcpu, file);
}

VcpuMask maintenance(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (gic.listed_elsewhere()) [[unlikely]] {
        // Software's conditions raise no interrupt: it has been withdrawn since.
        return gic.in_software() ? 0 : v2::maintenance(gic, vcpu, *file.gicv2());
    }
    const VcpuMask mask = Refill(gic, vcpu, file).maintenance();
    // The new list registers take effect before the caller deactivates the maintenance interrupt, which is
    // level sensitive and would otherwise be pending once more.
    asm volatile("isb" ::: "memory");
    return mask;
}

[[gnu::noinline]] static void inject_timer_slow(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (gic.in_software()) {
        return soft::inject_timer(gic, vcpu, *file.software());
    }
    Refill(gic, vcpu, file).inject_timer_slow();
}

void inject_timer(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (!Refill<LrFile>::inject_timer_fast(gic.vcpu(vcpu), file)) [[unlikely]] {
        inject_timer_slow(gic, vcpu, file);
    }
}

VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, LrFile& file, u64 value) {
    if (gic.listed_elsewhere()) [[unlikely]] {
        return gic.in_software() ? soft::dir_write(gic, vcpu, *file.software(), value)
                                 : v2::dir_write(gic, vcpu, *file.gicv2(), value);
    }
    return Refill(gic, vcpu, file).dir_write(static_cast<u32>(value & 0xff'ffff));
}

InterfaceAccess interface_access(VirtualGic& gic, VcpuIndex vcpu, LrFile& file, u32 id, bool write,
                                 u64 value) {
    return soft::interface_access(gic, vcpu, *file.software(), id, write, value);
}

} // namespace atl::vgic
