// SPDX-License-Identifier: Apache-2.0
// A guest's view of one function, register by register: see virtual_function.hpp. Lock: VirtualBridge's.
// Everything that is not named here reads as zero and ignores writes, the extended space included: a zero
// there says that no extended capability exists, which hides ACS, ATS and AER. A PF with VFs has one, SR-IOV, which is
// VirtualSriov's.
// Spec: [PCI 3.0 §6.1 to §6.2.5]; [PCIe Base §7 Type 0 header, extended configuration space].
#include "pci/virtual_function.hpp"

namespace atl::pci {

using namespace reg;

namespace {

constexpr u16 guest_command = cmd::memory_space | cmd::bus_master | cmd::interrupt_disable;

constexpr u32 merge(u32 old, u32 value, u32 mask) {
    return (old & ~mask) | (value & mask);
}

bool is_shown(const Function& f, const Capability& capability) {
    switch (capability.id) {
    case cap_power:
    case cap_pcie:
        return true;
    case cap_msi:
        return f.msi.vectors != 0;
    case cap_msix:
        return f.msix.entries != 0;
    case cap_vendor:
        // Where the virtio structures are: describe() has left the window into BARs (type 5) out.
        return capability.virtio_type != 0;
    default:
        return false;
    }
}

} // namespace

void VirtualFunction::attach(const Function& function, u8 devfn, bool intx, u16 first_stub) {
    f_ = &function;
    devfn_ = devfn;
    intx_ = intx && function.interrupt_pin != 0;
    shown_.clear();
    for (const Capability& capability : function.capabilities) {
        if (is_shown(function, capability)) {
            (void)shown_.push_back(capability); // as many as the source holds
        }
    }
    sriov_.attach(function.sriov, devfn & 7, first_stub);
    power_on();
}

void VirtualFunction::power_on() {
    sriov_.power_on();
    command_ = 0;
    asleep_ = false;
    interrupt_line_ = 0;
    cache_line_ = 0;
    msix_control_ = 0;
    msi_control_ = 0;
    msi_ = {};
    for (VirtualBar& bar : bars) {
        bar.address = 0;
    }
}

u16 VirtualFunction::wanted_command() const {
    u16 value = cmd::memory_space; // the guest's own bit is a mapping [docs/adr/0026]
    // Mastering early is no offence: the bit is kept, and takes effect when the stream leads to this VM.
    if ((command_ & cmd::bus_master) != 0 && attached && !asleep_) {
        value |= cmd::bus_master;
    }
    if ((command_ & cmd::interrupt_disable) != 0 || !intx_ || asleep_) {
        value |= cmd::interrupt_disable; // nobody listens to a pin that is not wired
    }
    return value;
}

std::size_t VirtualFunction::find_shown(u32 offset) const {
    std::size_t found = shown_.size();
    for (std::size_t i = 0; i < shown_.size(); ++i) {
        const Capability& c = shown_[i];
        const bool inside = offset >= c.offset && offset < u32{c.offset} + c.length;
        // Lists that overlap are a careless device's: the later start wins.
        if (inside && (found == shown_.size() || c.offset > shown_[found].offset)) {
            found = i;
        }
    }
    return found;
}

u32 VirtualFunction::read(u32 offset) const {
    if (offset < first_capability) {
        return read_header(offset);
    }
    if (sriov_.shown() && offset >= first_extended && offset < first_extended + sriov::length) {
        return sriov_.read(offset - first_extended);
    }
    const std::size_t index = offset < conventional_size ? find_shown(offset) : shown_.size();
    if (index == shown_.size()) {
        return 0;
    }
    const u32 next = index + 1 < shown_.size() ? shown_[index + 1].offset : 0;
    return read_capability(shown_[index], next, offset - shown_[index].offset);
}

VirtualFunction::Effect VirtualFunction::write(u32 offset, u32 value, u32 mask) {
    if (offset < first_capability) {
        return write_header(offset, value, mask);
    }
    if (sriov_.shown() && offset >= first_extended && offset < first_extended + sriov::length) {
        sriov_.write(offset - first_extended, value, mask);
        return {};
    }
    const std::size_t index = offset < conventional_size ? find_shown(offset) : shown_.size();
    if (index == shown_.size()) {
        return {};
    }
    return write_capability(shown_[index], offset - shown_[index].offset, value, mask);
}

u32 VirtualFunction::read_header(u32 offset) const {
    if (offset >= bar0 && offset < bar0 + 4 * type0_bars) {
        return read_bar((offset - bar0) / 4);
    }
    switch (offset) {
    case vendor_id:
        return f_->vendor | u32{f_->device} << 16; // of a VF, too: its own registers say nothing
    case command: {
        u32 state = f_->config.read16(status) & (sts::errors | sts::interrupt);
        state |= shown_.empty() ? 0u : u32{sts::capabilities};
        return command_ | state << 16;
    }
    case revision_class:
        return f_->revision_class;
    case cache_line_size:
        // Latency timer and BIST: not there. A self-test would be a device running wild.
        return cache_line_ | (multi_function ? 0x0080'0000u : 0u);
    case subsystem_vendor_id:
        return f_->subsystem_vendor | u32{f_->subsystem} << 16;
    case capabilities_pointer:
        return shown_.empty() ? 0u : u32{shown_[0].offset};
    case interrupt_line:
        return interrupt_line_ | (intx_ ? u32{f_->interrupt_pin} << 8 : 0u);
    default:
        return 0; // CardBus pointer, ROM, reserved
    }
}

VirtualFunction::Effect VirtualFunction::write_header(u32 offset, u32 value, u32 mask) {
    if (offset >= bar0 && offset < bar0 + 4 * type0_bars) {
        write_bar((offset - bar0) / 4, value, mask);
        return {true, false};
    }
    switch (offset) {
    case command: {
        command_ = static_cast<u16>(merge(command_, value, mask) & guest_command);
        const u16 clear = static_cast<u16>((value & mask) >> 16) & sts::errors;
        if (clear != 0) {
            f_->config.write16(status, clear);
        }
        return {true, false};
    }
    case cache_line_size:
        cache_line_ = static_cast<u8>(merge(cache_line_, value, mask)); // means nothing to PCI Express
        break;
    case interrupt_line:
        interrupt_line_ = static_cast<u8>(merge(interrupt_line_, value, mask)); // software's scratch
        break;
    default:
        break;
    }
    return {};
}

u32 VirtualFunction::read_bar(unsigned i) const {
    const Bar& bar = f_->bars[i];
    if (bar.kind == BarKind::upper_half) {
        return static_cast<u32>(bars[i - 1].address >> 32);
    }
    if (!bar.is_memory()) {
        return 0; // not there, and I/O space is not either
    }
    const u32 type = bar.kind == BarKind::mem64 ? bar::Type::of(bar::type_64) : 0;
    return static_cast<u32>(bars[i].address) | type | (bar.prefetchable ? bar::prefetchable : 0);
}

void VirtualFunction::write_bar(unsigned i, u32 value, u32 mask) {
    const bool upper = f_->bars[i].kind == BarKind::upper_half;
    const unsigned owner = upper ? i - 1 : i;
    const Bar& bar = f_->bars[owner];
    if (!bar.is_memory()) {
        return;
    }
    u64& address = bars[owner].address;
    const unsigned shift = upper ? 32 : 0;
    address = (address & ~(u64{mask} << shift)) | u64{value & mask} << shift;
    address &= ~(bar.span() - 1);
    if (bar.kind == BarKind::mem32) {
        address &= ~u32{0};
    }
}

bool VirtualFunction::is_sizing(unsigned i) const {
    const u64 ones = ~(f_->bars[i].span() - 1);
    const u64 address = bars[i].address;
    const u32 low_ones = static_cast<u32>(ones);
    const bool low = low_ones != 0 && static_cast<u32>(address) == low_ones;
    const bool high = f_->bars[i].kind == BarKind::mem64 && address >> 32 == ones >> 32;
    return address == 0 || low || high;
}

} // namespace atl::pci
