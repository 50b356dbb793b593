// SPDX-License-Identifier: Apache-2.0
// Mailboxes: notifications, the doorbells between VMs. Global notifications only; each VM has its bitmap from
// the start. See mailbox.hpp for the lock. [DEN0077A v1.1 §10, §16]
#include "el2/ffa/mailbox.hpp"

namespace atl::ffa {

namespace {

constexpr u32 delay_schedule_receiver = 0x2; // SET: concerns a scheduler elsewhere, nothing to delay here

} // namespace

/// FFA_NOTIFICATION_BITMAP_CREATE [DEN0077A §16.1]: nothing is left to create, a VM may ask for its own.
Result<Reply> Mailboxes::bitmap_create(VmId caller, const Call& call) {
    if (call.w(1) != caller.value || call.w(2) == 0 || call.w(2) > vcpu_count(caller)) {
        return Error::invalid_argument;
    }
    return success();
}

/// FFA_NOTIFICATION_BITMAP_DESTROY [DEN0077A §16.2]: every binding of the caller's bitmap goes.
Result<Reply> Mailboxes::bitmap_destroy(VmId caller, const Call& call) {
    if (call.w(1) != caller.value) {
        return Error::invalid_argument;
    }
    LockGuard guard(lock_);
    Box& b = box(caller);
    if (b.pending != 0) {
        return Error::denied;
    }
    for (u64& bits : b.bound) {
        bits = 0;
    }
    return success();
}

/// FFA_NOTIFICATION_BIND [DEN0077A §16.3].
Result<Reply> Mailboxes::bind(VmId caller, const Call& call) {
    const Route r = route(call);
    const u64 bits = call.pair(3);
    if (r.receiver != caller || r.sender == caller || !known(r.sender) || call.w(2) != 0 || bits == 0) {
        return Error::invalid_argument;
    }
    if (!allowed(caller, r.sender)) {
        return Error::denied;
    }
    LockGuard guard(lock_);
    Box& b = box(caller);
    u64 taken = b.pending;
    for (u32 i = 0; i <= max_vms; ++i) {
        taken |= i == r.sender.value ? 0 : b.bound[i];
    }
    if ((taken & bits) != 0) {
        return Error::denied;
    }
    b.bound[r.sender.value] |= bits;
    return success();
}

/// FFA_NOTIFICATION_UNBIND [DEN0077A §16.4].
Result<Reply> Mailboxes::unbind(VmId caller, const Call& call) {
    const Route r = route(call);
    const u64 bits = call.pair(3);
    if (r.receiver != caller || !known(r.sender) || call.w(2) != 0 || bits == 0) {
        return Error::invalid_argument;
    }
    LockGuard guard(lock_);
    Box& b = box(caller);
    u64& bound = b.bound[r.sender.value];
    if ((bits & ~bound) != 0 || (b.pending & bits) != 0) {
        return Error::denied;
    }
    bound &= ~bits;
    return success();
}

/// FFA_NOTIFICATION_SET [DEN0077A §16.5]: the doorbell, the hot path of this file.
Result<Reply> Mailboxes::set(const Ports& ports, VmId caller, const Call& call) {
    const Route r = route(call);
    const u64 bits = call.pair(3);
    if (r.sender != caller || !known(r.receiver) || (call.w(2) & ~delay_schedule_receiver) != 0 ||
        bits == 0) {
        return Error::invalid_argument; // the per-vCPU flag (bit 0) and a vCPU id are among what is refused
    }
    {
        LockGuard guard(lock_);
        Box& b = box(r.receiver);
        if ((bits & ~b.bound[caller.value]) != 0) {
            return Error::denied;
        }
        if ((bits & ~b.pending) == 0) {
            return success(); // already rung, and its interrupt is on the way
        }
        b.pending |= bits;
        b.info_reported = false;
    }
    ports.raise_notification(ports.context, r.receiver);
    return success();
}

/// FFA_NOTIFICATION_GET [DEN0077A §16.6]: w2/w3 from SPs, w4/w5 from VMs, w6 from the SPM, w7 from the
/// hypervisor.
Result<Reply> Mailboxes::get(VmId caller, const Call& call) {
    const u32 vcpu = call.w(1) >> 16;
    const u32 flags = call.w(2);
    const u32 all = FFA_NOTIFICATION_FROM_SP | FFA_NOTIFICATION_FROM_VM | FFA_NOTIFICATION_FROM_SPM |
                    FFA_NOTIFICATION_FROM_HYPERVISOR;
    if ((call.w(1) & 0xffff) != caller.value || vcpu >= vcpu_count(caller) || flags == 0 ||
        (flags & ~all) != 0) {
        return Error::invalid_argument;
    }
    Reply reply = success();
    LockGuard guard(lock_);
    Box& b = box(caller);
    if ((flags & FFA_NOTIFICATION_FROM_VM) != 0) {
        reply.x[4] = static_cast<u32>(b.pending);
        reply.x[5] = b.pending >> 32;
        b.pending = 0;
    }
    if ((flags & FFA_NOTIFICATION_FROM_HYPERVISOR) != 0) {
        reply.x[7] = b.rx_full_pending ? FFA_NOTIFICATION_RX_FULL : 0;
        b.rx_full_pending = false;
    }
    return reply;
}

/// FFA_NOTIFICATION_INFO_GET [DEN0077A §16.7]: a VM schedules nobody but itself, so the list is itself or
/// empty. w2: bit 0 more to come, bits 11:7 number of lists, from bit 12 the vCPU count of each; from w3 on
/// the ids.
Result<Reply> Mailboxes::info(VmId caller, bool wide) {
    LockGuard guard(lock_);
    Box& b = box(caller);
    if ((b.pending == 0 && !b.rx_full_pending) || b.info_reported) {
        return Reply{{FFA_ERROR, 0, static_cast<u32>(FFA_NO_DATA), 0, 0, 0, 0, 0}};
    }
    b.info_reported = true;
    Reply reply = success(1u << 7, caller.value);
    reply.x[0] = wide ? FFA_SUCCESS64 : FFA_SUCCESS;
    return reply;
}

u32 Mailboxes::doorbell_peers(VmId vm) {
    LockGuard guard(lock_);
    u32 peers = 0;
    for (u32 i = 1; i <= max_vms; ++i) {
        peers |= (boxes_[i].bound[vm.value] | box(vm).bound[i]) != 0 ? 1u << i : 0;
    }
    return peers;
}

} // namespace atl::ffa
