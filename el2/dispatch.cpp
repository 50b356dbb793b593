// SPDX-License-Identifier: Apache-2.0
// The exit table and the small handlers. Portable. [DDI0487 D19.2.40 ESR_EL2]
#include "el2/dispatch.hpp"

#include "el2/hw.hpp"
#include "el2/inject.hpp"
#include "el2/world.hpp"
#include "lib/arch/esr.hpp"
#include "lib/log.hpp"

namespace atl::el2 {
namespace {

/// What the guest's CPU does not have, or AArch32 coprocessor accesses from EL0: undefined for the guest.
Action on_undefined(Vcpu& vcpu, u64) {
    return inject_undefined(vcpu);
}

/// An exception class that no guest of ours can raise (EL2's own routing never sends it here). The guest gets
/// an undefined instruction and the log a line.
Action on_unexpected(Vcpu& vcpu, u64 esr) {
    if (may_report(*vcpu.vm)) {
        log::warn("{} vcpu {}: unexpected exit at pc {:x}: {}, esr {:x}: undefined instruction injected",
                  vcpu.vm->name(), vcpu.index, vcpu.pc, arch::to_string(arch::exception_class(esr)), esr);
    }
    return inject_undefined(vcpu);
}

constexpr unsigned ec(arch::ExceptionClass c) {
    return static_cast<unsigned>(c);
}

} // namespace

// clang-format off
const SyncHandler sync_handlers[64] = {
    on_undefined,                  // 0x00 unknown reason
    on_wfx,                        // 0x01
    on_unexpected,                 // 0x02
    on_undefined, on_undefined,    // 0x03, 0x04 CP15 from AArch32 EL0
    on_undefined, on_undefined,    // 0x05, 0x06 CP14
    on_undefined, on_undefined,    // 0x07 FP, 0x08 CP10
    on_undefined, on_undefined,    // 0x09 PAuth, 0x0a LD64B
    on_unexpected, on_undefined,   // 0x0b, 0x0c CP14 MRRC
    on_unexpected, on_unexpected,  // 0x0d BTI, 0x0e illegal state
    on_unexpected, on_unexpected,  // 0x0f, 0x10
    on_unexpected, on_undefined,   // 0x11 SVC32, 0x12 HVC32
    on_undefined, on_unexpected,   // 0x13 SMC32, 0x14
    on_unexpected, on_hvc, on_smc, // 0x15 SVC64, 0x16, 0x17
    on_sysreg,                     // 0x18
    on_undefined, on_undefined,    // 0x19 SVE, 0x1a ERET
    on_unexpected, on_undefined,   // 0x1b, 0x1c PAuth failure
    on_undefined, on_unexpected,   // 0x1d SME, 0x1e
    on_unexpected,                 // 0x1f
    on_instruction_abort,          // 0x20
    on_unexpected, on_unexpected, on_unexpected,                                             // 0x21..0x23
    on_data_abort,                                                                           // 0x24
    on_unexpected, on_unexpected, on_unexpected, on_unexpected, on_unexpected, on_unexpected, // 0x25..0x2a
    on_unexpected, on_unexpected, on_unexpected, on_unexpected, on_unexpected, on_unexpected, // 0x2b..0x30
    on_unexpected, on_unexpected, on_unexpected, on_unexpected, on_unexpected, on_unexpected, // 0x31..0x36
    on_unexpected, on_unexpected, on_unexpected, on_unexpected, on_unexpected, on_unexpected, // 0x37..0x3c
    on_unexpected, on_unexpected, on_unexpected,                                             // 0x3d..0x3f
};
// clang-format on
static_assert(ec(arch::ExceptionClass::data_abort_lower) == 0x24);

Action on_hvc(Vcpu& vcpu, u64) {
    return smccc_call(vcpu, true);
}

// A trapped SMC has not been executed: ELR points at it. [DDI0487 D1.3.4]
Action on_smc(Vcpu& vcpu, u64) {
    const Action action = smccc_call(vcpu, false);
    return action == action::repeat ? action::resume : action | action::advance;
}

Action on_wfx(Vcpu& vcpu, u64 esr) {
    // WFI parks until an interrupt; WFE, WFIT and WFET give the CPU to whoever waits. All may end at any
    // time.
    const u64 kind = arch::WfxTrap::TI::get(esr);
    vcpu.park_request = kind == 0;
    return action::advance | action::leave;
}

[[gnu::noinline]] static void kick_slow(Vcpu& target) {
    PerCpu& home = *target.cpu;
    const u64 now = target.keeps_time ? hw::counter() : 0; // nobody else asks since when it waits
    switch (home.queue.wake_locked(target, now)) {
    case WakeEffect::none:
        break;
    case WakeEffect::running:
        hw::interrupt(home);
        break;
    case WakeEffect::queued:
        hw::send_kick(home.index);
        break;
    }
}

void kick_vcpu(Vcpu& target) {
    if (RunQueue::wake_running(target)) [[likely]] {
        return hw::interrupt(*target.cpu);
    }
    kick_slow(target);
}

void kick_vcpus(Vm& vm, VcpuMask mask) {
    for (; mask != 0; mask &= mask - 1) {
        kick_vcpu(*vm.vcpus[__builtin_ctz(mask)]);
    }
}

bool may_report(Vm& vm) {
    return vm.reports.take(*vm.world, vm.name());
}

} // namespace atl::el2
