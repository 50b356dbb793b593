// SPDX-License-Identifier: Apache-2.0
// GICV's pages in a guest's map, and a trapped GICV_DIR. Portable. [IHI0048B §5.4]
#include "el2/virtual_interface.hpp"

#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/world.hpp"

namespace atl::el2 {
namespace {

constexpr Ipa dir_page = guest_map::gicc.base + page_size;
constexpr stage2::MapAttributes registers{stage2::MemoryType::device, true, true, false};

} // namespace

Status map_virtual_interface(World& world, Vm& vm) {
    if (!vm.gic.is_v2()) {
        return {};
    }
    LockGuard guard(vm.space.lock());
    if (vm.space.walk(guest_map::gicc.base).mapped) {
        return {}; // since an earlier boot
    }
    return vm.space.map(guest_map::gicc.base, world.guest_cpu_interface, page_size, registers);
}

bool access_dir(Vcpu& vcpu, Ipa ipa, bool write, unsigned size, u64 value) {
    if (!vcpu.vm->gic.is_v2() || ipa < dir_page || ipa.value - dir_page.value >= page_size) {
        return false;
    }
    if (write && size == 4 && ipa == dir_page) { // the only register there, and write-only
        kick_vcpus(*vcpu.vm, hw::gic_dir_write(vcpu, value));
    }
    return true;
}

} // namespace atl::el2
