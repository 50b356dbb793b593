// SPDX-License-Identifier: Apache-2.0
// Layouts of the GICv3 Interrupt Translation Service: its registers, its commands, the redistributors' LPI registers
// and the LPI configuration table. Pure constants. Spec: [IHI0069 chapter 5 (LPIs, ITS commands), §12.11 GICR_*,
// §12.19 GITS_*], field names as printed there.
#pragma once
#include <array>

#include "lib/register.hpp"

namespace atl::gic {

constexpr u32 first_lpi = 8192;

/// Offsets in the ITS control frame; the translation frame follows at +64 KiB.
namespace gits {
constexpr u64 ctlr = 0x0000;
constexpr u64 iidr = 0x0004;
constexpr u64 typer = 0x0008;
constexpr u64 cbaser = 0x0080;
constexpr u64 cwriter = 0x0088;
constexpr u64 creadr = 0x0090;
constexpr u64 baser = 0x0100; // 8 of them, 8 bytes each
constexpr unsigned basers = 8;
constexpr u64 translation_frame = 0x10000;
constexpr u64 translater = 0x0040; // in the translation frame
constexpr u64 frames_size = 0x20000;
} // namespace gits

struct GitsCtlr {
    using Enabled = Bit<0>;
    using Quiescent = Bit<31>;
};
struct GitsTyper {
    using Physical = Bit<0>;
    using Virtual = Bit<1>;             // GICv4: events can become virtual LPIs
    using ITT_entry_size = Field<7, 4>; // bytes - 1
    using ID_bits = Field<12, 8>;       // EventID bits - 1
    using Devbits = Field<17, 13>;      // DeviceID bits - 1
    using PTA = Bit<19>;                // RDbase is an address, not a processor number
    using HCC = Field<31, 24>;          // collections without memory
    using CIDbits = Field<35, 32>;      // ICID bits - 1, if
    using CIL = Bit<36>;                // they are not 16
};
struct GitsCbaser {
    using Size = Field<7, 0>; // 4 KiB pages - 1
    using Shareability = Field<11, 10>;
    using Physical_Address = Field<51, 12>;
    using InnerCache = Field<61, 59>;
    using Valid = Bit<63>;
};
struct GitsCwriter {
    using Retry = Bit<0>; // of a command at which the ITS stalled
    using Offset = Field<19, 5>;
};
struct GitsCreadr {
    using Stalled = Bit<0>;
    using Offset = Field<19, 5>;
};
struct GitsBaser {
    using Size = Field<7, 0>; // pages - 1
    using Page_Size = Field<9, 8>;
    using Shareability = Field<11, 10>;
    using Physical_Address = Field<47, 12>; // 4 and 16 KiB pages, and below 2^48 with 64 KiB ones
    using Entry_Size = Field<52, 48>;       // bytes - 1
    using Type = Field<58, 56>;
    using InnerCache = Field<61, 59>;
    using Indirect = Bit<62>;
    using Valid = Bit<63>;
    static constexpr u64 type_devices = 1;
    static constexpr u64 type_vpes = 2;
    static constexpr u64 type_collections = 4;
};
/// An entry of an indirect table's first level: where the page of second-level entries is.
struct GitsIndirect {
    using Valid = Bit<63>;
    using Physical_Address = Field<51, 12>;
};

/// Shareability and InnerCache of every table register: what EL2's own map has, inner shareable, write-back.
constexpr u64 shareability_inner = 1;
constexpr u64 cache_write_back = 7; // read- and write-allocate, write-back

namespace gicr {
constexpr u64 propbaser = 0x0070;
constexpr u64 pendbaser = 0x0078;
constexpr u64 syncr = 0x00c0;
} // namespace gicr
struct GicrPropbaser {
    using IDbits = Field<4, 0>; // INTID bits - 1
    using InnerCache = Field<9, 7>;
    using Shareability = Field<11, 10>;
    using Physical_Address = Field<51, 12>;
};
struct GicrPendbaser {
    using InnerCache = Field<9, 7>;
    using Shareability = Field<11, 10>;
    using Physical_Address = Field<51, 16>;
    using PTZ = Bit<62>; // the table is all zero
};
/// GICv4: VLPI_base, behind RD_base and SGI_base of a redistributor with GICR_TYPER.VLPIS [§12.10].
namespace gicr_vlpi {
constexpr u64 frame = 0x20000;
constexpr u64 vpropbaser = 0x0070;
constexpr u64 vpendbaser = 0x0078;
} // namespace gicr_vlpi
/// GICR_VPROPBASER is laid out as GICR_PROPBASER.
struct GicrVpendbaser { // as in GICv4.0: GICR_TYPER.RVPEID is 0
    using InnerCache = Field<9, 7>;
    using Shareability = Field<11, 10>;
    using Physical_Address = Field<51, 16>;
    using Dirty = Bit<60>;       // the table is still being written
    using PendingLast = Bit<61>; // when Valid became 0 something was pending and enabled
    using IDAI = Bit<62>;        // the implementation's own part of the table says nothing
    using Valid = Bit<63>;       // a vPE is resident
};
struct LpiConfig { // one byte for each LPI
    using Enable = Bit<0>;
    using Priority = Field<7, 2>;
    static constexpr u64 res1 = 2;
};

/// A command: four 64-bit words, little-endian.
using ItsCommand = std::array<u64, 4>;
/// The fields that commands have, each in its word [§5.3].
struct ItsWord0 {
    using Opcode = Field<7, 0>;
    using DeviceID = Field<63, 32>;
};
struct ItsWord1 {
    using Size = Field<4, 0>; // MAPD: EventID bits - 1
    using EventID = Field<31, 0>;
    using pINTID = Field<63, 32>; // MAPTI
    using vPEID = Field<47, 32>;  // of GICv4's commands
};
struct ItsWord2 {
    using ICID = Field<15, 0>;
    using RDbase = Field<51, 16>;  // a redistributor; MOVALL has a second one, in word 3
    using ITT_addr = Field<51, 8>; // MAPD
    using V = Bit<63>;
    using vINTID = Field<31, 0>; // VMAPTI
    using Dbell_pINTID = Field<63, 32>;
};
struct ItsWord3 {                 // VMAPP
    using VPT_size = Field<4, 0>; // INTID bits - 1
    using VPT_addr = Field<51, 16>;
};
enum class ItsOpcode : u8 { // of GICv3: what a guest's ITS knows, too
    movi = 0x01,
    raise = 0x03, // INT
    clear = 0x04,
    sync = 0x05,
    mapd = 0x08,
    mapc = 0x09,
    mapti = 0x0a,
    mapi = 0x0b,
    inv = 0x0c,
    invall = 0x0d,
    movall = 0x0e,
    discard = 0x0f,
};
namespace its_command {
constexpr ItsCommand mapd(u32 device, unsigned event_bits, Pa itt, bool valid) {
    return {0x08 | (u64{device} << 32), valid ? event_bits - 1 : 0,
            (valid ? itt.value & Field<51, 8>::mask : 0) | Bit<63>::of(valid ? 1 : 0), 0};
}
/// `target`: a redistributor as GITS_TYPER.PTA wants it, in bits 51:16.
constexpr ItsCommand mapc(u16 collection, u64 target, bool valid) {
    return {0x09, 0, (valid ? target : 0) | Bit<63>::of(valid ? 1 : 0) | collection, 0};
}
constexpr ItsCommand mapti(u32 device, u32 event, u32 lpi, u16 collection) {
    return {0x0a | (u64{device} << 32), event | (u64{lpi} << 32), collection, 0};
}
constexpr ItsCommand mapi(u32 device, u32 event, u16 collection) {
    return {0x0b | (u64{device} << 32), event, collection, 0};
}
/// `from`, `to`: redistributors as in MAPC.
constexpr ItsCommand movall(u64 from, u64 to) {
    return {0x0e, 0, from, to};
}
constexpr ItsCommand movi(u32 device, u32 event, u16 collection) {
    return {0x01 | (u64{device} << 32), event, collection, 0};
}
constexpr ItsCommand raise(u32 device, u32 event) { // INT
    return {0x03 | (u64{device} << 32), event, 0, 0};
}
constexpr ItsCommand clear(u32 device, u32 event) {
    return {0x04 | (u64{device} << 32), event, 0, 0};
}
constexpr ItsCommand sync(u64 target) {
    return {0x05, 0, target, 0};
}
constexpr ItsCommand inv(u32 device, u32 event) {
    return {0x0c | (u64{device} << 32), event, 0, 0};
}
constexpr ItsCommand invall(u16 collection) {
    return {0x0d, 0, collection, 0};
}
constexpr ItsCommand discard(u32 device, u32 event) {
    return {0x0f | (u64{device} << 32), event, 0, 0};
}
/// The vPE is at redistributor `target`, as in MAPC; its pending table holds INTIDs below 2^id_bits.
constexpr ItsCommand vmapp(u16 vpe, u64 target, Pa pending_table, unsigned id_bits, bool valid) {
    return {0x29, ItsWord1::vPEID::of(vpe), (valid ? target : 0) | ItsWord2::V::of(valid ? 1 : 0),
            valid ? (pending_table.value & ItsWord3::VPT_addr::mask) | ItsWord3::VPT_size::of(id_bits - 1)
                  : 0};
}
/// `doorbell`: the LPI that is raised at the vPE's redistributor when it is not resident there.
constexpr ItsCommand vmapti(u32 device, u32 event, u32 vlpi, u16 vpe, u32 doorbell) {
    return {0x2a | (u64{device} << 32), event | ItsWord1::vPEID::of(vpe),
            vlpi | ItsWord2::Dbell_pINTID::of(doorbell), 0};
}
/// The doorbell stays as it is (D = 0).
constexpr ItsCommand vmovi(u32 device, u32 event, u16 vpe) {
    return {0x21 | (u64{device} << 32), event | ItsWord1::vPEID::of(vpe), 0, 0};
}
constexpr ItsCommand vsync(u16 vpe) {
    return {0x25, ItsWord1::vPEID::of(vpe), 0, 0};
}
constexpr ItsCommand vinvall(u16 vpe) {
    return {0x2d, ItsWord1::vPEID::of(vpe), 0, 0};
}
} // namespace its_command

} // namespace atl::gic
