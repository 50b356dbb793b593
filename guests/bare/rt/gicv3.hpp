// SPDX-License-Identifier: Apache-2.0
// GICv3 for the payloads that test it: registers by name, accesses of every size, and one shared interrupt or SGI in a known
// state. CPU 0 drives; the others do what it asks [Helper]. Interrupts are looked at by ISR_EL1 with PSTATE.I set, so that a
// test says itself when one is taken. Section numbers are those of [IHI0069].
#pragma once
#include "guests/bare/rt/rt.hpp"

namespace atl::bare {

// ---- memory-mapped registers [§12.8, §12.10] ----
constexpr u64 gicd_ctlr = gicd_base + 0x0000;
constexpr u64 gicd_typer = gicd_base + 0x0004;
constexpr u64 gicd_iidr = gicd_base + 0x0008;
constexpr u64 gicd_statusr = gicd_base + 0x0010;
constexpr u64 gicd_setspi_nsr = gicd_base + 0x0040;
constexpr u64 gicd_clrspi_nsr = gicd_base + 0x0048;
constexpr u64 gicd_igroupr = gicd_base + 0x0080;
constexpr u64 gicd_isenabler = gicd_base + 0x0100;
constexpr u64 gicd_icenabler = gicd_base + 0x0180;
constexpr u64 gicd_ispendr = gicd_base + 0x0200;
constexpr u64 gicd_icpendr = gicd_base + 0x0280;
constexpr u64 gicd_isactiver = gicd_base + 0x0300;
constexpr u64 gicd_icactiver = gicd_base + 0x0380;
constexpr u64 gicd_ipriorityr = gicd_base + 0x0400;
constexpr u64 gicd_itargetsr = gicd_base + 0x0800;
constexpr u64 gicd_icfgr = gicd_base + 0x0c00;
constexpr u64 gicd_igrpmodr = gicd_base + 0x0d00;
constexpr u64 gicd_nsacr = gicd_base + 0x0e00;
constexpr u64 gicd_sgir = gicd_base + 0x0f00;
constexpr u64 gicd_irouter = gicd_base + 0x6000;
constexpr u64 gic_pidr2 = 0xffe8; // in each frame of 64 KiB

constexpr u64 gicr_ctlr = 0x0000; // from here on relative to a redistributor
constexpr u64 gicr_iidr = 0x0004;
constexpr u64 gicr_typer = 0x0008;
constexpr u64 gicr_waker = 0x0014;
constexpr u64 gicr_sgi = 0x1'0000;
constexpr u64 gicr_igroupr0 = gicr_sgi + 0x0080;
constexpr u64 gicr_isenabler0 = gicr_sgi + 0x0100;
constexpr u64 gicr_icenabler0 = gicr_sgi + 0x0180;
constexpr u64 gicr_ispendr0 = gicr_sgi + 0x0200;
constexpr u64 gicr_icpendr0 = gicr_sgi + 0x0280;
constexpr u64 gicr_isactiver0 = gicr_sgi + 0x0300;
constexpr u64 gicr_icactiver0 = gicr_sgi + 0x0380;
constexpr u64 gicr_ipriorityr = gicr_sgi + 0x0400;
constexpr u64 gicr_icfgr0 = gicr_sgi + 0x0c00;
constexpr u64 gicr_icfgr1 = gicr_sgi + 0x0c04;
constexpr u64 gicr_igrpmodr0 = gicr_sgi + 0x0d00;

constexpr u32 ctlr_group0 = 1U << 0; // GICD_CTLR with one security state [§12.9]
constexpr u32 ctlr_group1 = 1U << 1;
constexpr u32 ctlr_are = 1U << 4;
constexpr u32 ctlr_ds = 1U << 6;
constexpr u32 ctlr_rwp = 1U << 31;
constexpr u32 typer_mbis = 1U << 16;
constexpr u32 typer_lpis = 1U << 17;
constexpr u32 typer_no1n = 1U << 25;

inline u64 gicr_of(unsigned cpu) {
    return gicr_base + cpu * gicr_stride;
}

// ---- the CPU interface [§12.2]. A register's effects are seen after the ISB, an acknowledge's after the DSB [§4.1.1]. ----
#define ATOLL_ICC(name, encoding)                                                                            \
    inline u64 icc_##name() {                                                                                \
        isb();                                                                                               \
        return BARE_READ(encoding);                                                                          \
    }                                                                                                        \
    inline void set_icc_##name(u64 value) {                                                                  \
        BARE_WRITE(encoding, value);                                                                         \
        isb();                                                                                               \
    }
ATOLL_ICC(pmr, "S3_0_C4_C6_0")
ATOLL_ICC(hppir0, "S3_0_C12_C8_2")
ATOLL_ICC(bpr0, "S3_0_C12_C8_3")
ATOLL_ICC(ap0r0, "S3_0_C12_C8_4")
ATOLL_ICC(ap1r0, "S3_0_C12_C9_0")
ATOLL_ICC(rpr, "S3_0_C12_C11_3")
ATOLL_ICC(hppir1, "S3_0_C12_C12_2")
ATOLL_ICC(bpr1, "S3_0_C12_C12_3")
ATOLL_ICC(ctlr, "S3_0_C12_C12_4")
ATOLL_ICC(sre, "S3_0_C12_C12_5")
ATOLL_ICC(igrpen0, "S3_0_C12_C12_6")
ATOLL_ICC(igrpen1, "S3_0_C12_C12_7")
#undef ATOLL_ICC

constexpr u64 icc_ctlr_cbpr = 1;
constexpr u64 icc_ctlr_eoimode = 2;
constexpr u32 no_intid = 1023;

inline u32 acknowledge0() {
    const u64 intid = BARE_READ("S3_0_C12_C8_0");
    dsb();
    return static_cast<u32>(intid);
}
inline u32 acknowledge1() {
    const u64 intid = BARE_READ("S3_0_C12_C12_0");
    dsb();
    return static_cast<u32>(intid);
}
inline void end0(u32 intid) {
    BARE_WRITE("S3_0_C12_C8_1", intid);
    isb();
}
inline void end1(u32 intid) {
    BARE_WRITE("S3_0_C12_C12_1", intid);
    isb();
}
inline void deactivate(u32 intid) {
    BARE_WRITE("S3_0_C12_C11_1", intid); // ICC_DIR_EL1
    isb();
}
inline void send_sgi0r(u64 value) {
    BARE_WRITE("S3_0_C12_C11_7", value);
    isb();
}
inline void send_asgi1r(u64 value) {
    BARE_WRITE("S3_0_C12_C11_6", value);
    isb();
}
inline void send_sgi1r(u64 value) {
    BARE_WRITE("S3_0_C12_C11_5", value);
    isb();
}

// ---- what is signalled to this CPU: ISR_EL1 [DDI0487 D19.2.73] ----
constexpr u64 isr_irq = 1U << 7;
constexpr u64 isr_fiq = 1U << 6;
inline u64 signalled() {
    isb();
    return BARE_READ("isr_el1") & (isr_irq | isr_fiq);
}
/// Waits until `done()`; false after a second. By time, not by tries: on a busy host another CPU may come late.
template <class F>
bool wait_until(F done) {
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while (!done()) {
        if (now() > end) {
            return done();
        }
        yield();
    }
    return true;
}
/// Effects of a register write reach the CPU interface in finite time [§4.1]: waits until exactly `want` is signalled.
bool signals(u64 want);
/// For what must not happen: `want` is signalled, and still after a while.
bool keeps(u64 want);

// ---- the machine ----
/// CPUs, by the redistributors up to the one marked Last.
unsigned count_cpus();
/// One more than the largest INTID of an SPI [§12.9 GICD_TYPER.ITLinesNumber].
u32 intid_end();
/// Waits until a write to GICD_CTLR, an enable or a disable has reached every CPU [§12.9 GICD_CTLR.RWP].
bool gicd_settled();
bool gicr_settled(unsigned cpu);

/// SPIs that nothing is wired to, on QEMU's virt nor on Atoll.
constexpr u32 free_spi = 42;
constexpr u32 free_spis = 6;

/// One bit of a register with one bit for each interrupt, of this CPU's redistributor below INTID 32.
bool irq_bit(u64 gicd_register, u32 intid);
/// Writes a one there.
void set_irq_bit(u64 gicd_register, u32 intid);
inline bool is_pending(u32 intid) {
    return irq_bit(gicd_ispendr, intid);
}
inline bool is_active(u32 intid) {
    return irq_bit(gicd_isactiver, intid);
}
void set_group(u32 intid, unsigned group);
void set_priority(u32 intid, u32 priority);
void set_edge(u32 intid, bool edge);
/// Neither enabled, pending nor active; group 1, priority 0x80; an SPI edge-triggered and for CPU 0.
void quiesce(u32 intid);
/// The same, and then enabled.
void prepare(u32 intid, u32 priority = 0x80, unsigned group = 1);
/// CPU interface and distributor: both groups on, PMR 0xff, the smallest binary points, EOImode 0. CPU 0 or any other.
bool gicv3_init();

/// Called with the INTID of a group 0 interrupt, before its end; until then FIQs are a fatal exception.
using FiqHandler = void (*)(u32 intid);
void set_fiq_handler(FiqHandler handler);
inline void mask_fiqs() {
    asm volatile("msr daifset, #1" ::: "memory");
}
inline void unmask_fiqs() {
    asm volatile("msr daifclr, #1" ::: "memory");
}

// ---- helpers: what other CPUs do for CPU 0 ----
using HelperJob = u64 (*)(u64 argument);
/// Starts CPUs 1 .. count - 1, each with gicv3_init() and IRQs masked. False: one did not come.
bool start_helpers(unsigned count);
/// Has a helper run `job`, and answer() waits for its result. A helper that does not answer in time is a FAIL, and 0.
void post(unsigned cpu, HelperJob job, u64 argument = 0);
u64 answer(unsigned cpu, unsigned seconds = 5);
/// It did.
bool answered(unsigned cpu);
inline u64 ask(unsigned cpu, HelperJob job, u64 argument = 0) {
    post(cpu, job, argument);
    return answer(cpu);
}
void stop_helpers(unsigned count);

} // namespace atl::bare
