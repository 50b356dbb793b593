// SPDX-License-Identifier: Apache-2.0
// Boot's hands on the machine. See boot/boot_hw.hpp.
#include "boot/boot_hw.hpp"

#include "lib/abi/smccc.hpp"
#include "lib/arch/sysreg_hw.hpp"
#include "lib/limits.hpp"

extern "C" {
extern char image_start[];
extern char text_end[];
extern char rodata_end[];
extern char bss_end[];
extern char image_end[];
extern char boot_tables[];
extern char boot_stack_top[];
extern char secondary_entry[];
void switch_el2_table(atl::u64 table_pa, atl::u64 identity_pa);
atl::u64 __stack_chk_guard = 0x00a7'0110'5eed'ff00;
}

namespace atl::boot {
namespace {

constexpr u64 window_va = 0x4000'0000'0000 + gib; // boot/head.S: L1[1] of the image's table
constexpr u64 block_2m = 2 * mib;
constexpr unsigned window_device_slot = 8; // the device tree takes slots 0 and 1
constexpr std::size_t boot_stack_bytes = 16 * kib;

struct alignas(page_size) PcpuStacks {
    u8 guard[page_size];
    u8 stack[16 * kib];
    u8 emergency_guard[page_size];
    u8 emergency[8 * kib];
};

[[gnu::section(".stacks"), gnu::used]] PcpuStacks stacks[max_pcpus];
alignas(page_size) constinit El2Table tables[96];
constinit SecondaryBoot secondary_boot[max_pcpus];

HypVa va_of(const void* p) {
    return {reinterpret_cast<u64>(p)};
}

Pa image_pa_of(const void* p, Pa load_address) {
    return load_address + (va_of(p) - va_of(image_start));
}

} // namespace

ImageLayout image_layout() {
    return {va_of(image_start), va_of(text_end), va_of(rodata_end), va_of(bss_end), va_of(image_end)};
}

std::span<const u8> early_device_tree(Pa device_tree) {
    const u64 offset = device_tree.value & (block_2m - 1);
    // Two blocks are mapped: a tree that starts in the first may be 2 MiB long.
    return {arch::pointer<const u8>(HypVa{window_va + offset}),
            2 * block_2m - offset < 2 * mib ? 2 * block_2m - offset : 2 * mib};
}

HypVa early_map_device(Pa registers, u64 entry_level) {
    // boot_tables + 5 pages is the window's level 2 [boot/head.S build_boot_tables].
    auto* const level2 = arch::pointer<volatile u64>(va_of(boot_tables) + 5 * page_size);
    u64 descriptor =
        registers.align_down(block_2m).value | 0x401 | u64{1} << 54 | u64{1} << 53; // AF, block, device
    if (entry_level != 1) {
        descriptor = (descriptor & ~(u64{1} << 53)) | 0x40;
    }
    level2[window_device_slot] = descriptor;
    arch::dsb_sy(); // the entry before the first access through it
    arch::isb();
    return HypVa{window_va + window_device_slot * block_2m + (registers.value & (block_2m - 1))};
}

std::span<const u8> ram_bytes(Pa base, u64 bytes) {
    return {arch::pointer<const u8>(to_hyp_va(base)), bytes};
}

std::span<El2Table> el2_tables() {
    return tables;
}

Pa el2_tables_pa(Pa load_address) {
    return image_pa_of(tables, load_address);
}

void install(const El2Map& map, Pa load_address) {
    arch::dsb_ish(); // the new tables before the first walk of them
    switch_el2_table(map.root().value, load_address.value);
}

StackRange pcpu_stack(unsigned index) {
    const PcpuStacks& s = stacks[index];
    return {va_of(s.stack), va_of(s.stack) + sizeof(s.stack)};
}

StackRange pcpu_emergency_stack(unsigned index) {
    const PcpuStacks& s = stacks[index];
    return {va_of(s.emergency), va_of(s.emergency) + sizeof(s.emergency)};
}

StackRange early_stack() {
    return {va_of(boot_stack_top) - boot_stack_bytes, va_of(boot_stack_top)};
}

Mpidr this_mpidr() {
    return {ATOLL_MRS(mpidr_el1) & Mpidr::mask};
}

void stop_here() {
    for (;;) {
        arch::wfi();
    }
}

i64 start_secondary(Mpidr target, unsigned index, Pa load_address, bool smc,
                    const SecondaryBoot& parameters) {
    secondary_boot[index] = parameters;
    // The secondary reads it with its MMU off: clean to the point of coherency [DDI0487 B2.8].
    asm volatile("dc cvac, %0\n\tdsb sy" ::"r"(&secondary_boot[index]) : "memory");
    register u64 x0 asm("x0") = abi::psci_cpu_on | abi::smccc_64;
    register u64 x1 asm("x1") = target.value;
    register u64 x2 asm("x2") = image_pa_of(secondary_entry, load_address).value;
    register u64 x3 asm("x3") = image_pa_of(&secondary_boot[index], load_address).value;
    // SMCCC 1.0 callees may change x4..x17 [DEN0028 §2.6].
    if (smc) {
        asm volatile("smc #0"
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
                     :
                     : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                       "x17", "memory");
    } else {
        asm volatile("hvc #0"
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
                     :
                     : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                       "x17", "memory");
    }
    return static_cast<i64>(static_cast<i32>(x0));
}

void seed_stack_guard(u64 seed) {
    u64 value = seed ^ (ATOLL_MRS(cntpct_el0) * 0x9e37'79b9'7f4a'7c15);
    value ^= value >> 29;
    __stack_chk_guard = value & ~u64{0xff}; // a zero byte stops string overruns
}

u64 physical_counter() {
    arch::isb(); // not earlier than what precedes in program order [DDI0487 D12.1.2]
    return ATOLL_MRS(cntpct_el0);
}

} // namespace atl::boot
