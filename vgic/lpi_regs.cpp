// SPDX-License-Identifier: Apache-2.0
// Lpis: the redistributors' LPI registers: GICR_CTLR, GICR_PROPBASER, GICR_PENDBASER, and the pending table. There is no
// GICR_INVLPIR and its like: GICR_TYPER.DirectLPI and GICR_CTLR.IR are 0. Untrusted values. Spec: [IHI0069 §5.1.2, §12.11].
#include <bit>

#include "vgic/direct_lpis.hpp"

namespace atl::vgic {
namespace {

using namespace gic;

constexpr u64 chunk_words = 64;
/// The pending table has a bit for every INTID, those below 8192 included [§5.1.2].
constexpr u64 first_pending_byte = first_lpi / 8;

/// What EL2's accesses are; in some implementations these fields are fixed [§12.11 GICR_PROPBASER.Shareability].
constexpr u64 attributes =
    GicrPropbaser::Shareability::of(shareability_inner) | GicrPropbaser::InnerCache::of(cache_write_back);
constexpr u64 propbaser_kept = GicrPropbaser::IDbits::mask | GicrPropbaser::Physical_Address::mask;
constexpr u64 pendbaser_kept = GicrPendbaser::PTZ::mask | GicrPendbaser::Physical_Address::mask;

} // namespace

bool Lpis::any_enabled() const {
    bool any = false;
    for (const VcpuLpis& v : vcpus_) {
        any = any || v.enabled || v.draining;
    }
    return any;
}

u64 Lpis::read_register(unsigned v, u64 reg, unsigned size) {
    LockGuard dist(gic_->dist_lock());
    const VcpuLpis& at = vcpus_[v];
    if (reg == gicr::ctlr) {
        return size == 4 ? GicrCtlr::EnableLPIs::of(at.enabled || at.draining ? 1 : 0) | GicrCtlr::CES::mask
                         : 0;
    }
    if ((size != 4 && size != 8) || reg < gicr::propbaser) {
        return 0;
    }
    // PTZ reads as zero.
    return register_part(reg < gicr::pendbaser ? propbaser_.load(std::memory_order_relaxed) | attributes
                                               : (at.pendbaser & ~GicrPendbaser::PTZ::mask) | attributes,
                         reg, size);
}

/// The tables are those of when EnableLPIs was set: writes while it is set are UNPREDICTABLE, and have no effect here.
Access Lpis::write_register(VcpuIndex caller, unsigned v, u64 reg, unsigned size, u64 value) {
    if (reg == gicr::ctlr) {
        return size != 4                           ? Access{}
               : GicrCtlr::EnableLPIs::test(value) ? enable(caller, v)
                                                   : disable(caller, v);
    }
    if ((size != 4 && size != 8) || reg < gicr::propbaser) {
        return {};
    }
    LockGuard dist(gic_->dist_lock());
    VcpuLpis& at = vcpus_[v];
    if (reg >= gicr::pendbaser) {
        if (!at.enabled && !at.draining) {
            at.pendbaser = register_with(at.pendbaser, reg, size, value) & pendbaser_kept;
        }
    } else if (!any_enabled()) {
        propbaser_.store(register_with(propbaser_.load(std::memory_order_relaxed), reg, size, value) &
                             propbaser_kept,
                         std::memory_order_relaxed);
    }
    return {};
}

/// LPIs were turned on or off at `v`: whether its vPE may be resident changes at once, what is mapped to it before the caller
/// runs on [VirtualIts::step()]. Caller: dist_lock.
void Lpis::follow_enable(VcpuIndex caller, unsigned v, VcpuMask& mask) {
    if (direct_ != nullptr) {
        direct_->routes_changed();
        mask |= direct_->refresh_allowed(v);
        static_cast<void>(gic_->vcpu(caller).post(work_its));
    }
}

Access Lpis::enable(VcpuIndex caller, unsigned v) {
    VcpuMask mask = 0;
    {
        LockGuard dist(gic_->dist_lock());
        VcpuLpis& at = vcpus_[v];
        if (at.enabled) {
            return {};
        }
        if (at.draining) { // by another vCPU, and not done: as if it had never begun
            at.draining = false;
            at.enabled = true;
            for (u32 w = 0; w < vlpi_words; ++w) {
                refresh(v, w);
            }
            mask = post(v, work_refill);
            follow_enable(caller, v, mask);
            return {0, mask & ~(1u << caller.value)};
        }
        mask = collect({no_vcpu}); // what has arrived here so far is nothing
    }
    read_pending_table(v);
    {
        LockGuard dist(gic_->dist_lock());
        vcpus_[v].enabled = true;
        vcpus_[v].pendbaser &= ~GicrPendbaser::PTZ::mask; // said of the table as it was now
        for (u32 w = 0; w < vlpi_words; ++w) {
            refresh(v, w);
        }
        mask |= post(v, work_refill);
    }
    mask |= reload_all();
    {
        LockGuard dist(gic_->dist_lock());
        follow_enable(caller, v, mask); // once their configuration is there
    }
    return {0, mask & ~(1u << caller.value)};
}

/// What list registers, or a vPE's table, hold comes back first, so that the table has all of it: the write is repeated until then.
Access Lpis::disable(VcpuIndex caller, unsigned v) {
    VcpuMask mask = 0;
    {
        LockGuard dist(gic_->dist_lock());
        VcpuLpis& at = vcpus_[v];
        if (!at.enabled && !at.draining) {
            return {};
        }
        if (at.enabled) {
            mask = collect({no_vcpu});
            at.enabled = false;
            at.draining = true;
            follow_enable(caller, v, mask);
        }
        const bool direct = direct_ != nullptr && direct_->mapped(v) != 0;
        if (at.listed != 0 || direct) {
            mask |= post(v, work_recall);
            if (direct) {
                static_cast<void>(gic_->vcpu(caller).post(work_its));
            }
            return {0, mask & ~(1u << caller.value), true};
        }
    }
    write_pending_table(v);
    LockGuard dist(gic_->dist_lock());
    VcpuLpis& at = vcpus_[v];
    at.draining = false;
    __builtin_memset(at.pending, 0, sizeof(at.pending));
    __builtin_memset(at.best, VcpuLpis::idle, sizeof(at.best));
    at.ready = 0;
    return {0, mask & ~(1u << caller.value)};
}

void Lpis::read_pending_table(unsigned v) {
    u64 pendbaser = 0;
    {
        LockGuard dist(gic_->dist_lock());
        pendbaser = vcpus_[v].pendbaser;
    }
    if (GicrPendbaser::PTZ::test(pendbaser) || covered() == 0) {
        return;
    }
    const Ipa table{(pendbaser & GicrPendbaser::Physical_Address::mask) + first_pending_byte};
    for (u32 first = 0; first < vlpi_words; first += chunk_words) {
        u32 words[chunk_words] = {};
        if (!memory_.read(memory_.context, table + 4 * u64{first}, std::as_writable_bytes(std::span(words)))
                 .ok()) {
            return; // nothing is pending by a table that is not in the VM's memory
        }
        LockGuard dist(gic_->dist_lock());
        for (u32 i = 0; i < chunk_words; ++i) {
            vcpus_[v].pending[first + i] |= words[i];
        }
    }
}

void Lpis::write_pending_table(unsigned v) {
    Ipa table{};
    {
        LockGuard dist(gic_->dist_lock());
        table = Ipa{(vcpus_[v].pendbaser & GicrPendbaser::Physical_Address::mask) + first_pending_byte};
    }
    for (u32 first = 0; first < vlpi_words; first += chunk_words) {
        u32 words[chunk_words];
        {
            LockGuard dist(gic_->dist_lock());
            __builtin_memcpy(words, vcpus_[v].pending + first, sizeof(words));
        }
        if (!memory_.write(memory_.context, table + 4 * u64{first}, std::as_bytes(std::span(words))).ok()) {
            return;
        }
    }
}

} // namespace atl::vgic
