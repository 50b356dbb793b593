// SPDX-License-Identifier: Apache-2.0
// Exceptions that a guest is made to take, and stepping over [el2/inject.hpp]. [DDI0487 D1.3.5
// AArch64.TakeException, D19.2.40 ESR_EL1 encodings, G1.10 ITAdvance]
#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::el2;
namespace Spsr = arch::Spsr;

namespace {

constexpr u64 vbar = 0xffff'8000'0800'0000;
constexpr u64 span_off = 0;
constexpr u64 span_on = u64{1} << 23;
constexpr u64 dssbs = u64{1} << 44;
constexpr u64 ssbs = u64{1} << 12; // SPSR, AArch64 form
constexpr u64 masked = Spsr::EL1h | Spsr::D | Spsr::A | Spsr::I | Spsr::F;
constexpr u64 il = arch::Esr::IL::mask;

} // namespace

TEST_CASE("inject: vector offsets for each state that an exception comes from") {
    for (const u64 kind : {u64{0}, u64{0x80}, u64{0x100}, u64{0x180}}) {
        CHECK(exception_entry(Spsr::EL1t, vbar, span_on, true, kind).pc == vbar + kind);
        CHECK(exception_entry(Spsr::EL1h, vbar, span_on, true, kind).pc == vbar + 0x200 + kind);
        CHECK(exception_entry(Spsr::EL0t, vbar, span_on, true, kind).pc == vbar + 0x400 + kind);
        CHECK(exception_entry(Spsr::M4_AArch32, vbar, span_on, true, kind).pc == vbar + 0x600 + kind);
        CHECK(exception_entry(Spsr::M4_AArch32 | Spsr::T, vbar, span_on, true, kind).pc ==
              vbar + 0x600 + kind);
    }
}

TEST_CASE("inject: PSTATE on entry") {
    for (const u64 mode : {Spsr::EL0t, Spsr::EL1t, Spsr::EL1h}) {
        // IL, SS, UAO, BTYPE and SSBS go; flags and DIT stay; everything is masked; SP_EL1.
        const u64 from =
            mode | Spsr::NZCV | Spsr::DIT | Spsr::UAO | Spsr::IL | Spsr::SS | u64{3} << 10 | ssbs;
        CHECK(exception_entry(from, vbar, span_on, true, 0).pstate == (masked | Spsr::NZCV | Spsr::DIT));
        CHECK(exception_entry(mode, vbar, span_on, true, 0).pstate == masked);
    }
}

TEST_CASE("inject: PAN is set by SPAN = 0 where PAN exists, and kept otherwise") {
    for (const u64 mode : {Spsr::EL0t, Spsr::EL1h, Spsr::M4_AArch32}) {
        CHECK(exception_entry(mode, vbar, span_off, true, 0).pstate == (masked | Spsr::PAN));
        CHECK(exception_entry(mode, vbar, span_off, false, 0).pstate == masked);
        CHECK(exception_entry(mode, vbar, span_on, true, 0).pstate == masked);
        CHECK(exception_entry(mode | Spsr::PAN, vbar, span_on, true, 0).pstate == (masked | Spsr::PAN));
    }
}

TEST_CASE("inject: SSBS follows SCTLR_EL1.DSSBS") {
    CHECK(exception_entry(Spsr::EL0t, vbar, span_on | dssbs, true, 0).pstate == (masked | ssbs));
    CHECK(exception_entry(Spsr::EL0t | ssbs, vbar, span_on, true, 0).pstate == masked);
    CHECK(exception_entry(Spsr::M4_AArch32, vbar, span_on | dssbs, true, 0).pstate == (masked | ssbs));
}

TEST_CASE("inject: from an AArch32 process flags and DIT are kept, T, E, IT, Q and GE are not") {
    const u64 from = Spsr::M4_AArch32 | Spsr::T | u64{1} << 9 | u64{0xfc00} | u64{3} << 25 | u64{1} << 27 |
                     u64{0xf} << 16 | Spsr::NZCV | Spsr::DIT;
    CHECK(exception_entry(from, vbar, span_on, true, 0).pstate == (masked | Spsr::NZCV | Spsr::DIT));
}

TEST_CASE("inject: step over an instruction in AArch64") {
    const u64 state = Spsr::EL1h | Spsr::NZCV | Spsr::PAN | Spsr::I;
    const ExceptionEntry next = step_over(0x1000, state | Spsr::SS | u64{2} << 10, il);
    CHECK(next.pc == 0x1004);
    CHECK(next.pstate == state); // BTYPE and SS are consumed
}

TEST_CASE("inject: step over in AArch32: length by IL, IT advances, SS is consumed") {
    const u64 thumb = Spsr::M4_AArch32 | Spsr::T;
    CHECK(step_over(0x1000, Spsr::M4_AArch32, il).pc == 0x1004);
    CHECK(step_over(0x1000, thumb, 0).pc == 0x1002);
    CHECK(step_over(0x1000, thumb, il).pc == 0x1004);
    CHECK(step_over(0x1000, thumb | Spsr::SS, 0).pstate == thumb);
    const auto with_it = [&](u64 it) { return thumb | (it >> 2) << 10 | (it & 3) << 25; };
    const auto it_of = [](u64 pstate) { return ((pstate >> 10) & 0x3f) << 2 | ((pstate >> 25) & 3); };
    for (u64 it = 0; it < 256; ++it) {
        // ITAdvance(): the last instruction of a block ends it, else the low five bits move up.
        const u64 wanted = (it & 7) == 0 ? 0 : (it & 0xe0) | ((it & 0x1f) << 1 & 0x1f);
        const u64 after = step_over(0x1000, with_it(it), 0).pstate;
        CHECK(it_of(after) == wanted);
        CHECK((after & ~(u64{0xfc00} | u64{3} << 25)) == thumb);
    }
}

TEST_CASE("inject: undefined instruction") {
    test::Machine m;
    m.boot(1);
    Vcpu& v = m.load(m.vcpu(1));
    v.pc = 0xffff'0000'1234;
    v.sys.vbar = vbar;
    v.sys.far = 0xfa4;
    m.hw().here().pstate = Spsr::EL0t | Spsr::NZCV;
    m.exit(v, il); // EC 0: unknown reason
    CHECK(m.last_action == action::inject);
    CHECK(v.pc == vbar + 0x400);
    CHECK(v.sys.esr == il);
    CHECK(v.sys.far == 0xfa4); // not written for this class
    CHECK(v.sys.elr == 0xffff'0000'1234);
    CHECK(v.sys.spsr == (Spsr::EL0t | Spsr::NZCV));
    CHECK(m.vm(1).undefined_injected == 1);
}

TEST_CASE("inject: the external abort's class, IL, WnR and status") {
    test::Machine m;
    m.boot(1);
    Vcpu& v = m.load(m.vcpu(1));
    struct Case {
        u64 esr;
        u64 pstate;
        u64 wanted;
    };
    const u64 data = u64{0x24} << 26 | 0b000111;
    const u64 fetch = u64{0x20} << 26 | 0b000111;
    const Case cases[] = {
        {data | il, Spsr::EL1h, u64{0x25} << 26 | il | 0x10},
        {data | il, Spsr::EL1t, u64{0x25} << 26 | il | 0x10},
        {data | il, Spsr::EL0t, u64{0x24} << 26 | il | 0x10},
        {data | il | 0x40, Spsr::EL0t, u64{0x24} << 26 | il | 0x50},
        {data | il | 0x140, Spsr::EL1h, u64{0x25} << 26 | il | 0x150}, // cache maintenance: CM and WnR
        {fetch | il, Spsr::EL1h, u64{0x21} << 26 | il | 0x10},
        {fetch | il, Spsr::EL0t, u64{0x20} << 26 | il | 0x10},
        {data, Spsr::M4_AArch32 | Spsr::T, u64{0x24} << 26 | il | 0x10}, // ISV = 0 has IL = 1
        {fetch | il, Spsr::M4_AArch32, u64{0x20} << 26 | il | 0x10},
        // A valid syndrome is not passed on: the guest's ISV = 0.
        {data | il | u64{1} << 24 | u64{2} << 22 | u64{7} << 16 | u64{1} << 15, Spsr::EL1h,
         u64{0x25} << 26 | il | 0x10},
        // On a table walk: 0b0101nn.
        {(data & ~u64{3}) | il | 0x80 | 2, Spsr::EL1h, u64{0x25} << 26 | il | 0x16},
        {(fetch & ~u64{3}) | il | 0x80 | 1, Spsr::EL0t, u64{0x20} << 26 | il | 0x15},
    };
    for (const Case& c : cases) {
        CHECK(inject_external_abort(v, c.esr, 0xfa40, c.pstate) == action::inject);
        CHECK(v.exception.esr == c.wanted);
        CHECK(v.exception.far == 0xfa40);
        CHECK(v.exception.has_far);
    }
    CHECK(m.vm(1).aborts_injected == std::size(cases));
}
