// SPDX-License-Identifier: Apache-2.0
// The buddy allocator: see page_pool.hpp. Pure.
#include "el2/page_pool.hpp"

#include <bit>

#include "lib/panic.hpp"

namespace atl::el2 {

void PagePool::init(PageLedger& ledger) {
    ledger_ = &ledger;
    heads_.fill(PageLedger::no_page);
    orders_ = 0;
    counters_ = {};
}

/// The largest order whose block starts at `pa`, naturally aligned, and is not longer than `bytes`.
unsigned PagePool::largest_order(Pa pa, u64 bytes) {
    const unsigned by_size = static_cast<unsigned>(std::bit_width(bytes >> page_shift)) - 1;
    const unsigned by_alignment =
        pa.page_number() == 0 ? max_order : static_cast<unsigned>(std::countr_zero(pa.page_number()));
    const unsigned smaller = by_size < by_alignment ? by_size : by_alignment;
    return smaller < max_order ? smaller : max_order;
}

// ---- free lists ----

void PagePool::insert_block(u32 index, unsigned order) {
    PageRecord& page = ledger_->at(index);
    page.order = static_cast<u8>(order);
    page.link = {heads_[order], PageLedger::no_page};
    if (heads_[order] != PageLedger::no_page) {
        ledger_->at(heads_[order]).link.previous = index;
    }
    heads_[order] = index;
    orders_ |= 1U << order;
}

void PagePool::remove_block(u32 index, unsigned order) {
    PageRecord& page = ledger_->at(index);
    if (page.link.previous == PageLedger::no_page) {
        heads_[order] = page.link.next;
        if (heads_[order] == PageLedger::no_page) {
            orders_ &= ~(1U << order);
        }
    } else {
        ledger_->at(page.link.previous).link.next = page.link.next;
    }
    if (page.link.next != PageLedger::no_page) {
        ledger_->at(page.link.next).link.previous = page.link.previous;
    }
    page.order = PageRecord::no_order;
}

/// Puts a free block on its list, joined with its buddy as often as that is free too. Blocks stay within one
/// range.
void PagePool::coalesce(u32 index, Pa block, unsigned order, const Range<Pa>& ram) {
    while (order < max_order) {
        const Pa buddy{block.value ^ block_bytes(order)};
        if (!ram.contains(buddy, block_bytes(order))) {
            break;
        }
        const u32 pages = 1U << order;
        const u32 buddy_index = buddy < block ? index - pages : index + pages;
        const PageRecord& other = ledger_->at(buddy_index);
        if (other.state != PageState::free || other.order != order) {
            break;
        }
        remove_block(buddy_index, order);
        if (buddy < block) {
            block = buddy;
            index = buddy_index;
        }
        ++order;
    }
    insert_block(index, order);
}

// ---- filling ----

Status PagePool::add_range(Range<Pa> range, std::span<const Range<Pa>> reserved) {
    if (range.base.value + range.size < range.base.value || PageLedger::records_for(range) == 0) {
        return Error::invalid_argument;
    }
    const LockGuard guard{lock_};
    const u64 end = range.end().align_down(page_size).value;
    // Two passes: the first only checks.
    for (const bool commit_pass : {false, true}) {
        u64 cursor = (range.base.value + page_size - 1) & ~u64{page_size - 1};
        while (cursor < end) {
            u64 stop = end;
            u64 skip_to = cursor;
            for (const Range<Pa>& hole : reserved) {
                const u64 hole_first = hole.base.align_down(page_size).value;
                const u64 last_byte = hole.base.value + (hole.size - 1); // saturates below when it wraps
                const u64 hole_last = (last_byte < hole.base.value ? ~u64{0} : last_byte) | (page_size - 1);
                if (hole.empty() || hole_last < cursor) {
                    continue;
                }
                if (hole_first <= cursor) {
                    const u64 after = hole_last < end ? hole_last + 1 : end;
                    skip_to = after > skip_to ? after : skip_to;
                } else if (hole_first < stop) {
                    stop = hole_first;
                }
            }
            if (skip_to != cursor) {
                cursor = skip_to;
                continue;
            }
            const PageRun usable{{cursor}, stop - cursor};
            if (commit_pass) {
                free_run_locked(usable, PageOp::add_to_pool);
                counters_.total_pages += usable.size >> page_shift;
            } else {
                ATOLL_TRY(ledger_->check_run(PageOp::add_to_pool, usable.base, usable.size, hypervisor_id));
            }
            cursor = stop;
        }
    }
    return {};
}

// ---- allocate ----

Result<Pa> PagePool::allocate_locked(unsigned order, VmId owner) {
    const u32 candidates = orders_ >> order;
    if (candidates == 0) {
        ++counters_.failures;
        return Error::no_memory;
    }
    unsigned have = order + static_cast<unsigned>(std::countr_zero(candidates));
    const u32 index = heads_[have];
    remove_block(index, have);
    while (have > order) { // keep the lower half, free the upper one
        --have;
        insert_block(index + (1U << have), have);
    }
    const PageOp op = owner == hypervisor_id ? PageOp::allocate_to_hypervisor : PageOp::allocate_to_vm;
    commit_pool(op, ledger_->records(index, u64{1} << order), owner);
    counters_.free_pages -= u64{1} << order;
    ++counters_.allocations;
    return ledger_->address_of(index);
}

Result<Pa> PagePool::allocate(unsigned order, VmId owner) {
    if (order > max_order) {
        return Error::invalid_argument;
    }
    const LockGuard guard{lock_};
    return allocate_locked(order, owner);
}

Result<std::size_t> PagePool::allocate_ram(u64 bytes, VmId owner, std::span<PageRun> runs) {
    if (bytes == 0 || bytes % page_size != 0 || owner == hypervisor_id) {
        return Error::invalid_argument;
    }
    const LockGuard guard{lock_};
    if (bytes >> page_shift > counters_.free_pages) {
        ++counters_.failures;
        return Error::no_memory;
    }
    // The order only ever falls, so each run is aligned to its own size in the VM's address space as well.
    // Smaller blocks always remain: the free pages suffice.
    std::size_t count = 0;
    unsigned order = max_order;
    for (u64 left = bytes; left != 0;) {
        while (block_bytes(order) > left || orders_ >> order == 0) {
            --order;
        }
        if (count == runs.size()) {
            for (std::size_t i = 0; i < count; ++i) {
                // Never shown to the VM: straight back, without scrubbing.
                ledger_->commit_run(PageOp::release, runs[i].base, runs[i].size, owner);
                free_run_locked(runs[i], PageOp::free);
            }
            return Error::overflow;
        }
        const Result<Pa> block = allocate_locked(order, owner);
        ATOLL_CHECK(block.ok()); // just seen on a list
        runs[count++] = {*block, block_bytes(order)};
        left -= block_bytes(order);
    }
    return count;
}

// ---- free ----

Status PagePool::check_free_locked(PageRun run) const {
    return ledger_->check_run(PageOp::free, run.base, run.size, hypervisor_id);
}

/// Pages that `op` turns into free ones, as the largest aligned blocks.
void PagePool::free_run_locked(PageRun run, PageOp op) {
    const Range<Pa> ram = ledger_->range_of(run.base);
    u32 index = ledger_->index_of(run.base);
    while (run.size != 0) {
        const unsigned order = largest_order(run.base, run.size);
        commit_pool(op, ledger_->records(index, u64{1} << order), hypervisor_id);
        coalesce(index, run.base, order, ram);
        counters_.free_pages += u64{1} << order;
        index += 1U << order;
        run.base += block_bytes(order);
        run.size -= block_bytes(order);
    }
}

Status PagePool::free_run(PageRun run) {
    const LockGuard guard{lock_};
    ATOLL_TRY(check_free_locked(run));
    free_run_locked(run, PageOp::free);
    ++counters_.frees;
    return {};
}

Status PagePool::free(Pa pages, unsigned order) {
    if (order > max_order || !pages.is_aligned(block_bytes(order))) {
        return Error::invalid_argument;
    }
    return free_run({pages, block_bytes(order)});
}

PagePool::Counters PagePool::counters() {
    const LockGuard guard{lock_};
    return counters_;
}

std::array<u32, PagePool::max_order + 1> PagePool::free_blocks() {
    const LockGuard guard{lock_};
    std::array<u32, max_order + 1> blocks{};
    for (unsigned order = 0; order <= max_order; ++order) {
        for (u32 i = heads_[order]; i != PageLedger::no_page; i = ledger_->at(i).link.next) {
            ++blocks[order];
        }
    }
    return blocks;
}

stage2::TablePages table_pages(PagePool& pool) {
    return {&pool,
            [](void* context, unsigned order) { return static_cast<PagePool*>(context)->allocate(order); },
            [](void* context, Pa pages, unsigned order) {
                const Status status = static_cast<PagePool*>(context)->free(pages, order);
                ATOLL_CHECK(status.ok());
            }};
}

} // namespace atl::el2
