// SPDX-License-Identifier: Apache-2.0
// Payload psci: waits for a key (r = SYSTEM_RESET, o = go on), then starts, queries and stops every other
// CPU, twice.
#include "guests/bare/rt/rt.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u64 affinity_on = 0;
constexpr u64 affinity_off = 1;

SharedWord seen[max_cpus];
SharedWord let_go;
u64 untouched = 0x1234; // initialised data: after a reset it must hold this again

void secondary(u64 context, u64) {
    seen[context & (max_cpus - 1)].store(context + 100);
    while (let_go.load() == 0) {
        yield();
    }
}

bool wait_seen(unsigned cpu) {
    const u64 end = now() + 2 * BARE_READ("cntfrq_el0");
    while (seen[cpu].load() != cpu + 100) {
        if (now() > end) {
            return false;
        }
        yield();
    }
    return true;
}

u64 affinity_info(u64 mpidr, u64 level = 0) {
    return hvc(abi::psci_affinity_info | abi::smccc_64, mpidr, level).x[0];
}

u64 as_code(i64 code) {
    return static_cast<u64>(code);
}

unsigned start_all() {
    let_go.store(0);
    unsigned started = 0;
    for (unsigned cpu = 1; cpu < max_cpus; ++cpu) {
        seen[cpu].store(0);
        if (cpu_on(cpu, secondary, cpu) != abi::psci_success) {
            break;
        }
        report("psci.cpu_on", wait_seen(cpu));
        report_equal("psci.affinity_on", affinity_info(cpu), affinity_on);
        report_equal("psci.already_on", as_code(cpu_on(cpu, secondary, cpu)), as_code(abi::psci_already_on));
        ++started;
    }
    return started;
}

void stop_all(unsigned started) {
    let_go.store(1);
    for (unsigned cpu = 1; cpu <= started; ++cpu) {
        report("psci.cpu_off", wait_cpu_off(cpu));
        report_equal("psci.affinity_off", affinity_info(cpu), affinity_off);
    }
}

void wrong_calls() {
    report_equal("psci.self_is_on", as_code(cpu_on(0, secondary, 0)), as_code(abi::psci_already_on));
    report_equal("psci.cpu_on_nobody", hvc(abi::psci_cpu_on | abi::smccc_64, 0xff, ram_base, 0).x[0],
                 as_code(abi::psci_invalid_parameters));
    report_equal("psci.cpu_on_far_cluster",
                 hvc(abi::psci_cpu_on | abi::smccc_64, 0x1'0000'0001, ram_base, 0).x[0],
                 as_code(abi::psci_invalid_parameters));
    report_equal("psci.affinity_nobody", affinity_info(0xff), as_code(abi::psci_invalid_parameters));
    report_equal("psci.features_unknown", static_cast<u32>(hvc(abi::psci_features, 0x8400'00ff).x[0]),
                 0xffff'ffff);
    report_equal("psci.features_cpu_on", hvc(abi::psci_features, abi::psci_cpu_on | abi::smccc_64).x[0], 0);
}

} // namespace

void payload() {
    report_equal("psci.data_is_pristine", untouched, 0x1234);
    untouched = 0;
    put("psci: boot\n");
    const int key = get_char(30'000);
    if (key == 'r') {
        hvc(abi::psci_system_reset);
        report("psci.system_reset", false);
    }
    wrong_calls();
    const unsigned first = start_all();
    stop_all(first);
    const unsigned second = start_all();
    stop_all(second);
    report_equal("psci.same_count_again", second, first);
    put("psci: other CPUs: ");
    put_dec(first);
    put("\n");
}
