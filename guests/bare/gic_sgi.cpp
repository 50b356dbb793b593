// SPDX-License-Identifier: Apache-2.0
// Payload gic_sgi: interrupts between CPUs: SGIs of every kind [IHI0069 §12.2 ICC_SGI1R_EL1], SPIs by route [§12.9
// GICD_IROUTER<n>] and 1 of N, private interrupts of another CPU. CPU 0 asks the others to look, take and end.
#include <initializer_list>

#include "guests/bare/rt/gicv3.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u32 spi = free_spi;
constexpr u64 irm = u64{1} << 40;
unsigned cpus;

constexpr u64 sgi_value(u32 intid, u64 targets) {
    return u64{intid} << 24 | targets;
}
u32 all() {
    return (1U << cpus) - 1;
}

// ---- what a CPU can be asked for ----
u64 job_prepare(u64 group) {
    for (u32 intid = 0; intid < 16; ++intid) {
        prepare(intid, 0x80, static_cast<unsigned>(group));
    }
    return 1;
}
/// Takes the next interrupt and ends it; its INTID, or 1023 when none is signalled.
u64 job_take(u64) {
    if (!signals(isr_irq)) {
        return no_intid;
    }
    const u32 intid = acknowledge1();
    end1(intid);
    return intid;
}
u64 job_take_fiq(u64) {
    if (!signals(isr_fiq)) {
        return no_intid;
    }
    const u32 intid = acknowledge0();
    end0(intid);
    return intid;
}
u64 job_acknowledge(u64) {
    return signals(isr_irq) ? acknowledge1() : no_intid;
}
u64 job_end(u64 intid) {
    end1(static_cast<u32>(intid));
    return icc_rpr();
}
u64 job_deactivate(u64 intid) {
    deactivate(static_cast<u32>(intid));
    return 1;
}
u64 job_eoimode(u64 mode) {
    set_icc_ctlr(mode);
    return icc_ctlr() & icc_ctlr_eoimode;
}
u64 job_quiet(u64) {
    return keeps(0) && icc_rpr() == 0xff ? 1 : 0;
}
/// Sleeps until an interrupt is there, masked as it is [DDI0487 D1.6.2], and takes it.
u64 job_sleep(u64) {
    while (signalled() == 0) {
        wfi();
    }
    return job_take(0);
}
u64 job_send(u64 value) {
    send_sgi1r(value);
    return 1;
}

u64 on(unsigned cpu, HelperJob job, u64 argument = 0) {
    return cpu == 0 ? job(argument) : ask(cpu, job, argument);
}
/// Pending SGIs, PPIs of a CPU, read by CPU 0.
u32 pending_of(unsigned cpu) {
    return read32(gicr_of(cpu) + gicr_ispendr0);
}
/// The SGI is pending on exactly these CPUs; then they take it.
bool arrives(u32 intid, u32 targets) {
    dsb();
    bool ok = wait_until([=] {
        bool all_there = true;
        for (unsigned cpu = 0; cpu < cpus; ++cpu) {
            all_there = all_there && (pending_of(cpu) >> intid & 1) == (targets >> cpu & 1);
        }
        return all_there;
    });
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        if ((targets >> cpu & 1) != 0) {
            ok = on(cpu, job_take) == intid && ok;
        }
        ok = on(cpu, job_quiet) == 1 && ok;
    }
    return ok;
}
bool everywhere(HelperJob job, u64 argument, u64 want) {
    bool ok = true;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        ok = on(cpu, job, argument) == want && ok;
    }
    return ok;
}

void targets() {
    everywhere(job_prepare, 1, 1);
    send_sgi1r(sgi_value(3, 1));
    report("gic_sgi.self", arrives(3, 1));
    for (unsigned cpu = 1; cpu < cpus; ++cpu) {
        send_sgi1r(sgi_value(cpu, 1U << cpu));
        report("gic_sgi.one", arrives(cpu, 1U << cpu));
    }
    send_sgi1r(sgi_value(15, all()));
    report("gic_sgi.list", arrives(15, all()));
    send_sgi1r(sgi_value(0, 0xffff)); // CPUs that are not there
    report("gic_sgi.list_beyond", arrives(0, all()));
    send_sgi1r(sgi_value(8, 0));
    report("gic_sgi.nobody", arrives(8, 0));
    send_sgi1r(sgi_value(9, 0) | irm);
    report("gic_sgi.all_but_self", arrives(9, all() & ~1U));
    send_sgi1r(sgi_value(10, 0xffff) | irm | 0xff'00ff'0000); // target list and affinities do not count then
    report("gic_sgi.all_but_self_only", arrives(10, all() & ~1U));
    for (const unsigned shift : {16, 32, 48}) { // Aff1, Aff2, Aff3
        send_sgi1r(sgi_value(11, 0xffff) | u64{1} << shift);
    }
    report("gic_sgi.another_cluster", arrives(11, 0));
    if (cpus > 1) {
        on(cpus - 1, job_send, sgi_value(12, 0) | irm);
        report("gic_sgi.all_but_another", arrives(12, all() & ~(1U << (cpus - 1))));
        on(1, job_send, sgi_value(13, 1));
        send_sgi1r(sgi_value(13, 1)); // there is one pending state, whoever sends
        report("gic_sgi.two_senders_one_pending", arrives(13, 1));
    }
    send_sgi1r(sgi_value(14, all()));
    send_sgi1r(sgi_value(14, all()));
    report("gic_sgi.twice_is_once", arrives(14, all()));
}

/// Which register can send which group, with one security state [§8.1.10 and the table of SGI forwarding].
void groups() {
    everywhere(job_prepare, 0, 1);
    bool ok = true;
    send_sgi0r(sgi_value(2, all()));
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        ok = on(cpu, job_take_fiq) == 2 && ok;
    }
    report("gic_sgi.sgi0r_to_group0", ok);
    ok = true;
    send_asgi1r(sgi_value(3, all()));
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        ok = on(cpu, job_take_fiq) == 3 && ok;
    }
    report("gic_sgi.asgi1r_to_group0", ok);
    if (!has_option("bare")) { // QEMU wants group 1 here
        ok = true;
        send_sgi1r(sgi_value(4, all()));
        for (unsigned cpu = 0; cpu < cpus; ++cpu) {
            ok = on(cpu, job_take_fiq) == 4 && ok;
        }
        report("gic_sgi.sgi1r_to_group0", ok);
    }
    everywhere(job_prepare, 1, 1);
    send_sgi0r(sgi_value(5, all()));
    send_asgi1r(sgi_value(6, all()));
    report("gic_sgi.sgi0r_not_to_group1", arrives(5, 0));
    report("gic_sgi.asgi1r_not_to_group1", arrives(6, 0));
}

/// Another CPU's private interrupts, through its redistributor.
void private_ones() {
    const unsigned cpu = cpus - 1;
    const u64 frame = gicr_of(cpu);
    write32(frame + gicr_icenabler0, 1U << 7);
    gicr_settled(cpu);
    send_sgi1r(sgi_value(7, 1U << cpu));
    report("gic_sgi.disabled_stays_pending", on(cpu, job_quiet) == 1 && (pending_of(cpu) >> 7 & 1) != 0);
    write32(frame + gicr_isenabler0, 1U << 7);
    report("gic_sgi.enabled_by_another_cpu", arrives(7, 1U << cpu));
    constexpr u32 ppi = 20; // nothing drives it
    write32(frame + gicr_igroupr0, ~0U);
    write8(frame + gicr_ipriorityr + ppi, 0x80);
    write32(frame + gicr_isenabler0, 1U << ppi);
    write32(frame + gicr_ispendr0, 1U << ppi);
    report("gic_sgi.ppi_by_another_cpu", arrives(ppi, 1U << cpu));
    write32(frame + gicr_icenabler0, 1U << ppi);
    if (cpus == 1) {
        return;
    }
    write32(frame + gicr_ispendr0, 1U << 8);
    report("gic_sgi.made_pending", on(cpu, job_acknowledge) == 8);
    report("gic_sgi.seen_active",
           (read32(frame + gicr_isactiver0) >> 8 & 1) != 0 && (pending_of(cpu) >> 8 & 1) == 0);
    write32(frame + gicr_ispendr0, 1U << 8);
    report("gic_sgi.seen_active_and_pending",
           (read32(frame + gicr_isactiver0) & pending_of(cpu) & 1U << 8) != 0 &&
               on(cpu, job_take) == no_intid);
    write32(frame + gicr_icactiver0, 1U << 8);
    report("gic_sgi.deactivated", (read32(frame + gicr_isactiver0) >> 8 & 1) == 0);
    report_equal("gic_sgi.its_priority_runs", on(cpu, job_end, 8), 0xff);
    report_equal("gic_sgi.and_taken_again", on(cpu, job_take), 8);
    on(cpu, job_quiet);
}

void route(u64 value) {
    write64(gicd_irouter + u64{spi} * 8, value);
    dsb();
}

void routes() {
    prepare(spi);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        route(cpu);
        set_irq_bit(gicd_ispendr, spi);
        report("gic_sgi.spi_routed", on(cpu, job_take) == spi && !is_pending(spi) && !is_active(spi));
        set_irq_bit(gicd_ispendr, spi);
        route((cpu + 1) % cpus); // on its way
        report("gic_sgi.spi_rerouted_while_pending",
               on((cpu + 1) % cpus, job_take) == spi && on(cpu, job_quiet) == 1);
    }
    route(cpus); // no such CPU
    set_irq_bit(gicd_ispendr, spi);
    report("gic_sgi.spi_to_nobody", everywhere(job_quiet, 0, 1) && is_pending(spi));
    route(0x1'0000'0000); // Aff3
    report("gic_sgi.spi_to_another_cluster", everywhere(job_quiet, 0, 1) && is_pending(spi));
    route(0);
    report("gic_sgi.spi_comes_back", on(0, job_take) == spi);
    if (cpus == 1) {
        return;
    }
    const unsigned there = cpus - 1;
    route(there);
    set_irq_bit(gicd_ispendr, spi);
    report("gic_sgi.spi_taken_there",
           on(there, job_acknowledge) == spi && is_active(spi) && !is_pending(spi));
    route(0); // active there, the next one comes here
    set_irq_bit(gicd_ispendr, spi);
    report("gic_sgi.spi_is_active_once", is_active(spi) && is_pending(spi) && keeps(0));
    on(there, job_end, spi);
    report("gic_sgi.spi_then_here", on(0, job_take) == spi && on(there, job_quiet) == 1 && !is_active(spi));
    route(there);
    set_irq_bit(gicd_ispendr, spi);
    on(there, job_acknowledge);
    set_irq_bit(gicd_icenabler, spi);
    set_irq_bit(gicd_icactiver, spi);
    report("gic_sgi.spi_deactivated_here", !is_active(spi));
    report_equal("gic_sgi.spi_runs_there", on(there, job_end, spi), 0xff);
    quiesce(spi);
}

/// With EOImode 1 an SPI may be deactivated on another CPU than the one that took it [§4.1.1].
void deactivation() {
    if (cpus == 1) {
        return;
    }
    const unsigned there = cpus - 1;
    everywhere(job_eoimode, icc_ctlr_eoimode, icc_ctlr_eoimode);
    prepare(spi);
    route(there);
    set_irq_bit(gicd_ispendr, spi);
    report_equal("gic_sgi.split_taken_there", on(there, job_acknowledge), spi);
    on(there, job_end, spi);
    deactivate(spi);
    report("gic_sgi.split_deactivated_here", !is_active(spi));
    set_irq_bit(gicd_ispendr, spi);
    report_equal("gic_sgi.split_taken_again", on(there, job_acknowledge), spi);
    on(there, job_end, spi);
    route(0);
    set_irq_bit(gicd_ispendr, spi);
    on(there, job_deactivate, spi);
    report("gic_sgi.split_moved", signals(isr_irq) && acknowledge1() == spi);
    end1(spi);
    deactivate(spi);
    report("gic_sgi.split_done", !is_active(spi) && keeps(0));
    everywhere(job_eoimode, 0, 0);
    quiesce(spi);
}

/// 1 of N: any CPU whose group is enabled, but one [§4.1, §12.9 GICD_IROUTER<n>.Interrupt_Routing_Mode].
void one_of_n() {
    if ((read32(gicd_typer) & typer_no1n) != 0) {
        return;
    }
    prepare(spi);
    route(u64{1} << 31);
    for (unsigned round = 0; round < 3; ++round) {
        set_irq_bit(gicd_ispendr, spi);
        unsigned takers = 0;
        for (unsigned tries = 0; tries < 100 && takers == 0; ++tries) {
            for (unsigned cpu = 0; cpu < cpus; ++cpu) {
                takers += on(cpu, [](u64) -> u64 { return signalled() != 0 && job_take(0) == spi ? 1 : 0; });
            }
        }
        report("gic_sgi.one_of_n", takers == 1 && !is_pending(spi) && !is_active(spi));
    }
    quiesce(spi);
}

/// A sleeping CPU is woken by an SGI and by an SPI.
void sleepers() {
    for (unsigned cpu = 1; cpu < cpus; ++cpu) {
        post(cpu, job_sleep);
        const u64 end = now() + BARE_READ("cntfrq_el0") / 100;
        while (now() < end) {
            yield();
        }
        if (cpu % 2 != 0) {
            send_sgi1r(sgi_value(1, 1U << cpu));
        } else {
            prepare(spi);
            route(cpu);
            set_irq_bit(gicd_ispendr, spi);
        }
        report_equal("gic_sgi.sleeper", answer(cpu), cpu % 2 != 0 ? 1 : spi);
    }
    quiesce(spi);
}

} // namespace

void payload() {
    mask_irqs();
    cpus = count_cpus();
    report("gic_sgi.init", gicv3_init());
    report("gic_sgi.helpers", start_helpers(cpus));
    targets();
    groups();
    private_ones();
    routes();
    deactivation();
    one_of_n();
    sleepers();
    report("gic_sgi.all_quiet", everywhere(job_quiet, 0, 1));
    stop_helpers(cpus);
}
