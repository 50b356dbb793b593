// SPDX-License-Identifier: Apache-2.0
// The runtime of the bare payloads: console, reports, hypercalls, GICv2 or v3, timer, exceptions, secondary CPUs.
// EL1, MMU off, one address map (QEMU virt's), on Atoll and on the bare machine alike. No locks: CPU 0 alone
// prints.
#pragma once
#include "lib/abi/smccc.hpp"

namespace atl::bare {

// ---- the address map that Atoll shares with QEMU virt ----
constexpr u64 gicd_base = 0x0800'0000;
constexpr u64 gicc_base = 0x0801'0000; // GICv2
constexpr u64 gicr_base = 0x080A'0000; // GICv3
constexpr u64 gicr_stride = 0x2'0000;
constexpr u64 uart_base = 0x0900'0000;
constexpr u64 rtc_base = 0x0901'0000;
constexpr u64 ram_base = 0x4000'0000;
constexpr u32 intid_vtimer = 27;
constexpr u32 intid_ptimer = 30;
constexpr unsigned max_cpus = 8;

// ---- registers and memory ----
// NOLINTBEGIN(cppcoreguidelines-macro-usage): a system register's name is part of the instruction.
#define BARE_READ(name)                                                                                      \
    ({                                                                                                       \
        ::atl::u64 bare_value_;                                                                              \
        asm volatile("mrs %0, " name : "=r"(bare_value_)::"memory");                                         \
        bare_value_;                                                                                         \
    })
#define BARE_WRITE(name, value)                                                                              \
    asm volatile("msr " name ", %0" ::"r"(static_cast<::atl::u64>(value)) : "memory")
// NOLINTEND(cppcoreguidelines-macro-usage)

inline u32 read32(u64 address) {
    u32 value;
    asm volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
    return value;
}
inline u64 read64(u64 address) {
    u64 value;
    asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
    return value;
}
inline void write32(u64 address, u32 value) {
    asm volatile("str %w0, [%1]" ::"r"(value), "r"(address) : "memory");
}
inline u32 read8(u64 address) {
    u32 value;
    asm volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
    return value;
}
inline void write8(u64 address, u32 value) {
    asm volatile("strb %w0, [%1]" ::"r"(value), "r"(address) : "memory");
}
inline u32 read16(u64 address) {
    u32 value;
    asm volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
    return value;
}
inline void write16(u64 address, u32 value) {
    asm volatile("strh %w0, [%1]" ::"r"(value), "r"(address) : "memory");
}
inline void write64(u64 address, u64 value) {
    asm volatile("str %0, [%1]" ::"r"(value), "r"(address) : "memory");
}
inline void isb() {
    asm volatile("isb" ::: "memory");
}
inline void dsb() {
    asm volatile("dsb sy" ::: "memory");
}
inline void wfi() {
    asm volatile("wfi" ::: "memory");
}
/// Gives way to the other CPUs: with one TCG thread a plain spin would starve them until its time slice ends.
inline void yield() {
    asm volatile("yield" ::: "memory");
}
inline void mask_irqs() {
    asm volatile("msr daifset, #2" ::: "memory");
}
inline void unmask_irqs() {
    asm volatile("msr daifclr, #2" ::: "memory");
}
inline u64 now() {
    return BARE_READ("cntvct_el0");
}
inline unsigned cpu_index() {
    return static_cast<unsigned>(BARE_READ("mpidr_el1") & 0xff);
}

/// A word that several CPUs read and write. Plain loads and stores: exclusives need cacheable memory [DDI0487
/// B2.9.2].
struct SharedWord {
    u64 value;
    u64 load() const { return __atomic_load_n(&value, __ATOMIC_ACQUIRE); }
    void store(u64 v) { __atomic_store_n(&value, v, __ATOMIC_RELEASE); }
};

// ---- console and reports ----
void put_char(char c);
void put(const char* text);
void put_dec(u64 value);
void put_hex(u64 value);
/// Waits for one character; -1 after `timeout_ms`.
int get_char(u64 timeout_ms);
/// Prints "PASS name" or "FAIL name" and counts it.
void report(const char* name, bool ok);
/// As report(); a failure shows what came instead of what.
void report_equal(const char* name, u64 got, u64 want);
/// Prints "done: N passed, M failed" and switches the machine off.
[[noreturn]] void finish();

// ---- SMCCC ----
struct CallResult {
    u64 x[8];
};
CallResult hvc(u64 function, u64 a1 = 0, u64 a2 = 0, u64 a3 = 0, u64 a4 = 0, u64 a5 = 0, u64 a6 = 0,
               u64 a7 = 0);
CallResult smc(u64 function, u64 a1 = 0, u64 a2 = 0, u64 a3 = 0, u64 a4 = 0, u64 a5 = 0, u64 a6 = 0,
               u64 a7 = 0);

// ---- secondary CPUs ----
/// Runs on the started CPU with its context and the time of its first instruction; when it returns, CPU_OFF.
using SecondaryMain = void (*)(u64 context, u64 first_stamp);
/// PSCI CPU_ON for CPU `index`; the PSCI return code.
i64 cpu_on(unsigned index, SecondaryMain entry, u64 context);
/// Waits until AFFINITY_INFO says OFF; false after a second.
bool wait_cpu_off(unsigned index);

// ---- interrupts ----
/// Called with the INTID and the time of the vector's first instruction, before the end of interrupt.
using IrqHandler = void (*)(u32 intid, u64 stamp);
void set_irq_handler(IrqHandler handler);
/// The device tree names a GICv2; false: a GICv3.
bool gic_is_v2();
/// Distributor (CPU 0 only), this CPU's redistributor and CPU interface. False when a wait timed out.
bool gic_init(bool distributor);
void gic_enable_private(u32 intid);
void gic_disable_private(u32 intid);
/// Of an SGI or PPI of this CPU.
bool gic_is_pending(u32 intid);
void gic_clear_pending(u32 intid);
/// An SPI: group 1, edge, to CPU 0.
void gic_enable_shared(u32 intid);
/// The same, level-sensitive.
void gic_enable_shared_level(u32 intid);
/// Ticks that the last write of ICC_EOIR1_EL1 or GICC_EOIR took on this CPU.
u64 last_eoi_ticks();
/// SGI `intid` to the CPU with Aff0 = target, or GICv2's CPU interface of that number.
void send_sgi(u32 intid, unsigned target);
/// The same with a GICv3 and nothing around it, to be measured.
inline void send_sgi_v3(u32 intid, unsigned target) {
    BARE_WRITE("S3_0_C12_C11_5", (u64{intid} << 24) | (u64{1} << target)); // ICC_SGI1R_EL1
}
/// GICC_IAR's value of the interrupt that is being handled: with GICv2 it names the sender of an SGI.
u32 current_iar();

// ---- expected exceptions ----
struct Fault {
    bool taken;
    u64 esr;
    u64 far;
    u64 elr;
    unsigned exception_class() const { return static_cast<unsigned>((esr >> 26) & 0x3f); }
};
/// From now on synchronous exceptions are recorded and the instruction is skipped, until fault_end().
void fault_begin();
Fault fault_end();
/// Exceptions that this CPU has taken so since it came up.
u64 fault_count();
/// True when the runs between begin and end may take this exception class [DDI0487 D19.2.37].
constexpr unsigned ec_unknown = 0x00;
constexpr unsigned ec_instruction_abort = 0x21;
constexpr unsigned ec_data_abort = 0x25;

/// Makes instructions written at [start, start + bytes) visible to instruction fetch.
void sync_code(const void* start, u64 bytes);

// ---- device tree ----
/// /chosen/bootargs, NUL-terminated; "" when there is none.
const char* bootargs();
bool device_tree_valid();
/// True when `word` stands in the boot arguments between blanks.
bool has_option(const char* word);
/// True when any node is compatible with it.
bool has_compatible(const char* word);

} // namespace atl::bare

/// The payload's main: CPU 0, IRQs masked, GIC untouched.
void payload();
