// SPDX-License-Identifier: Apache-2.0
// Geometry of a stage-2 translation: start level, concatenated root tables and VTCR_EL2 from the sizes.
// Pure; no state, no lock. Only the 4 KiB granule. [DDI0487 D8.2.5 start level, D8.2.11 concatenation,
// D19.2 VTCR_EL2]
#pragma once
#include "lib/register.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"
#include "stage2/descriptor.hpp"

namespace atl::stage2 {

/// VTCR_EL2 with the 4 KiB granule [DDI0487 D19.2 VTCR_EL2].
struct VtcrEl2 {
    using T0SZ = Field<5, 0>;
    using SL0 = Field<7, 6>;
    using IRGN0 = Field<9, 8>;
    using ORGN0 = Field<11, 10>;
    using SH0 = Field<13, 12>;
    using TG0 = Field<15, 14>;
    using PS = Field<18, 16>;
    using VS = Bit<19>;
    using HA = Bit<21>;
    using HD = Bit<22>;
    using RES1 = Bit<31>;
};

/// VTTBR_EL2 [DDI0487 D19.2].
struct VttbrEl2 {
    using CnP = Bit<0>;
    using BADDR = Field<47, 1>;
    using VMID = Field<63, 48>;
};

/// What the CPUs can do. Boot takes the weakest value over all CPUs.
struct Features {
    unsigned pa_bits = 0;   // 32..48; more is not used, it needs FEAT_LPA(2)
    unsigned vmid_bits = 0; // 8 or 16
};

/// From ID_AA64MMFR0_EL1 and ID_AA64MMFR1_EL1. not_supported: no 4 KiB granule at stage 2, or a reserved
/// PARange.
Result<Features> decode_features(u64 id_aa64mmfr0, u64 id_aa64mmfr1);

struct Geometry {
    u8 ipa_bits = 0;
    u8 pa_bits = 0;
    u8 start_level = 0;
    u8 root_order =
        0; // log2 of the number of concatenated root tables, 0..4; the root is aligned to its size
    u64 vtcr = 0;

    constexpr u64 ipa_size() const { return u64{1} << ipa_bits; }
    constexpr u64 pa_size() const { return u64{1} << pa_bits; }
    constexpr unsigned root_entries() const { return 1U << (ipa_bits - level_shift(start_level)); }
};

/// The fewest levels that resolve `ipa_bits` (32..48) with at most 16 concatenated tables.
/// invalid_argument: ipa_bits out of range or larger than the physical address size [DDI0487 D8.2.4].
Result<Geometry> make_geometry(unsigned ipa_bits, const Features& features);

constexpr u64 make_vttbr(Pa root, Vmid vmid) {
    return (root.value & VttbrEl2::BADDR::mask) | VttbrEl2::VMID::of(vmid.value);
}
/// VTTBR_EL2.BADDR, without CnP.
constexpr Pa root_of(u64 vttbr) {
    return {vttbr & Field<47, 1>::mask};
}
constexpr Vmid vmid_of(u64 vttbr) {
    return {static_cast<u16>(VttbrEl2::VMID::get(vttbr))};
}

} // namespace atl::stage2
