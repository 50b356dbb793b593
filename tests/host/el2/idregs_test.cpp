// SPDX-License-Identifier: Apache-2.0
// The CPU that guests see [el2/idregs.hpp], from real ones' raw values: a Cortex-A57, a Cortex-A72, a
// Neoverse N1 and a CPU with everything, as QEMU's `max`. [DDI0487 D19.2.50..D19.2.80]
#include "el2/idregs.hpp"

#include <doctest/doctest.h>

using namespace atl;
using namespace atl::el2;

namespace {

constexpr unsigned pfr0 = id_index(4, 0), pfr1 = id_index(4, 1), zfr0 = id_index(4, 4),
                   smfr0 = id_index(4, 5);
constexpr unsigned dfr0 = id_index(5, 0), dfr1 = id_index(5, 1), afr0 = id_index(5, 4);
constexpr unsigned isar0 = id_index(6, 0), isar1 = id_index(6, 1), isar2 = id_index(6, 2);
constexpr unsigned mmfr0 = id_index(7, 0), mmfr1 = id_index(7, 1), mmfr2 = id_index(7, 2);

u64 field(const IdRegisters& ids, unsigned index, unsigned low) {
    return ids[index] >> low & 0xf;
}

IdRegisters everything() {
    IdRegisters ids;
    ids.fill(~u64{0});
    return ids;
}

IdRegisters cortex_a57() {
    IdRegisters ids{};
    ids[pfr0] = 0x0000'0000'0000'2222;
    ids[dfr0] = 0x0000'0000'1030'5106;
    ids[isar0] = 0x0000'0000'0001'1120;
    ids[mmfr0] = 0x0000'0000'0000'1124;
    ids[id_index(1, 0)] = 0x131; // ID_PFR0
    ids[id_index(2, 0)] = 0x0210'1110;
    return ids;
}

/// QEMU's max, as its registers read at EL2.
IdRegisters max_cpu() {
    IdRegisters ids{};
    ids[pfr0] = 0x1201'1012'2111'1112;
    ids[pfr1] = 0x0000'0000'0100'0321;
    ids[zfr0] = 0x0110'1101'0011'0021;
    ids[smfr0] = 0x80f1'00fd'0000'0000;
    ids[dfr0] = 0x0000'00f0'1030'5619;
    ids[isar0] = 0x1221'1111'1021'2120;
    ids[isar1] = 0x0011'1111'0021'1052;
    ids[isar2] = 0x0000'0000'0001'0000;
    ids[mmfr0] = 0x2100'0322'1122'1126; // LPA2, FGT, ECV
    ids[mmfr1] = 0x0000'0111'1131'2122;
    ids[mmfr2] = 0x1221'0111'1001'1011;
    return ids;
}

} // namespace

TEST_CASE("idregs: what a Cortex-A57 has reaches its guest, but for EL2, EL3, PMU and trace") {
    const IdRegisters guest = sanitise_id_registers(cortex_a57(), 40);
    CHECK(guest[pfr0] == 0x12); // EL1 AArch64 only, EL0 both; FP and AdvSIMD
    CHECK(guest[isar0] == 0x0001'1120);
    CHECK(guest[dfr0] == 0xf0'1030'5006); // breakpoints, watchpoints, debug v8; no PMU, no trace
    CHECK((guest[mmfr0] & 0xf) == 2);     // 40 bits, as the stage-2 map
    CHECK((guest[mmfr0] >> 4) == (cortex_a57()[mmfr0] >> 4 & ~u64{0xf00}));
    CHECK(guest[id_index(1, 0)] == 0x131);
    CHECK(guest[id_index(2, 0)] == 0x0210'1110);
}

TEST_CASE("idregs: nothing that Atoll does not virtualise is visible, whatever the CPU has") {
    for (const IdRegisters& host : {max_cpu(), everything()}) {
        const IdRegisters guest = sanitise_id_registers(host, 40);
        CHECK(field(guest, pfr0, 8) == 0);  // EL2: no nesting
        CHECK(field(guest, pfr0, 12) == 0); // EL3
        CHECK(field(guest, pfr0, 4) == 1);  // EL1 is AArch64 only: HCR_EL2.RW
        CHECK(field(guest, pfr0, 24) <= 1); // GIC system registers, v3
        CHECK(field(guest, pfr0, 28) == 0); // RAS: TERR
        CHECK(field(guest, pfr0, 32) == 0); // SVE
        CHECK(field(guest, pfr0, 40) == 0); // MPAM
        CHECK(field(guest, pfr0, 44) == 0); // AMU
        CHECK(field(guest, pfr0, 52) == 0); // RME
        CHECK(field(guest, pfr0, 56) <= 1); // CSV2: SCXTNUM_ELx is not switched
        CHECK(field(guest, pfr1, 8) == 0);  // MTE
        CHECK(field(guest, pfr1, 24) == 0); // SME
        CHECK(guest[zfr0] == 0);
        CHECK(guest[smfr0] == 0);
        CHECK(field(guest, dfr0, 4) == 0);  // trace
        CHECK(field(guest, dfr0, 8) == 0);  // PMU
        CHECK(field(guest, dfr0, 32) == 0); // SPE
        CHECK(field(guest, dfr0, 40) == 0); // trace filter
        CHECK(field(guest, dfr0, 44) == 0); // trace buffer
        CHECK(field(guest, dfr0, 52) == 0); // BRBE
        CHECK(guest[dfr1] == 0);
        CHECK(guest[afr0] == 0);
        CHECK(field(guest, isar0, 24) == 0); // TME
        CHECK(field(guest, isar1, 4) == 0);  // APA, API, GPA, GPI: pointer authentication traps
        CHECK(field(guest, isar1, 8) == 0);
        CHECK(field(guest, isar1, 24) == 0);
        CHECK(field(guest, isar1, 28) == 0);
        CHECK(field(guest, isar1, 60) == 0); // LS64
        CHECK(field(guest, isar2, 8) == 0);  // GPA3, APA3
        CHECK(field(guest, isar2, 12) == 0);
        CHECK(field(guest, isar2, 0) == 0);  // WFxT: the deadline would be ignored
        CHECK(field(guest, isar2, 16) == 0); // MOPS needs HCRX_EL2
        CHECK((guest[mmfr0] & 0xf) == 2);
        CHECK(field(guest, mmfr0, 56) == 0); // FGT
        CHECK(field(guest, mmfr0, 60) == 0); // ECV
        CHECK(field(guest, mmfr1, 8) == 0);  // VHE
        CHECK(field(guest, mmfr1, 4) == 0);  // VMIDBits
        CHECK(field(guest, mmfr1, 16) == 0); // LORegions
        CHECK(field(guest, mmfr1, 40) == 0); // HCX
        CHECK(field(guest, mmfr2, 24) == 0); // NV
        CHECK(field(guest, mmfr2, 40) == 0); // FWB
        CHECK(field(guest, mmfr2, 56) == 0); // EVT
        for (unsigned i = 0; i < 8; ++i) {
            CHECK(guest[i] == 0); // CRm = 0 is not of this space: MIDR and MPIDR have registers of their own
            CHECK((guest[8 + i] >> 32) == 0); // AArch32 registers are 32 bits
            CHECK((guest[16 + i] >> 32) == 0);
        }
        CHECK((guest[id_index(1, 2)] >> 24 & 0xf) == 0); // ID_DFR0: no PMU
        CHECK(guest[id_index(1, 3)] == 0);               // ID_AFR0
    }
}

TEST_CASE("idregs: what is safe stays, so that guests run fast code") {
    const IdRegisters guest = sanitise_id_registers(max_cpu(), 40);
    CHECK(field(guest, isar0, 4) == 2);  // AES and PMULL
    CHECK(field(guest, isar0, 20) == 2); // LSE atomics
    CHECK(field(guest, isar0, 60) == 1); // RNDR
    CHECK(field(guest, isar1, 20) == 2); // LRCPC
    CHECK(field(guest, mmfr1, 0) == 2);  // hardware access flag and dirty state
    CHECK(field(guest, mmfr1, 20) == 3); // PAN
    CHECK(field(guest, pfr0, 16) == 1);  // FP16
    CHECK(field(guest, pfr0, 48) == 1);  // DIT
}

TEST_CASE("idregs: an absent FP unit stays absent: 0xf is not a large number") {
    IdRegisters host = cortex_a57();
    host[pfr0] = 0xff'2222;
    const IdRegisters guest = sanitise_id_registers(host, 40);
    CHECK(field(guest, pfr0, 16) == 0xf);
    CHECK(field(guest, pfr0, 20) == 0xf);
    host[mmfr0] = 0xff00'0022;
    CHECK(field(sanitise_id_registers(host, 40), mmfr0, 28) == 0xf); // no 4 KiB granule
    CHECK(field(sanitise_id_registers(host, 40), mmfr0, 24) == 0xf);
}

TEST_CASE("idregs: LPA2 is taken away: the guest's addresses are 48 bits at most") {
    const IdRegisters guest = sanitise_id_registers(max_cpu(), 48);
    CHECK(field(guest, mmfr0, 28) == 0);
    CHECK(field(guest, mmfr0, 20) <= 1);
    CHECK(field(guest, mmfr0, 32) == 0); // TGran4_2 and friends: no stage 2 of the guest's own
    CHECK(field(guest, mmfr0, 36) == 0);
    CHECK(field(guest, mmfr0, 40) == 0);
}

TEST_CASE("idregs: PARange is the smaller of the CPU's and the VM's") {
    const struct {
        unsigned bits;
        u64 host, guest;
    } cases[] = {{32, 5, 0}, {36, 5, 1}, {39, 5, 1}, {40, 5, 2}, {40, 1, 1},
                 {42, 5, 3}, {44, 5, 4}, {48, 5, 5}, {48, 6, 5}, {40, 0, 0}};
    for (const auto& c : cases) {
        IdRegisters host{};
        host[mmfr0] = c.host;
        CHECK((sanitise_id_registers(host, c.bits)[mmfr0] & 0xf) == c.guest);
    }
}
