// SPDX-License-Identifier: Apache-2.0
// Closed loop of el2/console_mux and mmio_emul/pl011: two guests that drive their UARTs as Linux's amba-pl011
// does, one serial port of varying pace. Every byte arrives once and in order, and no guest waits for ever.
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "el2/console_mux.hpp"
#include "mmio_emul/pl011.hpp"

using namespace atl;
using namespace atl::el2;
using mmio_emul::Pl011;

namespace {

constexpr u64 DR = 0, FR = 0x18, LCRH = 0x2c, IMSC = 0x38, RIS = 0x3c;
constexpr u32 TXFF = 1 << 5, BUSY = 1 << 3, RXFE = 1 << 4, FEN = 1 << 4, TXI = 1 << 5, RXI = 1 << 4,
              RTI = 1 << 6;

struct Machine;

/// A guest's driver: transmits `text` by interrupts, keeps what it receives.
struct Guest {
    Machine* machine = nullptr;
    VmId id{};
    Pl011 uart;
    bool line = false;
    std::string text;
    std::size_t sent = 0;
    std::string received;

    u32 get(u64 offset) { return static_cast<u32>(uart.read(VcpuIndex{0}, offset, 4)); }
    void set(u64 offset, u32 value) { uart.write(VcpuIndex{0}, offset, 4, value); }

    void start() {
        set(LCRH, FEN | 0x60);
        set(IMSC, RXI | RTI);
        while (sent < text.size() && (get(FR) & TXFF) == 0) {
            set(DR, static_cast<u8>(text[sent++]));
        }
        set(IMSC, RXI | RTI | (sent < text.size() ? TXI : 0));
    }
    void interrupt() {
        const u32 status = get(RIS) & get(IMSC);
        if ((status & (RXI | RTI)) != 0) {
            while ((get(FR) & RXFE) == 0) {
                received.push_back(static_cast<char>(get(DR)));
            }
        }
        if ((status & TXI) != 0) {
            for (int i = 0; i < 16 && sent < text.size(); ++i) {
                set(DR, static_cast<u8>(text[sent++]));
            }
            if (sent == text.size()) {
                set(IMSC, RXI | RTI);
            }
        }
    }
};

struct Machine {
    std::unique_ptr<ConsoleMux> owner = std::make_unique<ConsoleMux>();
    ConsoleMux& mux = *owner;
    Guest guests[2];
    std::string screen;
    std::size_t port_room = 0;
    u64 now = 0;
    GuestMask writable = 0;

    Machine() {
        mux.configure({this, [](void* self) { return static_cast<Machine*>(self)->port_room > 0; },
                       [](void* self, u8 byte) {
                           --static_cast<Machine*>(self)->port_room;
                           static_cast<Machine*>(self)->screen.push_back(static_cast<char>(byte));
                       }},
                      {100, 50, 100'000});
        const char* names[] = {"alpha", "beta"};
        for (u16 i = 0; i < 2; ++i) {
            Guest& guest = guests[i];
            guest.machine = this;
            guest.id = VmId{static_cast<u16>(i + 1)};
            mux.add_guest(guest.id, names[i]);
            guest.uart.attach(
                {&guest, [](void* g, u32, bool high) { static_cast<Guest*>(g)->line = high; }, 33},
                {&guest, &Machine::transmit, [](void* context, std::span<u8> into) {
                     auto& g = *static_cast<Guest*>(context);
                     return g.machine->mux.take_input(g.id, into);
                 }});
        }
    }
    static bool transmit(void* context, u8 byte) {
        auto& guest = *static_cast<Guest*>(context);
        Machine& m = *guest.machine;
        if (m.mux.write_through(guest.id, byte, m.now)) {
            return true;
        }
        const bool taken = m.mux.guest_write(guest.id, byte);
        m.service();
        return taken;
    }
    void service() { writable |= mux.pump(now, 512).writable; }
    /// What EL2 does without locks held: tells guests that have room.
    void deliver() {
        service();
        for (u32 i = 0; i < 2; ++i) {
            if ((writable & (1u << i)) != 0) {
                writable &= ~(1u << i);
                guests[i].uart.tx_drained();
            }
        }
    }
    bool done() { return guests[0].sent == guests[0].text.size() && guests[1].sent == guests[1].text.size(); }
    bool idle() { return ((guests[0].get(FR) | guests[1].get(FR)) & BUSY) == 0; }

    /// The lines under one guest's prefix, joined again.
    std::string output_of(std::string_view name) const {
        const std::string whole = "[" + std::string(name) + "] ";
        const std::string rest = "[" + std::string(name) + " ..] ";
        std::string out;
        std::size_t from = 0;
        while (from < screen.size()) {
            const std::size_t end = std::min(screen.find("\r\n", from), screen.size());
            const std::string line = screen.substr(from, end - from);
            from = end + 2;
            if (line.starts_with(whole)) {
                out += "|" + line.substr(whole.size());
            } else if (line.starts_with(rest)) {
                out += line.substr(rest.size());
            }
        }
        return out;
    }
};

} // namespace

TEST_CASE("console and uart: all output of two chatty guests arrives in order at any pace") {
    for (const u64 pace : {u64{1}, u64{5}, u64{64}, u64{4000}}) {
        CAPTURE(pace);
        Machine m;
        std::string expected[2];
        for (int g = 0; g < 2; ++g) {
            for (int i = 0; i < 1500; ++i) {
                const std::string line = std::string(1, g == 0 ? 'a' : 'b') + std::to_string(i * 7919);
                m.guests[g].text += line + "\r\n";
                expected[g] += "|" + line;
            }
        }
        m.guests[0].start();
        m.guests[1].start();
        u64 turns = 0;
        while ((!m.done() || !m.idle()) && ++turns < 400'000) {
            m.now += 1;
            m.port_room += pace;
            m.deliver();
            for (Guest& guest : m.guests) {
                if (guest.line) {
                    guest.interrupt();
                }
            }
        }
        REQUIRE(m.done());
        REQUIRE(m.idle());
        m.port_room = 10'000'000;
        m.now += 1000;
        m.mux.pump(m.now, m.port_room);
        const bool alpha_whole = m.output_of("alpha") == expected[0]; // not printed: they are long
        const bool beta_whole = m.output_of("beta") == expected[1];
        CHECK(alpha_whole);
        CHECK(beta_whole);
        CHECK(m.mux.dropped_output(VmId{1}) == 0);
        CHECK(m.mux.dropped_output(VmId{2}) == 0);
    }
}

TEST_CASE("console and uart: a port that never moves blocks no guest for ever") {
    Machine m;
    m.guests[0].text = std::string(100'000, 'x');
    m.guests[0].start();
    u64 steps = 0;
    while ((!m.done() || !m.idle()) && ++steps < 100'000) {
        // EL2 sleeps until the deadline that it was given, or the guest acts.
        const auto result = m.mux.pump(m.now, 512);
        m.writable |= result.writable;
        if (!m.guests[0].line && m.writable == 0) {
            REQUIRE(result.deadline != ConsoleMux::never);
            m.now = result.deadline;
        }
        m.deliver();
        if (m.guests[0].line) {
            m.guests[0].interrupt();
        }
    }
    CHECK(m.done());
    CHECK(m.idle());
    CHECK(m.mux.dropped_output(VmId{1}) == 100'000 - ConsoleMux::guest_ring_size);
}

TEST_CASE("console and uart: a pasted text arrives whole, through ring and FIFO") {
    Machine m;
    m.port_room = 1'000'000;
    m.guests[0].start();
    std::string pasted;
    for (int i = 0; i < 1000; ++i) {
        pasted.push_back(static_cast<char>('!' + i % 90));
        const auto result = m.mux.input(static_cast<u8>(pasted.back()));
        REQUIRE(result.guest == VmId{1});
        m.guests[0].uart.input_ready();
        if (i % 100 == 99 && m.guests[0].line) {
            m.guests[0].interrupt();
        }
    }
    CHECK(m.guests[0].received == pasted);
    CHECK_FALSE(m.guests[0].line);
    CHECK(m.guests[1].received.empty());
}
