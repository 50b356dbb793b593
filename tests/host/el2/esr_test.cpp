// SPDX-License-Identifier: Apache-2.0
// Syndrome decoding [lib/arch/esr.hpp] against words written out by hand from the manual. [DDI0487 D19.2.40]
#include "lib/arch/esr.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>

using namespace atl;
using namespace atl::arch;

TEST_CASE("esr: data aborts as CPUs report them") {
    // LDR W9, [X0] from an unmapped page at level 3: EC 0x24, IL, ISV, SAS word, SRT 9.
    constexpr u64 load_word = 0x9389'0007;
    CHECK(exception_class(load_word) == ExceptionClass::data_abort_lower);
    CHECK(Esr::IL::test(load_word));
    CHECK(DataAbort::ISV::test(load_word));
    CHECK(DataAbort::SAS::get(load_word) == 2);
    CHECK(DataAbort::SRT::get(load_word) == 9);
    CHECK(!DataAbort::SF::test(load_word));
    CHECK(!DataAbort::WnR::test(load_word));
    CHECK(fsc_type(DataAbort::DFSC::get(load_word)) == fsc_translation);
    // STR XZR: SAS doubleword, SRT 31, SF, WnR, level 2.
    constexpr u64 store_xzr = 0x93df'8046;
    CHECK(DataAbort::SAS::get(store_xzr) == 3);
    CHECK(DataAbort::SRT::get(store_xzr) == 31);
    CHECK(DataAbort::SF::test(store_xzr));
    CHECK(DataAbort::WnR::test(store_xzr));
    CHECK(fsc_type(DataAbort::DFSC::get(store_xzr)) == fsc_translation);
    // LDRSB X3: SAS byte, SSE, SF.
    constexpr u64 load_signed = 0x9323'8007;
    CHECK(DataAbort::SAS::get(load_signed) == 0);
    CHECK(DataAbort::SSE::test(load_signed));
    CHECK(DataAbort::SF::test(load_signed));
    // A pair: no syndrome.
    CHECK(!DataAbort::ISV::test(0x9200'0007));
    // DC ZVA-like: CM and WnR; a walk: S1PTW; a permission fault at level 3.
    CHECK(DataAbort::CM::test(0x9200'0147));
    CHECK(DataAbort::S1PTW::test(0x9200'0087));
    CHECK(fsc_type(DataAbort::DFSC::get(0x9200'000f)) == fsc_permission);
    CHECK(fsc_type(DataAbort::DFSC::get(0x9200'000b)) == fsc_access_flag);
    CHECK(DataAbort::EA::test(0x9200'0210));
    CHECK(DataAbort::FnV::test(0x9200'0410));
}

TEST_CASE("esr: trapped system registers") {
    // MRS X5, ID_AA64PFR0_EL1 (3, 0, 0, 4, 0).
    constexpr u64 pfr0 = 0x6230'00a9;
    CHECK(exception_class(pfr0) == ExceptionClass::sysreg);
    CHECK(SysregTrap::Rt::get(pfr0) == 5);
    CHECK(SysregTrap::Read::test(pfr0));
    CHECK(sysreg_id_of(pfr0) == sysreg_id(3, 0, 0, 4, 0));
    // MSR ICC_SGI1R_EL1, X0 (3, 0, 12, 11, 5).
    constexpr u64 sgi = 0x623a'3016;
    CHECK(sysreg_id_of(sgi) == sysreg_id(3, 0, 12, 11, 5));
    CHECK(SysregTrap::Rt::get(sgi) == 0);
    CHECK(!SysregTrap::Read::test(sgi));
    // Every encoding is a number of its own.
    std::set<u32> ids;
    for (u64 iss = 0; iss < 1u << 22; iss += 2) {
        if (SysregTrap::Rt::get(iss) == 0) {
            ids.insert(sysreg_id_of(iss));
        }
    }
    CHECK(ids.size() == 1u << 16);
}

TEST_CASE("esr: WFx and HPFAR") {
    CHECK(WfxTrap::TI::get(0x07e0'0000) == 0); // WFI
    CHECK(WfxTrap::TI::get(0x07e0'0001) == 1); // WFE
    CHECK(WfxTrap::TI::get(0x07e0'0003) == 3); // WFET
    CHECK(hpfar_to_ipa_page(0x0009'0000) == 0x0900'0000);
    CHECK(hpfar_to_ipa_page(0xfff0'0fff'ffff'fff0) == 0xf'ffff'ffff'f000); // FIPA is 43:4
}

TEST_CASE("esr: every class and status has a name") {
    for (u64 ec = 0; ec < 64; ++ec) {
        CHECK(std::string(to_string(static_cast<ExceptionClass>(ec))) != "");
    }
    CHECK(std::string(to_string(static_cast<ExceptionClass>(0x3f))) == "reserved exception class");
    CHECK(std::string(to_string(ExceptionClass::hvc64)) == "HVC");
    for (u64 fsc = 0; fsc < 64; ++fsc) {
        CHECK(std::string(fault_status_name(fsc)) != "");
    }
    CHECK(std::string(fault_status_name(0b000111)) == "translation fault");
    CHECK(std::string(fault_status_name(0b001101)) == "permission fault");
    CHECK(std::string(fault_status_name(0b010000)) == "external abort");
    CHECK(std::string(fault_status_name(0b010111)) == "external abort on a table walk");
    CHECK(std::string(fault_status_name(0b100001)) == "alignment fault");
    CHECK(std::string(fault_status_name(0b110000)) == "other fault");
}
