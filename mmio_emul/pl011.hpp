// SPDX-License-Identifier: Apache-2.0
// An emulated PL011 UART r1p5 [DDI0183]: what Linux's amba-pl011 and earlycon drive, with interrupts and both
// FIFOs. Owns the registers and FIFOs; not the terminal behind it (Backend) nor the interrupt controller
// (IrqLine). Lock: its own, rank device, held while the backend and the line are called: both must rank above
// it.
#pragma once
#include <atomic>
#include <span>

#include "lib/containers.hpp"
#include "lib/irq_line.hpp"
#include "lib/spinlock.hpp"
#include "mmio_emul/device.hpp"

namespace atl::mmio_emul {

/// Differences from the hardware, all deliberate. The line is infinitely fast: a byte leaves the transmit
/// FIFO as soon as the backend takes it and a receive timeout is immediate. It comes out of reset enabled, as
/// firmware would leave it, and transmits even while CR disables it: guests written for QEMU's `virt` never
/// set CR and expect output. Switching the FIFOs off loses no byte. Baud rate, parity and breaks are stored
/// and mean nothing; DMA is never requested. CTS, DSR and DCD are asserted.
class Pl011 final : public Device {
  public:
    static constexpr u64 size = 0x1000;
    static constexpr unsigned fifo_depth = 32; // r1p5; 1 while LCR_H.FEN is 0

    /// The terminal. Every function is called with the device's lock held and must not call back into the
    /// device.
    struct Backend {
        void* context = nullptr;
        /// Takes one byte; false when there is no room, and then somebody calls tx_drained() when there is.
        bool (*transmit)(void* context, u8 byte) = nullptr;
        /// Fills at most the span with input that waits and returns how many bytes. May be null: receive()
        /// only.
        std::size_t (*pull)(void* context, std::span<u8> into) = nullptr;
    };

    constexpr Pl011() = default;

    /// Before the VM runs.
    void attach(const IrqLine& line, const Backend& backend);

    u64 read(VcpuIndex vcpu, u64 offset, unsigned size) override;
    void write(VcpuIndex vcpu, u64 offset, unsigned size, u64 value) override;
    void reset() override;

    /// Bytes from the terminal, from any CPU; returns how many were taken (none while the receiver is
    /// disabled).
    std::size_t receive(std::span<const u8> bytes);
    /// There is input to pull. The device asks again by itself whenever the guest makes room.
    void input_ready();
    /// The backend has room again: moves waiting bytes on and raises the transmit interrupt when due.
    void tx_drained();

  private:
    struct RxEntry {
        u8 byte = 0;
        bool after_overrun = false; // DR.OE of this entry
    };

    [[gnu::noinline]] u64 read_locked(u32 offset) {
        const LockGuard guard(lock_);
        return read_register(offset & ~3u) >> (8 * (offset & 3u));
    }
    u32 read_register(u32 offset);
    u32 read_data();
    void write_locked(u64 offset, u64 value);
    void write_register(u32 offset, u32 value);
    bool send_at_once(u8 byte);
    void write_data(u8 byte);
    void write_control(u32 value);
    void write_line_control(u32 value);
    bool transmit_waiting();
    void loop_back(u8 byte);
    void push_received(u8 byte);
    void pull_input();
    void refresh_receive_interrupt();
    void refresh_modem_inputs();
    void publish();
    unsigned depth() const;
    unsigned rx_trigger() const;
    unsigned tx_trigger() const;
    bool receiver_on() const;

    SpinLock lock_{LockRank::device};
    std::atomic<u32> flags_{0}; // FR, published so that polling it takes no lock
    IrqLine line_;
    Backend backend_;
    Ring<u8, fifo_depth> tx_;
    Ring<RxEntry, fifo_depth> rx_;
    bool line_high_ = false;
    bool overrun_ = false; // a byte was lost since the last that was stored
    u32 rsr_ = 0;
    u32 ilpr_ = 0;
    u32 ibrd_ = 0;
    u32 fbrd_ = 0;
    u32 lcr_h_ = 0;
    u32 cr_ = 0;
    u32 ifls_ = 0;
    u32 imsc_ = 0;
    u32 ris_ = 0;
    u32 dmacr_ = 0;
    u32 modem_ = 0; // the modem bits of FR
};

} // namespace atl::mmio_emul
