// SPDX-License-Identifier: Apache-2.0
// Refill<File>, the short ways of SPIs and LPIs: one that has just arrived goes into its own list register, or a free one,
// and the others are left as they are; a level that the guest is done with leaves its own. That is all there is to do while
// everything deliverable is listed (`long_way` is 0) and nothing but arrivals was posted. Whatever
// else is found out on the way ends in a refill, for which the state is as right as before. Included by vgic/refill.hpp
// only. Locks: dist_lock and the vCPU's. Spec: [IHI0069 §6.3, §12.4 ICH_ELRSR_EL2, ICH_EISR_EL2].
#pragma once
#include "vgic/refill.hpp"

namespace atl::vgic {

/// False: a refill is needed. `long_way` is 0, which only this pCPU changes.
template <class File>
bool Refill<File>::list_arrivals() {
    LockGuard dist(gic_.dist_lock());
    LockGuard guard(g_.lock);
    const u64 work = VirtualGic::absorb(g_);
    if ((work & ~work_arrivals) != 0) {
        return false;
    }
    for (u64 banks = work >> first_bank_bit; banks != 0; banks &= banks - 1) {
        if (!list_risen(static_cast<unsigned>(std::countr_zero(banks)))) {
            return false;
        }
    }
    if (work == 0 || (lpis() != nullptr && (work & work_lpi) != 0 && !list_arrived_lpis())) {
        return false;
    }
    kicks_ |= hand_over();
    return true;
}

/// Every deliverable SPI of the bank that has no list register yet. False: a refill is needed.
template <class File>
bool Refill<File>::list_risen(unsigned bank_index) {
    SpiBank& bank = gic_.bank(bank_index);
    u32 ready = bank.inputs() & bank.forwarded(gic_.groups()) & bank.routed[index_.value] & ~bank.active;
    for (; ready != 0; ready &= ready - 1) {
        const u32 bit = ready & -ready;
        const u32 intid = gic::first_spi + 32 * bank_index + static_cast<u32>(std::countr_zero(bit));
        unsigned slot = file_.count();
        if ((bank.listed & bit) != 0) {
            slot = slot_with(intid);
            if (slot == no_slot) {
                return false; // another vCPU's
            }
            if (((file_.empty() >> slot) & 1) == 0) {
                const u64 lr = g_.lr[slot].load(std::memory_order_relaxed);
                if ((bank.latch.load(std::memory_order_relaxed) & bit) == 0 && Lr::EOI::test(lr)) {
                    continue; // a level that is high, as is known
                }
                return false;
            }
            fold_slot(slot, 0);               // the guest is done with it
            if ((bank.inputs() & bit) == 0) { // a line of the host's, which is told so just now
                g_.used &= ~(u32{1} << slot);
                continue;
            }
        } else if (slot = free_slot(); slot == no_slot) {
            return false;
        }
        list_spi(slot, bank, intid);
    }
    return true;
}

/// Pending, and neither active nor listed. As list(), of which it is the common case.
template <class File>
void Refill<File>::list_spi(unsigned slot, SpiBank& bank, u32 intid) {
    const u32 bit = 1u << (intid % 32);
    gic_.own(bank, intid % 32, index_.value);
    const bool latched = (bank.latch.load(std::memory_order_relaxed) & bit) != 0;
    if (latched) {
        bank.latch.fetch_and(~bit, std::memory_order_relaxed);
    }
    u64 lr = Lr::VINTID::of(intid) | Lr::Priority::of(bank.priority[intid % 32]) |
             Lr::Group::of((bank.group1 >> (intid % 32)) & 1) | Lr::Pending::mask;
    if ((bank.inputs() & bit) != 0) {
        lr |= Lr::EOI::mask; // a level that is high: to be sampled when the guest is done
    }
    const u32 slot_bit = u32{1} << slot;
    g_.used |= slot_bit;
    g_.latched = latched ? g_.latched | slot_bit : g_.latched & ~slot_bit;
    bank.listed |= bit;
    g_.lr[slot].store(lr, std::memory_order_relaxed);
    file_.write(slot, lr);
}

/// False: a refill is needed.
template <class File>
bool Refill<File>::list_arrived_lpis() {
    Lpis& lpis = *gic_.lpis();
    bool fits = true;
    lpis.drain([&](u32 n, u8 v) {
        if (v != index_.value) {
            lpis.put(v, n);
            kicks_ |= gic_.vcpu({v}).post(work_refill) ? 1u << v : 0;
        } else if (!lpis.listable(v, n) || (gic_.groups() & 2) == 0) {
            lpis.put(v, n);
        } else if (!list_arrived(gic::first_lpi + n)) {
            lpis.put(v, n);
            fits = false;
        }
    });
    return fits;
}

/// One that has a list register already is pending there, be it once more: it has no active state to be kept.
template <class File>
bool Refill<File>::list_arrived(u32 lpi) {
    VcpuLpis& at = gic_.lpis()->vcpu(index_.value);
    unsigned slot = at.listed != 0 ? slot_with(lpi) : unsigned{no_slot};
    if (slot == no_slot) {
        slot = free_slot();
        if (slot == no_slot) {
            return false;
        }
        ++at.listed;
        g_.used |= u32{1} << slot;
        g_.latched |= u32{1} << slot;
    }
    const u64 lr = lpi_lr(lpi);
    g_.lr[slot].store(lr, std::memory_order_relaxed);
    file_.write(slot, lr);
    return true;
}

/// The slot of an SPI or LPI, or no_slot.
template <class File>
unsigned Refill<File>::slot_with(u32 intid) const {
    for (u32 slots = g_.used; slots != 0; slots &= slots - 1) {
        const auto slot = static_cast<unsigned>(std::countr_zero(slots));
        if (Lr::VINTID::get(g_.lr[slot].load(std::memory_order_relaxed)) == intid) {
            return slot;
        }
    }
    return no_slot;
}

/// One that was never used since the last refill, or else one that the guest is done with: all of those are given back,
/// but for the timer's, which its own short way wants. no_slot: all are in use.
template <class File>
unsigned Refill<File>::free_slot() {
    if (const auto slot = static_cast<unsigned>(std::countr_one(g_.used)); slot < file_.count()) {
        return slot;
    }
    u32 done = g_.used & static_cast<u32>(file_.empty());
    if (const u8 timer = g_.slot_of[g_.timer.vintid & 31]; timer != no_slot) {
        done &= ~(u32{1} << timer);
    }
    for (u32 slots = done; slots != 0; slots &= slots - 1) {
        fold_slot(static_cast<unsigned>(std::countr_zero(slots)), 0);
    }
    g_.used &= ~done;
    return done != 0 ? static_cast<unsigned>(std::countr_zero(done)) : unsigned{no_slot};
}

/// Levels that the guest has deactivated: sampled, and listed again if still high. False: a refill is needed. `long_way` is 0.
template <class File>
bool Refill<File>::end_levels() {
    LockGuard dist(gic_.dist_lock());
    LockGuard guard(g_.lock);
    if ((g_.work.load(std::memory_order_relaxed) >> 32) != 0) {
        return false;
    }
    bool found = false;
    for (u32 slots = g_.used; slots != 0; slots &= slots - 1) {
        const auto slot = static_cast<unsigned>(std::countr_zero(slots));
        const u64 lr = g_.lr[slot].load(std::memory_order_relaxed);
        const auto intid = static_cast<u32>(Lr::VINTID::get(lr));
        if (!Lr::EOI::test(lr) || intid < gic::first_spi ||
            (file_.read(slot) & (Lr::Pending::mask | Lr::Active::mask)) != 0) {
            continue;
        }
        fold_slot(slot, 0);
        g_.used &= ~(u32{1} << slot);
        file_.write(slot, 0); // it does not ask for maintenance any more
        found = true;
        if (!list_risen(intid / 32 - 1)) {
            return false;
        }
    }
    kicks_ |= hand_over();
    return found;
}

} // namespace atl::vgic
