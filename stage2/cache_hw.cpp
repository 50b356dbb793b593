// SPDX-License-Identifier: Apache-2.0
// Cache maintenance instructions and their barriers: see cache_hw.hpp.
#include "stage2/cache_hw.hpp"

#include "lib/register.hpp"
#include "stage2/table_memory_hw.hpp"
#include "stage2/tlb_hw.hpp"

namespace atl::stage2 {
namespace {

using CtrDminLine = Field<19, 16>; // CTR_EL0: log2 of words in the smallest data cache line
using DczidDzp = Bit<4>;           // DCZID_EL0: DC ZVA prohibited
using DczidBs = Field<3, 0>;       // log2 of words that DC ZVA zeroes

u64 data_line_bytes() {
    u64 ctr = 0;
    asm("mrs %0, ctr_el0" : "=r"(ctr));
    return u64{4} << CtrDminLine::get(ctr);
}

/// Calls `operate` for each cache line that [address, address + bytes) touches.
template <class Operate>
void for_each_line(HypVa address, u64 bytes, Operate operate) {
    const u64 line = data_line_bytes();
    const u64 end = address.value + bytes;
    for (u64 va = address.align_down(line).value; va < end; va += line) {
        operate(va);
    }
}

/// Whole pages. By DC ZVA where it is permitted: the memory is Normal.
void write_zeroes(HypVa address, u64 bytes) {
    u64 dczid = 0;
    asm("mrs %0, dczid_el0" : "=r"(dczid));
    const u64 end = address.value + bytes;
    const u64 block = u64{4} << DczidBs::get(dczid);
    if (!DczidDzp::test(dczid) && block <= page_size) {
        for (u64 va = address.value; va < end; va += block) {
            asm volatile("dc zva, %0" ::"r"(va) : "memory");
        }
    } else {
        for (u64 va = address.value; va < end; va += 16) {
            asm volatile("stp xzr, xzr, [%0]" ::"r"(va) : "memory");
        }
    }
}

} // namespace

void clean_to_poc(HypVa address, u64 bytes) {
    for_each_line(address, bytes, [](u64 va) { asm volatile("dc cvac, %0" ::"r"(va) : "memory"); });
    // Complete before a device or an uncached access reads.
    asm volatile("dsb sy" ::: "memory");
}

void clean_invalidate_to_poc(HypVa address, u64 bytes) {
    for_each_line(address, bytes, [](u64 va) { asm volatile("dc civac, %0" ::"r"(va) : "memory"); });
    asm volatile("dsb sy" ::: "memory");
}

void sync_instructions(HypVa address, u64 bytes) {
    clean_to_poc(address, bytes);
    // All of it: the guest's VA, hence the set of an aliasing instruction cache, is unknown here.
    asm volatile("ic ialluis\n dsb ish\n isb" ::: "memory");
}

void zero_pages(HypVa address, u64 pages) {
    write_zeroes(address, pages * page_size);
    clean_to_poc(address, pages * page_size);
}

// The rest of TableMemory on the target.

void TableMemory::clear(Pa table) {
    write_zeroes(to_hyp_va(table), page_size);
    if (!config_.coherent_walkers) {
        clean(table, page_size);
    }
}

void TableMemory::clean(Pa address, u64 bytes) {
    clean_to_poc(to_hyp_va(address), bytes);
}

void TableMemory::invalidate(const TlbScope& scope) {
    if (scope.empty()) {
        return;
    }
    tlb_invalidate(scope);
    if (config_.smmu.invalidate != nullptr) {
        config_.smmu.invalidate(config_.smmu.context, scope);
    }
}

} // namespace atl::stage2
