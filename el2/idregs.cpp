// SPDX-License-Identifier: Apache-2.0
// Sanitised ID registers as a table: one character per 4-bit field, from bits 63:60 down to 3:0.
//   '.' the field reads 0       'p' the host's value
//   'f' the field reads 0xf: not there, for fields where 0 means something
//   '1'..'9' at most that value  's' at most 0 for a signed field: keeps 0xf (absent), turns more than 0 into
//   0
// A field is passed on only when it needs no state that Atoll does not switch and no trap that Atoll does not
// take.
#include "el2/idregs.hpp"

namespace atl::el2 {
namespace {

struct Rule {
    u8 crm;
    u8 op2;
    const char* fields;
};

constexpr Rule rules[] = {
    // AArch32 EL0 view. RAS DIT AMU CSV2 | State3..State0
    {1, 0, ".........p.ppppp"},
    {1, 1, "........p..p...p"}, // ID_PFR1: GIC, GenTimer, ProgMod
    {1, 2, "...............p"}, // ID_DFR0: CopDbg; no PMU, no trace
    {1, 4, "........pppppppp"}, // ID_MMFR0..3
    {1, 5, "........pppppppp"},
    {1, 6, "........pppppppp"},
    {1, 7, "........pppppppp"},
    {2, 0, "........pppppppp"}, // ID_ISAR0..5
    {2, 1, "........pppppppp"},
    {2, 2, "........pppppppp"},
    {2, 3, "........pppppppp"},
    {2, 4, "........pppppppp"},
    {2, 5, "........pppppppp"},
    {2, 6, "........pppppppp"}, // ID_MMFR4
    {2, 7, "........pppppppp"}, // ID_ISAR6
    {3, 0, "........pppppppp"}, // MVFR0..2
    {3, 1, "........pppppppp"},
    {3, 2, "........pppppppp"},
    {3, 4, "........pppppppp"}, // ID_PFR2: SSBS, CSV3
    // ID_AA64PFR0: CSV3 CSV2 RME DIT | AMU MPAM SEL2 SVE | RAS GIC AdvSIMD FP | EL3 EL2 EL1 EL0
    {4, 0, "p1.p.....1pp..1p"},
    // ID_AA64PFR1: SSBS BT; no MTE, SME
    {4, 1, "..............21"},
    // ID_AA64DFR0: no DoubleLock | CTX_CMPs WRPs BRPs DebugVer (up to v8.2); no PMU, trace, SPE
    {5, 0, "......f.p.p.p..8"},
    // ID_AA64ISAR0: RNDR TLB TS FHM | DP SM4 SM3 SHA3 | RDM TME Atomic CRC32 | SHA2 SHA1 AES -
    {6, 0, "ppppppppp.ppppp."},
    // ID_AA64ISAR1: LS64 XS I8MM DGH | BF16 SPECRES SB FRINTTS | GPI GPA LRCPC FCMA | JSCVT API APA DPB
    {6, 1, "..pppppp..ppp..p"},
    // ID_AA64ISAR2: ATS1A LUT CSSC RPRFM | - PRFMSLC SYSINSTR SYSREG | CLRBHB PAC BC MOPS | APA3 GPA3 RPRES
    // WFxT
    {6, 2, "..pp....p.p...p."},
    // ID_AA64MMFR0: ECV FGT - - | ExS TGran4_2 64_2 16_2 | TGran4 64 16 BigEndEL0 | SNSMem BigEnd ASID
    // PARange
    {7, 0, "........ss1p.ppp"},
    // ID_AA64MMFR1: ECBHB CMOW TIDCP1 nTLBPA | AFP HCX ETS TWED | XNX SpecSEI PAN LO | HPDS VH VMID HAFDBS
    {7, 1, "p..pp.p...3.2..2"},
    // ID_AA64MMFR2: E0PD EVT BBM TTL | - FWB IDS AT | ST NV CCIDX VARange | IESB LSM UAO CnP
    {7, 2, "p.pp..1pp.pp.ppp"},
};

constexpr bool well_formed() {
    for (const Rule& rule : rules) {
        unsigned n = 0;
        while (rule.fields[n] != '\0') {
            ++n;
        }
        if (n != 16) {
            return false;
        }
    }
    return true;
}
static_assert(well_formed());

constexpr u64 reduce(u64 host, char rule) {
    switch (rule) {
    case 'p':
        return host;
    case 's':
        return host == 0xf ? host : 0;
    case '.':
        return 0;
    case 'f':
        return 0xf;
    default: {
        const auto limit = static_cast<u64>(rule - '0');
        return host < limit ? host : limit;
    }
    }
}

constexpr u64 pa_range_of(unsigned bits) {
    constexpr unsigned sizes[] = {32, 36, 40, 42, 44, 48};
    u64 code = 0;
    for (u64 i = 0; i < 6; ++i) {
        if (sizes[i] <= bits) {
            code = i;
        }
    }
    return code;
}

} // namespace

IdRegisters sanitise_id_registers(const IdRegisters& host, unsigned ipa_bits) {
    IdRegisters guest{};
    for (const Rule& rule : rules) {
        const unsigned index = id_index(rule.crm, rule.op2);
        u64 value = 0;
        for (unsigned nibble = 0; nibble < 16; ++nibble) {
            const unsigned shift = nibble * 4;
            value |= reduce((host[index] >> shift) & 0xf, rule.fields[15 - nibble]) << shift;
        }
        guest[index] = value;
    }
    u64& mmfr0 = guest[id_index(7, 0)];
    const u64 range = pa_range_of(ipa_bits);
    if ((mmfr0 & 0xf) > range) {
        mmfr0 = (mmfr0 & ~u64{0xf}) | range;
    }
    return guest;
}

} // namespace atl::el2
