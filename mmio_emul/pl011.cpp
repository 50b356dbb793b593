// SPDX-License-Identifier: Apache-2.0
// The PL011's registers, FIFOs and interrupts [DDI0183 chapters 2 and 3]. Knows no interrupt controller and
// no console. Lock: the device's own, taken at each entry point; FR alone is read without it.
#include "mmio_emul/pl011.hpp"

#include "lib/register.hpp"
#include "mmio_emul/prime_cell.hpp"

namespace atl::mmio_emul {
namespace {

// Register offsets [DDI0183 table 3-1].
namespace reg {
constexpr u32 dr = 0x000;
constexpr u32 rsr = 0x004; // ECR when written
constexpr u32 fr = 0x018;
constexpr u32 ilpr = 0x020;
constexpr u32 ibrd = 0x024;
constexpr u32 fbrd = 0x028;
constexpr u32 lcr_h = 0x02c;
constexpr u32 cr = 0x030;
constexpr u32 ifls = 0x034;
constexpr u32 imsc = 0x038;
constexpr u32 ris = 0x03c;
constexpr u32 mis = 0x040;
constexpr u32 icr = 0x044;
constexpr u32 dmacr = 0x048;
} // namespace reg

// FR [DDI0183 §3.3.3].
namespace fr {
constexpr u32 CTS = 1u << 0;
constexpr u32 DSR = 1u << 1;
constexpr u32 DCD = 1u << 2;
constexpr u32 BUSY = 1u << 3;
constexpr u32 RXFE = 1u << 4;
constexpr u32 TXFF = 1u << 5;
constexpr u32 RXFF = 1u << 6;
constexpr u32 TXFE = 1u << 7;
constexpr u32 RI = 1u << 8;
} // namespace fr

// RIS, MIS, IMSC and ICR share one layout [DDI0183 §3.3.10].
namespace irq {
constexpr u32 RI = 1u << 0;
constexpr u32 CTS = 1u << 1;
constexpr u32 DCD = 1u << 2;
constexpr u32 DSR = 1u << 3;
constexpr u32 RX = 1u << 4;
constexpr u32 TX = 1u << 5;
constexpr u32 RT = 1u << 6;
constexpr u32 OE = 1u << 10;
constexpr u32 all = 0x7ff;
} // namespace irq

constexpr u32 dr_OE = 1u << 11;
constexpr u32 rsr_OE = 1u << 3;
constexpr u32 lcr_h_FEN = 1u << 4;
constexpr u32 cr_UARTEN = 1u << 0;
constexpr u32 cr_LBE = 1u << 7;
constexpr u32 cr_TXE = 1u << 8;
constexpr u32 cr_RXE = 1u << 9;
constexpr u32 cr_DTR = 1u << 10;
constexpr u32 cr_RTS = 1u << 11;
constexpr u32 cr_Out1 = 1u << 12;
constexpr u32 cr_Out2 = 1u << 13;
using TXIFLSEL = Field<2, 0>;
using RXIFLSEL = Field<5, 3>;
constexpr u32 ifls_reset = 0x12; // both at one half

// Revision 3 in bits 23:20 is r1p5, which tells the driver of the 32-byte FIFOs [DDI0183 §3.3.15].
constexpr PrimeCellId identification{0x0034'1011};

/// The FIFO level that a 3-bit select means: 1/8, 1/4, 1/2, 3/4, 7/8; reserved values as 7/8 [DDI0183
/// §3.3.9].
constexpr unsigned trigger_level(u64 select) {
    constexpr u8 levels[8] = {4, 8, 16, 24, 28, 28, 28, 28};
    return levels[select & 7];
}

} // namespace

unsigned Pl011::depth() const {
    return (lcr_h_ & lcr_h_FEN) != 0 ? fifo_depth : 1;
}
unsigned Pl011::rx_trigger() const {
    return (lcr_h_ & lcr_h_FEN) != 0 ? trigger_level(RXIFLSEL::get(ifls_)) : 1;
}
unsigned Pl011::tx_trigger() const {
    return (lcr_h_ & lcr_h_FEN) != 0 ? trigger_level(TXIFLSEL::get(ifls_)) : 0;
}
bool Pl011::receiver_on() const {
    return (cr_ & (cr_UARTEN | cr_RXE)) == (cr_UARTEN | cr_RXE);
}

void Pl011::attach(const IrqLine& line, const Backend& backend) {
    line_ = line;
    backend_ = backend;
    reset();
}

void Pl011::reset() {
    const LockGuard guard(lock_);
    tx_.clear();
    rx_.clear();
    overrun_ = false;
    rsr_ = ilpr_ = ibrd_ = fbrd_ = lcr_h_ = imsc_ = ris_ = dmacr_ = 0;
    cr_ = cr_RXE | cr_TXE | cr_UARTEN;
    ifls_ = ifls_reset;
    modem_ = fr::CTS | fr::DSR | fr::DCD;
    line_high_ = true; // so that publish() drives the line low, whatever it was
    publish();
}

/// Ends every change: recomputes FR and the interrupt output.
void Pl011::publish() {
    u32 flags = modem_;
    flags |= tx_.empty() ? fr::TXFE : fr::BUSY;
    flags |= tx_.size() >= depth() ? fr::TXFF : 0;
    flags |= rx_.empty() ? fr::RXFE : 0;
    flags |= rx_.size() >= depth() ? fr::RXFF : 0;
    // Relaxed: FR orders nothing; the guest that polls it reads data through DR, under the lock.
    flags_.store(flags, std::memory_order_relaxed);
    const bool high = (ris_ & imsc_) != 0;
    if (high != line_high_) {
        line_high_ = high;
        line_.set(high);
    }
}

u64 Pl011::read(VcpuIndex, u64 offset, unsigned) {
    if (offset == reg::fr) [[likely]] {
        return flags_.load(std::memory_order_relaxed);
    }
    return read_locked(static_cast<u32>(offset));
}

u32 Pl011::read_register(u32 offset) {
    switch (offset) {
    case reg::fr: // a byte inside it
        return flags_.load(std::memory_order_relaxed);
    case reg::dr:
        return read_data();
    case reg::rsr:
        return rsr_;
    case reg::ilpr:
        return ilpr_;
    case reg::ibrd:
        return ibrd_;
    case reg::fbrd:
        return fbrd_;
    case reg::lcr_h:
        return lcr_h_;
    case reg::cr:
        return cr_;
    case reg::ifls:
        return ifls_;
    case reg::imsc:
        return imsc_;
    case reg::ris:
        return ris_;
    case reg::mis:
        return ris_ & imsc_;
    case reg::dmacr:
        return dmacr_;
    default:
        return identification.read(offset); // 0 elsewhere, ICR included
    }
}

u32 Pl011::read_data() {
    if (rx_.empty()) {
        return 0;
    }
    const RxEntry entry = rx_.pop();
    // RSR shows the status of the character that was read last; OE stays until ECR is written [DDI0183
    // §3.3.2].
    pull_input();
    if (rx_.size() < rx_trigger()) {
        ris_ &= ~irq::RX;
    }
    if (rx_.empty()) {
        ris_ &= ~irq::RT;
    }
    publish();
    return entry.byte | (entry.after_overrun ? dr_OE : 0);
}

/// The common case of printing: the FIFO stays empty, so neither FR nor, mostly, an interrupt changes.
inline bool Pl011::send_at_once(u8 byte) {
    const LockGuard guard(lock_);
    if (!tx_.empty() || (cr_ & cr_LBE) != 0) {
        return false;
    }
    if (backend_.transmit == nullptr || !backend_.transmit(backend_.context, byte)) {
        return false;
    }
    if ((ris_ & irq::TX) == 0) {
        ris_ |= irq::TX;
        publish();
    }
    return true;
}

void Pl011::write(VcpuIndex, u64 offset, unsigned, u64 value) {
    if ((offset & 3) != 0) {
        return; // inside a register: no such access exists on the APB
    }
    if (offset == reg::dr && send_at_once(static_cast<u8>(value))) [[likely]] {
        return;
    }
    write_locked(offset, value);
}

[[gnu::noinline]] void Pl011::write_locked(u64 offset, u64 value) {
    const LockGuard guard(lock_);
    write_register(static_cast<u32>(offset), static_cast<u32>(value));
    publish();
}

void Pl011::write_register(u32 offset, u32 value) {
    switch (offset) {
    case reg::dr:
        write_data(static_cast<u8>(value));
        break;
    case reg::rsr: // any write to ECR clears the errors
        rsr_ = 0;
        break;
    case reg::ilpr:
        ilpr_ = value & 0xff;
        break;
    case reg::ibrd:
        ibrd_ = value & 0xffff;
        break;
    case reg::fbrd:
        fbrd_ = value & 0x3f;
        break;
    case reg::lcr_h:
        write_line_control(value & 0xff);
        break;
    case reg::cr:
        write_control(value & 0xffff);
        break;
    case reg::ifls:
        ifls_ = value & 0x3f;
        refresh_receive_interrupt();
        break;
    case reg::imsc:
        imsc_ = value & irq::all;
        break;
    case reg::icr:
        ris_ &= ~value;
        break;
    case reg::dmacr:
        dmacr_ = value & 7;
        break;
    default:
        break; // read-only or reserved
    }
}

/// A byte written to a full FIFO is lost, as in hardware: TXFF said so. [DDI0183 §3.3.1]
void Pl011::write_data(u8 byte) {
    if (tx_.size() < depth()) {
        tx_.push(byte);
    }
    const bool moved = transmit_waiting();
    if (tx_.size() > tx_trigger()) {
        ris_ &= ~irq::TX;
    } else if (moved) {
        // The byte entered and left at once: the level passed the trigger on its way down [DDI0183 §2.8.3].
        ris_ |= irq::TX;
    }
}

/// Moves what the line takes out of the transmit FIFO; true when at least one byte left.
bool Pl011::transmit_waiting() {
    bool moved = false;
    while (!tx_.empty()) {
        if ((cr_ & cr_LBE) != 0) {
            loop_back(tx_.front());
        } else if (backend_.transmit != nullptr && !backend_.transmit(backend_.context, tx_.front())) {
            break;
        }
        (void)tx_.pop();
        moved = true;
    }
    return moved;
}

void Pl011::tx_drained() {
    const LockGuard guard(lock_);
    if (transmit_waiting() && tx_.size() <= tx_trigger()) {
        ris_ |= irq::TX;
    }
    publish();
}

/// The transmit line fed into the receiver. Nothing slows the sender down here, hence the overrun [DDI0183
/// §2.4.3].
void Pl011::loop_back(u8 byte) {
    if (!receiver_on()) {
        return;
    }
    if (rx_.size() >= depth()) {
        overrun_ = true;
        rsr_ |= rsr_OE;
        ris_ |= irq::OE;
        return;
    }
    push_received(byte);
}

void Pl011::push_received(u8 byte) {
    rx_.push({byte, overrun_});
    overrun_ = false;
    if (rx_.size() >= rx_trigger()) {
        ris_ |= irq::RX;
    }
    // The line falls idle at once, so the 32-bit period of the receive timeout is over [DDI0183 §2.8.4]. With
    // the FIFOs off there is no timeout: the receive interrupt says it all.
    if ((lcr_h_ & lcr_h_FEN) != 0) {
        ris_ |= irq::RT;
    }
}

std::size_t Pl011::receive(std::span<const u8> bytes) {
    const LockGuard guard(lock_);
    if (!receiver_on() || (cr_ & cr_LBE) != 0) {
        return 0;
    }
    std::size_t taken = 0;
    while (taken < bytes.size() && rx_.size() < depth()) {
        push_received(bytes[taken]);
        ++taken;
    }
    publish();
    return taken;
}

void Pl011::input_ready() {
    const LockGuard guard(lock_);
    pull_input();
    publish();
}

void Pl011::pull_input() {
    // In loopback the receiver is cut off from the terminal, whose input waits.
    if (backend_.pull == nullptr || !receiver_on() || (cr_ & cr_LBE) != 0 || rx_.size() >= depth()) {
        return;
    }
    u8 bytes[fifo_depth];
    const std::size_t room = depth() - rx_.size();
    const std::size_t count = backend_.pull(backend_.context, {bytes, room});
    for (std::size_t i = 0; i < count && i < room; ++i) {
        push_received(bytes[i]);
    }
}

void Pl011::refresh_receive_interrupt() {
    ris_ = (ris_ & ~irq::RX) | (rx_.size() >= rx_trigger() ? irq::RX : 0);
}

/// FEN changes the depth and the triggers [DDI0183 §3.3.7]. A FIFO that holds more than the new depth reads
/// as full until it has drained.
void Pl011::write_line_control(u32 value) {
    const bool switched = ((lcr_h_ ^ value) & lcr_h_FEN) != 0;
    lcr_h_ = value;
    if (!switched) {
        return;
    }
    refresh_receive_interrupt();
    if ((lcr_h_ & lcr_h_FEN) != 0 && !rx_.empty()) {
        ris_ |= irq::RT;
    } else {
        ris_ &= ~irq::RT;
    }
    pull_input();
}

void Pl011::write_control(u32 value) {
    cr_ = value;
    refresh_modem_inputs();
    (void)transmit_waiting();
    pull_input(); // the receiver may just have been enabled
}

/// In loopback the modem outputs feed the inputs; a change raises its interrupt [DDI0183 §2.4.3, §3.3.8].
void Pl011::refresh_modem_inputs() {
    u32 inputs = fr::CTS | fr::DSR | fr::DCD;
    if ((cr_ & cr_LBE) != 0) {
        inputs = 0;
        inputs |= (cr_ & cr_RTS) != 0 ? fr::CTS : 0;
        inputs |= (cr_ & cr_DTR) != 0 ? fr::DSR : 0;
        inputs |= (cr_ & cr_Out1) != 0 ? fr::DCD : 0;
        inputs |= (cr_ & cr_Out2) != 0 ? fr::RI : 0;
    }
    const u32 changed = inputs ^ modem_;
    modem_ = inputs;
    ris_ |= (changed & fr::RI) != 0 ? irq::RI : 0;
    ris_ |= (changed & fr::CTS) != 0 ? irq::CTS : 0;
    ris_ |= (changed & fr::DCD) != 0 ? irq::DCD : 0;
    ris_ |= (changed & fr::DSR) != 0 ? irq::DSR : 0;
}

} // namespace atl::mmio_emul
