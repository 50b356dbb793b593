// SPDX-License-Identifier: Apache-2.0
// One serial line for EL2's log, the monitor and every guest: who prints when, and who has the keyboard.
// Owns the rings and the line discipline; not the UART (Uart) nor the guests' devices. Pure.
// Lock: none inside; the caller holds the console lock around every call. Nothing here calls out except Uart,
// so no other lock is ever taken: guests that must be told something come back as a set in a return value.
#pragma once
#include <array>
#include <span>
#include <string_view>

#include "lib/containers.hpp"
#include "lib/format.hpp"
#include "lib/types.hpp"

namespace atl::el2 {

/// Bit (VmId - 1) per guest.
using GuestMask = u32;

/// Rules. (1) The focused guest, the one with the keyboard, prints at once, prompts included. (2) Other
/// guests print whole lines, between lines; a partial line waits for its end, for `partial_ticks`, or until
/// its ring is nearly full. (3) Sources take turns line by line, the log first. (4) With two guests or more
/// each line starts with `[name] `; what continues a line that somebody else has interrupted starts with
/// `[name ..] `. The log's lines start with `[atoll] `. (5) Output is never lost while the line moves: a
/// guest that is too fast sees a full FIFO. When the line stands still for `stall_ticks` nobody may be
/// blocked for ever: bytes are dropped, counted and, when it moves again, reported.
class ConsoleMux {
  public:
    static constexpr std::size_t guest_ring_size = 16 * kib;
    static constexpr std::size_t input_ring_size = 1 * kib;
    static constexpr std::size_t max_command = 79; // characters of a monitor command
    static constexpr u64 never = ~u64{0};
    using Command = FixedString<max_command>;

    /// The serial port; can_write() is asked before each write().
    struct Uart {
        void* context = nullptr;
        bool (*can_write)(void* context) = nullptr;
        void (*write)(void* context, u8 byte) = nullptr;
    };

    /// Times in the ticks that pump() is given.
    struct Timing {
        u64 partial_ticks = 0; // how long an unfocused partial line is held back
        u64 hold_ticks = 0;    // how long others wait for the focused guest to end its line
        u64 stall_ticks = 0;   // how long the port may stand still before output is dropped
    };

    constexpr ConsoleMux() = default;

    /// Before any other call. (Until then all bytes are zero, so that the rings stay out of the image.)
    void configure(const Uart& uart, const Timing& timing);

    // Guests. Ids are 1 .. max_vms; calls about ids that were not added do nothing.

    /// `name` is cut to max_name_length. The first guest gets the keyboard.
    void add_guest(VmId vm, std::string_view name);
    /// Its remaining output still appears; the keyboard moves on, to the monitor if nobody is left.
    void remove_guest(VmId vm);

    /// One byte of a guest's output. False: no room; its bit is in some later pump()'s `writable`.
    bool guest_write(VmId vm, u8 byte);
    /// The short way for the common case, a guest in the middle of its line while nobody else waits: puts the
    /// byte on the port at once and no pump() is needed. False: nothing happened, use guest_write() and
    /// pump().
    bool write_through(VmId vm, u8 byte, u64 now) {
        if (through_ != through(vm.value) || byte < 0x20 || line_length_ >= max_run ||
            !uart_.can_write(uart_.context)) {
            return false;
        }
        uart_.write(uart_.context, byte);
        open_touched_ = now;
        hold_over_ = false;
        ++line_length_;
        return true;
    }
    /// Bytes that guest_write() would take now.
    std::size_t guest_tx_room(VmId vm) const;
    /// Takes at most `into.size()` bytes typed for this guest.
    std::size_t take_input(VmId vm, std::span<u8> into);

    // EL2.

    /// One complete line, without its newline. When there is no room the line is dropped, counted and
    /// reported.
    void log_line(std::string_view line);
    /// Output of a monitor command; "\n" ends lines.
    void monitor_print(std::string_view text);
    TextSink monitor_sink();
    /// Ends a command: prints the prompt.
    void monitor_done();

    struct PumpResult {
        GuestMask writable = 0; // guests that were refused and may write again
        bool more = false;      // there is more to print: call again as soon as the port can write
        u64 deadline = never;   // call again at this time at the latest
    };
    /// Moves at most `max_bytes` to the port, as long as it can write.
    PumpResult pump(u64 now, std::size_t max_bytes);

    struct InputResult {
        VmId guest{};         // not 0: take_input() has something for this guest
        bool command = false; // take_command() has a line
    };
    /// One typed byte. Ctrl-] starts a command of the console itself: Ctrl-] ? lists them.
    InputResult input(u8 byte);
    /// The command line that input() announced; print its answer with monitor_print(), then call
    /// monitor_done(). False when there is none.
    bool take_command(Command& out);

    /// 0: the monitor.
    VmId focus() const { return focus_ == monitor_source ? VmId{} : VmId{static_cast<u16>(focus_ + 1)}; }
    u64 dropped_output(VmId vm) const;
    u64 dropped_input(VmId vm) const;

  private:
    // A source is a guest (VmId - 1), the log or the monitor.
    static constexpr u8 log_source = max_vms;
    static constexpr u8 monitor_source = max_vms + 1;
    static constexpr u8 source_count = max_vms + 2;
    static constexpr u8 no_source = 0xff;
    /// A source that others wait for prints at most this much of one line, ...
    static constexpr std::size_t max_run = 4 * kib;
    /// ... and the focused line, however often it grows, is waited for no longer than this many hold_ticks.
    static constexpr u64 max_holds = 16;

    struct Source {
        Ring<u8, guest_ring_size> ring;
        FixedString<max_name_length> name;
        u64 dropped = 0;          // bytes (the log: lines), all told
        u64 dropped_reported = 0; // of these
        u64 partial_since = 0;    // when its partial line was first seen, if partial_timed
        u32 newlines = 0;         // complete lines in the ring
        u8 query = 0;             // bytes of a terminal query that are held back
        bool partial_timed = false;
        bool mid_line = false; // part of its current line has been printed
        bool after_cr = false; // the last byte that it printed was CR
    };
    struct Keyboard {
        Ring<u8, input_ring_size> ring;
        u64 dropped = 0;
    };

    /// Text of EL2's own must not move the cursor: it may carry names from a manifest.
    static constexpr u8 printable(char c) {
        const auto byte = static_cast<u8>(c);
        return (byte < 0x20 && byte != '\t') || byte == 0x7f ? u8{'?'} : byte;
    }
    /// Nothing waits, nothing of the console's own is due, and the open line of a guest may grow as it is.
    bool quiet() const {
        return open_ < max_vms && nonempty_ == 0 && staged_.empty() && !bell_ && !stalled_ &&
               !losses_pending_ && !sources_[open_].after_cr && sources_[open_].query == 0 &&
               uart_.can_write != nullptr;
    }
    /// A value of through_: 0 is nobody's.
    static constexpr u32 through(u32 vm) { return 1u << 16 | vm; }
    /// no_source has a bit of its own that is never set.
    static constexpr u32 bit(u8 source) { return u32{1} << (source & 31u); }
    static u8 slot(VmId vm) { return static_cast<u8>(vm.value - 1); }
    bool is_guest(VmId vm) const {
        return vm.value >= 1 && vm.value <= max_vms && (present_ & bit(slot(vm))) != 0;
    }

    // Output [console_mux.cpp].
    bool append(u8 source, u8 byte);
    void append_text(u8 source, std::string_view text);
    bool prepare(u64 now);
    u8 next_byte(u64 now);
    u8 choose(u64 now);
    bool ready(u8 source, u64 now);
    bool others_wait(u8 source, u64 now);
    bool screen_is_held(u64 now) const;
    void begin_run(u8 source);
    void end_line(u8 source);
    void stage(std::string_view text);
    void stage_prefix(u8 source);
    void track_port(u64 now, bool moved, bool refused);
    void report_losses();
    GuestMask collect_writable();
    u64 next_deadline(u64 now);

    // Input and who takes part [console_mux_input.cpp].
    InputResult deliver(u8 byte);
    bool edit(u8 byte);
    bool finish_line();
    void redraw_edited_line();
    InputResult console_key(u8 byte);
    void set_focus(u8 source);
    void focus_next();
    void show_help();

    Uart uart_;
    Timing timing_;
    std::array<Source, source_count> sources_{};
    GuestMask present_ = 0;
    GuestMask refused_ = 0; // guests that got false from guest_write()
    u32 nonempty_ = 0;      // sources with bytes in their ring
    bool names_ = false;    // there have been two guests: lines are prefixed
    u8 focus_ = 0;
    u32 through_ = 0; // whose bytes write_through() takes: pump() knows, every other change ends it
    u8 open_ = 0;     // the cursor stands in a partial line of this source
    u8 running_ = 0;  // prints at present
    u8 last_ = 0;     // printed last: the turn goes on after it
    std::size_t line_length_ = 0; // bytes of the line being printed since the others last had a chance
    Ring<u8, 64> staged_;         // the console's own prefixes and newlines, due before anything else
    u64 open_touched_ = 0;        // when the open line last grew
    u64 waiting_since_ = 0;       // when somebody began to wait for the focused line, if kept_waiting_
    bool kept_waiting_ = false;
    u64 stalled_since_ = 0;
    bool stalled_ = false;        // the port refused and nothing has moved since
    bool dropping_ = false;       // ... for longer than stall_ticks
    bool losses_pending_ = false; // some loss has not been reported
    bool hold_over_ = false;      // the focused line need not be waited for
    bool bell_ = false;

    std::array<Keyboard, max_vms> keyboards_{};
    std::array<char, max_command> edit_{};
    std::size_t edit_length_ = 0;
    Command command_;
    bool command_ready_ = false;
    bool escaped_ = false;   // Ctrl-] was typed
    bool edited_cr_ = false; // CR was typed: a following LF belongs to it
};

} // namespace atl::el2
