// SPDX-License-Identifier: Apache-2.0
// SoftInterface: a virtual CPU interface in software: list registers, active priorities and controls as values, and what a
// guest's accesses do to them. What is elsewhere hardware, for VMs that are interrupted by HCR_EL2.VI alone
// [docs/adr/0024], and for the host tests, whose list registers these are. Does not own: which interrupts are listed
// (vgic/refill.hpp, whose File this is the larger part of), the physical side of HW = 1 (take_ended() tells), HCR_EL2, traps.
// Locks: none: one pCPU's, with interrupts masked. Spec: [IHI0069 §4.8, §6.3, §12.3 ICV_*, §12.4 ICH_*]; [IHI0048B §5].
#pragma once
#include "vgic/vcpu_gic.hpp"

namespace atl::vgic {

/// What a hardware interface says in ICH_VTR_EL2.
struct InterfaceShape {
    u8 lists = gic::max_list_registers;
    u8 priority_bits = 5;   // 4 .. 8
    u8 preemption_bits = 5; // 4 .. 7
    u32 ctlr = 0;           // the read-only fields of ICV_CTLR_EL1
    bool gicv2 = false;     // IAR carries an SGI's sender; active priorities of both groups are in one place

    /// A GICv3's, but with as many list registers as there can be: they cost nothing.
    static InterfaceShape of_vtr(u64 vtr);
};

/// The two inputs of a CPU, HCR_EL2.{VI, VF}.
struct VirtualLines {
    bool irq = false;
    bool fiq = false;
    bool operator==(const VirtualLines&) const = default;
};

class SoftInterface {
  public:
    static constexpr u32 spurious = 1023;
    static constexpr u32 idle_priority = 0x100;

    explicit SoftInterface(const InterfaceShape& shape = {}) : shape_(shape) {}

    // The part of Refill's File that is no hardware.
    unsigned count() const { return shape_.lists; }
    static u64 hcr_on() { return Hcr::En::mask; }
    u64 read(unsigned slot) const { return lists_[slot]; }
    void write(unsigned slot, u64 value);
    /// ICH_ELRSR_EL2: neither pending nor active, and no end to be told.
    u64 empty() const { return ~(valid_ | eisr_) & ((u32{1} << shape_.lists) - 1); }
    u64 hcr() const { return hcr_; }
    void set_hcr(u64 value) { hcr_ = value; }
    u64 vmcr() const { return vmcr_; }
    void set_vmcr(u64 value);
    void save_active(CpuInterface& cpu) const;
    void restore_active(const CpuInterface& cpu);

    // What the guest does. Of a GICv2 an IAR's value has an SGI's sender in bits 12:10.

    /// What IAR would return, which is what is signalled.
    u32 offered(bool group1) const;
    /// IAR: it becomes active.
    u32 acknowledge(bool group1);
    /// EOIR.
    void end(u32 iar, bool group1);
    /// HPPIR: whatever the mask and the running priority.
    u32 highest_pending(bool group1) const;
    /// RPR, but idle_priority when nothing is active.
    u32 running_priority() const;

    /// ICC_* by its encoding [lib/arch/icc.hpp], but those that are not the interface's alone: SGIR, DIR, SRE.
    /// False: there is no such register to read, or to write. Of a GICv2, GICC_* by its offset, of which all are defined.
    bool read_register(u32 id, u64& value);
    bool write_register(u32 id, u64 value);

    VirtualLines lines() const;
    /// ICH_MISR_EL2 != 0, with ICH_HCR_EL2.En: where hardware raises the maintenance interrupt.
    bool maintenance_asserted() const;
    /// The host's INTID that went with a list register that the guest has just ended (HW = 1), once; 0: none.
    u16 take_ended() {
        const u16 pintid = ended_;
        ended_ = 0;
        return pintid;
    }

  protected:
    using Lr = gic::IchLr;
    using Hcr = gic::IchHcr;
    using Vmcr = gic::IchVmcr;

  private:
    static constexpr int none = -1;

    unsigned level_shift() const { return 8u - shape_.preemption_bits; }
    unsigned active_words() const {
        return shape_.preemption_bits > 5 ? 1u << (shape_.preemption_bits - 5) : 1;
    }
    u32 either_group(bool take);
    u32 read_frame(u64 offset);
    void write_frame(u64 offset, u32 value);
    bool enabled(u64 lr) const {
        return Lr::Group::test(lr) ? Vmcr::VENG1::test(vmcr_) : Vmcr::VENG0::test(vmcr_);
    }
    u32 group_priority(u64 lr) const;
    u32 iar_of(u64 lr) const;
    int most_urgent() const;
    int signalled() const;
    bool none_pending() const;
    bool drop_priority(bool group1);
    u32* active_word(u32 id);

    InterfaceShape shape_;
    u16 ended_ = 0;
    u32 valid_ = 0; // list registers that are pending or active
    u32 eisr_ = 0;  // ICH_EISR_EL2: that have ended, and the end is to be told
    u64 hcr_ = 0;
    u64 vmcr_ = 0;
    u32 active_[2][4] = {}; // ICH_AP0R<n>_EL2, ICH_AP1R<n>_EL2
    u64 lists_[gic::max_list_registers] = {};
};

} // namespace atl::vgic
