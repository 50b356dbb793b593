// SPDX-License-Identifier: Apache-2.0
// Taking event records: see event_queue.hpp.
#include "smmu/event_queue.hpp"

namespace atl::smmu {

void EventQueue::set_up(const Port& port, Pa base, unsigned log2) {
    port_ = port;
    base_ = base;
    log2_ = static_cast<u8>(log2);
    cons_ = 0;
    overflow_flag_ = 0;
    port_.write(Reg64::EVENTQ_BASE, QueueBase::hint::mask | base.value | QueueBase::LOG2SIZE::of(log2));
    port_.write(Reg32::EVENTQ_PROD, 0);
    port_.write(Reg32::EVENTQ_CONS, 0);
}

/// Tells the SMMU what was taken, and that an overflow was seen: OVACKFLG = OVFLG [§7.4].
void EventQueue::free_slots(u32 prod) {
    const u32 flag = prod & static_cast<u32>(EventqIndex::OVFLG::mask);
    overflows += flag != overflow_flag_ ? 1 : 0;
    overflow_flag_ = flag;
    port_.observe(); // the records have been read before their slots are given back
    port_.write(Reg32::EVENTQ_CONS, cons_ | flag);
}

unsigned EventQueue::take(Record* out, unsigned most) {
    unsigned count = 0;
    while (count < most) {
        const u32 prod = port_.read(Reg32::EVENTQ_PROD);
        u32 waiting = ((prod & mask()) - cons_) & mask();
        if (waiting > mask() / 2 + 1) {
            // Not an index that a queue of this size can have: nothing in it can be believed.
            ++discarded;
            cons_ = prod & mask();
            free_slots(prod);
            break;
        }
        if (waiting == 0 && (prod & static_cast<u32>(EventqIndex::OVFLG::mask)) == overflow_flag_) {
            break;
        }
        port_.observe(); // PROD before the records that it covers [§3.5.2]
        for (; waiting != 0 && count < most; --waiting, ++count) {
            const Pa at = base_ + (cons_ & (mask() >> 1)) * event_bytes;
            for (unsigned i = 0; i < event_words; ++i) {
                out[count][i] = port_.load_from_smmu(at + i * 8);
            }
            cons_ = (cons_ + 1) & mask();
        }
        // Then PROD is looked at again: the interrupt comes when an empty queue gets a record, and a record
        // that came before the slots were free raised none [§3.18].
        free_slots(prod);
    }
    taken += count;
    return count;
}

bool EventQueue::empty() const {
    return ((port_.read(Reg32::EVENTQ_PROD) ^ cons_) & mask()) == 0;
}

bool EventQueue::discard_after_abort() {
    const u32 prod = port_.read(Reg32::EVENTQ_PROD);
    const u32 waiting = (prod - cons_) & mask();
    if (waiting == mask() / 2 + 1) {
        ++overflows;
        return true;
    }
    discarded += waiting;
    cons_ = prod & mask();
    free_slots(prod);
    return false;
}

} // namespace atl::smmu
