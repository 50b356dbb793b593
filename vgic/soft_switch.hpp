// SPDX-License-Identifier: Apache-2.0
// SoftSwitch<File>: vgic/switch.hpp for a VM whose CPU interface is software: Refill, and what hardware would do by itself
// after each step: the physical side of an end (HW = 1), maintenance, the guest's interrupt inputs. A template, so that the
// host tests run it. File: a SoftInterface with the rest of Refill's File, and open(), close() [from when the guest's
// accesses trap and until when] and signal(VirtualLines). Locks: as in refill.hpp. Spec: [IHI0069 §6, §12.3].
#pragma once
#include "vgic/refill.hpp"
#include "vgic/soft_interface.hpp"
#include "vgic/switch.hpp"

namespace atl::vgic {

template <class File>
struct SoftSwitch {
    static VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, File& file) {
        file.open();
        return settle(gic, vcpu, file, Refill(gic, vcpu, file).load());
    }
    static VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, File& file) {
        file.close();
        return Refill(gic, vcpu, file).save();
    }
    static VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, File& file) {
        return settle(gic, vcpu, file, Refill(gic, vcpu, file).flush());
    }
    static void inject_timer(VirtualGic& gic, VcpuIndex vcpu, File& file) {
        Refill(gic, vcpu, file).inject_timer_slow(); // the flush before the entry does the rest
    }
    static VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, File& file, u64 value) {
        const u32 mask = gic.is_v2() ? gic::v2_intid_mask : 0xff'ffff;
        return Refill(gic, vcpu, file).dir_write(static_cast<u32>(value) & mask);
    }
    static InterfaceAccess access(VirtualGic& gic, VcpuIndex vcpu, File& file, u32 id, bool write,
                                  u64 value) {
        const bool defined = write ? file.write_register(id, value) : file.read_register(id, value);
        return {defined, value, settle(gic, vcpu, file, 0)};
    }

  private:
    static VcpuMask settle(VirtualGic& gic, VcpuIndex vcpu, File& file, VcpuMask mask) {
        if (const u16 pintid = file.take_ended(); pintid != 0) {
            file.release(pintid);
        }
        if (file.maintenance_asserted()) {
            mask |= Refill(gic, vcpu, file).maintenance();
        }
        file.signal(file.lines());
        return mask;
    }
};

} // namespace atl::vgic
