// SPDX-License-Identifier: Apache-2.0
// The console's output half: rings, turns, prefixes, and what happens when the serial port stands still.
// Pure; the caller holds the console lock. The keyboard half is console_mux_input.cpp; the rules are in the
// header.
#include "el2/console_mux.hpp"

#include <algorithm>
#include <bit>

namespace atl::el2 {
namespace {

constexpr u8 cr = '\r';
constexpr u8 lf = '\n';
constexpr u8 bel = 7;

} // namespace

void ConsoleMux::configure(const Uart& uart, const Timing& timing) {
    through_ = 0;
    uart_ = uart;
    timing_ = timing;
    focus_ = monitor_source;
    open_ = running_ = no_source;
    last_ = log_source;
}

// "Where is the cursor?": a terminal answers as if the answer had been typed. Asked by a shell without the
// keyboard it would be typed into another guest, so it is dropped there. [ECMA-48 DSR]
constexpr u8 cursor_query[4] = {0x1b, '[', '6', 'n'};

bool ConsoleMux::append(u8 source, u8 byte) {
    through_ = 0;
    Source& s = sources_[source];
    if (!s.ring.push(byte)) {
        return false;
    }
    s.newlines += byte == lf ? 1 : 0;
    nonempty_ |= bit(source);
    return true;
}

void ConsoleMux::append_text(u8 source, std::string_view text) {
    for (const char c : text) {
        if (!append(source, static_cast<u8>(c))) {
            ++sources_[source].dropped;
            losses_pending_ = true;
        }
    }
}

bool ConsoleMux::guest_write(VmId vm, u8 byte) {
    through_ = 0;
    if (!is_guest(vm)) {
        return true; // nobody is left to wait for room
    }
    const u8 source = slot(vm);
    Source& s = sources_[source];
    const bool unfocused = source != focus_;
    if (unfocused && byte == cursor_query[s.query]) {
        s.query = static_cast<u8>((s.query + 1) % sizeof(cursor_query));
        return true;
    }
    if (s.ring.room() > s.query) {
        // Not the query after all, or the keyboard has come meanwhile: what was held back goes first.
        for (u8 i = 0; i < s.query; ++i) {
            append(source, cursor_query[i]);
        }
        s.query = unfocused && byte == cursor_query[0] ? 1 : 0;
        return s.query != 0 || append(source, byte);
    }
    if (dropping_) {
        ++sources_[source].dropped;
        losses_pending_ = true;
        return true;
    }
    refused_ |= bit(source);
    return false;
}

std::size_t ConsoleMux::guest_tx_room(VmId vm) const {
    return !is_guest(vm) || dropping_ ? guest_ring_size : sources_[slot(vm)].ring.room();
}

void ConsoleMux::log_line(std::string_view line) {
    through_ = 0;
    Source& log = sources_[log_source];
    if (log.ring.room() < line.size() + 1) {
        ++log.dropped;
        losses_pending_ = true;
        return;
    }
    for (const char c : line) {
        (void)append(log_source, printable(c));
    }
    (void)append(log_source, lf);
}

void ConsoleMux::monitor_print(std::string_view text) {
    append_text(monitor_source, text);
}

TextSink ConsoleMux::monitor_sink() {
    return {this,
            [](void* self, std::string_view text) { static_cast<ConsoleMux*>(self)->monitor_print(text); }};
}

u64 ConsoleMux::dropped_output(VmId vm) const {
    return vm.value >= 1 && vm.value <= max_vms ? sources_[slot(vm)].dropped : 0;
}

ConsoleMux::PumpResult ConsoleMux::pump(u64 now, std::size_t max_bytes) {
    if (losses_pending_ && !dropping_) {
        report_losses();
    }
    PumpResult result;
    bool moved = false;
    bool refused = false;
    while (prepare(now)) {
        if (max_bytes == 0) {
            result.more = true;
            break;
        }
        if (uart_.can_write == nullptr || !uart_.can_write(uart_.context)) {
            result.more = true;
            refused = true;
            break;
        }
        uart_.write(uart_.context, next_byte(now));
        moved = true;
        --max_bytes;
    }
    track_port(now, moved, refused);
    if (refused_ != 0) {
        result.writable = collect_writable();
    }
    if (nonempty_ != 0 || stalled_ || losses_pending_) {
        result.deadline = next_deadline(now);
    }
    through_ = quiet() ? through(open_ + 1u) : 0;
    return result;
}

/// Decides what comes next; false when nothing may be printed now.
bool ConsoleMux::prepare(u64 now) {
    if (bell_ || !staged_.empty()) {
        return true;
    }
    if (running_ == no_source) {
        if (nonempty_ == 0) {
            return false;
        }
        running_ = choose(now);
        if (running_ == no_source) {
            return false;
        }
        if (open_ != running_) {
            begin_run(running_);
        }
    }
    return true;
}

/// The next byte for the port. Only after prepare() said that there is one.
u8 ConsoleMux::next_byte(u64 now) {
    if (bell_) {
        bell_ = false;
        return bel;
    }
    if (!staged_.empty()) {
        return staged_.pop();
    }
    const u8 source = running_;
    Source& s = sources_[source];
    const u8 byte = s.ring.front();
    open_ = source;
    open_touched_ = now;
    hold_over_ = false;
    s.mid_line = true;
    if (byte == lf && !s.after_cr) {
        s.after_cr = true; // a bare LF: return the cursor first, the LF itself comes next time
        return cr;
    }
    if (s.after_cr && byte != lf && byte != cr) {
        // The line is written over from its start: so is the prefix.
        s.after_cr = false;
        s.mid_line = false;
        stage_prefix(source);
        s.mid_line = true;
        if (!staged_.empty()) {
            return staged_.pop();
        }
    }
    (void)s.ring.pop();
    s.after_cr = byte == cr;
    ++line_length_;
    if (byte == lf) {
        end_line(source);
    } else if (line_length_ >= max_run && source != log_source) {
        if (others_wait(source, now)) {
            running_ = no_source;
            last_ = source;
        } else {
            line_length_ = 0;
        }
    }
    if (s.ring.empty()) {
        nonempty_ &= ~bit(source);
        s.partial_timed = false;
        running_ = no_source;
    }
    return byte;
}

void ConsoleMux::end_line(u8 source) {
    Source& s = sources_[source];
    --s.newlines;
    s.partial_timed = false;
    s.mid_line = false;
    s.after_cr = false;
    open_ = no_source;
    running_ = no_source;
    last_ = source;
    line_length_ = 0;
}

/// Whose turn it is, or no_source. Only when something waits.
u8 ConsoleMux::choose(u64 now) {
    // The others have waited for long enough: by bytes of an endless line, or by time.
    const bool exhausted =
        line_length_ >= max_run || (kept_waiting_ && now - waiting_since_ >= max_holds * timing_.hold_ticks);
    if (hold_over_ && ready(log_source, now)) {
        return log_source;
    }
    if (open_ != no_source && !exhausted && ready(open_, now)) {
        // Go on with the open line, unless it is a guest's partial line and the focused guest has something
        // to say.
        if (open_ == focus_ || sources_[open_].newlines != 0 || !ready(focus_, now)) {
            return open_;
        }
    }
    if (!exhausted && screen_is_held(now)) {
        if (!kept_waiting_ && others_wait(open_, now)) {
            kept_waiting_ = true;
            waiting_since_ = now;
        }
        return no_source;
    }
    if (exhausted && open_ != no_source) {
        last_ = open_; // its turn comes last
    }
    if (ready(log_source, now)) {
        return log_source; // EL2 has little to say and says it in order
    }
    for (u8 step = 1; step <= source_count; ++step) {
        const auto source = static_cast<u8>((last_ + step) % source_count);
        if (ready(source, now)) {
            return source;
        }
    }
    return no_source;
}

/// True when the source has something that may be printed, were the screen free.
bool ConsoleMux::ready(u8 source, u64 now) {
    if ((nonempty_ & bit(source)) == 0) {
        return false;
    }
    Source& s = sources_[source];
    if (source == focus_ || s.newlines != 0 || source >= max_vms || (present_ & bit(source)) == 0 ||
        s.ring.size() >= guest_ring_size / 4 * 3) {
        return true;
    }
    if (!s.partial_timed) {
        s.partial_timed = true;
        s.partial_since = now;
    }
    return now - s.partial_since >= timing_.partial_ticks;
}

bool ConsoleMux::others_wait(u8 source, u64 now) {
    for (u32 rest = nonempty_ & ~bit(source); rest != 0; rest &= rest - 1) {
        if (ready(static_cast<u8>(std::countr_zero(rest)), now)) {
            return true;
        }
    }
    return false;
}

/// The focused source is in the middle of a line: the others wait a moment for its end.
bool ConsoleMux::screen_is_held(u64 now) const {
    return open_ == focus_ && !hold_over_ && now - open_touched_ < timing_.hold_ticks;
}

void ConsoleMux::begin_run(u8 source) {
    if (open_ != no_source) {
        stage("\r\n"); // breaks the open line; its source goes on with "[name ..]"
        sources_[open_].after_cr = false;
        open_ = no_source;
    }
    line_length_ = 0;
    kept_waiting_ = kept_waiting_ && source == focus_;
    stage_prefix(source);
}

void ConsoleMux::stage(std::string_view text) {
    through_ = 0;
    for (const char c : text) {
        (void)staged_.push(static_cast<u8>(c)); // 64 bytes hold a newline and the longest prefix
    }
}

void ConsoleMux::stage_prefix(u8 source) {
    if (source == log_source) {
        stage("[atoll] ");
    } else if (source < max_vms && names_) {
        stage("[");
        stage(sources_[source].name.view());
        stage(sources_[source].mid_line ? " ..] " : "] ");
    }
}

/// Notices that the port stands still, and that it moves again.
void ConsoleMux::track_port(u64 now, bool moved, bool refused) {
    if (moved) {
        stalled_ = false;
        dropping_ = false; // what was lost is reported by the next pump()
    }
    if (!refused) {
        return;
    }
    if (!stalled_) {
        stalled_ = true;
        stalled_since_ = now;
    } else if (now - stalled_since_ >= timing_.stall_ticks) {
        dropping_ = true;
    }
}

/// Puts a line into the log for each source that lost something; what finds no room there is reported later.
void ConsoleMux::report_losses() {
    losses_pending_ = false;
    for (u8 source = 0; source < source_count; ++source) {
        Source& s = sources_[source];
        const u64 lost = s.dropped - s.dropped_reported;
        if (lost == 0) {
            continue;
        }
        const bool log = source == log_source;
        const FormatBuffer<96> text(
            "console: {} {} of {} lost, the serial line was too slow", lost, log ? "lines" : "bytes",
            log ? "this log" : (source == monitor_source ? "monitor" : s.name.view()));
        if (sources_[log_source].ring.room() <= text.text().size()) {
            losses_pending_ = true;
            return;
        }
        s.dropped_reported = s.dropped;
        log_line(text.text());
    }
}

/// The refused guests that have room by now. A quarter of the ring, so that they are not told for every byte.
GuestMask ConsoleMux::collect_writable() {
    GuestMask writable = 0;
    for (u32 rest = refused_; rest != 0; rest &= rest - 1) {
        const auto source = static_cast<u8>(std::countr_zero(rest));
        if (dropping_ || sources_[source].ring.room() >= guest_ring_size / 4) {
            writable |= bit(source);
        }
    }
    refused_ &= ~writable;
    return writable;
}

u64 ConsoleMux::next_deadline(u64 now) {
    if (losses_pending_ && !dropping_ && nonempty_ == 0) {
        return now; // the report is due; otherwise some later pump() is due anyway
    }
    u64 deadline = never;
    if (stalled_ && !dropping_) {
        deadline = stalled_since_ + timing_.stall_ticks;
    }
    for (u32 rest = nonempty_; rest != 0; rest &= rest - 1) {
        const auto source = static_cast<u8>(std::countr_zero(rest));
        if (!ready(source, now)) {
            deadline = std::min(deadline, sources_[source].partial_since + timing_.partial_ticks);
        } else if (source != open_ && screen_is_held(now)) {
            deadline = std::min(deadline, open_touched_ + timing_.hold_ticks);
            if (kept_waiting_) {
                deadline = std::min(deadline, waiting_since_ + max_holds * timing_.hold_ticks);
            }
        }
    }
    return deadline;
}

} // namespace atl::el2
