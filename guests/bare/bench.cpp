// SPDX-License-Identifier: Apache-2.0
// Payload bench: what each operation costs as a guest sees it, in ticks of CNTVCT_EL0. Under QEMU's -icount
// with -cpu max a tick is one instruction summed over all CPUs and exception levels, so the figures are exact
// and repeat. EL1, MMU off, minimum of 1000. Each row: "bench NAME min N mean N max N". Rows that need a
// second CPU say so if there is none. tests/bench/run.py reads them.
#include "guests/bare/rt/statistic.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr unsigned rounds = 1000;
constexpr u32 sgi_self = 1;
constexpr u32 sgi_ping = 2;
constexpr u32 sgi_pong = 3;
constexpr u32 sgi_stop = 4;

// Written by interrupt handlers; 0 = not yet.
SharedWord sgi_stamp;
SharedWord timer_stamp;
SharedWord pong_stamp;
SharedWord target_stop;
SharedWord target_ready;
SharedWord first_stamp;

/// An SGI, with nothing around it that asks which GIC there is.
template <bool v2>
void interrupt(u32 intid, unsigned target) {
    if constexpr (v2) {
        send_sgi(intid, target);
    } else {
        send_sgi_v3(intid, target);
    }
}

template <bool v2>
void on_irq(u32 intid, u64 stamp) {
    switch (intid) {
    case sgi_ping: // on CPU 1: answer first, book-keeping afterwards
        interrupt<v2>(sgi_pong, 0);
        return;
    case sgi_pong:
        pong_stamp.store(stamp);
        return;
    case sgi_self:
        sgi_stamp.store(stamp);
        return;
    case sgi_stop:
        target_stop.store(1);
        return;
    case intid_vtimer:
        BARE_WRITE("cntv_ctl_el0", 0);
        isb();
        timer_stamp.store(stamp);
        return;
    default:
        put("FAIL bench: unexpected interrupt\n");
    }
}

// One operation between two readings of the counter; the two readings themselves cost one tick.
template <class Operation>
void measure(const char* name, Operation operation) {
    Statistic s;
    for (unsigned i = 0; i < rounds; ++i) {
        s.add(operation());
    }
    print_row(name, s);
}

u64 timed_read(u64 address) {
    u64 before;
    u64 after;
    u32 value;
    asm volatile("isb\n mrs %0, cntvct_el0\n ldr %w2, [%3]\n isb\n mrs %1, cntvct_el0"
                 : "=&r"(before), "=&r"(after), "=&r"(value)
                 : "r"(address)
                 : "memory");
    return after - before;
}

void traps() {
    measure("psci_version", [] {
        register u64 x0 asm("x0") = abi::psci_version;
        u64 before;
        u64 after;
        asm volatile("isb\n mrs %0, cntvct_el0\n hvc #0\n mrs %1, cntvct_el0"
                     : "=&r"(before), "=&r"(after), "+r"(x0)
                     :
                     : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
                       "x14", "x15", "x16", "x17", "memory");
        return after - before;
    });
    measure("gicd_read", [] { return timed_read(gicd_base + 0x4); }); // GICD_TYPER
    if (!gic_is_v2()) {
        measure("gicr_read", [] { return timed_read(gicr_base + 0x14); }); // GICR_WAKER
    }
    measure("uart_read", [] { return timed_read(uart_base + 0x18); }); // UARTFR
    measure("id_register", [] {
        u64 before;
        u64 after;
        u64 value;
        asm volatile("isb\n mrs %0, cntvct_el0\n mrs %2, id_aa64mmfr0_el1\n isb\n mrs %1, cntvct_el0"
                     : "=&r"(before), "=&r"(after), "=&r"(value)
                     :
                     : "memory");
        return after - before;
    });
}

template <bool v2>
void own_interrupts() {
    Statistic sgi;
    Statistic eoi;
    for (unsigned i = 0; i < rounds; ++i) {
        sgi_stamp.store(0);
        const u64 before = now();
        interrupt<v2>(sgi_self, 0);
        isb();
        while (sgi_stamp.load() == 0) {
        }
        sgi.add(sgi_stamp.load() - before);
        eoi.add(last_eoi_ticks());
    }
    print_row("eoir_write", eoi);
    print_row("sgi_self", sgi);
}

/// Deadline to handler; `sleep` waits in WFI with interrupts masked around the check, so that no wake-up is
/// missed.
u64 timer_once(bool sleep) {
    timer_stamp.store(0);
    const u64 deadline = now() + 20'000;
    BARE_WRITE("cntv_cval_el0", deadline);
    BARE_WRITE("cntv_ctl_el0", 1);
    isb();
    while (timer_stamp.load() == 0) {
        if (sleep) {
            mask_irqs();
            if (timer_stamp.load() == 0) {
                wfi();
            }
            unmask_irqs();
            isb();
        }
    }
    return timer_stamp.load() - deadline;
}

/// CPU 1: answers pings from its handler until told to stop; the context says whether it sleeps in between.
void target_main(u64 sleeps, u64) {
    if (!gic_init(false)) {
        put("FAIL bench: redistributor 1\n");
    }
    gic_enable_private(sgi_ping);
    gic_enable_private(sgi_stop);
    unmask_irqs();
    target_ready.store(1);
    while (target_stop.load() == 0) {
        if (sleeps != 0) {
            mask_irqs();
            if (target_stop.load() == 0) {
                wfi();
            }
            unmask_irqs();
            isb();
        } else {
            yield();
        }
    }
    mask_irqs();
}

template <bool v2>
u64 ping_once(bool sleep) {
    pong_stamp.store(0);
    const u64 before = now();
    interrupt<v2>(sgi_ping, 1);
    isb();
    while (pong_stamp.load() == 0) {
        if (sleep) {
            mask_irqs();
            if (pong_stamp.load() == 0) {
                wfi();
            }
            unmask_irqs();
            isb();
        } else {
            yield();
        }
    }
    return pong_stamp.load() - before;
}

bool start_target(bool sleeps) {
    target_stop.store(0);
    target_ready.store(0);
    if (cpu_on(1, target_main, sleeps ? 1 : 0) != abi::psci_success) {
        return false;
    }
    while (target_ready.load() == 0) {
        yield();
    }
    return true;
}

template <bool v2>
bool stop_target() {
    interrupt<v2>(sgi_stop, 1);
    return wait_cpu_off(1);
}

template <bool v2>
void ping_rows(const char* name, bool sleeps) {
    if (!start_target(sleeps)) {
        print_row(name, {});
        return;
    }
    measure(name, [sleeps] { return ping_once<v2>(sleeps); });
    if (!stop_target<v2>()) {
        put("FAIL bench: CPU 1 did not switch off\n");
    }
}

void note_first_stamp(u64, u64 stamp) {
    first_stamp.store(stamp);
}

void cpu_on_row() {
    Statistic s;
    for (unsigned i = 0; i < rounds; ++i) {
        first_stamp.store(0);
        const u64 before = now();
        if (cpu_on(1, note_first_stamp, 0) != abi::psci_success) {
            break;
        }
        while (first_stamp.load() == 0) {
            yield();
        }
        s.add(first_stamp.load() - before);
        if (!wait_cpu_off(1)) {
            put("FAIL bench: CPU 1 did not switch off\n");
            break;
        }
    }
    print_row("cpu_on", s);
}

} // namespace

template <bool v2>
static void run() {
    traps();
    set_irq_handler(on_irq<v2>);
    report("bench.gic_init", gic_init(true));
    gic_enable_private(sgi_self);
    gic_enable_private(sgi_pong);
    gic_enable_private(intid_vtimer);
    unmask_irqs();
    own_interrupts<v2>();
    measure("timer_busy", [] { return timer_once(false); });
    measure("timer_wfi", [] { return timer_once(true); });
    // Two vCPUs on one CPU: whoever spins keeps the other one off it for a time slice, so only this row makes
    // sense.
    const bool shared_cpu = has_option("bench.shared-cpu");
    if (!shared_cpu) {
        ping_rows<v2>("ipi_busy", false);
    }
    ping_rows<v2>("ping_pong_wfi", true);
    if (!shared_cpu) {
        cpu_on_row();
    }
    report("bench.complete", true);
}

void payload() {
    put("bench frequency ");
    put_dec(BARE_READ("cntfrq_el0"));
    put("\n");
    if (gic_is_v2()) {
        run<true>();
    } else {
        run<false>();
    }
}
