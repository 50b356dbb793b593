// SPDX-License-Identifier: Apache-2.0
// One SMMUv3: devices reach memory only through the stage 2 of the VM that owns them, or not at all. Owns
// that SMMU's registers, stream table and queues. Does not own stage-2 tables, VMIDs, which VM has which
// device, nor what is printed. Knows stage 2 as values: a root, VTCR_EL2, a VMID.
// Locks: `lock_` (LockRank::smmu_queue) is held from the first command to the end of its SYNC; `event_lock_`,
// of the same rank, is never held together with it. Memory is wanted by init() and attach() only.
// Spec: [IHI0070]; the Secure and Realm programming interfaces are not touched.
//
// Order of calls:
//   boot CPU, once        init(); then route and enable the event and gerror interrupts
//   a VM gets a device    attach(); its DMA works when it returns
//   stage 2 weakened      invalidate(), before any page moves on
//   the device goes       detach(); no DMA of its is in flight when it returns
//   event interrupt       drain(), again until it says that no more are left
//   gerror interrupt      on_gerror()
#pragma once
#include <atomic>

#include "lib/containers.hpp"
#include "lib/spinlock.hpp"
#include "smmu/command_queue.hpp"
#include "smmu/event.hpp"
#include "smmu/event_queue.hpp"
#include "smmu/stream_table.hpp"

namespace atl::smmu {

struct Config {
    Range<Pa> registers{}; // pages 0 and 1, mapped as device memory in EL2's direct map
    Pages pages{};
    Pa memory_end{}; // above the highest RAM that a device may be given
};

/// A part of one VM's stage 2 that was weakened: what stage2::TlbScope says, as values.
struct Invalidation {
    Vmid vmid{};
    Ipa base{};
    u64 bytes = 0;
    u64 stride = page_size; // size of the smallest stale leaf
    bool whole_vm = false;  // then base, bytes and stride do not matter
};

/// Takes a fault; no lock is held.
struct FaultSink {
    void* context = nullptr;
    void (*take)(void* context, const FaultRecord& record) = nullptr;
};

struct Drained {
    unsigned records = 0;
    bool more = false;     // records are left, and no interrupt will tell: call again soon
    bool overflow = false; // records were lost since the last call
};

/// For the monitor. Read without a lock: they may be a moment old.
struct Counters {
    u64 commands = 0;
    u64 syncs = 0;
    u64 command_errors = 0;
    u64 restarts = 0; // of the command queue
    u64 repeated = 0; // batches asked for once more, or in their widest form
    u64 events = 0;
    u64 overflows = 0;
    u64 discarded_events = 0;
    u64 stalls = 0;
    u64 global_errors = 0;
    u64 second_levels = 0;
};

class Smmu {
  public:
    /// By the book: global abort first, disabled, tables that abort all, queues, caches emptied, interrupts,
    /// enabled. After any error the SMMU aborts all DMA (if it obeys at all) and refusal() says why. Errors:
    /// not_supported, no_memory; invalid_argument: the register window.
    Status init(const Config& config);

    /// True from a successful init() until the SMMU has to be stopped.
    bool running() const { return state_.load(std::memory_order_acquire) == State::running; }
    Refusal refusal() const { return refusal_.load(std::memory_order_relaxed); }
    const Features& features() const { return features_; }

    /// The stream's DMA goes through `stage2` on return. already_exists: it has one; overflow: no such
    /// StreamID, or addresses too large; invalid_argument: what VTCR says; no_memory; denied: not running.
    /// Nothing changed then.
    Status attach(StreamId stream, const Stage2& stage2);
    /// The same for a stream that has a stage 2, which is replaced: a new VMID without a gap, else with
    /// aborts in between. No entry of the old VMID is left on return. not_found: it has none.
    Status reassign(StreamId stream, const Stage2& stage2);
    /// On return the stream aborts, all its accesses are done, and no translation of its VMID is cached. What it tries
    /// from now on is reported (C_BAD_STE). A stream without a stage 2: nothing to do.
    void detach(StreamId stream);
    /// A stream without a stage 2 goes on aborting, and is reported no more until its next detach(): so one that does
    /// not stop costs no CPU time, and leaves the event queue to the others. Nothing to do where the table has no entry
    /// for it: what such a stream does stays reported (C_BAD_STREAMID).
    void silence(StreamId stream);

    /// On return no device uses what was weakened: TLBI and SYNC are complete, accesses that were under way
    /// included [IHI0070 §3.21.1]. The tables' new descriptors must have been stored before. Never fails: an
    /// SMMU that does not do it is restarted, asked for more, and at last stopped with all DMA behind it.
    /// Panics when it cannot even be stopped, as then a device could write to a page that moves on.
    void invalidate(const Invalidation& what);
    /// Every translation of every VM: for a roll-over of VMIDs.
    void invalidate_all();

    /// Hands out at most `limit` events. Answers stalled accesses with an abort.
    Drained drain(const FaultSink& sink, unsigned limit);
    /// Acknowledges and repairs; returns the errors that were active, as bits of GERROR: gerror_sentence()
    /// each. A full event queue is not among them, drain() tells it.
    u32 on_gerror();

    Counters counters() const;
    /// State, features, counters.
    void dump(const TextSink& sink) const;
    /// The stream's table entry, decoded.
    void dump(const TextSink& sink, StreamId stream);

  private:
    enum class State : u8 { absent, running, stopped };
    static constexpr u64 most_by_ipa = 32; // commands; above, the whole VMID is dropped

    // init.cpp
    Status refuse(Refusal refusal, Error error);
    bool change_cr0(u32 value);
    Status stop_everything_first();
    Status set_up_queues();
    Status empty_caches();
    Status enable();

    // smmu.cpp; with lock_ held
    bool run(std::span<const Command> commands, const Command& widest);
    bool restart_queue();
    void stop(Refusal why);
    static bool sync_config(void* self, StreamId stream, bool leaf);
    Status place(StreamId stream, const Stage2& stage2, bool replace);
    bool drop_vmid(Vmid vmid);

    Port port_{};
    Config config_{};
    Features features_{};
    StreamTable table_{};
    CommandQueue commands_{};
    EventQueue events_{};
    SpinLock lock_{LockRank::smmu_queue};
    SpinLock event_lock_{LockRank::smmu_queue};
    u32 cr0_ = 0; // as last written
    std::atomic<State> state_{State::absent};
    std::atomic<Refusal> refusal_{Refusal::none};
    u64 restarts_ = 0;
    u64 repeated_ = 0;
    u64 stalls_ = 0;
    u64 global_errors_ = 0;
    u64 overflows_told_ = 0;
};

/// What one bit of GERROR means, as a sentence; "" for bits that mean nothing [IHI0070 §7.5].
const char* gerror_sentence(u32 bit);

} // namespace atl::smmu
