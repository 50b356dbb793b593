// SPDX-License-Identifier: Apache-2.0
// The console's input half: who takes part, the keyboard's owner, the Ctrl-] commands, and the monitor's line
// editor. Pure; the caller holds the console lock. The output half is console_mux.cpp.
#include <algorithm>

#include "el2/console_mux.hpp"

namespace atl::el2 {
namespace {

constexpr u8 escape_key = 0x1d; // Ctrl-]
constexpr u8 backspace = 0x08;
constexpr u8 rubout = 0x7f;
constexpr u8 cancel = 0x03;    // Ctrl-C
constexpr u8 kill_line = 0x15; // Ctrl-U
constexpr std::string_view prompt = "atoll> ";

} // namespace

void ConsoleMux::add_guest(VmId vm, std::string_view name) {
    through_ = 0;
    if (vm.value < 1 || vm.value > max_vms || is_guest(vm)) {
        return;
    }
    const u8 source = slot(vm);
    char clean[max_name_length] = {};
    const std::size_t length = std::min(name.size(), sizeof(clean));
    for (std::size_t i = 0; i < length; ++i) {
        clean[i] = static_cast<char>(printable(name[i]));
    }
    (void)sources_[source].name.assign({clean, length}); // cannot exceed its capacity
    keyboards_[source].ring.clear();
    const bool first = present_ == 0;
    present_ |= bit(source);
    names_ = names_ || !first;
    if (first) {
        focus_ = source;
    }
}

void ConsoleMux::remove_guest(VmId vm) {
    through_ = 0;
    if (!is_guest(vm)) {
        return;
    }
    const u8 source = slot(vm);
    present_ &= ~bit(source);
    refused_ &= ~bit(source);
    if (focus_ == source) {
        focus_next();
    }
}

ConsoleMux::InputResult ConsoleMux::input(u8 byte) {
    through_ = 0;
    if (escaped_) {
        escaped_ = false;
        return console_key(byte);
    }
    if (byte == escape_key) {
        escaped_ = true;
        return {};
    }
    return deliver(byte);
}

/// To whoever has the keyboard.
ConsoleMux::InputResult ConsoleMux::deliver(u8 byte) {
    if (focus_ == monitor_source) {
        return {VmId{}, edit(byte)};
    }
    Keyboard& keyboard = keyboards_[focus_];
    if (!keyboard.ring.push(byte)) {
        ++keyboard.dropped;
        bell_ = true;
    }
    return {focus(), false};
}

ConsoleMux::InputResult ConsoleMux::console_key(u8 byte) {
    switch (byte) {
    case escape_key:
    case 'n':
        focus_next();
        return {};
    case 'm':
        set_focus(monitor_source);
        return {};
    case ']':
        return deliver(escape_key);
    case '?':
        show_help();
        return {};
    default:
        break;
    }
    // '1' to '9', and '0' for the tenth.
    const VmId vm{static_cast<u16>(byte == '0' ? 10 : byte - '0')};
    if (byte >= '0' && byte <= '9' && is_guest(vm)) {
        set_focus(slot(vm));
    } else {
        bell_ = true;
    }
    return {};
}

void ConsoleMux::set_focus(u8 source) {
    focus_ = source;
    hold_over_ = true; // the announcement need not wait for the end of the open line
    edit_length_ = 0;
    if (source == monitor_source) {
        log_line("keyboard: monitor (help lists its commands, Ctrl-] n goes back)");
        sources_[monitor_source].mid_line = false;
        append_text(monitor_source, prompt);
    } else {
        log_line(FormatBuffer<80>("keyboard: {} (Ctrl-] ? for help)", sources_[source].name.view()).text());
    }
}

/// The next guest in ascending order of ids, starting over after the last; the monitor when there is none.
void ConsoleMux::focus_next() {
    const unsigned from = focus_ < max_vms ? focus_ + 1u : 0u;
    for (unsigned step = 0; step < max_vms; ++step) {
        const auto source = static_cast<u8>((from + step) % max_vms);
        if ((present_ & bit(source)) != 0) {
            set_focus(source);
            return;
        }
    }
    set_focus(monitor_source);
}

void ConsoleMux::show_help() {
    log_line("Ctrl-] 1..9, 0   keyboard to that guest (0: the tenth)");
    log_line("Ctrl-] n         keyboard to the next guest; so does a second Ctrl-]");
    log_line("Ctrl-] m         keyboard to the monitor");
    log_line("Ctrl-] ]         send Ctrl-] itself");
    for (u8 source = 0; source < max_vms; ++source) {
        if ((present_ & bit(source)) != 0) {
            log_line(FormatBuffer<80>("guest {}: {}{}", source + 1u, sources_[source].name.view(),
                                      source == focus_ ? " (has the keyboard)" : "")
                         .text());
        }
    }
    hold_over_ = true;
}

std::size_t ConsoleMux::take_input(VmId vm, std::span<u8> into) {
    if (!is_guest(vm)) {
        return 0;
    }
    auto& ring = keyboards_[slot(vm)].ring;
    const std::size_t count = std::min(into.size(), ring.size());
    for (std::size_t i = 0; i < count; ++i) {
        into[i] = ring.pop();
    }
    return count;
}

u64 ConsoleMux::dropped_input(VmId vm) const {
    return vm.value >= 1 && vm.value <= max_vms ? keyboards_[slot(vm)].dropped : 0;
}

/// One byte for the monitor's line editor; true when a command is complete.
bool ConsoleMux::edit(u8 byte) {
    if (command_ready_) {
        bell_ = true; // the last command has not been run yet
        return true;
    }
    const bool after_cr = edited_cr_;
    edited_cr_ = byte == '\r';
    if (byte == '\n' && after_cr) {
        return false;
    }
    redraw_edited_line();
    switch (byte) {
    case '\r':
    case '\n':
        return finish_line();
    case backspace:
    case rubout:
        if (edit_length_ > 0) {
            --edit_length_;
            append_text(monitor_source, "\b \b");
        }
        return false;
    case kill_line:
        for (; edit_length_ > 0; --edit_length_) {
            append_text(monitor_source, "\b \b");
        }
        return false;
    case cancel:
        edit_length_ = 0;
        append_text(monitor_source, "^C\n");
        append_text(monitor_source, prompt);
        return false;
    default:
        break;
    }
    if (byte < 0x20 || byte > 0x7e || edit_length_ == edit_.size()) {
        bell_ = true;
        return false;
    }
    edit_[edit_length_++] = static_cast<char>(byte);
    (void)append(monitor_source, byte);
    return false;
}

/// Somebody's line came between: shows the prompt and what has been typed again.
void ConsoleMux::redraw_edited_line() {
    Source& monitor = sources_[monitor_source];
    if (monitor.mid_line && open_ != monitor_source && monitor.ring.empty()) {
        monitor.mid_line = false;
        append_text(monitor_source, prompt);
        append_text(monitor_source, {edit_.data(), edit_length_});
    }
}

bool ConsoleMux::finish_line() {
    const std::string_view line{edit_.data(), edit_length_};
    append_text(monitor_source, "\n");
    edit_length_ = 0;
    if (line.find_first_not_of(' ') == std::string_view::npos) {
        append_text(monitor_source, prompt);
        return false;
    }
    command_ready_ = command_.assign(line);
    return command_ready_;
}

bool ConsoleMux::take_command(Command& out) {
    if (!command_ready_) {
        return false;
    }
    command_ready_ = false;
    out = command_;
    return true;
}

void ConsoleMux::monitor_done() {
    append_text(monitor_source, prompt);
}

} // namespace atl::el2
