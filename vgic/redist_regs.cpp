// SPDX-License-Identifier: Apache-2.0
// VirtualGic: the redistributors' registers, 128 KiB per vCPU, in vCPU order. A vCPU may access any of them.
// Untrusted offsets, sizes and values; RAZ/WI for whatever does not exist. Lock: that vCPU's. Spec: [IHI0069
// §12.10, §12.11].
#include "vgic/lpis.hpp"

namespace atl::vgic {
namespace {

namespace gicr = gic::gicr;
constexpr u32 iidr_value = 0x41 << 24; // as GICD_IIDR

} // namespace

u64 VirtualGic::gicr_typer(unsigned index) const {
    using T = gic::GicrTyper;
    return T::Affinity::of(index) | T::ProcessorNumber::of(index) | T::PLPIS::of(lpis_ != nullptr ? 1 : 0) |
           T::Last::of(index + 1 == config_.vcpus ? 1 : 0);
}

namespace {

/// Of a redistributor register, apart from the distributor's.
u64 sync_tag(u64 offset) {
    return offset | gic::gicd::frame_size << 32;
}

} // namespace

Access VirtualGic::private_word_read(VcpuIndex caller, unsigned index, u64 offset) {
    VcpuGic& g = vcpus_[index];
    const WordRegister reg = word_register(offset % gicr::frame_size - gicr::sgi_base);
    Access access;
    LockGuard guard(g.lock);
    LrState listed;
    if (needs_sync(reg)) {
        // A held timer is sampled, too, when the list registers are read back.
        const bool stale = (g.priv.listed != 0 || g.timer.held) && g.loaded.load(std::memory_order_relaxed);
        access.retry = await_sync(caller, stale ? 1u << index : 0, sync_tag(offset), access.kick);
        absorb_pulses(g);
        listed = listed_state(g, 0);
        if (g.timer.held && g.timer.high) {
            listed.pending |=
                g.timer.bit(); // also while it is active, which a list register with HW = 1 cannot show
        }
    }
    access.value = read_word(g.priv, reg, listed.pending, listed.active);
    return access;
}

Access VirtualGic::private_word_write(VcpuIndex caller, unsigned index, u64 offset, u32 value) {
    VcpuGic& g = vcpus_[index];
    const WordRegister reg = word_register(offset % gicr::frame_size - gicr::sgi_base);
    Access access;
    LockGuard guard(g.lock);
    LrState listed;
    if (reg == WordRegister::set_active) {
        const bool stale = (g.priv.listed & value) != 0 && g.loaded.load(std::memory_order_relaxed);
        access.retry = await_sync(caller, stale ? 1u << index : 0, sync_tag(offset), access.kick);
        if (access.retry) {
            return access;
        }
        listed = listed_state(g, 0);
    }
    if (reg == WordRegister::clear_pending) {
        absorb_pulses(g); // those sent before this write are cleared by it
    }
    const u32 changed = write_word(g.priv, reg, value, listed.active);
    note_word(g.priv, 0, reg, changed, static_cast<u8>(index));
    // The timer's physical side may have to be released even when nothing of it is left in the state.
    if ((changed & (g.priv.busy() | g.timer.bit())) != 0 && g.post(work_recall) && index != caller.value) {
        access.kick = 1u << index;
    }
    return access;
}

Access VirtualGic::gicr_read(VcpuIndex caller, u64 offset, unsigned size) {
    const u64 index = offset / gicr::frame_size;
    if (index >= config_.vcpus || (offset & (size - 1)) != 0) {
        return {};
    }
    VcpuGic& g = vcpus_[index];
    const u64 reg = offset % gicr::frame_size;
    if (size == 4) {
        // Those that need no lock and no call.
        switch (reg) {
        case gicr::iidr:
            return {iidr_value};
        case gicr::typer:
            return {gicr_typer(static_cast<unsigned>(index)) & 0xffff'ffff};
        case gicr::typer + 4:
            return {gicr_typer(static_cast<unsigned>(index)) >> 32};
        case gicr::waker:
            return {g.asleep.load(std::memory_order_relaxed)
                        ? gic::GicrWaker::ProcessorSleep::mask | gic::GicrWaker::ChildrenAsleep::mask
                        : 0};
        case gic::pidr2:
        case gicr::sgi_base + gic::pidr2:
            return {gic::Pidr2ArchRev::of(3) | 0xb};
        }
    } else if (reg == gicr::typer && size == 8) {
        return {gicr_typer(static_cast<unsigned>(index))};
    }
    return gicr_state_read(caller, static_cast<unsigned>(index), offset, size);
}

/// What depends on the interrupts' state.
Access VirtualGic::gicr_state_read(VcpuIndex caller, unsigned index, u64 offset, unsigned size) {
    VcpuGic& g = vcpus_[index];
    const u64 reg = offset % gicr::frame_size;
    if (lpis_ != nullptr && Lpis::has_register(reg)) {
        const u64 rwp =
            reg == gicr::ctlr && size == 4 ? gic::GicrCtlr::RWP::of(recall_outstanding(caller) ? 1 : 0) : 0;
        return {lpis_->read_register(index, reg, size) | rwp};
    }
    if (size == 4) {
        if (reg == gicr::ctlr) {
            return {gic::GicrCtlr::RWP::of(recall_outstanding(caller) ? 1 : 0)};
        }
        if (reg == gicr::icfgr0 || reg == gicr::icfgr1) {
            LockGuard guard(g.lock);
            return {read_config(g.priv, reg == gicr::icfgr1)};
        }
        // Word registers: one word each, at the start of its 0x80 bytes.
        if (reg >= gicr::sgi_base + first_word_register && reg < gicr::sgi_base + end_word_register &&
            reg % 0x80 == 0) {
            return private_word_read(caller, index, offset);
        }
    }
    if ((size == 4 || size == 1) && reg >= gicr::ipriorityr && reg < gicr::ipriorityr + 32) {
        LockGuard guard(g.lock);
        return {read_priority(g.priv, static_cast<u32>(reg - gicr::ipriorityr), size)};
    }
    return {};
}

Access VirtualGic::gicr_write(VcpuIndex caller, u64 offset, unsigned size, u64 value) {
    const u64 index = offset / gicr::frame_size;
    const u64 reg = offset % gicr::frame_size;
    if (index >= config_.vcpus || (offset & (size - 1)) != 0) {
        return {};
    }
    if (lpis_ != nullptr && Lpis::has_register(reg)) {
        return lpis_->write_register(caller, static_cast<unsigned>(index), reg, size, value);
    }
    if (size != 4 && size != 1) {
        return {};
    }
    VcpuGic& g = vcpus_[index];
    if (size == 4) {
        if (reg == gicr::waker) {
            g.asleep.store(gic::GicrWaker::ProcessorSleep::test(value), std::memory_order_relaxed);
            return {};
        }
        // ICFGR0 and ICFGR1 are read-only here: SGIs are edge by architecture, our PPIs level by
        // construction, which the architecture allows [IHI0069 §12.11 GICR_ICFGR1].
        if (reg >= gicr::sgi_base + first_word_register && reg < gicr::sgi_base + end_word_register &&
            reg % 0x80 == 0) {
            return private_word_write(caller, static_cast<unsigned>(index), offset, static_cast<u32>(value));
        }
    }
    if (reg >= gicr::ipriorityr && reg < gicr::ipriorityr + 32) {
        LockGuard guard(g.lock);
        const u32 changed = write_priority(g.priv, static_cast<u32>(reg - gicr::ipriorityr), size,
                                           static_cast<u32>(value), priority_mask_);
        note_priority(g.priv, 0, changed, static_cast<u8>(index));
        if ((changed & (g.priv.busy() | g.timer.bit())) != 0 && g.post(work_refill) &&
            index != caller.value) {
            return {0, 1u << index};
        }
    }
    return {};
}

} // namespace atl::vgic
