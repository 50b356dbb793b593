// SPDX-License-Identifier: Apache-2.0
// The CPU that a guest sees: ID registers reduced to what Atoll virtualises. Pure. [DDI0487
// D19.2.50..D19.2.80] Guests read them through HCR_EL2.TID3, so that `-cpu max` guests find no SVE, MTE,
// PAuth, PMU or nested EL2.
#pragma once
#include <array>

#include "lib/types.hpp"

namespace atl::el2 {

/// ID registers op0=3, op1=0, CRn=0, CRm=0..7, op2=0..7; index CRm * 8 + op2.
using IdRegisters = std::array<u64, 64>;

constexpr unsigned id_index(unsigned crm, unsigned op2) {
    return crm * 8 + op2;
}

/// What the guest reads, from what this CPU has. `ipa_bits`: the guest's physical address size; its PARange
/// follows.
IdRegisters sanitise_id_registers(const IdRegisters& host, unsigned ipa_bits);

} // namespace atl::el2
