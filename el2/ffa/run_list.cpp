// SPDX-License-Identifier: Apache-2.0
// RunList: see run_list.hpp.
#include "el2/ffa/run_list.hpp"

#include <new>

namespace atl::ffa {

std::span<const PaRun> Cursor::take(PaRun& piece, u32 max_pages) {
    if (page == nullptr || max_pages == 0) {
        return {};
    }
    const PaRun* const first = &page->runs[run];
    const u32 runs_left = static_cast<u32>(page->count) - run;
    const u32 most = runs_left < max_runs ? runs_left : max_runs;
    u32 count = 0;
    u32 pages = 0;
    while (page_done == 0 && count != most && first[count].page_count <= max_pages - pages) {
        pages += static_cast<u32>(first[count].page_count);
        ++count;
    }
    done += pages;
    std::span<const PaRun> taken(first, count);
    if (count == 0) { // a piece of a run
        const u32 left = static_cast<u32>(first->page_count) - page_done;
        const u32 part = left < max_pages ? left : max_pages;
        piece = {first->base + u64{page_done} * page_size, part};
        taken = {&piece, 1};
        done += part;
        page_done += part;
        if (part != left) {
            return taken;
        }
        page_done = 0;
        count = 1;
    }
    run += count;
    if (run == page->count) {
        run = 0;
        page = page->next;
    }
    return taken;
}

Status RunList::append(const Ports& ports, PaRun run, u32& quota) {
    if (last_ != nullptr) {
        PaRun& tail = last_->runs[last_->count - 1];
        if (tail.base + tail.page_count * page_size == run.base) {
            tail.page_count += run.page_count;
            return {};
        }
    }
    if (last_ == nullptr || last_->count == RunPage::capacity) {
        if (quota == 0) {
            return Error::no_memory;
        }
        std::byte* const bytes = ports.alloc_page(ports.context);
        if (bytes == nullptr) {
            return Error::no_memory;
        }
        --quota;
        auto* const page =
            ::new (static_cast<void*>(bytes)) RunPage; // runs are written before they are counted
        page->next = nullptr;
        page->count = 0;
        (last_ == nullptr ? first_ : last_->next) = page;
        last_ = page;
    }
    last_->runs[last_->count++] = run;
    ++run_count_;
    return {};
}

void RunList::clear(const Ports& ports, u32& quota) {
    for (RunPage* page = first_; page != nullptr;) {
        RunPage* const next = page->next;
        ports.free_page(ports.context, static_cast<std::byte*>(static_cast<void*>(page)));
        ++quota;
        page = next;
    }
    first_ = nullptr;
    last_ = nullptr;
    run_count_ = 0;
}

} // namespace atl::ffa
