// SPDX-License-Identifier: Apache-2.0
// An emulated PL031 real-time clock [DDI0224]: seconds since 1970, and an alarm.
// Owns the registers; not the time source, nor the timer that must call poll() at next_deadline().
// Lock: its own, rank device, held while the line is driven and the time is read.
#pragma once
#include <optional>

#include "lib/irq_line.hpp"
#include "lib/spinlock.hpp"
#include "mmio_emul/device.hpp"

namespace atl::mmio_emul {

/// A guest's writes to LR move its own clock alone. The clock comes out of reset running, as firmware leaves
/// it.
class Pl031 final : public Device {
  public:
    static constexpr u64 size = 0x1000;

    /// Seconds since 1970, never going back. Called with the device's lock held.
    struct Clock {
        void* context = nullptr;
        u64 (*now)(void* context) = nullptr;
        /// next_deadline() may have changed. Called after a write, without the device's lock. May be null.
        void (*alarm_changed)(void* context) = nullptr;
    };

    constexpr Pl031() = default;

    /// Before the VM runs.
    void attach(const IrqLine& line, const Clock& clock);

    u64 read(VcpuIndex vcpu, u64 offset, unsigned size) override;
    void write(VcpuIndex vcpu, u64 offset, unsigned size, u64 value) override;
    void reset() override;

    /// Raises the alarm when the clock has reached it. From any CPU.
    void poll();

    /// The second (of the Clock) at which poll() has work to do; nothing while the alarm could not be seen,
    /// that is while it is masked or already raised.
    std::optional<u64> next_deadline();

  private:
    u32 read_register(u32 offset);
    void write_register(u32 offset, u32 value);
    u64 now() const { return clock_.now != nullptr ? clock_.now(clock_.context) : 0; }
    void arm(u64 now_seconds);
    void check_match(u64 now_seconds);
    void drive_line();

    SpinLock lock_{LockRank::device};
    IrqLine line_;
    Clock clock_;
    u64 match_at_ = 0; // the second at which DR becomes MR
    u32 offset_ = 0;   // DR = now + offset_, modulo 2^32
    u32 mr_ = 0;
    u32 lr_ = 0;
    bool masked_in_ = false; // IMSC: the interrupt is let through
    bool raised_ = false;    // RIS
    bool line_high_ = false;
};

} // namespace atl::mmio_emul
