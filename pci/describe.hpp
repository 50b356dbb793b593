// SPDX-License-Identifier: Apache-2.0
// One function's registers read into a Function: header, BARs sized, capabilities. Internal to pci/.
// Owns nothing. No lock: boot CPU only. Spec: see registers.hpp.
#pragma once
#include "pci/bridge.hpp"

namespace atl::pci {

/// No decoding, no bus mastering, no INTx. The function has seen it on return.
void quiesce(const Config& config);
/// The same, but decoding stays as it is.
void silence(const Config& config);

/// Fills `function`, whose bdf, config and parent are set, and leaves its BARs, ROM, MSI and ATS off. What is
/// wrong with it is noted in `topology` and, where it matters, becomes its verdict.
void describe(Topology& topology, Function& function);

/// The same for a VF that answers: its ids and BARs come from its PF, `vf.pf`.
void describe_vf(Topology& topology, Function& vf);

/// Sizes the BAR registers at `first`; decoding of them is off. Leaves 0 in them. False when one is
/// malformed, `bad` is its number then.
bool size_bars(const Config& config, u32 first, unsigned count, Bar* bars, u8& bad);

/// Whether the BAR registers at `first` hold the addresses that assign() chose.
bool has_bars(const Config& config, u32 first, std::span<const Bar> bars);
/// Writes them; decoding of them is off. False when one is not held.
bool put_bars(const Config& config, u32 first, std::span<const Bar> bars);

/// Extended capabilities: ACS of ports on, ATS, PRI and PASID off, SR-IOV read. [extended.cpp]
void describe_extended(Topology& topology, Function& function);

} // namespace atl::pci
