// SPDX-License-Identifier: Apache-2.0
// Encoders of the commands that Atoll gives. Pure; no state, no lock. Spec: [IHI0070 §4].
#pragma once
#include "lib/arch/smmu.hpp"
#include "lib/types.hpp"

namespace atl::smmu {

struct Command {
    u64 word[2];
    constexpr bool operator==(const Command&) const = default;
};

constexpr u64 opcode(Op op) {
    return Cmd0::Opcode::of(static_cast<u64>(op));
}
constexpr Op op_of(u64 word0) {
    return static_cast<Op>(Cmd0::Opcode::get(word0));
}

/// Completes all earlier commands; its consumption is its completion, no signal (CS = SIG_NONE)
/// [§4.7.3, §4.8].
constexpr Command cmd_sync() {
    return {{opcode(Op::SYNC) | Cmd0::CS::of(0), 0}};
}
/// `leaf` = false: the level 1 descriptor above it, too [§4.3.1].
constexpr Command cmd_cfgi_ste(StreamId stream, bool leaf) {
    return {{opcode(Op::CFGI_STE) | Cmd0::StreamID::of(stream.value), Cmd1::Leaf::of(leaf)}};
}
constexpr Command cmd_cfgi_all() { // [§4.3.6]
    return {{opcode(Op::CFGI_STE_RANGE), Cmd1::Range::of(31)}};
}
/// All entries of a VM, all stages [§4.4.3.2].
constexpr Command cmd_tlbi_vmall(Vmid vmid) {
    return {{opcode(Op::TLBI_S12_VMALL) | Cmd0::VMID::of(vmid.value), 0}};
}
/// Whatever covers `ipa` at any level, table entries included (Leaf = 0) [§4.4.3.1].
constexpr Command cmd_tlbi_ipa(Vmid vmid, Ipa ipa) {
    return {{opcode(Op::TLBI_S2_IPA) | Cmd0::VMID::of(vmid.value), ipa.value & Cmd1::Address::mask}};
}
/// The same for (num + 1) * 2^scale pages of 4 KiB from `ipa`. TTL = 0: leaves of any level, since the stale
/// ones need not be of one level. num = scale = 0 is illegal with it [§4.4.1.1].
constexpr Command cmd_tlbi_ipa_range(Vmid vmid, Ipa ipa, u64 num, u64 scale) {
    return {
        {opcode(Op::TLBI_S2_IPA) | Cmd0::VMID::of(vmid.value) | Cmd0::NUM::of(num) | Cmd0::SCALE::of(scale),
         (ipa.value & Cmd1::Address::mask) | Cmd1::TG::of(1)}};
}
constexpr Command cmd_tlbi_nsnh_all() { // [§4.4.4.1]
    return {{opcode(Op::TLBI_NSNH_ALL), 0}};
}
constexpr Command cmd_tlbi_el2_all() { // illegal where IDR0.Hyp = 0 [§4.4.2.7]
    return {{opcode(Op::TLBI_EL2_ALL), 0}};
}
/// The stalled access ends with an abort (Ac = 0, Ab = 1). Illegal where the SMMU cannot stall [§4.7.1].
constexpr Command cmd_resume_abort(StreamId stream, u16 tag) {
    return {{opcode(Op::RESUME) | Cmd0::Ab::mask | Cmd0::StreamID::of(stream.value), Cmd1::STAG::of(tag)}};
}

} // namespace atl::smmu
