// SPDX-License-Identifier: Apache-2.0
// The stream table of one SMMU: linear or two-level, every entry is invalid, and so aborts, until it is
// given a stage 2. Owns the table's memory and the order of writes to an entry. Does not own the commands (the caller's Sync runs
// them). Lock: the Smmu's. Spec: [IHI0070 §3.3, §3.21.3 access rules, §3.21.3.1 update procedure, §5.1,
// §5.2].
#pragma once
#include "smmu/port_hw.hpp"
#include "smmu/ste.hpp"

namespace atl::smmu {

/// Where tables and queues come from: 2^order pages, contiguous, aligned to their size, zeroed, and cleaned
/// to the point of coherency. They are kept for ever.
struct Pages {
    void* context = nullptr;
    Result<Pa> (*allocate)(void* context, unsigned order) = nullptr;
};

/// The order of an allocation of `bytes`.
constexpr unsigned order_for(u64 bytes) {
    unsigned order = 0;
    while ((u64{page_size} << order) < bytes) {
        ++order;
    }
    return order;
}

/// How a change of a stream's configuration reaches the SMMU: CMD_CFGI_STE and CMD_SYNC, complete on return.
/// False: it could not be made so, and all DMA has been stopped.
struct ConfigSync {
    void* context = nullptr;
    bool (*run)(void* context, StreamId stream, bool leaf) = nullptr;
    bool operator()(StreamId stream, bool leaf) const { return run(context, stream, leaf); }
};

class StreamTable {
  public:
    /// Before SMMUEN. no_memory: as the allocator says.
    Status set_up(const Port& port, const Features& features, const Pages& pages);
    /// overflow: no such StreamID behind this SMMU, or beyond what the table reaches. no_memory. denied: sync
    /// failed. Makes the second level when there is none.
    Status prepare(StreamId stream, const ConfigSync& sync);
    /// The entry's words; invalid where there is none.
    Ste read(StreamId stream) const;
    /// Writes an entry so that the SMMU sees the old one, an aborting one, or the new one, whole; prepared
    /// streams only. `hitless`: old and new differ in one word, so that no access in between is aborted.
    bool write(StreamId stream, const Ste& next, const ConfigSync& sync);

    bool reaches(StreamId stream) const { return entry(stream) != no_entry; }
    bool two_level() const { return two_level_; }
    unsigned log2_streams() const { return log2_; }
    u64 second_levels = 0;

  private:
    static constexpr unsigned split = 8;           // a second level is 256 entries, 16 KiB: one PCI bus
    static constexpr unsigned most_linear = 16;    // 4 MiB of entries
    static constexpr unsigned most_two_level = 24; // 512 KiB of level 1 descriptors

    static constexpr Pa no_entry{~u64{0}};
    Pa entry(StreamId stream) const; // no_entry when there is none
    void store_word0(Pa at, u64 value);

    Port port_{};
    Pages pages_{};
    Pa base_{};
    u8 log2_ = 0;
    bool two_level_ = false;
};

} // namespace atl::smmu
