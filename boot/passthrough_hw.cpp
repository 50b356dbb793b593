// SPDX-License-Identifier: Apache-2.0
// Brings up what passthrough needs: the SMMU (first, so that no device reaches memory), the PCI bus, the ITS. Whatever is
// missing leaves everything else working and says why no device can be assigned. Boot CPU.
#include <new>

#include "boot/host.hpp"
#include "el2/hw.hpp"
#include "el2/passthrough.hpp"
#include "lib/log.hpp"
#include "pci/virtio.hpp"

namespace atl::boot {
namespace {

alignas(el2::Passthrough) constinit u8 storage[sizeof(el2::Passthrough)] = {};

void unusable(el2::Passthrough& all, std::string_view why) {
    if (all.unusable.empty()) {
        all.unusable.assign(why);
    }
}

Result<Pa> zeroed_pages(void* context, unsigned order) {
    const auto pages = static_cast<el2::World*>(context)->pool.allocate(order);
    if (pages.ok()) {
        el2::hw::zero_pages(*pages, u64{1} << order);
    }
    return pages;
}

Result<Pa> any_pages(void* context, unsigned order) {
    return static_cast<el2::World*>(context)->pool.allocate(order);
}

void free_pages(void* context, Pa pages, unsigned order) {
    static_cast<void>(static_cast<el2::World*>(context)->pool.free(pages, order));
}

void invalidate_smmu([[maybe_unused]] void* context, [[maybe_unused]] const stage2::TlbScope& scope) {
#ifndef ATOLL_FAULT_DROP_SMMU_TLBI // defined for build/atoll-fault.img, which a test must notice [tests.mk]
    static_cast<el2::Passthrough*>(context)->smmu.invalidate(
        {scope.vmid(), scope.base, scope.bytes, scope.stride(), scope.whole_vm});
#endif
}

Pa end_of_ram(const Platform& platform) {
    Pa end{};
    for (const Range<Pa>& range : platform.ram) {
        end = range.end() > end ? range.end() : end;
    }
    return end;
}

u32 mmio_read(void*, Pa at, unsigned size) {
    const u64 va = to_hyp_va(at).value;
    return size == 1 ? *reinterpret_cast<const volatile u8*>(va) : *reinterpret_cast<const volatile u32*>(va);
}
void mmio_write(void*, Pa at, unsigned size, u32 value) {
    const u64 va = to_hyp_va(at).value;
    if (size == 1) {
        *reinterpret_cast<volatile u8*>(va) = static_cast<u8>(value);
    } else {
        *reinterpret_cast<volatile u32*>(va) = value;
    }
}

Result<StreamId> stream_of(const void* context, u32 rid) {
    const Platform& platform = *static_cast<const Platform*>(context);
    const auto id = platform.pci.iommu.translate(rid, platform.smmu.phandle);
    return id.ok() ? Result<StreamId>(StreamId{*id}) : Result<StreamId>(id.error());
}
Result<u32> device_id_of(const void* context, u32 rid) {
    const Platform& platform = *static_cast<const Platform*>(context);
    return platform.pci.msi.translate(rid, platform.gic.its_phandle);
}
u32 intx_of(const void* context, unsigned device, unsigned pin) {
    const Platform& platform = *static_cast<const Platform*>(context);
    return pin >= 1 && pin <= 4 && device < 32 ? platform.pci.intx[device][pin - 1] : 0;
}

void log_line(void*, std::string_view text) {
    log::info("{}", text);
}

} // namespace

/// Before anything else is looked at: from here on a device that firmware left running stops at the SMMU.
void Host::init_smmu() {
    el2::Passthrough* const all = new (storage) el2::Passthrough{};
    world->passthrough = all;
    if (platform.smmu.registers.empty()) {
        unusable(*all, "this machine has no SMMUv3");
        return;
    }
    const smmu::Config config{platform.smmu.registers, {world, &zeroed_pages}, end_of_ram(platform)};
    if (!all->smmu.init(config).ok()) {
        log::warn("SMMUv3: not used: {}", smmu::to_string(all->smmu.refusal()));
        unusable(*all, "its SMMUv3 cannot be used (see above)");
        return;
    }
    world->table_memory.smmu = {all, &invalidate_smmu};
    if (!all->smmu.features().coherent) {
        world->table_memory.coherent_walkers = false;
    }
    // Wired interrupts of an SMMU are edges [IHI0070 §3.18].
    world->intids.smmu_event = platform.smmu.event_intid;
    world->intids.smmu_error = platform.smmu.error_intid;
    for (const u32 intid : {platform.smmu.event_intid, platform.smmu.error_intid}) {
        if (intid == 0 || !gic.set_priority({0}, Intid{intid}, vgic::host_priority).ok() ||
            !gic.set_trigger({0}, Intid{intid}, vgic::Trigger::edge).ok() ||
            !gic.route(Intid{intid}, {0}).ok() || !gic.enable({0}, Intid{intid}).ok()) {
            log::warn(
                "SMMUv3: one of its interrupts cannot be used: faults of devices are stopped, but not told");
        }
    }
}

Status Host::init_its() {
    el2::Passthrough& all = *world->passthrough;
    if (platform.gic.its.empty() || gic.is_v2()) {
        return Error::not_found;
    }
    ATOLL_TRY(all.its.init(platform.gic.its, {world, &any_pages, &free_pages}));
    constexpr unsigned pending_order = 4; // 64 KiB: what GICR_PENDBASER aligns to
    for (u8 cpu = 0; cpu < world->pcpu_count; ++cpu) {
        const auto pending = zeroed_pages(world, pending_order);
        ATOLL_TRY(pending);
        ATOLL_TRY(gic.v3().enable_lpis({cpu}, all.its.configuration_table(), *pending, all.its.coherent()));
        ATOLL_TRY(all.its.map_collection(cpu, gic.v3().its_target({cpu}, all.its.targets_are_addresses())));
    }
    return {};
}

/// Why LPIs cannot be injected directly; empty: they can.
std::string_view Host::init_direct() {
    el2::Passthrough& all = *world->passthrough;
    if (!all.its.injects()) {
        return "the ITS has no virtual LPIs (GICv3)";
    }
    for (u8 cpu = 0; cpu < world->pcpu_count; ++cpu) {
        if (const std::string_view why = gic.v3().why_no_vlpis({cpu}); !why.empty()) {
            return why;
        }
        vgic::VpeHome& home = all.vpe_homes[cpu];
        home.target = gic.v3().its_target({cpu}, all.its.targets_are_addresses());
        if (!home.frame.init(gic.v3().vlpi_frame({cpu}), all.its.coherent()).ok()) {
            return "a redistributor's virtual tables do not behave";
        }
    }
    return {};
}

/// Once every CPU is there.
void Host::init_passthrough() {
    el2::Passthrough& all = *world->passthrough;
    if (platform.pci.ecam.empty()) {
        unusable(all, "this machine has no PCI host bridge that Atoll knows");
    }
    if (!platform.pci.coherent) {
        unusable(all, "DMA of its PCI devices is not coherent with the caches"); // guests would have to know
    }
    if (!all.unusable.empty()) {
        return;
    }
    const HostPci& pci = platform.pci;
    const pci::HostBridge bridge{pci.segment,
                                 pci.ecam,
                                 pci.first_bus,
                                 pci.last_bus,
                                 {pci.mmio32.cpu, pci.mmio32.pci, pci.mmio32.size},
                                 {pci.mmio64.cpu, pci.mmio64.pci, pci.mmio64.size},
                                 {}};
    if (!pci::enumerate(all.topology, bridge).ok()) {
        unusable(all, "its PCI host bridge is described inconsistently");
        return;
    }
    pci::assign(all.topology);
    all.mmio = {nullptr, &mmio_read, &mmio_write};
    for (pci::Function& function : all.topology.functions) {
        static_cast<void>(pci::probe_virtio(function, all.mmio));
    }
    if (const Status its = init_its(); !its.ok()) {
        log::warn("ITS: cannot be used: {}", its.error());
        unusable(all, "it has no usable GICv3 ITS for the devices' messages");
        return;
    }
    all.no_direct = init_direct();
    if (all.no_direct.empty()) {
        log::info("GICv4: LPIs of devices are injected directly");
    } else {
        log::info("LPIs of devices are injected by software: {}", all.no_direct);
    }
    all.routes = {&platform, &stream_of, &device_id_of, &intx_of};
    const TextSink sink{nullptr, &log_line};
    for (const pci::Problem& problem : all.topology.problems) {
        pci::print(sink, problem);
    }
}

} // namespace atl::boot
