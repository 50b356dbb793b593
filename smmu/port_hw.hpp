// SPDX-License-Identifier: Apache-2.0
// How the driver reaches one SMMU: its registers, and the memory that it shares with EL2 (tables, queues).
// Owns no state but the two addresses; no lock (the callers'). Host builds take the same class from
// tests/support/smmu_model.cpp. Spec: [IHI0070 §3.15 coherency, §3.21.2 queues], [DDI0487 B2.2.1 atomicity].
#pragma once
#include "lib/arch/smmu.hpp"
#include "lib/types.hpp"

namespace atl::smmu {

class Port {
  public:
    constexpr Port() = default;
    explicit constexpr Port(Pa registers) : registers_(registers) {}

    /// False (IDR0.COHACC = 0): what the SMMU shall read is cleaned to the point of coherency, what it wrote
    /// is read past the caches.
    void set_coherent(bool coherent) { coherent_ = coherent; }

    u32 read(Reg32 reg) const;
    void write(Reg32 reg, u32 value) const;
    void write(Reg64 reg, u64 value) const;

    /// What EL2 itself has written: one single-copy atomic load.
    u64 load(Pa at) const;
    /// One single-copy atomic store; the SMMU may see it from now on, and must see it after publish().
    void store(Pa at, u64 value) const {
        store_word(at, value);
        if (!coherent_) [[unlikely]] {
            clean(at);
        }
    }
    /// What the SMMU has written, from an index on that observe() has ordered.
    u64 load_from_smmu(Pa at) const {
        if (!coherent_) [[unlikely]] {
            drop(at);
        }
        return load(at);
    }
    /// Earlier store()s are observable by the SMMU before any later register write.
    void publish() const;
    /// An index that was read from a register before any later load of what it covers, or store into it.
    void observe() const;
    /// Between two polls of a register.
    static void relax();

#if defined(ATOLL_HOST)
    static constexpr unsigned tries = 200;
#else
    /// Polls before the SMMU counts as not answering: a read of a register takes 0.1 to 1 us on silicon.
    static constexpr unsigned tries = 1'000'000;
#endif

  private:
    void store_word(Pa at, u64 value) const;
    void clean(Pa at) const;
    void drop(Pa at) const;

    Pa registers_{};
    bool coherent_ = true;
};

#if !defined(ATOLL_HOST)
inline u32 Port::read(Reg32 reg) const {
    return *reinterpret_cast<const volatile u32*>(to_hyp_va(registers_ + static_cast<u32>(reg)).value);
}
inline void Port::write(Reg32 reg, u32 value) const {
    *reinterpret_cast<volatile u32*>(to_hyp_va(registers_ + static_cast<u32>(reg)).value) = value;
}
inline void Port::write(Reg64 reg, u64 value) const {
    *reinterpret_cast<volatile u64*>(to_hyp_va(registers_ + static_cast<u32>(reg)).value) = value;
}
inline u64 Port::load(Pa at) const {
    return *reinterpret_cast<const volatile u64*>(to_hyp_va(at).value);
}
inline void Port::store_word(Pa at, u64 value) const {
    *reinterpret_cast<volatile u64*>(to_hyp_va(at).value) = value;
}
inline void Port::clean(Pa at) const {
    asm volatile("dc cvac, %0" ::"r"(to_hyp_va(at).value) : "memory");
}
inline void Port::drop(Pa at) const {
    // The line is never dirty here, so that nothing is written over the SMMU's data. The DSB: gone before the
    // load.
    asm volatile("dc civac, %0\n dsb sy" ::"r"(to_hyp_va(at).value) : "memory");
}
inline void Port::publish() const {
    // Stores to tables and queues, and their cleaning, are complete before the register write that lets the
    // SMMU use them [IHI0070 §3.21.2 step 3]. Full system: the SMMU need not be in the Inner Shareable
    // domain.
    asm volatile("dsb sy" ::: "memory");
}
inline void Port::observe() const {
    // The register read is ordered before loads and stores that follow.
    asm volatile("dmb ld" ::: "memory");
}
inline void Port::relax() {
    asm volatile("yield" ::: "memory");
}
#endif

} // namespace atl::smmu
