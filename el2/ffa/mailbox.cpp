// SPDX-License-Identifier: Apache-2.0
// Mailboxes: buffers, indirect messages and notices. See mailbox.hpp; notifications are in notification.cpp.
#include "el2/ffa/mailbox.hpp"

#include <algorithm>

namespace atl::ffa {

namespace {

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span<const T, 1>(&value, 1));
}
template <class T>
std::span<std::byte> writable_bytes_of(T& value) {
    return std::as_writable_bytes(std::span<T, 1>(&value, 1));
}

} // namespace

Status Mailboxes::add(const Endpoint& endpoint) {
    if (endpoint.id.value == 0 || endpoint.id.value > max_vms || endpoint.vcpu_count == 0 ||
        endpoint.vcpu_count > max_vcpus_per_vm) {
        return Error::invalid_argument;
    }
    Box& b = box(endpoint.id);
    if (b.vcpu_count != 0) {
        return Error::already_exists;
    }
    b.vcpu_count = endpoint.vcpu_count;
    b.peers = endpoint.peers;
    b.present.store(true, std::memory_order_relaxed);
    return {};
}

Buffers Mailboxes::buffers(VmId vm) {
    LockGuard guard(lock_);
    return box(vm).buffers;
}

Status Mailboxes::set_buffers(const Ports& ports, VmId vm, const Buffers& buffers) {
    {
        LockGuard guard(lock_);
        Box& b = box(vm);
        if (b.buffers.page_count != 0) {
            return Error::denied;
        }
        b.buffers = buffers;
        b.rx = Rx::free;
    }
    deliver_notices(ports, vm);
    return {};
}

Status Mailboxes::drop_buffers(VmId vm) {
    LockGuard guard(lock_);
    Box& b = box(vm);
    if (b.buffers.page_count == 0) {
        return Error::not_found;
    }
    if (b.rx == Rx::filling) {
        return Error::busy;
    }
    b.buffers = Buffers{};
    b.rx = Rx::free;
    b.rx_full_pending = false;
    return {};
}

bool Mailboxes::rx_free(VmId vm) {
    LockGuard guard(lock_);
    return box(vm).buffers.page_count != 0 && box(vm).rx == Rx::free;
}

Result<Buffers> Mailboxes::begin_rx(VmId vm) {
    LockGuard guard(lock_);
    Box& b = box(vm);
    if (b.buffers.page_count == 0) {
        return Error::denied;
    }
    if (b.rx != Rx::free) {
        return Error::busy;
    }
    b.rx = Rx::filling;
    return b.buffers;
}

void Mailboxes::end_rx(const Ports& ports, VmId vm, bool full) {
    {
        LockGuard guard(lock_);
        box(vm).rx = full ? Rx::full : Rx::free;
    }
    if (!full) {
        deliver_notices(ports, vm);
    }
}

/// filling -> full, and the receiver is told [DEN0077A §10.8.1 RX buffer full notification].
void Mailboxes::message_arrived(const Ports& ports, VmId vm) {
    {
        LockGuard guard(lock_);
        Box& b = box(vm);
        b.rx = Rx::full;
        b.rx_full_pending = true;
        b.info_reported = false;
    }
    ports.raise_notification(ports.context, vm);
}

/// [DEN0077A §13.6]
Result<Reply> Mailboxes::rx_release(const Ports& ports, VmId caller, const Call& call) {
    const u32 id = call.w(1);
    if (id != 0 && id != caller.value) { // must be zero from a VM; its own id does no harm
        return Error::invalid_argument;
    }
    {
        LockGuard guard(lock_);
        Box& b = box(caller);
        if (b.buffers.page_count == 0 || b.rx != Rx::full) {
            return Error::denied;
        }
        b.rx = Rx::free;
        b.rx_full_pending = false; // whoever got here has seen the message
    }
    deliver_notices(ports, caller);
    return success();
}

Status Mailboxes::copy_message(const Ports& ports, VmId from, Ipa tx, VmId to, Ipa rx, u64 bytes) {
    std::byte chunk[512];
    for (u64 done = 0; done < bytes;) {
        const std::span<std::byte> part(chunk, std::min<u64>(sizeof(chunk), bytes - done));
        ATOLL_TRY(ports.read_guest(ports.context, from, tx + done, part));
        ATOLL_TRY(ports.write_guest(ports.context, to, rx + done, part));
        done += part.size();
    }
    return {};
}

/// FFA_MSG_SEND2 [DEN0077A §15.1]. The header is read once, checked, and written from EL2's copy.
Result<Reply> Mailboxes::send(const Ports& ports, VmId caller, const Call& call) {
    const u32 claimed = call.w(1) >> 16;
    if ((claimed != 0 && claimed != caller.value) || (call.w(1) & 0xffff) != 0 || (call.w(2) & ~0x2u) != 0) {
        return Error::invalid_argument;
    }
    const Buffers from = buffers(caller);
    if (from.page_count == 0) {
        return Error::denied;
    }
    ffa_msg_header header;
    ATOLL_TRY(ports.read_guest(ports.context, caller, from.tx, writable_bytes_of(header)));
    const VmId receiver{static_cast<u16>(header.ids)};
    const u64 total = u64{header.offset} + header.size;
    if (header.flags != 0 || header.reserved != 0 || header.ids >> 16 != caller.value || !known(receiver) ||
        receiver == caller || header.offset < sizeof(header) || header.size == 0 || total > from.size()) {
        return Error::invalid_argument;
    }
    if (!allowed(caller, receiver) || !present(receiver)) {
        return Error::denied;
    }
    const auto to = begin_rx(receiver);
    if (!to.ok()) {
        return to.error();
    }
    Status status = Error::no_memory; // the receiver's buffer is too small for this message
    if (total <= to->size()) {
        status = ports.write_guest(ports.context, receiver, to->rx, bytes_of(header));
        if (status.ok()) {
            status = copy_message(ports, caller, from.tx + sizeof(header), receiver, to->rx + sizeof(header),
                                  total - sizeof(header));
        }
    }
    if (!status.ok()) {
        end_rx(ports, receiver, false);
        return status.error();
    }
    message_arrived(ports, receiver);
    return success();
}

bool Mailboxes::take_notice(Box& b, Notice& notice, VmId& about) {
    if ((b.died | b.restarted) == 0 || b.buffers.page_count == 0 || b.rx != Rx::free) {
        return false;
    }
    // A peer that died and came back: first the one, then the other.
    u32& from = b.died != 0 ? b.died : b.restarted;
    notice = b.died != 0 ? Notice::died : Notice::restarted;
    about = VmId{static_cast<u16>(__builtin_ctz(from))};
    from &= from - 1;
    b.rx = Rx::filling;
    return true;
}

void Mailboxes::deliver_notices(const Ports& ports, VmId vm) {
    Notice notice{};
    VmId about{};
    Ipa rx{};
    {
        LockGuard guard(lock_);
        Box& b = box(vm);
        if (!take_notice(b, notice, about)) {
            return;
        }
        rx = b.buffers.rx;
    }
    struct {
        ffa_msg_header header;
        atoll_peer_notice notice;
    } message{};
    static_assert(sizeof(message) == sizeof(ffa_msg_header) + sizeof(atoll_peer_notice));
    message.header.offset = sizeof(ffa_msg_header);
    message.header.ids = vm.value; // sender 0 is the hypervisor
    message.header.size = sizeof(atoll_peer_notice);
    message.notice.type = notice == Notice::died ? ATOLL_NOTICE_PEER_DIED : ATOLL_NOTICE_PEER_RESTARTED;
    message.notice.vm_id = about.value;
    if (ports.write_guest(ports.context, vm, rx, bytes_of(message)).ok()) {
        message_arrived(ports, vm);
        return;
    }
    // The VM itself made its buffer unwritable: the notice waits for the next chance.
    LockGuard guard(lock_);
    Box& b = box(vm);
    (notice == Notice::died ? b.died : b.restarted) |= 1u << about.value;
    b.rx = Rx::free;
}

void Mailboxes::notify_peer(const Ports& ports, VmId vm, Notice notice, VmId about) {
    {
        LockGuard guard(lock_);
        Box& b = box(vm);
        const u32 bit = 1u << about.value;
        if (notice == Notice::died) {
            b.died |= bit;
            b.restarted &= ~bit; // an older comeback is no longer true
        } else {
            b.restarted |= bit;
        }
    }
    deliver_notices(ports, vm);
}

void Mailboxes::reset(VmId vm, bool present) {
    for (;;) {
        LockGuard guard(lock_);
        Box& b = box(vm);
        if (b.rx == Rx::filling) { // another CPU is copying a message; it never waits for us
            continue;
        }
        b.present.store(present, std::memory_order_relaxed);
        b.v1_1.store(false, std::memory_order_relaxed);
        b.rx = Rx::free;
        b.rx_full_pending = false;
        b.info_reported = false;
        b.buffers = Buffers{};
        b.pending = 0;
        std::fill(std::begin(b.bound), std::end(b.bound), u64{0});
        b.died = 0;
        b.restarted = 0;
        return;
    }
}

} // namespace atl::ffa
