// SPDX-License-Identifier: Apache-2.0
// The accessors of system registers, barriers and the like: for *_hw files only.
#pragma once
#include "lib/types.hpp"

/// Reads a system register by its name in the manual (or S<op0>_<op1>_C<n>_C<m>_<op2>).
#define ATOLL_MRS(name)                                                                                      \
    __extension__({                                                                                          \
        ::atl::u64 atoll_value_;                                                                             \
        asm volatile("mrs %0, " #name : "=r"(atoll_value_));                                                 \
        atoll_value_;                                                                                        \
    })
/// Writes a system register. The caller adds the ISB where the architecture asks for one.
#define ATOLL_MSR(name, value) asm volatile("msr " #name ", %x0" ::"rZ"(static_cast<::atl::u64>(value)))

namespace atl::arch {

/// Context synchronisation: what was written to system registers holds for what follows.
inline void isb() {
    asm volatile("isb" ::: "memory");
}
inline void dsb_sy() {
    asm volatile("dsb sy" ::: "memory");
}
inline void dsb_ish() {
    asm volatile("dsb ish" ::: "memory");
}
inline void dsb_ishst() {
    asm volatile("dsb ishst" ::: "memory");
}
inline void dmb_ish() {
    asm volatile("dmb ish" ::: "memory");
}
inline void wfi() {
    asm volatile("wfi" ::: "memory");
}
inline void wfe() {
    asm volatile("wfe" ::: "memory");
}
inline void sev() {
    asm volatile("sev" ::: "memory");
}

/// The only place where an EL2 address becomes a pointer.
template <class T>
inline T* pointer(HypVa va) {
    return reinterpret_cast<T*>(va.value);
}

} // namespace atl::arch
