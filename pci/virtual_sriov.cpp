// SPDX-License-Identifier: Apache-2.0
// The PF's guest's view of SR-IOV, register by register: see virtual_sriov.hpp. Lock: VirtualBridge's.
// Spec: [PCIe Base §9.3.3.3 Control, §9.3.3.6 TotalVFs, §9.3.3.7 NumVFs, §9.3.3.13 System Page Size,
// §9.3.4.1 a VF's header].
#include "pci/virtual_sriov.hpp"

namespace atl::pci {

using namespace reg;

namespace {

constexpr u16 guest_control = sriov::vf_enable | sriov::vf_memory_space;
// Of the stubs, so that no driver takes one for its device: by an id that nobody has, and by a class that is none.
constexpr u32 stub_device_id = 0xffff;
constexpr u32 stub_class = 0xff00'0000; // base class FFh: does not fit in any defined class; revision 0

constexpr u32 merge(u32 old, u32 value, u32 mask) {
    return (old & ~mask) | (value & mask);
}

} // namespace

void VirtualSriov::attach(const SriovInfo& physical, unsigned function, u16 first_offset) {
    total_vfs_ = physical.enabled_vfs;
    function_ = static_cast<u8>(function);
    first_offset_ = first_offset;
    power_on();
}

void VirtualSriov::power_on() {
    control_ = 0;
    num_vfs_ = 0;
    page_size_ = sriov::page_4k;
}

u32 VirtualSriov::read(u32 at) const {
    switch (at) {
    case 0:
        return static_cast<u32>(ext::Id::of(ext_sriov) | ext::Version::of(sriov::version)); // no next one
    case sriov::control:
        return control_; // no VF migration, no ARI: Status is zero, and so are the capabilities
    case sriov::initial_vfs:
        return total_vfs_ | u32{total_vfs_} << 16; // equal where nothing migrates
    case sriov::num_vfs:
        return num_vfs_ | u32{function_} << 16; // Function Dependency Link: it depends on itself alone
    case sriov::first_vf_offset:
        return first_offset_ | u32{stride} << 16;
    case sriov::vf_device_id & ~3u:
        return stub_device_id << 16;
    case sriov::supported_page_sizes:
        return sriov::required_page_sizes;
    case sriov::system_page_size:
        return page_size_;
    default:
        return 0; // capabilities, VF BARs: a stub has none; VF migration
    }
}

void VirtualSriov::write(u32 at, u32 value, u32 mask) {
    switch (at) {
    case sriov::control:
        control_ = static_cast<u16>(merge(control_, value, mask) & guest_control);
        break;
    case sriov::num_vfs: {
        // Undefined while VF Enable is set, or above TotalVFs: ignored.
        const u32 wanted = merge(num_vfs_, value, mask) & 0xffff;
        if ((control_ & sriov::vf_enable) == 0 && wanted <= total_vfs_) {
            num_vfs_ = static_cast<u16>(wanted);
        }
        break;
    }
    case sriov::system_page_size: {
        const u32 wanted = merge(page_size_, value, mask);
        const bool one = wanted != 0 && (wanted & (wanted - 1)) == 0;
        if ((control_ & sriov::vf_enable) == 0 && one && (wanted & sriov::required_page_sizes) != 0) {
            page_size_ = wanted;
        }
        break;
    }
    default:
        break;
    }
}

bool VirtualSriov::covers(unsigned distance, unsigned vfs) const {
    return distance >= first_offset_ && distance < first_offset_ + vfs * stride &&
           (distance - first_offset_) % stride == 0;
}

bool VirtualSriov::has_stub(unsigned distance) const {
    return (control_ & sriov::vf_enable) != 0 && covers(distance, num_vfs_);
}

u32 VirtualSriov::read_stub(u32 offset) {
    switch (offset) {
    case vendor_id:
        return absent; // both ids of a VF read as ones, so that nobody finds it who does not know of it
    case revision_class:
        return stub_class;
    default:
        return 0; // header type 0, no BARs, no capabilities; writes are ignored
    }
}

} // namespace atl::pci
