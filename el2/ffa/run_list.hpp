// SPDX-License-Identifier: Apache-2.0
// The physical pages of one handle: a chain of pool pages, each full of runs. Owns those pool pages, not the
// memory that the runs describe. Protected by the share_ledger lock.
#pragma once
#include "el2/ffa/ports.hpp"

namespace atl::ffa {

/// Lives in one pool page.
struct RunPage {
    static constexpr u32 capacity = 255;
    RunPage* next;
    u64 count;
    PaRun runs[capacity];

    std::span<const PaRun> span() const { return {runs, static_cast<std::size_t>(count)}; }
};
static_assert(sizeof(RunPage) == page_size);

/// A place in a run list, for work that is done piece by piece.
struct Cursor {
    const RunPage* page = nullptr;
    u32 run = 0;       // of the page
    u32 page_done = 0; // pages of that run
    u32 done = 0;      // pages before this place

    /// The next runs, of at most max_pages pages together: whole ones where they lie in the list, at most
    /// max_runs; or `piece`, which becomes a part of one. Moves past them. Empty at the end.
    std::span<const PaRun> take(PaRun& piece, u32 max_pages);
    static constexpr u32 max_runs = 64;
};

class RunList {
  public:
    Cursor begin() const { return {first_, 0, 0, 0}; }
    /// Adds a run behind the last, merged with it when they touch. `quota` is what the owner may still
    /// allocate, in pages; it goes down. Errors: no_memory (quota or pool), nothing changed.
    Status append(const Ports& ports, PaRun run, u32& quota);
    /// Frees the pool pages and gives them back to `quota`.
    void clear(const Ports& ports, u32& quota);

    const RunPage* first() const { return first_; }
    u32 run_count() const { return run_count_; }

  private:
    RunPage* first_ = nullptr;
    RunPage* last_ = nullptr;
    u32 run_count_ = 0;
};

} // namespace atl::ffa
