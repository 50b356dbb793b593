// SPDX-License-Identifier: Apache-2.0
// Refill<File>, what GICv2's SGIs need: a list register holds one sender of an SGI, the others wait for its end.
// Included by vgic/refill.hpp only. Locks: said at each. Spec: [IHI0048B §3.2.3, §5.3.10].
#pragma once
#include "vgic/refill.hpp"

namespace atl::vgic {

/// An SGI's sender, and its pending state when it is `wanted`: the sender of the active one, if it is. Under the vCPU's
/// lock.
template <class File>
u64 Refill<File>::list_source(VcpuGic& g, u32 intid, bool active, bool wanted) {
    const u64 sender = active ? gic::LrSource::of(g.active_source[intid]) : 0;
    if (!wanted) {
        return sender;
    }
    const u8 taken = VirtualGic::take_source(g, intid, active ? 1u << g.active_source[intid] : 0xff);
    return taken == no_vcpu ? sender : gic::LrSource::of(taken) | Lr::Pending::mask;
}

/// SGIs that were just sent, when there is nothing else to do: each into its own slot, if that is empty by now, or into a
/// free one. False: a refill is needed, and `work` says so again. Private interrupts only, so the vCPU's lock suffices.
template <class File>
bool Refill<File>::flush_sources(VirtualGic& gic, VcpuGic& g, File& file) {
    LockGuard guard(g.lock);
    u64 work = work_sources;
    if (!g.work.compare_exchange_strong(work, 0,
                                        std::memory_order_acquire)) { // sees what was sent before the post
        return false;
    }
    VirtualGic::gather_sources(g);
    const u32 latched = g.priv.latch.load(std::memory_order_relaxed) & 0xffff;
    if (g.long_way != 0 || (g.priv.drop_pending | g.priv.drop_active) != 0 ||
        !list_sources(g, file, latched & g.priv.forwarded(gic.groups()))) {
        g.post(work_refill);
        return false;
    }
    return true;
}

/// load() and save() when there is nothing but SGIs, as load_quiet() and save_quiet().
template <class File>
bool Refill<File>::load_quiet_sources(VirtualGic& gic, VcpuGic& g, File& file) {
    LockGuard guard(g.lock);
    const u64 work = g.work.load(std::memory_order_acquire); // sees what was sent before each post
    const u32 latched = g.priv.latch.load(std::memory_order_relaxed);
    if (!g.quiet_v2 || (work & ~work_sources) != 0 || (latched >> 16) != 0 || g.priv.active != 0) {
        return false;
    }
    load_interface(g, file);
    g.hcr = file.hcr_on();
    file.set_hcr(g.hcr);
    if (work != 0) {
        // What is sent from now on is for the flush before the entry.
        g.work.fetch_and(~work_sources, std::memory_order_acquire);
        VirtualGic::gather_sources(g);
    }
    const u32 sgis = g.priv.latch.load(std::memory_order_relaxed) & g.priv.forwarded(gic.groups());
    if (!list_sources(g, file, sgis)) {
        g.post(work_refill);
    }
    return true;
}

template <class File>
bool Refill<File>::save_quiet_sources(VcpuGic& g, File& file) {
    if (!g.quiet_v2 || (g.used & ~static_cast<u32>(file.empty())) != 0) {
        return false;
    }
    save_inert(g, file);
    return true;
}

/// Caller: the vCPU's lock. False: not all could be listed.
template <class File>
bool Refill<File>::list_sources(VcpuGic& g, File& file, u32 sgis) {
    for (; sgis != 0; sgis &= sgis - 1) {
        const auto sgi = static_cast<unsigned>(std::countr_zero(sgis));
        unsigned slot = g.slot_of[sgi];
        if (slot == no_slot) {
            slot = static_cast<unsigned>(std::countr_one(g.used));
        } else if (((file.empty() >> slot) & 1) == 0) {
            return false; // of another sender, perhaps, or active
        }
        if (slot >= file.count() || ((g.priv.active >> sgi) & 1) != 0) {
            return false;
        }
        u64 lr = (sgi_lr(g, sgi) & ~Lr::Pending::mask) | list_source(g, sgi, false, true);
        if (((g.priv.latch.load(std::memory_order_relaxed) >> sgi) & 1) != 0) {
            lr |= Lr::EOI::mask; // of another sender: its turn comes then
        }
        give_slot(g, sgi, slot);
        g.lr[slot].store(lr, std::memory_order_relaxed);
        file.write(slot, lr);
    }
    return true;
}

} // namespace atl::vgic
