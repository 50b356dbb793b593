// SPDX-License-Identifier: Apache-2.0
// Refill<File>: LPIs in list registers: ordinary entries with INTIDs from 8192 on, edge, Group 1, never active for us: the
// guest's acknowledge ends the pending state, and whether a slot still says "active" is of no consequence, as neither an
// EOI nor a DIR of an LPI is counted in EOIcount. Included by vgic/refill.hpp only. Locks: dist_lock and the vCPU's.
// Spec: [IHI0069 §5.1, §12.4 ICH_LR<n>_EL2, ICH_HCR_EL2.EOIcount].
#pragma once
#include "vgic/refill.hpp"

namespace atl::vgic {

/// Adds what is deliverable here to the candidates: no more words are looked into than there are list registers, since the
/// most urgent LPIs are in the words with the most urgent ones.
template <class File>
void Refill<File>::add_lpis(TopList& pending, u32 groups, bool interface_group1) {
    Lpis& lpis = *gic_.lpis();
    const VcpuLpis& at = lpis.vcpu(index_.value);
    if ((groups & 2) == 0) {
        return; // LPIs are in Group 1 [§4.6]
    }
    constexpr u32 words_per_bit = vlpi_words / 64;
    TopList words(file_.count());
    for (u64 ready = at.ready; ready != 0; ready &= ready - 1) {
        const u32 first = static_cast<u32>(std::countr_zero(ready)) * words_per_bit;
        for (u32 w = first; w < first + words_per_bit; ++w) {
            if (at.best[w] != VcpuLpis::idle) {
                words.add(TopList::key(0, at.best[w], w));
            }
        }
    }
    pending.more(words.total() - words.size());
    for (unsigned i = 0; i < words.size(); ++i) {
        const u32 w = TopList::intid(words[i]);
        for (u32 bits = lpis.deliverable(index_.value, w); bits != 0; bits &= bits - 1) {
            const u32 n = 32 * w + static_cast<u32>(std::countr_zero(bits));
            pending.add(TopList::key(interface_group1 ? 0 : 1, lpis.priority(n), gic::first_lpi + n));
        }
    }
}

template <class File>
void Refill<File>::list_lpi(unsigned slot, u32 lpi) {
    Lpis& lpis = *gic_.lpis();
    VcpuLpis& at = lpis.vcpu(index_.value);
    const u32 n = lpi - gic::first_lpi;
    lpis.take(index_.value, n);
    ++at.listed;
    g_.used |= u32{1} << slot;
    g_.latched |= u32{1} << slot;
    g_.lr[slot].store(lpi_lr(lpi), std::memory_order_relaxed);
    note(lpi, Happened::listed, lpi_lr(lpi));
}

template <class File>
u64 Refill<File>::lpi_lr(u32 lpi) const {
    return Lr::VINTID::of(lpi) | Lr::Priority::of(gic_.lpis()->priority(lpi - gic::first_lpi)) |
           Lr::Group::mask | Lr::Pending::mask;
}

/// Still pending: back to where it is pending now, which a command may have changed.
template <class File>
void Refill<File>::fold_lpi(unsigned slot, u64 lr) {
    Lpis& lpis = *gic_.lpis();
    VcpuLpis& at = lpis.vcpu(index_.value);
    const auto n =
        static_cast<u32>(Lr::VINTID::get(g_.lr[slot].load(std::memory_order_relaxed))) - gic::first_lpi;
    --at.listed;
    note(n + gic::first_lpi, Happened::read_back, lr);
    const u8 where = at.goes_to[slot] == VcpuLpis::stays ? index_.value : at.goes_to[slot];
    at.goes_to[slot] = VcpuLpis::stays;
    if (!Lr::Pending::test(lr) || where == VcpuLpis::dropped) {
        return;
    }
    lpis.put(where, n);
    if (where != index_.value && gic_.vcpu({where}).post(work_refill)) {
        kicks_ |= 1u << where;
    }
}

} // namespace atl::vgic
