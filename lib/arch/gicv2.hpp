// SPDX-License-Identifier: Apache-2.0
// GICv2 register layouts: what its distributor has that GICv3's has not, the CPU interface, the virtual interface control
// registers. Pure constants; the rest of the distributor is in lib/arch/gic.hpp. Spec: [IHI0048B], names as printed there.
#pragma once
#include "lib/arch/gic.hpp"

namespace atl::gic {

constexpr u32 v2_max_cpus = 8; // CPU numbers have 3 bits
constexpr u32 v2_intid_mask = 0x3ff;

/// Offsets in the distributor [IHI0048B §4.1.2]. Registers of private interrupts are banked by CPU.
namespace gicd {
constexpr u64 sgir = 0x0f00;
constexpr u64 cpendsgir = 0x0f10; // a byte for each SGI: its sources
constexpr u64 spendsgir = 0x0f20;
constexpr u64 v2_pidr2 = 0x0fe8;
constexpr u64 v2_frame_size = 0x1000;
} // namespace gicd

struct GicdSgir { // [IHI0048B §4.3.15]
    using SGIINTID = Field<3, 0>;
    using CPUTargetList = Field<23, 16>;
    using TargetListFilter = Field<25, 24>; // 0 the list, 1 all but the sender, 2 the sender
};

/// Offsets in the CPU interface, physical (GICC) and virtual (GICV) alike [IHI0048B §4.1.3, §5.4].
namespace gicc {
constexpr u64 ctlr = 0x0000;
constexpr u64 pmr = 0x0004;
constexpr u64 bpr = 0x0008;
constexpr u64 iar = 0x000c;
constexpr u64 eoir = 0x0010;
constexpr u64 rpr = 0x0014;
constexpr u64 hppir = 0x0018;
constexpr u64 abpr = 0x001c; // from here on Group 1's own
constexpr u64 aiar = 0x0020;
constexpr u64 aeoir = 0x0024;
constexpr u64 ahppir = 0x0028;
constexpr u64 apr = 0x00d0;   // four words
constexpr u64 nsapr = 0x00e0; // four words
constexpr u64 iidr = 0x00fc;
constexpr u64 dir = 0x1000;
constexpr u64 frame_size = 0x2000;
constexpr u64 aliased_size = 0x20000; // each of the two pages sixteen times [Linux binding arm,gic]
} // namespace gicc

/// GICC_IIDR of an emulated one: architecture version 2, and a ProductID of our own, as GICD_IIDR's [IHI0048B §4.4.14].
constexpr u32 gicc_iidr_v2 = 0x041 << 20 | 2 << 16;

/// As the only security state sees it, and as the Non-secure copy [IHI0048B §4.4.1].
struct GiccCtlr {
    using Enable = Bit<0>;
    using EOImode = Bit<9>;
};
struct GiccIar { // also GICC_EOIR, GICC_DIR: with the source of an SGI [IHI0048B §4.4.4]
    using INTID = Field<9, 0>;
    using CPUID = Field<12, 10>;
};

/// Offsets in the virtual interface control block [IHI0048B §5.3].
namespace gich {
constexpr u64 hcr = 0x0000;
constexpr u64 vtr = 0x0004;
constexpr u64 vmcr = 0x0008;
constexpr u64 misr = 0x0010;
constexpr u64 elrsr0 = 0x0030;
constexpr u64 apr = 0x00f0;
constexpr u64 lr0 = 0x0100;
constexpr u64 frame_size = 0x1000;
} // namespace gich

struct GichVtr {                  // [IHI0048B §5.3.2]
    using ListRegs = Field<5, 0>; // number of list registers - 1
    using PREbits = Field<28, 26>;
    using PRIbits = Field<31, 29>;
};

/// GICH_LR<n> [IHI0048B §5.3.10].
struct GichLr {
    using VirtualID = Field<9, 0>;
    using PhysicalID = Field<19, 10>; // HW = 1
    using CPUID = Field<12, 10>;      // HW = 0: source of an SGI
    using EOI = Bit<19>;              // HW = 0
    using Priority = Field<27, 23>;
    using Pending = Bit<28>;
    using Active = Bit<29>;
    using Grp1 = Bit<30>;
    using HW = Bit<31>;
};

/// List registers are kept in ICH_LR<n>_EL2's form; an SGI's source stands where PINTID is with HW = 1.
using LrSource = Field<34, 32>;

constexpr u32 to_gich_lr(u64 lr) {
    const u64 both = GichLr::VirtualID::of(IchLr::VINTID::get(lr)) |
                     GichLr::Priority::of(IchLr::Priority::get(lr) >> 3) |
                     GichLr::Pending::of(IchLr::Pending::get(lr)) |
                     GichLr::Active::of(IchLr::Active::get(lr)) | GichLr::Grp1::of(IchLr::Group::get(lr));
    const u64 rest = IchLr::HW::test(lr)
                         ? GichLr::HW::mask | GichLr::PhysicalID::of(IchLr::PINTID::get(lr))
                         : GichLr::CPUID::of(LrSource::get(lr)) | GichLr::EOI::of(IchLr::EOI::get(lr));
    return static_cast<u32>(both | rest);
}

constexpr u64 from_gich_lr(u32 lr) {
    const u64 both = IchLr::VINTID::of(GichLr::VirtualID::get(lr)) |
                     IchLr::Priority::of(GichLr::Priority::get(lr) << 3) |
                     IchLr::Pending::of(GichLr::Pending::get(lr)) |
                     IchLr::Active::of(GichLr::Active::get(lr)) | IchLr::Group::of(GichLr::Grp1::get(lr));
    return both | (GichLr::HW::test(lr)
                       ? IchLr::HW::mask | IchLr::PINTID::of(GichLr::PhysicalID::get(lr))
                       : LrSource::of(GichLr::CPUID::get(lr)) | IchLr::EOI::of(GichLr::EOI::get(lr)));
}

} // namespace atl::gic
