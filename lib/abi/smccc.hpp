// SPDX-License-Identifier: Apache-2.0
// SMC Calling Convention 1.2 [DEN0028 v1.2] and PSCI 1.1 [DEN0022E] numbers as guests see them.
#pragma once
#include "lib/types.hpp"

namespace atl::abi {

// Function identifier fields [DEN0028 §2.5].
constexpr u32 smccc_fast = u32{1} << 31;
constexpr u32 smccc_64 = u32{1} << 30;
constexpr u64 smccc_not_supported = ~u64{0};

constexpr u32 smccc_version = 0x8000'0000;
constexpr u32 smccc_arch_features = 0x8000'0001;
constexpr u32 smccc_arch_soc_id = 0x8000'0002;
constexpr u32 smccc_arch_workaround_1 = 0x8000'8000;
constexpr u32 smccc_arch_workaround_2 = 0x8000'7FFF;
constexpr u32 smccc_arch_workaround_3 = 0x8000'3FFF;
constexpr u32 smccc_version_1_2 = 0x0001'0002;

// Paravirtualised time [DEN0057A §3.1, §3.2].
constexpr u32 pv_time_features = 0xC500'0020;
constexpr u32 pv_time_st = 0xC500'0021;

constexpr u32 psci_version = 0x8400'0000;
constexpr u32 psci_cpu_suspend = 0x8400'0001;
constexpr u32 psci_cpu_off = 0x8400'0002;
constexpr u32 psci_cpu_on = 0x8400'0003;
constexpr u32 psci_affinity_info = 0x8400'0004;
constexpr u32 psci_migrate = 0x8400'0005;
constexpr u32 psci_migrate_info_type = 0x8400'0006;
constexpr u32 psci_system_off = 0x8400'0008;
constexpr u32 psci_system_reset = 0x8400'0009;
constexpr u32 psci_features = 0x8400'000A;
constexpr u32 psci_system_reset2 = 0x8400'0012;
constexpr u32 psci_version_1_1 = 0x0001'0001;

// PSCI return codes [DEN0022E §5.2.2].
constexpr i64 psci_success = 0;
constexpr i64 psci_not_supported = -1;
constexpr i64 psci_invalid_parameters = -2;
constexpr i64 psci_denied = -3;
constexpr i64 psci_already_on = -4;
constexpr i64 psci_on_pending = -5;
constexpr i64 psci_internal_failure = -6;
constexpr i64 psci_invalid_address = -9;

} // namespace atl::abi
