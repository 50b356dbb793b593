// SPDX-License-Identifier: Apache-2.0
// Passthrough devices: assignment, connecting and disconnecting, interrupts, the guest's PCI windows. Portable. See
// el2/passthrough.hpp. What the SMMU reports is in el2/dma_fault.cpp.
#include "el2/passthrough.hpp"

#include <bit>

#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/its.hpp"
#include "el2/lifecycle.hpp"
#include "el2/world.hpp"
#include "lib/log.hpp"
#include "lib/panic.hpp"

namespace atl::el2 {
namespace {

constexpr u64 us_per_second = 1'000'000;
constexpr unsigned intx_lines = 4;

u64 now_us(void* context) {
    const World& world = *static_cast<const World*>(context);
    const u64 ticks = hw::counter();
    return ticks / world.counter_hz * us_per_second +
           ticks % world.counter_hz * us_per_second / world.counter_hz;
}

u64 ticks_at(const World& world, u64 us) {
    return us / us_per_second * world.counter_hz + us % us_per_second * world.counter_hz / us_per_second + 1;
}

std::span<AssignedDevice> all_devices(World& world) {
    return {world.passthrough->devices, world.passthrough->device_count};
}

smmu::Stage2 stage2_of(const Vm& vm) {
    return {stage2::root_of(vm.space.vttbr()), vm.space.geometry().vtcr, vm.vmid};
}

constexpr Intid line_spi(unsigned line) {
    return {guest_map::first_spi + guest_map::pci_spi + line};
}

// ---- hooks of the VM's host bridge; its lock is held ----

Status map_bar(void* context, const pci::BarMapping& bar) {
    Vm& vm = *static_cast<Vm*>(context);
    LockGuard guard(vm.space.lock());
    return vm.space.map(bar.ipa, bar.pa, bar.size, stage2::device_attributes);
}

void unmap_bar(void* context, const pci::BarMapping& bar) {
    Vm& vm = *static_cast<Vm*>(context);
    LockGuard guard(vm.space.lock());
    auto debt = vm.space.unmap(bar.ipa, bar.size);
    ATOLL_CHECK(debt.ok()); // whole pages that map_bar() mapped: nothing is split
    vm.space.complete(std::move(*debt));
}

void report_offence(void* context, const pci::Offence& offence) {
    Vm& vm = *static_cast<Vm*>(context);
    const auto kind = offence.kind;
    if (!may_report(vm)) {
        return;
    }
    if (kind == pci::Offence::Kind::reset_failed || kind == pci::Offence::Kind::pf_reset) {
        log::warn("{}: PCI device {} (here {}): {}", vm.name(), pci::BdfText(offence.physical).view(),
                  pci::BdfText({offence.devfn}).view(), pci::to_string(kind));
        return;
    }
    log::warn("{}: PCI device {} (here {}), BAR {} at ipa {:x}, {} bytes: {}", vm.name(),
              pci::BdfText(offence.physical).view(), pci::BdfText({offence.devfn}).view(), offence.bar,
              offence.ipa, offence.size, pci::to_string(kind));
}

/// The guest has deactivated an INTx SPI: the host's lines behind it may fire again. Called with the vGIC's lock.
void resample_line(void* context, Intid spi) {
    Vm& vm = *static_cast<Vm*>(context);
    const u32 line = spi.value - line_spi(0).value;
    for (const AssignedDevice& device : all_devices(*vm.world)) {
        if (device.vm == &vm && device.intx != 0 && device.line == line) {
            hw::deactivate_spi(*vm.world, Intid{device.intx});
        }
    }
}

/// A device number whose pin A..D ends at `line`, so that what shares a line on the host shares one in the VM.
u8 free_slot(const World& world, const Vm& vm, unsigned pin, unsigned line) {
    u32 taken = 1; // device 0 is where a host bridge would be
    for (const AssignedDevice& other : all_devices(const_cast<World&>(world))) {
        taken |= other.vm == &vm ? 1u << other.slot : 0;
    }
    for (u8 slot = 1; slot < 32; ++slot) {
        if ((taken & (1u << slot)) == 0 && (pin == 0 || ((slot + pin - 1) & 3) == line)) {
            return slot;
        }
    }
    return 0;
}

/// Which of the VM's lines stands for the host's INTID: the one that it has, or the next.
unsigned line_for(World& world, const Vm& vm, u32 intx) {
    unsigned used = 0;
    for (const AssignedDevice& other : all_devices(world)) {
        if (other.vm == &vm && other.intx != 0) {
            if (other.intx == intx) {
                return other.line;
            }
            used = other.line >= used ? other.line + 1u : used;
        }
    }
    return used % intx_lines;
}

[[gnu::noinline]] void tell_unmapped(AssignedDevice& device, u32 event) {
    if (!device.unmapped_told.exchange(true, std::memory_order_relaxed) && may_report(*device.vm)) {
        log::warn("{}: device {}: a message with event {}, which its ITS has not mapped", device.vm->name(),
                  PciText(device.address).text(), event);
    }
}

/// What a message of the device means to its VM.
VcpuMask deliver(AssignedDevice& device, u32 event) {
    Vm& vm = *device.vm;
    if (vm.its == nullptr) {
        return vm.gic.pulse(Intid{event});
    }
    if (device.direct != nullptr) [[unlikely]] {
        return vgic::DirectLpis::ring(*device.direct, event);
    }
    const u32 lpi = device.lpis[event].load(std::memory_order_relaxed);
    if (lpi == 0) [[unlikely]] {
        tell_unmapped(device, event);
        return 0;
    }
    return vm.its->its.enabled() ? vm.its->lpis.arrive(lpi + no_translation) : 0;
}

Status assign_one(World& world, Vm& vm, pci::VirtualBridge& bridge, const PciAddress& address) {
    Passthrough& all = *world.passthrough;
    const Assignable found = find_assignable(all, address);
    if (!found.why.empty() || all.device_count == max_assigned_devices) {
        return found.why.empty() ? Error::no_memory : Error::denied;
    }
    const u32 index = all.device_count;
    AssignedDevice& device = all.devices[index];
    device.function = found.function;
    device.address = address;
    device.stream = found.stream;
    device.device_id = found.device_id;
    device.intx = static_cast<u16>(found.intx);
    device.line = found.intx == 0 ? u8{0} : static_cast<u8>(line_for(world, vm, found.intx));
    device.slot = free_slot(world, vm, found.intx == 0 ? 0 : found.function->interrupt_pin, device.line);
    ATOLL_TRY(map_messages(world, vm, device));
    ATOLL_TRY(bridge.add(*found.function, device.devfn(), found.intx != 0));
    device.vm = &vm;
    ++all.device_count;
    if (found.intx != 0) {
        device.next_on_line = all.on_line[found.intx];
        all.on_line[found.intx] = &device;
        ATOLL_TRY(vm.gic.back_by_host(line_spi(device.line), true));
        hw::prepare_spi(world, Intid{found.intx}, vm.vcpus[0]->home);
    }
    return {};
}

} // namespace

Status assign_devices(World& world, Vm& vm, pci::VirtualBridge& bridge) {
    Passthrough& all = *world.passthrough;
    const pci::VirtualBridge::Hooks hooks{&vm, &map_bar, &unmap_bar, &report_offence};
    ATOLL_TRY(bridge.init(
        {guest_map::pci_mem32, guest_map::pci_mem64, hooks, device_clock(world), all.mmio, &all.bridges}));
    vm.gic.set_host_lines({&vm, &resample_line});
    if (vm.its != nullptr) {
        listen_to_its(vm);
    }
    // PFs first: behind each there has to be room for the stubs of its VFs.
    for (const bool pfs : {true, false}) {
        for (const PciAddress& address : vm.config->devices) {
            const pci::Function* const function = find_assignable(all, address).function;
            if ((function != nullptr && function->sriov.enabled_vfs != 0) == pfs) {
                ATOLL_TRY(assign_one(world, vm, bridge, address));
            }
        }
    }
    vm.bridge = &bridge;
    vm.dma = true; // what it retrieves, its devices reach [el2/ffa_ports.cpp]
    return {};
}

pci::Clock device_clock(World& world) {
    return {&world, &now_us};
}

bool devices_are_reset(Vm& vm) {
    const u64 next = vm.bridge->poll();
    if (next == pci::VirtualBridge::idle) {
        return true;
    }
    delay_job(vm, ticks_at(*vm.world, next));
    return false;
}

void care_for_resets(World& world) {
    for (unsigned id = 1; id <= world.vm_slots; ++id) {
        Vm* const vm = world.vms[id];
        const u64 next =
            vm != nullptr && vm->bridge != nullptr ? vm->bridge->poll() : pci::VirtualBridge::idle;
        if (next != pci::VirtualBridge::idle) {
            bring_forward(world.devices_deadline, ticks_at(world, next));
        }
    }
}

namespace {

/// Something may have begun a reset.
void watch_resets(World& world, pci::VirtualBridge& bridge) {
    if (const u64 at = bridge.next_poll_us(); at != pci::VirtualBridge::idle) {
        bring_forward(world.devices_deadline, ticks_at(world, at));
        hw::send_kick(PcpuIndex{0}); // it arms its timer anew
    }
}

} // namespace

Status connect_devices(Vm& vm) {
    World& world = *vm.world;
    for (AssignedDevice& device : all_devices(world)) {
        if (device.vm != &vm || !vm.bridge->came_back(device.devfn())) {
            continue; // the bridge has told; the VM runs without it
        }
        if (const Status status = world.passthrough->smmu.attach(device.stream, stage2_of(vm));
            !status.ok()) {
            disconnect_devices(vm);
            return status;
        }
        device.connected.store(true, std::memory_order_release);
        vm.bridge->set_stream_attached(device.devfn(), true);
        if (device.intx != 0) {
            hw::enable_spi(world, Intid{device.intx}, true);
        }
    }
    return {};
}

void disconnect_devices(Vm& vm) {
    World& world = *vm.world;
    for (AssignedDevice& device : all_devices(world)) {
        if (device.vm != &vm) {
            continue;
        }
        device.connected.store(false, std::memory_order_release);
#ifndef ATOLL_FAULT_LEAVE_RUNNING // defined for build/atoll-fault-running.img, which a test must notice [tests.mk]
        vm.bridge->set_stream_attached(device.devfn(), false); // stops mastering first: less is aborted
#endif
        device.stray_told.store(false, std::memory_order_relaxed);
        device.unmapped_told.store(false, std::memory_order_relaxed);
        world.passthrough->smmu.detach(device.stream);
        if (device.intx != 0) {
            hw::enable_spi(world, Intid{device.intx}, false);
            hw::deactivate_spi(world, Intid{device.intx});
        }
    }
#ifndef ATOLL_FAULT_LEAVE_RUNNING
    vm.bridge->reset();
    watch_resets(world, *vm.bridge);
#endif
}

namespace {

Status set_enabled(Passthrough& all, const AssignedDevice& device, u32 lpi, u32 event, bool enabled) {
    return device.direct != nullptr ? all.its.enable_doorbells(lpi, 1, enabled)
                                    : all.its.set_enabled(lpi, device.device_id, event, enabled);
}

/// `burst_limit` messages have come since the last look.
void check_burst(World& world, AssignedDevice& device, u32 index, u32 event) {
    const u64 now = hw::counter();
    const u64 span = burst_ms * world.counter_hz / 1000;
    const bool storm = now - device.burst_began.exchange(now, std::memory_order_relaxed) < span;
    device.burst.store(0, std::memory_order_relaxed);
    if (!storm) {
        return;
    }
    Passthrough& all = *world.passthrough;
    const u32 lpi = gic::first_lpi + index * lpis_per_device + event;
    if (!set_enabled(all, device, lpi, event, false).ok()) {
        return;
    }
    // The bit after the masking and before the deadline: whoever finds it lets go what is masked.
    device.held_back[event / 32].fetch_or(1u << (event % 32), std::memory_order_release);
    all.let_go_at.store(now + span, std::memory_order_release);
    bring_forward(world.devices_deadline, now + span);
    hw::send_kick(PcpuIndex{0}); // it arms its timer anew
    ++device.storms;
    if (may_report(*device.vm)) {
        log::warn("{}: device {}: over {} messages in {} ms: that interrupt (event {}) waits for {} ms",
                  device.vm->name(), PciText(device.address).text(), burst_limit, burst_ms, event, burst_ms);
    }
}

} // namespace

void let_messages_go(World& world) {
    Passthrough& all = *world.passthrough;
    all.let_go_at.store(~u64{0}, std::memory_order_relaxed);
    for (u32 index = 0; index < all.device_count; ++index) {
        AssignedDevice& device = all.devices[index];
        for (u32 word = 0; word < std::size(device.held_back); ++word) {
            for (u32 bits = device.held_back[word].exchange(0, std::memory_order_acquire); bits != 0;
                 bits &= bits - 1) {
                const u32 event = 32 * word + static_cast<u32>(std::countr_zero(bits));
                static_cast<void>(
                    set_enabled(all, device, gic::first_lpi + index * lpis_per_device + event, event, true));
            }
        }
    }
}

namespace {

VcpuMask others(const Vm& vm, VcpuMask mask, const Vcpu* loaded) {
    return loaded != nullptr && loaded->vm == &vm ? mask & ~(1u << loaded->index.value) : mask;
}

} // namespace

void on_lpi(World& world, u32 lpi, const Vcpu* loaded) {
    const u32 number = lpi - gic::first_lpi;
    const u32 index = number / lpis_per_device;
    if (world.passthrough == nullptr || index >= world.passthrough->device_count) {
        return;
    }
    AssignedDevice& device = world.passthrough->devices[index];
    if (!device.connected.load(std::memory_order_acquire)) {
        return; // its last words before the VM stopped
    }
    device.messages.fetch_add(1, std::memory_order_relaxed);
    if (device.burst.fetch_add(1, std::memory_order_relaxed) + 1 >= burst_limit) [[unlikely]] {
        check_burst(world, device, index, number % lpis_per_device);
    }
    kick_vcpus(*device.vm, others(*device.vm, deliver(device, number % lpis_per_device), loaded));
}

bool on_host_line(World& world, Intid spi, const Vcpu* loaded) {
    if (world.passthrough == nullptr || spi.value >= std::size(world.passthrough->on_line)) {
        return false;
    }
    AssignedDevice* device = world.passthrough->on_line[spi.value];
    if (device == nullptr || !device->connected.load(std::memory_order_acquire)) {
        return false;
    }
    const VcpuMask mask = device->vm->gic.set_line(line_spi(device->line), true);
    kick_vcpus(*device->vm, others(*device->vm, mask, loaded));
    return true;
}

// ---- the guest's windows ----

bool pci_read(Vm& vm, VcpuIndex vcpu, Ipa ipa, unsigned size, u64& value) {
    if (vm.bridge == nullptr) {
        return false;
    }
    if (guest_map::pci_config.contains(ipa, size)) {
        value = vm.bridge->read(vcpu, ipa - guest_map::pci_config.base, size);
        return true;
    }
    value = ~u64{0}; // nobody claims it [PCI 3.0 §3.3.3.1 master abort]
    return guest_map::pci_mem32.contains(ipa, size) || guest_map::pci_mem64.contains(ipa, size);
}

bool pci_write(Vm& vm, VcpuIndex vcpu, Ipa ipa, unsigned size, u64 value) {
    if (vm.bridge == nullptr) {
        return false;
    }
    if (guest_map::pci_config.contains(ipa, size)) {
        vm.bridge->write(vcpu, ipa - guest_map::pci_config.base, size, value);
        watch_resets(*vm.world, *vm.bridge); // an FLR
        return true;
    }
    return guest_map::pci_mem32.contains(ipa, size) || guest_map::pci_mem64.contains(ipa, size);
}

} // namespace atl::el2
