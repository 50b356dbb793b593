// SPDX-License-Identifier: Apache-2.0
// VirtualGic: the distributor's registers. Untrusted offsets, sizes and values; RAZ/WI for whatever does not
// exist. Locks: dist_lock for SPI state, then single vCPU locks to look at list-register shadows. Spec:
// [IHI0069 §12.8, §12.9].
#include <bit>

#include "vgic/lpis.hpp"

namespace atl::vgic {
namespace {

namespace gicd = gic::gicd;
constexpr u32 iidr_value = 0x41 << 24; // ProductID of our own, no JEP106 Implementer code
constexpr u64 bytes_per_word_array = 0x80;

} // namespace

void VirtualGic::set_lpis(Lpis* lpis) {
    using T = gic::GicdTyper;
    lpis_ = lpis;
    if (config_.gicv2) { // no Security Extensions
        typer_ =
            static_cast<u32>(T::ITLinesNumber::of(config_.spis / 32) | T::CPUNumber::of(config_.vcpus - 1));
        return;
    }
    // One security state, message-based SPIs, 1 of N supported, no range selector; LPIs with an ITS, else 10 INTID bits.
    typer_ = static_cast<u32>(
        T::ITLinesNumber::of(config_.spis / 32) | T::MBIS::mask |
        (lpis != nullptr ? T::LPIS::mask | T::IDbits::of(vlpi_id_bits - 1) : T::IDbits::of(9)));
}

bool VirtualGic::recall_outstanding(VcpuIndex caller) {
    for (unsigned v = 0; v < config_.vcpus; ++v) {
        if (v != caller.value && (vcpus_[v].work.load(std::memory_order_relaxed) & work_recall) != 0 &&
            vcpus_[v].loaded.load(std::memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

u64 VirtualGic::gicd_ctlr(VcpuIndex caller) {
    using C = gic::GicdCtlr;
    return groups() | C::ARE::mask | C::DS::mask | C::RWP::of(recall_outstanding(caller) ? 1 : 0);
}

/// What the list registers of a vCPU held for bank `word` (0: private) when last written or read back.
VirtualGic::LrState VirtualGic::listed_state(VcpuGic& vcpu, unsigned word) {
    LrState state;
    for (unsigned slot = 0; slot < gic::max_list_registers; ++slot) {
        if (((vcpu.used >> slot) & 1) == 0) {
            continue;
        }
        const u64 lr = vcpu.lr[slot].load(std::memory_order_relaxed);
        const auto intid = static_cast<u32>(gic::IchLr::VINTID::get(lr));
        if (intid / 32 == word) {
            state.pending |= gic::IchLr::Pending::test(lr) ? 1u << (intid % 32) : 0;
            state.active |= gic::IchLr::Active::test(lr) ? 1u << (intid % 32) : 0;
        }
    }
    return state;
}

VirtualGic::LrState VirtualGic::listed_spi_state(unsigned bank_index) {
    LrState state;
    for (unsigned v = 0; v < config_.vcpus; ++v) {
        if ((banks_[bank_index].owned[v] & banks_[bank_index].listed) != 0) {
            LockGuard guard(vcpus_[v].lock);
            const LrState one = listed_state(vcpus_[v], bank_index + 1);
            state.pending |= one.pending;
            state.active |= one.active;
        }
    }
    return state;
}

VcpuMask VirtualGic::loaded_owners(const SpiBank& bank, u32 bits) {
    VcpuMask owners = 0;
    for (unsigned v = 0; v < config_.vcpus; ++v) {
        if ((bank.owned[v] & bank.listed & bits) != 0 && vcpus_[v].loaded.load(std::memory_order_relaxed)) {
            owners |= 1u << v;
        }
    }
    return owners;
}

/// True while the list registers of `owners` have not all been read back since the caller first asked for
/// `tag`: the caller's instruction is then run again. A vCPU that became an owner later was read back later
/// too.
bool VirtualGic::await_sync(VcpuIndex caller, VcpuMask owners, u64 tag, VcpuMask& kick) {
    VcpuGic& asking = vcpus_[caller.value];
    if (asking.sync_tag != tag) {
        asking.sync_tag = tag;
        asking.sync_mask = owners;
        for (unsigned v = 0; v < config_.vcpus; ++v) {
            if (((owners >> v) & 1) != 0) {
                asking.sync_folds[v] = vcpus_[v].folds.load(std::memory_order_acquire);
            }
        }
    }
    bool waiting = false;
    for (unsigned v = 0; v < config_.vcpus; ++v) {
        if (((asking.sync_mask >> v) & 1) != 0 && vcpus_[v].loaded.load(std::memory_order_acquire) &&
            vcpus_[v].folds.load(std::memory_order_acquire) == asking.sync_folds[v]) {
            waiting = true;
            if (vcpus_[v].post(work_recall) && v != caller.value) {
                kick |= 1u << v;
            }
        }
    }
    if (!waiting) {
        asking.sync_tag = 0;
    }
    return waiting;
}

/// For the monitor, what a register has just changed; `first` is the bank's.
void VirtualGic::note_word(const Bank& bank, u32 first, WordRegister reg, u32 changed, u8 vcpu) {
    if (reg == WordRegister::group) {
        history_.note_change(first, changed & bank.group1, Happened::group, vcpu, 1);
        history_.note_change(first, changed & ~bank.group1, Happened::group, vcpu, 0);
        return;
    }
    static_assert(static_cast<unsigned>(Happened::deactivated) - static_cast<unsigned>(Happened::group) ==
                  static_cast<unsigned>(WordRegister::clear_active));
    history_.note_change(
        first, changed,
        static_cast<Happened>(static_cast<unsigned>(Happened::group) + static_cast<unsigned>(reg)), vcpu);
}

void VirtualGic::note_config(const Bank& bank, u32 first, u32 changed) {
    history_.note_change(first, changed & bank.edge, Happened::edge, no_vcpu);
    history_.note_change(first, changed & ~bank.edge, Happened::level, no_vcpu);
}

void VirtualGic::note_priority(const Bank& bank, u32 first, u32 changed, u8 vcpu) {
    while (changed != 0) {
        const u8 value = bank.priority[std::countr_zero(changed)];
        u32 alike = 0;
        for (u32 bits = changed; bits != 0; bits &= bits - 1) {
            alike |= bank.priority[std::countr_zero(bits)] == value ? bits & -bits : 0;
        }
        history_.note_change(first, alike, Happened::priority, vcpu, value);
        changed &= ~alike;
    }
}

Access VirtualGic::spi_word_read(VcpuIndex caller, u64 offset) {
    const WordRegister reg = word_register(offset);
    const unsigned word = static_cast<unsigned>(offset % bytes_per_word_array / 4);
    if (word == 0 || word > bank_count()) {
        return {}; // the first word is each redistributor's [IHI0069 §12.9]
    }
    SpiBank& bank = banks_[word - 1];
    Access access;
    LockGuard dist(dist_lock_);
    LrState listed;
    if (needs_sync(reg)) {
        // Asked for even when nothing is listed any more: that ends the request that the first attempt has begun.
        const VcpuMask owners = bank.listed != 0 ? loaded_owners(bank, bank.listed) : 0;
        access.retry = await_sync(caller, owners, offset, access.kick);
        listed = listed_spi_state(word - 1);
    } else {
        vcpus_[caller.value].sync_tag = 0; // what it waited for is over
    }
    access.value = read_word(bank, reg, listed.pending, listed.active);
    return access;
}

Access VirtualGic::spi_word_write(VcpuIndex caller, u64 offset, u32 value) {
    const WordRegister reg = word_register(offset);
    const unsigned word = static_cast<unsigned>(offset % bytes_per_word_array / 4);
    if (word == 0 || word > bank_count()) {
        return {};
    }
    SpiBank& bank = banks_[word - 1];
    Access access;
    LockGuard dist(dist_lock_);
    LrState listed;
    if (reg == WordRegister::set_active) {
        // Whether it is active already only the list register knows.
        const u32 unknown = bank.listed & value;
        access.retry =
            await_sync(caller, unknown != 0 ? loaded_owners(bank, unknown) : 0, offset, access.kick);
        if (access.retry) {
            return access;
        }
        listed = listed_spi_state(word - 1);
    }
    const u32 written = write_word(bank, reg, value, listed.active);
    const u32 changed = written & (bank.busy() | value);
    note_word(bank, 32 * word, reg, written, no_vcpu);
    if (reg == WordRegister::set_active || reg == WordRegister::clear_active) {
        for (unsigned i = 0; i < 32; ++i) {
            const u32 bit = 1u << i;
            const bool owned = bank.owner[i].load(std::memory_order_relaxed) != no_vcpu;
            if ((changed & bank.active & bit) != 0 && !owned) {
                const u8 target = bank.target[i].load(std::memory_order_relaxed);
                set_owner(bank, i, target != no_vcpu ? target : caller.value);
            } else if ((changed & bit & ~bank.active & ~bank.listed) != 0 && owned) {
                deactivated(bank, bit);
                set_owner(bank, i, no_vcpu);
            }
        }
    }
    if (const u32 relevant = changed & bank.busy(); relevant != 0) {
        access.kick = notify(bank, relevant, work_recall, caller);
    }
    return access;
}

/// GICD_IROUTER<n>, whole or one half: the other half keeps its value, and the route is always that of both.
VcpuMask VirtualGic::write_route(VcpuIndex caller, u64 offset, unsigned size, u64 value) {
    const u64 intid = (offset - gicd::irouter) / 8;
    SpiBank& bank = banks_[intid / 32 - 1];
    const unsigned i = static_cast<unsigned>(intid % 32);
    LockGuard dist(dist_lock_);
    u64 route = bank.route[i];
    if (size == 8) {
        route = value;
    } else if ((offset & 4) != 0) {
        route = (route & 0xffff'ffff) | (value << 32);
    } else {
        route = (route & ~u64{0xffff'ffff}) | (value & 0xffff'ffff);
    }
    return change_route(caller, bank, i, route & gic::GicdIrouter::writable);
}

/// Caller: dist_lock.
VcpuMask VirtualGic::change_route(VcpuIndex caller, SpiBank& bank, unsigned i, u64 route) {
    if (route == bank.route[i]) {
        return 0;
    }
    const u32 bit = 1u << i;
    VcpuMask mask = notify(bank, bit & bank.busy(), work_recall, caller); // the old target gives it up
    set_target(bank, i, route);
    const u8 target = bank.target[i].load(std::memory_order_relaxed);
    history_.note_change(gic::first_spi + 32 * static_cast<u32>(&bank - banks_.data()) + i, 1,
                         target != no_vcpu ? Happened::routed : Happened::unrouted, no_vcpu, target);
    // After the store of the new target: what set_line raised meanwhile is seen here, or it saw the new
    // target.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    mask |= notify(bank, bit & bank.busy(), work_recall, caller);
    return mask;
}

/// GICD_SETSPI_NSR, GICD_CLRSPI_NSR: an SPI's pending state by message [§12.9]. As a device would raise it: a level one
/// has its input raised or lowered, an edge one is pending once. INTIDs that are no SPI of this VM: no effect. A device's
/// own message takes another way (pulse()).
VcpuMask VirtualGic::message_spi(VcpuIndex caller, u32 value, bool set) {
    const auto intid = static_cast<u32>(gic::GicdSetspiIntid::get(value));
    if (intid < gic::first_spi || intid >= intid_count()) {
        return 0;
    }
    SpiBank& bank = banks_[intid / 32 - 1];
    const u32 bit = 1u << (intid % 32);
    VcpuMask mask = 0;
    if ((std::atomic_ref<u32>(bank.edge).load(std::memory_order_relaxed) & bit) == 0) {
        mask = set_line(Intid{intid}, set);
    } else if (set) {
        mask = pulse(Intid{intid});
    } else {
        return spi_word_write(caller, gicd::icpendr + 4 * u64{intid / 32}, bit).kick;
    }
    return mask & ~(1u << caller.value); // its own exit is enough
}

Access VirtualGic::gicd_read(VcpuIndex caller, u64 offset, unsigned size) {
    if (size == 4) {
        // Those that need no lock and no call.
        switch (offset) {
        case gicd::typer:
            return {typer_};
        case gicd::iidr:
            return {iidr_value};
        case gic::pidr2:
            return {config_.gicv2 ? 0 : gic::Pidr2ArchRev::of(3) | 0xb};
        }
    }
    return gicd_state_read(caller, offset, size);
}

/// What depends on the interrupts' state.
Access VirtualGic::gicd_state_read(VcpuIndex caller, u64 offset, unsigned size) {
    if (Access access; config_.gicv2 && gicd_v2_read(caller, offset, size, access)) {
        return access;
    }
    // Registers are 32 bits wide, priorities also bytes, routes 64 bits or halves [IHI0069 §12.1.3].
    if (size == 4 && offset % 4 == 0) {
        if (offset == gicd::ctlr) {
            return {gicd_ctlr(caller)};
        }
        if (offset >= first_word_register && offset < end_word_register) {
            return spi_word_read(caller, offset);
        }
        if (offset >= gicd::icfgr && offset < gicd::icfgr + intid_count() / 4) {
            const u64 half = (offset - gicd::icfgr) / 4;
            if (half < 2) {
                return {};
            }
            LockGuard dist(dist_lock_);
            return {read_config(banks_[half / 2 - 1], half % 2 != 0)};
        }
    }
    if ((size == 4 || size == 1) && (offset & (size - 1)) == 0 &&
        offset >= gicd::ipriorityr + gic::first_spi && offset < gicd::ipriorityr + intid_count()) {
        const u64 intid = offset - gicd::ipriorityr;
        LockGuard dist(dist_lock_);
        return {read_priority(banks_[intid / 32 - 1], intid % 32, size)};
    }
    if ((size == 4 || size == 8) && (offset & (size - 1)) == 0 &&
        offset >= gicd::irouter + 8 * gic::first_spi && offset < gicd::irouter + u64{8} * intid_count()) {
        const u64 intid = (offset - gicd::irouter) / 8;
        LockGuard dist(dist_lock_);
        const u64 route = banks_[intid / 32 - 1].route[intid % 32];
        return {size == 8 ? route : (route >> (8 * (offset & 4))) & 0xffff'ffff};
    }
    return {};
}

Access VirtualGic::gicd_write(VcpuIndex caller, u64 offset, unsigned size, u64 value) {
    if (config_.gicv2) [[unlikely]] {
        Access access;
        if (gicd_v2_write(caller, offset, size, static_cast<u32>(value), access)) {
            return access;
        }
    }
    if (size == 4 && offset % 4 == 0) {
        const auto word = static_cast<u32>(value);
        if (offset == gicd::ctlr) {
            using C = gic::GicdCtlr;
            const u32 enables = word & static_cast<u32>(C::EnableGrp0::mask | C::EnableGrp1::mask);
            const u32 old = groups_.exchange(enables);
            if (old == enables) {
                return {};
            }
            const VcpuMask direct = lpis_ != nullptr ? lpis_->groups_changed() : 0;
            return {0, notify_all(work_recall, caller) | (direct & ~(1u << caller.value))};
        }
        if (offset >= first_word_register && offset < end_word_register) {
            return spi_word_write(caller, offset, word);
        }
        if (offset >= gicd::icfgr + 8 && offset < gicd::icfgr + intid_count() / 4) {
            const u64 half = (offset - gicd::icfgr) / 4;
            SpiBank& bank = banks_[half / 2 - 1];
            LockGuard dist(dist_lock_);
            const u32 changed = write_config(bank, half % 2 != 0, word);
            note_config(bank, static_cast<u32>(16 * half & ~u64{31}), changed);
            return {0, notify(bank, changed & bank.busy(), work_refill, caller)};
        }
    }
    // By message: half-words, too [§12.1.3].
    if ((size == 4 || size == 2) && (offset == gicd::setspi_nsr || offset == gicd::clrspi_nsr)) {
        return {0, message_spi(caller, static_cast<u32>(value), offset == gicd::setspi_nsr)};
    }
    if ((size == 4 || size == 1) && (offset & (size - 1)) == 0 &&
        offset >= gicd::ipriorityr + gic::first_spi && offset < gicd::ipriorityr + intid_count()) {
        const u64 intid = offset - gicd::ipriorityr;
        SpiBank& bank = banks_[intid / 32 - 1];
        LockGuard dist(dist_lock_);
        const u32 changed = write_priority(bank, intid % 32, size, static_cast<u32>(value), priority_mask_);
        note_priority(bank, static_cast<u32>(intid & ~u64{31}), changed, no_vcpu);
        return {0, notify(bank, changed & bank.busy(), work_refill, caller)};
    }
    if ((size == 4 || size == 8) && (offset & (size - 1)) == 0 &&
        offset >= gicd::irouter + 8 * gic::first_spi && offset < gicd::irouter + u64{8} * intid_count()) {
        return {0, write_route(caller, offset, size, value)};
    }
    return {};
}

} // namespace atl::vgic
