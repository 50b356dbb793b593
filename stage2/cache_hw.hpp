// SPDX-License-Identifier: Apache-2.0
// Cache maintenance by address, and page zeroing, for memory in EL2's direct map. No set/way operations
// anywhere: they reach neither other CPUs nor system caches. No lock. [DDI0487 D7.5 cache maintenance]
#pragma once
#include "lib/types.hpp"

namespace atl::stage2 {

/// Clean to the point of coherency: what EL2 wrote is seen by a guest whose caches are off, and by devices.
void clean_to_poc(HypVa address, u64 bytes);
/// Clean and invalidate to the point of coherency: also drops lines, so that EL2 sees what was written
/// uncached.
void clean_invalidate_to_poc(HypVa address, u64 bytes);
/// Pages that a guest may execute: clean to the point of coherency, then drop all instruction caches' copies.
void sync_instructions(HypVa address, u64 bytes);
/// Zeroes whole pages, then cleans them to the point of coherency: nothing of the last owner stays visible to
/// a guest with caches off. `pages` pages from a page-aligned address.
void zero_pages(HypVa address, u64 pages);

} // namespace atl::stage2
