// SPDX-License-Identifier: Apache-2.0
// Formats log lines into a buffer on the stack and hands them to the sink. No lock: the sink takes its own.
#include "lib/log.hpp"

namespace atl::log {
namespace {

constexpr std::size_t max_line = 240;
constinit Sink current_sink = nullptr;

struct LineBuffer {
    char text[max_line];
    std::size_t size = 0;
};

void append(void* context, std::string_view text) {
    auto& line = *static_cast<LineBuffer*>(context);
    for (const char c : text) {
        if (line.size < max_line) {
            line.text[line.size++] = c;
        }
    }
}

} // namespace

void set_sink(Sink sink) {
    current_sink = sink;
}

void vlog(Level level, std::string_view format, const FormatArg* args, std::size_t count) {
    if (current_sink == nullptr) {
        return;
    }
    LineBuffer line;
    vformat_to(TextSink{&line, &append}, format, args, count);
    current_sink(level, std::string_view(line.text, line.size));
}

} // namespace atl::log
