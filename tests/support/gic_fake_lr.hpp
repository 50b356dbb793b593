// SPDX-License-Identifier: Apache-2.0
// The list-register file of host tests: the product's virtual CPU interface in software (vgic/soft_interface.hpp), which the
// guest of a test uses as it would the hardware's, the physical side of the timer PPI, and counters. 5 priority and
// preemption bits. As a GICv2's (gicv2) it keeps what fits into a GICH_LR. For a VM whose interface is software it is the
// whole of its file: what would be HCR_EL2.{VI, VF} is `shown`.
#pragma once
#include <cstdlib>
#include <functional>
#include <vector>

#include "lib/arch/gicv2.hpp"
#include "vgic/soft_interface.hpp"
#include "vgic/switch.hpp"

namespace atl::vgic {

class LrFile : public SoftInterface {
  public:
    static constexpr bool has_sources = true;
    static constexpr InSoftware in_software = InSoftware::perhaps;

    explicit LrFile(unsigned count = 4, bool gicv2 = false)
        : SoftInterface({.lists = static_cast<u8>(count), .gicv2 = gicv2}), gicv2_(gicv2) {}

    u64 read(unsigned slot) {
        ++reads;
        return SoftInterface::read(slot);
    }
    void write(unsigned slot, u64 value) {
        ++writes;
        SoftInterface::write(slot, gicv2_ ? gic::from_gich_lr(gic::to_gich_lr(value)) : value);
    }
    void hold(u16) { physical_active = true; }
    void release(u16) { physical_active = false; }
    bool timer_line() const { return timer ? timer() : timer_high; }
    void open() { trapping = true; }
    void close() {
        shown = {};
        trapping = false;
    }
    void signal(VirtualLines lines) { shown = lines; }

    /// Of an interface in hardware: EOIR, the physical side included.
    void eoi(u32 iar, bool group1) {
        end(iar, group1);
        if (take_ended() != 0) {
            if (!physical_active) {
                std::abort(); // the physical interrupt of an active HW=1 one must be held
            }
            physical_active = false;
        }
    }
    /// A list register as it is; no access of Refill's.
    u64 peek(unsigned slot) const { return SoftInterface::read(slot); }

    bool physical_active = false; // the timer's PPI
    bool timer_high = false;      // its line: the guest's handler lowers it when it takes the interrupt
    std::function<bool()> timer;  // or what this says
    VirtualLines shown{};
    bool trapping = false;
    unsigned reads = 0;
    unsigned writes = 0;

  private:
    bool gicv2_;
};

} // namespace atl::vgic
