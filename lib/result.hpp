// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error. Nodiscard, trivially cheap, no exceptions. Works on the host and the
// target.
#pragma once
#include <new>
#include <type_traits>
#include <utility>

#include "lib/types.hpp"

namespace atl {

/// Why an operation was refused. One list for the whole hypervisor; ABI layers translate it.
enum class Error : u8 {
    invalid_argument, // malformed or out-of-range input
    not_supported,    // the hardware or this build cannot do it
    no_memory,        // the page pool or a fixed table is exhausted
    not_found,        // no such object
    already_exists,   // overlaps or duplicates something
    denied,           // the caller may not do this, or not in this state
    busy,             // try again later; nothing changed
    overflow,         // a size or address wrapped or exceeds a documented limit
    corrupt,          // data with a wrong magic, checksum or structure
    interrupted,      // long work stopped half way and can be resumed
};

constexpr const char* to_string(Error error) {
    switch (error) {
    case Error::invalid_argument:
        return "invalid argument";
    case Error::not_supported:
        return "not supported";
    case Error::no_memory:
        return "out of memory";
    case Error::not_found:
        return "not found";
    case Error::already_exists:
        return "already exists";
    case Error::denied:
        return "denied";
    case Error::busy:
        return "busy";
    case Error::overflow:
        return "overflow";
    case Error::corrupt:
        return "corrupt";
    case Error::interrupted:
        return "interrupted";
    }
    return "?";
}

template <class T>
class [[nodiscard]] Result {
    static_assert(std::is_trivially_destructible_v<T>, "no destructors run at EL2");

  public:
    constexpr Result(T value) : value_(std::move(value)), ok_(true) {}
    constexpr Result(Error error) : error_(error), ok_(false) {}

    constexpr bool ok() const { return ok_; }
    constexpr explicit operator bool() const { return ok_; }
    /// Only after ok(): checked by the sanitizers and by review, not at run time.
    constexpr T& operator*() { return value_; }
    constexpr const T& operator*() const { return value_; }
    constexpr T* operator->() { return &value_; }
    constexpr const T* operator->() const { return &value_; }
    /// Only after !ok().
    constexpr Error error() const { return error_; }
    constexpr T value_or(T fallback) const { return ok_ ? value_ : fallback; }

  private:
    union {
        T value_;
        Error error_;
    };
    bool ok_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    constexpr Result() : error_{}, ok_(true) {}
    constexpr Result(Error error) : error_(error), ok_(false) {}
    constexpr bool ok() const { return ok_; }
    constexpr explicit operator bool() const { return ok_; }
    constexpr Error error() const { return error_; }

  private:
    Error error_;
    bool ok_;
};

using Status = Result<void>;

} // namespace atl

/// Evaluate an expression that yields a Result; on error return the error from the calling function.
#define ATOLL_TRY(expression)                                                                                \
    do {                                                                                                     \
        if (auto atoll_try_ = (expression); !atoll_try_.ok()) {                                              \
            return atoll_try_.error();                                                                       \
        }                                                                                                    \
    } while (false)
