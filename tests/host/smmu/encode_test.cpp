// SPDX-License-Identifier: Apache-2.0
// smmu: encoders and decoders, bit by bit against values made by hand from the figures of [IHI0070 §4, §5.2,
// §7.3].
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "tests/support/smmu_fixture.hpp"

using namespace atl;
using namespace atl::smmu;
using namespace atl::test;

namespace {

const IdRegisters virt{0x0d44'101b, 19u << 21 | 19u << 16 | 16, 1u << 10 | 1u << 2, 0x74};
constexpr Pa small_end{u64{1} << 32};

std::string text_of(const Ste& ste) {
    std::string text;
    describe(ste,
             TextSink{&text, [](void* t, std::string_view s) { static_cast<std::string*>(t)->append(s); }});
    return text;
}

} // namespace

TEST_CASE("smmu encode: commands") {
    CHECK(cmd_sync() == Command{{0x46, 0}});
    CHECK(cmd_cfgi_ste({0x1234'5678}, true) == Command{{0x1234'5678'0000'0003, 1}});
    CHECK(cmd_cfgi_ste({0x10}, false) == Command{{0x0000'0010'0000'0003, 0}});
    CHECK(cmd_cfgi_all() == Command{{0x04, 31}});
    CHECK(cmd_tlbi_vmall({0xabcd}) == Command{{0x0000'abcd'0000'0028, 0}});
    CHECK(cmd_tlbi_ipa({0x12}, {0x8'4020'3000}) == Command{{0x0000'0012'0000'002a, 0x8'4020'3000}});
    // NUM 16:12, SCALE 24:20, TG 75:74
    CHECK(cmd_tlbi_ipa_range({1}, {0x4000'0000}, 31, 5) == Command{{0x0000'0001'0051'f02a, 0x4000'0400}});
    CHECK(cmd_tlbi_nsnh_all() == Command{{0x30, 0}});
    CHECK(cmd_tlbi_el2_all() == Command{{0x20, 0}});
    CHECK(cmd_resume_abort({0x18}, 0xbeef) == Command{{0x0000'0018'0000'2044, 0xbeef}});
}

TEST_CASE("smmu encode: a stage-2-only entry") {
    const Features features = decode_features(virt);
    const Stage2 stage2{{0x1'2345'0000}, vtcr_40, {0x0203}};
    const Result<Ste> ste = encode(stage2, features);
    REQUIRE(ste.ok());
    CHECK((*ste)[0] == 0xd);      // V, Config 0b110
    CHECK((*ste)[1] == 0x8'0000); // MEV
    // S2R 58, S2AA64 51, S2PS 2 at 48, S2TG 0, S2SH0 3 at 44, OR0 1 at 42, IR0 1 at 40, SL0 1 at 38, T0SZ 24
    // at 32
    CHECK((*ste)[2] == 0x040a'3558'0000'0203);
    CHECK((*ste)[3] == 0x1'2345'0000);
    CHECK(std::all_of(ste->begin() + 4, ste->end(), [](u64 word) { return word == 0; }));

    SUBCASE("attributes of an SMMU that does not snoop, and one that overrides types") {
        Features other = features;
        other.coherent = false;
        other.attributes_override = true;
        const Ste plain = *encode(stage2, other);
        CHECK(Ste2::S2IR0::get(plain[2]) == 0);
        CHECK(Ste2::S2OR0::get(plain[2]) == 0);
        CHECK(Ste2::S2SH0::get(plain[2]) == 2);
        CHECK(plain[1] == (0x8'0000 | u64{1} << 44)); // SHCFG: use incoming
    }
    SUBCASE("a physical size above the SMMU's is cut to it") {
        const u64 large = (vtcr_40 & ~(u64{7} << 16)) | 5 << 16;                        // 48 bits
        CHECK(Ste2::S2PS::get((*encode({stage2.root, large, {1}}, features))[2]) == 4); // OAS 44
    }
    SUBCASE("what is refused") {
        Features eight = features;
        eight.vmid16 = false;
        CHECK(encode(stage2, eight).error() == Error::invalid_argument);
        CHECK(encode({stage2.root, vtcr_40, {255}}, eight).ok());
        CHECK(encode({{0x1800}, vtcr_40, {1}}, features).error() == Error::invalid_argument);
        CHECK(encode({{0x1000}, vtcr_40 | 1 << 14, {1}}, features).error() ==
              Error::invalid_argument); // 64 KiB
        CHECK(encode({{u64{1} << 44}, vtcr_40, {1}}, features).error() == Error::overflow);
        const u64 sl0_2 = (vtcr_40 & ~(u64{3} << 6) & ~u64{63}) | 2 << 6;
        CHECK(encode({{0x1000}, sl0_2 | 16, {1}}, features).error() == Error::overflow); // IPA 48 > 44
        CHECK(encode({{0x1000}, sl0_2 | 20, {1}}, features).ok());                       // IPA 44
        CHECK(encode({{0x1000}, sl0_2 | 26, {1}}, features).error() == Error::invalid_argument);
        CHECK(encode({{0x1000}, (vtcr_40 & ~u64{63}) | 20, {1}}, features).error() ==
              Error::invalid_argument);
        CHECK(encode({{0x1000}, vtcr_40 | 3 << 6, {1}}, features).error() == Error::invalid_argument);
    }
}

TEST_CASE("smmu encode: entries described") {
    const Ste ste = *encode({{0x1'2345'0000}, vtcr_40, {7}}, decode_features(virt));
    CHECK(
        text_of(ste).find("stage 2 only, VMID 7, root 0x123450000, IPA 40 bits, start level 1, PA 40 bits") !=
        std::string::npos);
    CHECK(text_of(abort_ste).find("every access aborts, silently") != std::string::npos);
    CHECK(text_of(Ste{}).find("C_BAD_STE") != std::string::npos);
    CHECK(text_of(Ste{Ste0::V::mask | Ste0::Config::of(config_bypass)}).find("not one that") !=
          std::string::npos);
}

TEST_CASE("smmu probe: features and refusals") {
    const Features f = decode_features(virt);
    CHECK(f.coherent);
    CHECK(f.two_level);
    CHECK(f.vmid16);
    CHECK(f.range_invalidate);
    CHECK(!f.hyp);
    CHECK(!f.ats);
    CHECK(!f.can_stall);
    CHECK(!f.broadcast_tlb);
    CHECK(f.sid_bits == 16);
    CHECK(f.pa_bits == 44);
    CHECK(f.ipa_bits == 44);
    CHECK(f.command_log2 == 19);
    CHECK(judge(virt, small_end) == Refusal::none);
    CHECK(judge(virt, Pa{u64{1} << 44}) == Refusal::none);
    CHECK(judge(virt, Pa{(u64{1} << 44) + 1}) == Refusal::addresses_too_small);

    IdRegisters id = virt;
    id.idr0 &= ~1u;
    CHECK(judge(id, small_end) == Refusal::no_stage2);
    id.idr0 = static_cast<u32>(Idr0::TTF::set(virt.idr0, 1));
    CHECK(judge(id, small_end) == Refusal::no_aarch64_tables);
    id.idr0 = static_cast<u32>(Idr0::TTENDIAN::set(virt.idr0, 3));
    CHECK(judge(id, small_end) == Refusal::big_endian_only);
    id.idr0 = static_cast<u32>(Idr0::STALL_MODEL::set(virt.idr0, stall_forced));
    CHECK(judge(id, small_end) == Refusal::stalls_forced);
    id = virt;
    id.idr5 &= ~0x10u;
    CHECK(judge(id, small_end) == Refusal::no_4k_granule);
    id = virt;
    id.idr1 |= 1u << 30;
    CHECK(judge(id, small_end) == Refusal::preset_tables);
    id.idr1 = virt.idr1 | 1u << 29;
    CHECK(judge(id, small_end) == Refusal::preset_queues);
    // AArch32 tables as well: an IPA may have 40 bits where physical addresses have fewer.
    id = virt;
    id.idr0 = static_cast<u32>(Idr0::TTF::set(virt.idr0, 3));
    id.idr5 = 0x71; // OAS 36
    CHECK(decode_features(id).pa_bits == 36);
    CHECK(decode_features(id).ipa_bits == 40);
    for (unsigned i = 0; i <= static_cast<unsigned>(Refusal::service_failure); ++i) {
        CHECK(std::string(to_string(static_cast<Refusal>(i))) != "?");
    }
}

TEST_CASE("smmu events: records decoded") {
    // F_TRANSLATION, StreamID 0x10, SSV with SubstreamID 0x5, write, privileged, stage 2, CLASS IN
    FaultRecord r = decode_event({0x0000'0010'0000'5810, 0x0000'0282'0000'0000, 0x4012'3456, 0x4012'3000});
    CHECK(r.kind == FaultKind::f_translation);
    CHECK(r.number == 0x10);
    CHECK(r.stream == StreamId{0x10});
    CHECK(r.has_substream);
    CHECK(r.substream == 5);
    CHECK(r.has_address);
    CHECK(!r.read);
    CHECK(r.privileged);
    CHECK(!r.instruction);
    CHECK(r.stage2);
    CHECK(r.what == FaultClass::input);
    CHECK(!r.stalled);
    CHECK(r.ipa == Ipa{0x4012'3456});
    CHECK(!r.has_fetch);

    // F_PERMISSION, read of an instruction, stalled with tag 0x1234
    r = decode_event({0x0000'0008'0000'0013, 0x0000'028c'8000'1234, 0x1000, 0});
    CHECK(r.kind == FaultKind::f_permission);
    CHECK(r.read);
    CHECK(r.instruction);
    CHECK(!r.privileged);
    CHECK(r.stalled);
    CHECK(r.stall_tag == 0x1234);
    CHECK(!r.has_substream);

    // C_BAD_STREAMID has no address: what stands in its place is not shown
    r = decode_event({0xffff'ffff'0000'0002, ~u64{0}, ~u64{0}, ~u64{0}});
    CHECK(r.kind == FaultKind::c_bad_streamid);
    CHECK(r.stream == StreamId{0xffff'ffff});
    CHECK(!r.has_address);
    CHECK(!r.stalled);
    CHECK(r.ipa == Ipa{0});

    // F_WALK_EABT: the descriptor's address
    r = decode_event({0x0000'0008'0000'000b, 0x0000'0288'0000'0000, 0x2000, 0x8000'1008});
    CHECK(r.kind == FaultKind::f_walk_eabt);
    CHECK(r.has_fetch);
    CHECK(r.fetch == Pa{0x8000'1008});

    r = decode_event({0x0000'0001'0000'00e3, 0, 0, 0});
    CHECK(r.kind == FaultKind::unknown);
    CHECK(r.number == 0xe3);
    CHECK(std::string(reason(r.kind)).find("does not know") != std::string::npos);

    static constexpr u8 numbers[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 32, 33, 36, 37};
    for (const u8 number : numbers) {
        const FaultKind kind = decode_event({number, 0, 0, 0}).kind;
        CHECK(static_cast<u8>(kind) == number);
        CHECK(std::string(to_string(kind)) != to_string(FaultKind::unknown));
        CHECK(std::string(reason(kind)).size() > 10);
    }
    CHECK(std::string(to_string(FaultKind::f_access)) == "F_ACCESS");
}

TEST_CASE("smmu gerror: each bit has a sentence") {
    for (unsigned bit = 0; bit < 32; ++bit) {
        CHECK((gerror_sentence(1u << bit)[0] != '\0') == ((Gerror::all >> bit & 1) != 0));
    }
}
