// SPDX-License-Identifier: Apache-2.0
// Streams and invalidation on a running SMMU: see smmu.hpp. Spec: [IHI0070 §3.21, §4.3, §4.4, §4.7.3, §7.1].
#include "smmu/smmu.hpp"

#include "lib/log.hpp"
#include "lib/panic.hpp"

namespace atl::smmu {

/// The queue anew after it came to no end. What was consumed but not completed by a SYNC counts as not done.
bool Smmu::restart_queue() {
    ++restarts_;
    const u32 with = cr0_;
    if (!change_cr0(with & ~static_cast<u32>(Cr0::CMDQEN::mask))) {
        return false;
    }
    bool skipped = false;
    static_cast<void>(commands_.recover(skipped));
    commands_.reset();
    return change_cr0(with);
}

/// Runs `commands` and a SYNC. What the SMMU refuses or does not finish is asked for once more, then in its
/// widest form; a page must never move on while a device may still use it. False: all DMA has been stopped
/// instead.
bool Smmu::run(std::span<const Command> commands, const Command& widest) {
    const std::span<const Command> ladder[] = {commands, commands, std::span<const Command>(&widest, 1)};
    for (unsigned rung = 0; rung < 3; ++rung) {
        repeated_ += rung == 0 ? 0 : 1;
        const CommandQueue::Outcome outcome = commands_.run(ladder[rung]);
        if (outcome == CommandQueue::Outcome::complete) {
            return true;
        }
        if (outcome == CommandQueue::Outcome::stuck && !restart_queue()) {
            break;
        }
    }
    stop(Refusal::invalidation_failed);
    return false;
}

/// The last resort: GBPA.ABORT has been set since init(), so that SMMUEN = 0 aborts every new access
/// [§6.3.9.6]. In service failure mode the SMMU aborts them whether it still obeys or not [§12.3].
void Smmu::stop(Refusal why) {
    state_.store(State::stopped, std::memory_order_release);
    refusal_.store(why, std::memory_order_relaxed);
    log::error("SMMU at {:x}: {}", config_.registers.base, to_string(why));
    const u32 rest = cr0_ & static_cast<u32>(Cr0::EVENTQEN::mask | Cr0::ATSCHK::mask);
    const bool aborts_by_itself =
        Gerror::SFM_ERR::test(port_.read(Reg32::GERROR) ^ port_.read(Reg32::GERRORN));
    if (!change_cr0(rest) && !aborts_by_itself) {
        ATOLL_PANIC("an SMMU neither invalidates nor stops: devices could write to pages that change hands");
    }
}

bool Smmu::sync_config(void* self, StreamId stream, bool leaf) {
    const Command invalidate = cmd_cfgi_ste(stream, leaf);
    return static_cast<Smmu*>(self)->run(std::span<const Command>(&invalidate, 1), cmd_cfgi_all());
}

bool Smmu::drop_vmid(Vmid vmid) {
    const Command invalidate = cmd_tlbi_vmall(vmid);
    return run(std::span<const Command>(&invalidate, 1), cmd_tlbi_nsnh_all());
}

Status Smmu::place(StreamId stream, const Stage2& stage2, bool replace) {
    LockGuard guard(lock_);
    if (!running()) {
        return Error::denied;
    }
    const Result<Ste> next = encode(stage2, features_);
    if (!next) {
        return next.error();
    }
    const ConfigSync sync{this, &sync_config};
    const Ste old = table_.read(stream);
    if (passes(old[0]) != replace) {
        return replace ? Error::not_found : Error::already_exists;
    }
    ATOLL_TRY(table_.prepare(stream, sync));
    // What may have been cached under this VMID before is gone before its first use; fields of the entry may
    // be cached with translations, under the old VMID too [§5.2.1].
    if (!drop_vmid(stage2.vmid) || !table_.write(stream, *next, sync) ||
        (replace && !drop_vmid({static_cast<u16>(Ste2::S2VMID::get(old[2]))}))) {
        return Error::denied;
    }
    return {};
}

Status Smmu::attach(StreamId stream, const Stage2& stage2) {
    return place(stream, stage2, false);
}

Status Smmu::reassign(StreamId stream, const Stage2& stage2) {
    return place(stream, stage2, true);
}

/// CMD_SYNC after CMD_CFGI_STE: accesses that used the old entry are globally observable [§3.21.3, §4.7.3].
/// Then what they have cached.
void Smmu::detach(StreamId stream) {
    LockGuard guard(lock_);
    if (!running()) {
        return;
    }
    const Ste old = table_.read(stream);
    if (!passes(old[0])) {
        return;
    }
    if (table_.write(stream, invalid_ste, ConfigSync{this, &sync_config})) {
        static_cast<void>(drop_vmid({static_cast<u16>(Ste2::S2VMID::get(old[2]))}));
    }
}

void Smmu::silence(StreamId stream) {
    LockGuard guard(lock_);
    if (running() && table_.reaches(stream) && !passes(table_.read(stream)[0])) {
        static_cast<void>(table_.write(stream, abort_ste, ConfigSync{this, &sync_config}));
    }
}

void Smmu::invalidate(const Invalidation& what) {
    if (what.bytes == 0 && !what.whole_vm) {
        return;
    }
    const u64 first = what.base.align_down(what.stride).value;
    const u64 end = what.base.value + what.bytes;
    const u64 leaves = (end - first + what.stride - 1) / what.stride;
    StaticVector<Command, most_by_ipa> batch;
    if (what.whole_vm || (!features_.range_invalidate && leaves > most_by_ipa)) {
        batch.push_back(cmd_tlbi_vmall(what.vmid));
    } else if (leaves == 1 || !features_.range_invalidate) {
        for (u64 i = 0; i < leaves; ++i) {
            batch.push_back(cmd_tlbi_ipa(what.vmid, {first + i * what.stride}));
        }
    } else {
        // One command: (num + 1) << scale pages, rounded up, which only drops more than it must.
        const u64 pages = (end - first + page_size - 1) / page_size;
        u64 scale = 0;
        while (((pages + (u64{1} << scale) - 1) >> scale) > Cmd0::NUM::max + 1) {
            ++scale;
        }
        const u64 num = ((pages + (u64{1} << scale) - 1) >> scale) - 1;
        batch.push_back(cmd_tlbi_ipa_range(what.vmid, {first}, num, scale));
    }
    LockGuard guard(lock_);
    if (running()) {
        static_cast<void>(run(batch.span(), cmd_tlbi_nsnh_all()));
    }
}

void Smmu::invalidate_all() {
    const Command all = cmd_tlbi_nsnh_all();
    LockGuard guard(lock_);
    if (running()) {
        static_cast<void>(run(std::span<const Command>(&all, 1), all));
    }
}

} // namespace atl::smmu
