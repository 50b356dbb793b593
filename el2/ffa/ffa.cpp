// SPDX-License-Identifier: Apache-2.0
// Ffa: dispatch, buffers' registration, life-cycle. See ffa.hpp; discovery is in discovery.cpp.
#include "el2/ffa/ffa.hpp"

#include "lib/panic.hpp"

namespace atl::ffa {

void Ffa::init(const Ports& ports, Tables& tables, u64 seed, i32 units) {
    ports_ = ports;
    shares_.init(tables, seed, units);
}

Status Ffa::add(const Endpoint& endpoint) {
    if (endpoint.id.value == 0 || endpoint.id.value > max_vms) {
        return Error::invalid_argument;
    }
    if (mailboxes_.known(endpoint.id)) {
        return Error::already_exists;
    }
    ATOLL_TRY(shares_.add(endpoint));
    return mailboxes_.add(endpoint);
}

bool Ffa::handle(VmId caller, Call& call) {
    ATOLL_CHECK(mailboxes_.known(caller));
    const auto reply = is_ffa(call.function()) ? dispatch(caller, call) : vendor_call(caller, call);
    if (!reply.ok() && reply.error() == Error::interrupted) {
        return false;
    }
    call = reply.ok() ? *reply : failure(reply.error());
    return true;
}

/// Calls outside FF-A's range keep x4..x7 and what else they do not answer with [DEN0028E §2.6].
Result<Reply> Ffa::vendor_call(VmId caller, const Call& call) {
    Reply reply = call;
    switch (call.function()) {
    case ATOLL_CALL_UID:
        reply.x[0] = ATOLL_UID_0;
        reply.x[1] = ATOLL_UID_1;
        reply.x[2] = ATOLL_UID_2;
        reply.x[3] = ATOLL_UID_3;
        break;
    case ATOLL_MEM_REVOKE: {
        const auto status = shares_.revoke(ports_, caller, call.x[1]);
        if (!status.ok() && status.error() == Error::interrupted) {
            return status.error();
        }
        reply.x[0] = static_cast<u64>(i64{status.ok() ? 0 : status_code(status.error())});
        break;
    }
    default:
        reply.x[0] = ~u64{0}; // NOT_SUPPORTED
        break;
    }
    return reply;
}

Result<Reply> Ffa::dispatch(VmId caller, const Call& call) {
    switch (call.function()) {
    case FFA_NOTIFICATION_SET:
        return mailboxes_.set(ports_, caller, call);
    case FFA_NOTIFICATION_GET:
        return mailboxes_.get(caller, call);
    case FFA_MSG_SEND2:
        return mailboxes_.send(ports_, caller, call);
    case FFA_RX_RELEASE:
        return mailboxes_.rx_release(ports_, caller, call);
    case FFA_MEM_SHARE:
    case FFA_MEM_SHARE64:
        return shares_.send(ports_, caller, call, Kind::share);
    case FFA_MEM_LEND:
    case FFA_MEM_LEND64:
        return shares_.send(ports_, caller, call, Kind::lend);
    case FFA_MEM_DONATE:
    case FFA_MEM_DONATE64:
        return shares_.send(ports_, caller, call, Kind::donate);
    case FFA_MEM_FRAG_TX:
        return shares_.fragment(ports_, caller, call);
    case FFA_MEM_RETRIEVE_REQ:
    case FFA_MEM_RETRIEVE_REQ64:
        return shares_.retrieve(ports_, caller, call);
    case FFA_MEM_RELINQUISH:
        return shares_.relinquish(ports_, caller);
    case FFA_MEM_RECLAIM:
        return shares_.reclaim(ports_, caller, call);
    case FFA_VERSION:
        return version(caller, call);
    case FFA_FEATURES:
        return features(call);
    case FFA_ID_GET: // [DEN0077A §13.10]
        return success(caller.value);
    case FFA_PARTITION_INFO_GET:
        return partition_info(caller, call);
    case FFA_RXTX_MAP:
    case FFA_RXTX_MAP64:
        return rxtx_map(caller, call);
    case FFA_RXTX_UNMAP:
        return rxtx_unmap(caller, call);
    case FFA_NOTIFICATION_BITMAP_CREATE:
        return mailboxes_.bitmap_create(caller, call);
    case FFA_NOTIFICATION_BITMAP_DESTROY:
        return mailboxes_.bitmap_destroy(caller, call);
    case FFA_NOTIFICATION_BIND:
        return mailboxes_.bind(caller, call);
    case FFA_NOTIFICATION_UNBIND:
        return mailboxes_.unbind(caller, call);
    case FFA_NOTIFICATION_INFO_GET:
    case FFA_NOTIFICATION_INFO_GET64:
        return mailboxes_.info(caller, call.function() == FFA_NOTIFICATION_INFO_GET64);
    default:
        return Error::not_supported;
    }
}

/// FFA_RXTX_MAP [DEN0077A §13.4]: x1 TX, x2 RX, w3 pages of each. Both are the caller's own and nobody
/// else's.
Result<Reply> Ffa::rxtx_map(VmId caller, const Call& call) {
    const bool wide = call.function() == FFA_RXTX_MAP64;
    const Buffers wanted{Ipa{wide ? call.x[1] : call.w(1)}, Ipa{wide ? call.x[2] : call.w(2)}, call.w(3)};
    if (wanted.page_count == 0 || wanted.page_count > max_mailbox_pages) {
        return Error::invalid_argument;
    }
    for (const Ipa ipa : {wanted.tx, wanted.rx}) {
        if (!ipa.is_aligned(page_size) || ipa.value >= ipa_limit || wanted.size() > ipa_limit - ipa.value) {
            return Error::invalid_argument;
        }
    }
    if (Range<Ipa>{wanted.tx, wanted.size()}.overlaps({wanted.rx, wanted.size()})) {
        return Error::invalid_argument;
    }
    LockGuard guard(shares_.lock());
    if (mailboxes_.buffers(caller).page_count != 0) {
        return Error::denied;
    }
    if (!ports_.check_owned(ports_.context, caller, wanted.tx, wanted.page_count).ok() ||
        !ports_.check_owned(ports_.context, caller, wanted.rx, wanted.page_count).ok()) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(mailboxes_.set_buffers(ports_, caller, wanted));
    return success();
}

/// FFA_RXTX_UNMAP [DEN0077A §13.5]. An unfinished fragmented transfer ends with its TX buffer.
Result<Reply> Ffa::rxtx_unmap(VmId caller, const Call& call) {
    const u32 id = call.w(1) >> 16;
    if ((id != 0 && id != caller.value) || (call.w(1) & 0xffff) != 0) {
        return Error::invalid_argument;
    }
    LockGuard guard(shares_.lock());
    if (mailboxes_.buffers(caller).page_count == 0) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(shares_.abort_transfer(ports_, caller));
    ATOLL_TRY(mailboxes_.drop_buffers(caller));
    return success();
}

void Ffa::vm_started(VmId vm) {
    ATOLL_CHECK(mailboxes_.known(vm));
    mailboxes_.reset(vm, true);
}

/// Buffers first, so that nobody writes into memory that is about to change hands.
bool Ffa::forget(VmId vm, Held held, Notice notice) {
    ATOLL_CHECK(mailboxes_.known(vm));
    if (!shares_.forgetting(vm)) {
        doorbell_peers_[vm.value] = mailboxes_.doorbell_peers(vm);
        LockGuard guard(shares_.lock());
        mailboxes_.reset(vm, notice == Notice::restarted);
    }
    u32 others = 0;
    if (!shares_.forget(ports_, vm, held, others)) {
        return false;
    }
    others |= doorbell_peers_[vm.value];
    for (u16 other = 1; other <= max_vms; ++other) {
        if ((others >> other & 1) != 0 && mailboxes_.present(VmId{other})) {
            mailboxes_.notify_peer(ports_, VmId{other}, notice, vm);
        }
    }
    return true;
}

bool Ffa::vm_died(VmId vm, Held held) {
    return forget(vm, held, Notice::died);
}

bool Ffa::vm_reset(VmId vm, Held held) {
    return forget(vm, held, Notice::restarted);
}

} // namespace atl::ffa
