// SPDX-License-Identifier: Apache-2.0
// VcpuGic: one vCPU's private interrupts, its list registers' shadow, its saved CPU interface.
// Locks: `work`, `line`, `latch`, `folds`, `loaded` are atomic; `priv` and the list-register shadow change
// under `lock` (rank vgic_vcpu), the shadow only on the vCPU's home pCPU. Spec: [IHI0069 §6, §12.4].
#pragma once
#include "lib/spinlock.hpp"
#include "vgic/bank.hpp"

namespace atl::vgic {

/// Bits of VcpuGic::work above the 32 private interrupts that were pulsed.
constexpr u64 work_refill =
    u64{1} << 32; // something about this vCPU's interrupts changed: look at all of them
constexpr u64 work_recall =
    u64{1} << 33; // the same, and a register write or read of another vCPU waits for it
constexpr u64 work_its =
    u64{1} << 34; // commands of the VM's ITS wait for this vCPU to execute them, or its vPE has to come or go
constexpr u64 work_sources = u64{1} << 35; // GICv2: SGIs were sent, their senders are in `sgi_sources`
// What has just arrived, and is pending: SPIs of a bank (a bit for each), LPIs. It may have a short way
// [vgic/refill_arrivals.hpp], or be looked for as with work_refill.
constexpr u64 work_lpi = u64{1} << 36;
constexpr unsigned first_bank_bit = 48; // el2/vcpu.hpp action:: has bits below
constexpr u64 work_bank(unsigned bank) {
    return u64{1} << (first_bank_bit + bank);
}
constexpr u64 work_arrivals = work_lpi | ~u64{0} << first_bank_bit;
/// Nothing but a GICv3's SGIs.
constexpr bool only_sgis(u64 work) {
    return (work >> 16) == 0;
}
constexpr u8 no_slot = 0xff;

// Why no short way may be taken (VcpuGic::long_way).
constexpr u32 pending_left_over = 1; // deliverable interrupts did not fit
constexpr u32 active_left_over = 2;  // active interrupts did not fit: EOIcount matters
constexpr u32 none_allowed = 4;      // Refill::short_ways(): a software interface, or something is watched

/// Whether list registers are those of a VM whose CPU interface is software: of a File of Refill's.
enum class InSoftware : u8 { never, perhaps, always };

/// The virtual CPU interface's registers while the vCPU is not loaded.
struct CpuInterface {
    u64 vmcr = gic::IchVmcr::VFIQEn::mask;
    u32 ap0r[4] = {};
    u32 ap1r[4] = {};
    u8 level_shift =
        3; // 8 - preemption bits: bit n of the active-priority words is priority n << level_shift
};

/// The one hardware-backed interrupt of a vCPU: its virtual timer's PPI. The physical PPI of the pCPU is
/// *held* (active, so that it cannot fire) from its acknowledge until the guest deactivates the virtual one,
/// which the list register (HW = 1) does without an exit. Invariants: listed => held; held => loaded; whoever
/// unlists without the guest's deactivation, unloads or resets, releases. So no physical active state can be
/// orphaned.
struct HwTimer {
    u8 vintid = 0; // 0: none
    u16 pintid = 0;
    bool held = false; // the physical interrupt is active on this vCPU's pCPU, on its behalf
    bool high = false; // held: its line when the list registers were last read back
    u32 bit() const { return vintid == 0 ? 0 : 1u << vintid; }
};

struct alignas(512) VcpuGic { // a power of two: found with a shift
    /// What must be done before this vCPU runs again; tested on every entry, hence first and alone.
    std::atomic<u64> work{0};
    std::atomic<bool> loaded{false};
    std::atomic<u32> folds{0}; // counts the times the list registers were read back completely

    SpinLock lock{LockRank::vgic_vcpu};
    Bank priv{};
    std::atomic<bool> asleep{true}; // GICR_WAKER.ProcessorSleep; only the choice of 1-of-N targets asks

    // List-register shadow: which INTID each slot has, and its value when last written or read.
    u32 used = 0;        // slots that have been given to an INTID
    u32 latched = 0;     // slots whose pending state came from `latch`, not from a level
    u8 slot_of[32] = {}; // slot of a private INTID, or no_slot
    std::atomic<u64> lr[gic::max_list_registers] = {};
    u32 long_way = 0; // not 0: every change needs a refill; the reasons
    /// When last everything was looked at, no SPI, PPI or LPI was pending, active or listed here, or in its vPE's table
    /// when that was left, and `timer_lr` was right; whatever changes that posts bits above those of SGIs, and who takes
    /// these out of `work` clears this. So only SGIs are to be looked at while it is set and `work` has no other bits. Home
    /// pCPU, `lock`.
    bool quiet = false;
    bool quiet_v2 = false; // the same with a GICv2, which has its own short ways; the other is then never set
    u64 hcr = 0;           // ICH_HCR_EL2 as last written
    HwTimer timer{};
    std::atomic<u64> timer_lr{
        0}; // list-register value that delivers the timer; 0 while it is not deliverable

    CpuInterface saved{};

    // GICv2: an SGI pends once for each sender. A byte for each SGI, a bit for each vCPU; `latch` says where one is set.
    // Atomic, because senders set bits; only under `lock` are they cleared.
    std::atomic<u64> sgi_sources[2] = {};
    u8 active_source[16] = {}; // the sender of the SGI that is active and not listed

    // A read of another vCPU's list registers in progress (see VirtualGic::await_sync).
    u64 sync_tag = 0;
    VcpuMask sync_mask = 0;
    u32 sync_folds[max_vcpus_per_vm] = {};

    /// Counters for the monitor.
    u64 stat_refills = 0;
    u64 stat_maintenance = 0;

    /// True when flush() must run before this vCPU enters the guest. One load and a branch.
    bool needs_flush() const { return work.load(std::memory_order_relaxed) != 0; }

    /// Not loaded: nothing has come since save() that could be pending. No lock; false is no answer.
    bool idle() const {
        return (quiet || quiet_v2) && work.load(std::memory_order_relaxed) == 0 &&
               (priv.latch.load(std::memory_order_relaxed) | priv.line.load(std::memory_order_relaxed)) == 0;
    }

    /// Asks for `bits`; true when that is news, so that whoever runs the vCPU must be told.
    /// Release: state changed before is seen by whoever takes the bits out (acquire).
    bool post(u64 bits) { return (work.fetch_or(bits, std::memory_order_acq_rel) & bits) != bits; }
};

} // namespace atl::vgic
