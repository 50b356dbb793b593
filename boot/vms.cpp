// SPDX-License-Identifier: Apache-2.0
// Builds the Vm objects that the manifest asks for and wires their devices. See boot/vms.hpp.
#include "boot/vms.hpp"

#include <bit>
#include <new>

#include "boot/guest_dt.hpp"
#include "el2/dispatch.hpp"
#include "el2/ffa_ports.hpp"
#include "el2/housekeeping.hpp"
#include "el2/hw.hpp"
#include "el2/its.hpp"
#include "el2/lifecycle.hpp"
#include "el2/passthrough.hpp"
#include "el2/switch_hw.hpp"
#include "el2/vm_time.hpp"
#include "lib/log.hpp"

namespace atl::boot {
namespace {

constinit Manifest manifest{};
constinit ffa::Tables ffa_tables{};

/// An object of EL2's in pages of the pool. nullptr: no memory.
template <class T>
T* make(el2::World& world) {
    unsigned order = 0;
    while (el2::PagePool::block_bytes(order) < sizeof(T)) {
        ++order;
    }
    const auto pages = world.pool.allocate(order);
    if (!pages.ok()) {
        return nullptr;
    }
    return new (el2::hw::ram(*pages, sizeof(T)).data()) T{};
}

/// SipHash-2-4 of one word: without the key neither key nor other values follow from a value. [Aumasson,
/// Bernstein 2012]
u64 sip_hash(u64 key, u64 word) {
    u64 v0 = key ^ 0x736f'6d65'7073'6575;
    u64 v1 = ~key ^ 0x646f'7261'6e64'6f6d;
    u64 v2 = key ^ 0x6c79'6765'6e65'7261;
    u64 v3 = ~key ^ 0x7465'6462'7974'6573;
    const auto rounds = [&](unsigned count) {
        for (; count != 0; --count) {
            v0 += v1;
            v2 += v3;
            v1 = std::rotl(v1, 13) ^ v0;
            v3 = std::rotl(v3, 16) ^ v2;
            v0 = std::rotl(v0, 32) + v3;
            v2 += v1;
            v1 = std::rotl(v1, 17) ^ v2;
            v3 = std::rotl(v3, 21) ^ v0;
            v2 = std::rotl(v2, 32);
        }
    };
    constexpr u64 length = u64{8} << 56; // the last block: 8 bytes of message
    for (const u64 block : {word, length}) {
        v3 ^= block;
        rounds(2);
        v0 ^= block;
    }
    v2 ^= 0xff;
    rounds(4);
    return v0 ^ v1 ^ v2 ^ v3;
}

/// Seeds for guests. One guest's must not tell it another's, so the state goes one way and is never shown.
u64 next_random(el2::World& world) {
    const u64 value = sip_hash(world.entropy, 1);
    world.entropy = sip_hash(world.entropy, 2);
    return value;
}

Result<u32> write_device_tree(el2::World& world, el2::Vm& vm, std::span<u8> out) {
    const auto layout = plan_guest(*vm.config);
    ATOLL_TRY(layout);
    GuestEntropy entropy;
    entropy.kaslr_seed = next_random(world);
    for (u8& byte : entropy.rng_seed) {
        byte = static_cast<u8>(next_random(world));
    }
    return write_guest_dt(*vm.config, world.configs, *layout, entropy,
                          vm.gic.is_v2() ? GuestGic::v2 : GuestGic::v3, out);
}

Result<el2::Hooks::Placement> place(el2::World&, el2::Vm& vm) {
    const auto layout = plan_guest(*vm.config);
    ATOLL_TRY(layout);
    el2::Hooks::Placement p;
    p.kernel = layout->kernel.base;
    p.ramdisk = layout->ramdisk.base;
    p.device_tree = layout->dtb.base;
    p.has_device_tree = !layout->dtb.empty();
    p.entry = layout->entry;
    p.x0 = layout->x0.value;
    return p;
}

u64 wall_clock(void* context) {
    const el2::World& world = *static_cast<const el2::World*>(context);
    return world.wall_clock_base + el2::hw::counter() / world.counter_hz;
}

/// The pCPU with the fewest vCPUs; the lowest number among equals.
el2::PerCpu& least_loaded(el2::World& world, std::array<unsigned, max_pcpus>& load) {
    unsigned best = 0;
    for (unsigned i = 1; i < world.pcpu_count; ++i) {
        if (load[i] < load[best]) {
            best = i;
        }
    }
    ++load[best];
    return *world.pcpus[best];
}

Status make_vcpu(el2::World& world, el2::Vm& vm, unsigned index, el2::PerCpu& home) {
    el2::Vcpu* const vcpu = make<el2::Vcpu>(world);
    if (vcpu == nullptr) {
        return Error::no_memory;
    }
    vcpu->vm = &vm;
    vcpu->cpu = &home;
    vcpu->home = home.index;
    vcpu->index = {static_cast<u8>(index)};
    vcpu->gic = &vm.gic.vcpu(vcpu->index);
    vcpu->hcr = el2::base_hcr();
    vcpu->next_at_home = home.home_list;
    home.home_list = vcpu;
    vm.vcpus[index] = vcpu;
    return {};
}

Status wire_devices(el2::World& world, el2::Vm& vm, unsigned priority_bits) {
    vgic::Config gic;
    gic.vcpus = vm.vcpu_count;
    gic.spis = el2::spis_of(*vm.config);
    gic.priority_bits = priority_bits;
    gic.gicv2 = world.guest_cpu_interface.value != 0;
    gic.software = vm.config->interrupts == el2::InterruptMode::vi;
    vm.gicr_bytes = gic.gicv2 ? 0 : vm.vcpu_count * el2::guest_map::gicr_stride;
    gic.timer_pintid = static_cast<u16>(world.intids.virtual_timer);
    ATOLL_TRY(vm.gic.init(gic));
    vm.gic.history().set_clock(el2::guest_clock(vm));
    if (vm.config->msi == el2::MsiKind::its && !gic.gicv2) {
        el2::VmIts* const its = make<el2::VmIts>(world);
        if (its == nullptr) {
            return Error::no_memory;
        }
        el2::attach_its(vm, *its);
    }
    ATOLL_TRY(vm.bus.add(el2::guest_map::uart.base, el2::guest_map::uart.size, &vm.uart));
    ATOLL_TRY(vm.bus.add(el2::guest_map::rtc.base, el2::guest_map::rtc.size, &vm.rtc));
    const IrqLine rtc_line{&vm,
                           [](void* context, u32 intid, bool high) {
                               el2::Vm& target = *static_cast<el2::Vm*>(context);
                               el2::kick_vcpus(target, target.gic.set_line(Intid{intid}, high));
                           },
                           el2::guest_map::first_spi + el2::guest_map::rtc_spi};
    vm.rtc.attach(rtc_line, {&world, &wall_clock, &el2::rtc_changed});
    return {};
}

Status build_vm(Host& host, const el2::VmConfig& config, std::array<unsigned, max_pcpus>& load) {
    el2::World& world = *host.world;
    el2::Vm* const vm = make<el2::Vm>(world);
    if (vm == nullptr) {
        return Error::no_memory;
    }
    vm->config = &config;
    vm->world = &world;
    vm->id = config.id;
    vm->vcpu_count = config.vcpus;
    vm->short_sgis.store(config.vcpus, std::memory_order_relaxed);
    vm->id_registers = el2::sanitise_id_registers(world.host_ids, world.geometry.ipa_bits);
    for (unsigned i = 0; i < config.vcpus; ++i) {
        ATOLL_TRY(make_vcpu(world, *vm, i, least_loaded(world, load)));
    }
    ATOLL_TRY(wire_devices(world, *vm, host.gic.guest_priority_bits()));
    if (el2::injects_directly(world, *vm)) {
        vgic::DirectLpis* const direct = make<vgic::DirectLpis>(world);
        if (direct == nullptr) {
            return Error::no_memory;
        }
        ATOLL_TRY(el2::attach_direct(world, *vm, *direct));
    }
    if (!config.devices.empty()) {
        pci::VirtualBridge* const bridge = make<pci::VirtualBridge>(world);
        if (bridge == nullptr) {
            return Error::no_memory;
        }
        ATOLL_TRY(el2::assign_devices(world, *vm, *bridge));
    }
    ATOLL_TRY(world.ffa.add({config.id, config.vcpus, config.share_with, el2::window_of(config)}));
    world.vms[config.id.value] = vm;
    world.vm_slots = config.id.value > world.vm_slots ? config.id.value : world.vm_slots;
    return {};
}

DeviceAnswer look_up_device(void* context, const el2::PciAddress& address) {
    const auto found = el2::find_assignable(*static_cast<const el2::World*>(context)->passthrough, address);
    return {found.why, found.group, found.group_size, found.intx};
}

void switch_on_vfs(void* context, const el2::PciAddress& pf, unsigned count) {
    el2::enable_vfs(*static_cast<el2::World*>(context), pf, count);
}

/// Joins the guests' UARTs to the console; the first one has the keyboard, so the one with `focus` goes
/// first.
void join_consoles(el2::World& world) {
    for (const bool focused : {true, false}) {
        for (const el2::VmConfig& config : world.configs) {
            if (config.focus == focused && world.vm(config.id) != nullptr) {
                world.console.add_guest(*world.vm(config.id));
            }
        }
    }
}

} // namespace

void start_vms(Host& host) {
    el2::World& world = *host.world;
    world.hooks.write_device_tree = &write_device_tree;
    world.hooks.place = &place;
    if (host.bundle.empty()) {
        log::error(
            "no bundle: hand one over as the initrd (QEMU: -initrd build/bundles/demo.bundle; make bundle "
            "builds one)");
        return;
    }
    Diagnostics diagnostics(nullptr, &report_to_log);
    const ManifestLimits limits{world.pool.counters().free_pages * page_size, &world, &look_up_device,
                                &switch_on_vfs};
    if (const Status status = read_manifest(host.bundle, limits, manifest, diagnostics); !status.ok()) {
        log::error("no VM can start: the bundle is {}", status.error());
        return;
    }
    world.configs = manifest.vms.span();
    world.ffa.init(el2::make_ffa_ports(world), ffa_tables, next_random(world));
    std::array<unsigned, max_pcpus> load{};
    for (const el2::VmConfig& config : manifest.vms) {
        if (const Status status = build_vm(host, config, load); !status.ok()) {
            log::error("{}: cannot be built: {}", config.name.view(), status.error());
        }
    }
    join_consoles(world);
    for (const u8 index : manifest.start_order) {
        const el2::VmConfig& config = manifest.vms[index];
        el2::Vm* const vm = world.vm(config.id);
        if (vm == nullptr || !config.autostart) {
            continue;
        }
        const Status status = create_vm(world, *vm);
        if (!status.ok()) {
            log::error("{}: cannot start: {}", config.name.view(), status.error());
            continue;
        }
        log::info("{}: VM {}, {} vCPUs, {} MiB RAM, window {} MiB", config.name.view(), config.id,
                  config.vcpus, config.ram_bytes / mib, config.window_bytes / mib);
    }
}

} // namespace atl::boot
