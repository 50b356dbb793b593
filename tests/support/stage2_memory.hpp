// SPDX-License-Identifier: Apache-2.0
// Host side of stage2's *_hw seam: a sparse fake physical memory behind TableMemory, and counters in place of
// the TLB and cache instructions. One per process; a test that looks at it calls reset() first.
#pragma once
#include <array>
#include <map>
#include <vector>

#include "lib/types.hpp"
#include "stage2/tlb_work.hpp"

namespace atl::test {

struct FakeHardware {
    using Page = std::array<u64, page_size / sizeof(u64)>;
    std::map<u64, Page> memory; // by page address; made on first touch, filled with a pattern
    std::vector<stage2::TlbScope> invalidations;
    u64 publications = 0;
    u64 cleaned_bytes = 0;
    u64 zeroed_pages = 0;
    u64 instruction_syncs = 0;
    u64 flushes = 0;

    u64& word(Pa pa);
    void reset() { *this = FakeHardware{}; }
};

FakeHardware& fake_hardware();

} // namespace atl::test
