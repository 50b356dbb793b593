// SPDX-License-Identifier: Apache-2.0
// The limits of memory sharing and messages, each with the FF-A error code that a guest meets when it exceeds
// it. Every limit on memory that EL2 spends is per VM, so that no VM can use up another one's share of it.
#pragma once
#include "lib/limits.hpp"
#include "lib/types.hpp"

namespace atl::ffa {

/// Intid of the notification pending interrupt: SPI 8, edge. The guest device tree and FFA_FEATURES say the
/// same.
constexpr u32 notification_intid = 40;

constexpr u32 max_buffer_pages = 64 * mib / page_size; // pages in one handle: INVALID_PARAMETERS when more
constexpr u32 max_borrowers = 4;                       // borrowers of one handle: NO_MEMORY when more
constexpr u32 max_handles_per_vm = 64;                 // handles that one VM owns at a time: NO_MEMORY
constexpr u32 max_handles = max_vms * max_handles_per_vm;
constexpr u32 max_retrieved_per_vm = 128;     // buffers that one VM has retrieved at a time: NO_MEMORY
constexpr u32 max_storage_pages_per_vm = 320; // pool pages with the run lists of one VM's handles: NO_MEMORY
constexpr u32 max_mailbox_pages = 64;         // pages of one RX or TX buffer: INVALID_PARAMETERS
/// Pages that left a VM for good or until others let go, and that its restart replaces from the pool: donated
/// ones (DONATE beyond it: NO_MEMORY), and those that borrowers keep of a dead owner (beyond it they are taken
/// back by force).
constexpr u32 max_away_pages_per_vm = max_buffer_pages;
constexpr u32 notification_count = 64; // notifications of one VM

/// A guest physical address is below this; anything else is malformed before it is looked up.
constexpr u64 ipa_limit = u64{1} << 48;

} // namespace atl::ffa
