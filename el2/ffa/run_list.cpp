// SPDX-License-Identifier: Apache-2.0
// RunList: see run_list.hpp.
#include "el2/ffa/run_list.hpp"

#include <new>

namespace atl::ffa {

std::span<const PaRun> Cursor::take(std::span<PaRun> into, u32 max_pages) {
    std::size_t count = 0;
    while (page != nullptr && count != into.size() && max_pages != 0) {
        const PaRun& whole = page->runs[run];
        const auto left = static_cast<u32>(whole.page_count) - page_done;
        const u32 part = left < max_pages ? left : max_pages;
        into[count++] = {whole.base + u64{page_done} * page_size, part};
        max_pages -= part;
        done += part;
        page_done += part;
        if (part == left) {
            page_done = 0;
            if (++run == page->count) {
                run = 0;
                page = page->next;
            }
        }
    }
    return into.first(count);
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
