// SPDX-License-Identifier: Apache-2.0
// Hypercalls: SMC Calling Convention 1.2 [DEN0028E], dispatched by function identifier. Never forwarded to
// firmware.
#include "lib/abi/smccc.hpp"
#include "el2/dispatch.hpp"
#include "el2/vm_time.hpp"
#include "el2/world.hpp"

namespace atl::el2 {
namespace {

constexpr u64 not_supported = abi::smccc_not_supported;

u64 arch_features(u32 function) {
    switch (function) {
    case abi::smccc_version:
    case abi::smccc_arch_features:
    case abi::psci_version:
    case abi::pv_time_features: // how guests find out that it is there [DEN0057A §3.1]
        return 0;
    // Firmware's Spectre and SSB mitigations are not offered: ID_AA64PFR0_EL1.CSV2 tells guests what they
    // need.
    case abi::smccc_arch_workaround_1:
    case abi::smccc_arch_workaround_2:
    case abi::smccc_arch_workaround_3:
    case abi::smccc_arch_soc_id:
        return not_supported;
    default:
        return not_supported;
    }
}

/// FF-A function numbers, 32- and 64-bit forms [DEN0077A §11.1].
constexpr bool is_ffa(u32 function) {
    const u32 number = function & ~abi::smccc_64;
    return number >= 0x8400'0060 && number <= 0x8400'00EF;
}

/// Vendor-specific hypervisor service calls, fast [DEN0028E §6.4].
constexpr bool is_vendor(u32 function) {
    return (function & 0x3f00'0000) == 0x0600'0000 && (function & abi::smccc_fast) != 0;
}

constexpr bool is_psci(u32 function) {
    const u32 number = function & ~abi::smccc_64;
    return number >= 0x8400'0000 && number <= 0x8400'001F;
}

/// Kept apart: its array costs a stack check that the short calls need not pay. Long work comes in steps: the
/// guest makes the same call again until it is finished, and takes its interrupts in between.
[[gnu::noinline]] Action ffa_call(Vcpu& vcpu) {
    ffa::Call call;
    for (unsigned i = 0; i < 8; ++i) {
        call.x[i] = vcpu.x[i];
    }
    if (!vcpu.vm->world->ffa.handle(vcpu.vm->id, call)) {
        return action::repeat;
    }
    for (unsigned i = 0; i < 8; ++i) {
        vcpu.x[i] = call.x[i];
    }
    return action::resume;
}

} // namespace

Action smccc_call(Vcpu& vcpu, bool) {
    const u32 function = static_cast<u32>(vcpu.x[0]);
    if (is_psci(function)) {
        return psci_call(vcpu, function);
    }
    if (is_ffa(function) || is_vendor(function)) {
        return ffa_call(vcpu);
    }
    switch (function) {
    case abi::smccc_version:
        vcpu.x[0] = abi::smccc_version_1_2;
        break;
    case abi::smccc_arch_features:
        vcpu.x[0] = arch_features(static_cast<u32>(vcpu.x[1]));
        break;
    case abi::pv_time_features:
    case abi::pv_time_st:
        vcpu.x[0] = pv_time_call(vcpu, function);
        break;
    default:
        vcpu.x[0] = not_supported;
        break;
    }
    return action::resume;
}

} // namespace atl::el2
