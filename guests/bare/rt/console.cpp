// SPDX-License-Identifier: Apache-2.0
// Console of the bare payloads (PL011, polled [DDI0183]) and the PASS/FAIL reports.
#include "guests/bare/rt/rt.hpp"

namespace atl::bare {
namespace {

constexpr u64 uart_dr = uart_base + 0x00;
constexpr u64 uart_fr = uart_base + 0x18;
constexpr u32 fr_rxfe = 1U << 4;
constexpr u32 fr_txff = 1U << 5;

u64 passed = 0;
u64 failed = 0;

} // namespace

void put_char(char c) {
    while ((read32(uart_fr) & fr_txff) != 0) {
        yield();
    }
    write32(uart_dr, static_cast<u8>(c));
}

void put(const char* text) {
    for (; *text != '\0'; ++text) {
        put_char(*text);
    }
}

void put_dec(u64 value) {
    char digits[20];
    unsigned n = 0;
    do {
        digits[n++] = static_cast<char>('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (n != 0) {
        put_char(digits[--n]);
    }
}

void put_hex(u64 value) {
    put("0x");
    int shift = 60;
    while (shift > 0 && (value >> shift) == 0) {
        shift -= 4;
    }
    for (; shift >= 0; shift -= 4) {
        put_char("0123456789abcdef"[(value >> shift) & 0xf]);
    }
}

int get_char(u64 timeout_ms) {
    const u64 end = now() + BARE_READ("cntfrq_el0") / 1000 * timeout_ms;
    while ((read32(uart_fr) & fr_rxfe) != 0) {
        if (now() > end) {
            return -1;
        }
        yield();
    }
    return static_cast<int>(read32(uart_dr) & 0xff);
}

void report(const char* name, bool ok) {
    put(ok ? "PASS " : "FAIL ");
    put(name);
    put("\n");
    ++(ok ? passed : failed);
}

void report_equal(const char* name, u64 got, u64 want) {
    if (got == want) {
        report(name, true);
        return;
    }
    put("FAIL ");
    put(name);
    put(": got ");
    put_hex(got);
    put(", want ");
    put_hex(want);
    put("\n");
    ++failed;
}

void finish() {
    put("done: ");
    put_dec(passed);
    put(" passed, ");
    put_dec(failed);
    put(" failed\n");
    hvc(abi::psci_system_off);
    put("FAIL system_off: it returned\n");
    for (;;) {
        wfi();
    }
}

} // namespace atl::bare
