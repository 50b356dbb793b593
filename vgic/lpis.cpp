// SPDX-License-Identifier: Apache-2.0
// Lpis: arrival, routing, configuration, and what ITS commands do to them. See vgic/lpis.hpp. The redistributor's
// registers are in vgic/lpi_regs.cpp. Spec: [IHI0069 §5.1, §5.3].
#include "vgic/lpis.hpp"

#include <bit>

#include "vgic/direct_lpis.hpp"

namespace atl::vgic {
namespace {

constexpr u32 every_lpi = 0; // of redirect()
constexpr u64 chunk_bytes = 512;

} // namespace

void Lpis::attach(VirtualGic& gic, const GuestMemory& memory) {
    gic_ = &gic;
    memory_ = memory;
    priority_mask_ = gic.priority_mask() & static_cast<u8>(gic::LpiConfig::Priority::mask);
    gic.set_lpis(this);
    LockGuard dist(gic.dist_lock());
    reset();
}

void Lpis::reset() {
    propbaser_.store(0, std::memory_order_relaxed);
    hints_.store(0, std::memory_order_relaxed);
    for (u32 w = 0; w < vlpi_words; ++w) {
        arrived_[w].store(0, std::memory_order_relaxed);
        configured_[w] = 0;
    }
    __builtin_memset(config_, 0, sizeof(config_));
    for (auto& collection : collection_) {
        collection.store(no_collection, std::memory_order_relaxed);
    }
    for (auto& target : targets_) {
        target.store(no_vcpu, std::memory_order_relaxed);
    }
    for (VcpuLpis& v : vcpus_) {
        v = VcpuLpis{};
        __builtin_memset(v.best, VcpuLpis::idle, sizeof(v.best));
        __builtin_memset(v.goes_to, VcpuLpis::stays, sizeof(v.goes_to));
    }
}

/// With fewer than 14 bits no LPI is covered; more than GICD_TYPER.IDbits count as that many [§12.11 GICR_PROPBASER].
u32 Lpis::covered() const {
    return gic::GicrPropbaser::IDbits::get(propbaser_.load(std::memory_order_relaxed)) + 1 >= vlpi_id_bits
               ? vlpi_count
               : 0;
}

VcpuMask Lpis::post(unsigned v, u64 work) {
    return gic_->vcpu({static_cast<u8>(v)}).post(work) ? 1u << v : 0;
}

/// No lock. Who collects looks at the route again, and tells whoever has become the target meanwhile.
VcpuMask Lpis::arrive(u32 lpi) {
    if (!exists(lpi)) {
        return 0;
    }
    const u32 n = number(lpi);
    const u8 v = route(n);
    if (v == no_vcpu) {
        return 0;
    }
    stat_arrived_.fetch_add(1, std::memory_order_relaxed);
    gic_->history().note(lpi, Happened::message, v);
    arrived_[n / 32].fetch_or(bit(n), std::memory_order_relaxed);
    // Release: who takes the hint out (acquire) sees the bit.
    hints_.fetch_or(u64{1} << (n / 32 / words_per_hint), std::memory_order_release);
    return post(v, work_lpi);
}

VcpuMask Lpis::collect(VcpuIndex self) {
    VcpuMask others = 0;
    drain([&](u32 n, u8 v) {
        put(v, n);
        others |= v != self.value ? post(v, work_refill) : 0;
    });
    return others;
}

void Lpis::collect_own(unsigned v) {
    for (u64 groups = hints_.load(std::memory_order_acquire); groups != 0; groups &= groups - 1) {
        const u32 first = static_cast<u32>(std::countr_zero(groups)) * words_per_hint;
        for (u32 w = first; w < first + words_per_hint; ++w) {
            for (u32 bits = arrived_[w].load(std::memory_order_relaxed); bits != 0; bits &= bits - 1) {
                const u32 n = 32 * w + static_cast<u32>(std::countr_zero(bits));
                if (route(n) == v) {
                    arrived_[w].fetch_and(~bit(n), std::memory_order_relaxed);
                    put(v, n);
                }
            }
        }
    }
}

void Lpis::refresh(unsigned v, u32 word) {
    VcpuLpis& at = vcpus_[v];
    u8 best = VcpuLpis::idle;
    for (u32 bits = at.enabled ? deliverable(v, word) : 0; bits != 0; bits &= bits - 1) {
        const u8 one = priority(32 * word + static_cast<u32>(std::countr_zero(bits)));
        best = one < best ? one : best;
    }
    at.best[word] = best;
    const u32 group = word / words_per_hint;
    u8 all = VcpuLpis::idle;
    for (u32 w = group * words_per_hint; w < (group + 1) * words_per_hint; ++w) {
        all &= at.best[w]; // idle is all ones, and no priority is
    }
    at.ready = all == VcpuLpis::idle ? at.ready & ~(u64{1} << group) : at.ready | (u64{1} << group);
}

/// A redistributor with EnableLPIs clear takes no LPI [§12.11 GICR_CTLR]. A direct one pends in its vPE's table alone.
void Lpis::put(unsigned v, u32 n) {
    VcpuLpis& at = vcpus_[v];
    if (direct_ != nullptr && direct_->owned(n)) [[unlikely]] {
        return direct_->raise(n);
    }
    if (at.enabled || at.draining) {
        at.pending[n / 32] |= bit(n);
        refresh(v, n / 32);
    }
}

void Lpis::take(unsigned v, u32 n) {
    vcpus_[v].pending[n / 32] &= ~bit(n);
    refresh(v, n / 32);
}

u8 Lpis::most_urgent(unsigned v) const {
    const VcpuLpis& at = vcpus_[v];
    u8 best = VcpuLpis::idle;
    for (u64 groups = at.ready; groups != 0; groups &= groups - 1) {
        const u32 first = static_cast<u32>(std::countr_zero(groups)) * words_per_hint;
        for (u32 w = first; w < first + words_per_hint; ++w) {
            best = at.best[w] < best ? at.best[w] : best;
        }
    }
    return best;
}

// ---- commands ----

/// An LPI, or every one, that sits in a list register of `v` goes elsewhere if it is still pending when that is read back.
/// Caller: dist_lock.
VcpuMask Lpis::redirect(unsigned v, u32 lpi, u8 where) {
    VcpuLpis& at = vcpus_[v];
    if (at.listed == 0) {
        return 0;
    }
    bool found = false;
    VcpuGic& g = gic_->vcpu({static_cast<u8>(v)});
    {
        LockGuard guard(g.lock);
        for (u32 slots = g.used; slots != 0; slots &= slots - 1) {
            const unsigned slot = static_cast<unsigned>(std::countr_zero(slots));
            const auto intid =
                static_cast<u32>(gic::IchLr::VINTID::get(g.lr[slot].load(std::memory_order_relaxed)));
            if (intid >= gic::first_lpi && (lpi == every_lpi || intid == lpi)) {
                at.goes_to[slot] = where;
                found = true;
            }
        }
    }
    return found ? post(v, work_recall) : 0;
}

/// Not pending any more, neither where it is routed to nor on the way there. Caller: dist_lock.
VcpuMask Lpis::withdraw(u32 n) {
    arrived_[n / 32].fetch_and(~bit(n), std::memory_order_relaxed);
    const u8 v = route(n);
    if (v == no_vcpu) {
        return 0;
    }
    take(v, n);
    return redirect(v, n + gic::first_lpi, VcpuLpis::dropped);
}

/// Pending state stays where it is: MOVALL moves it [§5.3.5 MAPC].
void Lpis::map_collection(unsigned collection, u8 vcpu) {
    LockGuard dist(gic_->dist_lock());
    targets_[collection].store(vcpu, std::memory_order_relaxed);
}

VcpuMask Lpis::map(u32 lpi, u8 collection) {
    {
        LockGuard dist(gic_->dist_lock());
        collection_[number(lpi)].store(collection, std::memory_order_relaxed);
        gic_->history().note_change(lpi, 1, Happened::mapped, no_vcpu, collection);
    }
    return reload(lpi);
}

VcpuMask Lpis::unmap(u32 lpi) {
    LockGuard dist(gic_->dist_lock());
    gic_->history().note_change(lpi, 1, Happened::unmapped, no_vcpu);
    const VcpuMask mask = withdraw(number(lpi));
    collection_[number(lpi)].store(no_collection, std::memory_order_relaxed);
    return mask;
}

VcpuMask Lpis::clear(u32 lpi) {
    VcpuMask mask = 0;
    {
        LockGuard dist(gic_->dist_lock());
        gic_->history().note_change(lpi, 1, Happened::cleared, no_vcpu);
        mask = withdraw(number(lpi));
    }
    if (direct_ != nullptr) {
        direct_->clear(lpi);
    }
    return mask;
}

VcpuMask Lpis::move(u32 lpi, u8 collection) {
    const u32 n = number(lpi);
    LockGuard dist(gic_->dist_lock());
    VcpuMask mask = collect({no_vcpu}); // what is on its way to a vCPU that may never look
    const u8 from = route(n);
    collection_[n].store(collection, std::memory_order_relaxed);
    gic_->history().note_change(lpi, 1, Happened::moved, no_vcpu, collection);
    const u8 to = route(n);
    if (from == to || from == no_vcpu || to == no_vcpu) {
        return mask;
    }
    mask |= redirect(from, lpi, to);
    if ((vcpus_[from].pending[n / 32] & bit(n)) != 0) {
        take(from, n);
        put(to, n);
        mask |= post(to, work_refill);
    }
    return mask;
}

VcpuMask Lpis::move_all(unsigned from, unsigned to) {
    if (from == to) {
        return 0;
    }
    LockGuard dist(gic_->dist_lock());
    VcpuLpis& source = vcpus_[from];
    VcpuLpis& destination = vcpus_[to];
    VcpuMask mask = collect({no_vcpu});
    mask |= redirect(from, every_lpi, static_cast<u8>(to));
    for (u32 w = 0; w < vlpi_words; ++w) {
        if (source.pending[w] != 0) {
            gic_->history().note_change(gic::first_lpi + 32 * w, source.pending[w], Happened::moved_pending,
                                        static_cast<u8>(from), to);
            destination.pending[w] |= destination.enabled ? source.pending[w] : 0;
            source.pending[w] = 0;
            refresh(from, w);
            refresh(to, w);
            mask |= post(to, work_refill);
        }
    }
    return mask;
}

// ---- configuration [§5.1.1 LPI Configuration tables] ----

Ipa Lpis::configuration_of(u32 n) const {
    return Ipa{(propbaser_.load(std::memory_order_relaxed) & gic::GicrPropbaser::Physical_Address::mask) + n};
}

/// Bytes of the table for LPIs from number `first` on. A list register has a configuration in it, too.
VcpuMask Lpis::apply(u32 first, std::span<const std::byte> bytes) {
    LockGuard dist(gic_->dist_lock());
    VcpuMask concerned = 0;
    for (u32 at = 0; at < bytes.size();) {
        const u32 n = first + at;
        const u32 left = 32 - n % 32;
        const u32 count = left < bytes.size() - at ? left : static_cast<u32>(bytes.size() - at);
        if (__builtin_memcmp(config_ + n, bytes.data() + at, count) != 0) {
            u32 enables = configured_[n / 32];
            for (u32 i = 0; i < count; ++i) {
                const auto one = static_cast<u8>(bytes[at + i]);
                config_[n + i] = one;
                if (bytes.size() == 1) { // of a whole table only what is watched
                    gic_->history().note_change(gic::first_lpi + n, 1, Happened::configured, no_vcpu, one);
                } else {
                    gic_->history().note(gic::first_lpi + n + i, Happened::configured, no_vcpu, one);
                }
                enables = gic::LpiConfig::Enable::test(one) ? enables | bit(n + i) : enables & ~bit(n + i);
            }
            configured_[n / 32] = enables;
            if (direct_ != nullptr) {
                configure_direct(n, count);
            }
            for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
                if (vcpus_[v].pending[n / 32] != 0) {
                    refresh(v, n / 32);
                    concerned |= 1u << v;
                }
                concerned |= vcpus_[v].listed != 0 ? 1u << v : 0;
            }
        }
        at += count;
    }
    VcpuMask mask = 0;
    for (; concerned != 0; concerned &= concerned - 1) {
        mask |= post(static_cast<unsigned>(std::countr_zero(concerned)), work_recall);
    }
    return mask;
}

/// What cannot be read is as it was: a table outside the VM's memory configures nothing.
VcpuMask Lpis::reload(u32 lpi) {
    std::array<std::byte, 1> one;
    if (!memory_.read(memory_.context, configuration_of(number(lpi)), one).ok()) {
        return 0;
    }
    const VcpuMask mask = apply(number(lpi), one);
    if (direct_ != nullptr) {
        direct_->invalidate(lpi);
    }
    return mask;
}

VcpuMask Lpis::reload_all() {
    std::array<std::byte, chunk_bytes> bytes;
    VcpuMask mask = 0;
    for (u32 n = 0; n < covered(); n += chunk_bytes) {
        if (!memory_.read(memory_.context, configuration_of(n), bytes).ok()) {
            break;
        }
        mask |= apply(n, bytes);
    }
    if (direct_ != nullptr) {
        direct_->invalidate_all();
    }
    return mask;
}

} // namespace atl::vgic
