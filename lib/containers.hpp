// SPDX-License-Identifier: Apache-2.0
// Bounded containers without a heap: StaticVector (trivial elements), Ring (byte or element queue),
// FixedString. Not thread safe; the owner's lock protects them.
#pragma once
#include <array>
#include <span>
#include <string_view>
#include <type_traits>

#include "lib/types.hpp"

namespace atl {

template <class T, std::size_t N>
class StaticVector {
    static_assert(std::is_trivially_destructible_v<T>);

  public:
    constexpr bool push_back(const T& value) {
        if (size_ == N) {
            return false;
        }
        items_[size_++] = value;
        return true;
    }
    constexpr void clear() { size_ = 0; }
    constexpr std::size_t size() const { return size_; }
    static constexpr std::size_t capacity() { return N; }
    constexpr bool empty() const { return size_ == 0; }
    constexpr bool full() const { return size_ == N; }
    constexpr T& operator[](std::size_t i) { return items_[i]; }
    constexpr const T& operator[](std::size_t i) const { return items_[i]; }
    constexpr T* begin() { return items_.data(); }
    constexpr T* end() { return items_.data() + size_; }
    constexpr const T* begin() const { return items_.data(); }
    constexpr const T* end() const { return items_.data() + size_; }
    constexpr T& back() { return items_[size_ - 1]; }
    /// Removes element i; the order of the rest is kept.
    constexpr void erase(std::size_t i) {
        for (std::size_t k = i + 1; k < size_; ++k) {
            items_[k - 1] = items_[k];
        }
        --size_;
    }
    constexpr std::span<T> span() { return {items_.data(), size_}; }
    constexpr std::span<const T> span() const { return {items_.data(), size_}; }

  private:
    std::array<T, N> items_{};
    std::size_t size_ = 0;
};

/// First-in first-out queue of N elements, N a power of two.
template <class T, std::size_t N>
class Ring {
    static_assert(N != 0 && (N & (N - 1)) == 0);

  public:
    constexpr bool push(const T& value) {
        if (full()) {
            return false;
        }
        items_[tail_++ & (N - 1)] = value;
        return true;
    }
    /// Only when not empty.
    constexpr T pop() { return items_[head_++ & (N - 1)]; }
    constexpr const T& front() const { return items_[head_ & (N - 1)]; }
    constexpr std::size_t size() const { return tail_ - head_; }
    static constexpr std::size_t capacity() { return N; }
    constexpr std::size_t room() const { return N - size(); }
    constexpr bool empty() const { return tail_ == head_; }
    constexpr bool full() const { return size() == N; }
    constexpr void clear() { head_ = tail_ = 0; }

  private:
    std::array<T, N> items_{};
    std::size_t head_ = 0;
    std::size_t tail_ = 0;
};

/// A string of at most N characters, always NUL-terminated; longer input is refused, not cut.
template <std::size_t N>
class FixedString {
  public:
    constexpr FixedString() = default;
    constexpr bool assign(std::string_view text) {
        if (text.size() > N) {
            return false;
        }
        for (std::size_t i = 0; i < text.size(); ++i) {
            chars_[i] = text[i];
        }
        chars_[text.size()] = '\0';
        size_ = text.size();
        return true;
    }
    constexpr std::string_view view() const { return {chars_.data(), size_}; }
    constexpr const char* c_str() const { return chars_.data(); }
    constexpr bool empty() const { return size_ == 0; }

  private:
    std::array<char, N + 1> chars_{};
    std::size_t size_ = 0;
};

} // namespace atl
