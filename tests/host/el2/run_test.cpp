// SPDX-License-Identifier: Apache-2.0
// Timers and the slice of one pCPU [el2/run.hpp]: a deadline is never late, a level is taken back, a spinning
// guest gives way, a parked vCPU wakes. [DDI0487 D12]
#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;

namespace {

constexpr u64 wfi = u64{1} << 26 | arch::Esr::IL::mask;
constexpr u64 wfe = wfi | 1;
constexpr u64 timer_on = 1;
constexpr Intid vtimer_ppi{27};
constexpr Intid ptimer_ppi{30};

u64 sysreg_esr(u32 id, bool read, unsigned rt) {
    using namespace arch::SysregTrap;
    return arch::Esr::EC::of(0x18) | arch::Esr::IL::mask | Op0::of(id >> 14) | Op1::of((id >> 11) & 7) |
           CRn::of((id >> 7) & 15) | CRm::of((id >> 3) & 15) | Op2::of(id & 7) | Rt::of(rt) | (read ? 1 : 0);
}
constexpr u32 cntp_ctl = arch::sysreg_id(3, 3, 14, 2, 1);
constexpr u32 cntp_cval = arch::sysreg_id(3, 3, 14, 2, 2);

/// What a guest's GIC driver does for its two timers.
void open_timers(Machine& m, Vcpu& v) {
    const Ipa sgi_frame = guest_map::gicr_base + v.index.value * guest_map::gicr_stride + 0x1'0000;
    m.write(v, guest_map::gicd.base, 0x3);
    m.write(v, guest_map::gicr_base + v.index.value * guest_map::gicr_stride + 0x14, 0); // GICR_WAKER
    m.write(v, sgi_frame + 0x80, ~u32{0});                                               // IGROUPR0
    m.write(v, sgi_frame + 0x100, 1u << 27 | 1u << 30);                                  // ISENABLER0
    m.load(v);
    m.hw().here().lrs.set_vmcr(gic::IchVmcr::VENG1::mask | gic::IchVmcr::VPMR::of(0xf8) |
                               gic::IchVmcr::VBPR1::of(3));
}

bool pending_in_lr(Machine& m, unsigned cpu, Intid intid) {
    for (unsigned i = 0; i < 4; ++i) {
        const u64 lr = m.hw().cpu[cpu].lrs.peek(i);
        if (gic::IchLr::VINTID::get(lr) == intid.value && gic::IchLr::Pending::test(lr)) {
            return true;
        }
    }
    return false;
}

} // namespace

TEST_CASE("run: a parked vCPU wakes at its virtual timer, not later, and the EL2 timer is taken back") {
    Machine m({{.vcpus = 1}, {.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.vcpu(1);
    open_timers(m, a);
    a.sys.cntv_ctl = timer_on;
    a.sys.cntv_cval = m.hw().counter - a.vm->cntvoff + 700;
    const u64 due = m.hw().counter + 700;
    // vm2 sleeps for ever, vm1 until its timer.
    m.exit(m.load(m.vcpu(2)), wfi);
    m.exit(m.load(a), wfi);
    CHECK(m.cpu(0).current == nullptr);
    CHECK(a.state == SchedState::parked);
    CHECK(m.hw().cpu[0].timer == due);
    m.pass(699);
    CHECK(m.cpu(0).current == nullptr);
    m.pass(1);
    CHECK(m.cpu(0).current == &a);
    CHECK(pending_in_lr(m, 0, vtimer_ppi));
    CHECK(!m.hw().timer_asserted(0));
    CHECK(m.hw().cpu[0].timer == ~u64{0});
}

TEST_CASE("run: a timer that is due already ends the WFI at once") {
    Machine m({{.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.vcpu(1);
    open_timers(m, a);
    a.sys.cntv_ctl = timer_on;
    a.sys.cntv_cval = 0;
    m.exit(a, wfi);
    CHECK(m.cpu(0).current == &a);
    CHECK(pending_in_lr(m, 0, vtimer_ppi));
}

TEST_CASE("run: the masked or disabled timer never wakes") {
    for (const u64 ctl : {u64{0}, u64{3}, u64{2}}) {
        Machine m({{.vcpus = 1}}, 1);
        m.boot_all();
        Vcpu& a = m.vcpu(1);
        open_timers(m, a);
        a.sys.cntv_ctl = ctl;
        a.sys.cntv_cval = m.hw().counter - a.vm->cntvoff + 10;
        m.exit(a, wfi);
        m.pass(1000);
        CHECK(m.cpu(0).current == nullptr);
        CHECK(m.hw().cpu[0].timer == ~u64{0});
    }
}

TEST_CASE("run: the physical timer interrupts a running vCPU, wakes a parked one, and can be silenced") {
    Machine m({{.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.vcpu(1);
    open_timers(m, a);
    a.x[3] = m.hw().counter + 500;
    m.exit(a, sysreg_esr(cntp_cval, false, 3));
    a.x[3] = timer_on;
    m.exit(a, sysreg_esr(cntp_ctl, false, 3));
    CHECK(m.hw().cpu[0].timer == m.hw().counter + 500);
    SUBCASE("while it runs") {
        m.pass(499);
        CHECK(!pending_in_lr(m, 0, ptimer_ppi));
        m.pass(1);
        CHECK(pending_in_lr(m, 0, ptimer_ppi));
        m.exit(a, sysreg_esr(cntp_ctl, true, 19));
        CHECK(a.x[19] == 5); // ENABLE and ISTATUS
    }
    SUBCASE("while it is parked") {
        m.exit(a, wfi);
        CHECK(m.cpu(0).current == nullptr);
        m.pass(499);
        CHECK(m.cpu(0).current == nullptr);
        m.pass(1);
        CHECK(m.cpu(0).current == &a);
        CHECK(pending_in_lr(m, 0, ptimer_ppi));
    }
    SUBCASE("switched off in time") {
        a.x[3] = 0;
        m.exit(a, sysreg_esr(cntp_ctl, false, 3));
        m.pass(2000);
        CHECK(!pending_in_lr(m, 0, ptimer_ppi));
        CHECK(m.hw().cpu[0].timer == ~u64{0});
    }
    SUBCASE("CPU_OFF and CPU_ON: off, as out of reset") {
        a.ptimer.write_cval(0);
        reset_vcpu_registers(a, 0, 0);
        CHECK(a.ptimer.read_ctl(m.hw().counter) == 0);
        CHECK(a.ptimer_deadline == ~u64{0});
    }
}

TEST_CASE("run: the slice ends only when somebody waits, and then the others run in turn") {
    Machine m({{.vcpus = 1}, {.vcpus = 1}, {.vcpus = 1}}, 1);
    m.boot(1);
    CHECK(m.hw().cpu[0].timer == ~u64{0}); // alone: no slice, no traps
    CHECK((m.hw().cpu[0].hcr & (arch::HcrEl2::TWI::mask | arch::HcrEl2::TWE::mask)) == 0);
    m.boot(2);
    m.boot(3);
    CHECK((m.hw().cpu[0].hcr & arch::HcrEl2::TWI::mask) != 0);
    CHECK((m.hw().cpu[0].hcr & arch::HcrEl2::TWE::mask) != 0);
    unsigned ran[4] = {};
    for (unsigned slice = 0; slice < 30; ++slice) {
        REQUIRE(m.cpu(0).current != nullptr);
        ++ran[m.cpu(0).current->vm->id.value];
        m.pass(m.world.slice_ticks);
    }
    CHECK(ran[1] == 10);
    CHECK(ran[2] == 10);
    CHECK(ran[3] == 10);
}

TEST_CASE("run: WFE hands the CPU on without sleeping") {
    Machine m({{.vcpus = 1}, {.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.load(m.vcpu(1));
    m.exit(a, wfe);
    CHECK(m.cpu(0).current == &m.vcpu(2));
    CHECK(a.state == SchedState::ready);
    m.exit(m.vcpu(2), wfe | 2); // WFET
    CHECK(m.cpu(0).current == &a);
}

TEST_CASE("run: a vCPU that has the CPU to itself again loses traps and slice") {
    Machine m({{.vcpus = 1}, {.vcpus = 1}}, 1);
    m.boot_all();
    m.exit(m.load(m.vcpu(2)), wfi);
    CHECK(m.cpu(0).current == &m.vcpu(1));
    CHECK((m.hw().cpu[0].hcr & arch::HcrEl2::TWI::mask) == 0);
    CHECK(m.cpu(0).slice_end == ~u64{0});
    // EL2's timer is not taken back for that, and comes once more at most.
    const u64 writes = m.hw().cpu[0].timer_writes;
    m.pass(100 * m.world.slice_ticks);
    CHECK(m.cpu(0).current == &m.vcpu(1));
    CHECK(m.hw().cpu[0].timer == ~u64{0});
    CHECK(m.hw().cpu[0].timer_writes <= writes + 1);
}

TEST_CASE("run: two vCPUs that wake each other do not program EL2's timer at each switch") {
    Machine m({{.vcpus = 1}, {.vcpus = 1}}, 1);
    m.boot_all();
    m.exit(m.load(m.vcpu(2)), wfi);
    const u64 writes = m.hw().cpu[0].timer_writes;
    for (unsigned i = 0; i < 100; ++i) {
        Vcpu& running = *m.cpu(0).current;
        Vcpu& other = m.vcpu(running.vm->id.value == 1 ? 2 : 1);
        kick_vcpus(*other.vm, other.vm->gic.pulse_ppi(other.index, {20}));
        m.enter(0);
        CHECK(m.hw().cpu[0].hcr == (m.hw().cpu[0].hcr | arch::HcrEl2::TWI::mask));
        m.exit(running, wfi);
        CHECK(m.cpu(0).current == &other);
        m.hw().counter += 10;
    }
    CHECK(m.hw().cpu[0].timer_writes <= writes + 1);
    // Who does not give the CPU back loses it at the end of a slice all the same.
    Vcpu& running = *m.cpu(0).current;
    Vcpu& other = m.vcpu(running.vm->id.value == 1 ? 2 : 1);
    kick_vcpus(*other.vm, other.vm->gic.pulse_ppi(other.index, {20}));
    m.enter(0);
    m.pass(m.world.slice_ticks);
    CHECK(m.cpu(0).current == &other);
}

TEST_CASE("run: who has had its slice alone gives way at once to who wakes") {
    Machine m({{.vcpus = 1}, {.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.vcpu(1);
    Vcpu& b = m.vcpu(2);
    const auto wake_a = [&] { kick_vcpus(m.vm(1), m.vm(1).gic.pulse_ppi(a.index, {20})); };
    m.exit(m.load(a), wfi);
    REQUIRE(m.cpu(0).current == &b);
    m.pass(m.world.slice_ticks / 4);
    wake_a();
    m.enter(0);
    m.pass(m.world.slice_ticks / 2);
    CHECK(m.cpu(0).current == &b); // its slice is not over
    m.pass(m.world.slice_ticks / 4);
    CHECK(m.cpu(0).current == &a);
    m.exit(a, wfi);
    REQUIRE(m.cpu(0).current == &b);
    m.pass(m.world.slice_ticks * 5);
    CHECK(m.cpu(0).current == &b);
    wake_a();
    m.enter(0);
    m.fire_timers();
    CHECK(m.cpu(0).current == &a);
}

TEST_CASE("run: where the GIC forgets levels, EL2's timer comes while the guest's timer is held, and not for "
          "ever") {
    Machine m({{.vcpus = 1}}, 1);
    m.boot_all();
    Vcpu& a = m.vcpu(1);
    watch_timer(m.cpu(0), a);
    CHECK(m.hw().cpu[0].timer == ~u64{0}); // a GIC that does not: alone, no timer

    m.world.recheck_ticks = m.world.slice_ticks;
    watch_timer(m.cpu(0), a);
    CHECK(m.hw().cpu[0].timer == m.hw().counter + m.world.slice_ticks);
    // The guest is still in its handler: again, until it has ended the interrupt.
    m.hw().cpu[0].timer_is_held = true;
    for (unsigned round = 0; round < 3; ++round) {
        m.pass(m.world.slice_ticks);
        m.fire_timers();
        CHECK(m.hw().cpu[0].timer == m.hw().counter + m.world.slice_ticks);
    }
    m.hw().cpu[0].timer_is_held = false;
    m.pass(m.world.slice_ticks);
    m.fire_timers();
    CHECK(m.hw().cpu[0].timer == ~u64{0});
}

TEST_CASE("run: random timers: each wake-up happens exactly when due") {
    u64 seed = 0x1234'5677;
    const auto random = [&seed](u64 below) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (seed >> 33) % below;
    };
    Machine m({{.vcpus = 4}, {.vcpus = 3}, {.vcpus = 1}}, 2);
    m.boot_all();
    for (unsigned id = 1; id <= 3; ++id) {
        for (unsigned i = 1; i < m.vm(id).vcpu_count; ++i) {
            m.call(m.vcpu(id), {abi::psci_cpu_on | abi::smccc_64, i, 0x4000'0000, 0});
            m.settle();
        }
        for (unsigned i = 0; i < m.vm(id).vcpu_count; ++i) {
            open_timers(m, m.vcpu(id, i));
        }
    }
    std::map<Vcpu*, u64> due;
    for (unsigned round = 0; round < 1500; ++round) {
        for (unsigned c = 0; c < 2; ++c) {
            Vcpu* const v = m.cpu(c).current;
            if (v == nullptr) {
                continue;
            }
            if (due.count(v) != 0) {
                CHECK(m.hw().counter >= due[v]); // not early
                due.erase(v);
            }
            const u64 span = random(3000);
            v->sys.cntv_ctl = timer_on;
            v->sys.cntv_cval = m.hw().counter - v->vm->cntvoff + span;
            due[v] = m.hw().counter + span;
            m.on(c);
            // The guest acknowledged what it had.
            for (unsigned i = 0; i < 4; ++i) {
                m.hw().cpu[c].lrs.write(i, 0);
            }
            m.hw().cpu[c].lrs.physical_active = false;
            m.exit(*v, wfi);
        }
        m.settle();
        // Nobody who is due sleeps on.
        for (const auto& [v, when] : due) {
            CHECK(!(v->state == SchedState::parked && when <= m.hw().counter));
        }
        m.pass(1 + random(200));
        for (const auto& [v, when] : due) {
            CHECK(!(v->state == SchedState::parked && when <= m.hw().counter));
        }
    }
}
