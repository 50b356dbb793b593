// SPDX-License-Identifier: Apache-2.0
// The command queue of one SMMU: places commands, waits for their completion, recovers from command errors.
// Owns CMDQ_PROD, and GERROR's CMDQ_ERR while it waits. Does not own CR0, nor what to do when all fails
// (smmu.cpp). Lock: the Smmu's, held from the first command to the end of its SYNC: commands are consumed in
// order, so nobody else's could complete earlier, and recovery may rewrite the queue.
// Spec: [IHI0070 §3.5, §3.21.2, §4, §7.1].
#pragma once
#include <span>

#include "smmu/commands.hpp"
#include "smmu/port_hw.hpp"

namespace atl::smmu {

class CommandQueue {
  public:
    enum class Outcome : u8 {
        complete, // all of it has taken effect
        skipped,  // the SMMU refused a command, which was replaced by a SYNC; the others have taken effect
        stuck,    // no end in sight: the queue must be restarted, and what was asked may not have happened
    };

    /// Only while CR0ACK.CMDQEN = 0: base and both indexes are written. `base` is aligned to the queue's
    /// size.
    void set_up(const Port& port, Pa base, unsigned log2);
    /// Forgets all that is in the queue. Only while CR0ACK.CMDQEN = 0.
    void reset();
    /// The commands, then a SYNC, whose completion is waited for.
    Outcome run(std::span<const Command> commands);
    /// True when a command error was there to be repaired; `skipped` tells whether a command was lost.
    bool recover(bool& skipped);

    u64 entries() const { return u64{1} << log2_; }
    u64 issued = 0; // counters for the monitor
    u64 syncs = 0;
    u64 errors = 0;

  private:
    static constexpr unsigned most_errors = 8; // in one run(): more, and the queue counts as stuck

    struct Waiting {
        bool skipped = false;
        unsigned errors = 0;
    };
    u32 mask() const { return (u32{2} << log2_) - 1; } // index and wrap bit
    Pa entry(u32 index) const { return base_ + (index & (mask() >> 1)) * command_bytes; }
    u32 used(u32 cons) const { return (prod_ - cons) & mask(); }
    bool wait_for_room(u32 most_used, Waiting& waiting);
    bool put(const Command& command, Waiting& waiting);
    void show();

    Port port_{};
    Pa base_{};
    u8 log2_ = 0;
    u32 prod_ = 0; // index and wrap bit
};

} // namespace atl::smmu
