// SPDX-License-Identifier: Apache-2.0
// Which vCPU runs on a pCPU, and its timers: the portable half of the scheduler loop. Every function is
// called on the pCPU concerned. The world switch itself is el2/switch_hw.hpp.
#pragma once
#include "el2/vcpu.hpp"

namespace atl::el2 {

/// EL2's timer for this pCPU: the earliest of slice end, unloaded vCPUs' deadlines, the loaded vCPU's
/// physical timer. It may be left at an earlier time, at which on_timer() then finds nothing due: a deadline
/// that is put off or dropped at each switch costs no programming, and one interrupt in a slice at most.
void arm_timer(PerCpu& cpu, const Vcpu* loaded);
/// EL2's timer fired: wakes vCPUs whose timers are due, notes a slice end, arms the next.
void on_timer(PerCpu& cpu, Vcpu* loaded);
/// The loaded vCPU's virtual timer may be held for it by a linked list register. Where the host's GIC then forgets the level,
/// EL2's timer comes World::recheck_ticks later, and again until the guest has ended it: a change of any line makes such a
/// GIC look at all of them [adr/0022].
void watch_timer(PerCpu& cpu, const Vcpu& loaded);
/// The guest wrote its physical timer: its line and EL2's timer follow.
void on_physical_timer_write(Vcpu& vcpu);
/// Of a vCPU just saved (CNTV values in `sys`): raises lines that are due, notes the next deadline.
void sample_timers(Vcpu& vcpu, u64 now);
/// Someone waits for this pCPU, or nobody any more: traps and slice follow.
void retarget(PerCpu& cpu, Vcpu* loaded);

/// What becomes of the vCPU that has just been saved: parked, off, or back in the queue.
void settle(PerCpu& cpu, Vcpu& vcpu);
/// The same, and who runs next, unless nobody is ready or there is something else to do first: nullptr.
Vcpu* settle_and_pick(PerCpu& cpu, Vcpu& vcpu);

} // namespace atl::el2
