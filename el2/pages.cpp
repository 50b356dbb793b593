// SPDX-License-Identifier: Apache-2.0
// Page ownership: see pages.hpp. The transition table, and the ledger of records. Pure.
#include "el2/pages.hpp"

#include <array>

#include "lib/panic.hpp"

namespace atl::el2 {
namespace {

enum class Actor : u8 { pool, owner, other };

/// One row per PageOp: who may do it, and from each state to which. `reserved` stands for "refused": no
/// operation leads there.
struct Rule {
    Actor actor;
    bool counts; // check_counts() has a say
    std::array<PageState, page_states> to;
};

constexpr PageState no = PageState::reserved;
constexpr PageState fre = PageState::free;
constexpr PageState hyp = PageState::hypervisor;
constexpr PageState own = PageState::owned;
constexpr PageState sha = PageState::shared;
constexpr PageState len = PageState::lent;
constexpr PageState don = PageState::donating;
constexpr PageState ret = PageState::retained; // or scrubbing, when no mapping is left
constexpr PageState scr = PageState::scrubbing;

constexpr std::array<Rule, page_ops> rules{{
    //                          reserved free hyp  own  sha  lent don  ret  scrubbing
    {Actor::pool, false, {fre, no, no, no, no, no, no, no, no}},     // add_to_pool
    {Actor::pool, false, {no, hyp, no, no, no, no, no, no, no}},     // allocate_to_hypervisor
    {Actor::pool, false, {no, own, no, no, no, no, no, no, no}},     // allocate_to_vm
    {Actor::pool, false, {no, no, fre, no, no, no, no, no, fre}},    // free
    {Actor::owner, false, {no, no, no, sha, no, no, no, no, no}},    // share
    {Actor::owner, false, {no, no, no, len, no, no, no, no, no}},    // lend
    {Actor::owner, false, {no, no, no, don, no, no, no, no, no}},    // donate
    {Actor::other, true, {no, no, no, no, sha, len, don, no, no}},   // retrieve
    {Actor::other, true, {no, no, no, no, sha, len, don, ret, no}},  // relinquish
    {Actor::other, true, {no, no, no, no, sha, len, don, no, no}},   // dma_map
    {Actor::other, true, {no, no, no, no, sha, len, don, ret, no}},  // dma_unmap
    {Actor::other, true, {no, no, no, no, no, no, own, no, no}},     // accept
    {Actor::owner, true, {no, no, no, no, own, own, own, no, no}},   // reclaim
    {Actor::owner, false, {no, no, no, scr, no, no, no, no, no}},    // release
    {Actor::owner, false, {no, no, no, scr, ret, ret, ret, no, no}}, // owner_died
}};

constexpr PageState target(PageOp op, PageState state) {
    return rules[static_cast<unsigned>(op)].to[static_cast<unsigned>(state)];
}

/// The counts' part of check(), for a transition that the table allows.
[[gnu::always_inline]] inline Status check_counts(PageOp op, const PageRecord& page) {
    constexpr u16 full = 0xffff;
    switch (op) {
    case PageOp::retrieve:
        return page.use.mappings == full ? Status{Error::overflow} : Status{};
    case PageOp::relinquish: // a mapping that a device reaches is given up by dma_unmap first
        if (page.use.mappings == 0) {
            return Error::denied;
        }
        return page.use.mappings == page.use.dma_mappings ? Status{Error::busy} : Status{};
    case PageOp::dma_map:
        return page.use.dma_mappings >= page.use.mappings ? Status{Error::denied} : Status{};
    case PageOp::dma_unmap:
        return page.use.dma_mappings == 0 ? Status{Error::denied} : Status{};
    case PageOp::accept:
        if (page.use.mappings == 0) {
            return Error::denied;
        }
        return page.use.mappings != 1 ? Status{Error::busy} : Status{};
    case PageOp::reclaim:
        return page.use.mappings != 0 ? Status{Error::busy} : Status{};
    case PageOp::add_to_pool:
    case PageOp::allocate_to_hypervisor:
    case PageOp::allocate_to_vm:
    case PageOp::free:
    case PageOp::share:
    case PageOp::lend:
    case PageOp::donate:
    case PageOp::release:
    case PageOp::owner_died:
        return {};
    }
    return Error::invalid_argument;
}

/// Inlined into the loops over runs: a buffer has thousands of pages.
[[gnu::always_inline]] inline Status check_one(const Rule& rule, PageOp op, const PageRecord& page,
                                               VmId actor) {
    if (rule.to[static_cast<unsigned>(page.state)] == PageState::reserved) {
        return Error::denied;
    }
    switch (rule.actor) {
    case Actor::pool:
        return (op == PageOp::allocate_to_vm) == (actor != hypervisor_id) ? Status{} : Status{Error::denied};
    case Actor::owner:
        if (actor != page.owner || actor == hypervisor_id) {
            return Error::denied;
        }
        break;
    case Actor::other:
        if (actor == page.owner || actor == hypervisor_id) {
            return Error::denied;
        }
        break;
    }
    return rule.counts ? check_counts(op, page) : Status{};
}

/// What commit() does to a page of a VM that check_one() has allowed.
[[gnu::always_inline]] inline void apply(PageOp op, PageRecord& page, VmId actor) {
    page.state = target(op, page.state);
    switch (op) {
    case PageOp::retrieve:
        ++page.use.mappings;
        break;
    case PageOp::accept:
        page.owner = actor;
        page.use = {};
        break;
    case PageOp::relinquish:
        --page.use.mappings;
        break;
    case PageOp::dma_map:
        ++page.use.dma_mappings;
        break;
    case PageOp::dma_unmap:
        --page.use.dma_mappings;
        break;
    case PageOp::reclaim:
        page.use.share = 0;
        break;
    case PageOp::add_to_pool:
    case PageOp::allocate_to_hypervisor:
    case PageOp::allocate_to_vm:
    case PageOp::free:
    case PageOp::share:
    case PageOp::lend:
    case PageOp::donate:
    case PageOp::release:
    case PageOp::owner_died:
        break;
    }
    if (page.state == PageState::retained && page.use.mappings == 0) {
        page.state = PageState::scrubbing;
    }
    if (page.state == PageState::retained || page.state == PageState::scrubbing) {
        page.owner = hypervisor_id;
    }
}

/// Calls visit.template operator()<op>(): in a loop over records everything about the operation is a constant.
template <class Visit>
auto with_constant(PageOp op, Visit visit) {
    switch (op) {
    case PageOp::add_to_pool:
        return visit.template operator()<PageOp::add_to_pool>();
    case PageOp::allocate_to_hypervisor:
        return visit.template operator()<PageOp::allocate_to_hypervisor>();
    case PageOp::allocate_to_vm:
        return visit.template operator()<PageOp::allocate_to_vm>();
    case PageOp::free:
        return visit.template operator()<PageOp::free>();
    case PageOp::share:
        return visit.template operator()<PageOp::share>();
    case PageOp::lend:
        return visit.template operator()<PageOp::lend>();
    case PageOp::donate:
        return visit.template operator()<PageOp::donate>();
    case PageOp::retrieve:
        return visit.template operator()<PageOp::retrieve>();
    case PageOp::relinquish:
        return visit.template operator()<PageOp::relinquish>();
    case PageOp::dma_map:
        return visit.template operator()<PageOp::dma_map>();
    case PageOp::dma_unmap:
        return visit.template operator()<PageOp::dma_unmap>();
    case PageOp::accept:
        return visit.template operator()<PageOp::accept>();
    case PageOp::reclaim:
        return visit.template operator()<PageOp::reclaim>();
    case PageOp::release:
        return visit.template operator()<PageOp::release>();
    case PageOp::owner_died:
        return visit.template operator()<PageOp::owner_died>();
    }
    ATOLL_PANIC("no such page operation");
}

} // namespace

const char* to_string(PageState state) {
    constexpr std::array<const char*, page_states> names{
        "reserved", "free", "hypervisor", "owned", "shared", "lent", "donating", "retained", "scrubbing"};
    return names[static_cast<unsigned>(state)];
}

const char* to_string(PageOp op) {
    constexpr std::array<const char*, page_ops> names{"add_to_pool",    "allocate_to_hypervisor",
                                                      "allocate_to_vm", "free",
                                                      "share",          "lend",
                                                      "donate",         "retrieve",
                                                      "relinquish",     "dma_map",
                                                      "dma_unmap",      "accept",
                                                      "reclaim",        "release",
                                                      "owner_died"};
    return names[static_cast<unsigned>(op)];
}

Status check(PageOp op, const PageRecord& page, VmId actor) {
    return check_one(rules[static_cast<unsigned>(op)], op, page, actor);
}

void commit_pool(PageOp op, std::span<PageRecord> pages, VmId actor) {
    ATOLL_CHECK(rules[static_cast<unsigned>(op)].actor == Actor::pool);
    for (PageRecord& page : pages) {
        const PageState to = target(op, page.state);
        ATOLL_CHECK(to != PageState::reserved);
        page.state = to;
        page.owner = actor;
        page.order = PageRecord::no_order;
        if (to == PageState::free) {
            page.link = {PageLedger::no_page, PageLedger::no_page};
        } else {
            page.use = {};
        }
    }
}

void commit(PageOp op, PageRecord& page, VmId actor) {
    const Rule& rule = rules[static_cast<unsigned>(op)];
    ATOLL_CHECK(check_one(rule, op, page, actor).ok());
    if (rule.actor == Actor::pool) {
        commit_pool(op, {&page, 1}, actor);
        return;
    }
    apply(op, page, actor);
}

void PageLedger::init(std::span<PageRecord> storage) {
    storage_ = storage;
    ranges_.clear();
    used_ = 0;
}

Status PageLedger::add_range(Range<Pa> range) {
    if (range.base.value + range.size < range.base.value) {
        return Error::invalid_argument;
    }
    const u64 pages = records_for(range);
    if (pages == 0) {
        return Error::invalid_argument;
    }
    const Range<Pa> whole{{(range.base.value + page_size - 1) & ~(page_size - 1)}, pages * page_size};
    for (const Entry& entry : ranges_) {
        if (entry.range.overlaps(whole)) {
            return Error::already_exists;
        }
    }
    // no_page is never an index.
    if (ranges_.full() || pages > storage_.size() - used_ || pages >= no_page - used_) {
        return Error::no_memory;
    }
    for (u64 i = 0; i < pages; ++i) {
        storage_[used_ + i] = PageRecord{};
    }
    (void)ranges_.push_back({whole, used_});
    used_ += static_cast<u32>(pages);
    return {};
}

const PageLedger::Entry* PageLedger::find(Pa pa) const {
    for (const Entry& entry : ranges_) {
        if (pa.value - entry.range.base.value <
            entry.range.size) { // wraps to a large value when below the base
            return &entry;
        }
    }
    return nullptr;
}

u32 PageLedger::index_of(Pa pa) const {
    const Entry* entry = find(pa);
    return entry == nullptr ? no_page
                            : entry->first + static_cast<u32>((pa - entry->range.base) >> page_shift);
}

PageRecord* PageLedger::record(Pa pa) {
    const u32 index = index_of(pa);
    return index == no_page ? nullptr : &storage_[index];
}

const PageRecord* PageLedger::record(Pa pa) const {
    const u32 index = index_of(pa);
    return index == no_page ? nullptr : &storage_[index];
}

Pa PageLedger::address_of(u32 index) const {
    for (const Entry& entry : ranges_) {
        const u64 offset = u64{index} - entry.first;
        if (index >= entry.first && offset < entry.range.size >> page_shift) {
            return entry.range.base + (offset << page_shift);
        }
    }
    ATOLL_PANIC("page index outside the ledger");
}

Range<Pa> PageLedger::range_of(Pa pa) const {
    const Entry* entry = find(pa);
    return entry == nullptr ? Range<Pa>{} : entry->range;
}

Status PageLedger::check_run(PageOp op, Pa pa, u64 bytes, VmId actor) const {
    const Entry* entry = find(pa);
    if (entry == nullptr || !entry->range.contains(pa, bytes)) {
        return Error::not_found;
    }
    if (bytes == 0 || !pa.is_aligned(page_size) || bytes % page_size != 0) {
        return Error::invalid_argument;
    }
    const u64 first = entry->first + ((pa - entry->range.base) >> page_shift);
    const std::span<const PageRecord> pages = storage_.subspan(first, bytes >> page_shift);
    return with_constant(op, [=]<PageOp constant>() -> Status {
        for (const PageRecord& page : pages) {
            ATOLL_TRY(check_one(rules[static_cast<unsigned>(constant)], constant, page, actor));
        }
        return {};
    });
}

void PageLedger::commit_run(PageOp op, Pa pa, u64 bytes, VmId actor) {
    const u32 first = index_of(pa);
    const u64 count = bytes >> page_shift;
    ATOLL_CHECK(first != no_page && count <= used_ - first);
    const std::span<PageRecord> pages = storage_.subspan(first, count);
    with_constant(op, [=]<PageOp constant>() {
        constexpr const Rule& rule = rules[static_cast<unsigned>(constant)];
        for (PageRecord& page : pages) {
            ATOLL_CHECK(check_one(rule, constant, page, actor).ok());
            if constexpr (rule.actor == Actor::pool) {
                commit_pool(constant, {&page, 1}, actor);
            } else {
                apply(constant, page, actor);
            }
        }
    });
}

u64 PageLedger::commit_leading(PageOp op, Pa pa, u64 max_pages, VmId actor, u32 note) {
    const Entry* entry = find(pa);
    if (entry == nullptr) {
        return 0;
    }
    const u64 at = (pa - entry->range.base) >> page_shift;
    const u64 in_range = (entry->range.size >> page_shift) - at;
    const std::span<PageRecord> pages =
        storage_.subspan(entry->first + at, max_pages < in_range ? max_pages : in_range);
    return with_constant(op, [=]<PageOp constant>() -> u64 {
        u32 next = note;
        for (PageRecord& page : pages) {
            if (!check_one(rules[static_cast<unsigned>(constant)], constant, page, actor).ok()) {
                break;
            }
            if constexpr (rules[static_cast<unsigned>(constant)].actor == Actor::owner) {
                apply(constant, page, actor);
                page.use.share = next;
            } else {
                ATOLL_PANIC("only an owner's pages have a note");
            }
            ++next;
        }
        return next - note;
    });
}

PageLedger::Census PageLedger::census() const {
    Census census;
    for (u32 i = 0; i < used_; ++i) {
        ++census.pages[static_cast<unsigned>(storage_[i].state)];
    }
    return census;
}

} // namespace atl::el2
