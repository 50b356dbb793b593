// SPDX-License-Identifier: Apache-2.0
// One virtual CPU. Owns its registers while it is not loaded, its counters and its place in the scheduler.
// Lock: none of its own. Only the home pCPU touches registers; the run queue's lock covers the SchedNode;
// `power` is atomic, because PSCI calls on other pCPUs read and claim it.
#pragma once
#include <atomic>

#include "el2/context.hpp"
#include "el2/percpu.hpp"
#include "el2/sched.hpp"
#include "lib/types.hpp"
#include "vgic/vcpu_gic.hpp"
#include "vgic/vpe.hpp"
#include "vtimer/timer.hpp"

namespace atl::el2 {

struct Vm;

/// What a handler wants done after it; bits may be combined, and el2/vectors.S knows some of them.
/// They are bits that neither VcpuGic::work nor PerCpu::work_pending uses: el2/vectors.S looks at the three
/// as one.
namespace action {
constexpr u64 resume = 0;             // run on at the same PC
constexpr u64 advance = u64{1} << 40; // step over the trapped instruction
constexpr u64 inject = u64{1} << 41;  // Vcpu::exception is to be taken by the guest
constexpr u64 leave =
    u64{1} << 42; // park or stop: somebody else runs next; the vCPU's scheduler state says what
constexpr u64 full_frame = u64{1} << 43; // nothing was done yet: the handler wants all of GuestFrame::x
constexpr u64 reload = u64{1} << 44;     // GuestFrame::x is complete, and the CPU's registers are older
constexpr u64 repeat = u64{1} << 45;     // back to the HVC before the PC: its work is not finished
} // namespace action
using Action = u64;

/// An exception for the guest's EL1 [DDI0487 D1.3].
struct PendingException {
    u64 esr = 0;
    u64 far = 0;
    bool has_far = false;
};

/// PSCI's view of a vCPU [DEN0022E §5.7 AFFINITY_INFO].
enum class Power : u32 { off, on_pending, on };

struct Vcpu : GuestFrame, SchedNode {
    u64 pc = 0;     // ELR_EL2 while not loaded
    u64 pstate = 0; // SPSR_EL2 while not loaded
    Vm* vm = nullptr;
    PerCpu* cpu = nullptr;        // home
    vgic::VcpuGic* gic = nullptr; // vm->gic.vcpu(index), tested on every entry
    vgic::Vpe* vpe = nullptr;     // of a VM whose LPIs are injected directly
    VcpuIndex index{};
    bool debug_live = false;   // DebugRegs are in the hardware while loaded; TDA is off
    bool os_lock = true;       // OSLSR_EL1.OSLK as the guest sees it; locked out of reset [DDI0487 H6.1]
    bool park_request = false; // the trapped WFI or CPU_SUSPEND wants to sleep
    bool stop_request = false; // CPU_OFF
    bool keeps_time = false;   // el2/vm_time.hpp has something to do at load and save
    bool steals = false;       // its stolen time is asked for
    bool left = false;         // of a stopping VM: it is off for good; under lifecycle_lock
    std::atomic<Power> power{Power::off};
    u64 hcr = 0;
    u64 vsesr = 0;    // syndrome of a virtual SError that waits (HCR_EL2.VSE)
    u64 start_pc = 0; // CPU_ON's entry and context, valid while on_pending
    u64 start_context = 0;
    PendingException exception{};
    vtimer::PhysicalTimer ptimer{}; // EL1 physical timer, emulated
    u64 ptimer_deadline = ~u64{0};  // physical counter: when its line rises
    u64 deadline = ~u64{0};         // physical counter: when an unloaded vCPU's timers are due
    Vcpu* next_at_home = nullptr;
    u64 exits[64] = {}; // by exception class
    u64 irq_exits = 0;
    u64 run_ticks = 0;
    u64 stolen_ticks = 0; // ready and not running, since the guest asked for the first time [el2/vm_time.hpp]
    u64 loaded_at = 0;
    SysRegs sys{};
    FpRegs fp{};
    DebugRegs debug{};

    u64 reg(unsigned n) const { return n == 31 ? 0 : x[n]; }
    /// Writes Xn; XZR is discarded.
    void set_reg(unsigned n, u64 value) {
        if (n != 31) {
            x[n] = value;
        }
    }
};

} // namespace atl::el2
