// SPDX-License-Identifier: Apache-2.0
// Command submission and error recovery: see command_queue.hpp.
#include "smmu/command_queue.hpp"

namespace atl::smmu {

void CommandQueue::set_up(const Port& port, Pa base, unsigned log2) {
    port_ = port;
    base_ = base;
    log2_ = static_cast<u8>(log2);
    port_.write(Reg64::CMDQ_BASE, QueueBase::hint::mask | base.value | QueueBase::LOG2SIZE::of(log2));
    reset();
}

void CommandQueue::reset() {
    prod_ = 0;
    port_.write(Reg32::CMDQ_PROD, 0);
    port_.write(Reg32::CMDQ_CONS, 0);
}

/// Publishes what put() wrote [§3.21.2 steps 3 and 4].
void CommandQueue::show() {
    port_.publish();
    port_.write(Reg32::CMDQ_PROD, prod_);
}

/// Waits until at most `most_used` commands are not consumed. Index and wrap bit are compared together: equal
/// is empty, equal but for the wrap bit is full [§3.5.1].
bool CommandQueue::wait_for_room(u32 most_used, Waiting& waiting) {
    for (unsigned i = 0; i < Port::tries; ++i) {
        const u32 cons = port_.read(Reg32::CMDQ_CONS) & mask();
        if (used(cons) <= most_used) {
            port_.observe(); // consumed, before its slot is written again or its effect relied on
            return true;
        }
        // While waiting for CONS, the error must be looked at, too, or the wait has no end [§7.1].
        if (recover(waiting.skipped)) {
            if (++waiting.errors > most_errors) {
                return false;
            }
            i = 0; // it goes on; bounded by most_errors
            continue;
        }
        Port::relax();
    }
    return false;
}

bool CommandQueue::put(const Command& command, Waiting& waiting) {
    const u32 full = static_cast<u32>(entries());
    if (used(port_.read(Reg32::CMDQ_CONS) & mask()) >= full) {
        show();
        if (!wait_for_room(full - 1, waiting)) {
            return false;
        }
    }
    const Pa at = entry(prod_);
    port_.store(at, command.word[0]);
    port_.store(at + 8, command.word[1]);
    prod_ = (prod_ + 1) & mask();
    ++issued;
    return true;
}

CommandQueue::Outcome CommandQueue::run(std::span<const Command> commands) {
    Waiting waiting;
    for (const Command& command : commands) {
        if (!put(command, waiting)) {
            return Outcome::stuck;
        }
    }
    if (!put(cmd_sync(), waiting)) {
        return Outcome::stuck;
    }
    show();
    ++syncs;
    // The last command is the SYNC: an empty queue means that it is complete [§4.8].
    if (!wait_for_room(0, waiting)) {
        return Outcome::stuck;
    }
    return waiting.skipped ? Outcome::skipped : Outcome::complete;
}

bool CommandQueue::recover(bool& skipped) {
    const u32 acknowledged = port_.read(Reg32::GERRORN);
    if (!Gerror::CMDQ_ERR::test(port_.read(Reg32::GERROR) ^ acknowledged)) {
        return false;
    }
    ++errors;
    // CONS stays at the bad command; its error code is visible before the error is [§7.1].
    port_.observe();
    const u32 cons = port_.read(Reg32::CMDQ_CONS);
    const Pa at = entry(cons & mask());
    const u64 code = CmdqCons::ERR::get(cons);
    if (code != cerror_abt && code != cerror_atc_inv_sync && op_of(port_.load(at)) != Op::SYNC) {
        // Illegal, and would be again: a SYNC in its place lets the queue go on.
        skipped = true;
        port_.store(at, cmd_sync().word[0]);
        port_.store(at + 8, cmd_sync().word[1]);
    }
    // Otherwise an abort of the fetch, which is tried again. Both are fetched anew once the error is
    // acknowledged.
    port_.publish();
    port_.write(Reg32::GERRORN, acknowledged ^ static_cast<u32>(Gerror::CMDQ_ERR::mask));
    return true;
}

} // namespace atl::smmu
