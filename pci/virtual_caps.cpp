// SPDX-License-Identifier: Apache-2.0
// The capabilities that a guest sees: power management (a copy), MSI and MSI-X (enable, mask and, for MSI,
// the message pass), PCI Express (read; FLR is trapped) and where virtio's structures are. A guest's message
// address and data go to the hardware as they are: a message is a write by the device, so that the SMMU holds
// it to the VM's RAM and doorbell, and the ITS to the events of this DeviceID. That is the same for MSI-X
// entries, which the guest writes in a BAR without a trap. Lock: VirtualBridge's.
// Spec: [PCI 3.0 §6.8.1 MSI, §6.8.2 MSI-X]; [PCI PM 1.2 §3.2]; [PCIe Base §7 PCI Express Capability].
#include <bit>

#include "pci/virtual_function.hpp"

namespace atl::pci {

using namespace reg;

namespace {

constexpr u32 merge(u32 old, u32 value, u32 mask) {
    return (old & ~mask) | (value & mask);
}

// Device Capabilities that are the function's own business: payload, extended tags, latencies, role-based
// errors. Not: phantom functions (Requester IDs that are not its own), slot power.
constexpr u32 shown_device_capabilities = 0x8fe7;

/// MSI's registers, by index in msi_: address, upper address (64-bit only), data, mask, pending. `none` where
/// the layout ends.
struct MsiLayout {
    explicit MsiLayout(const MsiInfo& info)
        : data(info.is_64 ? 2 : 1), mask(info.maskable ? data + 1 : none),
          pending(info.maskable ? data + 2 : none) {}
    static constexpr unsigned none = ~0u;
    unsigned data;
    unsigned mask;
    unsigned pending;
};

} // namespace

u32 VirtualFunction::read_capability(const Capability& capability, u32 next, u32 at) const {
    const u32 base = capability.offset;
    const u32 head = capability.id | next << 8;
    switch (capability.id) {
    case cap_power:
        if (at == 0) { // no D1, D2, PME
            return head | u32(f_->config.read16(base + pm::pmc) & pm::pmc_version) << 16;
        }
        return (asleep_ ? pm::d3hot : 0u) | pm::no_soft_reset; // its state survives, since it never sleeps
    case cap_msi:
        return read_msi(head, at, base);
    case cap_msix:
        switch (at) {
        case 0:
            return head | (f_->msix.entries - 1u) << 16 | u32{msix_control_} << 16;
        case msix::table:
            return f_->msix.table_offset | f_->msix.table_bar;
        case msix::pba:
            return f_->msix.pba_offset | f_->msix.pba_bar;
        default:
            return 0;
        }
    case cap_pcie:
        return read_express(head, at, base);
    case cap_vendor:
        return at == 0 ? (f_->config.read32(base) & 0xffff'0000) | head : f_->config.read32(base + at);
    default:
        return 0;
    }
}

u32 VirtualFunction::read_express(u32 head, u32 at, u32 base) const {
    switch (at) {
    case 0: {
        // On a root bus without ports an endpoint is an integrated one, which has no link registers.
        const u32 version = static_cast<u32>(pcie::Version::get(f_->config.read16(base + pcie::flags)));
        const u32 type = static_cast<u32>(PcieType::integrated_endpoint);
        return head | (version | type << 4) << 16;
    }
    case pcie::device_capabilities: {
        const u32 value = f_->config.read32(base + at) & shown_device_capabilities;
        return f_->flr ? value | pcie::flr_capable : value;
    }
    case pcie::device_control:
        // Payload and request sizes belong to the whole tree: EL2 set them, the guest sees them.
        return f_->config.read32(base + at) & ~u32{pcie::initiate_flr};
    default:
        return 0;
    }
}

u32 VirtualFunction::read_msi(u32 head, u32 at, u32 base) const {
    if (at == 0) {
        const u32 log2 = static_cast<u32>(std::countr_zero(f_->msi.vectors));
        const u32 fixed = static_cast<u32>(msi::MultipleCapable::of(log2)) |
                          (f_->msi.is_64 ? msi::is_64 : 0u) | (f_->msi.maskable ? msi::maskable : 0u);
        return head | (fixed | msi_control_) << 16;
    }
    const unsigned index = (at - msi::address) / 4;
    if (index == MsiLayout(f_->msi).pending) {
        return f_->config.read32(base + at);
    }
    return index < msi_.size() ? msi_[index] : 0;
}

VirtualFunction::Effect VirtualFunction::write_capability(const Capability& capability, u32 at, u32 value,
                                                          u32 mask) {
    const u32 base = capability.offset;
    switch (capability.id) {
    case cap_power:
        if (at == pm::pmcsr && (mask & 0xff) != 0) {
            const u32 state = value & pm::state;
            asleep_ = state == pm::d3hot || (asleep_ && state != 0); // D1 and D2 do not exist: ignored
            return {true, false};
        }
        return {};
    case cap_msi:
        write_msi(at, value, mask, base);
        return {};
    case cap_msix:
        write_msix(at, value, mask, base);
        return {};
    case cap_pcie:
        if (at == pcie::device_control) {
            const u16 clear = static_cast<u16>((value & mask) >> 16) & pcie::status_errors;
            if (clear != 0) {
                f_->config.write16(base + pcie::device_status, clear);
            }
            return {false, f_->flr && (value & mask & pcie::initiate_flr) != 0};
        }
        return {};
    default:
        return {};
    }
}

void VirtualFunction::write_msix(u32 at, u32 value, u32 mask, u32 base) {
    if (at != 0 || mask >> 16 == 0) {
        return;
    }
    const u32 control = merge(msix_control_, value >> 16, mask >> 16);
    msix_control_ = static_cast<u16>(control & (msix::enable | msix::function_mask));
    f_->config.write16(base + msix::control, msix_control_);
}

void VirtualFunction::write_msi(u32 at, u32 value, u32 mask, u32 base) {
    if (at == 0) {
        if (mask >> 16 == 0) {
            return;
        }
        u32 control = merge(msi_control_, value >> 16, mask >> 16);
        const u64 most = static_cast<u64>(std::countr_zero(f_->msi.vectors));
        const u64 asked = msi::MultipleEnable::get(control);
        control =
            (control & msi::enable) | static_cast<u32>(msi::MultipleEnable::of(asked < most ? asked : most));
        msi_control_ = static_cast<u16>(control);
        f_->config.write16(base + msi::control, msi_control_);
        return;
    }
    const MsiLayout layout(f_->msi);
    const unsigned index = (at - msi::address) / 4;
    if (index > layout.data && index != layout.mask) {
        return;
    }
    u32 merged = merge(msi_[index], value, mask);
    if (index == 0) {
        merged &= ~u32{3};
    } else if (index == layout.data) {
        merged &= 0xffff;
    }
    msi_[index] = merged;
    if (index == layout.data) {
        f_->config.write16(base + at, static_cast<u16>(merged)); // beside it there may be another capability
    } else {
        f_->config.write32(base + at, merged);
    }
}

void VirtualFunction::keep_messages(const MmioSeam& mmio) {
    if ((msix_control_ & msix::enable) == 0 || mmio.read == nullptr) {
        return; // none that does anything
    }
    const MsixInfo& info = f_->msix;
    const unsigned words = info.entries * (msix::entry_size / 4);
    for (unsigned i = 0; i < words && i < messages_.size(); ++i) {
        messages_[i] = mmio.read(mmio.context, f_->bars[info.table_bar].pa + info.table_offset + 4 * i, 4);
    }
}

void VirtualFunction::restore_messages(const MmioSeam& mmio) {
    const MsixInfo& info = f_->msix;
    if ((msix_control_ & msix::enable) != 0 && mmio.write != nullptr) {
        const u32 control = f_->find(cap_msix) + msix::control;
        // A VF decodes by VF MSE alone, and this bit is always 0 in it; QEMU 10.0 wants both.
        f_->config.write16_settled(command, cmd::interrupt_disable | cmd::memory_space);
        f_->config.write16_settled(control, msix::enable | msix::function_mask);
        const unsigned words = info.entries * (msix::entry_size / 4);
        for (unsigned i = 0; i < words && i < messages_.size(); ++i) {
            mmio.write(mmio.context, f_->bars[info.table_bar].pa + info.table_offset + 4 * i, 4,
                       messages_[i]);
        }
        f_->config.write16_settled(control, msix_control_);
    }
    if ((msi_control_ & msi::enable) != 0) {
        const u32 base = f_->find(cap_msi);
        const MsiLayout layout(f_->msi);
        for (unsigned i = 0; i <= layout.data; ++i) {
            write_msi(msi::address + 4 * i, msi_[i], ~u32{0}, base);
        }
        if (layout.mask != MsiLayout::none) {
            write_msi(msi::address + 4 * layout.mask, msi_[layout.mask], ~u32{0}, base);
        }
        f_->config.write16(base + msi::control, msi_control_);
    }
}

} // namespace atl::pci
