// SPDX-License-Identifier: Apache-2.0
// EL2's log: one line per call, to whoever set the sink (the console; stderr or a buffer in host tests).
// Levels: error = something is refused or lost; warn = a guest's or the host's oddity; info = what a user
// wants to read at every boot; debug = compiled out of release builds. Guests must not be able to flood it:
// callers throttle.
#pragma once
#include "lib/format.hpp"

namespace atl::log {

enum class Level : u8 { error, warn, info, debug };

/// Receives complete lines without the newline. Set once at boot, before any other CPU runs.
using Sink = void (*)(Level level, std::string_view line);
void set_sink(Sink sink);
void vlog(Level level, std::string_view format, const FormatArg* args, std::size_t count);

template <class... Args>
void line(Level level, std::string_view format, const Args&... args) {
    const FormatArg list[sizeof...(Args) + 1] = {FormatArg(args)..., FormatArg(u32{0})};
    vlog(level, format, list, sizeof...(Args));
}
template <class... Args>
void error(std::string_view format, const Args&... args) {
    line(Level::error, format, args...);
}
template <class... Args>
void warn(std::string_view format, const Args&... args) {
    line(Level::warn, format, args...);
}
template <class... Args>
void info(std::string_view format, const Args&... args) {
    line(Level::info, format, args...);
}
template <class... Args>
void debug([[maybe_unused]] std::string_view format, [[maybe_unused]] const Args&... args) {
#ifdef ATOLL_DEBUG
    line(Level::debug, format, args...);
#endif
}

} // namespace atl::log
