// SPDX-License-Identifier: Apache-2.0
// Birth, stop, reset and death of a VM. Long work (zeroing, copying, scrubbing) is a job: steps of bounded
// length that the scheduler runs between guests, so that other VMs on the same pCPU keep their latency. Lock:
// World::lifecycle_lock for state changes; jobs run on the pCPU of the VM's vCPU 0.
#pragma once
#include "el2/vm.hpp"

namespace atl::el2 {

/// absent -> loading: allocates and maps RAM, queues the load job. Boot, or the monitor's `start`.
/// no_memory and friends: nothing is kept.
Status create_vm(World& world, Vm& vm);

/// Asks the VM to stop: every vCPU leaves its guest, then `after` happens. Callable from any exit handler and
/// from the monitor; idempotent while stopping. `crashed`: a report has been printed.
void stop_vm(Vm& vm, AfterStop after, bool crashed);

/// A guest did something that leaves it no way on: print `why` with VM, vCPU, PC and IPA and stop the VM.
Action crash_vm(Vcpu& vcpu, std::string_view why, u64 esr, Ipa ipa);

/// On a pCPU, when it was kicked or is about to schedule: vCPUs of stopping VMs that live here leave. The
/// loaded vCPU must have been saved.
void reap_stopped(PerCpu& cpu);

/// Runs one bounded step of this pCPU's first job that is not waiting. False when there is none.
bool run_job_step(PerCpu& cpu);
/// One of this pCPU's jobs, of which there are some, has something to do now.
bool job_is_ready(const PerCpu& cpu);
inline bool has_job(const PerCpu& cpu) {
    return __atomic_load_n(&cpu.jobs, __ATOMIC_ACQUIRE) != nullptr && job_is_ready(cpu);
}
/// When the first of those that wait beyond `now` has; ~0: none does.
u64 job_deadline(const PerCpu& cpu, u64 now);
/// The job of `vm`, which runs now, has nothing to do before `at` (counter ticks).
void delay_job(Vm& vm, u64 at);

/// Register values of a vCPU that starts at `pc` with `context` in x0 [DEN0022E §6.4 initial state;
/// booting.rst].
void reset_vcpu_registers(Vcpu& vcpu, u64 pc, u64 context);

const char* to_string(VmState state);

} // namespace atl::el2
