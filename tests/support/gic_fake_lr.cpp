// SPDX-License-Identifier: Apache-2.0
// vgic/switch.hpp over the tests' list-register file, as vgic/switch_hw.cpp is over the real ones. No locks: tests are
// single-threaded here.
#include "tests/support/gic_fake_lr.hpp"

#include "vgic/soft_switch.hpp"

namespace atl::vgic {

using Soft = SoftSwitch<LrFile>;

VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    const bool quiet = gic.is_v2() ? Refill<LrFile>::load_quiet_sources(gic, gic.vcpu(vcpu), file)
                                   : load_quiet(gic, gic.vcpu(vcpu), file);
    if (quiet) {
        return 0;
    }
    return gic.in_software() ? Soft::load(gic, vcpu, file) : Refill(gic, vcpu, file).load();
}
VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    const bool quiet = gic.is_v2() ? Refill<LrFile>::save_quiet_sources(gic.vcpu(vcpu), file)
                                   : save_quiet(gic.vcpu(vcpu), file);
    if (quiet) {
        return 0;
    }
    return gic.in_software() ? Soft::save(gic, vcpu, file) : Refill(gic, vcpu, file).save();
}
bool load_quiet(VirtualGic& gic, VcpuGic& vcpu, LrFile& file) {
    return Refill<LrFile>::load_quiet(gic, vcpu, file);
}
bool save_quiet(VcpuGic& vcpu, LrFile& file) {
    return Refill<LrFile>::save_quiet(vcpu, file);
}
u64 relist_sgis(VcpuGic& vcpu, LrFile& file) {
    return Refill<LrFile>::relist_sgis(vcpu, file);
}
VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (gic.in_software()) {
        if (relist_sgis(gic.vcpu(vcpu), file) == 0) {
            std::abort(); // the entry tries it first: it must leave a software interface alone
        }
        return Soft::flush(gic, vcpu, file);
    }
    if (gic.is_v2() ? Refill<LrFile>::flush_sources(gic, gic.vcpu(vcpu), file)
                    : Refill<LrFile>::flush_fast(gic, gic.vcpu(vcpu), file)) {
        return 0;
    }
    return Refill(gic, vcpu, file).flush();
}
VcpuMask maintenance(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    return gic.in_software() ? 0 : Refill(gic, vcpu, file).maintenance();
}
void inject_timer(VirtualGic& gic, VcpuIndex vcpu, LrFile& file) {
    if (!Refill<LrFile>::inject_timer_fast(gic.vcpu(vcpu), file)) {
        Refill(gic, vcpu, file).inject_timer_slow();
    }
}
VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, LrFile& file, u64 value) {
    if (gic.in_software()) {
        return Soft::dir_write(gic, vcpu, file, value);
    }
    return Refill(gic, vcpu, file).dir_write(static_cast<u32>(value & 0xff'ffff));
}
InterfaceAccess interface_access(VirtualGic& gic, VcpuIndex vcpu, LrFile& file, u32 id, bool write,
                                 u64 value) {
    return Soft::access(gic, vcpu, file, id, write, value);
}

} // namespace atl::vgic
