// SPDX-License-Identifier: Apache-2.0
// The formatter behind format_to(). Pure.
#include "lib/format.hpp"

namespace atl {
namespace {

struct Spec {
    bool hex = false;
    bool zero = false;
    unsigned width = 0;
};

/// Parses what stands between "{" and "}"; returns false when it is not a placeholder.
bool parse_spec(std::string_view body, Spec& spec) {
    if (body.empty()) {
        return true;
    }
    if (body.front() != ':') {
        return false;
    }
    std::size_t i = 1;
    if (i < body.size() && body[i] == '0') {
        spec.zero = true;
        ++i;
    }
    while (i < body.size() && body[i] >= '0' && body[i] <= '9' && spec.width < 64) {
        spec.width = spec.width * 10 + static_cast<unsigned>(body[i++] - '0');
    }
    if (i < body.size() && body[i] == 'x') {
        spec.hex = true;
        ++i;
    }
    return i == body.size();
}

void put_padding(const TextSink& sink, std::size_t have, const Spec& spec) {
    for (std::size_t n = have; n < spec.width; ++n) {
        sink.put(spec.zero ? "0" : " ");
    }
}

void put_number(const TextSink& sink, u64 value, bool negative, const Spec& spec) {
    char digits[24];
    std::size_t n = sizeof(digits);
    const u64 base = spec.hex ? 16 : 10;
    do {
        digits[--n] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    if (negative) {
        sink.put("-");
    }
    if (spec.hex) {
        sink.put("0x");
    }
    put_padding(sink, sizeof(digits) - n, spec);
    sink.put(std::string_view(digits + n, sizeof(digits) - n));
}

void put_arg(const TextSink& sink, const FormatArg& arg, Spec spec) {
    switch (arg.kind) {
    case FormatArg::Kind::text:
        sink.put(arg.text);
        put_padding(sink, arg.text.size(), Spec{false, false, spec.width});
        return;
    case FormatArg::Kind::character: {
        const char c = static_cast<char>(arg.number);
        sink.put(std::string_view(&c, 1));
        return;
    }
    case FormatArg::Kind::boolean:
        sink.put(arg.number != 0 ? "yes" : "no");
        return;
    case FormatArg::Kind::address:
        spec.hex = true;
        put_number(sink, arg.number, false, spec);
        return;
    case FormatArg::Kind::unsigned_number:
        put_number(sink, arg.number, false, spec);
        return;
    case FormatArg::Kind::signed_number: {
        const bool negative = arg.signed_number < 0 && !spec.hex;
        const u64 magnitude =
            negative ? u64{0} - static_cast<u64>(arg.signed_number) : static_cast<u64>(arg.signed_number);
        put_number(sink, magnitude, negative, spec);
        return;
    }
    }
}

} // namespace

void vformat_to(const TextSink& sink, std::string_view format, const FormatArg* args, std::size_t count) {
    std::size_t used = 0;
    std::size_t literal = 0;
    std::size_t i = 0;
    while (i < format.size()) {
        if (format[i] != '{') {
            ++i;
            continue;
        }
        std::size_t close = i + 1;
        while (close < format.size() && format[close] != '}') {
            ++close;
        }
        Spec spec;
        if (close == format.size() || used == count ||
            !parse_spec(std::string_view(format.data() + i + 1, close - i - 1), spec)) {
            ++i;
            continue;
        }
        sink.put(std::string_view(format.data() + literal, i - literal));
        put_arg(sink, args[used++], spec);
        i = close + 1;
        literal = i;
    }
    sink.put(std::string_view(format.data() + literal, format.size() - literal));
}

} // namespace atl
