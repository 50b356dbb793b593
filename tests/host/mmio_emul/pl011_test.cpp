// SPDX-License-Identifier: Apache-2.0
// Host tests of mmio_emul/pl011: driven as Linux's amba-pl011 and earlycon drive it, and against [DDI0183].
#include <doctest/doctest.h>

#include <vector>

#include "mmio_emul/pl011.hpp"

using namespace atl;
using namespace atl::mmio_emul;

namespace {

enum Reg : u64 {
    DR = 0x0,
    RSR = 0x4,
    FR = 0x18,
    ILPR = 0x20,
    IBRD = 0x24,
    FBRD = 0x28,
    LCRH = 0x2c,
    CR = 0x30,
    IFLS = 0x34,
    IMSC = 0x38,
    RIS = 0x3c,
    MIS = 0x40,
    ICR = 0x44,
    DMACR = 0x48,
};
constexpr u32 BUSY = 1 << 3, RXFE = 1 << 4, TXFF = 1 << 5, RXFF = 1 << 6, TXFE = 1 << 7;
constexpr u32 RXI = 1 << 4, TXI = 1 << 5, RTI = 1 << 6, OEI = 1 << 10;
constexpr u32 FEN = 1 << 4, LBE = 1 << 7;
constexpr u32 enabled = 0x301;

/// A terminal of bounded appetite in front of the device, and a wire behind it.
struct Fixture {
    std::vector<u8> screen;
    std::vector<u8> keyboard;
    std::size_t room = 1'000'000;
    bool line = true;
    int edges = 0;
    Pl011 uart;

    Fixture() {
        const IrqLine wire{this,
                           [](void* self, u32 intid, bool high) {
                               auto& f = *static_cast<Fixture*>(self);
                               CHECK(intid == 33);
                               f.line = high;
                               ++f.edges;
                           },
                           33};
        uart.attach(wire, {this,
                           [](void* self, u8 byte) {
                               auto& f = *static_cast<Fixture*>(self);
                               if (f.room == 0) {
                                   return false;
                               }
                               --f.room;
                               f.screen.push_back(byte);
                               return true;
                           },
                           [](void* self, std::span<u8> into) {
                               auto& f = *static_cast<Fixture*>(self);
                               std::size_t n = 0;
                               while (n < into.size() && n < f.keyboard.size()) {
                                   into[n] = f.keyboard[n];
                                   ++n;
                               }
                               f.keyboard.erase(f.keyboard.begin(),
                                                f.keyboard.begin() + static_cast<std::ptrdiff_t>(n));
                               return n;
                           }});
    }
    u32 get(u64 offset, unsigned size = 4) { return static_cast<u32>(uart.read(VcpuIndex{0}, offset, size)); }
    void set(u64 offset, u32 value, unsigned size = 4) { uart.write(VcpuIndex{0}, offset, size, value); }
    void type(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            keyboard.push_back(static_cast<u8>(i));
        }
        uart.input_ready();
    }
};

} // namespace

TEST_CASE("pl011: reset values and identification of r1p5") {
    Fixture f;
    CHECK_FALSE(f.line);
    CHECK(f.edges == 1);
    CHECK(f.get(FR) == (TXFE | RXFE | 7));
    CHECK(f.get(CR) == enabled);
    CHECK(f.get(IFLS) == 0x12);
    for (const u64 offset : {RSR, ILPR, IBRD, FBRD, LCRH, IMSC, RIS, MIS, DMACR}) {
        CHECK(f.get(offset) == 0);
    }
    u32 peripheral = 0;
    u32 cell = 0;
    for (unsigned i = 0; i < 4; ++i) {
        peripheral |= f.get(0xfe0 + 4 * i) << (8 * i);
        cell |= f.get(0xff0 + 4 * i) << (8 * i);
    }
    CHECK(peripheral ==
          0x0034'1011); // Linux: id 0x00041011 under mask 0x000fffff, revision 3 has 32-byte FIFOs
    CHECK(cell == 0xb105'f00d);
    CHECK(f.get(0xfdc) == 0);
    CHECK(f.get(0x80) == 0);
    CHECK(f.get(ICR) == 0);
}

TEST_CASE("pl011: earlycon prints without any set-up") {
    Fixture f;
    for (const char c : {'h', 'i'}) {
        CHECK((f.get(FR) & TXFF) == 0);
        f.set(DR, static_cast<u8>(c));
        CHECK((f.get(FR) & BUSY) == 0);
    }
    CHECK(f.screen == std::vector<u8>{'h', 'i'});
}

TEST_CASE("pl011: a full terminal fills the FIFO and loses nothing until TXFF") {
    Fixture f;
    f.set(LCRH, FEN | 0x60);
    f.set(IMSC, TXI);
    f.room = 0;
    for (u32 i = 0; i < 32; ++i) {
        CHECK((f.get(FR) & TXFF) == 0);
        f.set(DR, i);
        CHECK((f.get(FR) & (BUSY | TXFE)) == BUSY);
    }
    CHECK((f.get(FR) & TXFF) != 0);
    CHECK(f.get(RIS) == 0);
    f.set(DR, 99); // ignores TXFF: lost as in hardware
    f.room = 10;
    f.uart.tx_drained();
    CHECK((f.get(FR) & TXFF) == 0);
    CHECK(f.get(RIS) == 0); // 22 in the FIFO, trigger at 16
    f.room = 6;
    f.uart.tx_drained();
    CHECK(f.get(RIS) == TXI);
    CHECK(f.line);
    f.room = 1000;
    f.uart.tx_drained();
    CHECK(f.screen.size() == 32);
    CHECK(f.screen.back() == 31);
    CHECK((f.get(FR) & (BUSY | TXFE)) == TXFE);
}

TEST_CASE("pl011: the transmit interrupt follows the trigger and ICR") {
    Fixture f;
    f.set(LCRH, FEN);
    f.set(IMSC, TXI);
    CHECK_FALSE(f.line); // nothing has been sent: no transition
    f.set(DR, 'x');
    CHECK(f.line);
    CHECK(f.get(MIS) == TXI);
    f.set(ICR, TXI);
    CHECK_FALSE(f.line);
    f.room = 0;
    f.set(DR, 'y');
    CHECK_FALSE(f.line); // still in the FIFO
    f.room = 1;
    f.uart.tx_drained();
    CHECK(f.line);
    f.room = 0;
    for (int i = 0; i < 17; ++i) {
        f.set(DR, 'z');
    }
    CHECK_FALSE(f.line); // above the trigger: cleared by writing
    f.set(IMSC, 0);
    f.room = 100;
    f.uart.tx_drained();
    CHECK_FALSE(f.line);
    CHECK(f.get(RIS) == TXI);
    CHECK(f.get(MIS) == 0);
}

TEST_CASE("pl011: Linux's interrupt-driven transmission ends, whatever the terminal does") {
    Fixture f;
    f.set(LCRH, FEN | 0x60);
    std::vector<u8> text(1000);
    for (std::size_t i = 0; i < text.size(); ++i) {
        text[i] = static_cast<u8>(i * 7);
    }
    std::size_t sent = 0;
    f.room = 5;
    // start_tx: fill until TXFF, then wait for the interrupt.
    while (sent < text.size() && (f.get(FR) & TXFF) == 0) {
        f.set(DR, text[sent++]);
    }
    f.set(IMSC, TXI);
    unsigned turns = 0;
    while (sent < text.size() && ++turns < 10'000) {
        f.room = (turns % 7) * 3;
        f.uart.tx_drained();
        while (f.line && sent < text.size()) {
            // The handler: at most half a FIFO without looking at TXFF.
            REQUIRE((f.get(RIS) & f.get(IMSC)) == TXI);
            for (int i = 0; i < 16 && sent < text.size(); ++i) {
                f.set(DR, text[sent++]);
            }
        }
    }
    f.room = 100;
    f.uart.tx_drained();
    CHECK(sent == text.size());
    CHECK(f.screen == text);
}

TEST_CASE("pl011: reception with FIFOs: trigger, timeout, drain, back-pressure") {
    Fixture f;
    f.set(LCRH, FEN);
    f.set(IMSC, RXI | RTI);
    f.type(3);
    CHECK(f.get(RIS) == RTI);
    CHECK(f.line);
    CHECK(f.get(DR) == 0);
    CHECK(f.get(DR) == 1);
    CHECK(f.line);
    CHECK(f.get(DR) == 2);
    CHECK_FALSE(f.line);
    CHECK((f.get(FR) & RXFE) != 0);
    CHECK(f.get(DR) == 0); // empty
    f.type(100);
    CHECK(f.keyboard.size() == 68);
    CHECK((f.get(FR) & (RXFF | RXFE)) == RXFF);
    CHECK(f.get(RIS) == (RXI | RTI));
    for (u32 i = 0; i < 100; ++i) {
        CHECK((f.get(FR) & RXFE) == 0);
        CHECK(f.get(DR) == i); // no error bits
    }
    CHECK((f.get(FR) & RXFE) != 0);
    CHECK_FALSE(f.line);
    CHECK(f.get(RIS) == 0);
}

TEST_CASE("pl011: receive() takes what fits") {
    Fixture f;
    const u8 bytes[40] = {1, 2, 3};
    CHECK(f.uart.receive(bytes) == 1); // FIFOs off: one deep
    CHECK(f.get(RIS) == RXI);
    CHECK(f.get(DR) == 1);
    f.set(LCRH, FEN);
    CHECK(f.uart.receive(bytes) == 32);
    CHECK(f.uart.receive(bytes) == 0);
    CHECK(f.uart.receive({}) == 0);
}

TEST_CASE("pl011: a disabled receiver leaves the input waiting") {
    Fixture f;
    f.set(CR, 0);
    const u8 byte = 'a';
    CHECK(f.uart.receive({&byte, 1}) == 0);
    f.type(2);
    CHECK(f.keyboard.size() == 2);
    CHECK((f.get(FR) & RXFE) != 0);
    f.set(LCRH, FEN);
    f.set(CR, enabled);
    CHECK(f.keyboard.empty());
    CHECK(f.get(RIS) == RTI);
    f.set(DR, 'q'); // and output never depends on CR
    f.set(CR, 0);
    f.set(DR, 'r');
    CHECK(f.screen == std::vector<u8>{'q', 'r'});
}

TEST_CASE("pl011: every receive trigger level") {
    const u32 levels[5] = {4, 8, 16, 24, 28};
    for (u32 select = 0; select < 5; ++select) {
        Fixture f;
        f.set(LCRH, FEN);
        f.set(IFLS, select << 3);
        f.set(IMSC, RXI);
        f.type(levels[select] - 1);
        CHECK_FALSE(f.line);
        f.type(1);
        CHECK(f.line);
        (void)f.get(DR);
        CHECK_FALSE(f.line);
    }
    Fixture f;
    f.set(LCRH, FEN);
    f.type(10);
    CHECK((f.get(RIS) & RXI) == 0);
    f.set(IFLS, 1 << 3); // the new trigger is already reached
    CHECK((f.get(RIS) & RXI) != 0);
}

TEST_CASE("pl011: switching the FIFOs off loses nothing") {
    Fixture f;
    f.set(LCRH, FEN);
    f.type(5);
    f.room = 0;
    for (u32 i = 0; i < 5; ++i) {
        f.set(DR, i);
    }
    f.set(LCRH, 0);
    CHECK((f.get(FR) & (TXFF | RXFF)) == (TXFF | RXFF));
    CHECK(f.get(RIS) == RXI);
    for (u32 i = 0; i < 5; ++i) {
        CHECK(f.get(DR) == i);
    }
    CHECK(f.get(RIS) == 0);
    f.room = 5;
    f.uart.tx_drained();
    CHECK(f.screen.size() == 5);
}

TEST_CASE("pl011: loopback, overrun and modem lines") {
    Fixture f;
    f.set(LCRH, FEN);
    f.set(CR, enabled | LBE);
    CHECK((f.get(FR) & 0x107) == 0);
    CHECK((f.get(RIS) & 0xf) == 0xe); // CTS, DCD, DSR changed
    f.set(ICR, 0x7ff);
    f.set(CR, enabled | LBE | (0xf << 10));
    CHECK((f.get(FR) & 0x107) == 0x107);
    CHECK((f.get(RIS) & 0xf) == 0xf);
    f.set(ICR, 0x7ff);
    f.set(DR, 'a');
    CHECK(f.screen.empty());
    CHECK(f.get(DR) == 'a');
    for (u32 i = 0; i < 33; ++i) {
        f.set(DR, i);
    }
    CHECK((f.get(RIS) & OEI) != 0);
    CHECK(f.get(RSR) == 8);
    for (u32 i = 0; i < 32; ++i) {
        CHECK(f.get(DR) == i);
    }
    f.set(DR, 'b');
    CHECK(f.get(DR) == ('b' | 0x800));
    f.set(RSR, 0);
    CHECK(f.get(RSR) == 0);
    f.type(1);
    CHECK(f.keyboard.size() == 1); // cut off from the terminal
    f.set(CR, enabled);
    CHECK(f.keyboard.empty());
}

TEST_CASE("pl011: widths, odd offsets and reserved bits") {
    Fixture f;
    f.set(IBRD, 0xffff'ffff);
    CHECK(f.get(IBRD) == 0xffff);
    CHECK(f.get(IBRD + 1, 1) == 0xff);
    f.set(FBRD, 0xff);
    CHECK(f.get(FBRD) == 0x3f);
    f.set(DMACR, 0xff);
    CHECK(f.get(DMACR) == 7);
    f.set(IMSC, 0xffff'ffff);
    CHECK(f.get(IMSC) == 0x7ff);
    f.set(IMSC + 2, 0, 2);
    CHECK(f.get(IMSC) == 0x7ff);
    f.set(FR, 0);
    f.set(RIS, 0xffff);
    CHECK(f.get(RIS) == 0);
    for (u64 offset = 0; offset < Pl011::size; ++offset) {
        for (const unsigned size : {1u, 2u, 4u, 8u}) {
            f.uart.write(VcpuIndex{1}, offset, size, ~u64{0} >> (64 - 8 * size));
            (void)f.uart.read(VcpuIndex{1}, offset, size);
        }
    }
    f.uart.reset();
    CHECK(f.get(CR) == enabled);
    CHECK_FALSE(f.line);
}

TEST_CASE("pl011: works with nothing attached") {
    Pl011 uart;
    uart.reset();
    uart.write(VcpuIndex{0}, DR, 4, 'x');
    CHECK((uart.read(VcpuIndex{0}, FR, 4) & TXFE) != 0);
    uart.input_ready();
    uart.tx_drained();
}
