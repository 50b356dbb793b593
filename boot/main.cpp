// SPDX-License-Identifier: Apache-2.0
// From the early map to running guests: reads the host's device tree and the bundle, builds EL2's map, the
// page pool and the VMs, starts the other CPUs, and becomes the scheduler. Boot CPU; the reader's way in is
// boot_primary().
#include "boot/boot_hw.hpp"
#include "boot/host.hpp"
#include "boot/vms.hpp"
#include "el2/passthrough.hpp"
#include "el2/switch_hw.hpp"
#include "lib/log.hpp"

namespace atl::boot {
namespace {

constexpr const char* version = "0.1";

[[noreturn]] void stop_with(Host& host, std::string_view sentence) {
    log::error("{}", sentence);
    host.flush_console();
    stop_here();
}

/// Entered at the wrong exception level: say so and how to do better.
[[noreturn]] void refuse_level(Host& host, u64 level, bool usable) {
    if (level == 2 && !usable) {
        stop_with(host,
                  "this CPU's EL2 has HCR_EL2.E2H fixed to 1 (no FEAT_E2H0), which Atoll does not support");
    }
    if (level == 3) {
        stop_with(
            host,
            "entered at EL3: Atoll is not firmware; start it at EL2, behind TF-A or with QEMU's -kernel");
    }
    stop_with(host, "entered at EL1: there is no EL2 here; on QEMU add virtualization=on to -M virt");
}

void banner(const Host& host) {
    const Platform& p = host.platform;
    log::info("Atoll {}: {} CPUs, {} MiB RAM, GICv{}, {}", version, host.world->pcpu_count,
              p.ram_bytes() / mib, host.gic_architecture(),
              p.model.empty() ? p.compatible.view() : p.model.view());
    log::info("stage 2: {}-bit IPA, {}-bit PA, level {} start, {}-bit VMIDs; SMMUv3 {}",
              host.world->geometry.ipa_bits, host.world->geometry.pa_bits, host.world->geometry.start_level,
              host.vmid_bits,
              p.smmu.registers.empty()                  ? "absent"
              : host.world->passthrough->smmu.running() ? "in use"
                                                        : "not used");
    log::info("console: Ctrl-] then a digit or n: guest, m: monitor, ?: help");
}

} // namespace

extern "C" [[noreturn]] void boot_primary(u64 device_tree, u64 entry_level, u64 load_address,
                                          u64 el2_usable) {
    seed_stack_guard(device_tree);
    if (entry_level == 2) {
        enter_cpu(nullptr);
    }
    Host& host = make_host(Pa{load_address}, Pa{device_tree});
    if (!host.read_device_tree(entry_level).ok()) {
        stop_with(host, "the host's device tree cannot be used (see above)");
    }
    if (entry_level != 2 || el2_usable == 0) {
        refuse_level(host, entry_level, el2_usable != 0);
    }
    if (const char* const why = refusal(host.platform.gic); why != nullptr) {
        stop_with(host, why);
    }
    if (!host.build_map().ok()) {
        stop_with(host, "EL2's own map cannot be built: the host's RAM is too fragmented");
    }
    if (!host.build_memory().ok()) {
        stop_with(host, "no room for the page records in the host's RAM");
    }
    if (const Status status = host.init_cpus_and_gic(); !status.ok()) {
        stop_with(host, FormatBuffer<96>("this CPU or its GIC cannot be used: {}", status.error()).text());
    }
    host.init_smmu();
    host.start_secondaries();
    host.init_passthrough();
    banner(host);
    host.world->console.enable_kicks();
    start_vms(host);
    el2::run_pcpu();
}

extern "C" [[noreturn]] void boot_secondary(el2::PerCpu* cpu) {
    enter_cpu(cpu);
    secondary_main(*cpu);
    el2::run_pcpu();
}

} // namespace atl::boot
