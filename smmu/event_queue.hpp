// SPDX-License-Identifier: Apache-2.0
// The event queue of one SMMU: hands out records in order, acknowledges overflow. Owns EVENTQ_CONS. Does not
// own their meaning (event.cpp). Lock: the Smmu's event lock. Spec: [IHI0070 §3.5, §7.2, §7.4].
#pragma once
#include <array>

#include "smmu/port_hw.hpp"

namespace atl::smmu {

class EventQueue {
  public:
    using Record = std::array<u64, event_words>;

    /// Only while CR0ACK.EVENTQEN = 0. `base` is aligned to the queue's size.
    void set_up(const Port& port, Pa base, unsigned log2);
    /// Up to `most` records into `out`; their slots are free again on return. Fewer than asked: at that
    /// moment the queue was empty after the slots were freed, so the next record raises an interrupt.
    unsigned take(Record* out, unsigned most);
    bool empty() const;
    /// After an aborted write: what is in the queue may be anything [§7.2.2]. True when the queue was full,
    /// where nothing can have been written: some SMMUs report an overflow in this way, the records stay.
    bool discard_after_abort();

    u64 taken = 0; // counters for the monitor
    u64 overflows = 0;
    u64 discarded = 0;

  private:
    u32 mask() const { return (u32{2} << log2_) - 1; }
    void free_slots(u32 prod);

    Port port_{};
    Pa base_{};
    u8 log2_ = 0;
    u32 cons_ = 0;          // index and wrap bit
    u32 overflow_flag_ = 0; // EVENTQ_CONS.OVACKFLG as last written, in place
};

} // namespace atl::smmu
