// SPDX-License-Identifier: Apache-2.0
// Payload timers: the virtual and the physical EL1 timer by the book [DDI0487 D12.2]: views of the compare value, conditions,
// masks, level-sensitive interrupts, counters, the event stream. The bare machine and Atoll must agree.
#include "guests/bare/rt/rt.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u64 enable = 1;
constexpr u64 imask = 2;
constexpr u64 istatus = 4;

/// One of the two timers; the physical one traps on Atoll, the virtual one does not.
struct Timer {
    const char* name;
    u32 intid;
    u64 (*count)();
    u64 (*ctl)();
    void (*set_ctl)(u64);
    u64 (*cval)();
    void (*set_cval)(u64);
    u64 (*tval)();
    void (*set_tval)(u64);
};

#define TIMER(kind, intid, counter)                                                                          \
    {                                                                                                        \
#kind, intid,                                                                                        \
            [] {                                                                                             \
                isb();                                                                                       \
                return BARE_READ(counter);                                                                   \
            },                                                                                               \
            [] { return BARE_READ("cnt" #kind "_ctl_el0"); },                                                \
            [](u64 value) {                                                                                  \
                BARE_WRITE("cnt" #kind "_ctl_el0", value);                                                   \
                isb();                                                                                       \
            },                                                                                               \
            [] { return BARE_READ("cnt" #kind "_cval_el0"); },                                               \
            [](u64 value) {                                                                                  \
                BARE_WRITE("cnt" #kind "_cval_el0", value);                                                  \
                isb();                                                                                       \
            },                                                                                               \
            [] { return BARE_READ("cnt" #kind "_tval_el0"); },                                               \
            [](u64 value) {                                                                                  \
                BARE_WRITE("cnt" #kind "_tval_el0", value);                                                  \
                isb();                                                                                       \
            },       \
    }

constexpr Timer timers[] = {TIMER(v, intid_vtimer, "cntvct_el0"), TIMER(p, intid_ptimer, "cntpct_el0")};

const Timer* current = nullptr;
u64 deadline; // in the timer's own count
SharedWord taken;
SharedWord silence_after; // interrupts until the handler turns the timer off
SharedWord too_early;

void on_irq(u32 intid, u64) {
    if (current == nullptr || intid != current->intid) {
        return;
    }
    if (current->count() < deadline) {
        too_early.store(1);
    }
    taken.store(taken.load() + 1);
    if (taken.load() >= silence_after.load()) {
        current->set_ctl(0);
    }
}

void result(const Timer& timer, const char* what, bool ok) {
    char name[64] = "timers.";
    unsigned at = 7;
    const char* const parts[] = {timer.name, ".", what};
    for (const char* part : parts) {
        while (*part != '\0' && at < sizeof(name) - 1) {
            name[at++] = *part++;
        }
    }
    name[at] = '\0';
    report(name, ok);
}

u64 ticks(u64 divisor) {
    return BARE_READ("cntfrq_el0") / divisor;
}

/// Waits, interrupts open, until `n` were taken; false after a second.
bool wait_taken(u64 n) {
    const u64 end = now() + ticks(1);
    while (taken.load() < n) {
        if (now() > end) {
            return false;
        }
    }
    return true;
}

void begin(const Timer& timer, u64 silence) {
    mask_irqs();
    timer.set_ctl(0);
    current = &timer;
    taken.store(0);
    too_early.store(0);
    silence_after.store(silence);
}

void registers(const Timer& timer) {
    timer.set_ctl(imask);
    timer.set_cval(0x0123'4567'89ab'cdef);
    result(timer, "cval_reads_back", timer.cval() == 0x0123'4567'89ab'cdef);
    timer.set_ctl(~u64{0});
    timer.set_cval(~u64{0});
    result(timer, "ctl_has_three_bits", timer.ctl() == (enable | imask));
    timer.set_cval(0);
    result(timer, "istatus_of_the_past", timer.ctl() == (enable | imask | istatus));
    timer.set_ctl(istatus | enable | imask);
    timer.set_cval(u64{1} << 63);
    result(timer, "compare_is_unsigned", (timer.ctl() & istatus) == 0);
    // TimerValue is signed and 32 bits wide; a read is CompareValue less the count.
    const u64 before = timer.count();
    timer.set_tval(0xffff'ffff);
    const u64 after = timer.count();
    result(timer, "tval_minus_one", timer.cval() >= before - 1 && timer.cval() <= after - 1);
    result(timer, "tval_minus_one_is_past", (timer.ctl() & istatus) != 0);
    timer.set_tval(0x1'7fff'ffff); // upper half ignored
    result(timer, "tval_largest",
           timer.cval() >= after + 0x7fff'ffff && timer.cval() <= timer.count() + 0x7fff'ffff);
    result(timer, "tval_largest_is_ahead", (timer.ctl() & istatus) == 0);
    timer.set_tval(ticks(1));
    const u64 left = timer.tval();
    result(timer, "tval_counts_down", left <= ticks(1) && left > 0 && timer.tval() <= left);
    timer.set_cval(timer.count() - 5);
    const u64 past = timer.tval();
    result(timer, "tval_goes_negative", (past >> 32) == 0 && static_cast<i64>(static_cast<i32>(past)) <= -5);
    timer.set_ctl(0);
}

void level(const Timer& timer) {
    begin(timer, 1);
    gic_disable_private(timer.intid);
    timer.set_cval(0);
    timer.set_ctl(enable);
    result(timer, "line_is_pending", gic_is_pending(timer.intid));
    timer.set_ctl(enable | imask);
    result(timer, "imask_takes_it_back", !gic_is_pending(timer.intid));
    timer.set_ctl(enable);
    timer.set_cval(~u64{0});
    result(timer, "new_deadline_takes_it_back", !gic_is_pending(timer.intid));
    timer.set_cval(0);
    gic_clear_pending(timer.intid);
    result(timer, "a_level_cannot_be_cleared", gic_is_pending(timer.intid));
    timer.set_ctl(0);
    result(timer, "disable_takes_it_back", !gic_is_pending(timer.intid));
    gic_enable_private(timer.intid);
}

void interrupts(const Timer& timer) {
    begin(timer, 1);
    deadline = 0;
    timer.set_cval(0);
    timer.set_ctl(enable);
    unmask_irqs();
    result(timer, "past_deadline_fires", wait_taken(1));
    result(timer, "and_is_silent_when_off", taken.load() == 1 && !gic_is_pending(timer.intid));
    // QEMU's GICv2 forgets to look at the line again after a virtual EOI that deactivates the physical interrupt.
    if (!has_option("qemu-gicv2") || timer.intid != intid_vtimer) {
        begin(timer, 3);
        timer.set_cval(0);
        timer.set_ctl(enable);
        unmask_irqs();
        result(timer, "level_fires_again", wait_taken(3));
    }
    begin(timer, 1);
    deadline = timer.count() + ticks(50);
    timer.set_cval(deadline);
    timer.set_ctl(enable);
    unmask_irqs();
    result(timer, "future_deadline_fires", wait_taken(1) && too_early.load() == 0);
    begin(timer, 1);
    deadline = timer.count() + ticks(50);
    timer.set_tval(ticks(50));
    timer.set_ctl(enable);
    while (!gic_is_pending(timer.intid)) {
        wfi();
    }
    unmask_irqs();
    result(timer, "wfi_with_masked_irqs", wait_taken(1) && too_early.load() == 0);
    begin(timer, 1);
    timer.set_cval(0);
    timer.set_ctl(enable | imask);
    unmask_irqs();
    const u64 end = now() + ticks(100);
    while (now() < end) {
    }
    result(timer, "imask_is_silent", taken.load() == 0);
    timer.set_ctl(enable);
    result(timer, "until_it_is_lifted", wait_taken(1));
    mask_irqs();
}

void counters() {
    report("timers.frequency", BARE_READ("cntfrq_el0") >= 1'000'000);
    for (const Timer& timer : timers) {
        bool monotonic = true;
        u64 last = timer.count();
        for (unsigned i = 0; i < 1000; ++i) {
            const u64 next = timer.count();
            monotonic = monotonic && next >= last;
            last = next;
        }
        result(timer, "count_is_monotonic", monotonic);
    }
    // Both count at CNTFRQ: over 20 ms they pass alike, to within what reading them takes.
    const u64 p = timers[1].count();
    const u64 v = timers[0].count();
    while (timers[0].count() - v < ticks(50)) {
    }
    const u64 passed = timers[1].count() - p;
    report("timers.one_rate", passed >= ticks(50));
}

void event_stream() {
    // An event at each 0 to 1 transition of bit 10: WFE ends without an interrupt [DDI0487 D12.2.3]. It may end
    // earlier; that it ends at all is the point.
    mask_irqs();
    BARE_WRITE("cntkctl_el1", u64{10} << 4 | 1U << 2);
    isb();
    for (unsigned i = 0; i < 20; ++i) {
        asm volatile("wfe" ::: "memory");
    }
    BARE_WRITE("cntkctl_el1", 0);
    isb();
    report("timers.event_stream", true);
}

} // namespace

void payload() {
    set_irq_handler(on_irq);
    report("timers.gic_init", gic_init(true));
    counters();
    for (const Timer& timer : timers) {
        gic_enable_private(timer.intid);
        registers(timer);
        level(timer);
        interrupts(timer);
    }
    event_stream();
}
