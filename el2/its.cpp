// SPDX-License-Identifier: Apache-2.0
// See el2/its.hpp. Portable.
//
// A long queue: the store to GITS_CWRITER completes at once. The commands are then executed, a bounded number at a time,
// before that vCPU runs on (VcpuGic::work has work_its, and el2/trap_hw.cpp do_work() calls its_step()). In between EL2
// takes physical interrupts, and the scheduler gives the pCPU to others: a queue of 32768 commands keeps its own vCPU
// waiting and nobody else [docs/adr/0020].
#include "el2/its.hpp"

#include "el2/dispatch.hpp"
#include "el2/guest_memory.hpp"
#include "lib/log.hpp"

namespace atl::el2 {
namespace {

constexpr unsigned event_bits = 16;
constexpr unsigned event_bits_of_devices = 8; // what the host's ITS is told of each [el2/passthrough.hpp]

Status read_memory(void* context, Ipa ipa, std::span<std::byte> bytes) {
    const Vm& vm = *static_cast<const Vm*>(context);
    return read_guest_memory(*vm.world, vm.id, ipa, bytes);
}

Status write_memory(void* context, Ipa ipa, std::span<const std::byte> bytes) {
    const Vm& vm = *static_cast<const Vm*>(context);
    return write_guest_memory(*vm.world, vm.id, ipa, bytes);
}

} // namespace

void attach_its(Vm& vm, VmIts& its) {
    const vgic::GuestMemory memory{&vm, &read_memory, &write_memory};
    its.lpis.attach(vm.gic, memory);
    its.its.init(vm.gic, its.lpis, memory, vm.config->devices.empty() ? event_bits : event_bits_of_devices);
    vm.its = &its;
}

void reset_its(Vm& vm) {
    if (vm.its != nullptr) {
        vm.its->its.reset();
    }
}

vgic::Access its_read(Vcpu& vcpu, u64 offset, unsigned size) {
    return vcpu.vm->its->its.read(vcpu.index, offset, size);
}

void its_write(Vcpu& vcpu, u64 offset, unsigned size, u64 value) {
    vgic::VirtualIts& its = vcpu.vm->its->its;
    const VcpuMask mask = its.write(offset, size, value);
    if (mask != 0) {
        kick_vcpus(*vcpu.vm, mask);
    }
    if (its.has_work()) {
        static_cast<void>(vcpu.gic->post(vgic::work_its)); // its own: looked at before the entry
    }
}

void its_step(Vcpu& vcpu) {
    Vm& vm = *vcpu.vm;
    vcpu.gic->work.fetch_and(~vgic::work_its, std::memory_order_relaxed);
    const vgic::ItsProgress progress = vm.its->its.step();
    kick_vcpus(vm, progress.kick & ~(1u << vcpu.index.value));
    if (progress.more) {
        static_cast<void>(vcpu.gic->post(vgic::work_its));
    }
    if (progress.fault != vgic::ItsFault::none && may_report(vm)) {
        log::warn("{} vcpu {}: ITS command without effect: {}", vm.name(), vcpu.index,
                  vgic::to_string(progress.fault));
    }
}

} // namespace atl::el2
