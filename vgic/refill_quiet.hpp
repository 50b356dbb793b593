// SPDX-License-Identifier: Apache-2.0
// Refill<File>, the common cases of a world switch: nothing, or SGIs, and the virtual CPU interface's registers.
// Included by vgic/refill.hpp only. Locks: said at each. Spec: [IHI0069 §6.3, §12.4].
#pragma once
#include "vgic/refill.hpp"

namespace atl::vgic {

template <class File>
inline void Refill<File>::load_interface(VcpuGic& g, File& file) {
    g.loaded.store(true, std::memory_order_release);
    file.restore_active(g.saved);
    file.set_vmcr(g.saved.vmcr);
    g.hcr = 0; // forces the write of En
}

template <class File>
inline void Refill<File>::save_interface(VcpuGic& g, File& file) {
    g.saved.vmcr = file.vmcr();
    file.save_active(g.saved);
    file.set_hcr(0);
    g.hcr = 0;
    // Release: another CPU that sees it unloaded sees its folded state.
    g.loaded.store(false, std::memory_order_release);
}

/// load() when there is one SGI to look at, or none. Private state alone, so the vCPU's lock suffices.
template <class File>
inline bool Refill<File>::load_quiet(VirtualGic& gic, VcpuGic& g, File& file) {
    LockGuard guard(g.lock);
    const u64 work = g.work.load(std::memory_order_acquire); // sees what was done before each post
    const u32 inputs = static_cast<u32>(work) | g.priv.latch.load(std::memory_order_relaxed);
    const u32 sgis = inputs & g.priv.forwarded(gic.groups());
    if (!g.quiet || (work >> 16) != 0 || g.priv.active != 0 || (sgis & (sgis - 1)) != 0) {
        return false;
    }
    load_interface(g, file);
    if (work != 0) {
        // What comes from now on is for the flush before the entry.
        g.work.fetch_and(~work, std::memory_order_acquire);
    }
    g.priv.latch.store(inputs & ~sgis, std::memory_order_relaxed);
    if (sgis != 0) {
        const auto intid = static_cast<unsigned>(std::countr_zero(sgis));
        const u64 lr = sgi_lr(g, intid);
        give_slot(g, intid, 0);
        g.lr[0].store(lr, std::memory_order_relaxed);
        file.write(0, lr);
    }
    g.hcr = file.hcr_on();
    file.set_hcr(g.hcr);
    return true;
}

/// save() when only SGIs were listed and the guest is done with them, which leaves inert list registers.
template <class File>
inline bool Refill<File>::save_quiet(VcpuGic& g, File& file) {
    if (!g.quiet || (g.used & ~static_cast<u32>(file.empty())) != 0) {
        return false;
    }
    save_inert(g, file);
    return true;
}

template <class File>
inline void Refill<File>::save_inert(VcpuGic& g, File& file) {
    LockGuard guard(g.lock);
    for (u32 slots = g.used; slots != 0; slots &= slots - 1) {
        const auto slot = static_cast<unsigned>(std::countr_zero(slots));
        g.slot_of[Lr::VINTID::get(g.lr[slot].load(std::memory_order_relaxed)) & 31] = no_slot;
    }
    g.used = g.latched = 0;
    g.priv.listed = g.priv.drop_pending = g.priv.drop_active = 0;
    save_interface(g, file);
}

/// Most loads find nothing, or SGIs: no selection is needed then.
template <class File>
bool Refill<File>::load_fast() {
    LockGuard dist(gic_.dist_lock());
    LockGuard guard(g_.lock);
    VirtualGic::absorb(g_);
    for (unsigned b = 0; b < gic_.bank_count(); ++b) {
        const SpiBank& bank = gic_.bank(b);
        if ((bank.busy() & (bank.routed[index_.value] | bank.owned[index_.value])) != 0) {
            return false;
        }
    }
    if (lpis() != nullptr && lpis()->busy(index_.value)) {
        return false;
    }
    const u32 inputs = g_.priv.inputs();
    if (((inputs & ~0xffffu) | g_.priv.active) != 0) {
        return false;
    }
    const u32 sgis = inputs & g_.priv.forwarded(gic_.groups());
    if (sgis_have_sources()) {
        if (!list_sources(g_, file_, sgis)) {
            return false;
        }
    } else {
        g_.priv.latch.fetch_and(~sgis, std::memory_order_relaxed);
        if (!list_sgis(g_, file_, sgis)) {
            return false;
        }
    }
    settle_timer();
    g_.quiet_v2 = sgis_have_sources();
    g_.quiet = !g_.quiet_v2; // whose short ways know of no senders
    g_.folds.fetch_add(1, std::memory_order_release);
    g_.hcr = file_.hcr_on();
    file_.set_hcr(g_.hcr);
    return true;
}

template <class File>
inline u64 Refill<File>::sgi_lr(const VcpuGic& g, unsigned intid) {
    return Lr::VINTID::of(intid) | Lr::Priority::of(g.priv.priority[intid]) |
           Lr::Group::of((g.priv.group1 >> intid) & 1) | Lr::Pending::mask;
}

template <class File>
inline void Refill<File>::give_slot(VcpuGic& g, unsigned sgi, unsigned slot) {
    g.slot_of[sgi] = static_cast<u8>(slot);
    g.used |= u32{1} << slot;
    g.latched |= u32{1} << slot;
    g.priv.listed |= 1u << sgi;
}

/// Deliverable SGIs into list registers. What does not fit stays in the latch, and the answer is false.
template <class File>
bool Refill<File>::list_sgis(VcpuGic& g, File& file, u32 sgis) {
    for (; sgis != 0; sgis &= sgis - 1) {
        const auto intid = static_cast<unsigned>(std::countr_zero(sgis));
        u64 lr = sgi_lr(g, intid);
        unsigned slot = g.slot_of[intid];
        if (slot != no_slot) {
            lr |= file.read(slot) & Lr::Active::mask; // sent again by its own handler
        } else {
            slot = static_cast<unsigned>(std::countr_one(g.used));
            if (slot >= file.count()) {
                g.priv.latch.fetch_or(sgis, std::memory_order_relaxed);
                return false;
            }
            give_slot(g, intid, slot);
        }
        g.latched |= u32{1} << slot;
        g.lr[slot].store(lr, std::memory_order_relaxed);
        file.write(slot, lr);
    }
    return true;
}

} // namespace atl::vgic
