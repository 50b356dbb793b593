// SPDX-License-Identifier: Apache-2.0
// What a VM's RAM is made of: taken from the pool, mapped, filled, scrubbed, given back. Long work comes in steps of at most
// 2 MiB, which bound what a job adds to other VMs' latency [el2/lifecycle.hpp runs them]. Owns Vm::runs and the map's RAM.
// Lock: the caller's lifecycle_lock, or its being the VM's only job; the address space's and the pool's are taken inside.
#pragma once
#include <span>

#include "el2/vm.hpp"

namespace atl::el2 {

/// The address space, empty but for what devices need.
Status init_space(World& world, Vm& vm);
/// RAM of the size that the manifest says. no_memory: what was taken is in Vm::runs.
Status map_ram(World& world, Vm& vm);
/// Pages that survive in a borrower are no longer this VM's: fresh ones take their place [ffa::Ports::retain]. no_memory.
Status refill_holes(World& world, Vm& vm);
/// Puts the VM's scratch page at a revoked page of its window, so that its kernel can finish. no_memory.
Status map_scratch(Vm& vm, Ipa page);

/// not_found: no RAM there.
Status copy_to_guest(Vm& vm, Ipa to, std::span<const u8> from);
/// Steps of zeroing all RAM, and of copying `from`; Vm::job_position says how far. True while there is more.
Result<bool> zero_step(Vm& vm);
Result<bool> copy_step(Vm& vm, Ipa to, std::span<const u8> from);

/// The map goes, with the pages that only the map knows: those that replaced retained ones. Nothing to do from the second
/// time on.
void release_map(World& world, Vm& vm);
/// One step of giving the runs back, from the end of the last one. False: there was nothing left.
bool free_step(World& world, Vm& vm);
/// What else a VM took from the pool; its VMID.
void release_rest(World& world, Vm& vm);
/// All three. No vCPU runs; FF-A has let go of it.
void release_vm_memory(World& world, Vm& vm);

} // namespace atl::el2
