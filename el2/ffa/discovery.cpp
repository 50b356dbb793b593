// SPDX-License-Identifier: Apache-2.0
// Ffa: what a VM can ask about the framework and its peers. See ffa.hpp. [DEN0077A v1.1 §13.2, §13.3, §13.8]
#include <algorithm>

#include "el2/ffa/ffa.hpp"

namespace atl::ffa {

namespace {

/// Every function that dispatch() serves, and those that are answers only. Not FFA_MEM_FRAG_RX: it is an answer here,
/// but would be a call, too, if an answer of MEM_RETRIEVE_REQ were ever longer than a buffer.
constexpr u32 implemented[] = {
    FFA_ERROR,
    FFA_SUCCESS,
    FFA_SUCCESS64,
    FFA_VERSION,
    FFA_FEATURES,
    FFA_RX_RELEASE,
    FFA_RXTX_MAP,
    FFA_RXTX_MAP64,
    FFA_RXTX_UNMAP,
    FFA_PARTITION_INFO_GET,
    FFA_ID_GET,
    FFA_MEM_SHARE,
    FFA_MEM_SHARE64,
    FFA_MEM_LEND,
    FFA_MEM_LEND64,
    FFA_MEM_DONATE,
    FFA_MEM_DONATE64,
    FFA_MEM_RETRIEVE_REQ,
    FFA_MEM_RETRIEVE_REQ64,
    FFA_MEM_RETRIEVE_RESP,
    FFA_MEM_RELINQUISH,
    FFA_MEM_RECLAIM,
    FFA_MEM_FRAG_TX,
    FFA_NOTIFICATION_BITMAP_CREATE,
    FFA_NOTIFICATION_BITMAP_DESTROY,
    FFA_NOTIFICATION_BIND,
    FFA_NOTIFICATION_UNBIND,
    FFA_NOTIFICATION_SET,
    FFA_NOTIFICATION_GET,
    FFA_NOTIFICATION_INFO_GET,
    FFA_NOTIFICATION_INFO_GET64,
    FFA_MSG_SEND2,
};

constexpr std::size_t descriptor_size_v1_0 = 8;

} // namespace

/// FFA_VERSION: answers with what EL2 has, and from then on speaks what the caller asked for. A caller of
/// another major version, or one with registered buffers that would change its mind, is refused.
Result<Reply> Ffa::version(VmId caller, const Call& call) {
    const u32 wanted = call.w(1);
    const u32 major = wanted >> 16;
    const Reply refused{{static_cast<u32>(FFA_NOT_SUPPORTED), 0, 0, 0, 0, 0, 0, 0}};
    if (major != FFA_VERSION_1_1 >> 16) { // bit 31 is part of what is compared: it must be clear
        return refused;
    }
    const bool v1_1 = (wanted & 0xffff) >= (FFA_VERSION_1_1 & 0xffff);
    if (v1_1 != mailboxes_.speaks_v1_1(caller) && mailboxes_.buffers(caller).page_count != 0) {
        return refused;
    }
    mailboxes_.set_version(caller, v1_1);
    return Reply{{FFA_VERSION_1_1, 0, 0, 0, 0, 0, 0, 0}};
}

/// FFA_FEATURES: of a function, w2 and w3 zero: smallest buffer 4 KiB, no dynamically allocated buffers, a
/// handle is retrieved once by each borrower. Of the notification pending interrupt, its INTID.
Result<Reply> Ffa::features(const Call& call) {
    const u32 what = call.w(1);
    if (what == FFA_FEATURE_NPI) {
        return success(notification_intid);
    }
    if (std::find(std::begin(implemented), std::end(implemented), what) != std::end(implemented)) {
        return success();
    }
    return Error::not_supported;
}

/// FFA_PARTITION_INFO_GET: the caller and the peers that the manifest lets it see, unless they died. All of
/// them have the nil UUID.
Result<Reply> Ffa::partition_info(VmId caller, const Call& call) {
    const bool v1_1 = mailboxes_.speaks_v1_1(caller);
    if ((call.w(1) | call.w(2) | call.w(3) | call.w(4)) != 0) {
        return Error::invalid_argument; // nobody has that UUID
    }
    if (v1_1 && (call.w(5) & ~FFA_PARTITION_INFO_COUNT_ONLY) != 0) {
        return Error::invalid_argument;
    }
    const u32 size = v1_1 ? sizeof(ffa_partition_info) : descriptor_size_v1_0;
    std::byte list[max_vms * sizeof(ffa_partition_info)];
    u32 count = 0;
    for (u16 id = 1; id <= max_vms; ++id) {
        const VmId vm{id};
        if (vm != caller && (!mailboxes_.allowed(caller, vm) || !mailboxes_.present(vm))) {
            continue;
        }
        u32 properties = FFA_PARTITION_INDIRECT_MESSAGES;
        properties |= v1_1 ? FFA_PARTITION_NOTIFICATIONS | FFA_PARTITION_AARCH64 : 0;
        const ffa_partition_info info{id, mailboxes_.vcpu_count(vm), properties, {}};
        const auto* const bytes = static_cast<const std::byte*>(static_cast<const void*>(&info));
        std::copy(bytes, bytes + size, list + u64{count} * size);
        ++count;
    }
    const Reply reply = success(count, v1_1 ? size : 0);
    if (v1_1 && (call.w(5) & FFA_PARTITION_INFO_COUNT_ONLY) != 0) {
        return Reply{{FFA_SUCCESS, 0, count, 0, 0, 0, 0, 0}};
    }
    const auto rx = mailboxes_.begin_rx(caller);
    if (!rx.ok()) {
        return rx.error();
    }
    const Status written = ports_.write_guest(ports_.context, caller, rx->rx,
                                              std::span<const std::byte>(list, u64{count} * size));
    mailboxes_.end_rx(ports_, caller, written.ok());
    return written.ok() ? Result<Reply>(reply) : Result<Reply>(written.error());
}

} // namespace atl::ffa
