// SPDX-License-Identifier: Apache-2.0
// Event records decoded into values, with an English phrase for the reason. Pure; no state, no lock. Names of
// VMs and devices, and throttling of what is printed, are the caller's. Spec: [IHI0070 §7.3].
#pragma once
#include <array>

#include "lib/arch/smmu.hpp"
#include "lib/types.hpp"

namespace atl::smmu {

/// The event number [§7.3.2 to §7.3.20].
enum class FaultKind : u8 {
    unknown = 0x00, // not one of these; FaultRecord::number has it
    f_uut = 0x01,
    c_bad_streamid = 0x02,
    f_ste_fetch = 0x03,
    c_bad_ste = 0x04,
    f_bad_ats_treq = 0x05,
    f_stream_disabled = 0x06,
    f_transl_forbidden = 0x07,
    c_bad_substreamid = 0x08,
    f_cd_fetch = 0x09,
    c_bad_cd = 0x0a,
    f_walk_eabt = 0x0b,
    f_translation = 0x10,
    f_addr_size = 0x11,
    f_access = 0x12,
    f_permission = 0x13,
    f_tlb_conflict = 0x20,
    f_cfg_conflict = 0x21,
    e_page_request = 0x24,
    f_vms_fetch = 0x25,
};

/// What was being looked up: CLASS [§7.3].
enum class FaultClass : u8 { context_descriptor, stage1_table, input, reserved };

struct FaultRecord {
    FaultKind kind = FaultKind::unknown;
    u8 number = 0; // as recorded
    StreamId stream{};
    bool has_address = false; // ipa, read, privileged and instruction mean something
    bool has_fetch = false;   // fetch means something
    bool read = false;        // else a write
    bool privileged = false;
    bool instruction = false;
    bool stage2 = false;
    bool stalled = false; // the driver has answered: the access ends with an abort
    bool has_substream = false;
    FaultClass what = FaultClass::input;
    u16 stall_tag = 0;
    u32 substream = 0;
    Ipa ipa{};  // what the device asked for: its address is an IPA, since only stage 2 translates
    Pa fetch{}; // descriptor or entry whose fetch was aborted
};

FaultRecord decode_event(const std::array<u64, event_words>& words);

/// Why, as the end of a sentence: "nothing is mapped there".
const char* reason(FaultKind kind);
/// The name in the manual: "F_TRANSLATION".
const char* to_string(FaultKind kind);

} // namespace atl::smmu
