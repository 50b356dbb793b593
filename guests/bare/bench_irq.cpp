// SPDX-License-Identifier: Apache-2.0
// Payload bench_irq: from an interrupt's cause to the first instruction of its handler's vector, in ticks of CNTVCT_EL0; under
// QEMU's -icount with -cpu max a tick is one instruction of all CPUs and levels. EL1, MMU off. Rows as in rt/statistic.hpp;
// tests/bench/irq.py reads them. Boot argument bench.late: only how late a parked vCPU's timer is, as a histogram too.
#include "guests/bare/rt/edu.hpp"
#include "guests/bare/rt/its.hpp"
#include "guests/bare/rt/statistic.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr unsigned rounds = 1000;
constexpr u32 sgi_self = 1;
constexpr u32 sgi_target = 2;
constexpr u32 sgi_stop = 3;
constexpr u64 edu_raise = 0x60; // interrupt status: set by writing here
constexpr u64 edu_acknowledge = 0x64;
constexpr u32 first_intx = 35; // of QEMU virt's PCIe host, and of Atoll's

SharedWord stamp;
SharedWord stop;
SharedWord ready;
Edu edu;
u32 edu_intid;

void on_irq(u32 intid, u64 taken) {
    if (intid == sgi_stop) {
        stop.store(1);
        return;
    }
    if (intid == intid_vtimer) {
        BARE_WRITE("cntv_ctl_el0", 0);
        isb();
    } else if (intid == edu_intid || intid >= first_lpi) {
        write32(edu.bar + edu_acknowledge, ~0U);
        dsb();
    }
    stamp.store(taken);
}

/// `cause` makes an interrupt, `settle_ticks` after the last one; from before it to the handler, which may be another CPU's.
template <class Cause>
u64 once(Cause cause, u64 settle_ticks = 0) {
    stamp.store(0);
    for (const u64 settled = now() + settle_ticks; now() < settled;) {
        yield();
    }
    isb();
    const u64 before = now();
    cause();
    while (stamp.load() == 0) {
        yield();
    }
    return stamp.load() - before;
}

template <class Cause>
void measure(const char* name, Cause cause, u64 settle_ticks = 0) {
    Statistic s;
    for (unsigned i = 0; i < rounds; ++i) {
        s.add(once(cause, settle_ticks));
    }
    print_row(name, s);
}

void sgi_rows() {
    Statistic eoi;
    Statistic self;
    for (unsigned i = 0; i < rounds; ++i) {
        self.add(once([] {
            send_sgi_v3(sgi_self, 0);
            isb();
        }));
        eoi.add(last_eoi_ticks());
    }
    print_row("eoir_write", eoi);
    print_row("sgi_self", self);
}

/// Until the interrupted code goes on: acknowledge and EOI are in it.
void sgi_whole_row() {
    Statistic s;
    for (unsigned i = 0; i < rounds; ++i) {
        stamp.store(0);
        isb();
        const u64 before = now();
        send_sgi_v3(sgi_self, 0);
        isb();
        while (stamp.load() == 0) {
            yield();
        }
        s.add(now() - before);
    }
    print_row("sgi_whole", s);
}

void target_main(u64 sleeps, u64) {
    if (!gic_init(false)) {
        put("FAIL bench_irq: CPU 1's interface\n");
    }
    gic_enable_private(sgi_target);
    gic_enable_private(sgi_stop);
    unmask_irqs();
    ready.store(1);
    while (stop.load() == 0) {
        if (sleeps != 0) {
            mask_irqs();
            if (stop.load() == 0) {
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

void other_cpu_row(const char* name, bool sleeps) {
    stop.store(0);
    ready.store(0);
    if (cpu_on(1, target_main, sleeps ? 1 : 0) != abi::psci_success) {
        print_row(name, {});
        return;
    }
    while (ready.load() == 0) {
        yield();
    }
    // Before each, the other one is back in its loop, or asleep.
    measure(
        name,
        [] {
            send_sgi_v3(sgi_target, 1);
            isb();
        },
        20'000);
    send_sgi_v3(sgi_stop, 1);
    report("bench_irq.target_stops", wait_cpu_off(1));
}

u64 timer_late(bool sleep, u64 ahead) {
    stamp.store(0);
    const u64 deadline = now() + ahead;
    BARE_WRITE("cntv_cval_el0", deadline);
    BARE_WRITE("cntv_ctl_el0", 1);
    isb();
    while (stamp.load() == 0) {
        if (sleep) {
            mask_irqs();
            if (stamp.load() == 0) {
                wfi();
            }
            unmask_irqs();
            isb();
        }
    }
    return stamp.load() - deadline;
}

void timer_row(const char* name, bool sleep) {
    Statistic s;
    for (unsigned i = 0; i < rounds; ++i) {
        s.add(timer_late(sleep, 20'000));
    }
    print_row(name, s);
}

/// How late a parked vCPU's timer is: "late below N ticks: N", each bucket ten times the one before.
void late_rows() {
    constexpr u64 most = 10;
    constexpr unsigned samples = 100;
    u64 buckets[most] = {};
    Statistic s;
    for (unsigned i = 0; i < samples; ++i) {
        // Deadlines at all distances from the ends of the neighbour's slices.
        const u64 late = timer_late(true, 100'000 + i * 77'777);
        s.add(late);
        unsigned bucket = 0;
        for (u64 limit = 10; late >= limit && bucket + 1 < most; limit *= 10) {
            ++bucket;
        }
        ++buckets[bucket];
    }
    print_row("timer_parked", s);
    u64 limit = 10;
    for (unsigned i = 0; i < most; ++i, limit *= 10) {
        put("bench late ");
        put_dec(limit);
        put(" count ");
        put_dec(buckets[i]);
        put("\n");
    }
}

/// A device of ours raises its line, or what the payload's options say.
void device_rows() {
    if (edu_find(&edu, 1) == 0) {
        print_row("intx", {});
        return;
    }
    edu_enable(edu, 0);
    const auto slot = static_cast<u32>((edu.config - edu_ecam) >> 15);
    edu_intid = first_intx + slot % 4; // INTA of its slot
    gic_enable_shared_level(edu_intid);
    measure("intx", [] {
        write32(edu.bar + edu_raise, 1);
        dsb();
    });
}

/// An LPI by the ITS's INT command, from the store to GITS_CWRITER, and by a message of the device.
void lpi_rows() {
    constexpr u32 lpi = first_lpi;
    if (edu_msi(edu) == 0 || !its_there() || !its_init()) {
        print_row("lpi_int", {});
        print_row("lpi_msi", {});
        return;
    }
    const auto device = static_cast<u32>((edu.config - edu_ecam) >> 12); // its RequesterID
    lpi_enable_cpu(true);
    lpi_configure(lpi, true);
    its_do(mapc(0, its_target(0), true));
    its_do(mapd(device, 2, itt_of(1), true));
    its_do(mapti(device, 1, lpi, 0));
    its_do(inv(device, 1));
    Statistic by_command;
    for (unsigned i = 0; i < rounds; ++i) {
        its_put(raise(device, 1));
        by_command.add(once(its_ring));
        its_go();
    }
    print_row("lpi_int", by_command);
    edu_enable(edu, edu_master);
    edu_aim(edu_msi(edu), its_base + gits_translater, 1);
    measure("lpi_msi", [] {
        write32(edu.bar + edu_raise, 1);
        dsb();
    });
}

} // namespace

void payload() {
    set_irq_handler(on_irq);
    report("bench_irq.gic_init", gic_init(true));
    gic_enable_private(sgi_self);
    gic_enable_private(intid_vtimer);
    unmask_irqs();
    if (has_option("bench.late")) {
        late_rows();
        return;
    }
    sgi_rows();
    sgi_whole_row();
    timer_row("timer_busy", false);
    timer_row("timer_wfi", true);
    device_rows();
    lpi_rows();
    other_cpu_row("sgi_running", false);
    other_cpu_row("sgi_parked", true);
}
