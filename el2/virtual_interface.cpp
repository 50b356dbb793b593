// SPDX-License-Identifier: Apache-2.0
// GICV's pages in a guest's map, a trapped GICV_DIR, and GICC where that is software. Portable. [IHI0048B §4.4, §5.4]
#include "el2/virtual_interface.hpp"

#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/world.hpp"
#include "vgic/switch.hpp"

namespace atl::el2 {
namespace {

constexpr Ipa dir_page = guest_map::gicc.base + page_size;
constexpr stage2::MapAttributes registers{stage2::MemoryType::device, true, true, false};

} // namespace

Status map_virtual_interface(World& world, Vm& vm) {
    if (!vm.gic.is_v2() || vm.gic.in_software()) {
        return {};
    }
    LockGuard guard(vm.space.lock());
    if (vm.space.walk(guest_map::gicc.base).mapped) {
        return {}; // since an earlier boot
    }
    return vm.space.map(guest_map::gicc.base, world.guest_cpu_interface, page_size, registers);
}

bool access_interface(Vcpu& vcpu, Ipa ipa, bool write, unsigned size, u64& value) {
    const u64 given = value;
    if (!vcpu.vm->gic.is_v2() || !guest_map::gicc.contains(ipa, 1)) {
        return false;
    }
    value = 0;
    if (size != 4 || ipa.value % 4 != 0) {
        return true; // words only [IHI0048B §4.1.4]
    }
    if (ipa >= dir_page) {
        if (write && ipa == dir_page) { // the only register there, and write-only
            kick_vcpus(*vcpu.vm, hw::gic_dir_write(vcpu, given));
        }
    } else if (vcpu.vm->gic.in_software()) {
        const auto offset = static_cast<u32>(ipa - guest_map::gicc.base);
        const vgic::InterfaceAccess access = hw::gic_interface_access(vcpu, offset, write, given);
        kick_vcpus(*vcpu.vm, access.kick);
        value = write ? 0 : access.value;
    }
    return true;
}

} // namespace atl::el2
