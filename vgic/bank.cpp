// SPDX-License-Identifier: Apache-2.0
// The effect of GICD and GICR register words on a bank of 32 interrupts. The caller holds the bank's lock.
// Spec: [IHI0069 §12.9 (GICD_I*), §12.11 (GICR_I*)].
#include "vgic/bank.hpp"

namespace atl::vgic {

u32 read_word(const Bank& bank, WordRegister reg, u32 lr_pending, u32 lr_active) {
    switch (reg) {
    case WordRegister::group:
        return bank.group1;
    case WordRegister::set_enable:
    case WordRegister::clear_enable:
        return bank.enabled;
    case WordRegister::set_pending:
    case WordRegister::clear_pending:
        return bank.inputs() | (lr_pending & ~bank.drop_pending);
    case WordRegister::set_active:
    case WordRegister::clear_active:
        return bank.active | (lr_active & ~bank.drop_active);
    }
    return 0;
}

u32 write_word(Bank& bank, WordRegister reg, u32 bits, u32 lr_active) {
    u32 changed = bits;
    switch (reg) {
    case WordRegister::group:
        changed = bank.group1 ^ bits;
        bank.group1 = bits;
        break;
    case WordRegister::set_enable:
        changed = bits & ~bank.enabled;
        bank.enabled |= bits;
        break;
    case WordRegister::clear_enable:
        changed = bits & bank.enabled;
        bank.enabled &= ~bits;
        break;
    case WordRegister::set_pending:
        bank.latch.fetch_or(bits, std::memory_order_relaxed);
        break;
    case WordRegister::clear_pending:
        // A level interrupt stays pending while its line is high [IHI0069 §12.9].
        bank.latch.fetch_and(~bits, std::memory_order_relaxed);
        bank.drop_pending |= bits & bank.listed;
        break;
    case WordRegister::set_active:
        changed = bits & ~(bank.active | (lr_active & ~bank.drop_active));
        bank.active |= changed;
        break;
    case WordRegister::clear_active:
        bank.active &= ~bits;
        bank.drop_active |= bits & bank.listed;
        break;
    }
    return changed;
}

u32 read_config(const Bank& bank, bool upper_half) {
    const u32 edges = upper_half ? bank.edge >> 16 : bank.edge & 0xffff;
    u32 value = 0;
    for (unsigned i = 0; i < 16; ++i) {
        value |= ((edges >> i) & 1u) << (2 * i + 1);
    }
    return value;
}

u32 write_config(Bank& bank, bool upper_half, u32 value) {
    u32 edges = 0;
    for (unsigned i = 0; i < 16; ++i) {
        edges |= ((value >> (2 * i + 1)) & 1u) << i;
    }
    const u32 old = bank.edge;
    bank.edge = upper_half ? (old & 0xffff) | (edges << 16) : (old & 0xffff'0000) | edges;
    return old ^ bank.edge;
}

u32 read_priority(const Bank& bank, u32 first, unsigned size) {
    u32 value = 0;
    for (unsigned i = 0; i < size; ++i) {
        value |= static_cast<u32>(bank.priority[first + i]) << (8 * i);
    }
    return value;
}

u32 write_priority(Bank& bank, u32 first, unsigned size, u32 value, u8 mask) {
    u32 changed = 0;
    for (unsigned i = 0; i < size; ++i) {
        const u8 priority = static_cast<u8>((value >> (8 * i)) & mask);
        if (bank.priority[first + i] != priority) {
            bank.priority[first + i] = priority;
            changed |= 1u << (first + i);
        }
    }
    return changed;
}

} // namespace atl::vgic
