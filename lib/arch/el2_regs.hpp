// SPDX-License-Identifier: Apache-2.0
// Fields of the EL2 control registers that Atoll programs, named as in the manual [DDI0487 D19.2]. Pure.
#pragma once
#include "lib/register.hpp"

namespace atl::arch {

namespace HcrEl2 { // [DDI0487 D19.2.48]
using VM = Bit<0>;
using SWIO = Bit<1>;
using PTW = Bit<2>;
using FMO = Bit<3>;
using IMO = Bit<4>;
using AMO = Bit<5>;
using VF = Bit<6>;
using VI = Bit<7>;
using VSE = Bit<8>;
using FB = Bit<9>;
using BSU = Field<11, 10>;
using TWI = Bit<13>;
using TWE = Bit<14>;
using TID1 = Bit<16>;
using TID3 = Bit<18>;
using TSC = Bit<19>;
using TIDCP = Bit<20>;
using TACR = Bit<21>;
using TSW = Bit<22>;
using TVM = Bit<26>;
using HCD = Bit<29>;
using RW = Bit<31>;
using E2H = Bit<34>;
using TLOR = Bit<35>;
using TERR = Bit<36>;
using APK = Bit<40>;
using API = Bit<41>;
} // namespace HcrEl2

namespace CptrEl2 { // E2H=0 format [DDI0487 D19.2.34]
using TZ = Bit<8>;
using TFP = Bit<10>;
using TSM = Bit<12>;
using TTA = Bit<20>;
using TAM = Bit<30>;
using TCPAC = Bit<31>;
constexpr u64 res1 = 0x22ff; // bits 13, 9, 7:0
} // namespace CptrEl2

namespace MdcrEl2 { // [DDI0487 D19.3.17]
using HPMN = Field<4, 0>;
using TPMCR = Bit<5>;
using TPM = Bit<6>;
using HPME = Bit<7>;
using TDE = Bit<8>;
using TDA = Bit<9>;
using TDOSA = Bit<10>;
using TDRA = Bit<11>;
using E2PB = Field<13, 12>;
using TPMS = Bit<14>;
using TTRF = Bit<19>;
using E2TB = Field<25, 24>;
} // namespace MdcrEl2

namespace CnthctlEl2 { // E2H=0 format [DDI0487 D19.12.2]
using EL1PCTEN = Bit<0>;
using EL1PCEN = Bit<1>;
using EVNTEN = Bit<2>;
} // namespace CnthctlEl2

namespace CntCtl { // CNTx_CTL_EL0, CNTHP_CTL_EL2
constexpr u64 ENABLE = 1;
constexpr u64 IMASK = 2;
constexpr u64 ISTATUS = 4;
} // namespace CntCtl

namespace Spsr { // AArch64 form [DDI0487 C5.2.19]
constexpr u64 EL1h = 0x5;
constexpr u64 EL1t = 0x4;
constexpr u64 EL0t = 0x0;
constexpr u64 mode_mask = 0x1f;
constexpr u64 M4_AArch32 = 0x10;
constexpr u64 F = u64{1} << 6;
constexpr u64 I = u64{1} << 7;
constexpr u64 A = u64{1} << 8;
constexpr u64 D = u64{1} << 9;
constexpr u64 BTYPE = u64{3} << 10;
constexpr u64 IL = u64{1} << 20;
constexpr u64 SS = u64{1} << 21;
constexpr u64 PAN = u64{1} << 22;
constexpr u64 UAO = u64{1} << 23;
constexpr u64 DIT = u64{1} << 24;
constexpr u64 NZCV = u64{0xf} << 28;
constexpr u64 T = u64{1} << 5;
} // namespace Spsr

} // namespace atl::arch
