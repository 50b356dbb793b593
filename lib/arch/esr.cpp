// SPDX-License-Identifier: Apache-2.0
// Names for syndromes, for reports that a person reads.
#include "lib/arch/esr.hpp"

namespace atl::arch {

const char* to_string(ExceptionClass ec) {
    switch (ec) {
    case ExceptionClass::unknown:
        return "undefined instruction";
    case ExceptionClass::wfx:
        return "WFI/WFE";
    case ExceptionClass::cp15_mcr:
    case ExceptionClass::cp15_mcrr:
        return "AArch32 CP15 access";
    case ExceptionClass::cp14_mcr:
    case ExceptionClass::cp14_ldc:
    case ExceptionClass::cp14_mrrc:
        return "AArch32 CP14 access";
    case ExceptionClass::fp_simd:
    case ExceptionClass::cp10_id:
        return "FP/SIMD access";
    case ExceptionClass::pauth:
        return "pointer authentication";
    case ExceptionClass::ls64:
        return "LD64B/ST64B";
    case ExceptionClass::bti:
        return "branch target";
    case ExceptionClass::illegal_state:
        return "illegal execution state";
    case ExceptionClass::svc32:
    case ExceptionClass::svc64:
        return "SVC";
    case ExceptionClass::hvc32:
    case ExceptionClass::hvc64:
        return "HVC";
    case ExceptionClass::smc32:
    case ExceptionClass::smc64:
        return "SMC";
    case ExceptionClass::sysreg:
        return "system register";
    case ExceptionClass::sve:
        return "SVE access";
    case ExceptionClass::eret:
        return "ERET";
    case ExceptionClass::sme:
        return "SME access";
    case ExceptionClass::instruction_abort_lower:
    case ExceptionClass::instruction_abort_same:
        return "instruction abort";
    case ExceptionClass::pc_alignment:
        return "PC alignment";
    case ExceptionClass::data_abort_lower:
    case ExceptionClass::data_abort_same:
        return "data abort";
    case ExceptionClass::sp_alignment:
        return "SP alignment";
    case ExceptionClass::fp32:
    case ExceptionClass::fp64:
        return "floating point";
    case ExceptionClass::serror:
        return "SError";
    case ExceptionClass::breakpoint_lower:
    case ExceptionClass::step_lower:
    case ExceptionClass::watchpoint_lower:
    case ExceptionClass::bkpt32:
    case ExceptionClass::brk64:
        return "debug";
    }
    return "reserved exception class";
}

const char* fault_status_name(u64 fsc) {
    switch (fsc_type(fsc)) {
    case fsc_translation:
        return "translation fault";
    case fsc_access_flag:
        return "access flag fault";
    case fsc_permission:
        return "permission fault";
    case fsc_external:
        return "external abort";
    case 0b010100:
        return "external abort on a table walk";
    case 0b000000:
        return "address size fault";
    default:
        return fsc == fsc_alignment ? "alignment fault" : "other fault";
    }
}

} // namespace atl::arch
