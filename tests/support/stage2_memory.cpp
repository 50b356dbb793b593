// SPDX-License-Identifier: Apache-2.0
// Host versions of what stage2's *_hw files do: see stage2_memory.hpp.
#include "tests/support/stage2_memory.hpp"

#include "stage2/cache_hw.hpp"
#include "stage2/table_memory_hw.hpp"
#include "stage2/tlb_hw.hpp"

namespace atl::test {

FakeHardware& fake_hardware() {
    static FakeHardware hardware;
    return hardware;
}

u64& FakeHardware::word(Pa pa) {
    const auto [page, fresh] = memory.try_emplace(pa.align_down(page_size).value);
    if (fresh) {
        page->second.fill(0xdead'beef'dead'beef); // a valid-looking descriptor: nobody may rely on zero
    }
    return page->second[(pa.value & (page_size - 1)) / sizeof(u64)];
}

} // namespace atl::test

namespace atl::stage2 {

using test::fake_hardware;

u64 TableMemory::read(Pa entry) const {
    return fake_hardware().word(entry);
}
void TableMemory::write(Pa entry, u64 descriptor) {
    fake_hardware().word(entry) = descriptor;
}
void TableMemory::clear(Pa table) {
    (void)fake_hardware().word(table);
    fake_hardware().memory[table.value].fill(0);
}
void TableMemory::publish() {
    ++fake_hardware().publications;
}
void TableMemory::clean(Pa, u64 bytes) {
    fake_hardware().cleaned_bytes += bytes;
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

void tlb_invalidate(const TlbScope& scope) {
    fake_hardware().invalidations.push_back(scope);
}
void tlb_invalidate_vmid(u64 vttbr) {
    TlbScope scope;
    scope.vttbr = vttbr;
    scope.whole_vm = true;
    tlb_invalidate(scope);
}
void tlb_invalidate_all() {
    ++fake_hardware().flushes;
}
void tlb_invalidate_all_local() {
    ++fake_hardware().flushes;
}

void clean_to_poc(HypVa, u64 bytes) {
    fake_hardware().cleaned_bytes += bytes;
}
void clean_invalidate_to_poc(HypVa, u64 bytes) {
    fake_hardware().cleaned_bytes += bytes;
}
void sync_instructions(HypVa, u64 bytes) {
    fake_hardware().cleaned_bytes += bytes;
    ++fake_hardware().instruction_syncs;
}
void zero_pages(HypVa, u64 pages) {
    fake_hardware().zeroed_pages += pages;
}

} // namespace atl::stage2
