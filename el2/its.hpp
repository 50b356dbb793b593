// SPDX-License-Identifier: Apache-2.0
// A VM's emulated ITS and its LPIs, joined to the VM: memory, accesses, and commands that wait.
// Locks: the ITS's own (rank virtual_its), and what it takes [docs/locking.md].
#pragma once
#include "el2/vcpu.hpp"
#include "vgic/virtual_its.hpp"

namespace atl::el2 {

struct Vm;
struct World;

/// Everything about LPIs that a VM has beyond its VirtualGic and its DirectLpis: 32 KiB of the pool.
struct VmIts {
    vgic::Lpis lpis{};
    vgic::VirtualIts its{};
};
static_assert(sizeof(VmIts) <= 32 * kib);

/// At build time, after the interrupt controller's init().
void attach_its(Vm& vm, VmIts& its);

/// Before assign_devices(): LPIs of its devices are to be injected directly. Its tables are pages of the pool. no_memory.
Status attach_direct(World& world, Vm& vm, vgic::DirectLpis& direct);
/// It has an ITS and devices, its manifest does not say otherwise, and the host can. A line in the log where it wants and
/// the host cannot.
bool injects_directly(const World& world, const Vm& vm);

/// Every vCPU has left; before VirtualGic::reset(). A VM without an ITS: nothing.
void reset_its(Vm& vm);

/// The vCPU, which has a vPE, has been saved.
void save_vpe(Vcpu& vcpu);

/// A guest's access to the ITS's frames [guest_map::its]. retry: another vCPU has to look at its list registers first.
vgic::Access its_read(Vcpu& vcpu, u64 offset, unsigned size);
void its_write(Vcpu& vcpu, u64 offset, unsigned size, u64 value);

/// This vCPU has written GITS_CWRITER, and commands wait: it does not run before they are executed.
inline bool its_waits(const Vcpu& vcpu) {
    return (vcpu.gic->work.load(std::memory_order_relaxed) & vgic::work_its) != 0;
}
/// A bounded number of them; its vPE becomes resident, or leaves, as it should. On the vCPU's home pCPU; between two calls interrupts and other vCPUs have their turn.
void its_step(Vcpu& vcpu);

} // namespace atl::el2
