// SPDX-License-Identifier: Apache-2.0
// Stage-2 aborts, whole exits [el2/abort.cpp]: emulated devices by every kind of access, instructions without
// a syndrome, and memory that a guest has not, has no more, or may only read.
#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;
namespace Spsr = arch::Spsr;

namespace {

constexpr Ipa uart_dr = guest_map::uart.base;
constexpr Ipa uart_fr = guest_map::uart.base + 0x18;
constexpr Ipa uart_id = guest_map::uart.base + 0xfe0; // PeriphID0..3: 0x11, 0x10, 0x34, 0x00
constexpr Ipa gicd_typer = guest_map::gicd.base + 4;
constexpr u64 vbar = 0xffff'8000'0000'0000;
constexpr u64 translation = 0b000111;
constexpr u64 permission = 0b001111;

struct Guest {
    Machine m;
    Vcpu* v;

    explicit Guest(std::vector<VmSpec> specs = {VmSpec{}}) : m(std::move(specs)) {
        m.boot_all();
        v = &m.load(m.vcpu(1));
        v->sys.vbar = vbar;
        v->sys.sctlr |= u64{1} << 23;
    }
    void mode(u64 pstate) { m.hw().here().pstate = pstate; }
    /// The exit ends with an external abort in the guest: its ESR_EL1, or 0.
    u64 aborted(u64 before_esr = 0xdead) const { return v->sys.esr == before_esr ? 0 : v->sys.esr; }
    Action abort(u64 ec, u64 iss, Ipa ipa, u64 far) {
        v->sys.esr = 0xdead;
        m.hw().fault = {far, ipa, true};
        return m.exit(*v, ec << 26 | arch::Esr::IL::mask | iss);
    }
    Action data(u64 iss, Ipa ipa, u64 far = 0xffff'0000'1230) { return abort(0x24, iss, ipa, far); }
    Action fetch(u64 iss, Ipa ipa, u64 far = 0xffff'0000'1230) { return abort(0x20, iss, ipa, far); }
};

} // namespace

TEST_CASE("abort: loads of every size, sign and width from the UART's ID registers") {
    Guest g;
    struct Case {
        u64 offset;
        unsigned size;
        bool sign, wide;
    };
    // A device register that holds bit 31 and bit 7 patterns: GICD_PIDR2 and the UART's IDs are small, so use
    // memory-like GICD_IPRIORITYR: bytes as written.
    const Ipa priority = guest_map::gicd.base + 0x420;
    g.m.write(*g.v, priority, 0xf8'80'78'88);
    for (const unsigned size : {1u, 4u}) {
        for (const bool sign : {false, true}) {
            for (const bool wide : {false, true}) {
                g.v->x[6] = ~u64{0};
                g.m.access(*g.v, priority, false, size, 6, {.sign_extend = sign, .to_64 = wide});
                u64 wanted = size == 1 ? 0x88 : 0xf880'7888;
                if (sign) {
                    wanted |= size == 1 ? 0xffff'ffff'ffff'ff00 : 0xffff'ffff'0000'0000;
                }
                CHECK(g.v->x[6] == (wide ? wanted : static_cast<u32>(wanted)));
            }
        }
    }
    CHECK(g.m.read(*g.v, priority + 3, 1) == 0xf8);
    CHECK(g.m.read(*g.v, uart_id, 4) == 0x11);
    CHECK(g.m.read(*g.v, uart_id, 1) == 0x11);
    CHECK(g.m.read(*g.v, uart_id, 2) == 0x11);
}

TEST_CASE("abort: every register as source and destination, XZR included") {
    Guest g;
    for (unsigned rt = 0; rt < 32; ++rt) {
        for (unsigned i = 0; i < 31; ++i) {
            g.v->x[i] = 0xaaaa'aaaa'0000'0000 | i;
        }
        const u64 pc = g.v->pc;
        CHECK(g.m.access(*g.v, gicd_typer, false, 4, rt) == action::advance);
        CHECK(g.v->pc == pc + 4);
        for (unsigned i = 0; i < 31; ++i) {
            CHECK((g.v->x[i] == (0xaaaa'aaaa'0000'0000 | i)) == (i != rt));
        }
        if (rt != 31) {
            CHECK((g.v->x[rt] >> 32) == 0);
        }
    }
    const auto out = g.m.hw().uart_out.size();
    g.v->x[30] = 0x1234'5600 + 'x';
    g.m.access(*g.v, uart_dr, true, 4, 30);
    g.m.access(*g.v, uart_dr, true, 1, 31); // XZR: NUL
    g.v->x[3] = '\n';
    g.m.access(*g.v, uart_dr, true, 1, 3);
    g.m.pass(1'000'000);
    const std::string text = g.m.hw().uart_out.substr(out);
    CHECK(text.find('x') != std::string::npos);
    CHECK(text.find('\0') != std::string::npos);
}

TEST_CASE("abort: GIC frames, the RTC, and their borders") {
    Guest g;
    Machine& m = g.m;
    CHECK(m.read(*g.v, guest_map::gicd.base + 0xffe8) == 0x3b);                          // GICD_PIDR2: GICv3
    CHECK(m.read(*g.v, guest_map::gicr_base + 0xffe8) == 0x3b);                          // of vCPU 0
    CHECK(m.read(*g.v, guest_map::gicr_base + guest_map::gicr_stride + 0xffe8) == 0x3b); // of vCPU 1
    CHECK((m.read(*g.v, guest_map::gicr_base + guest_map::gicr_stride + 8, 8) >> 32) ==
          1); // GICR_TYPER affinity
    CHECK((m.read(*g.v, guest_map::gicr_base + guest_map::gicr_stride + 8, 8) & 0x10) != 0); // Last
    CHECK(m.read(*g.v, guest_map::rtc.base) == m.hw().counter / 1'000'000);
    // Behind the last redistributor, and between devices: nobody.
    for (const Ipa ipa : {guest_map::gicr_base + 2 * guest_map::gicr_stride, guest_map::uart.base + 0x1000,
                          Ipa{0x0901'1000}, Ipa{0x07ff'fffc}, Ipa{0}, Ipa{0x3fff'fffc}, Ipa{0x1000'0000}}) {
        g.v->sys.esr = 0xdead;
        CHECK(m.access(*g.v, ipa, false, 4, 3) == action::inject);
        CHECK(g.aborted() == (u64{0x25} << 26 | arch::Esr::IL::mask | 0x10));
        g.v->pc = 0x4000'0000;
    }
    // An access that begins inside a device and ends outside.
    CHECK(m.access(*g.v, guest_map::uart.base + 0xffe, false, 4, 3) == action::inject);
    CHECK(m.vm(1).state == VmState::running);
}

TEST_CASE("abort: an access whose IPA is not known is repeated") {
    Guest g;
    g.m.hw().fault = {0x1000, {}, false};
    const u64 pc = g.v->pc;
    CHECK(g.m.exit(*g.v, u64{0x24} << 26 | permission) == action::resume);
    CHECK(g.m.exit(*g.v, u64{0x20} << 26 | permission) == action::resume);
    CHECK(g.v->pc == pc);
}

TEST_CASE("abort: memory that is mapped by now is a spurious fault") {
    Guest g;
    CHECK(g.data(translation | 0x40, Ipa{0x4000'1000}) == action::resume);
    CHECK(g.data(translation, Ipa{0x4000'1000}) == action::resume);
    CHECK(g.fetch(translation, Ipa{0x4000'1000}) == action::resume);
    CHECK(g.data(translation | u64{1} << 24 | u64{3} << 22, Ipa{0x4000'1000}) == action::resume);
}

TEST_CASE("abort: holes of RAM, the empty window, and beyond everything") {
    for (const u64 pstate : {Spsr::EL1h, Spsr::EL0t, Spsr::M4_AArch32}) {
        for (const Ipa ipa :
             {Ipa{0x4040'0000}, guest_map::window_base, Ipa{0xff'ffff'f000}, Ipa{0x1'0000'0000}}) {
            Guest g;
            g.mode(pstate);
            CHECK(g.data(translation | 0x40, ipa) == action::inject);
            const u64 ec = pstate == Spsr::EL1h ? 0x25 : 0x24;
            CHECK(g.aborted() == (ec << 26 | arch::Esr::IL::mask | 0x50));
            CHECK(g.v->sys.far == 0xffff'0000'1230);
            CHECK(g.m.hw().logged("external abort injected"));
            CHECK(
                g.m.hw().logged(ipa == guest_map::window_base ? "share window" : "no memory and no device"));
            g.v->pc = 0x4000'0000; // not in its vectors
            CHECK(g.fetch(translation, ipa) == action::inject);
        }
    }
}

TEST_CASE("abort: a fault on the guest's own table walk becomes an abort on the walk") {
    Guest g;
    CHECK(g.data(translation | 0x80 | 0x40, Ipa{0x0900'0000}) == action::inject); // tables in a device
    CHECK((g.aborted() & 0x3c) == 0b010100);
    CHECK(g.data(0b000101 | 0x80, Ipa{0x5000'0000}) == action::inject);
    CHECK((g.aborted() & 0x3f) == 0b010101);
    // Valid-looking syndromes do not make it a device access.
    CHECK(g.data(translation | 0x80 | u64{1} << 24 | u64{2} << 22, uart_dr) == action::inject);
}

TEST_CASE("abort: what the memory system reports is passed on, cache maintenance of a device is nothing") {
    Guest g;
    CHECK(g.data(0b010000, Ipa{0x4000'0000}) == action::inject);
    CHECK(g.data(0b010000 | 0x200, Ipa{0x4000'0000}) == action::inject);
    CHECK(g.m.hw().logged("memory system"));
    const u64 pc = g.v->pc;
    CHECK(g.data(translation | 0x140, uart_dr) == action::advance);
    CHECK(g.v->pc == pc + 4);
}

TEST_CASE("abort: fetching from a device, and a vector table that is not there") {
    Guest g;
    CHECK(g.fetch(translation, uart_dr) == action::inject);
    CHECK(g.aborted() == (u64{0x21} << 26 | arch::Esr::IL::mask | 0x10));
    CHECK(g.v->pc == vbar + 0x200);
    // The next fetch faults in the vector itself: for ever, if the VM were not stopped.
    g.m.hw().fault = {vbar + 0x200, Ipa{0x5000'0000}, true};
    g.m.exit(*g.v, u64{0x20} << 26 | arch::Esr::IL::mask | translation);
    g.m.settle();
    CHECK(g.m.vm(1).state == VmState::absent);
    CHECK(g.m.vm(1).crashed);
}

TEST_CASE("abort: reports are throttled, and start anew with time, not with a restart") {
    Guest g;
    for (unsigned i = 0; i < 500; ++i) {
        g.data(translation, Ipa{0x5000'0000});
        g.v->pc = 0x4000'0000;
    }
    CHECK(g.m.hw().log.size() < 60);
    CHECK(g.m.hw().logged("left out"));
    CHECK(g.m.vm(1).aborts_injected == 500);
    const auto lines = g.m.hw().log.size();
    g.m.call(*g.v, {abi::psci_system_reset});
    g.m.settle();
    g.v = &g.m.load(g.m.vcpu(1));
    g.data(translation, Ipa{0x5000'0000});
    CHECK(g.m.hw().log.size() == lines);
    g.m.hw().counter += 11 * g.m.world.counter_hz;
    g.v->pc = 0x4000'0000;
    g.data(translation, Ipa{0x5000'0000});
    CHECK(g.m.hw().log.size() == lines + 1);
}

// ---- instructions without a syndrome
// -----------------------------------------------------------------------------

namespace {

/// The guest runs `instruction` at 0x4000'2000 (identity-mapped for fetch), `va` is mapped to `ipa`.
struct Decoded : Guest {
    static constexpr u64 va = 0xffff'0000'0000'0000;

    explicit Decoded(u32 instruction) {
        m.poke(1, 0x4000'2000, &instruction, 4);
        m.hw().stage1[0x4000'2000] = Ipa{0x4000'2000};
        m.hw().stage1[va] = guest_map::gicd.base;
        m.hw().stage1[va + 0x1'0000] = guest_map::uart.base;
        v->pc = 0x4000'2000;
    }
    Action run(Ipa ipa, u64 iss = translation) { return data(iss, ipa, va); }
};

} // namespace

TEST_CASE("abort: a pair of words is read from two registers of the device") {
    Decoded g(0x2940'0c02); // LDP W2, W3, [X0]
    g.v->x[0] = Decoded::va + 0x420;
    g.m.write(*g.v, guest_map::gicd.base + 0x420, 0x10203040);
    g.m.write(*g.v, guest_map::gicd.base + 0x424, 0x50607080);
    g.v->pc = 0x4000'2000;
    CHECK(g.run(guest_map::gicd.base + 0x420) == action::advance);
    CHECK(g.v->x[2] == 0x10203040);
    CHECK(g.v->x[3] == 0x50607080);
    CHECK(g.v->pc == 0x4000'2004);
}

TEST_CASE("abort: writeback and the stack pointer as base") {
    SUBCASE("LDR W1, [X4], #4") {
        Decoded g(0xb840'4481);
        g.v->x[4] = Decoded::va + 4;
        CHECK(g.run(gicd_typer) == action::advance);
        CHECK(g.v->x[4] == Decoded::va + 8);
        CHECK(g.v->x[1] != 0);
    }
    SUBCASE("STR W1, [SP, #-16]!") {
        Decoded g(0xb81f'0fe1);
        g.m.hw().here().sp = Decoded::va + 0x430;
        g.v->x[1] = 0xa0a0a0a0;
        CHECK(g.run(guest_map::gicd.base + 0x420) == action::advance);
        CHECK(g.m.hw().here().sp == Decoded::va + 0x420);
        CHECK(g.m.read(*g.v, guest_map::gicd.base + 0x420) == 0xa0a0a0a0);
    }
    SUBCASE("STRB W1, [X4], #1 to the UART") {
        Decoded g(0x3800'1481);
        g.v->x[4] = Decoded::va + 0x1'0000;
        g.v->x[1] = 'Q';
        CHECK(g.run(uart_dr) == action::advance);
        CHECK(g.v->x[4] == Decoded::va + 0x1'0001);
        g.m.pass(1'000'000);
        CHECK(g.m.hw().uart_out.find('Q') != std::string::npos);
    }
}

TEST_CASE("abort: what cannot be decoded ends in the guest") {
    SUBCASE("SIMD") {
        Decoded g(0x3dc0'0000); // LDR Q0, [X0]
        CHECK(g.run(gicd_typer) == action::inject);
        CHECK(g.m.hw().logged("not emulated"));
    }
    SUBCASE("no load at all: the code changed meanwhile") {
        Decoded g(0xd503'201f); // NOP
        CHECK(g.run(gicd_typer) == action::inject);
    }
    SUBCASE("AArch32") {
        Decoded g(0);
        g.mode(Spsr::M4_AArch32);
        CHECK(g.run(gicd_typer) == action::inject);
        CHECK(g.m.hw().logged("AArch32"));
    }
    SUBCASE("the second half of a pair lies on another page, which has no device") {
        Decoded g(0x2940'0c02); // LDP W2, W3, [X0]
        g.v->x[0] = Decoded::va + 0x1'0ffc;
        g.m.hw().stage1[Decoded::va + 0x1'1000] = Ipa{0x0901'2000};
        CHECK(g.run(guest_map::uart.base + 0xffc) == action::inject);
    }
    SUBCASE("the second half has no translation") {
        Decoded g(0x2940'0c02);
        g.v->x[0] = Decoded::va + 0x1'0ffc;
        CHECK(g.run(guest_map::uart.base + 0xffc) == action::inject);
        CHECK(g.m.hw().logged("leaves the device's page"));
    }
    SUBCASE("the code page cannot be read: repeating could go on for ever") {
        Decoded g(0x2940'0c02);
        g.m.hw().stage1.erase(0x4000'2000);
        CHECK(g.run(gicd_typer) == action::inject);
        CHECK(g.m.hw().logged("cannot be read for emulation"));
    }
}

TEST_CASE("abort: random instructions and registers against devices never leave the guest's own fate") {
    u64 seed = 5;
    const auto random = [&seed] {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return seed ^ seed >> 29;
    };
    Decoded g(0);
    for (unsigned i = 0; i < 16; ++i) {
        g.m.hw().stage1[Decoded::va + i * 0x1000] = guest_map::gicd.base + i * 0x1000;
    }
    for (unsigned step = 0; step < 20'000; ++step) {
        if (g.m.vm(1).state != VmState::running || g.m.cpu(0).current != g.v) {
            break;
        }
        const auto instruction =
            static_cast<u32>((random() & ~u64{0x0a00'0000}) | 0x0800'0000); // loads and stores
        g.m.poke(1, 0x4000'2000, &instruction, 4);
        for (u64& x : g.v->x) {
            x = Decoded::va + random() % 0x1'0000;
        }
        g.v->pc = 0x4000'2000;
        g.mode(random() % 4 == 0 ? Spsr::EL0t : Spsr::EL1h);
        const Action action =
            g.run(guest_map::gicd.base + random() % 0x1'0000, translation | (random() & 0x40));
        CHECK((action == action::advance || action == action::resume || action == action::inject));
    }
}
