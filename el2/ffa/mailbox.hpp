// SPDX-License-Identifier: Apache-2.0
// What one VM says to another without memory: RX/TX buffers, indirect messages, notifications, and the
// notices that the hypervisor itself sends when a peer dies. Owns each VM's buffer registration and bitmaps,
// not the buffers' pages.
//
// Lock: its own, rank `device`, for all VMs; held for a few dozen instructions, never while guest memory is
// copied. A copy into an RX buffer owns it by the state `filling` instead. Registration changes only while
// the caller also holds the share_ledger lock, so that a page cannot become part of a buffer while it is
// being shared. [DEN0077A v1.1 §7 message passing and RX/TX buffers, §10 notifications, §13, §14, §16]
#pragma once
#include <atomic>

#include "el2/ffa/call.hpp"
#include "el2/ffa/limits.hpp"
#include "el2/ffa/ports.hpp"
#include "lib/spinlock.hpp"

namespace atl::ffa {

/// What the manifest says about a VM, as far as FF-A must know.
struct Endpoint {
    VmId id;           // 1 .. max_vms
    u16 vcpu_count;    // 1 .. max_vcpus_per_vm
    u32 peers;         // bit n: may share and talk with VM n. Takes effect when both sides say so
    Range<Ipa> window; // where borrowed buffers appear; empty: this VM cannot retrieve
};

/// A registered buffer pair: both of page_count pages.
struct Buffers {
    Ipa tx{};
    Ipa rx{};
    u32 page_count = 0; // 0: none registered

    u64 size() const { return u64{page_count} * page_size; }
    bool overlaps(Ipa ipa, u64 bytes) const {
        const Range<Ipa> range{ipa, bytes};
        return Range<Ipa>{tx, size()}.overlaps(range) || Range<Ipa>{rx, size()}.overlaps(range);
    }
};

enum class Notice : u8 { died, restarted };

class Mailboxes {
  public:
    constexpr Mailboxes() : lock_(LockRank::device) {}

    /// Once, before any call. Errors: invalid_argument (id or vCPU count out of range), already_exists.
    Status add(const Endpoint& endpoint);

    bool known(VmId vm) const {
        return vm.value != 0 && vm.value <= max_vms && boxes_[vm.value].vcpu_count != 0;
    }
    bool allowed(VmId a, VmId b) const {
        return known(a) && known(b) && a != b && (boxes_[a.value].peers >> b.value & 1) != 0 &&
               (boxes_[b.value].peers >> a.value & 1) != 0;
    }
    /// Configured and not dead: a VM that has not started yet counts, since peers that look only once must
    /// see it.
    bool present(VmId vm) const { return boxes_[vm.value].present.load(std::memory_order_relaxed); }
    u16 vcpu_count(VmId vm) const { return boxes_[vm.value].vcpu_count; }
    /// True when the caller has negotiated v1.1. Until it has negotiated anything it speaks v1.0 [DEN0077A
    /// §13.2].
    bool speaks_v1_1(VmId vm) const { return boxes_[vm.value].v1_1.load(std::memory_order_relaxed); }
    void set_version(VmId vm, bool v1_1) { boxes_[vm.value].v1_1.store(v1_1, std::memory_order_relaxed); }

    // Buffers. `set_buffers` and `drop_buffers` need the share_ledger lock too.
    Buffers buffers(VmId vm);
    Status set_buffers(const Ports& ports, VmId vm, const Buffers& buffers); // denied: registered already
    Status drop_buffers(VmId vm); // not_found: none registered; busy: a message is being written
    /// begin_rx() would succeed now.
    bool rx_free(VmId vm);
    /// EL2 is about to write the RX buffer: free -> filling. Errors: denied (none registered), busy (not
    /// free).
    Result<Buffers> begin_rx(VmId vm);
    /// filling -> full when something was written, else -> free again.
    void end_rx(const Ports& ports, VmId vm, bool full);

    Result<Reply> rx_release(const Ports& ports, VmId caller, const Call& call);
    Result<Reply> send(const Ports& ports, VmId caller, const Call& call);

    Result<Reply> bitmap_create(VmId caller, const Call& call);
    Result<Reply> bitmap_destroy(VmId caller, const Call& call);
    Result<Reply> bind(VmId caller, const Call& call);
    Result<Reply> unbind(VmId caller, const Call& call);
    Result<Reply> set(const Ports& ports, VmId caller, const Call& call);
    Result<Reply> get(VmId caller, const Call& call);
    Result<Reply> info(VmId caller, bool wide);

    /// Forgets everything that the VM had negotiated or received. It runs no vCPU. `present`: it starts
    /// again.
    void reset(VmId vm, bool present);
    /// Queues a notice; delivers it at once when the RX buffer is free, else at the next RX_RELEASE. Never
    /// lost.
    void notify_peer(const Ports& ports, VmId vm, Notice notice, VmId about);
    /// VMs that may ring `vm` or that `vm` may ring, as bits.
    u32 doorbell_peers(VmId vm);

  private:
    enum class Rx : u8 {
        free,    // EL2 may write; leaves: begin_rx, the VM drops its buffers
        filling, // EL2 writes on some CPU; leaves: end_rx on that CPU
        full,    // the VM reads; leaves: RX_RELEASE, the VM drops its buffers
    };
    struct Box {
        u16 vcpu_count = 0; // 0: no such VM
        u32 peers = 0;
        std::atomic<bool> present{false};
        std::atomic<bool> v1_1{false};
        Rx rx = Rx::free;
        bool rx_full_pending = false; // framework notification
        bool info_reported = false;   // INFO_GET has told about what is pending now
        Buffers buffers{};
        u64 pending = 0;             // notifications set and not yet got
        u64 bound[max_vms + 1] = {}; // by sender: the notifications that it may set
        u32 died = 0;                // notices that wait, a bit for each VM
        u32 restarted = 0;
    };
    struct Route {
        VmId sender;
        VmId receiver;
    };

    Box& box(VmId vm) { return boxes_[vm.value]; }
    static Route route(const Call& call) {
        return {VmId{static_cast<u16>(call.w(1) >> 16)}, VmId{static_cast<u16>(call.w(1))}};
    }
    /// Takes the next waiting notice and the RX buffer for it; false when there is none or it is not free.
    /// Locked.
    bool take_notice(Box& box, Notice& notice, VmId& about);
    void deliver_notices(const Ports& ports, VmId vm);
    void message_arrived(const Ports& ports, VmId vm);
    Status copy_message(const Ports& ports, VmId from, Ipa tx, VmId to, Ipa rx, u64 bytes);

    SpinLock lock_;
    Box boxes_[max_vms + 1]{};
};

} // namespace atl::ffa
