// SPDX-License-Identifier: Apache-2.0
// Lpis: one VM's LPIs, the truth about each: its configuration, the vCPU that it is routed to, and where it is pending. An
// LPI is pending or not, never active; as at a redistributor, pending state belongs to a vCPU, not to the LPI. List
// registers are a cache of it (vgic/refill_lpi.hpp). The tables that the guest gives (GICR_PROPBASER, GICR_PENDBASER) are
// read where the architecture says, and otherwise not looked at.
// Does not own: what makes an LPI of a device's event (vgic/virtual_its.hpp; el2/passthrough.cpp).
// Locks: arrive() takes none. The rest is under VirtualGic::dist_lock(), which the register accesses and the commands
// take; they read guest memory without it. Spec: [IHI0069 chapter 5, §12.11 GICR_*].
#pragma once
#include <array>
#include <bit>
#include <span>

#include "lib/arch/its.hpp"
#include "vgic/virtual_gic.hpp"

namespace atl::vgic {

constexpr unsigned vlpi_id_bits = 14; // GICD_TYPER.IDbits + 1: INTIDs 8192 .. 16383 are LPIs
constexpr u32 vlpi_count = (1u << vlpi_id_bits) - gic::first_lpi;
constexpr u32 vlpi_words = vlpi_count / 32;
constexpr unsigned collection_bits = 7;
constexpr unsigned max_collections = 1u << collection_bits;
constexpr u8 no_collection = 0xff;

class DirectLpis;

/// A VM's own memory, checked at each access: RAM that it owns, shared or not; anything else is an error and nothing is
/// copied from there on. Takes the lock of the VM's map.
struct GuestMemory {
    void* context = nullptr;
    Status (*read)(void* context, Ipa ipa, std::span<std::byte> bytes) = nullptr;
    Status (*write)(void* context, Ipa ipa, std::span<const std::byte> bytes) = nullptr;
};

/// Bits 8 * (offset % 8) and up of a 64-bit register that is accessed whole or by halves [IHI0069 §12.1.3].
constexpr u64 register_part(u64 whole, u64 offset, unsigned size) {
    return size == 8 ? whole : (whole >> (8 * (offset & 4))) & 0xffff'ffff;
}
constexpr u64 register_with(u64 whole, u64 offset, unsigned size, u64 value) {
    if (size == 8) {
        return value;
    }
    const unsigned shift = 8 * (offset & 4);
    return (whole & ~(u64{0xffff'ffff} << shift)) | ((value & 0xffff'ffff) << shift);
}

/// What is pending at one redistributor.
struct VcpuLpis {
    static constexpr u8 idle = 0xff;  // of `best`; no priority is as low
    static constexpr u8 stays = 0xff; // of `goes_to`
    static constexpr u8 dropped = 0xfe;

    u32 pending[vlpi_words] = {};
    u8 best[vlpi_words] = {}; // by word: the most urgent priority of what is pending and enabled
    u64 ready = 0;            // bit g: one of words 4 * g .. 4 * g + 3 has such a one
    u64 pendbaser = 0;
    bool enabled = false;  // GICR_CTLR.EnableLPIs
    bool draining = false; // it was cleared, and list registers still have some
    u8 listed = 0;         // list registers with an LPI
    /// By list register: where its LPI goes, if it is still pending, when the list registers are read back.
    u8 goes_to[gic::max_list_registers] = {};
};

class Lpis {
  public:
    /// Before any vCPU runs, after gic.init(). Both stay for good.
    void attach(VirtualGic& gic, const GuestMemory& memory);
    /// Of a VM whose devices' LPIs are injected directly.
    void set_direct(DirectLpis& direct) { direct_ = &direct; }
    DirectLpis* direct() const { return direct_; } // nullptr: none
    /// Everything to reset values. Caller: dist_lock; no vCPU is loaded.
    void reset();

    /// An LPI has been signalled: it will be pending at the vCPU that it is routed to. Returns whom to kick. An INTID that is
    /// no LPI, or that is routed nowhere, is nothing.
    VcpuMask arrive(u32 lpi);
    /// The same from an ITS's command: without a detour where it is a direct one's.
    VcpuMask signal(u32 lpi);
    /// Is it an LPI within what GICR_PROPBASER covers?
    bool exists(u32 lpi) const { return lpi >= gic::first_lpi && lpi - gic::first_lpi < covered(); }

    // ---- GICR registers, of vCPU `v`'s redistributor ----
    static constexpr bool has_register(u64 reg) {
        return reg < 4 || (reg >= gic::gicr::propbaser && reg < gic::gicr::pendbaser + 8);
    }
    u64 read_register(unsigned v, u64 reg, unsigned size);
    Access write_register(VcpuIndex caller, unsigned v, u64 reg, unsigned size, u64 value);

    // ---- what ITS commands do; `lpi` exists(). Each returns whom to kick ----
    void map_collection(unsigned collection, u8 vcpu); // no_vcpu: unmapped
    u8 collection_target(unsigned collection) const {
        return targets_[collection].load(std::memory_order_relaxed);
    }
    /// The vCPU that it is routed to; no_vcpu: none.
    u8 target(u32 lpi) const { return route(number(lpi)); }
    /// From now on it is routed by `collection`; its configuration is read.
    VcpuMask map(u32 lpi, u8 collection);
    /// It is routed nowhere and not pending where it was routed to.
    VcpuMask unmap(u32 lpi);
    VcpuMask move(u32 lpi, u8 collection);
    VcpuMask move_all(unsigned from, unsigned to);
    VcpuMask clear(u32 lpi);
    /// Its configuration is read again, or everyone's.
    VcpuMask reload(u32 lpi);
    VcpuMask reload_all();

    // ---- for vgic/refill_lpi.hpp and look_for_pending(). Caller: dist_lock ----
    /// Something to be looked at for this vCPU, or for any.
    bool busy(unsigned v) const {
        return vcpus_[v].ready != 0 || hints_.load(std::memory_order_relaxed) != 0;
    }
    /// Takes out what has arrived: f(number, the vCPU that it is routed to) for each that is routed to one.
    template <class F>
    void drain(F f);
    /// What arrived becomes pending. Returns whom to kick besides `self` (no_vcpu: everyone).
    VcpuMask collect(VcpuIndex self);
    /// The same for what is routed to `v`, and the rest stays as it is.
    void collect_own(unsigned v);
    VcpuLpis& vcpu(unsigned v) { return vcpus_[v]; }
    u32 deliverable(unsigned v, u32 word) const { return vcpus_[v].pending[word] & configured_[word]; }
    /// Deliverable at `v` by a list register, once it is pending there.
    bool listable(unsigned v, u32 n) const {
        return vcpus_[v].enabled && (configured_[n / 32] & bit(n)) != 0 &&
               !(direct_ != nullptr && is_direct(n));
    }
    u8 priority(u32 n) const { return config_[n] & priority_mask_; }
    /// The most urgent priority of what is pending and enabled; VcpuLpis::idle: nothing.
    u8 most_urgent(unsigned v) const;
    void take(unsigned v, u32 n);
    void put(unsigned v, u32 n);

    // ---- for vgic/direct_lpis.hpp; `n`: INTID less 8192 ----
    /// The vCPU that takes it now; no_vcpu: it is routed nowhere, or LPIs are off there. Takes dist_lock.
    u8 receiver(u32 n);
    /// It is direct from now on: what pends of it in software is passed on. Caller: dist_lock. Returns whom to kick.
    VcpuMask pass_on(u32 n);
    /// It is not any more, and pends at `v`. Caller: dist_lock.
    VcpuMask restore(unsigned v, u32 n);
    /// Group 1 was turned on or off at the distributor. Takes dist_lock.
    VcpuMask groups_changed();
    /// Of a vCPU that is not loaded: a direct one may be pending.
    bool direct_pending(unsigned v) const;

    /// It pends in a vPE's table, if it pends.
    bool is_direct(u32 n) const;

    /// For the monitor: by vCPU, what is pending. Caller: dist_lock.
    void dump(const TextSink& sink) const;
    void explain(u32 lpi, const TextSink& sink) const; // one LPI; within vlpi_count
    u64 stat_arrived() const { return stat_arrived_.load(std::memory_order_relaxed); }

  private:
    static constexpr u32 words_per_hint = vlpi_words / 64;
    static u32 number(u32 lpi) { return lpi - gic::first_lpi; }
    static constexpr u32 bit(u32 n) { return 1u << (n % 32); }
    u32 covered() const;
    u8 route(u32 n) const {
        const u8 collection = collection_[n].load(std::memory_order_relaxed);
        return collection < max_collections ? collection_target(collection) : no_vcpu;
    }
    void refresh(unsigned v, u32 word);
    VcpuMask post(unsigned v, u64 work);
    void follow_enable(VcpuIndex caller, unsigned v, VcpuMask& mask);
    VcpuMask redirect(unsigned v, u32 lpi, u8 where);
    VcpuMask withdraw(u32 n);
    void configure_direct(u32 first, u32 count);
    VcpuMask apply(u32 first, std::span<const std::byte> bytes);
    Access enable(VcpuIndex caller, unsigned v);
    Access disable(VcpuIndex caller, unsigned v);
    void read_pending_table(unsigned v);
    void write_pending_table(unsigned v);
    bool any_enabled() const;
    Ipa configuration_of(u32 n) const;

    VirtualGic* gic_ = nullptr;
    GuestMemory memory_{};
    DirectLpis* direct_ = nullptr;
    u8 priority_mask_ = 0xf8;
    std::atomic<u64> propbaser_{0}; // of all redistributors: they share the table
    std::atomic<u64> hints_{0};     // bit g: some of arrived_[4 * g .. 4 * g + 3] is not 0
    std::atomic<u64> stat_arrived_{0};
    std::atomic<u32> arrived_[vlpi_words] = {};
    u32 configured_[vlpi_words] = {}; // the enable bits of config_
    u8 config_[vlpi_count] = {};      // bytes of the guest's table as last read
    std::atomic<u8> collection_[vlpi_count] = {};
    std::atomic<u8> targets_[max_collections] = {};
    std::array<VcpuLpis, max_vcpus_per_vm> vcpus_{};
};

template <class F>
void Lpis::drain(F f) {
    if (hints_.load(std::memory_order_relaxed) == 0) {
        return;
    }
    for (u64 groups = hints_.exchange(0, std::memory_order_acquire); groups != 0; groups &= groups - 1) {
        const u32 first = static_cast<u32>(std::countr_zero(groups)) * words_per_hint;
        for (u32 w = first; w < first + words_per_hint; ++w) {
            if (arrived_[w].load(std::memory_order_relaxed) == 0) {
                continue;
            }
            for (u32 bits = arrived_[w].exchange(0, std::memory_order_relaxed); bits != 0; bits &= bits - 1) {
                const u32 n = 32 * w + static_cast<u32>(std::countr_zero(bits));
                if (const u8 v = route(n); v != no_vcpu) {
                    f(n, v);
                }
            }
        }
    }
}

} // namespace atl::vgic
