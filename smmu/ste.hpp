// SPDX-License-Identifier: Apache-2.0
// Stream table entries as values: encoding a VM's stage 2, decoding for diagnostics, which bits the SMMU
// uses. Pure; no state, no lock. Does not own the table nor the order of writes (stream_table.cpp). Spec:
// [IHI0070 §5.2 STE, §5.2.2 validity, §5.5 fault configuration].
#pragma once
#include <array>

#include "lib/format.hpp"
#include "lib/result.hpp"
#include "smmu/features.hpp"

namespace atl::smmu {

/// The stage 2 of one VM, as its CPUs use it. All streams of one VMID must be given the same one [§5.2.1].
struct Stage2 {
    Pa root{};    // first of the root tables
    u64 vtcr = 0; // VTCR_EL2; 4 KiB granule
    Vmid vmid{};
    constexpr bool operator==(const Stage2&) const = default;
};

using Ste = std::array<u64, ste_words>;

/// Nobody's: aborts, and each access is reported, as C_BAD_STE, which has no address [§5.2 V = 0, §7.3.5].
/// All else in it is ignored, as with a Config of 0b000. Memory of zeroes is such an entry.
constexpr Ste invalid_ste{};
/// Aborts silently, no event [§5.2 Config = 0b000].
constexpr Ste abort_ste{Ste0::V::of(1) | Ste0::Config::of(config_abort)};

/// V = 1 and a Config under which traffic can pass.
constexpr bool passes(u64 word0) {
    return Ste0::V::test(word0) && (Ste0::Config::get(word0) & config_passing) != 0;
}

/// Stage-2-only translation. invalid_argument: a granule other than 4 KiB, sizes and start level that do not
/// fit each other, a root that is not aligned, a VMID of 16 bits where the SMMU has 8. overflow: root or IPA
/// size beyond what this SMMU can address.
Result<Ste> encode(const Stage2& stage2, const Features& features);

/// The bits of word `word` that the SMMU looks at when word 0 is `word0`.
u64 used_bits(u64 word0, unsigned word);

/// One line per meaning, for a person.
void describe(const Ste& ste, const TextSink& sink);

} // namespace atl::smmu
