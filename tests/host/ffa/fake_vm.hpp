// SPDX-License-Identifier: Apache-2.0
// What fake_host.hpp knows of a page and of a VM.
#pragma once
#include <cstddef>
#include <map>
#include <vector>

#include "el2/ffa/ports.hpp"

namespace atl::ffa::test {

constexpr u64 ram_base = 0x4000'0000;
constexpr u64 window_base = 0xc000'0000;
constexpr u64 pa_base = 0x80'0000'0000;

enum class PageStateFake : u8 { owned, shared, lent, donating, retained, free };

struct FakePage {
    PageStateFake state = PageStateFake::owned;
    u16 owner = 0;
    u32 mappings = 0;
    u32 claims = 0;      // how often it was claimed, to see that roll-back is exact
    bool hidden = false; // out of its owner's map
    u32 zeroed = 0;
    u64 ipa = 0; // in the map of the owner who claimed it
};

struct FakeMapping {
    u64 pa;
    Access access;
    bool execute = false;
};

struct FakeVm {
    u16 id = 0;
    u64 ram_pages = 0;
    std::vector<u64> pa_of; // by RAM page number; 0: not there any more
    std::map<u64, std::vector<std::byte>> content;
    std::map<u64, FakeMapping> window; // by IPA
    u32 interrupts = 0;
    u32 unmaps = 0;
};

} // namespace atl::ffa::test
