// SPDX-License-Identifier: Apache-2.0
// A VM of the vGIC tests whose devices' LPIs are injected directly: ItsVm over the host's ITS and its model, which is also
// the redistributors. Device 1 is a real one (DeviceID 0x10 at the host); any other DeviceID is software's.
#pragma once
#include "tests/support/gic_its.hpp"
#include "tests/support/its_model.hpp"

namespace atl::vgic {

struct DirectVm : ItsVm {
    static constexpr u32 device = 1;
    static constexpr u32 host_device = 0x10;
    static constexpr u32 doorbells = gic::first_lpi + 512;
    static constexpr u16 first_vpe = 24;

    test::ItsModel model;
    std::unique_ptr<Its> host = std::make_unique<Its>();
    std::unique_ptr<DirectLpis> direct = std::make_unique<DirectLpis>();
    VpeFrame frames[2]{};
    DirectDevice* events = nullptr;
    std::vector<unsigned> homes; // the pCPU of each vCPU

    explicit DirectVm(std::vector<unsigned> at = {0, 1}, bool snoops = true)
        : ItsVm(static_cast<unsigned>(at.size()), 4, 8), homes(std::move(at)) {
        model.virtual_lpis = true;
        model.snoops = snoops;
        const ItsPages pages{
            &model, [](void* m, unsigned order) { return static_cast<test::ItsModel*>(m)->allocate(order); },
            [](void* m, Pa p, unsigned order) { static_cast<test::ItsModel*>(m)->release(p, order); }};
        REQUIRE(host->init({Pa{test::ItsModel::base}, gic::gits::frames_size}, pages).ok());
        model.configuration = host->configuration_table().value;
        REQUIRE(host->injects());
        DirectTables tables;
        tables.first_vpe = first_vpe;
        tables.configuration = *model.allocate(1);
        for (u16 cpu = 0; cpu < 2; ++cpu) {
            REQUIRE(host->map_collection(cpu, u64{cpu} << 16).ok());
            REQUIRE(frames[cpu].init(test::ItsModel::vlpi_frame(cpu), host->coherent()).ok());
        }
        for (unsigned v = 0; v < homes.size(); ++v) {
            tables.pending[v] = *model.allocate(4);
            tables.targets[v] = u64{homes[v]} << 16;
            tables.frames[v] = &frames[homes[v]];
        }
        direct->init(gic, *lpis, *host, tables);
        lpis->set_direct(*direct);
        its->set_direct(*direct);
        REQUIRE(host->map_device(host_device, 8).ok());
        events = direct->add(device, host_device, doorbells);
        REQUIRE(host->enable_doorbells(doorbells, direct_events, true).ok());
        its_waits = [this](unsigned v) {
            for (unsigned rounds = 0; (gic.vcpu(index(v)).work.load() & work_its) != 0; ++rounds) {
                REQUIRE(rounds < 100);
                gic.vcpu(index(v)).work.fetch_and(~work_its);
                const ItsProgress progress = its->step();
                direct->vpe(v).follow();
                kick(progress.kick & ~(1u << v));
                if (progress.more) {
                    static_cast<void>(gic.vcpu(index(v)).post(work_its));
                }
            }
        };
        switched = [this](unsigned v, bool load) {
            load ? direct->vpe(v).load() : direct->vpe(v).save();
            if (!load && direct->vpe(v).pending()) {
                gic.vcpu(index(v)).quiet = false;
            }
        };
        REQUIRE(its->reset());
    }
    ~DirectVm() { CHECK(model.mistakes == 0); }

    /// What the guest finds when it acknowledges: 0 nothing.
    u32 take(unsigned v) {
        enter(v);
        if (model.resident(homes[v]) && loaded(v) && direct->vpe(v).resident()) {
            if (const u32 lpi = model.take(homes[v]); lpi != 0) {
                return lpi;
            }
        }
        const u32 lpi = ack(v);
        if (lpi == 1023) {
            return 0;
        }
        eoi(v, lpi);
        return lpi;
    }
    /// Doorbells that were rung reach EL2. Returns who was woken.
    VcpuMask answer_doorbells() {
        VcpuMask woken = 0;
        for (const u32 lpi : std::exchange(model.rung, {})) {
            woken |= direct->ring(*events, lpi - doorbells);
        }
        kick(woken);
        return woken;
    }
    void message(u32 event) { static_cast<void>(model.message(host_device, event)); }
    bool pends_in_hardware(u32 lpi) {
        bool any = false;
        for (u16 v = 0; v < homes.size(); ++v) {
            any = any || model.pends(static_cast<u16>(first_vpe + v), lpi);
        }
        return any;
    }
    /// In how many places it pends, list registers as last read back.
    unsigned places(u32 lpi) {
        unsigned count = 0;
        for (unsigned v = 0; v < homes.size(); ++v) {
            const u32 n = lpi - gic::first_lpi;
            count += lpis->vcpu(v).pending[n / 32] >> (n % 32) & 1;
            count += model.pends(static_cast<u16>(first_vpe + v), lpi) ? 1 : 0;
            for (unsigned slot = 0; slot < files[v].count(); ++slot) {
                const u64 lr = files[v].peek(slot);
                count +=
                    loaded(v) && gic::IchLr::VINTID::get(lr) == lpi && gic::IchLr::Pending::test(lr) ? 1 : 0;
            }
        }
        return count;
    }
};

} // namespace atl::vgic
