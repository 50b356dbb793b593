// SPDX-License-Identifier: Apache-2.0
// Encoding and describing stream table entries: see ste.hpp.
#include "smmu/ste.hpp"

namespace atl::smmu {
namespace {

// VTCR_EL2 [DDI0487 VTCR_EL2]: its bits 18:0 have the places of STE.S2T0SZ to S2PS.
using VtcrT0sz = Field<5, 0>;
using VtcrSl0 = Field<7, 6>;
using VtcrTg0 = Field<15, 14>;
using VtcrConfig = Field<18, 0>;

constexpr u8 ps_bits[] = {32, 36, 40, 42, 44, 48, 52, 56}; // S2PS

/// What 4 KiB tables allow: start level 2 - SL0 resolves so many bits, up to 16 tables may be concatenated.
bool geometry_fits(unsigned ipa_bits, u64 sl0) {
    if (sl0 > 2) {
        return false;
    }
    const unsigned one_table = 30 + 9 * static_cast<unsigned>(sl0);
    return ipa_bits >= 25 && ipa_bits <= 48 && ipa_bits + 8 >= one_table && ipa_bits <= one_table + 4;
}

/// S2PS, not above what IDR5.OAS says: above it would be capped, but software must not rely on that [§5.2
/// S2PS].
u64 capped_ps(u64 ps, unsigned pa_bits) {
    while (ps > 0 && ps_bits[ps] > pa_bits) {
        --ps;
    }
    return ps;
}

} // namespace

Result<Ste> encode(const Stage2& stage2, const Features& features) {
    const unsigned ipa_bits = 64 - static_cast<unsigned>(VtcrT0sz::get(stage2.vtcr));
    if (VtcrTg0::get(stage2.vtcr) != 0 || !geometry_fits(ipa_bits, VtcrSl0::get(stage2.vtcr)) ||
        !stage2.root.is_aligned(page_size) || (!features.vmid16 && stage2.vmid.value > 0xff)) {
        return Error::invalid_argument;
    }
    if (ipa_bits > features.ipa_bits || (stage2.root.value >> features.pa_bits) != 0) {
        return Error::overflow;
    }
    u64 word2 = Ste2::S2VMID::of(stage2.vmid.value) | Ste2::VTCR::of(VtcrConfig::get(stage2.vtcr));
    word2 = Ste2::S2PS::set(word2, capped_ps(Ste2::S2PS::get(word2), features.pa_bits));
    if (!features.coherent) {
        // Walks do not snoop: Non-cacheable, and the tables are cleaned when they are written.
        word2 = Ste2::S2IR0::set(Ste2::S2OR0::set(word2, 0), 0);
        word2 = Ste2::S2SH0::set(word2, outer_shareable);
    }
    // S2AA64: the CPUs' tables. S2ENDI = 0: little-endian. S2AFFD = 0: a clear access flag faults, as it does
    // for the CPUs. S2HA, S2HD = 0: tables are not written by hardware. S2S = 0: faults terminate with abort,
    // so no access waits in the SMMU for its stream's next owner. S2R = 1: and they are recorded [§5.5].
    word2 |= Ste2::S2AA64::mask | Ste2::S2R::mask;

    // EATS = 0: no address that a device translated itself. S2FWB = 0: descriptors have the plain encoding.
    // MEV: a storm of like faults may become fewer records. SHCFG is RES0 without ATTR_TYPES_OVR.
    const u64 word1 = Ste1::MEV::mask | (features.attributes_override ? Ste1::SHCFG::of(shcfg_incoming) : 0);
    return Ste{Ste0::V::mask | Ste0::Config::of(config_stage2), word1, word2,
               stage2.root.value & Ste3::S2TTB::mask};
}

u64 used_bits(u64 word0, unsigned word) {
    if (word == 0) {
        return Ste0::V::test(word0) ? Ste0::V::mask | Ste0::Config::mask : Ste0::V::mask;
    }
    if (!passes(word0)) {
        return 0;
    }
    return ~u64{0}; // reserved bits count as used: they stay zero
}

void describe(const Ste& ste, const TextSink& sink) {
    format_to(sink, "  ste {:016x} {:016x} {:016x} {:016x}\n", ste[0], ste[1], ste[2], ste[3]);
    if (!Ste0::V::test(ste[0])) {
        sink.put("  V 0: every access aborts, and is told (C_BAD_STE)\n");
        return;
    }
    const u64 config = Ste0::Config::get(ste[0]);
    if (!passes(ste[0])) {
        sink.put("  Config 0b000: every access aborts, silently\n");
        return;
    }
    if (config != config_stage2) {
        format_to(sink, "  Config {}: not one that Atoll writes\n", config);
        return;
    }
    format_to(sink,
              "  Config 0b110: stage 2 only, VMID {}, root {:x}, IPA {} bits, start level {}, PA {} bits\n",
              Ste2::S2VMID::get(ste[2]), ste[3] & Ste3::S2TTB::mask, 64 - Ste2::S2T0SZ::get(ste[2]),
              2 - static_cast<int>(Ste2::S2SL0::get(ste[2])), ps_bits[Ste2::S2PS::get(ste[2])]);
    format_to(sink, "  walks: inner {} outer {} share {}, AArch64 {}, record {}, stall {}\n",
              Ste2::S2IR0::get(ste[2]), Ste2::S2OR0::get(ste[2]), Ste2::S2SH0::get(ste[2]),
              Ste2::S2AA64::get(ste[2]), Ste2::S2R::get(ste[2]), Ste2::S2S::get(ste[2]));
}

} // namespace atl::smmu
