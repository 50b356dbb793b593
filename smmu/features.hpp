// SPDX-License-Identifier: Apache-2.0
// What one SMMUv3 can do, decoded from its ID registers, and why an SMMU is refused. Pure; no state, no lock.
// Spec: [IHI0070 §6.3.1 IDR0, §6.3.2 IDR1, §6.3.4 IDR3, §6.3.6 IDR5].
#pragma once
#include "lib/arch/smmu.hpp"
#include "lib/types.hpp"

namespace atl::smmu {

/// Why an SMMU is not used, or is used no more. In every case but `none` no device behind it gets through.
enum class Refusal : u8 {
    none,
    window_too_small,
    global_abort_stuck,
    disable_stuck,
    no_stage2,
    no_aarch64_tables,
    no_4k_granule,
    big_endian_only,
    stalls_forced,
    preset_tables,
    preset_queues,
    addresses_too_small,
    no_memory,
    queues_stuck,
    first_commands_failed,
    interrupts_stuck,
    enable_stuck,
    invalidation_failed,
    service_failure,
};

constexpr const char* to_string(Refusal refusal) {
    switch (refusal) {
    case Refusal::none:
        return "it works";
    case Refusal::window_too_small:
        return "its registers in the device tree are fewer than 128 KiB, or not aligned to 64 KiB";
    case Refusal::global_abort_stuck:
        return "GBPA.Update never clears: it cannot be told to abort all DMA";
    case Refusal::disable_stuck:
        return "CR0ACK does not follow CR0: it cannot be disabled";
    case Refusal::no_stage2:
        return "it has no stage 2 (IDR0.S2P = 0)";
    case Refusal::no_aarch64_tables:
        return "it does not walk AArch64 tables (IDR0.TTF)";
    case Refusal::no_4k_granule:
        return "it does not walk tables of 4 KiB pages (IDR5.GRAN4K = 0)";
    case Refusal::big_endian_only:
        return "it walks big-endian tables only (IDR0.TTENDIAN = 3)";
    case Refusal::stalls_forced:
        return "it stalls every faulting access until software answers (IDR0.STALL_MODEL = 2)";
    case Refusal::preset_tables:
        return "its stream table is at an address that cannot be changed (IDR1.TABLES_PRESET)";
    case Refusal::preset_queues:
        return "its queues are at addresses that cannot be changed (IDR1.QUEUES_PRESET)";
    case Refusal::addresses_too_small:
        return "its physical addresses do not reach the end of RAM (IDR5.OAS)";
    case Refusal::no_memory:
        return "there is no memory for its tables and queues";
    case Refusal::queues_stuck:
        return "CR0ACK does not follow CR0: its queues cannot be enabled";
    case Refusal::first_commands_failed:
        return "it does not complete its first commands";
    case Refusal::interrupts_stuck:
        return "IRQ_CTRLACK does not follow IRQ_CTRL";
    case Refusal::enable_stuck:
        return "CR0ACK does not follow CR0: it cannot be enabled";
    case Refusal::invalidation_failed:
        return "it did not complete an invalidation: all DMA behind it is stopped";
    case Refusal::service_failure:
        return "it reports a failure of its own (GERROR.SFM_ERR): all DMA behind it is stopped";
    }
    return "?";
}

struct Features {
    bool coherent = false;
    bool two_level = false;
    bool vmid16 = false;
    bool hyp = false;
    bool ats = false;
    bool msi = false;
    bool broadcast_tlb = false;       // BTM
    bool range_invalidate = false;    // RIL
    bool attributes_override = false; // ATTR_TYPES_OVR: STE.SHCFG means something
    bool can_stall = false;           // CMD_RESUME exists
    u8 sid_bits = 0;
    u8 pa_bits = 0;  // OAS
    u8 ipa_bits = 0; // IAS
    u8 command_log2 = 0;
    u8 event_log2 = 0;
};

struct IdRegisters {
    u32 idr0 = 0;
    u32 idr1 = 0;
    u32 idr3 = 0;
    u32 idr5 = 0;
};

constexpr Features decode_features(const IdRegisters& id) {
    constexpr u8 sizes[] = {32, 36, 40, 42, 44, 48, 52, 52}; // IDR5.OAS [§6.3.6]; 56 bits need VMSAv9-128
    Features f;
    f.coherent = Idr0::COHACC::test(id.idr0);
    f.two_level = Idr0::ST_LEVEL::get(id.idr0) == 1;
    f.vmid16 = Idr0::VMID16::test(id.idr0);
    f.hyp = Idr0::Hyp::test(id.idr0);
    f.ats = Idr0::ATS::test(id.idr0);
    f.msi = Idr0::MSI::test(id.idr0);
    f.broadcast_tlb = Idr0::BTM::test(id.idr0);
    f.can_stall = Idr0::STALL_MODEL::get(id.idr0) != stall_none;
    f.range_invalidate = Idr3::RIL::test(id.idr3);
    f.attributes_override = Idr1::ATTR_TYPES_OVR::test(id.idr1);
    f.sid_bits = static_cast<u8>(Idr1::SIDSIZE::get(id.idr1) > 32 ? 32 : Idr1::SIDSIZE::get(id.idr1));
    f.command_log2 = static_cast<u8>(Idr1::CMDQS::get(id.idr1));
    f.event_log2 = static_cast<u8>(Idr1::EVENTQS::get(id.idr1));
    f.pa_bits = sizes[Idr5::OAS::get(id.idr5)];
    // Tables of 4 KiB pages without LPA2 reach 48 bits; with AArch32 tables an IPA has 40 at least [§3.4].
    f.pa_bits = f.pa_bits > 48 ? u8{48} : f.pa_bits;
    const bool aarch32 = (Idr0::TTF::get(id.idr0) & 1) != 0;
    f.ipa_bits = aarch32 && f.pa_bits < 40 ? u8{40} : f.pa_bits;
    return f;
}

/// Whether EL2 can use such an SMMU to confine devices to RAM below `memory_end`.
constexpr Refusal judge(const IdRegisters& id, Pa memory_end) {
    if (!Idr0::S2P::test(id.idr0)) {
        return Refusal::no_stage2;
    }
    if ((Idr0::TTF::get(id.idr0) & 2) == 0) {
        return Refusal::no_aarch64_tables;
    }
    if (!Idr5::GRAN4K::test(id.idr5)) {
        return Refusal::no_4k_granule;
    }
    if (Idr0::TTENDIAN::get(id.idr0) == 3) {
        return Refusal::big_endian_only;
    }
    // A stalled access is retried later, after its stream may have changed hands.
    if (Idr0::STALL_MODEL::get(id.idr0) == stall_forced) {
        return Refusal::stalls_forced;
    }
    if (Idr1::TABLES_PRESET::test(id.idr1)) {
        return Refusal::preset_tables;
    }
    if (Idr1::QUEUES_PRESET::test(id.idr1)) {
        return Refusal::preset_queues;
    }
    if (memory_end.value > u64{1} << decode_features(id).pa_bits) {
        return Refusal::addresses_too_small;
    }
    return Refusal::none;
}

} // namespace atl::smmu
