// SPDX-License-Identifier: Apache-2.0
// PL011 register access [DDI0183 §3.3].
#include "el2/uart_hw.hpp"

#include "lib/arch/sysreg_hw.hpp"
#include "lib/register.hpp"

namespace atl::el2 {
namespace {

constexpr u32 uart_dr = 0x00;
constexpr u32 uart_fr = 0x18;
constexpr u32 uart_lcr_h = 0x2c;
constexpr u32 uart_cr = 0x30;
constexpr u32 uart_imsc = 0x38;
constexpr u32 uart_icr = 0x44;

constexpr u32 fr_rxfe = 1U << 4;
constexpr u32 fr_txff = 1U << 5;
constexpr u32 lcr_8bit_fifo = 3U << 5 | 1U << 4;
constexpr u32 cr_enable = 1U << 9 | 1U << 8 | 1U << 0; // RXE, TXE, UARTEN
constexpr u32 int_rx = 1U << 4;
constexpr u32 int_tx = 1U << 5;
constexpr u32 int_rt = 1U << 6;
constexpr u32 int_all = 0x7ff;

} // namespace

volatile u32* Uart::reg(u32 offset) const {
    return arch::pointer<volatile u32>(base_ + offset);
}

void Uart::init(HypVa registers) {
    base_ = registers;
    *reg(uart_imsc) = 0;
    *reg(uart_icr) = int_all;
    *reg(uart_lcr_h) = lcr_8bit_fifo;
    *reg(uart_cr) = cr_enable;
    imsc_ = int_rx | int_rt;
    *reg(uart_imsc) = imsc_;
}

bool Uart::can_write() const {
    return (*reg(uart_fr) & fr_txff) == 0;
}

void Uart::write(u8 byte) {
    *reg(uart_dr) = byte;
}

int Uart::read() {
    if ((*reg(uart_fr) & fr_rxfe) != 0) {
        return -1;
    }
    return static_cast<int>(*reg(uart_dr) & 0xff);
}

void Uart::set_tx_interrupt(bool on) {
    const u32 wanted = on ? imsc_ | int_tx : imsc_ & ~int_tx;
    if (wanted != imsc_) {
        imsc_ = wanted;
        *reg(uart_imsc) = imsc_;
    }
}

void Uart::acknowledge() {
    *reg(uart_icr) = int_rx | int_tx | int_rt;
}

void Uart::write_polled(u8 byte) {
    if (!present()) {
        return;
    }
    for (u32 spins = 0; spins < 1'000'000 && !can_write(); ++spins) {
    }
    write(byte);
}

} // namespace atl::el2
