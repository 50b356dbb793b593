// SPDX-License-Identifier: Apache-2.0
// Host tests of el2/console_mux: prefixes, turns, prompts, stalls, the keyboard and the monitor's line
// editor.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "el2/console_mux.hpp"

using namespace atl;
using namespace atl::el2;

namespace {

constexpr VmId alpha{1};
constexpr VmId beta{2};
constexpr VmId gamma{3};
constexpr u8 ctrl_bracket = 0x1d;

struct Fixture {
    std::string screen;
    std::size_t port_room = 10'000'000;
    u64 now = 1000;
    std::unique_ptr<ConsoleMux> owner = std::make_unique<ConsoleMux>();
    ConsoleMux& mux = *owner;

    Fixture() {
        mux.configure({this, [](void* self) { return static_cast<Fixture*>(self)->port_room > 0; },
                       [](void* self, u8 byte) {
                           auto& f = *static_cast<Fixture*>(self);
                           REQUIRE(f.port_room > 0);
                           --f.port_room;
                           f.screen.push_back(static_cast<char>(byte));
                       }},
                      {100, 50, 1000});
    }
    ConsoleMux::PumpResult pump(std::size_t max = 1'000'000) { return mux.pump(now, max); }
    bool through = false; // try the short way first
    bool write(VmId vm, std::string_view text) {
        for (const char c : text) {
            if (through && mux.write_through(vm, static_cast<u8>(c), now)) {
                continue;
            }
            if (!mux.guest_write(vm, static_cast<u8>(c))) {
                return false;
            }
        }
        return true;
    }
    ConsoleMux::InputResult type(std::string_view text) {
        ConsoleMux::InputResult last;
        for (const char c : text) {
            last = mux.input(static_cast<u8>(c));
        }
        return last;
    }
    void key(char c) {
        mux.input(ctrl_bracket);
        mux.input(static_cast<u8>(c));
    }
    std::string taken(VmId vm) {
        u8 bytes[64];
        const std::size_t n = mux.take_input(vm, bytes);
        return {reinterpret_cast<const char*>(bytes), n};
    }
    /// What has been printed since the last call.
    std::string shown() {
        pump();
        std::string out;
        out.swap(screen);
        return out;
    }
};

} // namespace

TEST_CASE("console: one guest prints as it is, the log has its prefix") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    CHECK(f.mux.focus() == alpha);
    f.mux.log_line("hello");
    f.write(alpha, "Linux\r\n/ # ");
    CHECK(f.shown() == "[atoll] hello\r\nLinux\r\n/ # ");
    f.write(alpha, "ls\nbin\n");
    CHECK(f.shown() == "ls\r\nbin\r\n"); // a bare LF returns the cursor
    f.mux.log_line("bad \x1b[2J name\n");
    CHECK(f.shown() == "[atoll] bad ?[2J name?\r\n");
}

TEST_CASE("console: two guests are prefixed and take turns by lines") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.write(alpha, "a1\r\na2\r\na3\r\n");
    f.write(beta, "b1\r\nb2\r\n\r\n");
    CHECK(f.shown() == "[alpha] a1\r\n[beta] b1\r\n[alpha] a2\r\n[beta] b2\r\n[alpha] a3\r\n[beta] \r\n");
}

TEST_CASE("console: the focused guest's prompt shows at once, a partial line of another waits") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.write(alpha, "/ # ");
    f.write(beta, "login: ");
    CHECK(f.shown() == "[alpha] / # ");
    const auto result = f.pump();
    CHECK(result.deadline == 1100);
    CHECK_FALSE(result.more);
    f.now = 1099;
    CHECK(f.shown().empty());
    f.now = 1100;
    CHECK(f.shown() == "\r\n[beta] login: ");
    CHECK(f.pump().deadline == ConsoleMux::never);
    f.write(alpha, "x");
    CHECK(f.shown() == "\r\n[alpha ..] x"); // the focus may break in at once
    f.write(beta, "root\r\n");
    f.now += 10;
    CHECK(f.shown().empty()); // alpha's line was touched a moment ago
    CHECK(f.pump().deadline == 1150);
    f.now = 1150;
    CHECK(f.shown() == "\r\n[beta ..] root\r\n");
    f.write(alpha, "y\r\nz\r\n");
    CHECK(f.shown() == "[alpha ..] y\r\n[alpha] z\r\n");
}

TEST_CASE("console: others' lines wait for the end of the focused line") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.write(alpha, "half ");
    CHECK(f.shown() == "[alpha] half ");
    f.write(beta, "news\r\n");
    f.mux.log_line("note");
    f.now += 49;
    CHECK(f.shown().empty());
    f.write(alpha, "done\r\n");
    CHECK(f.shown() == "done\r\n[atoll] note\r\n[beta] news\r\n");
}

TEST_CASE("console: CR rewrites the line behind its prefix") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.write(alpha, "10%\r20%\r\r\n");
    CHECK(f.shown() == "[alpha] 10%\r[alpha] 20%\r\r\n");
}

TEST_CASE("console: a full ring refuses, drains and says so; nothing is lost or reordered") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.port_room = 0;
    std::string sent;
    u32 i = 0;
    for (;; ++i) {
        const char c = i % 80 == 79 ? '\n' : static_cast<char>('a' + i % 26);
        if (!f.mux.guest_write(alpha, static_cast<u8>(c))) {
            break;
        }
        sent.push_back(c);
    }
    CHECK(sent.size() == ConsoleMux::guest_ring_size);
    CHECK(f.mux.guest_tx_room(alpha) == 0);
    auto result = f.pump();
    CHECK(result.more);
    CHECK(result.writable == 0);
    CHECK(result.deadline == 2000);
    f.port_room = 100;
    result = f.pump();
    CHECK(result.writable == 0); // not for a few bytes
    f.port_room = 10'000;
    result = f.pump();
    CHECK(result.writable == 1);
    CHECK(f.pump().writable == 0); // once
    f.port_room = 1'000'000;
    f.pump();
    std::string expected;
    for (const char c : sent) {
        expected += c == '\n' ? "\r\n" : std::string(1, c);
    }
    CHECK(f.screen == expected);
    CHECK(f.mux.dropped_output(alpha) == 0);
}

TEST_CASE("console: when the port stands still guests go on, losses are counted and reported") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.port_room = 0;
    std::size_t written = 0;
    while (f.mux.guest_write(alpha, 'x')) {
        ++written;
    }
    f.pump();
    f.now += 999;
    CHECK(f.pump().writable == 0);
    CHECK_FALSE(f.mux.guest_write(alpha, 'y'));
    f.now += 1;
    CHECK(f.pump().writable == 1);
    CHECK(f.mux.guest_tx_room(alpha) > 0);
    for (int i = 0; i < 7; ++i) {
        CHECK(f.mux.guest_write(alpha, 'y'));
    }
    CHECK(f.mux.dropped_output(alpha) == 7);
    CHECK(f.screen.empty());
    f.port_room = 1'000'000;
    f.pump();
    CHECK(f.screen == std::string(written, 'x'));
    f.screen.clear();
    f.now += 100; // the partial line is held no longer
    CHECK(f.shown() == "\r\n[atoll] console: 7 bytes of alpha lost, the serial line was too slow\r\n");
    CHECK(f.shown().empty());
    f.write(alpha, "z\n");
    CHECK(f.shown() == "z\r\n");
}

TEST_CASE("console: a slow port that moves is not a stall") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    while (f.mux.guest_write(alpha, 'x')) {
    }
    for (int i = 0; i < 100; ++i) {
        f.now += 900;
        f.port_room = 1;
        f.pump();
    }
    CHECK(f.screen.size() == 100);
    (void)f.mux.guest_write(alpha, 'x');
    CHECK(f.mux.dropped_output(alpha) == 0);
}

TEST_CASE("console: an endless line starves nobody") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.write(beta, "b\r\n");
    f.write(alpha, std::string(12'000, 'a'));
    const std::string out = f.shown();
    const auto at = out.find("[beta] b\r\n");
    CHECK(at != std::string::npos);
    CHECK(at < 5000);
    CHECK(out.find("[alpha ..] aaa") != std::string::npos);
    CHECK(static_cast<std::size_t>(std::count(out.begin(), out.end(), 'a')) >= 12'000);
}

TEST_CASE("console: a focused line that keeps growing is not waited for without end") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.write(alpha, "progress ");
    f.shown();
    f.write(beta, "news\r\n");
    const u64 start = f.now;
    while (f.shown().find("[beta] news\r\n") == std::string::npos) {
        f.now += 40; // sooner than the hold is over
        REQUIRE(f.now - start <= 16 * 50 + 40);
        const auto result = f.mux.pump(f.now, 0);
        CHECK((result.more || result.deadline <= start + 16 * 50 + 40));
        f.write(alpha, ".");
    }
    CHECK(f.now - start >= 16 * 50);
}

TEST_CASE("console: an unfocused guest without newlines is flushed before its ring is full") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.write(beta, std::string(ConsoleMux::guest_ring_size / 4 * 3 - 1, 'b'));
    CHECK(f.shown().empty());
    f.write(beta, "b");
    CHECK(f.shown().size() == ConsoleMux::guest_ring_size / 4 * 3 + 7);
}

TEST_CASE("console: every byte of many guests arrives, whatever the port's pace") {
    Fixture f;
    const char* names[] = {"alpha", "beta", "gamma"};
    std::string sent[3];
    for (u16 i = 0; i < 3; ++i) {
        f.mux.add_guest(VmId{static_cast<u16>(i + 1)}, names[i]);
    }
    u64 random = 42;
    const auto next = [&random] {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        return static_cast<u32>(random >> 33);
    };
    for (int step = 0; step < 60'000; ++step) {
        const u32 g = next() % 3;
        const char c = next() % 12 == 0 ? '\n' : static_cast<char>('0' + g);
        const VmId vm{static_cast<u16>(g + 1)};
        const auto byte = static_cast<u8>(c);
        if ((next() % 2 == 0 && f.mux.write_through(vm, byte, f.now)) || f.mux.guest_write(vm, byte)) {
            sent[g].push_back(c);
        }
        if (next() % 4 == 0) {
            f.port_room = next() % 12;
            f.now += next() % 40;
            f.pump(next() % 16);
        }
        if (next() % 5000 == 0) {
            f.key('n');
        }
    }
    f.port_room = 100'000'000;
    for (int i = 0; i < 4; ++i) {
        f.now += 1000;
        f.pump();
    }
    for (u32 g = 0; g < 3; ++g) {
        CHECK(f.mux.dropped_output(VmId{static_cast<u16>(g + 1)}) == 0);
        const auto digit = static_cast<char>('0' + g);
        CHECK(std::count(f.screen.begin(), f.screen.end(), digit) ==
              std::count(sent[g].begin(), sent[g].end(), digit));
    }
    // Every line has one source only: no digit of a guest under another guest's prefix.
    std::size_t from = 0;
    while (from < f.screen.size()) {
        const std::size_t end = std::min(f.screen.find('\n', from), f.screen.size());
        const std::string line = f.screen.substr(from, end - from);
        from = end + 1;
        for (u32 g = 0; g < 3; ++g) {
            if (line.starts_with(std::string("[") + names[g])) {
                for (u32 other = 0; other < 3; ++other) {
                    const bool mixed =
                        other != g && line.find(static_cast<char>('0' + other)) != std::string::npos;
                    REQUIRE_FALSE(mixed);
                }
            }
        }
    }
}

TEST_CASE("console: pump keeps to its limit") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.write(alpha, "abcdef");
    CHECK(f.pump(4).more);
    CHECK(f.screen == "abcd");
    CHECK_FALSE(f.pump(2).more);
    CHECK(f.screen == "abcdef");
    CHECK_FALSE(f.pump(0).more);
}

TEST_CASE("console: whatever waits ends writing through, until the next pump") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.write(alpha, "a");
    f.pump();
    REQUIRE(f.mux.write_through(alpha, 'b', f.now));
    SUBCASE("a line of the log") {
        f.mux.log_line("log");
    }
    SUBCASE("the monitor") {
        f.mux.monitor_print("m");
    }
    SUBCASE("the prompt") {
        f.mux.monitor_done();
    }
    SUBCASE("a byte in the guest's own ring") {
        (void)f.mux.guest_write(alpha, 'c');
    }
    SUBCASE("a byte of another guest") {
        f.mux.add_guest(beta, "beta");
        (void)f.mux.guest_write(beta, 'c');
    }
    SUBCASE("a key of the console's own") {
        (void)f.mux.input(0x1d);
        (void)f.mux.input('?');
    }
    SUBCASE("the guest leaves") {
        f.mux.remove_guest(alpha);
    }
    const std::string before = f.screen;
    CHECK_FALSE(f.mux.write_through(alpha, 'x', f.now));
    CHECK(f.screen == before);
}

TEST_CASE("console: writing through is the same, only shorter") {
    Fixture f;
    f.through = true;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    CHECK_FALSE(f.mux.write_through(alpha, 'a', f.now)); // a line starts with its prefix
    CHECK_FALSE(f.mux.write_through(VmId{0}, 'a', f.now));
    CHECK_FALSE(f.mux.write_through(VmId{0xffff}, 'a', f.now));
    f.write(alpha, "a");
    f.pump();
    f.write(alpha, "bc");
    CHECK(f.screen == "[alpha] abc"); // no pump was needed
    CHECK_FALSE(f.mux.write_through(alpha, '\r', f.now));
    CHECK_FALSE(f.mux.write_through(beta, 'x', f.now));
    f.write(beta, "x");
    CHECK_FALSE(f.mux.write_through(alpha, 'd', f.now)); // somebody waits
    f.write(alpha, "d\r\n");
    CHECK(f.shown() == "[alpha] abcd\r\n");
    f.now += 100;
    CHECK(f.shown() == "[beta] x");
    f.write(beta, "y");
    CHECK(f.screen == "y");
    f.port_room = 0;
    CHECK_FALSE(f.mux.write_through(beta, 'z', f.now));
    f.write(beta, "z\r");
    f.port_room = 100;
    CHECK(f.shown() == "y");
    f.now += 100;
    CHECK(f.shown() == "z\r");
    CHECK_FALSE(f.mux.write_through(beta, '%', f.now)); // the prefix is due again
}

TEST_CASE("console: keyboard goes to the focused guest and moves with Ctrl-]") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.mux.add_guest(gamma, "gamma");
    CHECK(f.type("ls\r").guest == alpha);
    CHECK(f.taken(alpha) == "ls\r");
    CHECK(f.taken(alpha).empty());
    f.key('2');
    CHECK(f.mux.focus() == beta);
    CHECK(f.shown() == "[atoll] keyboard: beta (Ctrl-] ? for help)\r\n");
    CHECK(f.type("x").guest == beta);
    CHECK(f.taken(beta) == "x");
    f.key('n');
    CHECK(f.mux.focus() == gamma);
    f.key(static_cast<char>(ctrl_bracket));
    CHECK(f.mux.focus() == alpha);
    f.key(']');
    CHECK(f.taken(alpha) == "\x1d");
    f.shown();
    f.key('7');
    CHECK(f.shown() == "\a");
    f.key('q');
    CHECK(f.shown() == "\a");
    CHECK(f.mux.focus() == alpha);
    f.key('?');
    const std::string help = f.shown();
    CHECK(help.find("[atoll] guest 1: alpha (has the keyboard)\r\n") != std::string::npos);
    CHECK(help.find("[atoll] guest 3: gamma\r\n") != std::string::npos);
    f.key('m');
    CHECK(f.mux.focus() == VmId{});
    f.key('0');
    CHECK(f.mux.focus() == VmId{});
    f.mux.add_guest(VmId{10}, "ten");
    f.key('0');
    CHECK(f.mux.focus() == VmId{10});
}

TEST_CASE("console: typed input has a limit, with a bell and a count") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.type(std::string(ConsoleMux::input_ring_size, 'k'));
    CHECK(f.shown().empty());
    CHECK(f.type("kk").guest == alpha);
    CHECK(f.shown() == "\a");
    CHECK(f.mux.dropped_input(alpha) == 2);
    CHECK(f.taken(alpha).size() == 64);
}

TEST_CASE("console: a guest that goes takes neither output nor keyboard with it") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.write(alpha, "last words");
    f.mux.remove_guest(alpha);
    CHECK(f.mux.focus() == beta);
    CHECK(f.shown() == "[atoll] keyboard: beta (Ctrl-] ? for help)\r\n[alpha] last words");
    CHECK(f.mux.guest_write(alpha, 'x')); // swallowed: nobody waits
    CHECK(f.taken(alpha).empty());
    f.mux.remove_guest(beta);
    CHECK(f.mux.focus() == VmId{});
    f.mux.remove_guest(beta);
    f.mux.add_guest(alpha, "alpha");
    CHECK(f.mux.focus() == alpha);
}

TEST_CASE("console: odd ids and names are harmless") {
    Fixture f;
    f.mux.add_guest(VmId{0}, "zero");
    f.mux.add_guest(VmId{17}, "far");
    f.mux.add_guest(VmId{0xffff}, "far");
    CHECK(f.mux.focus() == VmId{});
    f.mux.add_guest(VmId{16}, "a-name-that-is-much-too-long\n");
    f.mux.add_guest(alpha, "x\x1by");
    f.write(VmId{16}, "16\n");
    f.write(alpha, "1\n");
    CHECK(f.shown() == "[x?y] 1\r\n[a-name-that-is-] 16\r\n");
    CHECK(f.mux.guest_write(VmId{0}, 'x'));
    CHECK(f.mux.dropped_output(VmId{99}) == 0);
    CHECK(f.mux.dropped_input(VmId{0}) == 0);
}

TEST_CASE("monitor: edits a line and hands over the command") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.key('m');
    CHECK(f.shown() == "[atoll] keyboard: monitor (help lists its commands, Ctrl-] n goes back)\r\natoll> ");
    CHECK_FALSE(f.type("vmx\x7f").command);
    CHECK(f.shown() == "vmx\b \b");
    CHECK(f.type("s\r").command);
    CHECK(f.shown() == "s\r\n");
    ConsoleMux::Command command;
    REQUIRE(f.mux.take_command(command));
    CHECK(command.view() == "vms");
    CHECK_FALSE(f.mux.take_command(command));
    format_to(f.mux.monitor_sink(), "{} VM\n", 1u);
    f.mux.monitor_done();
    CHECK(f.shown() == "1 VM\r\natoll> ");
    CHECK_FALSE(f.type("\n").command); // the LF of a CR LF
    CHECK(f.shown().empty());
    CHECK_FALSE(f.type("\n").command);
    CHECK(f.shown() == "\r\natoll> ");
    CHECK_FALSE(f.type("  \r").command);
    f.shown();
    f.type("abc\x15");
    CHECK(f.shown() == "abc\b \b\b \b\b \b");
    f.type("\x7f");
    CHECK(f.shown().empty());
    f.type("abc\x03");
    CHECK(f.shown() == "abc^C\r\natoll> ");
    f.type("\x1b\t");
    CHECK(f.shown() == "\a");
    CHECK_FALSE(f.type(std::string(79, 'z')).command);
    f.shown();
    f.type("z");
    CHECK(f.shown() == "\a");
    CHECK(f.type("\r").command);
    CHECK(f.type("more\r").command); // not yet taken: a bell
    REQUIRE(f.mux.take_command(command));
    CHECK(command.view() == std::string(79, 'z'));
}

TEST_CASE("monitor: a line that comes between is followed by the prompt again") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.key('m');
    f.type("sta");
    f.shown();
    f.write(alpha, "oops\r\n");
    CHECK(f.shown().empty());
    f.now += 50;
    CHECK(f.shown() == "\r\noops\r\n");
    f.type("t");
    CHECK(f.shown() == "atoll> stat");
    // Away and back: what was typed is gone.
    f.key('1');
    f.key('m');
    f.shown();
    CHECK(f.type("x\r").command);
    ConsoleMux::Command command;
    REQUIRE(f.mux.take_command(command));
    CHECK(command.view() == "x");
}

TEST_CASE("console: the log's own overflow is reported in lines") {
    Fixture f;
    f.port_room = 0;
    const std::string line(99, 'l');
    for (int i = 0; i < 170; ++i) {
        f.mux.log_line(line);
    }
    f.port_room = 10'000'000;
    f.pump();
    const std::string all = f.screen + f.shown();
    CHECK(all.find("[atoll] console: 7 lines of this log lost") != std::string::npos);
}

TEST_CASE("console: a shell without the keyboard cannot make the terminal answer") {
    Fixture f;
    f.mux.add_guest(alpha, "alpha");
    f.mux.add_guest(beta, "beta");
    f.shown();
    f.write(beta, "beta:/ # \x1b[6n\r\n");
    CHECK(f.shown() == "[beta] beta:/ # \r\n");
    f.write(beta, "\x1b[6x \x1b[\x1b[6n\x1b[0m.\r\n"); // what only begins like the query is shown
    CHECK(f.shown() == "[beta] \x1b[6x \x1b[\x1b[0m.\r\n");
    f.write(alpha, "\x1b[6n\r\n"); // the focused one may ask
    CHECK(f.shown() == "[alpha] \x1b[6n\r\n");
}
