// SPDX-License-Identifier: Apache-2.0
// SMMUv3 layouts: registers of the Non-secure programming interface, stream table, commands, event records.
// Pure constants, no accessors (smmu/port_hw.hpp) and no policy (smmu/). Spec: [IHI0070], names as there.
#pragma once
#include "lib/register.hpp"

namespace atl::smmu {

/// Offsets of 32-bit registers in page 0, and of those of page 1 at +64 KiB [IHI0070 §6.2 memory map].
enum class Reg32 : u32 {
    IDR0 = 0x0000,
    IDR1 = 0x0004,
    IDR3 = 0x000c,
    IDR5 = 0x0014,
    IIDR = 0x0018,
    AIDR = 0x001c,
    CR0 = 0x0020,
    CR0ACK = 0x0024,
    CR1 = 0x0028,
    CR2 = 0x002c,
    GBPA = 0x0044,
    IRQ_CTRL = 0x0050,
    IRQ_CTRLACK = 0x0054,
    GERROR = 0x0060,
    GERRORN = 0x0064,
    GERROR_IRQ_CFG1 = 0x0070,
    GERROR_IRQ_CFG2 = 0x0074,
    STRTAB_BASE_CFG = 0x0088,
    CMDQ_PROD = 0x0098,
    CMDQ_CONS = 0x009c,
    EVENTQ_IRQ_CFG1 = 0x00b8,
    EVENTQ_IRQ_CFG2 = 0x00bc,
    EVENTQ_PROD = 0x100a8, // page 1 [§6.3.95]
    EVENTQ_CONS = 0x100ac, // page 1 [§6.3.96]
};
/// Offsets of 64-bit registers.
enum class Reg64 : u32 {
    GERROR_IRQ_CFG0 = 0x0068,
    STRTAB_BASE = 0x0080,
    CMDQ_BASE = 0x0090,
    EVENTQ_BASE = 0x00a0,
    EVENTQ_IRQ_CFG0 = 0x00b0,
};
constexpr u64 register_bytes = 0x20000; // pages 0 and 1

struct Idr0 { // [§6.3.1]
    using S2P = Bit<0>;
    using S1P = Bit<1>;
    using TTF = Field<3, 2>; // bit 0: VMSAv8-32 LPAE, bit 1: VMSAv8-64
    using COHACC = Bit<4>;
    using BTM = Bit<5>;
    using HTTU = Field<7, 6>;
    using Hyp = Bit<9>;
    using ATS = Bit<10>;
    using MSI = Bit<13>;
    using SEV = Bit<14>;
    using PRI = Bit<16>;
    using VMID16 = Bit<18>;
    using TTENDIAN = Field<22, 21>; // 0 both, 2 little, 3 big
    using STALL_MODEL = Field<25, 24>;
    using TERM_MODEL = Bit<26>;
    using ST_LEVEL = Field<28, 27>; // 0 linear only, 1 two-level as well
};
constexpr u64 stall_none = 1;   // Idr0::STALL_MODEL: faults always terminate
constexpr u64 stall_forced = 2; // faults always stall
struct Idr1 {                   // [§6.3.2]
    using SIDSIZE = Field<5, 0>;
    using EVENTQS = Field<20, 16>;
    using CMDQS = Field<25, 21>;
    using ATTR_PERMS_OVR = Bit<26>;
    using ATTR_TYPES_OVR = Bit<27>;
    using QUEUES_PRESET = Bit<29>;
    using TABLES_PRESET = Bit<30>;
};
struct Idr3 { // [§6.3.4]
    using FWB = Bit<8>;
    using RIL = Bit<10>;
    using BBML = Field<12, 11>;
};
struct Idr5 { // [§6.3.6]
    using OAS = Field<2, 0>;
    using GRAN4K = Bit<4>;
};
struct Cr0 { // also CR0ACK [§6.3.9, §6.3.10]
    using SMMUEN = Bit<0>;
    using PRIQEN = Bit<1>;
    using EVENTQEN = Bit<2>;
    using CMDQEN = Bit<3>;
    using ATSCHK = Bit<4>;
    static constexpr u32 all = 0x1df; // every field, VMW included: what CR0ACK mirrors
};
struct Cr1 { // [§6.3.11]
    using QUEUE_IC = Field<1, 0>;
    using QUEUE_OC = Field<3, 2>;
    using QUEUE_SH = Field<5, 4>;
    using TABLE_IC = Field<7, 6>;
    using TABLE_OC = Field<9, 8>;
    using TABLE_SH = Field<11, 10>;
};
constexpr u64 cr1_write_back = 1;
constexpr u64 inner_shareable = 3; // CR1.*_SH, STE.S2SH0
constexpr u64 outer_shareable = 2;
struct Cr2 { // [§6.3.12]
    using E2H = Bit<0>;
    using RECINVSID = Bit<1>;
    using PTM = Bit<2>;
};
struct Gbpa { // [§6.3.14]
    using ABORT = Bit<20>;
    using Update = Bit<31>;
};
struct IrqCtrl { // also IRQ_CTRLACK [§6.3.16, §6.3.18]
    using GERROR_IRQEN = Bit<0>;
    using PRIQ_IRQEN = Bit<1>;
    using EVENTQ_IRQEN = Bit<2>;
};
struct Gerror { // also GERRORN: an error is active where the two differ [§6.3.19, §6.3.20, §7.5]
    using CMDQ_ERR = Bit<0>;
    using EVENTQ_ABT_ERR = Bit<2>;
    using PRIQ_ABT_ERR = Bit<3>;
    using MSI_CMDQ_ABT_ERR = Bit<4>;
    using MSI_EVENTQ_ABT_ERR = Bit<5>;
    using MSI_PRIQ_ABT_ERR = Bit<6>;
    using MSI_GERROR_ABT_ERR = Bit<7>;
    using SFM_ERR = Bit<8>;
    using CMDQP_ERR = Bit<9>;
    using DPT_ERR = Bit<10>;
    static constexpr u32 all = 0x7fd;
};
struct StrtabBase { // [§6.3.24]
    using RA = Bit<62>;
};
struct StrtabBaseCfg { // [§6.3.25]
    using LOG2SIZE = Field<5, 0>;
    using SPLIT = Field<10, 6>;
    using FMT = Field<17, 16>; // 0 linear, 1 two-level
};
struct QueueBase { // CMDQ_BASE, EVENTQ_BASE [§6.3.26, §6.3.29]
    using LOG2SIZE = Field<4, 0>;
    using hint = Bit<62>; // RA of the command queue, WA of the event queue
};
struct CmdqCons { // [§6.3.28]
    using ERR = Field<30, 24>;
};
constexpr u64 cerror_ill = 1; // CMDQ_CONS.ERR [§7.1]
constexpr u64 cerror_abt = 2;
constexpr u64 cerror_atc_inv_sync = 3;
struct EventqIndex { // EVENTQ_PROD.OVFLG and EVENTQ_CONS.OVACKFLG [§6.3.95, §6.3.96]
    using OVFLG = Bit<31>;
};

/// Level 1 stream table descriptor [§5.1].
struct L1std {
    using Span = Field<4, 0>; // 0 invalid, else 2^(Span-1) entries
    using L2Ptr = Field<55, 6>;
    static constexpr u64 bytes = 8;
};

/// Stream table entry: eight double-words, here the fields of each [§5.2].
constexpr unsigned ste_words = 8;
constexpr u64 ste_bytes = 64;
struct Ste0 {
    using V = Bit<0>;
    using Config = Field<3, 1>;
};
constexpr u64 config_abort = 0;   // 0b0xx
constexpr u64 config_bypass = 4;  // 0b100
constexpr u64 config_stage2 = 6;  // 0b110: stage 1 bypass, stage 2 translate
constexpr u64 config_passing = 4; // bit 2 of Config: traffic can pass
struct Ste1 {                     // bits 127:64
    using MEV = Bit<19>;
    using S2FWB = Bit<25>;
    using EATS = Field<29, 28>;
    using STRW = Field<31, 30>;
    using SHCFG = Field<45, 44>;
};
constexpr u64 shcfg_incoming = 1;
struct Ste2 { // bits 191:128
    using S2VMID = Field<15, 0>;
    using VTCR = Field<50, 32>; // S2T0SZ to S2PS, laid out as VTCR_EL2[18:0]
    using S2T0SZ = Field<37, 32>;
    using S2SL0 = Field<39, 38>;
    using S2IR0 = Field<41, 40>;
    using S2OR0 = Field<43, 42>;
    using S2SH0 = Field<45, 44>;
    using S2TG = Field<47, 46>;
    using S2PS = Field<50, 48>;
    using S2AA64 = Bit<51>;
    using S2ENDI = Bit<52>;
    using S2AFFD = Bit<53>;
    using S2PTW = Bit<54>;
    using S2HD = Bit<55>;
    using S2HA = Bit<56>;
    using S2S = Bit<57>;
    using S2R = Bit<58>;
};
struct Ste3 {                        // bits 255:192
    using S2TTB = Field<51, 4>;      // address bits 51:4 in place
    static constexpr u64 align = 16; // of what the field can hold
};

/// Command opcodes [§4.1.1].
enum class Op : u8 {
    CFGI_STE = 0x03,
    CFGI_STE_RANGE = 0x04, // CFGI_ALL with Range = 31 [§4.3.6]
    TLBI_EL2_ALL = 0x20,
    TLBI_S12_VMALL = 0x28,
    TLBI_S2_IPA = 0x2a,
    TLBI_NSNH_ALL = 0x30,
    RESUME = 0x44,
    SYNC = 0x46,
};
constexpr u64 command_bytes = 16;
struct Cmd0 { // first double-word
    using Opcode = Field<7, 0>;
    using NUM = Field<16, 12>; // TLBI by address [§4.4.1.1]
    using SCALE = Field<24, 20>;
    using VMID = Field<47, 32>;
    using StreamID = Field<63, 32>;
    using Ac = Bit<12>;       // RESUME: 1 retry, 0 terminate [§4.7.1]
    using Ab = Bit<13>;       // RESUME: terminate with abort
    using CS = Field<13, 12>; // SYNC: 0 SIG_NONE [§4.7.3]
};
struct Cmd1 { // second double-word
    using Leaf = Bit<0>;
    using Range = Field<4, 0>; // CFGI_STE_RANGE
    using TTL = Field<9, 8>;
    using TG = Field<11, 10>; // 1: 4 KiB, and the range form
    using Address = Field<55, 12>;
    using STAG = Field<15, 0>; // RESUME
};

/// Event record: four double-words [§7.3].
constexpr unsigned event_words = 4;
constexpr u64 event_bytes = 32;
struct Evt0 {
    using Number = Field<7, 0>;
    using SSV = Bit<11>;
    using SubstreamID = Field<31, 12>;
    using StreamID = Field<63, 32>;
};
struct Evt1 { // bits 127:64
    using STAG = Field<15, 0>;
    using Stall = Bit<31>;
    using PnU = Bit<33>;
    using InD = Bit<34>;
    using RnW = Bit<35>;
    using S2 = Bit<39>;
    using CLASS = Field<41, 40>;
};
// Word 2 is InputAddr, word 3 IPA or FetchAddr.
struct Evt3 {
    using Address = Field<55, 3>;
};

} // namespace atl::smmu
