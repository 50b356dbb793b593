// SPDX-License-Identifier: Apache-2.0
// Payload undef: accesses that a guest may not make or that the hypervisor has to decode. Each must end as
// the architecture says: a value, or an exception in the guest. With the boot argument "bare" (the bare
// machine) the rows that depend on what Atoll hides or leaves unmapped are left out.
#include "guests/bare/rt/rt.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

enum class Want { undefined, fine, any, data_abort };

void judge(const char* name, Want want, const Fault& fault) {
    const unsigned ec = fault.exception_class();
    switch (want) {
    case Want::undefined:
        report_equal(name, fault.taken ? ec : 0xff, ec_unknown);
        return;
    case Want::fine:
        report_equal(name, fault.taken ? ec : 0xff, 0xff);
        return;
    case Want::any: // that we are here is the point
        report(name, true);
        return;
    case Want::data_abort:
        report_equal(name, fault.taken ? ec : 0xff, ec_data_abort);
        return;
    }
}

// Runs one instruction with x9 = operand; x9 is what it left there.
#define PROBE(name, want, instruction, operand)                                                              \
    do {                                                                                                     \
        register u64 r9 asm("x9") = (operand);                                                               \
        fault_begin();                                                                                       \
        asm volatile(instruction "\n nop" : "+r"(r9)::"memory");                                             \
        judge(name, want, fault_end());                                                                      \
    } while (false)

bool id_field(u64 value, unsigned low) {
    const u64 field = (value >> low) & 0xf;
    return field != 0 && field != 0xf;
}

void el2_registers() {
    PROBE("undef.hcr_el2", Want::undefined, "mrs x9, hcr_el2", 0);
    PROBE("undef.vttbr_el2", Want::undefined, "mrs x9, vttbr_el2", 0);
    PROBE("undef.vttbr_el2_write", Want::undefined, "msr vttbr_el2, x9", 0);
    PROBE("undef.cnthctl_el2", Want::undefined, "mrs x9, cnthctl_el2", 0);
    PROBE("undef.ich_hcr_el2", Want::undefined, "mrs x9, S3_4_C12_C11_0", 0);
    PROBE("undef.icc_sre_el2", Want::undefined, "mrs x9, S3_4_C12_C9_5", 0);
    PROBE("undef.scr_el3", Want::undefined, "mrs x9, scr_el3", 0);
    PROBE("undef.at_s12e1r", Want::undefined, "at s12e1r, x9", 0);
    PROBE("undef.tlbi_ipas2e1", Want::undefined, "tlbi ipas2e1, x9", 0);
    PROBE("undef.eret_to_nowhere_udf", Want::undefined, ".word 0", 0);
    PROBE("undef.hlt", Want::undefined, "hlt #0", 0);
}

void optional_features() {
    const u64 dfr0 = BARE_READ("id_aa64dfr0_el1");
    const u64 pfr0 = BARE_READ("id_aa64pfr0_el1");
    const u64 pfr1 = BARE_READ("id_aa64pfr1_el1");
    const u64 isar1 = BARE_READ("id_aa64isar1_el1");
    const auto want = [](bool present) { return present ? Want::fine : Want::undefined; };
    PROBE("feature.pmcr_el0", want(id_field(dfr0, 8)), "mrs x9, pmcr_el0", 0);
    PROBE("feature.pmccntr_el0", want(id_field(dfr0, 8)), "mrs x9, pmccntr_el0", 0);
    PROBE("feature.pmscr_el1", want(id_field(dfr0, 32)), "mrs x9, S3_0_C9_C9_0", 0);
    PROBE("feature.trblimitr_el1", want(id_field(dfr0, 44)), "mrs x9, S3_0_C9_C11_0", 0);
    PROBE("feature.amcr_el0", want(id_field(pfr0, 44)), "mrs x9, S3_3_C13_C2_0", 0);
    PROBE("feature.gcr_el1", want(((pfr1 >> 8) & 0xf) >= 2), "mrs x9, S3_0_C1_C0_6", 0);
    const bool pauth = ((isar1 >> 4) & 0xff) != 0 || (BARE_READ("S3_0_C0_C6_2") & 0xf000) != 0;
    PROBE("feature.apiakeylo_el1", want(pauth), "mrs x9, S3_0_C2_C1_0", 0);
    // ZCR_EL1 is trapped by CPACR_EL1.ZEN before it is undefined or not: open it first.
    BARE_WRITE("cpacr_el1", (u64{3} << 20) | (u64{3} << 16));
    isb();
    PROBE("feature.zcr_el1", want(id_field(pfr0, 32)), "mrs x9, S3_0_C1_C2_0", 0);
}

void always_there() {
    PROBE("fine.mdscr_el1", Want::fine, "mrs x9, mdscr_el1", 0);
    PROBE("fine.mdscr_el1_write", Want::fine, "msr mdscr_el1, x9", 0);
    PROBE("fine.oslar_el1", Want::fine, "msr oslar_el1, x9", 0);
    PROBE("fine.oslsr_el1", Want::fine, "mrs x9, oslsr_el1", 0);
    PROBE("fine.osdlr_el1", Want::fine, "msr osdlr_el1, x9", 0);
    PROBE("fine.dbgbcr0_el1", Want::fine, "msr dbgbcr0_el1, x9", 0);
    PROBE("fine.dbgbvr0_el1", Want::fine, "mrs x9, dbgbvr0_el1", 0);
    PROBE("fine.dbgwcr0_el1", Want::fine, "msr dbgwcr0_el1, x9", 0);
    PROBE("fine.actlr_el1", Want::fine, "mrs x9, actlr_el1", 0);
    PROBE("fine.dc_isw", Want::fine, "dc isw, x9", 0);
    PROBE("fine.dc_csw", Want::fine, "dc csw, x9", 0);
    PROBE("fine.dc_cisw", Want::fine, "dc cisw, x9", 2);
    PROBE("fine.tlbi_vmalle1is", Want::fine, "tlbi vmalle1is", 0);
    PROBE("fine.ic_iallu", Want::fine, "ic iallu", 0);
    PROBE("fine.at_s1e1r", Want::fine, "at s1e1r, x9", ram_base);
    PROBE("fine.cntp_cval", Want::fine, "msr cntp_cval_el0, x9", 0);
    PROBE("fine.cntp_tval", Want::fine, "mrs x9, cntp_tval_el0", 0);
    PROBE("fine.cntp_ctl", Want::fine, "msr cntp_ctl_el0, x9", 2);
    PROBE("fine.cntpct", Want::fine, "mrs x9, cntpct_el0", 0);
    // With a GICv2 these do not exist, and ID_AA64PFR0_EL1.GIC says so.
    const Want icc = gic_is_v2() ? Want::undefined : Want::fine;
    report_equal("fine.id_aa64pfr0_gic", BARE_READ("id_aa64pfr0_el1") >> 24 & 0xf, gic_is_v2() ? 0 : 1);
    PROBE("fine.icc_igrpen0", icc, "msr S3_0_C12_C12_6, x9", 0);
    PROBE("fine.icc_ap1r0", icc, "mrs x9, S3_0_C12_C9_0", 0);
    PROBE("fine.icc_sgi0r", icc, "msr S3_0_C12_C11_7, x9", 0);
    PROBE("fine.icc_sgi1r", icc, "msr S3_0_C12_C11_5, x9", 0);
    PROBE("fine.icc_sre", icc, "mrs x9, S3_0_C12_C12_5", 0);
    PROBE("fine.icc_dir", gic_is_v2() ? Want::undefined : Want::any, "msr S3_0_C12_C11_1, x9", 1023);
    PROBE("fine.wfe", Want::fine, "sevl\n wfe", 0);
    PROBE("any.implementation_defined", Want::any, "mrs x9, S3_1_C15_C0_0", 0);
    PROBE("any.unallocated", Want::any, "mrs x9, S3_2_C9_C7_3", 0);
    PROBE("any.id_register_write", Want::any, "msr S3_0_C0_C4_0, x9", 0);
    PROBE("any.hvc_immediate", Want::any, "hvc #77", 0);
}

u32 code[2] __attribute__((aligned(64)));

/// Executes `instruction` (may use x0); true when it raised no exception.
bool runs(u32 instruction) {
    code[0] = instruction;
    code[1] = 0xd65f'03c0; // ret
    sync_code(code, sizeof(code));
    fault_begin();
    asm volatile("blr %0" ::"r"(code) : "x0", "x30", "memory");
    return !fault_end().taken;
}

/// Every register of the identification space can be read: the unallocated ones as zero [DDI0487 D17.3.1].
void identification_space() {
    u64 faults = 0;
    for (u32 crm = 1; crm < 8; ++crm) {
        for (u32 op2 = 0; op2 < 8; ++op2) {
            faults += runs(0xd538'0000U | (crm << 8) | (op2 << 5)) ? 0 : 1; // mrs x0, S3_0_C0_C<crm>_<op2>
        }
    }
    report_equal("ids.all_readable", faults, 0);
}

void holes() {
    const u64 other_gic = gic_is_v2() ? gicr_base : gicc_base;
    const u64 addresses[] = {0x0,           0x0700'0000,    other_gic,       0x081a'0000, 0x0900'1000,
                             0x3f00'0000,   0x4f00'0000,    0xc000'0000,     0xffff'f000, 0x1'0000'0000,
                             0x2'0000'0000, 0xff'ffff'f000, 0xffff'ffff'f000};
    for (const u64 address : addresses) {
        fault_begin();
        read32(address);
        const Fault load = fault_end();
        judge("hole.read", Want::data_abort, load);
        report_equal("hole.far", load.far, address);
        fault_begin();
        write32(address, 0);
        judge("hole.write", Want::data_abort, fault_end());
    }
}

void fetch_from(const char* name, u64 address) {
    fault_begin();
    asm volatile("blr %0" ::"r"(address) : "x30", "memory");
    const Fault fault = fault_end();
    report_equal(name, fault.exception_class(), ec_instruction_abort);
}

void device_accesses() {
    constexpr u64 ids = uart_base + 0xfe0;
    u64 a = 0;
    u64 b = 0;
    u64 base = ids;
    asm volatile("ldp %w0, %w1, [%2]" : "=&r"(a), "=&r"(b) : "r"(base) : "memory");
    report_equal("mmio.ldp_first", a, 0x11);
    report_equal("mmio.ldp_second", b, 0x10);
    asm volatile("ldr %w0, [%1], #4" : "=&r"(a), "+r"(base)::"memory");
    report_equal("mmio.post_index_value", a, 0x11);
    report_equal("mmio.post_index_base", base, ids + 4);
    asm volatile("ldr %w0, [%1, #-4]!" : "=&r"(a), "+r"(base)::"memory");
    report_equal("mmio.pre_index_base", base, ids);
    asm volatile("ldrsb %0, [%1, #0x1c]" : "=r"(a) : "r"(base) : "memory");
    report_equal("mmio.ldrsb_x", a, 0xffff'ffff'ffff'ffb1);
    asm volatile("ldrsb %w0, [%1, #0x1c]" : "=r"(a) : "r"(base) : "memory");
    report_equal("mmio.ldrsb_w", a, 0xffff'ffb1);
    asm volatile("ldrh %w0, [%1, #0x1c]" : "=r"(a) : "r"(base) : "memory");
    report_equal("mmio.ldrh", a, 0xb1);
    asm volatile("stp %w0, %w1, [%2]" ::"r"(13), "r"(1), "r"(uart_base + 0x24) : "memory");
    report_equal("mmio.stp_first", read32(uart_base + 0x24), 13);
    report_equal("mmio.stp_second", read32(uart_base + 0x28), 1);
    asm volatile("str wzr, [%0]" ::"r"(uart_base + 0x28) : "memory");
    report_equal("mmio.str_wzr", read32(uart_base + 0x28), 0);
    asm volatile("ldr wzr, [%0]" ::"r"(ids) : "memory");
    report("mmio.ldr_wzr", true);
    PROBE("mmio.unaligned", Want::any, "ldr w9, [x9]", uart_base + 0x19);
    PROBE("mmio.exclusive", Want::any, "ldxr w9, [x9]", uart_base + 0x18);
    PROBE("mmio.simd", Want::any, "ldr q0, [x9]", gicd_base);
    PROBE("mmio.wide_gicd", Want::any, "ldr x9, [x9]", gicd_base);
    if (gic_is_v2()) {
        PROBE("mmio.wide_gicc", Want::any, "ldr x9, [x9]", gicc_base);
        PROBE("mmio.byte_gicc", Want::any, "ldrb w9, [x9]", gicc_base + 4);
        PROBE("mmio.exclusive_gicc", Want::any, "ldxr w9, [x9]", gicc_base + 4);
    }
    PROBE("mmio.byte_gicd", Want::any, "ldrb w9, [x9]", gicd_base + 1);
    PROBE("mmio.cache_clean", Want::any, "dc civac, x9", uart_base);
    PROBE("mmio.dc_zva", Want::any, "dc zva, x9", uart_base);
}

void calls(bool bare) {
    report_equal("call.hvc_unknown", static_cast<u32>(hvc(0x8400'7fff).x[0]), 0xffff'ffff);
    report_equal("call.hvc_vendor_unknown", static_cast<u32>(hvc(0xc600'7fff).x[0]), 0xffff'ffff);
    if (bare) {
        return;
    }
    report_equal("call.smc_unknown", static_cast<u32>(smc(0x8400'7fff).x[0]), 0xffff'ffff);
    report_equal("call.smc_psci_version", smc(abi::psci_version).x[0], hvc(abi::psci_version).x[0]);
    report_equal("call.smccc_version", hvc(abi::smccc_version).x[0], abi::smccc_version_1_2);
    report_equal("call.arch_features", hvc(abi::smccc_arch_features, abi::smccc_version).x[0], 0);
    report_equal("call.function_id_is_32_bits", hvc(0xffff'ffff'0000'0000 | abi::psci_version).x[0],
                 hvc(abi::psci_version).x[0]);
}

} // namespace

void payload() {
    const bool bare = has_option("bare");
    el2_registers();
    optional_features();
    always_there();
    identification_space();
    calls(bare);
    device_accesses();
    if (!bare) {
        holes();
        fetch_from("fetch.hole", 0x3f00'0000);
        fetch_from("fetch.device", uart_base);
    }
    report("undef.alive", true);
}
