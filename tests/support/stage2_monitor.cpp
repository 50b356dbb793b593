// SPDX-License-Identifier: Apache-2.0
// The monitors of stage2_monitor.hpp.
#include "tests/support/stage2_monitor.hpp"

#include <algorithm>
#include <cstdio>

namespace atl::test {

using namespace stage2;

void TableMachine::fail(const std::string& what, u64 address) {
    char text[32];
    (void)std::snprintf(text, sizeof text, " at 0x%llx", static_cast<unsigned long long>(address));
    violations.push_back(what + text);
}

TableMachine::Page* TableMachine::page_of(Pa entry) {
    const auto found = pages_.find(entry.align_down(page_size).value);
    if (found == pages_.end() || !entry.is_aligned(sizeof(u64))) {
        fail("access outside the allocated tables", entry.value);
        return nullptr;
    }
    return &found->second;
}

u64 TableMachine::pages_live() const {
    u64 count = 0;
    for (const auto& [address, page] : pages_) {
        count += page.use == Use::live;
    }
    return count;
}

std::map<u64, std::array<u64, 512>> TableMachine::snapshot() const {
    std::map<u64, std::array<u64, 512>> all;
    for (const auto& [address, page] : pages_) {
        all[address] = page.words;
    }
    return all;
}

bool TableMachine::overlaps_stale(u64 first, u64 bytes) const {
    return std::any_of(stale_.begin(), stale_.end(),
                       [&](const Stale& s) { return s.first < first + bytes && first < s.first + s.bytes; });
}

u64 TableMachine::read(Pa entry) {
    const Page* page = page_of(entry);
    return page == nullptr ? 0 : page->words[(entry.value % page_size) / sizeof(u64)];
}

void TableMachine::write(Pa entry, u64 descriptor) {
    ++writes;
    Page* page = page_of(entry);
    if (page == nullptr) {
        return;
    }
    const unsigned index = static_cast<unsigned>((entry.value % page_size) / sizeof(u64));
    const u64 old = page->words[index];
    page->words[index] = descriptor;
    unpublished_[entry.value] = true;
    switch (page->use) {
    case Use::fresh:
        break;
    case Use::retired:
        if (is_valid(descriptor)) {
            fail("valid descriptor in an unlinked table that may still be walked", entry.value);
        }
        break;
    case Use::live:
        change_live(*page, index, old, descriptor, entry.value);
        break;
    }
}

void TableMachine::change_live(Page& page, unsigned index, u64 old, u64 now, u64 address) {
    const unsigned level = page.level;
    const u64 ipa = page.ipa + index * level_size(level);
    if (is_valid(old) && is_valid(now)) {
        const bool permissions_only =
            is_leaf(old, level) && is_leaf(now, level) && ((old ^ now) & ~permission_mask) == 0;
        if (!permissions_only) {
            fail("live entry changed without break", address);
        } else if (old != now) {
            stale_.push_back({ipa, level_size(level), level});
        }
        return;
    }
    if (is_valid(old)) {
        if (is_table(old, level)) {
            unlink(output_address(old), level + 1);
        } else {
            stale_.push_back({ipa, level_size(level), level});
        }
        return;
    }
    if (is_valid(now)) {
        if (overlaps_stale(ipa, level_size(level))) {
            fail("entry made before the invalidation of the old one", address);
        }
        if (is_table(now, level)) {
            link(output_address(now), level + 1, ipa);
        } else if (!is_leaf(now, level)) {
            fail("reserved descriptor", address);
        }
    }
}

void TableMachine::link(Pa table, unsigned level, u64 ipa) {
    const auto found = pages_.find(table.value);
    if (found == pages_.end() || found->second.use != Use::fresh) {
        fail("link to a page that is no fresh table", table.value);
        return;
    }
    const auto dirty = unpublished_.lower_bound(table.value);
    if (dirty != unpublished_.end() && dirty->first < table.value + page_size) {
        fail("table linked before its contents were published", dirty->first);
    }
    Page& page = found->second;
    page.use = Use::live;
    page.level = level;
    page.ipa = ipa;
    for (unsigned i = 0; i < entries_per_table; ++i) {
        if (is_table(page.words[i], level)) {
            link(output_address(page.words[i]), level + 1, ipa + i * level_size(level));
        } else if (is_valid(page.words[i]) && !is_leaf(page.words[i], level)) {
            fail("reserved descriptor in a new table", table.value + i * 8);
        }
    }
}

void TableMachine::unlink(Pa table, unsigned level) {
    Page& page = pages_[table.value];
    page.use = Use::retired;
    page.walk_cached = true;
    for (unsigned i = 0; i < entries_per_table; ++i) {
        if (is_table(page.words[i], level)) {
            unlink(output_address(page.words[i]), level + 1);
        } else if (is_valid(page.words[i])) {
            stale_.push_back({page.ipa + i * level_size(level), level_size(level), level});
        }
    }
}

void TableMachine::clear(Pa table) {
    Page* page = page_of(table);
    if (page != nullptr) {
        if (page->use != Use::fresh) {
            fail("clear of a table in use", table.value);
        }
        page->words.fill(0);
        unpublished_[table.value] = true;
    }
}

void TableMachine::publish() {
    unpublished_.clear();
    const auto root = pages_.find(first_page);
    if (root != pages_.end() && root->second.use == Use::fresh && geometry_.ipa_bits != 0) {
        for (u64 i = 0; i < u64{1} << geometry_.root_order; ++i) { // the root is live once published
            Page& page = pages_[first_page + i * page_size];
            page.use = Use::live;
            page.level = geometry_.start_level;
            page.ipa = i * entries_per_table * level_size(geometry_.start_level);
        }
    }
}

void TableMachine::invalidate(const TlbScope& scope) {
    if (scope.empty()) {
        return;
    }
    publish(); // the sequence starts with DSB ISHST
    ++invalidations;
    if (output_address(scope.vttbr).value != first_page) {
        fail("invalidation with another root", scope.vttbr);
    }
    const bool whole = scope.whole_vm || scope.operations() > max_tlb_operations;
    whole_invalidations += whole;
    operations += whole ? 0 : scope.operations();
    const u64 first = scope.base.value;
    const u64 end = first + scope.bytes;
    std::erase_if(stale_, [&](const Stale& s) {
        // The operations are one per stride: an entry smaller than the stride could be missed.
        return whole || (s.first >= first && s.first + s.bytes <= end && s.level <= scope.leaf_level);
    });
    for (auto& [address, page] : pages_) {
        if (page.use == Use::retired) {
            const u64 size = level_size(page.level - 1);
            page.walk_cached = page.walk_cached && !whole && !(page.ipa < end && first < page.ipa + size);
        }
    }
}

Result<Pa> TableMachine::allocate(unsigned order) {
    if (allocations++ >= fail_at) {
        return Error::no_memory;
    }
    u64 base = 0;
    if (order == 0 && next_ != first_page && !free_pages_.empty()) {
        base = free_pages_.back();
        free_pages_.pop_back();
    } else {
        base = next_;
        next_ += page_size << order;
    }
    blocks_[base] = order;
    for (u64 i = 0; i < u64{1} << order; ++i) {
        pages_[base + i * page_size].words.fill(0x4000'0000'0000'07ff); // looks valid: must be cleared
        unpublished_[base + i * page_size] = true;
    }
    return Pa{base};
}

void TableMachine::release(Pa pages, unsigned order) {
    const auto block = blocks_.find(pages.value);
    if (block == blocks_.end() || block->second != order) {
        fail("release of what was not allocated", pages.value);
        return;
    }
    blocks_.erase(block);
    for (u64 i = 0; i < u64{1} << order; ++i) {
        const Page& page = pages_[pages.value + i * page_size];
        if (page.use == Use::live && pages.value != first_page) {
            fail("release of a linked table", pages.value);
        }
        if (page.walk_cached) {
            fail("release of a table that a walker may still have cached", pages.value);
        }
        if (order == 0) {
            free_pages_.push_back(pages.value);
        }
        pages_.erase(pages.value + i * page_size);
        const auto from = unpublished_.lower_bound(pages.value + i * page_size);
        unpublished_.erase(from, unpublished_.lower_bound(pages.value + (i + 1) * page_size));
    }
    if (pages.value == first_page) {
        next_ = first_page; // a new root starts over; every table has gone before it
        free_pages_.clear();
    }
}

} // namespace atl::test
