// SPDX-License-Identifier: Apache-2.0
// A machine with two VMs, devices, and the models of what is between them: SMMU, PCI bus, ITS. A test adds functions to
// the bus, then bring_up(), then give() each VM what it has.
#pragma once
#include "el2/passthrough.hpp"
#include "tests/support/el2_its_guest.hpp"
#include "tests/support/its_model.hpp"
#include "tests/support/pci_model.hpp"
#include "tests/support/smmu_model.hpp"

namespace atl::test {

struct PassthroughRig {
    static constexpr u64 ecam = guest_map::pci_config.base.value;

    Machine m{{{.ram_mib = 4}, {.ram_mib = 4, .first_pcpu = 1}}, 2, 32};
    SmmuModel smmu;
    PciModel bus;
    ItsModel its;
    std::unique_ptr<Passthrough> all = std::make_unique<Passthrough>();
    pci::VirtualBridge bridges[2]{};
    std::unique_ptr<ItsGuest> guests[2]; // with an ITS of their own
    std::unique_ptr<vgic::DirectLpis> directs[2];

    void bring_up() {
        bus.seal();
        m.world.passthrough = all.get();
        REQUIRE(all->smmu.init({{SmmuModel::registers, smmu::register_bytes}, smmu.pages(), Pa{u64{1} << 32}})
                    .ok());
        m.world.table_memory.smmu = {
            all.get(), [](void* context, const stage2::TlbScope& scope) {
                static_cast<Passthrough*>(context)->smmu.invalidate(
                    {scope.vmid(), scope.base, scope.bytes, scope.stride(), scope.whole_vm});
            }};
        REQUIRE(pci::enumerate(all->topology, bus.host).ok());
        pci::assign(all->topology);
        const vgic::ItsPages pages{
            &its, [](void* c, unsigned order) { return static_cast<ItsModel*>(c)->allocate(order); },
            [](void* c, Pa p, unsigned order) { static_cast<ItsModel*>(c)->release(p, order); }};
        REQUIRE(all->its.init({Pa{ItsModel::base}, gic::gits::frames_size}, pages).ok());
        its.configuration = all->its.configuration_table().value;
        for (u16 cpu = 0; cpu < 2; ++cpu) {
            REQUIRE(all->its.map_collection(cpu, u64{cpu} << 16).ok());
        }
        if (its.virtual_lpis) {
            for (unsigned cpu = 0; cpu < 2; ++cpu) {
                all->vpe_homes[cpu].target = u64{cpu} << 16;
                REQUIRE(all->vpe_homes[cpu].frame.init(ItsModel::vlpi_frame(cpu), all->its.coherent()).ok());
            }
            all->no_direct = {};
        }
        all->mmio = bus.mmio();
        all->routes = {nullptr, [](const void*, u32 rid) { return Result<StreamId>(StreamId{rid}); },
                       [](const void*, u32 rid) { return Result<u32>(rid); },
                       [](const void*, unsigned device, unsigned pin) {
                           return pin == 0 ? 0u : 35u + ((device + pin - 1) & 3);
                       }};
    }
    /// `at`: all that the VM has, in one call.
    void give(unsigned id, std::initializer_list<PciAddress> at, bool with_its = false) {
        vgic::Config gic;
        gic.vcpus = m.vm(id).vcpu_count;
        gic.spis = guest_map::spis_with_mbi;
        REQUIRE(m.vm(id).gic.init(gic).ok());
        for (const PciAddress& address : at) {
            REQUIRE(m.configs[id - 1]->devices.push_back(address));
        }
        if (with_its) {
            guests[id - 1] = std::make_unique<ItsGuest>(m, id);
        }
        if (injects_directly(m.world, m.vm(id))) {
            directs[id - 1] = std::make_unique<vgic::DirectLpis>();
            REQUIRE(attach_direct(m.world, m.vm(id), *directs[id - 1]).ok());
        }
        REQUIRE(assign_devices(m.world, m.vm(id), bridges[id - 1]).ok());
    }
    void give(unsigned id, const PciAddress& at) { give(id, {at}); }

    /// Time goes on for everybody.
    void pass_ms(u64 ms) {
        for (u64 i = 0; i < ms; ++i) {
            m.pass(m.world.counter_hz / 1000);
            bus.now_us += 1000;
            m.settle();
        }
    }
    /// For code that waits by reading the counter.
    template <class Call>
    void while_time_passes(Call call) {
        m.hw().counter_is_read = [this] {
            m.hw().counter += m.world.counter_hz / 10'000;
            bus.now_us += 100;
        };
        call();
        m.hw().counter_is_read = nullptr;
    }
    void boot(unsigned id) {
        REQUIRE(create_vm(m.world, m.vm(id)).ok());
        m.settle();
        wait_until_running(id);
    }
    void wait_until_running(unsigned id) {
        for (unsigned i = 0; i < 3000 && m.vm(id).state != VmState::running; ++i) {
            pass_ms(1);
        }
        REQUIRE(m.vm(id).state == VmState::running);
    }
    AssignedDevice& device(unsigned id) { return all->devices[id - 1]; }
    u64 config(unsigned id) { return ecam + (u64{device(id).slot} << 15); }
    /// The guest turns on memory decoding and bus mastering.
    void enable(unsigned id) { m.write(m.load(m.vcpu(id)), Ipa{config(id) + 4}, 6, 2); }

    /// What the table of the VM says goes to the model, then the device's access.
    SmmuModel::Access dma(StreamId stream, Ipa ipa, bool write) {
        for (unsigned id = 1; id <= 2; ++id) {
            Vm& vm = m.vm(id);
            if (!vm.space.alive()) {
                continue;
            }
            auto& leaves = smmu.tables[stage2::root_of(vm.space.vttbr()).value];
            leaves.erase(ipa.align_down(page_size).value);
            if (const auto walk = vm.space.walk(ipa.align_down(page_size)); walk.mapped) {
                CHECK(walk.level == 3); // never a block under a device
                leaves[ipa.align_down(page_size).value] = {walk.pa.value, walk.attributes.write, page_size};
            }
        }
        return smmu.dma(stream, ipa, write);
    }
    bool reaches(StreamId stream, unsigned id, Ipa ipa) {
        const auto access = dma(stream, ipa, true);
        const auto pa = m.vm(id).space.translate(ipa);
        return access.ok && pa.ok() && access.pa == *pa;
    }
};

} // namespace atl::test
