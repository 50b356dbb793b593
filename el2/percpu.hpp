// SPDX-License-Identifier: Apache-2.0
// What each physical CPU owns. Touched by its own CPU only, except where a member says otherwise.
#pragma once
#include <atomic>

#include "el2/sched.hpp"
#include "lib/types.hpp"

namespace atl::vgic {
class LrFile;
}

namespace atl::el2 {

struct Vcpu;
struct Vm;
struct World;

/// Something that must be done before this pCPU enters a guest again.
namespace work {
constexpr u32 resched = 1u << 1;  // another vCPU waits, the slice is over, or the loaded vCPU must stop
constexpr u32 retarget = 1u << 2; // traps for WFI/WFE and the slice timer follow the queue's state
} // namespace work

/// One line of a pCPU's history, for panics and reports.
struct alignas(32) ExitRecord { // a power of two: found with a shift
    u64 esr;                    // ~INTID for an interrupt
    u64 pc;
    const Vcpu* vcpu;
};

struct alignas(64) PerCpu {
    // el2/vectors.S reads the first four words on every exit.
    Vcpu* current = nullptr;                    // the loaded vCPU; its registers may be live in the hardware
    u64 emergency_stack_top = 0;                // for a fault of EL2 itself
    const std::atomic<u64>* gic_work = nullptr; // current->gic->work
    u64 work_pending = 0;                       // work:: bits
    u64 stack_top = 0;
    World* world = nullptr;
    vgic::LrFile* list_registers = nullptr; // this pCPU's
    PcpuIndex index{};
    Mpidr mpidr{};
    u64 slice_end = ~u64{0}; // counter ticks; only while another vCPU waits
    /// The earliest among its unloaded vCPUs' deadlines, its jobs' and recheck_at; may be too early, never late.
    u64 next_deadline = ~u64{0};
    u64 armed = ~u64{0};      // what the EL2 timer is set to
    u64 recheck_at = ~u64{0}; // when it comes for the loaded vCPU's virtual timer [el2/run.hpp watch_timer]
    Vcpu* home_list =
        nullptr; // every vCPU that lives here, linked by Vcpu::next_at_home; constant after boot
    u64 idle_since = 0;
    Vcpu* fp_owner = nullptr; // whose FP/SIMD registers are in this CPU; the vCPUs of others trap [adr/0017]
    u64 cptr = 0;             // CPTR_EL2 as last written
    bool has_ras = false;     // this CPU has FEAT_RAS
    u64 idle_ticks = 0;
    u64 exits = 0;
    u64 switches = 0;
    RunQueue queue;       // any CPU, under its own lock
    Vm* jobs = nullptr;   // load and teardown work; changed under lifecycle_lock
    u32 attention = 0;    // any CPU sets it with a kick: more than the loaded vCPU's interrupts
    u64 kick_value = 0;   // ICC_SGI1R_EL1 for a kick, once somebody has sent one; 0 with GICv2
    u32 reap_pending = 0; // any CPU sets it: a VM with vCPUs here is stopping
    u32 online = 0;       // any CPU may read
    static constexpr unsigned history_size = 64;
    u32 history_next = 0;
    ExitRecord history[history_size] = {};
};
static_assert(__builtin_offsetof(PerCpu, current) == 0 &&
              __builtin_offsetof(PerCpu, emergency_stack_top) == 8 &&
              __builtin_offsetof(PerCpu, gic_work) == 16 && __builtin_offsetof(PerCpu, work_pending) == 24);

} // namespace atl::el2
