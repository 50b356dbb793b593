// SPDX-License-Identifier: Apache-2.0
// FF-A v1.1 for VMs: the front. Decodes calls, answers discovery itself, hands messages to Mailboxes and
// memory to Shares, and ends what a VM had when it dies. One object for the system; the caller's VM is the
// only thing it trusts. Does not own: conduits and registers (the SMCCC dispatcher), page records, mappings,
// interrupts (ports.hpp).
//
// Locks, in this order: Shares' (rank share_ledger), Mailboxes' (rank device). No call waits for another VM.
// [DEN0077A v1.1], [DEN0140 v1.1]. Direct messages are answered NOT_SUPPORTED, as FFA_FEATURES says.
#pragma once
#include "el2/ffa/mailbox.hpp"
#include "el2/ffa/share.hpp"

namespace atl::ffa {

class Ffa {
  public:
    constexpr Ffa() : shares_(mailboxes_) {}

    /// At boot, on one CPU, before any VM runs. `tables`: all zero, used from now on by this object alone.
    /// `seed`: random and secret; handle values derive from it.
    /// `units`: of work in one call [budget.hpp]; tests take less.
    void init(const Ports& ports, Tables& tables, u64 seed, i32 units = Budget::per_call);
    /// A VM that may run later. Errors: invalid_argument (id, vCPU count or window), already_exists.
    Status add(const Endpoint& endpoint);

    /// True for function identifiers that are answered in the FF-A way; `handle` answers every other one with
    /// the SMCCC's NOT_SUPPORTED, but for Atoll's own two: ATOLL_CALL_UID and ATOLL_MEM_REVOKE.
    static constexpr bool is_ffa(u32 function) {
        const u32 number = function & ~FFA_FN64;
        return number >= 0x8400'0060 && number <= 0x8400'00ef;
    }
    /// Serves one call of `caller`, by HVC or SMC alike, and leaves the answer in `call`. Never fails:
    /// mistakes are FFA_ERROR in the answer. False: long work is not finished, and `call` is as it was; the
    /// caller is to make the same call again, after interrupts and others had their turn.
    [[nodiscard]] bool handle(VmId caller, Call& call);

    /// The VM is about to run its first instruction, after boot or after vm_died.
    void vm_started(VmId vm);
    /// No vCPU of `vm` runs or will run, and its page records and stage-2 table still stand: called before
    /// they are torn down, until it returns true: each call is a step of bounded work. What it borrowed is
    /// unmapped and given back, what was donated to it is scrubbed and freed; what it owned is its own again
    /// and mapped, except pages that others have retrieved when `held` is keep: those leave it
    /// (Ports::retain), as do those that it donated. Peers with sharing or a doorbell in either direction get
    /// a notice.
    [[nodiscard]] bool vm_died(VmId vm, Held held = Held::keep);
    /// The same for a VM that reboots: afterwards it is running, with nothing.
    [[nodiscard]] bool vm_reset(VmId vm, Held held = Held::keep);

    /// For the fault handler: `ipa` lies in a borrowed buffer that its owner took back and `vm` has not yet
    /// relinquished.
    bool is_revoked(VmId vm, Ipa ipa) {
        return shares_.while_revoked(vm, ipa, [] {});
    }
    /// The same, and runs `action` while it stays so: a stand-in page that is mapped here is gone before the
    /// range can hold another buffer. `action` runs under the share_ledger lock. Returns whether it ran.
    template <class Action>
    bool while_revoked(VmId vm, Ipa ipa, Action action) {
        return shares_.while_revoked(vm, ipa, action);
    }

  private:
    Result<Reply> vendor_call(VmId caller, const Call& call);
    Result<Reply> dispatch(VmId caller, const Call& call);
    Result<Reply> version(VmId caller, const Call& call);
    Result<Reply> features(const Call& call);
    Result<Reply> partition_info(VmId caller, const Call& call);
    Result<Reply> rxtx_map(VmId caller, const Call& call);
    Result<Reply> rxtx_unmap(VmId caller, const Call& call);
    bool forget(VmId vm, Held held, Notice notice);

    Ports ports_{};
    Mailboxes mailboxes_;
    Shares shares_;
    u32 doorbell_peers_[max_vms + 1]{}; // of a VM whose end is under way
};

} // namespace atl::ffa
