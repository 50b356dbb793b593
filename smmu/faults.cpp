// SPDX-License-Identifier: Apache-2.0
// Events, global errors, and what the monitor shows: see smmu.hpp. Spec: [IHI0070 §7.2 to §7.5, §4.7.1,
// §12.3].
#include "smmu/smmu.hpp"

namespace atl::smmu {

Drained Smmu::drain(const FaultSink& sink, unsigned limit) {
    constexpr unsigned batch = 16;
    EventQueue::Record records[batch];
    Drained drained;
    // A refused or absent SMMU has no queue; a stopped one may still have records.
    if (state_.load(std::memory_order_acquire) == State::absent) {
        return drained;
    }
    bool full_batch = true;
    while (drained.records < limit && full_batch) {
        const unsigned most = limit - drained.records < batch ? limit - drained.records : batch;
        unsigned count = 0;
        {
            LockGuard guard(event_lock_);
            count = events_.take(records, most);
            drained.overflow = drained.overflow || events_.overflows != overflows_told_;
            overflows_told_ = events_.overflows;
        }
        StaticVector<Command, batch> answers;
        FaultRecord decoded[batch];
        for (unsigned i = 0; i < count; ++i) {
            decoded[i] = decode_event(records[i]);
            if (decoded[i].stalled && features_.can_stall) {
                answers.push_back(cmd_resume_abort(decoded[i].stream, decoded[i].stall_tag));
            }
        }
        if (!answers.empty()) {
            // No stream is set up to stall (S2S = 0), but an access that waits for an answer must get one.
            LockGuard guard(lock_);
            stalls_ += answers.size();
            if (running()) {
                static_cast<void>(run(answers.span(), cmd_sync()));
            }
        }
        for (unsigned i = 0; i < count; ++i) {
            sink.take(sink.context, decoded[i]);
        }
        drained.records += count;
        full_batch = count == most;
    }
    LockGuard guard(event_lock_);
    drained.more = !events_.empty();
    return drained;
}

const char* gerror_sentence(u32 bit) {
    switch (bit) {
    case Gerror::CMDQ_ERR::mask:
        return "it refused a command or could not read it";
    case Gerror::EVENTQ_ABT_ERR::mask:
        return "a write to its event queue was aborted: fault reports are lost";
    case Gerror::PRIQ_ABT_ERR::mask:
        return "a write to its page request queue was aborted";
    case Gerror::MSI_CMDQ_ABT_ERR::mask:
        return "the MSI of a CMD_SYNC was aborted";
    case Gerror::MSI_EVENTQ_ABT_ERR::mask:
        return "the MSI of its event queue was aborted";
    case Gerror::MSI_PRIQ_ABT_ERR::mask:
        return "the MSI of its page request queue was aborted";
    case Gerror::MSI_GERROR_ABT_ERR::mask:
        return "the MSI of a global error was aborted";
    case Gerror::SFM_ERR::mask:
        return "it entered service failure mode: all DMA behind it is aborted";
    case Gerror::CMDQP_ERR::mask:
        return "an enhanced command queue failed, which Atoll does not use";
    case Gerror::DPT_ERR::mask:
        return "a device permission table lookup failed, which Atoll does not use";
    default:
        return "";
    }
}

u32 Smmu::on_gerror() {
    if (state_.load(std::memory_order_acquire) == State::absent) {
        return 0;
    }
    u32 active = 0;
    {
        // The command queue's own recovery toggles GERRORN, too: one at a time.
        LockGuard guard(lock_);
        const u32 acknowledged = port_.read(Reg32::GERRORN);
        active = (port_.read(Reg32::GERROR) ^ acknowledged) & Gerror::all;
        if (active == 0) {
            return 0;
        }
        ++global_errors_;
        port_.observe();
        // Only active errors may be toggled [§6.3.20]. CMDQ_ERR is recover()'s, the event queue's comes
        // below. SFM_ERR stays active, it has no end.
        const u32 later =
            static_cast<u32>(Gerror::CMDQ_ERR::mask | Gerror::EVENTQ_ABT_ERR::mask | Gerror::SFM_ERR::mask);
        if (const u32 now = active & ~later; now != 0) {
            port_.write(Reg32::GERRORN, acknowledged ^ now);
        }
        bool skipped = false;
        static_cast<void>(commands_.recover(skipped));
        if (Gerror::SFM_ERR::test(active) && running()) {
            // It has stopped DMA by itself, and answers no command any more [§12.3].
            stop(Refusal::service_failure);
        }
    }
    if (Gerror::EVENTQ_ABT_ERR::test(active)) {
        {
            LockGuard guard(event_lock_);
            if (events_.discard_after_abort()) {
                active &= ~static_cast<u32>(Gerror::EVENTQ_ABT_ERR::mask); // drain() tells it, as an overflow
            }
        }
        // Then records are written again [§7.2.1].
        LockGuard guard(lock_);
        const u32 acknowledged = port_.read(Reg32::GERRORN);
        const u32 still = (port_.read(Reg32::GERROR) ^ acknowledged) & Gerror::EVENTQ_ABT_ERR::mask;
        if (still != 0) {
            port_.write(Reg32::GERRORN, acknowledged ^ still);
        }
    }
    return active;
}

Counters Smmu::counters() const {
    Counters c;
    c.commands = commands_.issued;
    c.syncs = commands_.syncs;
    c.command_errors = commands_.errors;
    c.restarts = restarts_;
    c.repeated = repeated_;
    c.events = events_.taken;
    c.overflows = events_.overflows;
    c.discarded_events = events_.discarded;
    c.stalls = stalls_;
    c.global_errors = global_errors_;
    c.second_levels = table_.second_levels;
    return c;
}

void Smmu::dump(const TextSink& sink) const {
    const Counters c = counters();
    format_to(sink, "SMMU at {:x}: {}\n", config_.registers.base,
              running() ? "translating" : to_string(refusal()));
    if (state_.load(std::memory_order_acquire) == State::absent) {
        return;
    }
    format_to(sink,
              "  {} stream table, {} bits of StreamID, {} second levels; VMID {} bits; PA {} bits; {}{}\n",
              table_.two_level() ? "two-level" : "linear", table_.log2_streams(), c.second_levels,
              features_.vmid16 ? 16 : 8, features_.pa_bits, features_.coherent ? "coherent" : "not coherent",
              features_.range_invalidate ? ", range invalidation" : "");
    format_to(sink, "  {} commands, {} syncs, {} errors, {} repeated, {} queue restarts\n", c.commands,
              c.syncs, c.command_errors, c.repeated, c.restarts);
    format_to(sink, "  {} events, {} overflows, {} discarded, {} stalls, {} global errors\n", c.events,
              c.overflows, c.discarded_events, c.stalls, c.global_errors);
}

void Smmu::dump(const TextSink& sink, StreamId stream) {
    Ste ste{};
    {
        LockGuard guard(lock_);
        if (state_.load(std::memory_order_acquire) == State::absent) {
            return;
        }
        ste = table_.read(stream);
    }
    format_to(sink, "stream {:x}\n", stream);
    describe(ste, sink);
}

} // namespace atl::smmu
