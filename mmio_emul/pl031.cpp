// SPDX-License-Identifier: Apache-2.0
// The PL031's registers and alarm [DDI0224 chapter 3]. Knows no interrupt controller and no timer.
// Lock: the device's own, taken at each entry point.
#include "mmio_emul/pl031.hpp"

#include "mmio_emul/prime_cell.hpp"

namespace atl::mmio_emul {
namespace {

// Register offsets [DDI0224 table 3-1].
namespace reg {
constexpr u32 dr = 0x00;
constexpr u32 mr = 0x04;
constexpr u32 lr = 0x08;
constexpr u32 cr = 0x0c;
constexpr u32 imsc = 0x10;
constexpr u32 ris = 0x14;
constexpr u32 mis = 0x18;
constexpr u32 icr = 0x1c;
} // namespace reg

constexpr u64 wrap = u64{1} << 32; // DR counts modulo this
constexpr PrimeCellId identification{0x0004'1031};

} // namespace

void Pl031::attach(const IrqLine& line, const Clock& clock) {
    line_ = line;
    clock_ = clock;
    reset();
}

void Pl031::reset() {
    const LockGuard guard(lock_);
    offset_ = mr_ = lr_ = 0;
    masked_in_ = raised_ = false;
    arm(now());
    line_high_ = false;
    line_.set(false);
}

/// Computes when DR next *becomes* MR: after a full turn when they are equal already.
void Pl031::arm(u64 now_seconds) {
    const u32 dr = static_cast<u32>(now_seconds) + offset_;
    const u32 distance = mr_ - dr; // modulo 2^32, as the counter
    match_at_ = now_seconds + (distance != 0 ? distance : wrap);
}

void Pl031::check_match(u64 now_seconds) {
    if (now_seconds >= match_at_) {
        raised_ = true;
        arm(now_seconds);
    }
}

void Pl031::drive_line() {
    const bool high = raised_ && masked_in_;
    if (high != line_high_) {
        line_high_ = high;
        line_.set(high);
    }
}

u64 Pl031::read(VcpuIndex, u64 offset, unsigned) {
    const LockGuard guard(lock_);
    check_match(now());
    drive_line();
    const u32 at = static_cast<u32>(offset);
    return read_register(at & ~3u) >> (8 * (at & 3));
}

u32 Pl031::read_register(u32 offset) {
    switch (offset) {
    case reg::dr:
        return static_cast<u32>(now()) + offset_;
    case reg::mr:
        return mr_;
    case reg::lr:
        return lr_;
    case reg::cr:
        return 1; // running; once it runs, writes do not stop it [DDI0224 §3.3.4]
    case reg::imsc:
        return masked_in_ ? 1 : 0;
    case reg::ris:
        return raised_ ? 1 : 0;
    case reg::mis:
        return raised_ && masked_in_ ? 1 : 0;
    default:
        return identification.read(offset); // 0 elsewhere, ICR included
    }
}

void Pl031::write(VcpuIndex, u64 offset, unsigned, u64 value) {
    if ((offset & 3) != 0) {
        return; // inside a register: no such access exists on the APB
    }
    {
        const LockGuard guard(lock_);
        check_match(now());
        write_register(static_cast<u32>(offset), static_cast<u32>(value));
        drive_line();
    }
    if (clock_.alarm_changed != nullptr) {
        clock_.alarm_changed(clock_.context);
    }
}

void Pl031::write_register(u32 offset, u32 value) {
    const u64 now_seconds = now();
    switch (offset) {
    case reg::mr:
        mr_ = value;
        break;
    case reg::lr:
        lr_ = value;
        offset_ = value - static_cast<u32>(now_seconds);
        break;
    case reg::imsc:
        masked_in_ = (value & 1) != 0;
        return;
    case reg::icr:
        raised_ = raised_ && (value & 1) == 0;
        return;
    default:
        return; // CR cannot be stopped; the rest is read-only or reserved
    }
    // MR or LR changed: equal values match at once, as the comparator is combinational [DDI0224 chapter 2].
    if (static_cast<u32>(now_seconds) + offset_ == mr_) {
        raised_ = true;
    }
    arm(now_seconds);
}

void Pl031::poll() {
    const LockGuard guard(lock_);
    check_match(now());
    drive_line();
}

std::optional<u64> Pl031::next_deadline() {
    const LockGuard guard(lock_);
    if (!masked_in_ || raised_) {
        return std::nullopt;
    }
    return match_at_;
}

} // namespace atl::mmio_emul
