// SPDX-License-Identifier: Apache-2.0
// PSCI 1.1 for guests [DEN0022E §5]. Acts on the caller's own VM only; nothing reaches firmware.
// CPU_ON takes lifecycle_lock, then the target's run-queue lock. A power state leaves `off` under
// lifecycle_lock only; its readers take no lock.
#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/lifecycle.hpp"
#include "el2/world.hpp"
#include "lib/abi/smccc.hpp"

namespace atl::el2 {
namespace {

constexpr u64 result(i64 code) {
    return static_cast<u64>(code);
}

/// vCPU i has MPIDR affinity 0.0.0.i; anything else names nobody.
Vcpu* find_vcpu(Vm& vm, u64 mpidr) {
    return mpidr < vm.vcpu_count ? vm.vcpus[mpidr] : nullptr;
}

bool is_ram(const Vm& vm, Ipa ipa) {
    const RamBanks banks = ram_banks(vm.config->ram_bytes);
    return banks.low.contains(ipa) || banks.high.contains(ipa);
}

i64 cpu_on(Vcpu& vcpu, u64 target_mpidr, u64 entry, u64 context) {
    Vcpu* const target = find_vcpu(*vcpu.vm, target_mpidr);
    if (target == nullptr) {
        return abi::psci_invalid_parameters;
    }
    if (!is_ram(*vcpu.vm, Ipa{entry}) || (entry & 3) != 0) {
        return abi::psci_invalid_address;
    }
    // Under the lock that a stop of the VM takes first: a vCPU that has left it must not start again.
    LockGuard guard(vcpu.vm->world->lifecycle_lock);
    if (vcpu.vm->state != VmState::running) {
        return abi::psci_denied; // the caller is about to leave, too
    }
    Power expected = Power::off;
    if (!target->power.compare_exchange_strong(expected, Power::on_pending, std::memory_order_acq_rel,
                                               std::memory_order_acquire)) {
        return expected == Power::on ? abi::psci_already_on : abi::psci_on_pending;
    }
    target->start_pc = entry;
    target->start_context = context;
    target->cpu->queue.start(*target, hw::counter()); // its lock publishes the two
    hw::send_kick(target->cpu->index);
    return abi::psci_success;
}

i64 affinity_info(const Vcpu& vcpu, u64 target_mpidr, u64 level) {
    if (level != 0) {
        return abi::psci_invalid_parameters; // a 1.0 implementation may support level 0 only [§5.7.1]
    }
    const Vcpu* const target = find_vcpu(*vcpu.vm, target_mpidr);
    if (target == nullptr) {
        return abi::psci_invalid_parameters;
    }
    switch (target->power.load(std::memory_order_acquire)) {
    case Power::on:
        return 0;
    case Power::off:
        return 1;
    case Power::on_pending:
        return 2;
    }
    return abi::psci_internal_failure;
}

i64 features(u32 function) {
    switch (function) {
    case abi::smccc_version:
    case abi::psci_version:
    case abi::psci_cpu_off:
    case abi::psci_cpu_on:
    case abi::psci_cpu_on | abi::smccc_64:
    case abi::psci_affinity_info:
    case abi::psci_affinity_info | abi::smccc_64:
    case abi::psci_migrate_info_type:
    case abi::psci_system_off:
    case abi::psci_system_reset:
    case abi::psci_features:
        return abi::psci_success;
    case abi::psci_cpu_suspend:
    case abi::psci_cpu_suspend | abi::smccc_64:
        return 0; // original power_state format, no OS-initiated mode [§5.14]
    default:
        return abi::psci_not_supported;
    }
}

} // namespace

Action psci_call(Vcpu& vcpu, u32 function) {
    // SMC32 calls take and return 32-bit values [DEN0028E §2.7].
    const u64 mask = (function & abi::smccc_64) != 0 ? ~u64{0} : 0xffff'ffff;
    const u64 a1 = vcpu.x[1] & mask;
    const u64 a2 = vcpu.x[2] & mask;
    const u64 a3 = vcpu.x[3] & mask;
    switch (function) {
    case abi::psci_version:
        vcpu.x[0] = abi::psci_version_1_1;
        return action::resume;
    case abi::psci_cpu_suspend:
    case abi::psci_cpu_suspend | abi::smccc_64:
        // Standby; a power-down request may be downgraded to it [§5.1.4, §6.5]. Returns once an interrupt
        // waits.
        vcpu.x[0] = result(abi::psci_success);
        vcpu.park_request = true;
        return action::leave;
    case abi::psci_cpu_off:
        vcpu.stop_request = true;
        return action::leave;
    case abi::psci_cpu_on:
    case abi::psci_cpu_on | abi::smccc_64:
        vcpu.x[0] = result(cpu_on(vcpu, a1, a2, a3)) & mask;
        return action::resume;
    case abi::psci_affinity_info:
    case abi::psci_affinity_info | abi::smccc_64:
        vcpu.x[0] = result(affinity_info(vcpu, a1, a2)) & mask;
        return action::resume;
    case abi::psci_migrate_info_type:
        vcpu.x[0] = 2; // no trusted OS that would care [§5.9]
        return action::resume;
    case abi::psci_system_off:
        stop_vm(*vcpu.vm, AfterStop::off, false);
        return action::leave;
    case abi::psci_system_reset:
        stop_vm(*vcpu.vm, AfterStop::restart, false);
        return action::leave;
    case abi::psci_features:
        vcpu.x[0] = result(features(static_cast<u32>(a1))) & mask;
        return action::resume;
    default:
        vcpu.x[0] = result(abi::psci_not_supported) & mask;
        return action::resume;
    }
}

} // namespace atl::el2
