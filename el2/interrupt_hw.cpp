// SPDX-License-Identifier: Apache-2.0
// Physical interrupts, from the vector to whoever they are for. Two copies, one for each GIC: el2/vectors.S has a table for
// each, and boot chooses; so no interrupt asks which it is. Own pCPU, interrupts masked. [IHI0048B §3.2], [IHI0069 §4.1]
#include "el2/interrupt_hw.hpp"

#include "el2/cpu_hw.hpp"
#include "el2/dispatch.hpp"
#include "el2/panic.hpp"
#include "el2/passthrough.hpp"
#include "el2/run.hpp"
#include "el2/world.hpp"
#include "vgic/gic_hw.hpp"

namespace atl::el2 {
namespace {

/// An interrupt of a GICv3, acknowledged.
class TakenV3 {
  public:
    explicit TakenV3(PerCpu&) : intid(vgic::GicV3::acknowledge()) {}
    void drop_priority() const { vgic::GicV3::drop_priority(intid); }
    void deactivate() const { vgic::GicV3::deactivate(intid); }
    static void inject_timer(Vcpu& vcpu, PerCpu& cpu) {
        vgic::inject_timer(vcpu.vm->gic, vcpu.index, *cpu.list_registers);
    }
    Intid intid;
};

/// The same of a GICv2. What ends an SGI must name its sender.
class TakenV2 {
  public:
    explicit TakenV2(PerCpu& cpu) : TakenV2(cpu.world->gic->v2()) {}
    void drop_priority() const { gic_->drop_priority(iar_); }
    void deactivate() const { gic_->deactivate(iar_); }
    static void inject_timer(Vcpu& vcpu, PerCpu& cpu) {
        vgic::v2::inject_timer(vcpu.vm->gic, vcpu.index, *cpu.list_registers);
        watch_timer(cpu, vcpu);
    }

  private:
    explicit TakenV2(const vgic::GicV2& gic)
        : gic_(&gic), iar_(gic.acknowledge()), intid{static_cast<u32>(gic::GiccIar::INTID::get(iar_))} {}
    const vgic::GicV2* gic_;
    u32 iar_;

  public:
    Intid intid;
};

/// Somebody has sent this pCPU an SGI: interrupts for the loaded vCPU are in its work word, the rest is
/// looked for when it says so. Exchange: what was noted before a flag that is consumed here is seen by who
/// acts on it.
void on_kick(PerCpu& cpu) {
    if (__atomic_load_n(&cpu.attention, __ATOMIC_RELAXED) != 0 &&
        __atomic_exchange_n(&cpu.attention, 0U, __ATOMIC_ACQUIRE) != 0) {
        cpu.work_pending |= work::retarget;
    }
}

/// An interrupt that EL2 takes for itself. `loaded`: nullptr while the pCPU is idle. Priority is dropped and
/// the interrupt deactivated here; the guest's own timer is the exception.
template <class Taken>
void handle_interrupt(PerCpu& cpu, Vcpu* loaded, Taken taken) {
    World& world = *cpu.world;
    const Intid intid = taken.intid;
    if (intid.value >= gic::first_special) {
        if (intid.value >= gic::first_lpi) { // LPIs have no active state: nothing to deactivate
            taken.drop_priority();
            on_lpi(world, intid.value, loaded);
        }
        return; // or spurious: it went away meanwhile
    }
    taken.drop_priority();
    if (intid.value == kick_sgi) {
        on_kick(cpu);
    } else if (intid.value == world.intids.virtual_timer && loaded != nullptr) {
        Taken::inject_timer(*loaded, cpu);
        return; // the guest deactivates it
    } else if (intid.value == world.intids.el2_timer) {
        on_timer(cpu, loaded);
    } else if (intid.value == world.intids.maintenance && loaded != nullptr) {
        kick_vcpus(*loaded->vm, vgic::maintenance(loaded->vm->gic, loaded->index, *cpu.list_registers));
    } else if (intid.value == world.intids.uart) {
        world.console.on_interrupt(world);
    } else if (intid.value == stop_sgi) {
        stop_for_panic();
    } else if (intid.value == world.intids.smmu_event) {
        on_smmu_error(world); // an overflow is told there, and is to be counted before the queue is emptied
        on_smmu_event(world);
    } else if (intid.value == world.intids.smmu_error) {
        on_smmu_error(world);
    } else if (on_host_line(world, intid, loaded)) {
        return; // the guest's deactivation lets it go
    }
    taken.deactivate();
}

template <class Taken>
[[gnu::noinline]] Action other_interrupt(PerCpu& cpu, Vcpu& vcpu, Taken taken) {
    handle_interrupt(cpu, &vcpu, taken);
    return action::resume;
}

template <class Taken>
[[gnu::always_inline]] inline Action on_irq(GuestFrame* frame) {
    Vcpu& vcpu = *static_cast<Vcpu*>(frame);
    PerCpu& cpu = *vcpu.cpu;
    ++vcpu.irq_exits;
    const Taken taken(cpu);
    record(cpu, vcpu, ~u64{taken.intid.value}, ATOLL_MRS(elr_el2));
    if (taken.intid.value == kick_sgi) {
        taken.drop_priority();
        taken.deactivate();
        on_kick(cpu);
        return action::resume;
    }
    if (taken.intid.value == cpu.world->intids.virtual_timer) [[likely]] {
        taken.drop_priority();
        Taken::inject_timer(vcpu, cpu);
        return action::resume;
    }
    return other_interrupt(cpu, vcpu, taken);
}

} // namespace

extern "C" Action el2_handle_irq(GuestFrame* frame) {
    return on_irq<TakenV3>(frame);
}

extern "C" Action el2_handle_irq_gicv2(GuestFrame* frame) {
    return on_irq<TakenV2>(frame);
}

void take_interrupt(PerCpu& cpu, Vcpu* loaded) {
    if (cpu.world->gic->is_v2()) {
        handle_interrupt(cpu, loaded, TakenV2(cpu));
    } else {
        handle_interrupt(cpu, loaded, TakenV3(cpu));
    }
}

} // namespace atl::el2
