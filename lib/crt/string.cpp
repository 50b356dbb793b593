// SPDX-License-Identifier: Apache-2.0
// Freestanding memory and string functions. Word-wise where both sides are aligned alike; EL2's MMU is on
// before the first call, so that unaligned tails are ordinary accesses. [ISO C 7.24]
#include "lib/crt/string.hpp"

#include <cstdint>

namespace {

using Word = std::uint64_t __attribute__((may_alias));
constexpr std::size_t word = sizeof(Word);

bool aligned_alike(const void* a, const void* b) {
    return ((__builtin_bit_cast(std::uintptr_t, a) ^ __builtin_bit_cast(std::uintptr_t, b)) & (word - 1)) ==
           0;
}

std::size_t to_boundary(const void* p) {
    return (word - (__builtin_bit_cast(std::uintptr_t, p) & (word - 1))) & (word - 1);
}

int digit_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'Z') {
        return c - 'A' + 10;
    }
    return 99;
}

} // namespace

extern "C" {

void* ATOLL_CRT(memcpy)(void* to, const void* from, std::size_t n) {
    auto* d = static_cast<unsigned char*>(to);
    const auto* s = static_cast<const unsigned char*>(from);
    if (n >= 2 * word && aligned_alike(d, s)) {
        for (std::size_t head = to_boundary(d); head != 0; --head, --n) {
            *d++ = *s++;
        }
        auto* dw = static_cast<Word*>(static_cast<void*>(d));
        const auto* sw = static_cast<const Word*>(static_cast<const void*>(s));
        for (; n >= 4 * word; n -= 4 * word, dw += 4, sw += 4) {
            const Word a = sw[0];
            const Word b = sw[1];
            const Word c = sw[2];
            const Word e = sw[3];
            dw[0] = a;
            dw[1] = b;
            dw[2] = c;
            dw[3] = e;
        }
        for (; n >= word; n -= word) {
            *dw++ = *sw++;
        }
        d = static_cast<unsigned char*>(static_cast<void*>(dw));
        s = static_cast<const unsigned char*>(static_cast<const void*>(sw));
    }
    for (; n != 0; --n) {
        *d++ = *s++;
    }
    return to;
}

void* ATOLL_CRT(memmove)(void* to, const void* from, std::size_t n) {
    auto* d = static_cast<unsigned char*>(to);
    const auto* s = static_cast<const unsigned char*>(from);
    if (d <= s || d >= s + n) {
        return ATOLL_CRT(memcpy)(to, from, n);
    }
    while (n != 0) {
        --n;
        d[n] = s[n];
    }
    return to;
}

void* ATOLL_CRT(memset)(void* to, int value, std::size_t n) {
    auto* d = static_cast<unsigned char*>(to);
    const auto byte = static_cast<unsigned char>(value);
    if (n >= 2 * word) {
        for (std::size_t head = to_boundary(d); head != 0; --head, --n) {
            *d++ = byte;
        }
        const Word pattern = byte * 0x0101010101010101U;
        auto* dw = static_cast<Word*>(static_cast<void*>(d));
        for (; n >= 8 * word; n -= 8 * word, dw += 8) {
            dw[0] = dw[1] = dw[2] = dw[3] = dw[4] = dw[5] = dw[6] = dw[7] = pattern;
        }
        for (; n >= word; n -= word) {
            *dw++ = pattern;
        }
        d = static_cast<unsigned char*>(static_cast<void*>(dw));
    }
    for (; n != 0; --n) {
        *d++ = byte;
    }
    return to;
}

int ATOLL_CRT(memcmp)(const void* a, const void* b, std::size_t n) {
    const auto* x = static_cast<const unsigned char*>(a);
    const auto* y = static_cast<const unsigned char*>(b);
    for (std::size_t i = 0; i < n; ++i) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

void* ATOLL_CRT(memchr)(const void* s, int c, std::size_t n) {
    const auto* x = static_cast<const unsigned char*>(s);
    for (std::size_t i = 0; i < n; ++i) {
        if (x[i] == static_cast<unsigned char>(c)) {
            return const_cast<unsigned char*>(x + i);
        }
    }
    return nullptr;
}

std::size_t ATOLL_CRT(strlen)(const char* s) {
    std::size_t n = 0;
    while (s[n] != '\0') {
        ++n;
    }
    return n;
}

std::size_t ATOLL_CRT(strnlen)(const char* s, std::size_t limit) {
    std::size_t n = 0;
    while (n < limit && s[n] != '\0') {
        ++n;
    }
    return n;
}

char* ATOLL_CRT(strchr)(const char* s, int c) {
    for (;; ++s) {
        if (*s == static_cast<char>(c)) {
            return const_cast<char*>(s);
        }
        if (*s == '\0') {
            return nullptr;
        }
    }
}

char* ATOLL_CRT(strrchr)(const char* s, int c) {
    const char* found = nullptr;
    for (;; ++s) {
        if (*s == static_cast<char>(c)) {
            found = s;
        }
        if (*s == '\0') {
            return const_cast<char*>(found);
        }
    }
}

unsigned long ATOLL_CRT(strtoul)(const char* s, char** end, int base) {
    const char* at = s;
    while (*at == ' ' || (*at >= '\t' && *at <= '\r')) {
        ++at;
    }
    bool negative = false;
    if (*at == '+' || *at == '-') {
        negative = *at++ == '-';
    }
    if ((base == 0 || base == 16) && at[0] == '0' && (at[1] == 'x' || at[1] == 'X') &&
        digit_value(at[2]) < 16) {
        at += 2;
        base = 16;
    } else if (base == 0) {
        base = at[0] == '0' ? 8 : 10;
    }
    unsigned long value = 0;
    bool overflow = false;
    const char* const first = at;
    for (int digit = digit_value(*at); digit < base; digit = digit_value(*++at)) {
        const auto b = static_cast<unsigned long>(base);
        const auto v = static_cast<unsigned long>(digit);
        overflow = overflow || value > (~0UL - v) / b;
        value = value * b + v;
    }
    if (end != nullptr) {
        *end = const_cast<char*>(at == first ? s : at);
    }
    if (overflow) {
        return ~0UL;
    }
    return negative ? 0UL - value : value;
}
}
