// SPDX-License-Identifier: Apache-2.0
// Trapped system registers, whole exits: each one that is answered, by every Rt, and everything else:
// undefined. [DDI0487 D19]
#include "lib/arch/icc.hpp"
#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;

namespace {

u64 esr_of(u32 id, bool read, unsigned rt) {
    using namespace arch::SysregTrap;
    return arch::Esr::EC::of(0x18) | arch::Esr::IL::mask | Op0::of(id >> 14) | Op1::of((id >> 11) & 7) |
           CRn::of((id >> 7) & 15) | CRm::of((id >> 3) & 15) | Op2::of(id & 7) | Rt::of(rt) | (read ? 1 : 0);
}

struct Guest {
    Machine m;
    Vcpu* v = nullptr;

    explicit Guest(InterruptMode interrupts = InterruptMode::virtual_interface)
        : m({{.vcpus = 3, .interrupts = interrupts}}, 3) {
        m.boot(1);
        v = &m.load(m.vcpu(1));
    }
    u64 read(u32 id, unsigned rt = 4) {
        const u64 pc = v->pc;
        m.exit(*v, esr_of(id, true, rt));
        CHECK(v->pc == pc + 4);
        return v->reg(rt);
    }
    void write(u32 id, u64 value, unsigned rt = 4) {
        const u64 pc = v->pc;
        v->x[rt] = value;
        m.exit(*v, esr_of(id, false, rt));
        CHECK(v->pc == pc + 4);
    }
    bool undefined(u32 id, bool is_read) {
        const u64 before = m.vm(1).undefined_injected;
        v->x[4] = 0;
        m.exit(*v, esr_of(id, is_read, 4));
        return m.vm(1).undefined_injected == before + 1;
    }
};

using arch::sysreg_id;

} // namespace

TEST_CASE("sysreg: every ID register reads as sanitised, into any register, and cannot be written") {
    Guest g;
    for (u32 crm = 0; crm < 8; ++crm) {
        for (u32 op2 = 0; op2 < 8; ++op2) {
            const u32 id = sysreg_id(3, 0, 0, crm, op2);
            g.m.vm(1).id_registers[crm * 8 + op2] = 0xabc0'0000'0000'0000 | crm << 8 | op2;
            CHECK(g.read(id, (crm * 8 + op2) % 31) == (0xabc0'0000'0000'0000 | crm << 8 | op2));
            CHECK(g.undefined(id, false));
        }
    }
    g.v->x[30] = 5;
    CHECK(g.read(sysreg_id(3, 0, 0, 4, 0), 31) == 0); // XZR swallows it
}

TEST_CASE("sysreg: SGIs reach the vCPUs that they name, and cannot be read") {
    Guest g;
    Machine& m = g.m;
    for (unsigned i = 1; i < 3; ++i) {
        m.call(m.vcpu(1), {abi::psci_cpu_on | abi::smccc_64, i, 0x4000'0000, 0});
    }
    m.settle();
    const auto sent_to = [&](u64 value) {
        for (unsigned i = 0; i < 3; ++i) {
            m.hw().cpu[i].kicked = false;
        }
        m.on(0);
        g.v->x[7] = value;
        m.handle(*g.v, esr_of(sysreg_id(3, 0, 12, 11, 5), false, 7));
        return (m.hw().cpu[1].kicked ? 2 : 0) | (m.hw().cpu[2].kicked ? 4 : 0) |
               (m.vcpu(1).gic->needs_flush() ? 1 : 0);
    };
    for (unsigned i = 0; i < 3; ++i) {
        const Ipa frame = guest_map::gicr_base + i * guest_map::gicr_stride;
        m.write(m.vcpu(1), guest_map::gicd.base, 3);
        m.write(m.vcpu(1), frame + 0x1'0080, ~u32{0});
        m.write(m.vcpu(1), frame + 0x1'0100, 0xffff);
    }
    m.settle();
    m.load(m.vcpu(1));
    CHECK(sent_to(u64{1} << 24 | 0b110) == 0b110);
    m.settle();
    CHECK(sent_to(u64{2} << 24 | 0b010) == 0b010);
    m.settle();
    CHECK(sent_to(u64{3} << 24 | u64{1} << 40) == 0b110); // all but self
    m.settle();
    CHECK(sent_to(u64{4} << 24 | 0b001) == 0b001); // to itself: no kick, a flush before it runs on
    m.settle();
    CHECK(!m.vcpu(1).gic->needs_flush());
    CHECK(sent_to(u64{5} << 24 | 0xfff8) == 0);               // nobody
    CHECK(sent_to(u64{5} << 24 | u64{1} << 16 | 0b111) == 0); // Aff1 = 1: nobody
    CHECK(sent_to(u64{5} << 24 | u64{1} << 44 | 0b111) == 0); // RS = 1: nobody
    for (const u32 op2 : {5u, 6u, 7u}) {
        CHECK(g.undefined(sysreg_id(3, 0, 12, 11, op2), true));
    }
    g.write(sysreg_id(3, 0, 12, 11, 6), 0);
    g.write(sysreg_id(3, 0, 12, 11, 7), 0);
    CHECK(g.undefined(sysreg_id(3, 0, 12, 11, 1), true)); // ICC_DIR_EL1 is write only
    g.write(sysreg_id(3, 0, 12, 11, 1), 1023);
}

TEST_CASE(
    "sysreg: a CPU interface in software: an interrupt from its SGI to its end, and what is not there") {
    Guest g(InterruptMode::vi);
    Machine& m = g.m;
    const Ipa frame = guest_map::gicr_base + 0x1'0000;
    m.write(*g.v, guest_map::gicd.base, 3);
    m.write(*g.v, frame + 0x80, ~u32{0});
    m.write(*g.v, frame + 0x100, 0xffff);
    m.write(*g.v, frame + 0x404, 0xa0a0a0a0);
    g.write(gic::icc::pmr, 0xff, 3);
    CHECK(g.read(gic::icc::pmr, 12) == 0xf8);
    g.write(gic::icc::igrpen1, 1);
    const vgic::LrFile& lrs = m.hw().here().lrs;
    CHECK(!lrs.shown.irq);
    g.write(gic::icc::sgi1r, u64{5} << 24 | 1);
    CHECK(lrs.shown.irq);
    CHECK(g.read(gic::icc::hppir1) == 5);
    CHECK(g.read(gic::icc::iar1, 30) == 5);
    CHECK(!lrs.shown.irq);
    CHECK(g.read(gic::icc::rpr) == 0xa0);
    CHECK(m.read(*g.v, frame + 0x300) == 1u << 5); // GICR_ISACTIVER0
    g.write(gic::icc::eoir1, 5);
    CHECK(g.read(gic::icc::rpr) == 0xff);
    CHECK(m.read(*g.v, frame + 0x300) == 0);
    for (const u32 id :
         {gic::icc::iar0, gic::icc::iar1, gic::icc::hppir0, gic::icc::rpr, gic::icc::ap0r0 + 1}) {
        CHECK(g.undefined(id, false));
    }
    for (const u32 id :
         {gic::icc::eoir0, gic::icc::eoir1, gic::icc::dir, gic::icc::ap1r0 + 1, gic::icc::rpr + 1}) {
        CHECK(g.undefined(id, true));
    }
    CHECK(g.read(gic::icc::sre) == 7);
    // Elsewhere none of these traps: who comes here all the same finds nothing.
    Guest other;
    CHECK(other.undefined(gic::icc::iar1, true));
    CHECK(other.undefined(gic::icc::pmr, false));
}

TEST_CASE("sysreg: the physical timer's three views") {
    Guest g;
    constexpr u32 tval = sysreg_id(3, 3, 14, 2, 0), ctl = sysreg_id(3, 3, 14, 2, 1),
                  cval = sysreg_id(3, 3, 14, 2, 2);
    const u64 now = g.m.hw().counter;
    CHECK(g.read(ctl) == 0);
    g.write(cval, now + 0x1'0000'0010);
    CHECK(g.read(cval) == now + 0x1'0000'0010);
    CHECK(g.read(tval) == 0x10); // 32 bits
    g.write(tval, 0xffff'fff0);  // signed: in the past
    CHECK(g.read(cval) == now - 16);
    g.write(ctl, 0xff);
    CHECK(g.read(ctl) == 7); // ENABLE, IMASK, ISTATUS
    CHECK(g.m.hw().cpu[0].timer == ~u64{0});
    g.write(ctl, 0);
    g.write(cval, ~u64{0});
    g.write(ctl, 1);
    CHECK(g.read(ctl) == 1);
    const u64 pc = g.v->pc;
    g.v->x[4] = 3;
    g.m.exit(*g.v, esr_of(ctl, false, 31)); // XZR: off
    CHECK(g.v->pc == pc + 4);
    CHECK(g.read(ctl) == 0);
}

TEST_CASE("sysreg: ACTLR reads 0 and ignores writes; set/way maintenance does nothing") {
    Guest g;
    constexpr u32 actlr = sysreg_id(3, 0, 1, 0, 1);
    g.write(actlr, ~u64{0});
    CHECK(g.read(actlr) == 0);
    for (const u32 crm : {6u, 10u, 14u}) {
        g.write(sysreg_id(1, 0, 7, crm, 2), 0x1234);
    }
    CHECK(g.undefined(sysreg_id(1, 0, 7, 6, 3), false));
}

TEST_CASE("sysreg: debug registers") {
    Guest g;
    constexpr u32 oslar = sysreg_id(2, 0, 1, 0, 4), oslsr = sysreg_id(2, 0, 1, 1, 4);
    CHECK(g.read(oslsr) == 0xa); // implemented, locked out of reset
    g.write(oslar, 0);
    CHECK(g.read(oslsr) == 8);
    g.write(oslar, 1);
    CHECK(g.read(oslsr) == 0xa);
    CHECK(g.undefined(oslar, true));
    CHECK(g.undefined(oslsr, false));
    for (const u32 id : {sysreg_id(2, 0, 1, 3, 4), sysreg_id(2, 0, 1, 4, 4), sysreg_id(2, 0, 0, 2, 0),
                         sysreg_id(2, 3, 0, 4, 0), sysreg_id(2, 3, 0, 5, 0), sysreg_id(2, 0, 0, 6, 2),
                         sysreg_id(2, 0, 7, 8, 6), sysreg_id(2, 0, 7, 9, 6)}) {
        CHECK(g.read(id) == 0);
        g.write(id, ~u64{0});
        CHECK(g.read(id) == 0);
    }
    for (const u32 id : {sysreg_id(2, 0, 1, 0, 0), sysreg_id(2, 3, 0, 1, 0), sysreg_id(2, 0, 7, 14, 6)}) {
        CHECK(g.read(id) == 0);
    }
    SUBCASE("a breakpoint register is made live and the access repeated") {
        const u64 pc = g.v->pc;
        g.m.exit(*g.v, esr_of(sysreg_id(2, 0, 0, 0, 4), false, 4)); // DBGBVR0_EL1
        CHECK(g.v->pc == pc);
        CHECK(g.m.hw().debug_entered == 1);
        CHECK(g.v->debug_live);
        // Trapped although live: nothing that there is.
        CHECK(g.undefined(sysreg_id(2, 0, 0, 0, 4), false));
    }
    SUBCASE("MDSCR likewise") {
        g.m.exit(*g.v, esr_of(sysreg_id(2, 0, 0, 2, 2), true, 4));
        CHECK(g.m.hw().debug_entered == 1);
    }
    CHECK(g.undefined(sysreg_id(2, 1, 0, 0, 1), true)); // trace
}

TEST_CASE("sysreg: whatever else traps is undefined, and only once") {
    Guest g;
    for (const u32 id :
         {sysreg_id(3, 3, 9, 12, 0), sysreg_id(3, 3, 9, 13, 0), sysreg_id(3, 0, 9, 14, 1), // PMU
          sysreg_id(3, 0, 9, 9, 0), sysreg_id(3, 0, 10, 4, 3), sysreg_id(3, 0, 5, 3, 0),   // SPE, LOR, RAS
          sysreg_id(3, 0, 15, 0, 0), sysreg_id(3, 1, 11, 0, 2), sysreg_id(3, 3, 13, 2, 0), // IMP DEF, AMU
          sysreg_id(3, 0, 0, 8, 0), sysreg_id(1, 0, 7, 8, 0)}) {
        CHECK(g.undefined(id, true));
        CHECK(g.undefined(id, false));
    }
}

TEST_CASE("sysreg: every encoding there is, read and written, ends in a step, a repeat or an exception") {
    Guest g;
    for (u32 id = 0; id < 1u << 16; id += 7) { // 7 is coprime to every field's range
        for (const bool is_read : {true, false}) {
            g.v = &g.m.load(g.m.vcpu(1));
            g.v->x[4] = id * 0x1'0001;
            const u64 pc = g.v->pc = 0x4000'2000;
            const bool live = g.v->debug_live;
            const Action action = g.m.exit(*g.v, esr_of(id, is_read, 4));
            const bool stepped = action == action::advance && g.v->pc == pc + 4;
            const bool repeated = action == action::resume && !live && g.v->debug_live;
            const bool injected = action == action::inject;
            CHECK((stepped || repeated || injected));
        }
    }
}
