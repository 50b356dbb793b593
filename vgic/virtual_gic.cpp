// SPDX-License-Identifier: Apache-2.0
// VirtualGic: life cycle, inputs (lines, pulses, SGIs), who must be told, whether a parked vCPU has something
// to do. Does not decode registers (dist_regs.cpp, redist_regs.cpp) nor touch list registers (refill.hpp).
// Locks: as said in virtual_gic.hpp. Spec: [IHI0069 §4, §6].
#include "vgic/virtual_gic.hpp"

#include <bit>

#include "vgic/lpis.hpp"

namespace atl::vgic {

Status VirtualGic::init(const Config& config) {
    const bool timer_ok = config.timer_vintid == 0 ||
                          (config.timer_vintid >= gic::first_ppi && config.timer_vintid < gic::first_spi &&
                           config.timer_pintid >= gic::first_ppi && config.timer_pintid < gic::first_spi);
    if (config.vcpus == 0 || config.vcpus > max_vcpus_per_vm || config.spis < 32 || config.spis % 32 != 0 ||
        config.spis > gic::max_intids - gic::first_spi || config.priority_bits < 4 ||
        config.priority_bits > 8 || !timer_ok) {
        return Error::invalid_argument;
    }
    config_ = config;
    listed_elsewhere_ = config.gicv2 || config.software;
    set_lpis(lpis_);
    priority_mask_ = static_cast<u8>(0xff00u >> config.priority_bits);
    return reset();
}

Status VirtualGic::reset() {
    for (const VcpuGic& vcpu : vcpus_) {
        if (vcpu.loaded.load(std::memory_order_acquire)) {
            return Error::busy;
        }
    }
    history_.note_reset();
    LockGuard dist(dist_lock_);
    groups_.store(0, std::memory_order_relaxed);
    for (SpiBank& bank : banks_) {
        bank.reset();
        for (unsigned i = 0; i < 32; ++i) {
            bank.owner[i].store(no_vcpu, std::memory_order_relaxed);
            set_target(bank, i, 0); // affinity 0.0.0.0, as most implementations reset it
        }
        for (u32& owned : bank.owned) {
            owned = 0;
        }
    }
    if (lpis_ != nullptr) {
        lpis_->reset();
    }
    for (VcpuGic& vcpu : vcpus_) {
        LockGuard guard(vcpu.lock);
        vcpu.work.store(0, std::memory_order_relaxed);
        vcpu.priv.reset();
        vcpu.priv.edge = 0xffff; // SGIs are edge, our PPIs level
        vcpu.asleep.store(true, std::memory_order_relaxed);
        vcpu.used = vcpu.latched = 0;
        for (u8& slot : vcpu.slot_of) {
            slot = no_slot;
        }
        vcpu.long_way = 0;
        vcpu.quiet = vcpu.quiet_v2 = false;
        vcpu.hcr = 0;
        vcpu.timer = HwTimer{config_.timer_vintid, config_.timer_pintid, false};
        vcpu.timer_lr.store(0, std::memory_order_relaxed);
        vcpu.saved = CpuInterface{};
        if (config_.gicv2) {
            // FIQEn is 0, and the binary points have their least values for five bits [IHI0048B §4.4.3, §4.4.8].
            vcpu.saved.vmcr = gic::IchVmcr::VBPR0::of(2) | gic::IchVmcr::VBPR1::of(3);
        }
        for (std::atomic<u64>& sources : vcpu.sgi_sources) {
            sources.store(0, std::memory_order_relaxed);
        }
        for (u8& source : vcpu.active_source) {
            source = 0;
        }
        vcpu.sync_tag = 0;
        vcpu.sync_mask = 0;
    }
    return {};
}

Status VirtualGic::back_by_host(Intid spi, bool backed) {
    if (spi.value < gic::first_spi || spi.value >= intid_count()) {
        return Error::invalid_argument;
    }
    u32& mask = banks_[spi.value / 32 - 1].host_backed;
    const u32 bit = 1u << (spi.value % 32);
    mask = backed ? mask | bit : mask & ~bit;
    return {};
}

/// The input falls first: the physical line may fire again, on any CPU, as soon as it is let go.
void VirtualGic::resample(SpiBank& bank, u32 bits) {
    const auto first = static_cast<u32>(&bank - banks_.data()) * 32 + gic::first_spi;
    for (; bits != 0; bits &= bits - 1) {
        bank.line.fetch_and(~(bits & -bits));
        host_lines_.resample(host_lines_.context, Intid{first + static_cast<u32>(std::countr_zero(bits))});
    }
}

void VirtualGic::set_owner(SpiBank& bank, unsigned i, u8 owner) {
    const u8 old = bank.owner[i].load(std::memory_order_relaxed);
    if (old != no_vcpu) {
        bank.owned[old] &= ~(1u << i);
    }
    bank.owner[i].store(owner); // sequentially consistent: see notify_input
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (owner != no_vcpu) {
        bank.owned[owner] |= 1u << i;
    }
}

void VirtualGic::set_target(SpiBank& bank, unsigned i, u64 route) {
    const auto index = static_cast<u32>(&bank - banks_.data());
    const u8 target = resolve_route(route, gic::first_spi + 32 * index + i);
    for (u32& routed : bank.routed) {
        routed &= ~(1u << i);
    }
    bank.route[i] = route;
    bank.target[i].store(target); // sequentially consistent: see notify_input
    if (target != no_vcpu) {
        bank.routed[target] |= 1u << i;
    }
}

/// 1 of N: spread by INTID over the vCPUs that are awake. The choice is made when the route is written, which
/// the architecture leaves open [IHI0069 §3.2]; a choice per delivery would cost a lock in set_line.
u8 VirtualGic::resolve_route(u64 route, u32 intid) const {
    if (config_.gicv2) {
        return resolve_targets(route);
    }
    if (gic::GicdIrouter::IRM::test(route)) {
        const unsigned first = intid % max_vcpus_per_vm < config_.vcpus ? intid % max_vcpus_per_vm : 0;
        for (unsigned i = 0; i < config_.vcpus; ++i) {
            const unsigned v = first + i < config_.vcpus ? first + i : first + i - config_.vcpus;
            if (!vcpus_[v].asleep.load(std::memory_order_relaxed)) {
                return static_cast<u8>(v);
            }
        }
        return static_cast<u8>(first);
    }
    const u64 affinity = route & (gic::GicdIrouter::Aff012::mask | gic::GicdIrouter::Aff3::mask);
    return affinity < config_.vcpus ? static_cast<u8>(affinity) : no_vcpu;
}

VcpuMask VirtualGic::notify(SpiBank& bank, u32 bits, u64 work, VcpuIndex caller) {
    VcpuMask mask = 0;
    for (unsigned v = 0; v < config_.vcpus; ++v) {
        if (((bank.routed[v] | bank.owned[v]) & bits) != 0 && vcpus_[v].post(work) && v != caller.value) {
            mask |= 1u << v;
        }
    }
    return mask;
}

VcpuMask VirtualGic::notify_all(u64 work, VcpuIndex caller) {
    VcpuMask mask = 0;
    for (unsigned v = 0; v < config_.vcpus; ++v) {
        if (vcpus_[v].post(work) && v != caller.value) {
            mask |= 1u << v;
        }
    }
    return mask;
}

/// No lock. The input was changed before target and owner are read here; set_target and set_owner write those
/// before the inputs are looked at again (by their notify or refill). Both sequentially consistent, so one
/// side sees the other: the input reaches the vCPU that must deliver it. `risen`: it may have the short way.
VcpuMask VirtualGic::notify_input(unsigned bank_index, unsigned i, bool risen) {
    const SpiBank& bank = banks_[bank_index];
    const u8 target = bank.target[i].load();
    const u8 owner = bank.owner[i].load();
    VcpuMask mask = 0;
    if (risen && target != no_vcpu && (owner == no_vcpu || owner == target)) {
        return vcpus_[target].post(work_bank(bank_index)) ? 1u << target : 0;
    }
    if (target != no_vcpu && vcpus_[target].post(work_refill)) {
        mask |= 1u << target;
    }
    if (owner != no_vcpu && owner != target && vcpus_[owner].post(work_refill)) {
        mask |= 1u << owner;
    }
    return mask;
}

VcpuMask VirtualGic::set_line(Intid spi, bool high) {
    if (spi.value < gic::first_spi || spi.value >= intid_count()) {
        return 0;
    }
    const unsigned bank_index = spi.value / 32 - 1;
    SpiBank& bank = banks_[bank_index];
    const u32 bit = 1u << (spi.value % 32);
    if (((bank.line.load(std::memory_order_relaxed) & bit) != 0) == high) {
        return 0;
    }
    const u32 old = high ? bank.line.fetch_or(bit) : bank.line.fetch_and(~bit);
    if (((old & bit) != 0) == high) {
        return 0;
    }
    history_.note(spi.value, high ? Happened::line_high : Happened::line_low, no_vcpu);
    if (high) {
        // A rising edge latches an edge-triggered interrupt. A latch left over when the guest calls the
        // interrupt level-triggered would be a false pending state, so only then. Reading `edge` without the
        // lock is a race only with a guest that reconfigures an enabled interrupt, which is UNPREDICTABLE
        // [IHI0069 §12.9 ICFGR].
        if ((std::atomic_ref<u32>(bank.edge).load(std::memory_order_relaxed) & bit) != 0) {
            bank.latch.fetch_or(bit);
        }
    }
    return notify_input(bank_index, spi.value % 32, high);
}

VcpuMask VirtualGic::pulse(Intid spi) {
    if (spi.value < gic::first_spi || spi.value >= intid_count()) {
        return 0;
    }
    const unsigned bank_index = spi.value / 32 - 1;
    history_.note(spi.value, Happened::message, no_vcpu);
    banks_[bank_index].latch.fetch_or(1u << (spi.value % 32));
    return notify_input(bank_index, spi.value % 32, true);
}

VcpuMask VirtualGic::set_ppi(VcpuIndex vcpu, Intid ppi, bool high) {
    if (vcpu.value >= config_.vcpus || ppi.value < gic::first_ppi || ppi.value >= gic::first_spi) {
        return 0;
    }
    VcpuGic& g = vcpus_[vcpu.value];
    const u32 bit = 1u << ppi.value;
    if (((g.priv.line.load(std::memory_order_relaxed) & bit) != 0) == high) {
        return 0; // mostly
    }
    if (bit == g.timer.bit() && g.loaded.load(std::memory_order_relaxed)) {
        return 0;
    }
    const u32 old = high ? g.priv.line.fetch_or(bit) : g.priv.line.fetch_and(~bit);
    if (((old & bit) != 0) == high) {
        return 0;
    }
    history_.note(ppi.value, high ? Happened::line_high : Happened::line_low, vcpu.value);
    return g.post(work_refill) ? 1u << vcpu.value : 0;
}

VcpuMask VirtualGic::pulse_ppi(VcpuIndex vcpu, Intid ppi) {
    if (vcpu.value >= config_.vcpus || ppi.value < gic::first_ppi || ppi.value >= gic::first_spi) {
        return 0;
    }
    history_.note(ppi.value, Happened::message, vcpu.value);
    return vcpus_[vcpu.value].post(u64{1} << ppi.value) ? 1u << vcpu.value : 0;
}

/// [IHI0069 §12.2 ICC_SGI1R_EL1]. One lock-free OR per target; its list register is filled when the target
/// enters.
VcpuMask VirtualGic::sgi_write(VcpuIndex caller, SgiRegister reg, u64 value) {
    using R = gic::IccSgir;
    const u32 all = (1u << config_.vcpus) - 1;
    constexpr u64 elsewhere = R::Aff3::mask | R::Aff2::mask | R::Aff1::mask | R::RS::mask;
    u32 targets = static_cast<u32>(R::TargetList::get(value)) & all;
    if ((value & (elsewhere | R::IRM::mask)) != 0) [[unlikely]] {
        // IRM = 1: all but the caller, whatever the affinity fields say.
        targets = R::IRM::test(value) ? all & ~(1u << caller.value) : 0;
    }
    const u32 bit = 1u << R::INTID::get(value);
    if (reg != SgiRegister::sgi1r) [[unlikely]] {
        targets = in_group0(targets, bit);
    }
    VcpuMask mask = 0;
    for (; targets != 0; targets &= targets - 1) {
        const unsigned v = static_cast<unsigned>(std::countr_zero(targets));
        history_.note(static_cast<u32>(R::INTID::get(value)), Happened::sgi, static_cast<u8>(v),
                      caller.value);
        if (vcpus_[v].post(bit) && v != caller.value) {
            mask |= 1u << v;
        }
    }
    return mask;
}

/// Only Group 0 SGIs can be generated by ICC_SGI0R_EL1 and ICC_ASGI1R_EL1 [IHI0069 §12.2 ICC_SGI0R_EL1].
VcpuMask VirtualGic::in_group0(VcpuMask targets, u32 sgi) {
    VcpuMask result = 0;
    for (; targets != 0; targets &= targets - 1) {
        const unsigned v = static_cast<unsigned>(std::countr_zero(targets));
        LockGuard guard(vcpus_[v].lock);
        if ((vcpus_[v].priv.group1 & sgi) == 0) {
            result |= 1u << v;
        }
    }
    return result;
}

VcpuMask VirtualGic::watch(u32 intid) {
    history_.watch(intid);
    if (intid != History::nothing) {
        history_.note(intid, Happened::watched, no_vcpu);
    }
    return notify_all(work_refill, {no_vcpu}); // which ends or begins the short ways
}

u64 VirtualGic::absorb(VcpuGic& vcpu) {
    // Acquire: what was changed before the post is visible to what follows.
    const u64 work = vcpu.work.exchange(0, std::memory_order_acquire);
    if (const auto pulses = static_cast<u32>(work); pulses != 0) {
        vcpu.priv.latch.fetch_or(pulses, std::memory_order_relaxed);
    }
    if ((work >> 32) != 0) {
        if ((work >> 32) != work_sources >> 32) {
            vcpu.quiet = vcpu.quiet_v2 = false;
        }
        if ((work & (work_its | work_sources)) != 0) [[unlikely]] {
            vcpu.work.fetch_or(work & work_its, std::memory_order_relaxed); // not for us
            if ((work & work_sources) != 0) {
                gather_sources(vcpu);
            }
        }
    }
    return work;
}

void VirtualGic::absorb_pulses(VcpuGic& vcpu) {
    if ((vcpu.work.load(std::memory_order_acquire) & work_sources) != 0) {
        gather_sources(vcpu);
    }
    if (static_cast<u32>(vcpu.work.load(std::memory_order_relaxed)) == 0) {
        return;
    }
    // First the refill, so that the vCPU cannot see `work` empty and enter the guest without the pulses.
    vcpu.post(work_refill);
    const u64 old = vcpu.work.fetch_and(~u64{0xffff'ffff}, std::memory_order_acq_rel);
    vcpu.priv.latch.fetch_or(static_cast<u32>(old), std::memory_order_relaxed);
}

/// The CPU interface's rules: group enable, priority mask, preemption of the running priority [IHI0069 §4.8].
bool VirtualGic::would_deliver(const CpuInterface& cpu, u32 priority, bool group1) const {
    using V = gic::IchVmcr;
    const bool enabled = group1 ? V::VENG1::test(cpu.vmcr) : V::VENG0::test(cpu.vmcr);
    if (!enabled || priority >= V::VPMR::get(cpu.vmcr)) {
        return false;
    }
    // Binary point: Group 0 compares bits 7..b+1, Group 1 bits 7..b, unless it shares Group 0's [§4.8.2].
    unsigned point = static_cast<unsigned>(V::VBPR0::get(cpu.vmcr)) + 1;
    if (group1 && !V::VCBPR::test(cpu.vmcr)) {
        point = static_cast<unsigned>(V::VBPR1::get(cpu.vmcr));
    }
    const u32 group_priority = priority & (0xffu << point) & 0xff;
    // Active priorities: one bit per preemption level; the number of words tells how many levels there are.
    for (unsigned word = 0; word < 4; ++word) {
        if (const u32 levels = cpu.ap0r[word] | cpu.ap1r[word]; levels != 0) {
            const u32 level = 32 * word + static_cast<u32>(std::countr_zero(levels));
            const u32 running = (level << cpu.level_shift) & 0xff;
            return group_priority < running;
        }
    }
    return true;
}

bool VirtualGic::look_for_pending(VcpuIndex index) {
    VcpuGic& g = vcpus_[index.value];
    if (g.loaded.load(std::memory_order_relaxed)) {
        return true; // its list registers may hold something: save() first
    }
    LockGuard dist(dist_lock_);
    LockGuard guard(g.lock);
    absorb(g);
    const u32 group_enables = groups();
    if (lpis_ != nullptr && lpis_->busy(index.value)) {
        lpis_->collect_own(index.value);
        const u8 urgent = lpis_->most_urgent(index.value);
        if ((group_enables & 2) != 0 && urgent != VcpuLpis::idle && would_deliver(g.saved, urgent, true)) {
            return true;
        }
    }
    if (lpis_ != nullptr && lpis_->direct_pending(index.value) && would_deliver(g.saved, 0, true)) {
        return true; // its priority is not known: maybe
    }
    for (unsigned word = 0; word <= bank_count(); ++word) {
        const Bank& bank = word == 0 ? g.priv : static_cast<const Bank&>(banks_[word - 1]);
        u32 ready =
            bank.inputs() & (word == 0 ? ~u32{0} : banks_[word - 1].routed[index.value] & ~bank.listed);
        if (ready == 0) {
            continue;
        }
        ready &= bank.forwarded(group_enables) & ~bank.active;
        for (; ready != 0; ready &= ready - 1) {
            const unsigned i = static_cast<unsigned>(std::countr_zero(ready));
            if (would_deliver(g.saved, bank.priority[i], ((bank.group1 >> i) & 1) != 0)) {
                return true;
            }
        }
    }
    return false;
}

} // namespace atl::vgic
