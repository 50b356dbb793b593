// SPDX-License-Identifier: Apache-2.0
// A recording table memory for BasicAddressSpace with monitors. After each write it knows what walkers could
// have cached, and collects violations of
//  - break-before-make: a live entry changes other than in its permissions without invalid + invalidation
//  between;
//  - publish-after-init: a table is linked before its contents were published;
//  - invalidate-before-reuse: a table page is released, or an IPA mapped anew, while a stale entry may be
//  cached;
//  - allocator discipline: writes to pages that are not allocated, double release.
// [DDI0487 D8.14.1]
#pragma once
#include <array>
#include <map>
#include <string>
#include <vector>

#include "lib/result.hpp"
#include "stage2/tlb_work.hpp"

namespace atl::test {

class TableMachine {
  public:
    static constexpr u64 first_page = 0x8'0000'0000;

    std::vector<std::string> violations;
    u64 writes = 0;
    u64 invalidations = 0;
    u64 whole_invalidations = 0;
    u64 operations = 0; // TLBI by IPA
    u64 allocations = 0;
    u64 fail_at = ~u64{0}; // the allocation with this number and all later ones fail

    void set_geometry(const stage2::Geometry& geometry) { geometry_ = geometry; }
    u64 pages_allocated() const { return pages_.size(); }
    u64 pages_live() const;
    bool quiet() const { return stale_.empty() && unpublished_.empty(); }
    /// All table contents, to prove that a failed operation changed nothing.
    std::map<u64, std::array<u64, 512>> snapshot() const;

    u64 read(Pa entry);
    void write(Pa entry, u64 descriptor);
    void clear(Pa table);
    void publish();
    void invalidate(const stage2::TlbScope& scope);
    Result<Pa> allocate(unsigned order);
    void release(Pa pages, unsigned order);

  private:
    enum class Use : u8 { fresh, live, retired };
    struct Page {
        std::array<u64, 512> words{};
        Use use = Use::fresh;
        unsigned level = 0; // of its entries, when live or retired
        u64 ipa = 0;        // what entry 0 maps
        bool walk_cached = false;
    };
    struct Stale {
        u64 first, bytes;
        unsigned level;
    };

    void fail(const std::string& what, u64 address);
    Page* page_of(Pa entry);
    void change_live(Page& page, unsigned index, u64 old, u64 now, u64 address);
    void link(Pa table, unsigned level, u64 ipa);
    void unlink(Pa table, unsigned level);
    bool overlaps_stale(u64 first, u64 bytes) const;

    stage2::Geometry geometry_{};
    std::map<u64, Page> pages_;
    std::map<u64, unsigned> blocks_;  // allocated: base -> order
    std::map<u64, bool> unpublished_; // addresses of entries written since the last publication
    std::vector<Stale> stale_;
    u64 next_ = first_page;
    std::vector<u64> free_pages_;
};

/// The policy: a handle to the machine, copied into the address space.
class MonitoredMemory {
  public:
    constexpr MonitoredMemory() = default;
    explicit MonitoredMemory(TableMachine& machine) : machine_(&machine) {}
    u64 read(Pa entry) const { return machine_->read(entry); }
    void write(Pa entry, u64 descriptor) { machine_->write(entry, descriptor); }
    void clear(Pa table) { machine_->clear(table); }
    void publish() { machine_->publish(); }
    void invalidate(const stage2::TlbScope& scope) { machine_->invalidate(scope); }
    Result<Pa> allocate(unsigned order) { return machine_->allocate(order); }
    void release(Pa pages, unsigned order) { machine_->release(pages, order); }

  private:
    TableMachine* machine_ = nullptr;
};

} // namespace atl::test
