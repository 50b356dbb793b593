// SPDX-License-Identifier: Apache-2.0
// Exception syndrome layouts [DDI0487 D19.2.40 ESR_EL2]. Pure.
#pragma once
#include "lib/register.hpp"

namespace atl::arch {

namespace Esr {
using EC = Field<31, 26>;
using IL = Bit<25>;
using ISS = Field<24, 0>;
} // namespace Esr

/// ESR_ELx.EC.
enum class ExceptionClass : u8 {
    unknown = 0x00,
    wfx = 0x01,
    cp15_mcr = 0x03,
    cp15_mcrr = 0x04,
    cp14_mcr = 0x05,
    cp14_ldc = 0x06,
    fp_simd = 0x07,
    cp10_id = 0x08,
    pauth = 0x09,
    ls64 = 0x0a,
    cp14_mrrc = 0x0c,
    bti = 0x0d,
    illegal_state = 0x0e,
    svc32 = 0x11,
    hvc32 = 0x12,
    smc32 = 0x13,
    svc64 = 0x15,
    hvc64 = 0x16,
    smc64 = 0x17,
    sysreg = 0x18,
    sve = 0x19,
    eret = 0x1a,
    sme = 0x1d,
    instruction_abort_lower = 0x20,
    instruction_abort_same = 0x21,
    pc_alignment = 0x22,
    data_abort_lower = 0x24,
    data_abort_same = 0x25,
    sp_alignment = 0x26,
    fp32 = 0x28,
    fp64 = 0x2c,
    serror = 0x2f,
    breakpoint_lower = 0x30,
    step_lower = 0x32,
    watchpoint_lower = 0x34,
    bkpt32 = 0x38,
    brk64 = 0x3c,
};

constexpr ExceptionClass exception_class(u64 esr) {
    return static_cast<ExceptionClass>(Esr::EC::get(esr));
}
const char* to_string(ExceptionClass ec);

/// ISS of a data abort [DDI0487 ISS encoding for an exception from a Data Abort].
namespace DataAbort {
using ISV = Bit<24>;
using SAS = Field<23, 22>;
using SSE = Bit<21>;
using SRT = Field<20, 16>;
using SF = Bit<15>;
using AR = Bit<14>;
using VNCR = Bit<13>;
using FnV = Bit<10>;
using EA = Bit<9>;
using CM = Bit<8>;
using S1PTW = Bit<7>;
using WnR = Bit<6>;
using DFSC = Field<5, 0>;
} // namespace DataAbort

// Fault status codes, without the level in bits 1:0.
constexpr u64 fsc_translation = 0b000100;
constexpr u64 fsc_access_flag = 0b001000;
constexpr u64 fsc_permission = 0b001100;
constexpr u64 fsc_external = 0b010000;
constexpr u64 fsc_alignment = 0b100001;
constexpr u64 fsc_type(u64 fsc) {
    return fsc & 0b111100;
}
const char* fault_status_name(u64 fsc);

/// ISS of a trapped MSR/MRS.
namespace SysregTrap {
using Op0 = Field<21, 20>;
using Op2 = Field<19, 17>;
using Op1 = Field<16, 14>;
using CRn = Field<13, 10>;
using Rt = Field<9, 5>;
using CRm = Field<4, 1>;
using Read = Bit<0>;
} // namespace SysregTrap

/// A system register's encoding as one comparable number: op0, op1, CRn, CRm, op2.
constexpr u32 sysreg_id(u32 op0, u32 op1, u32 crn, u32 crm, u32 op2) {
    return op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
}
constexpr u32 sysreg_id_of(u64 esr) {
    return sysreg_id(static_cast<u32>(SysregTrap::Op0::get(esr)), static_cast<u32>(SysregTrap::Op1::get(esr)),
                     static_cast<u32>(SysregTrap::CRn::get(esr)), static_cast<u32>(SysregTrap::CRm::get(esr)),
                     static_cast<u32>(SysregTrap::Op2::get(esr)));
}

/// ISS of a trapped WFI/WFE: TI.
namespace WfxTrap {
using TI = Field<1, 0>; // 0 WFI, 1 WFE, 2 WFIT, 3 WFET
}

/// HPFAR_EL2.FIPA [43:4] holds IPA[51:12] [DDI0487 D19.2.52].
constexpr u64 hpfar_to_ipa_page(u64 hpfar) {
    return Field<43, 4>::get(hpfar) << 12;
}

} // namespace atl::arch
