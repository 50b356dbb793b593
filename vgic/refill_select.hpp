// SPDX-License-Identifier: Apache-2.0
// Refill<File>, second half: which interrupts get list registers, and the hardware-backed timer's physical
// side. Included by vgic/refill.hpp only. Locks: dist_lock and the vCPU's, except where said. Spec: [IHI0069
// §6.3, §12.4].
#pragma once
#include "vgic/refill.hpp"

namespace atl::vgic {

template <class File>
void Refill<File>::select_and_list() {
    using V = gic::IchVmcr;
    const u64 vmcr = file_.vmcr();
    const u32 groups = gic_.groups();
    const u32 interface_groups = (V::VENG0::test(vmcr) ? 1u : 0) | (V::VENG1::test(vmcr) ? 2u : 0);
    const unsigned slots = file_.count();
    TopList pending(slots);
    TopList active(slots);
    for_each_bank([&](Bank& bank, u32 first, u32 mine) {
        const u32 here = first == 0 ? ~u32{0} : spi_bank(first).routed[index_.value];
        const u32 running = bank.active & mine;
        for (u32 bits = running; bits != 0; bits &= bits - 1) {
            const unsigned i = static_cast<unsigned>(std::countr_zero(bits));
            active.add(TopList::key(0, bank.priority[i], first + i));
        }
        u32 bits = bank.inputs() & bank.forwarded(groups) & here & ~bank.active & ~bank.listed;
        for (; bits != 0; bits &= bits - 1) {
            const unsigned i = static_cast<unsigned>(std::countr_zero(bits));
            // A group that the guest's CPU interface has off must not keep the other one's interrupts out.
            const u32 group = ((bank.group1 >> i) & 1) != 0 ? 2 : 1;
            pending.add(TopList::key((interface_groups & group) != 0 ? 0 : 1, bank.priority[i], first + i));
        }
    });

    if (lpis() != nullptr && lpis()->vcpu(index_.value).ready != 0) {
        add_lpis(pending, groups, (interface_groups & 2) != 0);
    }

    // With an overflow an active interrupt is listed without its pending state: at its EOI the list register
    // would hold it as pending ahead of more urgent ones that wait. EOI maintenance chooses anew instead.
    merge_pending_ = pending.total() + active.total() <= slots;
    const u32 before = g_.used;
    g_.used = g_.latched = 0;
    unsigned slot = 0;
    unsigned next_pending = 0;
    if (pending.size() != 0) {
        list(slot++, TopList::intid(pending[next_pending++]));
    }
    unsigned next_active = 0;
    while (slot < slots && next_active < active.size()) {
        list(slot++, TopList::intid(active[next_active++]));
    }
    while (slot < slots && next_pending < pending.size()) {
        list(slot++, TopList::intid(pending[next_pending++]));
    }
    for (u32 all = g_.used; all != 0; all &= all - 1) {
        const unsigned i = static_cast<unsigned>(std::countr_zero(all));
        file_.write(i, g_.lr[i].load(std::memory_order_relaxed));
    }
    for (u32 gone = before & ~g_.used; gone != 0; gone &= gone - 1) {
        file_.write(static_cast<unsigned>(std::countr_zero(gone)), 0);
    }

    g_.long_way = (next_pending < pending.total() ? pending_left_over : 0) |
                  (next_active < active.total() ? active_left_over : 0) | (short_ways() ? 0 : none_allowed);
    u64 hcr = file_.hcr_on();
    if ((g_.long_way & pending_left_over) != 0) {
        // The opposite of each group's present state, so that neither condition holds now.
        hcr |= Hcr::NPIE::mask;
        hcr |= V::VENG0::test(vmcr) ? Hcr::VGrp0DIE::mask : Hcr::VGrp0EIE::mask;
        hcr |= V::VENG1::test(vmcr) ? Hcr::VGrp1DIE::mask : Hcr::VGrp1EIE::mask;
    }
    if ((g_.long_way & active_left_over) != 0) {
        hcr |= Hcr::LRENPIE::mask;
    }
    if (hcr != g_.hcr) {
        g_.hcr = hcr;
        file_.set_hcr(hcr);
    }
}

/// Moves one interrupt's state into a slot of the shadow.
template <class File>
void Refill<File>::list(unsigned slot, u32 intid) {
    if (intid >= gic::first_lpi && lpis() != nullptr) [[unlikely]] {
        return list_lpi(slot, intid);
    }
    Bank& bank = bank_of(intid);
    const u32 bit = 1u << (intid % 32);
    const bool timer = is_timer(intid);
    const bool here = intid < gic::first_spi || (spi_bank(intid).routed[index_.value] & bit) != 0;
    u64 lr = lr_base(intid, bank);
    bool latched = false;
    if (intid >= gic::first_spi) {
        gic_.set_owner(spi_bank(intid), intid % 32, index_.value);
    }
    const bool active = (bank.active & bit) != 0;
    if (active) {
        lr |= Lr::Active::mask;
        bank.active &= ~bit;
    }
    const bool wanted = here && (bank.forwarded(gic_.groups()) & bit) != 0;
    // HW = 1 has no active-and-pending state [IHI0069 §12.4 ICH_LR<n>_EL2], and a line of the host's is not looked at
    // again before its deactivation.
    const bool host = intid >= gic::first_spi && (spi_bank(intid).host_backed & bit) != 0;
    if (has_source(intid)) {
        const u64 source = list_source(g_, intid, active, wanted && !(active && !merge_pending_));
        lr |= source;
        latched = Lr::Pending::test(source);
    } else if (wanted && !(active && (timer || host || !merge_pending_))) {
        if ((bank.latch.load(std::memory_order_relaxed) & bit) != 0) {
            bank.latch.fetch_and(~bit, std::memory_order_relaxed);
            lr |= Lr::Pending::mask;
            latched = true;
        } else if ((bank.inputs() & bit) != 0) {
            lr |= Lr::Pending::mask;
        }
    }
    if (timer) {
        // From here on the physical line speaks.
        bank.line.fetch_and(~bit, std::memory_order_relaxed);
        if (!g_.timer.held) {
            g_.timer.held = true;
            file_.hold(g_.timer.pintid);
        }
    } else if ((bank.inputs() & bit) != 0) {
        // Still wanted after this delivery: a level that is high, or an edge that is now another vCPU's.
        lr |= Lr::EOI::mask;
    }
    if (gic_.history().watches(intid)) [[unlikely]] {
        note(intid, Happened::listed, lr);
        lr |= timer ? 0 : Lr::EOI::mask; // its end is seen at once
    }
    set_slot(slot, intid, lr, latched);
}

template <class File>
bool Refill<File>::timer_deliverable() const {
    return (g_.priv.forwarded(gic_.groups()) & g_.timer.bit()) != 0;
}

/// The physical interrupt is held from when it fired, so only the timer itself knows whether it is still due: the guest may
/// have silenced it before it took the interrupt, or while the interrupt was disabled. A level that has fallen is not
/// pending any more [IHI0069 §4.1.2].
template <class File>
void Refill<File>::sample_timer() {
    if (!g_.timer.held) {
        return;
    }
    g_.timer.high = file_.timer_line();
    if (!g_.timer.high && (g_.priv.active & g_.timer.bit()) == 0) {
        g_.priv.line.fetch_and(~g_.timer.bit(), std::memory_order_relaxed);
    }
}

/// On load: what is active or due by the software line is held physically, as if the interrupt had just been
/// taken.
template <class File>
void Refill<File>::adopt_timer() {
    const u32 bit = g_.timer.bit();
    if (((g_.priv.line.load(std::memory_order_relaxed) | g_.priv.active) & bit) != 0) {
        g_.timer.held = true;
        file_.hold(g_.timer.pintid);
        if ((g_.priv.active & bit) != 0) {
            // While active the line is the physical one's business: it fires again after the deactivation.
            g_.priv.line.fetch_and(~bit, std::memory_order_relaxed);
        }
    }
}

/// After listing: a held physical interrupt needs a reason.
template <class File>
void Refill<File>::settle_timer() {
    const u32 bit = g_.timer.bit();
    const bool deliverable = timer_deliverable();
    const u8 slot = g_.slot_of[g_.timer.vintid & 31];
    // A slot whose pending state came from ISPENDR must not be written over as if it were the line's.
    const bool plain = slot == no_slot || ((g_.latched >> slot) & 1) == 0;
    const bool short_way = deliverable && plain && short_ways();
    g_.timer_lr.store(short_way ? lr_base(g_.timer.vintid, g_.priv) | Lr::Pending::mask : 0,
                      std::memory_order_relaxed);
    const u32 reasons = (g_.priv.inputs() | g_.priv.active | g_.priv.listed) & bit;
    if (reasons == 0) {
        release_timer();
    }
}

template <class File>
void Refill<File>::release_timer() {
    if (g_.timer.held) {
        g_.timer.held = false;
        file_.release(g_.timer.pintid);
    }
}

template <class File>
void Refill<File>::inject_timer_slow() {
    if (g_.timer.vintid == 0) {
        return;
    }
    {
        LockGuard dist(gic_.dist_lock());
        LockGuard guard(g_.lock);
        if (const u8 slot = g_.slot_of[g_.timer.vintid]; slot != no_slot) {
            // Its old delivery is over, or it could not have fired: nothing in the slot but its emptiness.
            fold_slot(slot, 0);
            file_.write(slot, 0);
            g_.used &= ~(u32{1} << slot);
        }
        gic_.history().note(g_.timer.vintid, Happened::fired, index_.value);
        g_.quiet = g_.quiet_v2 = false;
        g_.timer.held = true;
        g_.priv.line.fetch_or(g_.timer.bit(), std::memory_order_relaxed);
    }
    g_.post(work_refill); // flush() does it before the guest is entered, and returns whom to kick
}

template <class File>
u64 Refill<File>::relist_sgis(VcpuGic& g, File& file) {
    if (g.long_way != 0) {
        return g.work.load(std::memory_order_relaxed);
    }
    const u64 work = g.work.exchange(0, std::memory_order_acquire); // sees what was done before each post
    if (!only_sgis(work)) [[unlikely]] {
        g.work.fetch_or(work, std::memory_order_relaxed);
        return work;
    }
    for (auto sgis = static_cast<u32>(work); sgis != 0; sgis &= sgis - 1) {
        const u8 slot = g.slot_of[std::countr_zero(sgis)];
        if (slot == no_slot || ((g.latched >> slot) & 1) == 0) [[unlikely]] {
            g.work.fetch_or(sgis, std::memory_order_relaxed);
            return sgis;
        }
        u64 lr = (g.lr[slot].load(std::memory_order_relaxed) & ~Lr::Active::mask) | Lr::Pending::mask;
        if (((file.empty() >> slot) & 1) == 0) {
            lr |= file.read(slot) & Lr::Active::mask; // sent again by its own handler
        }
        g.lr[slot].store(lr, std::memory_order_relaxed);
        file.write(slot, lr);
    }
    return 0;
}

} // namespace atl::vgic
