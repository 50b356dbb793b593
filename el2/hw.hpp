// SPDX-License-Identifier: Apache-2.0
// The seam between the portable core and the CPU: what dispatch, PSCI, timers and the scheduler ask of the
// hardware. Target: el2/cpu_hw.cpp. Host tests: tests/support/fake_el2_hw.cpp.
#pragma once
#include <span>

#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::vgic {
struct InterfaceAccess;
}

namespace atl::el2 {

struct PerCpu;
struct Vcpu;
struct World;

namespace hw {

/// Physical counter, not earlier than what precedes in program order [DDI0487 D12.1.2].
u64 counter();
/// Its frequency in Hz, as firmware states it.
u64 counter_frequency();

/// EL2's own timer on this pCPU (CNTHP): one deadline in counter ticks; ~0 turns it off.
void set_timer(u64 deadline);
/// On this pCPU, of a GICv2: the virtual timer's interrupt is active, so the guest has not ended it yet.
bool timer_is_held(const PerCpu& cpu);
/// Makes a pCPU leave its guest and look at its work; for the calling pCPU itself that is a note in its
/// PerCpu.
void send_kick(PcpuIndex target);
/// The same for a pCPU whose loaded vCPU has interrupts waiting, and nothing else to look at.
void interrupt(PerCpu& target);

/// Where the guest's abort was: FAR_EL2, and the IPA from HPFAR_EL2 or, where the architecture leaves that
/// UNKNOWN (permission faults), from a stage-1 translation of FAR. `ipa_known` is false when that translation
/// faults by now: the access is then to be repeated. [DDI0487 D19.2.52]
struct FaultAddress {
    u64 far;
    Ipa ipa;
    bool ipa_known;
};
FaultAddress fault_address(u64 esr);
/// HCR_EL2 for the loaded guest.
void set_hcr(u64 value);
/// VBAR_EL1 of the loaded guest.
u64 guest_vbar();
/// SPSR_EL2 of the exit being handled.
u64 guest_pstate();
/// The loaded guest's stack pointer as its instruction at the exit sees it (SP_EL0 or SP_EL1, by PSTATE).
u64 guest_sp();
void set_guest_sp(u64 value);

/// The host's SPI of a passthrough device's INTx line: level-triggered, to one CPU, off.
void prepare_spi(World& world, Intid spi, PcpuIndex target);
/// Complete on return.
void enable_spi(World& world, Intid spi, bool enabled);
/// It may fire again. Any CPU.
void deactivate_spi(World& world, Intid spi);

/// The loaded guest's list registers are read back into its state, and filled again [vgic/switch.hpp flush].
VcpuMask gic_flush(Vcpu& vcpu);
/// Trapped ICC_DIR_EL1 of the loaded guest [vgic/switch.hpp dir_write].
VcpuMask gic_dir_write(Vcpu& vcpu, u64 value);
/// Another trapped register of its CPU interface, which is software [vgic/switch.hpp interface_access].
vgic::InterfaceAccess gic_interface_access(Vcpu& vcpu, u32 id, bool write, u64 value);

/// The loaded guest uses its debug registers from now on: they are put into the hardware and no longer
/// trapped.
void enter_debug(Vcpu& vcpu);
/// At save: back to the shadow, and to trapping unless something is armed.
void leave_debug(Vcpu& vcpu);

/// Translates a guest virtual address through the loaded guest's stage 1 and stage 2, as its EL1 or EL0 would
/// for a read. not_found when either stage faults. [DDI0487 C5.5 AT S12E1R]
Result<Pa> translate_guest_read(GuestVa va, bool el0);
/// Stage 1 only: the IPA behind a guest virtual address. not_found when stage 1 faults. [DDI0487 C5.5 AT
/// S1E1R]
Result<Ipa> translate_stage1(GuestVa va, bool write, bool el0);

/// Copies between EL2's memory and RAM in the direct map. The caller has checked ownership and bounds.
void copy_in(void* to, Pa from, u64 bytes);
void copy_out(Pa to, const void* from, u64 bytes);
/// Zeroes whole pages and cleans them to the point of coherency.
void zero_pages(Pa at, u64 pages);
/// Cleans to the point of coherency what a guest with its caches off will read.
void clean(Pa at, u64 bytes);
/// The same, and instruction caches of all CPUs forget the range.
void sync_instructions(Pa at, u64 bytes);
/// The physical address of something in the direct map.
Pa pa_of(const void* pointer);
/// RAM in the direct map as bytes.
std::span<u8> ram(Pa at, u64 bytes);

} // namespace hw
} // namespace atl::el2
