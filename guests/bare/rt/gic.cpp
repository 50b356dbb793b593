// SPDX-License-Identifier: Apache-2.0
// GICv3 for the bare payloads: affinity routing, one security state, group 1, all priorities equal [IHI0069
// §12]; and GICv2: one security state, group 0 [IHI0048B §4].
#include "guests/bare/rt/rt.hpp"

extern "C" char vectors_gicv2[];

namespace atl::bare {
namespace {

constexpr u64 gicd_ctlr = gicd_base + 0x0000;
constexpr u64 gicd_igroupr = gicd_base + 0x0080;
constexpr u64 gicd_isenabler = gicd_base + 0x0100;
constexpr u64 gicd_ipriorityr = gicd_base + 0x0400;
constexpr u64 gicd_icfgr = gicd_base + 0x0c00;
constexpr u64 gicd_irouter = gicd_base + 0x6000;
constexpr u32 ctlr_rwp = 1U << 31;
constexpr u32 ctlr_are = 1U << 4;
constexpr u32 ctlr_enable_group1 = 1U << 1;
constexpr u64 gicr_waker = 0x0014;
constexpr u32 waker_processor_sleep = 1U << 1;
constexpr u32 waker_children_asleep = 1U << 2;
constexpr u64 gicr_sgi_base = 0x1'0000;
constexpr u64 gicr_igroupr0 = gicr_sgi_base + 0x0080;
constexpr u64 gicr_icenabler0 = gicr_sgi_base + 0x0180;
constexpr u32 gicr_ctlr_rwp = 1U << 3;
constexpr u64 gicr_ipriorityr = gicr_sgi_base + 0x0400;

constexpr u64 gicd_itargetsr = gicd_base + 0x0800;
constexpr u64 gicd_sgir = gicd_base + 0x0f00;
constexpr u64 gicc_ctlr = gicc_base + 0x0000;
constexpr u64 gicc_pmr = gicc_base + 0x0004;
constexpr u64 gicc_bpr = gicc_base + 0x0008;
constexpr u64 gicc_iar = gicc_base + 0x000c;
constexpr u64 gicc_eoir = gicc_base + 0x0010;

IrqHandler irq_handler = nullptr;
u64 eoi_ticks[max_cpus];
u32 iars[max_cpus];
u32 version = 0; // 0: the device tree has not been asked

u64 redistributor() {
    return gicr_base + cpu_index() * gicr_stride;
}

bool wait_clear(u64 address, u32 bit) {
    for (unsigned i = 0; i < 100'000; ++i) {
        if ((read32(address) & bit) == 0) {
            return true;
        }
    }
    return false;
}

} // namespace

void set_irq_handler(IrqHandler handler) {
    irq_handler = handler;
    dsb();
}

bool gic_is_v2() {
    if (version == 0) {
        version = has_compatible("arm,cortex-a15-gic") ? 2 : 3;
    }
    return version == 2;
}

static bool gicv2_init(bool distributor) {
    BARE_WRITE("vbar_el1", reinterpret_cast<u64>(vectors_gicv2));
    isb();
    if (distributor) {
        write32(gicd_ctlr, 1);
    }
    write32(gicd_base + 0x0180, 0xffff'ffff); // GICD_ICENABLER0, this CPU's
    for (u64 i = 0; i < 32; i += 4) {
        write32(gicd_ipriorityr + i, 0x8080'8080);
    }
    write32(gicc_pmr, 0xff);
    write32(gicc_bpr, 0);
    write32(gicc_ctlr, 1); // EOImode 0
    return (read32(gicc_ctlr) & 1) != 0;
}

bool gic_init(bool distributor) {
    if (gic_is_v2()) {
        return gicv2_init(distributor);
    }
    bool ok = true;
    if (distributor) {
        write32(gicd_ctlr, 0);
        ok = wait_clear(gicd_ctlr, ctlr_rwp) && ok;
        write32(gicd_ctlr, ctlr_are | ctlr_enable_group1);
        ok = wait_clear(gicd_ctlr, ctlr_rwp) && ok;
    }
    const u64 base = redistributor();
    write32(base + gicr_waker, read32(base + gicr_waker) & ~waker_processor_sleep);
    ok = wait_clear(base + gicr_waker, waker_children_asleep) && ok;
    write32(base + gicr_icenabler0, 0xffff'ffff);
    write32(base + gicr_igroupr0, 0xffff'ffff);
    for (u64 i = 0; i < 32; i += 4) {
        write32(base + gicr_ipriorityr + i, 0x8080'8080);
    }
    BARE_WRITE("S3_0_C12_C12_5", 1); // ICC_SRE_EL1.SRE
    isb();
    BARE_WRITE("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1
    BARE_WRITE("S3_0_C12_C12_3", 0);  // ICC_BPR1_EL1
    BARE_WRITE("S3_0_C12_C12_4", 0);  // ICC_CTLR_EL1: EOImode 0
    BARE_WRITE("S3_0_C12_C12_7", 1);  // ICC_IGRPEN1_EL1
    isb();
    return ok;
}

/// Where this CPU's private interrupts have the registers that the distributor has for the others.
static u64 private_frame() {
    return gic_is_v2() ? gicd_base : redistributor() + gicr_sgi_base;
}

void gic_enable_private(u32 intid) {
    write32(private_frame() + 0x0100, 1U << intid); // ISENABLER0
    dsb();
}

void gic_disable_private(u32 intid) {
    write32(private_frame() + 0x0180, 1U << intid); // ICENABLER0
    dsb();
    if (!gic_is_v2()) {
        wait_clear(redistributor(), gicr_ctlr_rwp);
    }
}

bool gic_is_pending(u32 intid) {
    return (read32(private_frame() + 0x0200) >> intid & 1) != 0; // ISPENDR0
}

void gic_clear_pending(u32 intid) {
    write32(private_frame() + 0x0280, 1U << intid); // ICPENDR0
    dsb();
}

namespace {

void enable_shared(u32 intid, u32 configuration) {
    const u64 word = intid / 32 * 4;
    const u64 priorities = gicd_ipriorityr + (intid & ~3U);
    const u64 config = gicd_icfgr + intid / 16 * 4;
    if (gic_is_v2()) {
        write8(gicd_ipriorityr + intid, 0x80);
        write8(gicd_itargetsr + intid, 1);
        write32(config, (read32(config) & ~(3U << intid % 16 * 2)) | configuration << intid % 16 * 2);
        write32(gicd_isenabler + word, 1U << intid % 32);
        return dsb();
    }
    write32(gicd_igroupr + word, read32(gicd_igroupr + word) | 1U << intid % 32);
    write32(priorities, (read32(priorities) & ~(0xffU << intid % 4 * 8)) | 0x80U << intid % 4 * 8);
    write32(config, (read32(config) & ~(3U << intid % 16 * 2)) | configuration << intid % 16 * 2);
    write32(gicd_irouter + u64{intid} * 8, 0);
    write32(gicd_irouter + u64{intid} * 8 + 4, 0);
    write32(gicd_isenabler + word, 1U << intid % 32);
    dsb();
}

} // namespace

void gic_enable_shared(u32 intid) {
    enable_shared(intid, 2); // edge [IHI0069 §12.9 GICD_ICFGR<n>]
}

void gic_enable_shared_level(u32 intid) {
    enable_shared(intid, 0);
}

void send_sgi(u32 intid, unsigned target) {
    if (gic_is_v2()) {
        write32(gicd_sgir, 1U << (16 + target) | intid);
    } else {
        send_sgi_v3(intid, target);
    }
}

u32 current_iar() {
    return iars[cpu_index()];
}

u64 last_eoi_ticks() {
    return eoi_ticks[cpu_index()];
}

} // namespace atl::bare

using namespace atl;
using namespace atl::bare;

extern "C" void irq_dispatch(u64 stamp) {
    const u64 iar = BARE_READ("S3_0_C12_C12_0"); // ICC_IAR1_EL1
    const u32 intid = static_cast<u32>(iar & 0xff'ffff);
    if (intid >= 1020 && intid <= 1023) {
        return;
    }
    if (irq_handler != nullptr) {
        irq_handler(intid, stamp);
    }
    const u64 before = now();
    BARE_WRITE("S3_0_C12_C12_1", iar); // ICC_EOIR1_EL1
    eoi_ticks[cpu_index()] = now() - before;
}

extern "C" void irq_dispatch_gicv2(u64 stamp) {
    const u32 iar = read32(gicc_iar);
    const u32 intid = iar & 0x3ff;
    if (intid >= 1020) {
        return;
    }
    iars[cpu_index()] = iar;
    if (irq_handler != nullptr) {
        irq_handler(intid, stamp);
    }
    const u64 before = now();
    write32(gicc_eoir, iar);
    eoi_ticks[cpu_index()] = now() - before;
}
