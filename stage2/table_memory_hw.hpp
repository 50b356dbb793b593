// SPDX-License-Identifier: Apache-2.0
// How BasicAddressSpace reaches table memory on the target: single-copy atomic descriptor access through the
// direct map, publication barriers, cache cleaning for walkers that do not snoop, table pages from the
// owner's allocator. Host builds take the same class from tests/support/stage2_memory.cpp (a fake physical
// memory). Lock: the address space's. [DDI0487 B2.2.1 atomicity, D8.2.13 ordering of table writes]
#pragma once
#include "lib/result.hpp"
#include "lib/types.hpp"
#include "stage2/tlb_work.hpp"

namespace atl::stage2 {

/// Where table pages come from: 2^order pages, aligned to their size, contents undefined.
struct TablePages {
    void* context = nullptr;
    Result<Pa> (*allocate)(void* context, unsigned order) = nullptr;
    void (*release)(void* context, Pa pages, unsigned order) = nullptr;
};

class TableMemory {
  public:
    struct Config {
        TablePages pages{};
        InvalidateHook smmu{};
        bool coherent_walkers = true; // false: every descriptor is cleaned to the point of coherency
    };

    constexpr TableMemory() = default;
    explicit constexpr TableMemory(const Config& config) : config_(config) {}

    Result<Pa> allocate(unsigned order) { return config_.pages.allocate(config_.pages.context, order); }
    void release(Pa pages, unsigned order) { config_.pages.release(config_.pages.context, pages, order); }

#if defined(ATOLL_HOST)
    u64 read(Pa entry) const;
    void write(Pa entry, u64 descriptor);
    void clear(Pa table);
    void publish();
#else
    /// One aligned 64-bit load: never torn [DDI0487 B2.2.1].
    u64 read(Pa entry) const {
        return *reinterpret_cast<const volatile u64*>(to_hyp_va(entry).value);
    }
    void write(Pa entry, u64 descriptor) {
        *reinterpret_cast<volatile u64*>(to_hyp_va(entry).value) = descriptor;
        if (!config_.coherent_walkers) [[unlikely]] {
            clean(entry, sizeof descriptor);
        }
    }
    /// Makes every entry of a table page invalid. Only for a page that no walker can reach.
    void clear(Pa table);
    /// Orders earlier descriptor writes before later ones for every walker, and makes them visible.
    void publish() {
        asm volatile("dsb ishst" ::: "memory");
    }
#endif
    /// Invalidates `scope` in the CPUs' TLBs, then through the SMMU hook. No-op for an empty scope.
    void invalidate(const TlbScope& scope);

  private:
    void clean(Pa address, u64 bytes);

    Config config_{};
};

} // namespace atl::stage2
