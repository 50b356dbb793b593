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
#include "el2/hw.hpp"
#include "el2/passthrough.hpp"
#include "el2/world.hpp"
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

bool injects_directly(const World& world, const Vm& vm) {
    if (vm.its == nullptr || vm.config->devices.empty() || vm.config->lpis == LpiKind::software) {
        return false;
    }
    const std::string_view why = vm.gic.in_software() ? "its CPU interface is software"
                                                      : std::string_view(world.passthrough->no_direct);
    if (!why.empty() && vm.config->lpis == LpiKind::direct) {
        log::warn("{}: LPIs are injected by software: {}", vm.name(), why);
    }
    return why.empty();
}

Status attach_direct(World& world, Vm& vm, vgic::DirectLpis& direct) {
    constexpr unsigned pending_order = 4; // 64 KiB: its alignment
    constexpr unsigned configuration_order = 1;
    static_assert(page_size << configuration_order == vgic::vlpi_count);
    vgic::DirectTables tables;
    tables.first_vpe = static_cast<u16>((vm.id.value - 1u) * max_vcpus_per_vm);
    static_assert(max_vms * max_vcpus_per_vm <= vgic::max_vpes);
    const auto configuration = world.pool.allocate(configuration_order);
    ATOLL_TRY(configuration);
    tables.configuration = *configuration;
    for (unsigned v = 0; v < vm.vcpu_count; ++v) {
        const auto pending = world.pool.allocate(pending_order);
        ATOLL_TRY(pending);
        hw::zero_pages(*pending, u64{1} << pending_order);
        tables.pending[v] = *pending;
        vgic::VpeHome& home = world.passthrough->vpe_homes[vm.vcpus[v]->home.value];
        tables.frames[v] = &home.frame;
        tables.targets[v] = home.target;
        vm.vcpus[v]->vpe = &direct.vpe(v);
    }
    direct.init(vm.gic, vm.its->lpis, world.passthrough->its, tables);
    vm.its->lpis.set_direct(direct);
    vm.its->its.set_direct(direct);
    return {};
}

void reset_its(Vm& vm) {
    if (vm.its != nullptr && !vm.its->its.reset()) {
        log::error("{}: the host's ITS does not answer: LPIs of its devices do not arrive", vm.name());
    }
}

void save_vpe(Vcpu& vcpu) {
    vcpu.vpe->save();
    if (vcpu.vpe->pending()) {
        vcpu.gic->quiet = false; // whoever lets it sleep looks [VirtualGic::look_for_pending()]
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
    if (vcpu.vpe != nullptr) {
        vcpu.vpe->follow();
    }
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
