// SPDX-License-Identifier: Apache-2.0
// The generic timer's rules as pure arithmetic: when a timer's line is high and when it next rises [DDI0487
// D12]. Owns no hardware and no line: the caller reads counters and registers and drives what comes out. No
// lock: every value belongs to one vCPU.
#pragma once
#include <optional>

#include "lib/register.hpp"
#include "lib/types.hpp"

namespace atl::vtimer {

/// A point of, or a span on, the system counter (CNTPCT as EL2 sees it, unless a name says otherwise).
using Ticks = u64;
constexpr Ticks never = ~Ticks{0};

/// CNTP_CTL_EL0 and CNTV_CTL_EL0 [DDI0487 D19.12, by name].
struct TimerCtl {
    using ENABLE = Bit<0>;
    using IMASK = Bit<1>;
    using ISTATUS = Bit<2>; // read-only
    static constexpr u64 writable = ENABLE::mask | IMASK::mask;
};

/// The timer condition of the CompareValue view: an unsigned comparison of 64-bit values [DDI0487 D12.2.4].
constexpr bool condition_met(Ticks count, Ticks compare) {
    return count >= compare;
}

/// ENABLE set and IMASK clear: the condition reaches the interrupt line [DDI0487 D12.2.4].
constexpr bool line_follows_condition(u64 ctl) {
    return (ctl & TimerCtl::writable) == TimerCtl::ENABLE::mask;
}

/// The line of a timer now, with `offset` (CNTVOFF_EL2 for the virtual timer) between `physical_now` and the
/// timer's own count. ISTATUS in `ctl` is ignored.
constexpr bool line_level(u64 ctl, Ticks compare, Ticks offset, Ticks physical_now) {
    return line_follows_condition(ctl) && condition_met(physical_now - offset, compare);
}

/// The physical count at which the line rises; nothing when it is high already, when ENABLE or IMASK keep it
/// low, or when the count would wrap first (centuries away).
std::optional<Ticks> next_rise(u64 ctl, Ticks compare, Ticks offset, Ticks physical_now);

/// What a parked vCPU's virtual timer asks of EL2.
struct ParkedTimer {
    bool line_high = false;
    Ticks deadline = never; // physical; never: nothing to arm
};
ParkedTimer parked_virtual_timer(u64 cntv_ctl, Ticks cntv_cval, Ticks cntvoff, Ticks physical_now);

/// The EL1 physical timer as EL2 emulates it: the registers, with the book's read and write effects.
/// `count` is the guest's physical count: CNTPCT_EL0 less the VM's physical offset, if it has one.
class PhysicalTimer {
  public:
    constexpr u64 read_ctl(Ticks count) const {
        // ISTATUS is UNKNOWN while ENABLE is 0: 0 here [DDI0487 D19.12, CNTP_CTL_EL0].
        const bool met = TimerCtl::ENABLE::test(ctl_) && condition_met(count, cval_);
        return ctl_ | (met ? TimerCtl::ISTATUS::mask : 0);
    }
    constexpr void write_ctl(u64 value) { ctl_ = value & TimerCtl::writable; }

    constexpr u64 read_cval() const { return cval_; }
    constexpr void write_cval(u64 value) { cval_ = value; }

    /// The 32 low bits of CompareValue - count [DDI0487 D12.2.4, TimerValue view].
    constexpr u64 read_tval(Ticks count) const { return static_cast<u32>(cval_ - count); }
    /// CompareValue = count + SignExtend(value[31:0]); wraps as the hardware does.
    constexpr void write_tval(u64 value, Ticks count) {
        cval_ = count + static_cast<u64>(signed_get<Field<31, 0>>(value));
    }

    constexpr bool line_high(Ticks count) const { return line_level(ctl_, cval_, 0, count); }
    /// In the guest's physical count, as next_rise().
    std::optional<Ticks> deadline(Ticks count) const { return next_rise(ctl_, cval_, 0, count); }
    /// Disabled or masked.
    constexpr bool line_stays_low() const { return !line_follows_condition(ctl_); }
    constexpr void reset() { ctl_ = cval_ = 0; }

  private:
    u64 ctl_ = 0;
    u64 cval_ = 0;
};

/// Conversions between ticks and nanoseconds: one multiplication, because the divisions were done once at
/// boot. Results are rounded down and saturate.
class TickScale {
  public:
    constexpr TickScale() = default;
    /// `frequency_hz` from CNTFRQ_EL0 or the device tree, 1 .. 2^32 - 1; 0 counts as 1, more as the largest.
    explicit constexpr TickScale(u64 frequency_hz) {
        const u64 hz = frequency_hz == 0 ? 1 : (frequency_hz > u32_max ? u32_max : frequency_hz);
        ns_per_tick_ = (nanoseconds_per_second << 32) / hz;
        ticks_per_ns_ = (hz << 32) / nanoseconds_per_second;
        hz_ = hz;
    }
    constexpr u64 frequency_hz() const { return hz_; }
    constexpr u64 ticks_to_ns(Ticks ticks) const { return scale(ticks, ns_per_tick_); }
    constexpr Ticks ns_to_ticks(u64 nanoseconds) const { return scale(nanoseconds, ticks_per_ns_); }
    constexpr Ticks us_to_ticks(u64 us) const {
        return saturating_multiply(us, hz_, microseconds_per_second);
    }
    constexpr Ticks ms_to_ticks(u64 ms) const {
        return saturating_multiply(ms, hz_, milliseconds_per_second);
    }

  private:
    __extension__ using u128 = unsigned __int128;
    static constexpr u64 u32_max = 0xffff'ffff;
    static constexpr u64 nanoseconds_per_second = 1'000'000'000;
    static constexpr u64 microseconds_per_second = 1'000'000;
    static constexpr u64 milliseconds_per_second = 1'000;

    static constexpr u64 scale(u64 value, u64 factor) {
        const u128 product = (static_cast<u128>(value) * factor) >> 32;
        return product > ~u64{0} ? ~u64{0} : static_cast<u64>(product);
    }
    /// Exact, with a division: for constants and set-up.
    static constexpr u64 saturating_multiply(u64 value, u64 hz, u64 per_second) {
        const u128 whole = static_cast<u128>(value / per_second) * hz;
        const u64 rest = (value % per_second) * hz / per_second;
        return whole + rest > ~u64{0} ? ~u64{0} : static_cast<u64>(whole) + rest;
    }

    u64 ns_per_tick_ = u64{1} << 32; // 32.32 fixed point
    u64 ticks_per_ns_ = u64{1} << 32;
    u64 hz_ = nanoseconds_per_second;
};

/// The sooner of two physical deadlines; `never` is a neutral element.
constexpr Ticks sooner(Ticks a, Ticks b) {
    return a < b ? a : b;
}
/// now + span, saturating at `never`.
constexpr Ticks after(Ticks now, Ticks span) {
    return span > never - now ? never : now + span;
}

} // namespace atl::vtimer
