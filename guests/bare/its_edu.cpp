// SPDX-License-Identifier: Apache-2.0
// Payload its_edu: messages of a real device (QEMU's `edu`, docs/specs/edu.rst there) through the VM's own ITS: the events
// that were mapped arrive as the LPIs and at the CPUs that the guest chose, and nothing else does. Boot argument
// its.neighbour: a VM without that device, which has mapped the same DeviceID and events and must get none of them. its.count:
// a thousand messages to a CPU that is awake, and a thousand to one in WFI; then time to look at what EL2 had
// to do with them.
#include "guests/bare/rt/edu.hpp"
#include "guests/bare/rt/its.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u64 message_address = its_base + gits_translater;
constexpr unsigned event_bits = 5;
constexpr u32 lpi = first_lpi + 40; // of event n: lpi + n
constexpr u16 here = 0, there = 1;

Edu edu;
SharedWord secondary_is_up;
SharedWord secondary_may_go;

void send(u64 msi, u32 event) {
    edu_aim(msi, message_address, event);
    edu_message(edu);
}

void pause_us(u64 us) {
    const u64 end = now() + BARE_READ("cntfrq_el0") / 1'000'000 * us;
    while (now() < end) {
        yield();
    }
}

bool comes(unsigned cpu, u32 which, u64 count = 1) {
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while (lpi_taken(cpu, which) < count && now() < end) {
        yield();
    }
    pause_us(500);
    return lpi_taken(cpu, which) == count;
}

/// Of all LPIs that are counted, on any CPU.
u64 taken_in_all() {
    u64 sum = 0;
    for (u32 i = 0; i < counted_lpis; ++i) {
        sum += lpi_taken(0, first_lpi + i) + lpi_taken(1, first_lpi + i);
    }
    return sum;
}

void map_events(u32 device) {
    its_do(mapd(device, event_bits, itt_of(1), true));
    for (u32 event = 0; event < 8; ++event) {
        lpi_configure(lpi + event, true);
        its_do(mapti(device, event, lpi + event, here));
        its_do(inv(device, event));
    }
}

void start_its() {
    report("its_edu.gic", gic_init(true) && its_there() && its_init());
    set_irq_handler(lpi_handler);
    lpi_enable_cpu(true);
    its_do(mapc(here, its_target(0), true));
    unmask_irqs();
}

void secondary(u64, u64) {
    gic_init(false);
    lpi_enable_cpu(true);
    unmask_irqs();
    secondary_is_up.store(1);
    while (secondary_may_go.load() == 0) {
        wfi(); // parked: a message must wake it
    }
    mask_irqs();
}

void mapped_events(u32 device, u64 msi) {
    lpi_forget();
    send(msi, 3);
    report("its_edu.event", comes(0, lpi + 3) && taken_in_all() == 1);
    send(msi, 0);
    report("its_edu.event_0", comes(0, lpi) && taken_in_all() == 2);
    lpi_forget();
    static constexpr u32 others[] = {8, 31, 32, 100, 255, 256, first_lpi, lpi, 0xffff, 0xffff'ffff};
    for (const u32 event : others) {
        send(msi, event);
    }
    pause_us(3000);
    report_equal("its_edu.no_event_but_mapped_ones", taken_in_all(), 0);
    lpi_configure(lpi + 3, false);
    its_do(inv(device, 3));
    send(msi, 3);
    pause_us(3000);
    report_equal("its_edu.masked", taken_in_all(), 0);
    lpi_configure(lpi + 3, true);
    its_do(inv(device, 3));
    report("its_edu.waited", comes(0, lpi + 3) && taken_in_all() == 1);
}

void moved(u32 device, u64 msi) {
    report_equal("its_edu.cpu_on", static_cast<u64>(cpu_on(1, secondary, 0)), 0);
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while (secondary_is_up.load() == 0 && now() < end) {
        yield();
    }
    pause_us(2000); // it sleeps
    its_do(mapc(there, its_target(1), true));
    its_do(movi(device, 3, there));
    lpi_forget();
    send(msi, 3);
    report("its_edu.moved_to_a_parked_cpu", comes(1, lpi + 3) && taken_in_all() == 1);
    its_do(movi(device, 3, here));
    send(msi, 3);
    report("its_edu.moved_back", comes(0, lpi + 3) && taken_in_all() == 2);
    secondary_may_go.store(1);
    its_do(movi(device, 3, there));
    send(msi, 3); // wakes it for the last time
    report("its_edu.cpu_off", wait_cpu_off(1));
    its_do(movi(device, 3, here));
}

void unmapped_events(u32 device, u64 msi) {
    lpi_forget();
    its_do(discard(device, 3));
    send(msi, 3);
    pause_us(3000);
    report_equal("its_edu.discarded", taken_in_all(), 0);
    its_do(mapti(device, 3, lpi + 7, here));
    send(msi, 3);
    report("its_edu.mapped_to_another_lpi", comes(0, lpi + 7) && taken_in_all() == 1);
    its_do(mapd(device, event_bits, 0, false));
    send(msi, 3);
    send(msi, 0);
    pause_us(3000);
    report_equal("its_edu.unmapped_device", taken_in_all(), 1);
    map_events(device);
    write32(its_base + gits_ctlr, 0);
    send(msi, 3);
    pause_us(3000);
    report_equal("its_edu.its_off", taken_in_all(), 1);
    write32(its_base + gits_ctlr, 1);
    send(msi, 3);
    report("its_edu.its_on", comes(0, lpi + 3) && taken_in_all() == 2);
}

void count(u64 msi) {
    constexpr u32 messages = 1000;
    lpi_forget();
    edu_aim(msi, message_address, 3); // its registers are the device's own: no exit
    for (u32 i = 1; i <= 2 * messages; ++i) {
        if (i > messages) {
            mask_irqs();
            edu_message(edu);
            wfi();
            unmask_irqs();
        } else {
            edu_message(edu);
        }
        const u64 end = now() + BARE_READ("cntfrq_el0");
        while (lpi_taken(0, lpi + 3) < i && now() < end) {
        }
    }
    report_equal("its_edu.messages", lpi_taken(0, lpi + 3), 2 * messages);
    put("its_edu: counted\n");
    pause_us(5'000'000);
}

void drive() {
    const u64 msi = edu_find(&edu, 1) != 0 ? edu_msi(edu) : 0;
    report("its_edu.found", msi != 0);
    if (msi == 0) {
        return;
    }
    edu_enable(edu, edu_master);
    const auto device = static_cast<u32>((edu.config - edu_ecam) >> 12); // its RequesterID
    start_its();
    map_events(device);
    if (has_option("its.count")) {
        return count(msi);
    }
    mapped_events(device, msi);
    moved(device, msi);
    unmapped_events(device, msi);
}

void watch() {
    start_its();
    for (u32 device = 0; device < 256; device += 8) {
        its_do(mapd(device, event_bits, itt_of(device / 8), true));
        for (u32 event = 0; event < 8; ++event) {
            lpi_configure(lpi + event, true);
            its_do(mapti(device, event, lpi + event, here));
        }
    }
    its_do(invall(here));
    lpi_forget();
    put("its_edu: watching\n");
    pause_us(3'000'000);
    report_equal("its_edu.neighbour_gets_none", taken_in_all(), 0);
    its_do(raise(8, 3));
    report("its_edu.neighbour_gets_its_own", comes(0, lpi + 3));
}

} // namespace

void payload() {
    if (has_option("its.neighbour")) {
        watch();
    } else {
        drive();
    }
}
