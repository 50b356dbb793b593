// SPDX-License-Identifier: Apache-2.0
// The monitor's commands [el2/monitor.cpp] and the console that carries them [el2/console.hpp]: typed at the
// UART, read from the UART.
#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;

namespace {

struct Operator {
    Machine m;

    explicit Operator(std::vector<VmSpec> specs = {VmSpec{}, VmSpec{}}) : m(std::move(specs)) {
        type("\x1dm"); // Ctrl-] m: the monitor
    }
    void type(std::string_view keys) {
        for (const char c : keys) {
            m.hw().uart_in.push_back(static_cast<u8>(c));
        }
        m.on(0);
        m.world.console.on_interrupt(m.world);
        m.settle();
        m.pass(5'000'000);
    }
    /// What is printed from the command on.
    std::string command(std::string_view line) {
        m.hw().uart_out.clear();
        type(std::string(line) + "\r");
        return m.hw().uart_out;
    }
};

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("monitor: help names every command") {
    Operator o;
    const std::string text = o.command("help");
    for (const char* name :
         {"vms", "stats", "pages", "irqs", "walk", "start", "stop", "reset", "off", "panic", "Keys"}) {
        CHECK(has(text, name));
    }
    CHECK(has(o.command("nonsense"), "unknown command 'nonsense'"));
    CHECK(!has(o.command(""), "unknown"));
}

TEST_CASE("monitor: vms, stats, pages") {
    Operator o;
    CHECK(has(o.command("vms"), "off"));
    o.m.boot_all();
    const std::string vms = o.command("vms");
    CHECK(has(vms, "vm1"));
    CHECK(has(vms, "running"));
    CHECK(has(vms, "vcpu 1 on cpu 1  off"));
    o.m.exit(o.m.load(o.m.vcpu(1)), 0); // undefined
    const std::string stats = o.command("stats vm1");
    CHECK(has(stats, "1 undefined"));
    CHECK(!has(stats, "vm2"));
    CHECK(has(o.command("stats"), "vm2"));
    CHECK(has(o.command("pages"), "owned"));
}

TEST_CASE("monitor: start, stop, reset") {
    Operator o;
    o.command("start vm1");
    CHECK(o.m.vm(1).state == VmState::running);
    CHECK(has(o.command("start vm1"), "cannot start"));
    o.command("reset vm1");
    CHECK(o.m.vm(1).boots == 2);
    CHECK(o.m.vm(1).state == VmState::running);
    o.m.boot(2);
    o.command("stop vm1");
    CHECK(o.m.vm(1).state == VmState::absent);
    CHECK(has(o.command("stop vm1"), "no running VM"));
    CHECK(has(o.command("stop vm9"), "no running VM"));
    CHECK(has(o.command("start"), "no VM is called"));
    o.command("off");
    CHECK(o.m.powered_off == 1);
}

TEST_CASE("monitor: walk and irqs") {
    Operator o;
    CHECK(has(o.command("walk vm1 40000000"), "off"));
    o.m.boot_all();
    CHECK(has(o.command("walk vm1 40001000"), "rwx normal"));
    CHECK(has(o.command("walk vm1 0x40001000"), "rwx normal"));
    CHECK(has(o.command("walk vm1 c0000000"), "not mapped"));
    CHECK(has(o.command("walk vm1 ffffffffffffffff"), "not mapped"));
    CHECK(has(o.command("walk vm1"), "usage"));
    CHECK(has(o.command("walk nobody 0"), "usage"));
    CHECK(has(o.command("irqs nobody"), "no VM is called"));
    CHECK(!has(o.command("irqs vm1"), "no VM is called"));
}

TEST_CASE("monitor: irq tells one interrupt's state, place and reason to wait") {
    Operator o;
    o.m.boot_all();
    for (const char* const wrong : {"irq", "irq vm1", "irq vm1 x", "irq vm1 123456", "irq nobody 3"}) {
        CHECK(has(o.command(wrong), "usage"));
    }
    CHECK(has(o.command("irq vm1 1020"), "no interrupt 1020"));
    CHECK(has(o.command("irq vm1 8192"), "no interrupt 8192")); // without an ITS
    CHECK(has(o.command("irq vm1 27"), "PPI 27: group 0 level, priority 0x0, disabled, line low"));
    CHECK(has(o.command("irq vm1 27"), "the host's PPI 27, free to fire"));
    CHECK(has(o.command("irq vm1 40"), "SPI 40: group 0 level, priority 0x0, disabled, line low"));
    CHECK(has(o.command("irq vm1 40"), "to vCPU 0"));
    Vm& vm = o.m.vm(1);
    Vcpu& v = o.m.load(o.m.vcpu(1));
    kick_vcpus(vm, vm.gic.set_line({40}, true));
    CHECK(has(o.command("irq vm1 40"), "line high; waits: it is disabled"));
    o.m.write(v, guest_map::gicd.base + 0x84, ~u32{0}); // GICD_IGROUPR1
    o.m.write(v, guest_map::gicd.base + 0x104, 1u << 8);
    CHECK(has(o.command("irq vm1 40"),
              "group 1 level, priority 0x0, enabled, line high; waits: its group is off"));
    o.m.write(v, guest_map::gicd.base, 3);
    o.m.load(v);
    CHECK(has(o.command("irq vm1 40"), "in list register 0 of vCPU 0: "));
    CHECK(has(o.command("irq vm1 40"), " pending"));
}

TEST_CASE("monitor: random lines never stop EL2") {
    u64 seed = 17;
    const auto random = [&seed](u64 below) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (seed >> 33) % below;
    };
    Operator o;
    o.m.boot_all();
    const char* const words[] = {"vms", "stats", "irqs",  "walk", "vm1",   "vm2", " ",
                                 "0x",  "ffff",  "start", "stop", "reset", "\t"};
    for (unsigned i = 0; i < 300; ++i) {
        std::string line;
        for (u64 n = random(6); n != 0; --n) {
            line += words[random(std::size(words))];
            line += random(2) == 0 ? " " : "";
        }
        o.command(line);
    }
}

TEST_CASE("console: both guests' output arrives, each byte, and the keyboard goes to the one in focus") {
    Operator o;
    o.m.boot_all();
    o.m.hw().uart_out.clear();
    for (const char c : std::string("hello\n")) {
        o.m.write(o.m.vcpu(1), guest_map::uart.base, static_cast<u8>(c), 1);
        o.m.write(o.m.vcpu(2), guest_map::uart.base, static_cast<u8>(c - ('a' - 'A') * (c != '\n')), 1);
    }
    o.m.pass(5'000'000);
    CHECK(has(o.m.hw().uart_out, "hello"));
    CHECK(has(o.m.hw().uart_out, "HELLO"));
    o.type("\x1d"
           "2q");
    CHECK((o.m.read(o.m.vcpu(2), guest_map::uart.base + 0x18) & 0x10) == 0); // FR.RXFE
    CHECK((o.m.read(o.m.vcpu(1), guest_map::uart.base + 0x18) & 0x10) != 0);
    CHECK(o.m.read(o.m.vcpu(2), guest_map::uart.base) == 'q');
}

TEST_CASE("console: a stuck port holds guests' output, and lets it out when it moves again") {
    Operator o;
    o.m.boot_all();
    o.type("\x1d"
           "1");
    o.m.hw().uart_out.clear();
    o.m.hw().uart_stuck = true;
    for (const char c : std::string("waits\n")) {
        o.m.write(o.m.vcpu(1), guest_map::uart.base, static_cast<u8>(c), 1);
    }
    CHECK(!has(o.m.hw().uart_out, "waits"));
    CHECK(o.m.hw().uart_tx_interrupt);
    o.m.hw().uart_stuck = false;
    o.m.on(0);
    o.m.world.console.on_interrupt(o.m.world);
    o.m.pass(5'000'000);
    CHECK(has(o.m.hw().uart_out, "waits"));
    CHECK(!o.m.hw().uart_tx_interrupt);
}
