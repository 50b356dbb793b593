// SPDX-License-Identifier: Apache-2.0
// Payload smoke: boots, prints, checks where it runs, takes one virtual timer interrupt and one SGI, switches
// off.
#include "guests/bare/rt/rt.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

SharedWord seen_timer;
SharedWord seen_sgi;

void on_irq(u32 intid, u64) {
    if (intid == intid_vtimer) {
        BARE_WRITE("cntv_ctl_el0", 0);
        isb();
        seen_timer.store(1);
    } else if (intid == 5) {
        seen_sgi.store(1);
    }
}

bool wait_for(SharedWord& word) {
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while (word.load() == 0) {
        if (now() > end) {
            return false;
        }
    }
    return true;
}

bool initialised_data_is_relocated() {
    static const char* const pointers[] = {"one", "two"};
    const char* const* volatile table = pointers;
    return table[1][0] == 't';
}

} // namespace

void payload() {
    put("smoke: hello from EL1, midr ");
    put_hex(BARE_READ("midr_el1"));
    put("\n");
    report("smoke.device_tree", device_tree_valid());
    report("smoke.relocation", initialised_data_is_relocated());
    report_equal("smoke.mpidr_affinity", BARE_READ("mpidr_el1") & 0xff'00ff'ffff, 0);
    report_equal("smoke.psci_version_major", hvc(abi::psci_version).x[0] >> 16, 1);
    set_irq_handler(on_irq);
    report("smoke.gic_init", gic_init(true));
    gic_enable_private(intid_vtimer);
    gic_enable_private(5);
    unmask_irqs();
    send_sgi(5, 0);
    report("smoke.sgi", wait_for(seen_sgi));
    BARE_WRITE("cntv_cval_el0", now() + BARE_READ("cntfrq_el0") / 100);
    BARE_WRITE("cntv_ctl_el0", 1);
    report("smoke.timer", wait_for(seen_timer));
    seen_timer.store(0);
    BARE_WRITE("cntv_cval_el0", now() + BARE_READ("cntfrq_el0") / 100);
    BARE_WRITE("cntv_ctl_el0", 1);
    mask_irqs();
    if (seen_timer.load() == 0) {
        wfi();
    }
    unmask_irqs();
    report("smoke.timer_wfi", wait_for(seen_timer));
    if (*bootargs() != '\0') {
        put("smoke: bootargs ");
        put(bootargs());
        put("\n");
    }
}
