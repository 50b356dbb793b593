// SPDX-License-Identifier: Apache-2.0
// Decoding of event records: see event.hpp. Spec: [IHI0070 §7.3].
#include "smmu/event.hpp"

namespace atl::smmu {
namespace {

/// Names, reasons, and which fields a record of that kind has, in one place.
struct Kind {
    FaultKind kind;
    bool address; // InputAddr; RnW, InD, PnU
    bool walk;    // S2, CLASS; Stall, STAG
    bool fetch;   // FetchAddr in word 3
    const char* name;
    const char* why;
};
constexpr Kind kinds[] = {
    {FaultKind::f_uut, true, false, false, "F_UUT", "the bus does not support this kind of access"},
    {FaultKind::c_bad_streamid, false, false, false, "C_BAD_STREAMID",
     "no VM owns a device with this StreamID"},
    {FaultKind::f_ste_fetch, false, false, true, "F_STE_FETCH",
     "the read of its stream table entry was aborted"},
    {FaultKind::c_bad_ste, false, false, false, "C_BAD_STE", "its stream table entry is not valid"},
    {FaultKind::f_bad_ats_treq, true, false, false, "F_BAD_ATS_TREQ",
     "it asked for a translation (ATS), which it may not"},
    {FaultKind::f_stream_disabled, false, false, false, "F_STREAM_DISABLED", "its stream is disabled"},
    {FaultKind::f_transl_forbidden, true, false, false, "F_TRANSL_FORBIDDEN",
     "it used a translated address (ATS), which it may not"},
    {FaultKind::c_bad_substreamid, false, false, false, "C_BAD_SUBSTREAMID",
     "it used a SubstreamID (PASID), and has none"},
    {FaultKind::f_cd_fetch, true, true, true, "F_CD_FETCH", "the read of its context descriptor was aborted"},
    {FaultKind::c_bad_cd, false, false, false, "C_BAD_CD", "its context descriptor is not valid"},
    {FaultKind::f_walk_eabt, true, true, true, "F_WALK_EABT", "the read of a translation table was aborted"},
    {FaultKind::f_translation, true, true, false, "F_TRANSLATION", "nothing is mapped there"},
    {FaultKind::f_addr_size, true, true, false, "F_ADDR_SIZE", "the translated address is too large"},
    {FaultKind::f_access, true, true, false, "F_ACCESS", "the mapping's access flag is clear"},
    {FaultKind::f_permission, true, true, false, "F_PERMISSION", "the mapping does not allow it"},
    {FaultKind::f_tlb_conflict, true, false, false, "F_TLB_CONFLICT", "two cached translations match"},
    {FaultKind::f_cfg_conflict, false, false, false, "F_CFG_CONFLICT", "two cached configurations match"},
    {FaultKind::e_page_request, false, false, false, "E_PAGE_REQUEST", "it hints at a page that it will use"},
    {FaultKind::f_vms_fetch, false, false, true, "F_VMS_FETCH", "the read of its VM structure was aborted"},
};
constexpr Kind no_kind = {FaultKind::unknown,
                          false,
                          false,
                          false,
                          "an unknown event",
                          "the SMMU gives a reason that this driver does not know"};

const Kind& find(u64 number) {
    for (const Kind& kind : kinds) {
        if (static_cast<u64>(kind.kind) == number) {
            return kind;
        }
    }
    return no_kind;
}

} // namespace

FaultRecord decode_event(const std::array<u64, event_words>& words) {
    FaultRecord record;
    record.number = static_cast<u8>(Evt0::Number::get(words[0]));
    record.stream = {static_cast<u32>(Evt0::StreamID::get(words[0]))};
    record.has_substream = Evt0::SSV::test(words[0]);
    record.substream = record.has_substream ? static_cast<u32>(Evt0::SubstreamID::get(words[0])) : 0;
    const Kind& kind = find(record.number);
    record.kind = kind.kind;
    record.has_address = kind.address;
    record.has_fetch = kind.fetch;
    if (kind.kind == FaultKind::f_bad_ats_treq) {
        record.ipa = {words[2]}; // a question, not an access: it has other bits in place of RnW
        record.read = true;
    } else if (kind.address) {
        record.read = Evt1::RnW::test(words[1]);
        record.instruction = Evt1::InD::test(words[1]);
        record.privileged = Evt1::PnU::test(words[1]);
        record.ipa = {words[2]};
    }
    if (kind.walk) {
        record.stage2 = Evt1::S2::test(words[1]);
        record.what = static_cast<FaultClass>(Evt1::CLASS::get(words[1]));
        record.stalled = Evt1::Stall::test(words[1]);
        record.stall_tag = record.stalled ? static_cast<u16>(Evt1::STAG::get(words[1])) : u16{0};
    }
    if (kind.fetch) {
        record.fetch = {words[3] & Evt3::Address::mask};
    }
    return record;
}

const char* reason(FaultKind kind) {
    return find(static_cast<u64>(kind)).why;
}

const char* to_string(FaultKind kind) {
    return find(static_cast<u64>(kind)).name;
}

} // namespace atl::smmu
