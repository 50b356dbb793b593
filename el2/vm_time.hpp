// SPDX-License-Identifier: Apache-2.0
// The time that guests are told: the offset of their counters, which in a VM with `clock = "run"` grows while the VM waits for a
// CPU, and the stolen time of each vCPU [DEN0057A PV_TIME]. Owns Vm::run_clock and the VM's stolen-time page.
// Lock: Vm::clock_lock, taken inside. Spec: [DEN0057A §3, §4], [DDI0487 D12].
#pragma once
#include "el2/vm.hpp"

namespace atl::el2 {

/// One vCPU's record in the page that guests read [DEN0057A §4.1]; 64 bytes, little endian.
struct StolenTime {
    u32 revision;
    u32 attributes;
    u64 nanoseconds; // spent ready and not running since the VM's start; single-copy atomic
    u8 reserved[48];
};
static_assert(sizeof(StolenTime) == 64);

/// At the VM's creation, with its address space there: the page, read-only for the guest. no_memory and friends.
Status create_time_page(World& world, Vm& vm);
void release_time_page(World& world, Vm& vm);
/// A life begins: counts are 0, nothing was stolen. No vCPU runs.
void start_time(Vm& vm);

/// Before a vCPU with `keeps_time` is loaded, and when it has been saved. Home pCPU; `now`: physical count.
void time_on_load(Vcpu& vcpu, u64 now);
void time_on_save(Vcpu& vcpu, u64 now);

/// CNTVOFF_EL2 as it is at `now`, loaded or not.
u64 virtual_offset(Vm& vm, u64 now);
/// What the VM's physical count lags behind CNTPCT_EL0.
inline u64 physical_offset(Vm& vm, u64 now) {
    return vm.run_time ? virtual_offset(vm, now) : 0;
}
/// What interrupts' events are stamped with [vgic/history.hpp].
vgic::GuestClock guest_clock(Vm& vm);
/// The VM's count stands still because others of its vCPUs wait: a timer of this one does not come nearer.
bool time_stands(Vcpu& vcpu);

/// PV_TIME_FEATURES and PV_TIME_ST: the result, for x0.
u64 pv_time_call(Vcpu& vcpu, u32 function);

} // namespace atl::el2
