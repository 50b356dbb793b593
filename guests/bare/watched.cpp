// SPDX-License-Identifier: Apache-2.0
// Payload watched: an SGI, the timer, an SPI and, with an ITS, an LPI, each once for every key 'g' at the console, so that a
// person or a test can look at them in the monitor in between. Key 'o' ends it.
#include "guests/bare/rt/its.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u32 sgi = 3;
constexpr u32 spi = 42;
constexpr u32 device = 1;
constexpr u64 gicd_ispendr = 0x0800'0200;

SharedWord taken;

void on_irq(u32 intid, u64) {
    if (intid == intid_vtimer) {
        BARE_WRITE("cntv_ctl_el0", 0);
        isb();
    }
    taken.store(intid);
}

/// Until `intid` was taken, or a second is over.
void wait_for(u32 intid, const char* name) {
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while (taken.load() != intid && now() < end) {
        yield();
    }
    report(name, taken.load() == intid);
    taken.store(0);
}

void all_of_them(bool with_lpi) {
    send_sgi(sgi, 0);
    wait_for(sgi, "watched.sgi");
    BARE_WRITE("cntv_cval_el0", now());
    BARE_WRITE("cntv_ctl_el0", 1);
    isb();
    wait_for(intid_vtimer, "watched.timer");
    write32(gicd_ispendr + spi / 32 * 4, 1U << (spi % 32));
    wait_for(spi, "watched.spi");
    if (with_lpi) {
        its_do(raise(device, 0));
        wait_for(first_lpi, "watched.lpi");
    }
}

} // namespace

void payload() {
    set_irq_handler(on_irq);
    report("watched.gic_init", gic_init(true));
    gic_enable_private(sgi);
    gic_enable_private(intid_vtimer);
    gic_enable_shared(spi);
    const bool with_lpi = !gic_is_v2() && its_there() && its_init();
    if (with_lpi) {
        lpi_enable_cpu(true);
        lpi_configure(first_lpi, true);
        its_do(mapc(0, its_target(0), true));
        its_do(mapd(device, 2, itt_of(1), true));
        its_do(mapti(device, 0, first_lpi, 0));
        its_do(inv(device, 0));
    }
    unmask_irqs();
    put("watched: ready\n");
    for (;;) {
        const int key = get_char(60'000);
        if (key == 'g') {
            all_of_them(with_lpi);
            put("watched: once more\n");
        } else if (key == 'o' || key < 0) {
            return;
        }
    }
}
