// SPDX-License-Identifier: Apache-2.0
// The list registers' numbers are part of the instruction, so a slot is chosen by a jump. Only *_hw.cpp files
// include this. Owns nothing. Spec: [IHI0069 §12.4 ICH_LR<n>_EL2, ICH_AP0R<n>_EL2, ICH_AP1R<n>_EL2].
#pragma once
#include "vgic/gicv3_hw.hpp"

// X(n) for every list register.
#define ATOLL_LIST_REGISTERS(X)                                                                              \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

namespace atl::vgic {

inline u64 LrFile::read(unsigned slot) {
    u64 value = 0;
    switch (slot & 15) {
#define ATOLL_READ_LR(n)                                                                                     \
    case n:                                                                                                  \
        asm volatile("mrs %0, ich_lr" #n "_el2" : "=r"(value));                                              \
        break;
        ATOLL_LIST_REGISTERS(ATOLL_READ_LR)
#undef ATOLL_READ_LR
    }
    return value;
}

inline void LrFile::write(unsigned slot, u64 value) {
    switch (slot & 15) {
#define ATOLL_WRITE_LR(n)                                                                                    \
    case n:                                                                                                  \
        asm volatile("msr ich_lr" #n "_el2, %0" ::"r"(value));                                               \
        break;
        ATOLL_LIST_REGISTERS(ATOLL_WRITE_LR)
#undef ATOLL_WRITE_LR
    }
}

// One active-priority register per 32 preemption levels; the others are UNDEFINED.
#define ATOLL_SAVE_AP(n)                                                                                     \
    do {                                                                                                     \
        u64 low_;                                                                                            \
        u64 high_;                                                                                           \
        asm volatile("mrs %0, ich_ap0r" #n "_el2" : "=r"(low_));                                             \
        asm volatile("mrs %0, ich_ap1r" #n "_el2" : "=r"(high_));                                            \
        cpu.ap0r[n] = static_cast<u32>(low_);                                                                \
        cpu.ap1r[n] = static_cast<u32>(high_);                                                               \
    } while (false)
#define ATOLL_RESTORE_AP(n)                                                                                  \
    do {                                                                                                     \
        asm volatile("msr ich_ap0r" #n "_el2, %0" ::"r"(static_cast<u64>(cpu.ap0r[n])));                     \
        asm volatile("msr ich_ap1r" #n "_el2, %0" ::"r"(static_cast<u64>(cpu.ap1r[n])));                     \
    } while (false)

inline void LrFile::save_active(CpuInterface& cpu) const {
    ATOLL_SAVE_AP(0);
    if (preemption_bits_ > 5) { // else CpuInterface::level_shift is right as it is
        cpu.level_shift = static_cast<u8>(8 - preemption_bits_);
        ATOLL_SAVE_AP(1);
        if (preemption_bits_ > 6) {
            ATOLL_SAVE_AP(2);
            ATOLL_SAVE_AP(3);
        }
    }
}

inline void LrFile::restore_active(const CpuInterface& cpu) const {
    ATOLL_RESTORE_AP(0);
    if (preemption_bits_ > 5) {
        ATOLL_RESTORE_AP(1);
        if (preemption_bits_ > 6) {
            ATOLL_RESTORE_AP(2);
            ATOLL_RESTORE_AP(3);
        }
    }
}

#undef ATOLL_SAVE_AP
#undef ATOLL_RESTORE_AP

} // namespace atl::vgic
