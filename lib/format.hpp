// SPDX-License-Identifier: Apache-2.0
// A small type-safe formatter: format_to(sink, "{} pages at {:x}", n, pa). Placeholders: {} decimal or text,
// {:x} hex with 0x, {:016x} padded hex. No allocation; unknown placeholders print as they stand.
#pragma once
#include <string_view>
#include <type_traits>

#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl {

/// Where formatted characters go.
struct TextSink {
    void* context;
    void (*write)(void* context, std::string_view text);
    void put(std::string_view text) const { write(context, text); }
};

/// One argument, type-erased.
struct FormatArg {
    enum class Kind : u8 { unsigned_number, signed_number, text, character, boolean, address };
    Kind kind;
    union {
        u64 number;
        i64 signed_number;
        std::string_view text;
    };

    constexpr FormatArg(bool v) : kind(Kind::boolean), number(v) {}
    constexpr FormatArg(char v) : kind(Kind::character), number(static_cast<u8>(v)) {}
    constexpr FormatArg(std::string_view v) : kind(Kind::text), text(v) {}
    constexpr FormatArg(const char* v) : kind(Kind::text), text(v == nullptr ? "(null)" : v) {}
    constexpr FormatArg(Error v) : kind(Kind::text), text(to_string(v)) {}
    template <class T>
    requires std::is_integral_v<T> && std::is_unsigned_v<T>
    constexpr FormatArg(T v) : kind(Kind::unsigned_number), number(v) {}
    template <class T>
    requires std::is_integral_v<T> && std::is_signed_v<T>
    constexpr FormatArg(T v) : kind(Kind::signed_number), signed_number(v) {}
    template <class Tag>
    constexpr FormatArg(Address<Tag> v) : kind(Kind::address), number(v.value) {}
    template <class Tag, class Rep>
    constexpr FormatArg(Id<Tag, Rep> v) : kind(Kind::unsigned_number), number(v.value) {}
    constexpr FormatArg(Mpidr v) : kind(Kind::address), number(v.value) {}
};

void vformat_to(const TextSink& sink, std::string_view format, const FormatArg* args, std::size_t count);

template <class... Args>
void format_to(const TextSink& sink, std::string_view format, const Args&... args) {
    const FormatArg list[sizeof...(Args) + 1] = {FormatArg(args)..., FormatArg(u32{0})};
    vformat_to(sink, format, list, sizeof...(Args));
}

/// Formats into a fixed buffer and cuts what does not fit; text() is what was written.
template <std::size_t N>
class FormatBuffer {
  public:
    template <class... Args>
    explicit FormatBuffer(std::string_view format, const Args&... args) {
        format_to(TextSink{this, &append}, format, args...);
    }
    std::string_view text() const { return {buffer_, size_}; }

  private:
    static void append(void* context, std::string_view text) {
        auto& self = *static_cast<FormatBuffer*>(context);
        for (const char c : text) {
            if (self.size_ < N) {
                self.buffer_[self.size_++] = c;
            }
        }
    }
    char buffer_[N];
    std::size_t size_ = 0;
};

} // namespace atl
