// SPDX-License-Identifier: Apache-2.0
// See vgic/vpe.hpp. Pure over vgic/its_io_hw.hpp.
#include "vgic/vpe.hpp"

#include "lib/arch/its.hpp"
#include "vgic/its_io_hw.hpp"

namespace atl::vgic {
namespace {

using namespace gic;
using Pend = GicrVpendbaser;

constexpr unsigned dirty_tries = 100'000; // reads of a register: how long a table may take to be written
constexpr u64 flags = Pend::Valid::mask | Pend::IDAI::mask | Pend::PendingLast::mask | Pend::Dirty::mask;

} // namespace

Status VpeFrame::init(Pa registers, bool coherent) {
    registers_ = registers;
    coherent_ = coherent;
    const u64 found = its_io::read64(registers_ + gicr_vlpi::vpendbaser);
    if (Pend::Valid::test(found)) {
        static_cast<void>(leave(found));
        if (timeouts_ != 0) {
            return Error::not_supported;
        }
    }
    const u64 wanted = GicrPropbaser::Shareability::of(coherent ? shareability_inner : 0) |
                       GicrPropbaser::InnerCache::of(coherent ? cache_write_back : 1);
    its_io::write64(registers_ + gicr_vlpi::vpropbaser, wanted);
    properties_ = 0; // of no VM
    const bool snoops = GicrPropbaser::Shareability::test(its_io::read64(registers_ + gicr_vlpi::vpropbaser));
    return snoops == coherent ? Status{} : Status{Error::not_supported};
}

/// Nobody is resident when this returns. All but the flags stays as it is while Valid changes [§12.11 GICR_VPENDBASER].
u64 VpeFrame::leave(u64 value) {
    its_io::write64(registers_ + gicr_vlpi::vpendbaser, value & ~flags);
    for (unsigned i = 0; i < dirty_tries; ++i) {
        // PendingLast and IDAI are UNKNOWN while Dirty is 1.
        if (const u64 now = its_io::read64(registers_ + gicr_vlpi::vpendbaser); !Pend::Dirty::test(now)) {
            return now;
        }
    }
    ++timeouts_;
    return Pend::PendingLast::mask | Pend::IDAI::mask; // whatever is the safer answer
}

void Vpe::init(VpeFrame& frame, Pa configuration, Pa pending, unsigned id_bits) {
    frame_ = &frame;
    const u64 shareability = frame.coherent_ ? shareability_inner : 0;
    const u64 cache = frame.coherent_ ? cache_write_back : 1;
    properties_ = GicrPropbaser::IDbits::of(id_bits - 1) | GicrPropbaser::InnerCache::of(cache) |
                  GicrPropbaser::Shareability::of(shareability) |
                  (configuration.value & GicrPropbaser::Physical_Address::mask);
    value_ = Pend::InnerCache::of(cache) | Pend::Shareability::of(shareability) |
             (pending.value & Pend::Physical_Address::mask);
}

void Vpe::reset() {
    idai_ = true;
    allowed_.store(false);
    resident_.store(false);
    pending_.store(false, std::memory_order_relaxed);
}

Pa Vpe::table() const {
    return Pa{value_ & Pend::Physical_Address::mask};
}

void Vpe::load() {
    // Sequentially consistent with set_allowed(), which stores the one and then looks at the other.
    resident_.store(true);
    if (!allowed_.load()) {
        resident_.store(false);
        return;
    }
    if (frame_->properties_ != properties_) {
        its_io::write64(frame_->registers_ + gicr_vlpi::vpropbaser, properties_);
        frame_->properties_ = properties_;
    }
    // PendingLast: the table may hold something, as doorbells are not awaited.
    its_io::write64(frame_->registers_ + gicr_vlpi::vpendbaser,
                    value_ | Pend::Valid::mask | Pend::PendingLast::mask | Pend::IDAI::of(idai_ ? 1 : 0));
    pending_.store(false, std::memory_order_relaxed);
}

void Vpe::save() {
    if (!resident_.load(std::memory_order_relaxed)) {
        return;
    }
    const u64 left = frame_->leave(value_);
    idai_ = Pend::IDAI::test(left);
    pending_.store(Pend::PendingLast::test(left), std::memory_order_relaxed);
    resident_.store(false);
}

void Vpe::follow() {
    const bool allowed = allowed_.load();
    if (allowed != resident_.load(std::memory_order_relaxed)) {
        allowed ? load() : save();
    }
}

bool Vpe::set_allowed(bool allowed) {
    if (allowed_.exchange(allowed) == allowed) {
        return false;
    }
    if (allowed) {
        pending_.store(true, std::memory_order_relaxed); // messages may have come meanwhile
    }
    return true;
}

} // namespace atl::vgic
