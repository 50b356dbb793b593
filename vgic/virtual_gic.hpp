// SPDX-License-Identifier: Apache-2.0
// VirtualGic: one VM's GICv3 (one security state, affinity routing always on, message-based SPIs, LPIs where it has an
// ITS), or its GICv2 (no Security Extensions, both groups): the truth about each interrupt; list registers are a cache of it
// (vgic/refill.hpp). Pure: compiled for the host too.
// Does not own: list-register hardware (vgic/switch.hpp), who runs where, how a vCPU is kicked.
// Locks: SPI state under dist_lock (rank vgic_dist), private state under each vCPU's (rank vgic_vcpu), in
// this order; set_line, pulse and sgi_write take none, so devices may call them with their own lock held.
// Spec: [IHI0069], [IHI0048B].
//
// How el2 uses it
//  - Register accesses return Access: kick these vCPUs (never the caller's own); when `retry`, do not advance
//  the PC
//    and re-enter the guest: another vCPU's list registers must be read back first, which its kick does.
//  - A VcpuMask means: for each vCPU in it, make it runnable if parked, and if it is loaded on another pCPU
//    send that pCPU an SGI. The exit alone is enough: each entry tests vcpu(i).needs_flush() and calls flush().
//  - Parking: save(); if has_pending() it stays runnable; else it is parked, unless a wake-up was noted since
//    it was picked (el2/sched.hpp wake_hint). Whoever makes an interrupt pending posts it first, then wakes:
//    no wake-up is lost.
#pragma once
#include <array>

#include "lib/format.hpp"
#include "lib/result.hpp"
#include "vgic/history.hpp"
#include "vgic/vcpu_gic.hpp"

namespace atl::vgic {

class Lpis;

constexpr u32 max_spi_banks = (gic::max_intids - gic::first_spi) / 32;

struct SpiBank : Bank {
    u32 routed[max_vcpus_per_vm] = {}; // bit i: SPI i of this bank goes to that vCPU next
    u32 owned[max_vcpus_per_vm] = {};  // bit i: listed or active there
    std::atomic<u8> target[32] = {};   // vCPU of `routed`, or no_vcpu
    std::atomic<u8> owner[32] = {};    // vCPU of `owned`, or no_vcpu
    u64 route[32] = {};                // GICD_IROUTER as written; GICv2: GICD_ITARGETSR
    u32 host_backed = 0; // bit i: stands for a physical line (see HostLines); constant while the VM runs
};

/// SPIs that stand for a physical level-triggered line of a passthrough device. When the line rises EL2 leaves the
/// physical interrupt active, so that it stays quiet, and raises the SPI's input. When the guest has deactivated the SPI
/// the input falls and `resample` is called, with the distributor's lock held: it deactivates the physical interrupt,
/// which fires again if the line is still high.
struct HostLines {
    void* context = nullptr;
    void (*resample)(void* context, Intid spi) = nullptr;
};

struct Access {
    u64 value = 0;
    VcpuMask kick = 0;
    bool retry = false;
};

/// Which SGI register was trapped.
enum class SgiRegister : u8 { sgi0r, sgi1r, asgi1r };

struct Config {
    unsigned vcpus = 1;         // 1 .. max_vcpus_per_vm; vCPU i has affinity 0.0.0.i
    unsigned spis = 64;         // multiple of 32, 32 .. 224
    unsigned priority_bits = 5; // 4 .. 8: ICH_VTR_EL2.PRIbits + 1, or fewer
    u8 timer_vintid = 27;       // virtual timer's PPI, 16 .. 31; 0: no hardware-backed interrupt
    u16 timer_pintid = 27;      // the host's virtual timer PPI
    bool gicv2 = false;         // a GICv2; vCPU i is its CPU interface i
    bool software = false;      // its CPU interface is software [vgic/soft_interface.hpp]
};

class VirtualGic {
  public:
    /// Before any vCPU runs. invalid_argument when a limit is exceeded.
    Status init(const Config& config);
    /// Before any vCPU runs. SPIs that do not exist: invalid_argument.
    void set_host_lines(const HostLines& lines) { host_lines_ = lines; }
    Status back_by_host(Intid spi, bool backed);
    void set_lpis(Lpis* lpis);

    /// Everything to reset values. busy while a vCPU is loaded (save() releases what it holds).
    Status reset();

    /// MMIO of the distributor frame (64 KiB) and of all redistributors (128 KiB per vCPU, from offset 0).
    /// Sizes and offsets that the architecture does not define are RAZ/WI.
    Access gicd_read(VcpuIndex caller, u64 offset, unsigned size);
    Access gicd_write(VcpuIndex caller, u64 offset, unsigned size, u64 value);
    Access gicr_read(VcpuIndex caller, u64 offset, unsigned size);
    Access gicr_write(VcpuIndex caller, u64 offset, unsigned size, u64 value);

    /// Trapped ICC_SGI1R_EL1, ICC_SGI0R_EL1, ICC_ASGI1R_EL1 (HCR_EL2.IMO/FMO = 1).
    VcpuMask sgi_write(VcpuIndex caller, SgiRegister reg, u64 value);
    /// An SPI's input. Unknown INTIDs are ignored: they come from our own devices' configuration, checked at
    /// init.
    VcpuMask set_line(Intid spi, bool high);
    VcpuMask pulse(Intid spi);
    /// A PPI's input (16..31). For the hardware-backed timer only while the vCPU is not loaded: its physical
    /// line counts otherwise, and the call is ignored.
    VcpuMask set_ppi(VcpuIndex vcpu, Intid ppi, bool high);
    VcpuMask pulse_ppi(VcpuIndex vcpu, Intid ppi);

    /// Of a vCPU that is not loaded: would its WFI end? Exact: enables, groups, mask, running priority,
    /// binary point. On its home pCPU.
    bool has_pending(VcpuIndex index) {
        // No lock: what is posted from now on is followed by a wake-up, which park() does not miss.
        return !vcpus_[index.value].idle() && look_for_pending(index);
    }
    bool look_for_pending(VcpuIndex index); // the same, without that shortcut

    /// Text for the monitor: what every interrupt that is not idle is doing.
    void dump(const TextSink& sink);
    /// The same about one interrupt, idle or not: all of its state, and where it sits. invalid_argument: no such INTID.
    Status explain(u32 intid, const TextSink& sink);

    /// From now on everything that happens to `intid` is recorded [vgic/history.hpp]; History::nothing: no more. Any INTID.
    VcpuMask watch(u32 intid);

    VcpuGic& vcpu(VcpuIndex index) { return vcpus_[index.value]; }
    unsigned vcpu_count() const { return config_.vcpus; }
    bool is_v2() const { return config_.gicv2; }
    /// Interrupts come by HCR_EL2.VI and VF alone [docs/adr/0024].
    bool in_software() const { return config_.software; }
    /// Its list registers are not a GICv3's.
    bool listed_elsewhere() const { return listed_elsewhere_; }
    u32 intid_count() const { return gic::first_spi + config_.spis; }

    // For vgic/refill.hpp and the tests: the caller holds the locks named above.
    Lpis* lpis() { return lpis_; } // nullptr: none
    History& history() { return history_; }
    u8 priority_mask() const { return priority_mask_; }
    SpinLock& dist_lock() { return dist_lock_; }
    unsigned bank_count() const { return config_.spis / 32; }
    SpiBank& bank(unsigned index) { return banks_[index]; }
    u32 groups() const { return groups_.load(std::memory_order_relaxed); }
    void set_owner(SpiBank& bank, unsigned i, u8 owner);
    /// set_owner() of one that nobody has. What follows sees an input that rose before whoever raised it saw no owner.
    void own(SpiBank& bank, unsigned i, u8 owner) {
        bank.owner[i].store(owner);
        std::atomic_thread_fence(std::memory_order_seq_cst); // with notify_input()
        bank.owned[owner] |= 1u << i;
    }
    /// The guest has deactivated those `bits` of a bank.
    void deactivated(SpiBank& bank, u32 bits) {
        if ((bank.host_backed & bits) != 0) [[unlikely]] {
            resample(bank, bank.host_backed & bits);
        }
    }
    /// Tells every vCPU to which `bits` of `bank` matter (routed to, listed or active on). Returns those not
    /// `caller`.
    VcpuMask notify(SpiBank& bank, u32 bits, u64 work, VcpuIndex caller);
    /// Moves private pulses from `work` bits into the latch and returns the rest of the bits. Caller: vCPU
    /// lock.
    static u64 absorb(VcpuGic& vcpu);
    /// The same for the pulses alone: the vCPU is left with a refill to do. Caller: vCPU lock.
    static void absorb_pulses(VcpuGic& vcpu);
    /// A register write is complete when no loaded vCPU still runs with list registers from before it.
    bool recall_outstanding(VcpuIndex caller);
    /// GICv2: `latch` of SGIs that have senders. Caller: vCPU lock.
    static void gather_sources(VcpuGic& vcpu);
    /// GICv2: for whom `sgi` waits on a vCPU, apart from the one that is listed: a bit for each vCPU.
    static u32 senders_of(const VcpuGic& vcpu, u32 sgi);
    /// GICv2: one of the senders for whom `sgi` pends on a vCPU, among those of `mask`; it does not any more. 0xff: none.
    /// Caller: vCPU lock.
    static u8 take_source(VcpuGic& vcpu, u32 sgi, u32 mask);
    static void put_source(VcpuGic& vcpu, u32 sgi, u8 source);

  private:
    struct LrState {
        u32 pending = 0;
        u32 active = 0;
    };
    LrState listed_state(VcpuGic& vcpu, unsigned word);
    LrState listed_spi_state(unsigned bank_index);
    bool await_sync(VcpuIndex caller, VcpuMask owners, u64 tag, VcpuMask& kick);
    VcpuMask loaded_owners(const SpiBank& bank, u32 bits);
    VcpuMask notify_all(u64 work, VcpuIndex caller);
    void note_word(const Bank& bank, u32 first, WordRegister reg, u32 changed, u8 vcpu);
    void note_config(const Bank& bank, u32 first, u32 changed);
    void note_priority(const Bank& bank, u32 first, u32 changed, u8 vcpu);
    u64 gicd_ctlr(VcpuIndex caller);
    u64 gicr_typer(unsigned index) const;
    Access gicd_state_read(VcpuIndex caller, u64 offset, unsigned size);
    Access gicr_state_read(VcpuIndex caller, unsigned index, u64 offset, unsigned size);
    void resample(SpiBank& bank, u32 bits);
    VcpuMask message_spi(VcpuIndex caller, u32 value, bool set);
    Access spi_word_read(VcpuIndex caller, u64 offset);
    Access spi_word_write(VcpuIndex caller, u64 offset, u32 value);
    Access private_word_read(VcpuIndex caller, unsigned index, u64 offset);
    Access private_word_write(VcpuIndex caller, unsigned index, u64 offset, u32 value);
    void set_target(SpiBank& bank, unsigned i, u64 route);
    u8 resolve_route(u64 route, u32 intid) const;
    VcpuMask write_route(VcpuIndex caller, u64 offset, unsigned size, u64 value);
    VcpuMask change_route(VcpuIndex caller, SpiBank& bank, unsigned i, u64 route);
    u8 resolve_targets(u64 targets) const;
    bool gicd_v2_read(VcpuIndex caller, u64 offset, unsigned size, Access& access);
    bool gicd_v2_write(VcpuIndex caller, u64 offset, unsigned size, u32 value, Access& access);
    Access sgi_pending_read(VcpuIndex caller, u32 first, unsigned size);
    void sgi_pending_write(VcpuIndex caller, u32 first, unsigned size, u32 value, bool set);
    VcpuMask sgir_write(VcpuIndex caller, u32 value);
    u32 targets_read(VcpuIndex caller, u32 first, unsigned size);
    VcpuMask targets_write(VcpuIndex caller, u32 first, unsigned size, u32 value);
    VcpuMask notify_input(unsigned bank_index, unsigned i, bool risen);
    VcpuMask in_group0(VcpuMask targets, u32 sgi);
    bool would_deliver(const CpuInterface& cpu, u32 priority, bool group1) const;

    Config config_{};
    bool listed_elsewhere_ = false;
    HostLines host_lines_{};
    Lpis* lpis_ = nullptr;
    u32 typer_ = 0; // GICD_TYPER
    u8 priority_mask_ = 0xf8;
    std::atomic<u32> groups_{0}; // GICD_CTLR.EnableGrp1:EnableGrp0
    SpinLock dist_lock_{LockRank::vgic_dist};
    std::array<SpiBank, max_spi_banks> banks_{};
    std::array<VcpuGic, max_vcpus_per_vm> vcpus_{};
    History history_{};
};

} // namespace atl::vgic
