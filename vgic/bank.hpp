// SPDX-License-Identifier: Apache-2.0
// Bank: the state of 32 interrupts as one word per fact, and the effect of register words on it.
// Owns no lock: `line` and `latch` are atomic and may change at any time; everything else belongs to the lock
// of the bank's owner (the distributor's for SPIs, the vCPU's for private interrupts). Spec: [IHI0069 §4.1,
// §4.6].
//
// Where a fact is while the interrupt is listed (has a list register): pending and active have *moved* into
// the list register, except what arrived since; fold() in vgic/refill.hpp moves them back. So each fact is in
// one place.
#pragma once
#include <atomic>

#include "lib/arch/gic.hpp"

namespace atl::vgic {

struct Bank {
    std::atomic<u32> line{
        0}; // input level; for the hardware-backed timer of a loaded vCPU: "fired, not yet listed"
    std::atomic<u32> latch{0}; // pending by edge, SGI or ISPENDR; cleared when moved into a list register
    u32 enabled = 0;           // ISENABLER
    u32 group1 = 0;            // IGROUPR
    u32 edge = 0;              // ICFGR: 1 edge, 0 level
    u32 active = 0;            // active and not in a list register
    u32 listed = 0;       // has a list register in a loaded vCPU; set and cleared by that vCPU's pCPU only
    u32 drop_pending = 0; // listed, and ICPENDR was written since: fold() discards the latched pending state
    u32 drop_active = 0;  // listed, and ICACTIVER was written since: fold() discards the active state
    u8 priority[32] = {};

    /// Interrupts that want attention whatever their enables.
    u32 inputs() const {
        return latch.load(std::memory_order_relaxed) | (line.load(std::memory_order_relaxed) & ~edge);
    }
    /// `groups`: bit 0 group 0 enabled, bit 1 group 1 enabled (GICD_CTLR's low bits).
    u32 forwarded(u32 groups) const {
        const u32 by_group1 = (groups & 2) != 0 ? group1 : 0;
        const u32 by_group0 = (groups & 1) != 0 ? ~group1 : 0;
        return enabled & (by_group0 | by_group1);
    }
    /// Anything at all that a change of configuration could affect.
    u32 busy() const { return inputs() | active | listed; }

    void reset() {
        line.store(0, std::memory_order_relaxed);
        latch.store(0, std::memory_order_relaxed);
        enabled = group1 = edge = active = listed = drop_pending = drop_active = 0;
        for (u8& p : priority) {
            p = 0;
        }
    }
};

/// The word registers that exist both for SPIs (GICD) and private interrupts (GICR), in address order of 0x80
/// bytes.
enum class WordRegister : u8 {
    group,
    set_enable,
    clear_enable,
    set_pending,
    clear_pending,
    set_active,
    clear_active,
};
constexpr u64 first_word_register = gic::gicd::igroupr;
constexpr u64 end_word_register = gic::gicd::ipriorityr;
constexpr WordRegister word_register(u64 offset) {
    return static_cast<WordRegister>((offset - first_word_register) / 0x80);
}
/// Registers whose answer depends on what list registers hold.
constexpr bool needs_sync(WordRegister reg) {
    return reg >= WordRegister::set_pending;
}

/// Value read from a word register. `lr_pending`, `lr_active`: what list registers held when last looked at.
u32 read_word(const Bank& bank, WordRegister reg, u32 lr_pending, u32 lr_active);
/// Applies a write; returns the interrupts whose delivery may change because of it.
u32 write_word(Bank& bank, WordRegister reg, u32 bits, u32 lr_active);
/// ICFGR: 16 interrupts, two bits each, of which the upper one counts [IHI0069 §12.9].
u32 read_config(const Bank& bank, bool upper_half);
u32 write_config(Bank& bank, bool upper_half, u32 value);
/// IPRIORITYR, `size` 1 or 4 bytes from interrupt `first`. Unimplemented low bits are RAZ/WI.
u32 read_priority(const Bank& bank, u32 first, unsigned size);
u32 write_priority(Bank& bank, u32 first, unsigned size, u32 value, u8 mask);

} // namespace atl::vgic
