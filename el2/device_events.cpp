// SPDX-License-Identifier: Apache-2.0
// Passthrough devices: what their events are to the host's ITS, and what the VM's own ITS makes of them. Portable. See
// el2/passthrough.hpp.
#include "el2/its.hpp"
#include "el2/passthrough.hpp"
#include "el2/world.hpp"

namespace atl::el2 {
namespace {

constexpr unsigned event_bits = 8; // EventIDs are SPI numbers, or the guest's own
static_assert(1u << event_bits == lpis_per_device);

// ---- what the guest's commands to its own ITS map; that ITS's lock is held ----

AssignedDevice* device_of(Vm& vm, u32 device_id) {
    Passthrough& all = *vm.world->passthrough;
    for (AssignedDevice& device : std::span(all.devices, all.device_count)) {
        if (device.vm == &vm && device.devfn() == device_id) {
            return &device;
        }
    }
    return nullptr;
}

/// The host's LPI goes where the VM's goes: then nobody else is interrupted for it.
void follow_route(Vm& vm, AssignedDevice& device, u32 event) {
    const u32 lpi = device.lpis[event].load(std::memory_order_relaxed);
    const u8 vcpu = lpi == 0 ? vgic::no_vcpu : vm.its->lpis.target(lpi + no_translation);
    if (vcpu == vgic::no_vcpu || device.direct != nullptr) {
        return;
    }
    const u8 cpu = vm.vcpus[vcpu]->home.value;
    if (cpu != device.lpi_cpu[event] &&
        vm.world->passthrough->its.move_event(device.device_id, event, cpu).ok()) {
        device.lpi_cpu[event] = cpu;
    }
}

void on_event_mapped(void* context, u32 device_id, u32 event, u32 lpi) {
    Vm& vm = *static_cast<Vm*>(context);
    AssignedDevice* const device = device_of(vm, device_id);
    if (device != nullptr && event < lpis_per_device) {
        device->lpis[event].store(lpi == 0 ? u16{0} : static_cast<u16>(lpi - no_translation),
                                  std::memory_order_relaxed);
        follow_route(vm, *device, event);
    }
}

void on_event_moved(void* context, u32 device_id, u32 event) {
    Vm& vm = *static_cast<Vm*>(context);
    AssignedDevice* const device = device_of(vm, device_id);
    if (device != nullptr && event < lpis_per_device) {
        follow_route(vm, *device, event);
    }
}

void on_device_mapped(void* context, u32 device_id) {
    if (AssignedDevice* const device = device_of(*static_cast<Vm*>(context), device_id); device != nullptr) {
        for (auto& lpi : device->lpis) {
            lpi.store(0, std::memory_order_relaxed);
        }
    }
}

} // namespace

/// Every event that the VM may use becomes an LPI of this device's own, for good: while the stream aborts no message comes.
/// Without an ITS of the VM's the events are SPIs. Where they are injected directly the VM's ITS maps them, one by one.
Status map_messages(World& world, Vm& vm, AssignedDevice& device) {
    Passthrough& all = *world.passthrough;
    const auto first_lpi = static_cast<u32>(gic::first_lpi + (&device - all.devices) * lpis_per_device);
    const bool its = vm.its != nullptr;
    const u32 first = its ? 0 : guest_map::first_mbi;
    const u32 end = its ? lpis_per_device : guest_map::first_mbi + guest_map::mbi_count;
    ATOLL_TRY(all.its.map_device(device.device_id, event_bits));
    if (its && vm.its->lpis.direct() != nullptr) {
        device.direct = vm.its->lpis.direct()->add(device.devfn(), device.device_id, first_lpi);
    }
    if (device.direct != nullptr) {
        return all.its.enable_doorbells(device.direct->doorbells, lpis_per_device, true);
    }
    for (u32 event = first; event < end; ++event) {
        ATOLL_TRY(all.its.map_event(device.device_id, event, first_lpi + event, vm.vcpus[0]->home.value));
        device.lpi_cpu[event] = vm.vcpus[0]->home.value;
    }
    return {};
}

void listen_to_its(Vm& vm) {
    vm.its->its.set_listener({&vm, &on_event_mapped, &on_event_moved, &on_device_mapped});
}

} // namespace atl::el2
