// SPDX-License-Identifier: Apache-2.0
// VirtualGic: the distributor of a GICv2, 4 KiB, in which private interrupts' registers are banked by the accessing vCPU,
// and SGIs, which pend once for each sender. No Security Extensions: NSATT and GICD_NSACR are RAZ/WI, both groups exist.
// Untrusted offsets, sizes and values; RAZ/WI for whatever does not exist. Locks: dist_lock for SPIs, the vCPU's for the
// rest. Spec: [IHI0048B §4.3].
#include <bit>

#include "lib/arch/gicv2.hpp"
#include "vgic/virtual_gic.hpp"

namespace atl::vgic {
namespace {

namespace gicd = gic::gicd;
constexpr u64 bytes_per_word_array = 0x80;
constexpr u64 sgi_pending_bytes = 16;
static_assert(max_vcpus_per_vm <= gic::v2_max_cpus);

constexpr u32 all_sgis = 0xffff;

/// Registers of which words and bytes can be accessed; all others are words [§4.1.4].
constexpr bool is_word_or_byte(u64 offset, unsigned size) {
    return (size == 4 || size == 1) && offset % size == 0;
}

/// Registers that are banked and that a GICv3 has in a redistributor, at the same offsets of its SGI_base frame: the first
/// word of each array of words, eight of priorities, two of ICFGR.
constexpr bool is_private(u64 offset) {
    return (offset >= first_word_register && offset < end_word_register &&
            offset % bytes_per_word_array < 4) ||
           (offset >= gicd::ipriorityr && offset < gicd::ipriorityr + gic::first_spi) ||
           (offset >= gicd::icfgr && offset < gicd::icfgr + 8);
}
constexpr u64 in_redistributor(VcpuIndex vcpu, u64 offset) {
    return vcpu.value * gic::gicr::frame_size + gic::gicr::sgi_base + offset;
}

constexpr unsigned source_word(u32 sgi) {
    return sgi / 8;
}
constexpr unsigned source_shift(u32 sgi) {
    return 8 * (sgi % 8);
}

} // namespace

/// To the first of the targets that exist. Any may take it [§3.2.3 1-N model]; software that wants another one says so.
u8 VirtualGic::resolve_targets(u64 targets) const {
    if (config_.vcpus == 1) {
        return 0;
    }
    return targets == 0 ? no_vcpu : static_cast<u8>(std::countr_zero(targets));
}

u32 VirtualGic::senders_of(const VcpuGic& vcpu, u32 sgi) {
    return static_cast<u32>(vcpu.sgi_sources[source_word(sgi)].load(std::memory_order_acquire) >>
                            source_shift(sgi)) &
           0xff;
}

void VirtualGic::gather_sources(VcpuGic& vcpu) {
    u32 sgis = 0;
    for (u32 first = 0; first < gic::first_ppi; first += 8) {
        u64 senders = vcpu.sgi_sources[source_word(first)].load(std::memory_order_acquire);
        while (senders != 0) {
            const auto byte = static_cast<u32>(std::countr_zero(senders)) / 8;
            sgis |= 1u << (first + byte);
            senders &= ~(u64{0xff} << (8 * byte));
        }
    }
    vcpu.priv.latch.fetch_or(sgis, std::memory_order_relaxed);
}

u8 VirtualGic::take_source(VcpuGic& vcpu, u32 sgi, u32 mask) {
    u32 left = senders_of(vcpu, sgi);
    u8 source = no_vcpu;
    if ((left & mask) != 0) {
        source = static_cast<u8>(std::countr_zero(left & mask));
        vcpu.sgi_sources[source_word(sgi)].fetch_and(~(u64{1} << (source_shift(sgi) + source)),
                                                     std::memory_order_relaxed);
        left &= ~(1u << source);
    }
    if (left == 0) {
        vcpu.priv.latch.fetch_and(~(1u << sgi),
                                  std::memory_order_relaxed); // who sends now posts work_sources
    }
    return source;
}

void VirtualGic::put_source(VcpuGic& vcpu, u32 sgi, u8 source) {
    vcpu.sgi_sources[source_word(sgi)].fetch_or(u64{1} << (source_shift(sgi) + source),
                                                std::memory_order_relaxed);
}

/// [§4.3.15 GICD_SGIR] No lock: a bit for the sender, then the work that tells of it.
VcpuMask VirtualGic::sgir_write(VcpuIndex caller, u32 value) {
    using R = gic::GicdSgir;
    const u32 all = (1u << config_.vcpus) - 1;
    const u32 self = 1u << caller.value;
    u32 targets = 0;
    switch (R::TargetListFilter::get(value)) {
    case 0:
        targets = static_cast<u32>(R::CPUTargetList::get(value)) & all;
        break;
    case 1:
        targets = all & ~self;
        break;
    case 2:
        targets = self;
        break;
    default: // reserved: nobody
        break;
    }
    const auto sgi = static_cast<u32>(R::SGIINTID::get(value));
    VcpuMask mask = 0;
    for (; targets != 0; targets &= targets - 1) {
        VcpuGic& target = vcpus_[std::countr_zero(targets)];
        put_source(target, sgi, caller.value);
        history_.note(sgi, Happened::sgi, static_cast<u8>(std::countr_zero(targets)), caller.value);
        mask |= target.post(work_sources) ? targets & -targets : 0;
    }
    return mask & ~self;
}

/// GICD_CPENDSGIR, GICD_SPENDSGIR of the caller [§4.3.16]: what waits, and what its list registers hold.
Access VirtualGic::sgi_pending_read(VcpuIndex caller, u32 first, unsigned size) {
    VcpuGic& g = vcpus_[caller.value];
    Access access;
    LockGuard guard(g.lock);
    if ((g.priv.listed & all_sgis) != 0 && g.loaded.load(std::memory_order_relaxed)) {
        access.retry = await_sync(caller, 1u << caller.value, gicd::cpendsgir, access.kick);
    } else {
        g.sync_tag = 0;
    }
    for (u32 i = 0; i < size; ++i) {
        u32 sources = senders_of(g, first + i);
        const u8 slot = g.slot_of[first + i];
        if (slot != no_slot && (g.priv.drop_pending >> (first + i) & 1) == 0) {
            const u64 lr = g.lr[slot].load(std::memory_order_relaxed);
            sources |= gic::IchLr::Pending::test(lr) ? 1u << gic::LrSource::get(lr) : 0;
        }
        access.value |= u64{sources} << (8 * i);
    }
    return access;
}

void VirtualGic::sgi_pending_write(VcpuIndex caller, u32 first, unsigned size, u32 value, bool set) {
    VcpuGic& g = vcpus_[caller.value];
    LockGuard guard(g.lock);
    const u32 all = (1u << config_.vcpus) - 1;
    for (u32 i = 0; i < size; ++i) {
        const u32 sgi = first + i;
        const u32 bits = (value >> (8 * i)) & all;
        std::atomic<u64>& word = g.sgi_sources[source_word(sgi)];
        if (set) {
            word.fetch_or(u64{bits} << source_shift(sgi), std::memory_order_relaxed);
            continue;
        }
        word.fetch_and(~(u64{bits} << source_shift(sgi)), std::memory_order_relaxed);
        if (senders_of(g, sgi) == 0) {
            g.priv.latch.fetch_and(~(1u << sgi), std::memory_order_relaxed);
        }
        const u8 slot = g.slot_of[sgi];
        if (slot != no_slot &&
            (bits >> gic::LrSource::get(g.lr[slot].load(std::memory_order_relaxed)) & 1) != 0) {
            g.priv.drop_pending |= 1u << sgi; // fold() discards it
        }
    }
    g.post(work_recall | work_sources); // looked at before the caller runs on
}

/// GICD_ITARGETSR<n>, `size` bytes. Those of private interrupts name the reader; with one CPU all are RAZ/WI [§4.3.12].
u32 VirtualGic::targets_read(VcpuIndex caller, u32 first, unsigned size) {
    if (config_.vcpus == 1) {
        return 0;
    }
    u32 value = 0;
    LockGuard dist(dist_lock_);
    for (u32 i = 0; i < size; ++i) {
        const u32 intid = first + i;
        const u32 mask = intid < gic::first_spi ? 1u << caller.value
                                                : static_cast<u32>(banks_[intid / 32 - 1].route[intid % 32]);
        value |= mask << (8 * i);
    }
    return value;
}

VcpuMask VirtualGic::targets_write(VcpuIndex caller, u32 first, unsigned size, u32 value) {
    if (config_.vcpus == 1 || first < gic::first_spi) {
        return 0;
    }
    VcpuMask mask = 0;
    LockGuard dist(dist_lock_);
    for (u32 i = 0; i < size; ++i) {
        const u32 targets = (value >> (8 * i)) & ((1u << config_.vcpus) - 1);
        mask |= change_route(caller, banks_[first / 32 - 1], (first + i) % 32, targets);
    }
    return mask;
}

/// What only a GICv2 has; the rest is GICv3's. False: not here.
bool VirtualGic::gicd_v2_read(VcpuIndex caller, u64 offset, unsigned size, Access& access) {
    if (offset >= gicd::v2_frame_size) {
        return true; // RAZ
    }
    if (is_private(offset)) {
        access = gicr_read(caller, in_redistributor(caller, offset), size);
        return true;
    }
    if (size == 4 && offset == gicd::ctlr) {
        access = {groups()};
        return true;
    }
    if (size == 4 && offset == gicd::v2_pidr2) {
        access = {gic::Pidr2ArchRev::of(2) | 0xb};
        return true;
    }
    if (!is_word_or_byte(offset, size)) {
        return false;
    }
    if (offset >= gicd::itargetsr && offset < gicd::itargetsr + intid_count()) {
        access = {targets_read(caller, static_cast<u32>(offset - gicd::itargetsr), size)};
        return true;
    }
    if (offset >= gicd::cpendsgir && offset < gicd::cpendsgir + 2 * sgi_pending_bytes) {
        access =
            sgi_pending_read(caller, static_cast<u32>((offset - gicd::cpendsgir) % sgi_pending_bytes), size);
        return true;
    }
    return false;
}

bool VirtualGic::gicd_v2_write(VcpuIndex caller, u64 offset, unsigned size, u32 value, Access& access) {
    if (size == 4 && offset == gicd::sgir) {
        access.kick = sgir_write(caller, value);
        return true;
    }
    if (offset >= gicd::v2_frame_size || offset == gicd::setspi_nsr || offset == gicd::clrspi_nsr) {
        return true; // WI
    }
    if (is_private(offset)) {
        const u64 array = offset & ~(bytes_per_word_array - 1);
        // SGIs' pending state is written to GICD_SPENDSGIR and GICD_CPENDSGIR alone [§4.3.7].
        const bool pending = array == gicd::ispendr || array == gicd::icpendr;
        access =
            gicr_write(caller, in_redistributor(caller, offset), size, pending ? value & ~all_sgis : value);
        return true;
    }
    if (!is_word_or_byte(offset, size)) {
        return false;
    }
    if (offset >= gicd::itargetsr && offset < gicd::itargetsr + intid_count()) {
        access.kick = targets_write(caller, static_cast<u32>(offset - gicd::itargetsr), size, value);
        return true;
    }
    if (offset >= gicd::cpendsgir && offset < gicd::cpendsgir + 2 * sgi_pending_bytes) {
        sgi_pending_write(caller, static_cast<u32>((offset - gicd::cpendsgir) % sgi_pending_bytes), size,
                          value, offset >= gicd::spendsgir);
        return true;
    }
    return false;
}

} // namespace atl::vgic
