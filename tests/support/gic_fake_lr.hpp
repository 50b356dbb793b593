// SPDX-License-Identifier: Apache-2.0
// A fake list-register file for host tests: the ICH_* registers, a guest's CPU interface that works on them,
// and the physical side of the timer PPI. Follows [IHI0069 §4, §6, §12.3 ICV_*]; 5 priority and preemption
// bits. As a GICv2's (gicv2) it keeps what fits into a GICH_LR, has one active-priority register, and IAR and EOIR carry
// an SGI's sender [IHI0048B §5].
#pragma once
#include <bit>
#include <cstdlib>
#include <functional>
#include <vector>

#include "lib/arch/gicv2.hpp"
#include "vgic/switch.hpp"

namespace atl::vgic {

class LrFile {
  public:
    using Lr = gic::IchLr;
    using Vmcr = gic::IchVmcr;
    using Hcr = gic::IchHcr;
    static constexpr u32 spurious = 1023;
    static constexpr unsigned level_shift = 3;

    static constexpr bool has_sources = true;

    explicit LrFile(unsigned count = 4, bool gicv2 = false) : gicv2_(gicv2), count_(count) {}

    // The concept that Refill wants.
    unsigned count() const { return count_; }
    u64 hcr_on() const { return Hcr::En::mask | (gicv2_ ? 0 : Hcr::TDIR::mask); }
    u64 read(unsigned slot) {
        ++reads;
        return lrs[slot];
    }
    void write(unsigned slot, u64 value) {
        ++writes;
        lrs[slot] = gicv2_ ? gic::from_gich_lr(gic::to_gich_lr(value)) : value;
    }
    u64 empty() const {
        u64 slots = 0;
        for (unsigned i = 0; i < count_; ++i) {
            slots |= (lrs[i] & (Lr::Pending::mask | Lr::Active::mask)) == 0 ? u64{1} << i : 0;
        }
        return slots;
    }
    u64 hcr() const { return hcr_; }
    void set_hcr(u64 value) { hcr_ = value; }
    u64 vmcr() const { return vmcr_; }
    void set_vmcr(u64 value) { vmcr_ = value; }
    void save_active(CpuInterface& cpu) const {
        cpu.level_shift = level_shift;
        cpu.ap0r[0] = gicv2_ ? ap0 | ap1 : ap0;
        cpu.ap1r[0] = gicv2_ ? 0 : ap1;
    }
    void restore_active(const CpuInterface& cpu) {
        ap0 = cpu.ap0r[0];
        ap1 = cpu.ap1r[0];
    }
    void hold(u16) { physical_active = true; }
    void release(u16) { physical_active = false; }
    bool timer_line() const { return timer ? timer() : timer_high; }

    // The guest's CPU interface. GICv2: INTIDs with an SGI's sender in bits 12:10.
    u32 acknowledge(bool group1);
    void eoi(u32 intid, bool group1);
    /// False: trapped (TDIR, or, of a GICv2, no page there); the caller passes it to dir_write().
    bool dir(u32 intid);
    u32 running_priority() const;
    /// The interrupt that IAR would return, or spurious; what ends a WFI.
    u32 best(bool group1) const;
    /// ICH_MISR_EL2 != 0 with En: the maintenance interrupt is asserted.
    bool maintenance_asserted() const;
    u32 eoi_slots() const;

    u64 lrs[gic::max_list_registers] = {};
    u32 ap0 = 0;
    u32 ap1 = 0;
    bool physical_active = false; // the timer's PPI
    bool timer_high = false;      // its line: the guest's handler lowers it when it takes the interrupt
    std::function<bool()> timer;  // or what this says
    unsigned reads = 0;
    unsigned writes = 0;

  private:
    u64 group_priority(u64 priority, bool group1) const;
    void deactivate(unsigned slot);
    int slot_of_active(u32 intid) const;
    u32 iar_of(u64 lr) const;

    bool gicv2_;
    unsigned count_;
    u64 hcr_ = 0;
    u64 vmcr_ = 0;
};

} // namespace atl::vgic
