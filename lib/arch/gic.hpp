// SPDX-License-Identifier: Apache-2.0
// GICv3 register layouts: distributor and redistributor offsets, CPU interface and list-register fields.
// Pure constants, no accessors (those are in vgic/gicv3_hw.hpp). Spec: [IHI0069], field names as printed
// there.
#pragma once
#include "lib/register.hpp"

namespace atl::gic {

constexpr u32 first_ppi = 16;
constexpr u32 first_spi = 32;
constexpr u32 max_intids = 256;     // what a VM may have: 32 private and up to 224 SPIs
constexpr u32 first_special = 1020; // 1020..1023 are not interrupts [IHI0069 §2.2.1]
constexpr unsigned max_list_registers = 16;

/// Offsets in the distributor frame [IHI0069 §12.8].
namespace gicd {
constexpr u64 ctlr = 0x0000;
constexpr u64 typer = 0x0004;
constexpr u64 iidr = 0x0008;
constexpr u64 setspi_nsr = 0x0040; // write-only, with GICD_TYPER.MBIS
constexpr u64 clrspi_nsr = 0x0048;
constexpr u64 igroupr = 0x0080;
constexpr u64 isenabler = 0x0100;
constexpr u64 icenabler = 0x0180;
constexpr u64 ispendr = 0x0200;
constexpr u64 icpendr = 0x0280;
constexpr u64 isactiver = 0x0300;
constexpr u64 icactiver = 0x0380;
constexpr u64 ipriorityr = 0x0400;
constexpr u64 itargetsr = 0x0800;
constexpr u64 icfgr = 0x0c00;
constexpr u64 igrpmodr = 0x0d00;
constexpr u64 irouter = 0x6000; // 8 bytes per INTID; the first that exists is INTID 32's
constexpr u64 frame_size = 0x10000;
} // namespace gicd

/// Offsets in a redistributor: RD_base frame, then SGI_base frame [IHI0069 §12.10].
namespace gicr {
constexpr u64 ctlr = 0x0000;
constexpr u64 iidr = 0x0004;
constexpr u64 typer = 0x0008;
constexpr u64 waker = 0x0014;
constexpr u64 sgi_base = 0x10000;
constexpr u64 igroupr0 = sgi_base + gicd::igroupr;
constexpr u64 isenabler0 = sgi_base + gicd::isenabler;
constexpr u64 icenabler0 = sgi_base + gicd::icenabler;
constexpr u64 ispendr0 = sgi_base + gicd::ispendr;
constexpr u64 icpendr0 = sgi_base + gicd::icpendr;
constexpr u64 isactiver0 = sgi_base + gicd::isactiver;
constexpr u64 icactiver0 = sgi_base + gicd::icactiver;
constexpr u64 ipriorityr = sgi_base + gicd::ipriorityr;
constexpr u64 icfgr0 = sgi_base + gicd::icfgr;
constexpr u64 icfgr1 = sgi_base + gicd::icfgr + 4;
constexpr u64 igrpmodr0 = sgi_base + gicd::igrpmodr;
constexpr u64 frame_size = 0x20000; // GICv3; GICv4 with VLPIs has two frames more
constexpr u64 frame_size_vlpi = 0x40000;
} // namespace gicr

/// Identification registers at the end of every 64 KiB frame [IHI0069 §12.1.2].
constexpr u64 pidr4 = 0xffd0;
constexpr u64 pidr2 = 0xffe8;
constexpr u64 id_registers_end = 0x10000;
using Pidr2ArchRev = Field<7, 4>; // 3: GICv3, 4: GICv4

/// GICD_CTLR when GICD_CTLR.DS = 1, which is what a guest sees [IHI0069 §12.9].
struct GicdCtlr {
    using EnableGrp0 = Bit<0>;
    using EnableGrp1 = Bit<1>; // EnableGrp1A in the Non-secure view of a GIC with two security states
    using ARE = Bit<4>;        // ARE_NS in that view
    using DS = Bit<6>;
    using RWP = Bit<31>;
};
struct GicdTyper { // [IHI0069 §12.9]
    using ITLinesNumber = Field<4, 0>;
    using CPUNumber = Field<7, 5>;
    using SecurityExtn = Bit<10>;
    using MBIS = Bit<16>;
    using LPIS = Bit<17>;
    using IDbits = Field<23, 19>;
    using A3V = Bit<24>;
    using No1N = Bit<25>;
    using RSS = Bit<26>;
};
/// GICD_SETSPI_NSR and GICD_CLRSPI_NSR [IHI0069 §12.9].
using GicdSetspiIntid = Field<12, 0>;
struct GicdIrouter { // [IHI0069 §12.9]
    using Aff012 = Field<23, 0>;
    using IRM = Bit<31>;
    using Aff3 = Field<39, 32>;
    static constexpr u64 writable = Aff012::mask | IRM::mask | Aff3::mask;
};
struct GicrCtlr { // [IHI0069 §12.11]
    using EnableLPIs = Bit<0>;
    using CES = Bit<1>; // EnableLPIs can be cleared again
    using RWP = Bit<3>;
};
struct GicrTyper { // [IHI0069 §12.11]
    using PLPIS = Bit<0>;
    using VLPIS = Bit<1>;
    using Last = Bit<4>;
    using RVPEID = Bit<7>; // GICv4.1: GICR_VPENDBASER names a vPE, not a table
    using ProcessorNumber = Field<23, 8>;
    using Affinity = Field<63, 32>;
};
struct GicrWaker { // [IHI0069 §12.11]
    using ProcessorSleep = Bit<1>;
    using ChildrenAsleep = Bit<2>;
};

/// ICC_SGI0R_EL1, ICC_SGI1R_EL1, ICC_ASGI1R_EL1 [IHI0069 §12.2].
struct IccSgir {
    using TargetList = Field<15, 0>;
    using Aff1 = Field<23, 16>;
    using INTID = Field<27, 24>;
    using Aff2 = Field<39, 32>;
    using IRM = Bit<40>;
    using RS = Field<47, 44>;
    using Aff3 = Field<55, 48>;
};

/// ICH_LR<n>_EL2 [IHI0069 §12.4].
struct IchLr {
    using VINTID = Field<31, 0>;
    using PINTID = Field<44, 32>; // HW = 1
    using EOI = Bit<41>;          // HW = 0: maintenance interrupt when the guest deactivates
    using Priority = Field<55, 48>;
    using Group = Bit<60>;
    using HW = Bit<61>;
    using Pending = Bit<62>;
    using Active = Bit<63>;
};
struct IchHcr { // [IHI0069 §12.4]
    using En = Bit<0>;
    using UIE = Bit<1>;
    using LRENPIE = Bit<2>;
    using NPIE = Bit<3>;
    using VGrp0EIE = Bit<4>;
    using VGrp0DIE = Bit<5>;
    using VGrp1EIE = Bit<6>;
    using VGrp1DIE = Bit<7>;
    using TC = Bit<10>;    // trap what both groups share
    using TALL0 = Bit<11>; // trap Group 0's registers
    using TALL1 = Bit<12>; // trap Group 1's registers
    using TDIR = Bit<14>;
    using EOIcount = Field<31, 27>;
};
struct IchVmcr { // [IHI0069 §12.4]
    using VENG0 = Bit<0>;
    using VENG1 = Bit<1>;
    using VAckCtl = Bit<2>; // GICv2
    using VFIQEn = Bit<3>;
    using VCBPR = Bit<4>;
    using VEOIM = Bit<9>;
    using VBPR1 = Field<20, 18>;
    using VBPR0 = Field<23, 21>;
    using VPMR = Field<31, 24>;
};
struct IchVtr {                   // [IHI0069 §12.4]
    using ListRegs = Field<4, 0>; // number of list registers - 1
    using TDS = Bit<19>;          // ICH_HCR_EL2.TDIR exists
    using nV4 = Bit<20>;          // no virtual LPIs but those in list registers
    using A3V = Bit<21>;
    using SEIS = Bit<22>;
    using IDbits = Field<25, 23>;
    using PREbits = Field<28, 26>; // number of preemption bits - 1
    using PRIbits = Field<31, 29>; // number of priority bits - 1
};

struct IcvCtlr { // [IHI0069 §12.3 ICV_CTLR_EL1]
    using CBPR = Bit<0>;
    using EOImode = Bit<1>;
    using PRIbits = Field<10, 8>; // number of priority bits - 1
    using IDbits = Field<13, 11>;
    using SEIS = Bit<14>;
    using A3V = Bit<15>;
};

} // namespace atl::gic
