// SPDX-License-Identifier: Apache-2.0
// Hypercalls, secondary CPUs, exceptions and code building of the bare payloads.
#include "guests/bare/rt/rt.hpp"

extern "C" char secondary_entry[];

namespace atl::bare {
namespace {

/// What start.S saves; x0 at offset 0 [start.S frame_size].
struct Frame {
    u64 x[31];
    u64 spare;
    u64 elr;
    u64 spsr;
};
static_assert(offsetof(Frame, elr) == 256);

struct CpuStart {
    SecondaryMain entry;
    u64 context;
};

CpuStart starts[max_cpus];
bool fault_armed = false;
Fault fault{};
u64 faults[max_cpus];

} // namespace

// The same eight registers go in and come out; SMCCC 1.2 may also change x8..x17 [DEN0028 §2.6].
#define BARE_CALL(instruction)                                                                               \
    register u64 r0 asm("x0") = function;                                                                    \
    register u64 r1 asm("x1") = a1;                                                                          \
    register u64 r2 asm("x2") = a2;                                                                          \
    register u64 r3 asm("x3") = a3;                                                                          \
    register u64 r4 asm("x4") = a4;                                                                          \
    register u64 r5 asm("x5") = a5;                                                                          \
    register u64 r6 asm("x6") = a6;                                                                          \
    register u64 r7 asm("x7") = a7;                                                                          \
    asm volatile(instruction                                                                                 \
                 : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7)            \
                 :                                                                                           \
                 : "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "memory");            \
    return {                                                                                                 \
        { r0, r1, r2, r3, r4, r5, r6, r7 }                                                                   \
    }

CallResult hvc(u64 function, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, u64 a6, u64 a7) {
    BARE_CALL("hvc #0");
}

CallResult smc(u64 function, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, u64 a6, u64 a7) {
    BARE_CALL("smc #0");
}

i64 cpu_on(unsigned index, SecondaryMain entry, u64 context) {
    starts[index] = {entry, context};
    dsb();
    u64 address;
    asm("adrp %0, secondary_entry\n add %0, %0, :lo12:secondary_entry" : "=r"(address));
    // The 64-bit call: entry point and context are 64 bits wide [DEN0022 §5.1.4].
    return static_cast<i64>(hvc(abi::psci_cpu_on | abi::smccc_64, index, address, index).x[0]);
}

bool wait_cpu_off(unsigned index) {
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while (hvc(abi::psci_affinity_info | abi::smccc_64, index, 0).x[0] != 1) {
        if (now() > end) {
            return false;
        }
        yield();
    }
    return true;
}

void fault_begin() {
    fault = {};
    fault_armed = true;
    dsb();
    isb();
}

Fault fault_end() {
    dsb();
    isb();
    fault_armed = false;
    return fault;
}

u64 fault_count() {
    return faults[cpu_index()];
}

void sync_code(const void* start, u64 bytes) {
    const u64 first = reinterpret_cast<u64>(start);
    for (u64 line = first & ~u64{63}; line < first + bytes; line += 16) {
        asm volatile("dc cvau, %0" ::"r"(line) : "memory");
    }
    asm volatile("dsb ish" ::: "memory");
    for (u64 line = first & ~u64{63}; line < first + bytes; line += 16) {
        asm volatile("ic ivau, %0" ::"r"(line) : "memory");
    }
    asm volatile("dsb ish\n isb" ::: "memory");
}

} // namespace atl::bare

using namespace atl;
using namespace atl::bare;

extern "C" void secondary_start(u64 index, u64 stamp) {
    const CpuStart start = starts[index & (max_cpus - 1)];
    start.entry(start.context, stamp);
    hvc(abi::psci_cpu_off);
    for (;;) {
        wfi();
    }
}

extern "C" void fatal_exception(Frame* frame, u64 vector) {
    put("FAIL exception: vector ");
    put_dec(vector);
    put(" esr ");
    put_hex(BARE_READ("esr_el1"));
    put(" elr ");
    put_hex(frame->elr);
    put(" far ");
    put_hex(BARE_READ("far_el1"));
    put(" cpu ");
    put_dec(cpu_index());
    put("\n");
    hvc(abi::psci_system_off);
}

extern "C" void sync_dispatch(Frame* frame) {
    if (!fault_armed) {
        fatal_exception(frame, 4);
        return;
    }
    ++faults[cpu_index()];
    fault = {true, BARE_READ("esr_el1"), BARE_READ("far_el1"), frame->elr};
    // An instruction abort comes from a jump into nowhere: go back to the caller; anything else is skipped.
    frame->elr = fault.exception_class() == ec_instruction_abort ? frame->x[30] : frame->elr + 4;
}
