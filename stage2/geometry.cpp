// SPDX-License-Identifier: Apache-2.0
// Geometry of a stage-2 translation: see geometry.hpp. Pure.
#include "stage2/geometry.hpp"

#include <array>

namespace atl::stage2 {
namespace {

using PARange = Field<3, 0>;    // ID_AA64MMFR0_EL1
using TGran4 = Field<31, 28>;   // 0: supported, 1: with 52 bits, 0xf: not
using TGran4_2 = Field<43, 40>; // stage 2: 0: as TGran4, 1: not, 2: supported, 3: with 52 bits
using VMIDBits = Field<7, 4>;   // ID_AA64MMFR1_EL1: 0: 8 bits, 2: 16 bits

constexpr unsigned max_concatenation_bits = 4;
constexpr unsigned min_ipa_bits = 32;
constexpr unsigned max_ipa_bits = 48;

constexpr u64 wb_wa = 0b01; // normal, write-back read-allocate write-allocate cacheable
constexpr u64 tg0_4k = 0b00;

/// PARange and VTCR_EL2.PS share this encoding; 52 bits (6) and 56 bits (7) are used as 48.
constexpr std::array<u8, 8> pa_bits_by_range{32, 36, 40, 42, 44, 48, 48, 48};

/// VTCR_EL2.PS for an exact size, or nothing.
constexpr Result<u64> encode_ps(unsigned pa_bits) {
    for (u64 i = 0; i < 6; ++i) {
        if (pa_bits_by_range[i] == pa_bits) {
            return i;
        }
    }
    return Error::invalid_argument;
}

} // namespace

Result<Features> decode_features(u64 id_aa64mmfr0, u64 id_aa64mmfr1) {
    const u64 stage2_4k = TGran4_2::get(id_aa64mmfr0);
    const u64 stage1_4k = TGran4::get(id_aa64mmfr0);
    const bool has_4k = stage2_4k == 0 ? stage1_4k <= 1 : (stage2_4k == 2 || stage2_4k == 3);
    const u64 range = PARange::get(id_aa64mmfr0);
    if (!has_4k || range >= pa_bits_by_range.size()) {
        return Error::not_supported;
    }
    return Features{pa_bits_by_range[static_cast<std::size_t>(range)],
                    VMIDBits::get(id_aa64mmfr1) == 2 ? 16U : 8U};
}

Result<Geometry> make_geometry(unsigned ipa_bits, const Features& features) {
    const Result<u64> ps = encode_ps(features.pa_bits);
    if (!ps || (features.vmid_bits != 8 && features.vmid_bits != 16)) {
        return Error::invalid_argument;
    }
    if (ipa_bits < min_ipa_bits || ipa_bits > max_ipa_bits || ipa_bits > features.pa_bits) {
        return Error::invalid_argument;
    }
    // From the shortest walk upwards: a start at `level` resolves one table's bits plus the concatenation.
    unsigned level = 2;
    while (ipa_bits > level_shift(level) + 9 + max_concatenation_bits) {
        --level;
    }
    // A start at level 0 needs 44 bits of PA [DDI0487 D8.2.5]; here it implies ipa_bits >= 44, and pa_bits >=
    // ipa_bits.
    const unsigned table_bits = level_shift(level) + 9;
    Geometry geometry;
    geometry.ipa_bits = static_cast<u8>(ipa_bits);
    geometry.pa_bits = static_cast<u8>(features.pa_bits);
    geometry.start_level = static_cast<u8>(level);
    geometry.root_order = static_cast<u8>(ipa_bits > table_bits ? ipa_bits - table_bits : 0);
    // SL0 counts downwards: 0 = level 2, 1 = level 1, 2 = level 0. HA and HD stay 0: AF is always set and
    // nothing tracks dirty pages.
    geometry.vtcr = VtcrEl2::T0SZ::of(64 - ipa_bits) | VtcrEl2::SL0::of(2 - level) |
                    VtcrEl2::IRGN0::of(wb_wa) | VtcrEl2::ORGN0::of(wb_wa) | VtcrEl2::SH0::of(sh_inner) |
                    VtcrEl2::TG0::of(tg0_4k) | VtcrEl2::PS::of(*ps) |
                    VtcrEl2::VS::of(features.vmid_bits == 16) | VtcrEl2::RES1::mask;
    return geometry;
}

} // namespace atl::stage2
