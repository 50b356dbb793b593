// SPDX-License-Identifier: Apache-2.0
// What boot needs from the machine: where the image is, the early window, the change of map, PSCI calls to
// firmware. Boot CPU only. The map itself is built by boot/el2_map.hpp.
#pragma once
#include <span>

#include "boot/el2_map.hpp"
#include "lib/types.hpp"

namespace atl::boot {

/// Sections of the image as linked (virtual); the physical address is load_address + (va - image_va).
struct ImageLayout {
    HypVa start, text_end, rodata_end, bss_end, image_end;
};
ImageLayout image_layout();

/// The physical device tree through the early window [boot/head.S]: at most host_fdt_max_bytes.
std::span<const u8> early_device_tree(Pa device_tree);
/// Maps the 2 MiB around a device's registers into the early window, at any exception level.
HypVa early_map_device(Pa registers, u64 entry_level);
/// Bytes of RAM through the direct map; after install().
std::span<const u8> ram_bytes(Pa base, u64 bytes);

/// The tables for El2Map, zeroed, and their physical address.
std::span<El2Table> el2_tables();
Pa el2_tables_pa(Pa load_address);
/// Replaces the early map.
void install(const El2Map& map, Pa load_address);

/// The stack of pCPU `index`: [base, top) mapped, guard page below base. `emergency` is for faults of EL2
/// itself.
struct StackRange {
    HypVa base, top;
};
StackRange pcpu_stack(unsigned index);
StackRange pcpu_emergency_stack(unsigned index);
StackRange early_stack();

/// This CPU's MPIDR affinity.
Mpidr this_mpidr();
[[noreturn]] void stop_here();

/// What a secondary finds when firmware releases it, before its MMU is on. Cleaned to memory by
/// start_secondary().
struct alignas(64) SecondaryBoot {
    u64 table;
    u64 stack_top;
    u64 percpu;
};
/// PSCI CPU_ON by the host's conduit. Returns PSCI's status.
i64 start_secondary(Mpidr target, unsigned index, Pa load_address, bool smc, const SecondaryBoot& parameters);

/// Seeds the stack protector from a counter and `seed`. Called once, from a function that never returns.
void seed_stack_guard(u64 seed);
u64 physical_counter();

} // namespace atl::boot
