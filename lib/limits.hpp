// SPDX-License-Identifier: Apache-2.0
// The system-wide limits. Every one has an error message or code where a manifest or a guest could exceed it.
#pragma once
#include <cstddef>
#include <cstdint>

namespace atl {

constexpr unsigned max_pcpus = 8;        // physical CPUs that EL2 starts
constexpr unsigned max_vms = 16;         // VMs in one manifest
constexpr unsigned max_vcpus_per_vm = 8; // vCPUs in one VM
constexpr unsigned max_name_length = 15; // characters in a VM's name, without the NUL
constexpr unsigned max_bootargs = 1023;  // characters in a VM's kernel command line

constexpr std::size_t page_shift = 12;
constexpr std::size_t page_size = std::size_t{1} << page_shift;
constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;
constexpr std::size_t gib = 1024 * mib;

} // namespace atl
