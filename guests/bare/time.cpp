// SPDX-License-Identifier: Apache-2.0
// Payload time: what a guest that shares its CPU is told: stolen time [DEN0057A], counters of wall time or, with the boot
// argument "run", of run time only; both against the RTC. Its neighbour spins. Figures are compared to within a second and a
// half, because that is what an RTC of seconds can tell.
#include "guests/bare/rt/rt.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u64 seconds = 6;
constexpr u64 ms = 1000;

u64 stolen_ms(u64 record) {
    return read64(record + 8) / 1'000'000;
}

u64 elapsed_ms(u64 from, u64 to) {
    return (to - from) * ms / BARE_READ("cntfrq_el0");
}

bool close(u64 a, u64 b) {
    return a + 3 * ms / 2 >= b && b + 3 * ms / 2 >= a;
}

} // namespace

void payload() {
    report_equal("time.arch_features", hvc(abi::smccc_arch_features, abi::pv_time_features).x[0], 0);
    report_equal("time.pv_time_features", hvc(abi::pv_time_features, abi::pv_time_st).x[0], 0);
    report_equal("time.unknown_feature", hvc(abi::pv_time_features, abi::psci_version).x[0], ~u64{0});
    const u64 record = hvc(abi::pv_time_st).x[0];
    report("time.record_is_aligned", record != ~u64{0} && record % 64 == 0);
    report_equal("time.revision_and_attributes", read64(record), 0);
    fault_begin();
    write32(record + 8, 1);
    report_equal("time.record_is_read_only", fault_end().exception_class(), ec_data_abort);
    const u64 stolen = stolen_ms(record);
    const u64 virtual_start = now();
    const u64 physical_start = BARE_READ("cntpct_el0");
    const u32 wall_start = read32(rtc_base);
    while (read32(rtc_base) - wall_start < seconds) {
    }
    const u64 virtual_ms = elapsed_ms(virtual_start, now());
    const u64 physical_ms = elapsed_ms(physical_start, BARE_READ("cntpct_el0"));
    const u64 taken_ms = stolen_ms(record) - stolen;
    put("time: of ");
    put_dec(seconds * ms);
    put(" ms the counter saw ");
    put_dec(virtual_ms);
    put(", ");
    put_dec(taken_ms);
    put(" were stolen\n");
    report("time.something_was_stolen", taken_ms > ms);
    report("time.physical_as_virtual", close(virtual_ms, physical_ms));
    if (has_option("run")) {
        report("time.run_time_and_stolen_make_wall_time", close(virtual_ms + taken_ms, seconds * ms));
        report("time.counter_stood_still", virtual_ms + ms < seconds * ms);
    } else {
        report("time.counter_is_wall_time", close(virtual_ms, seconds * ms));
    }
}
