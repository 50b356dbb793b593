// SPDX-License-Identifier: Apache-2.0
// GICV in a guest's map [el2/virtual_interface.hpp]: all but DIR, which traps.
#include "el2/virtual_interface.hpp"

#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;

namespace {

constexpr Ipa gicc = guest_map::gicc.base;
constexpr Ipa dir = gicc + 0x1000;

bool mapped_to(Machine& m, unsigned id, Ipa page, u64 pa) {
    const auto at = m.vm(id).space.translate(page);
    return at.ok() && at->value == pa;
}

/// A guest's driver: everything on, group 0, the CPU interface with EOImode = 1.
void open(Machine& m, Vcpu& v) {
    m.write(v, guest_map::gicd.base, 1);
    for (u32 spi = 40; spi < 48; ++spi) {
        m.write(v, guest_map::gicd.base + 0x400 + spi, 0xf0 - 8 * (spi - 40), 1);
        m.write(v, guest_map::gicd.base + 0x800 + spi, 1, 1);
    }
    m.write(v, guest_map::gicd.base + 0x104, 0xff00);
    m.hw().here().lrs.set_vmcr(gic::IchVmcr::VENG0::mask | gic::IchVmcr::VEOIM::mask |
                               gic::IchVmcr::VPMR::of(0xf8) | gic::IchVmcr::VBPR0::of(2));
}

} // namespace

TEST_CASE("virtual interface: GICV where the guest expects GICC, without DIR, and no redistributors") {
    Machine m({VmSpec{.gicv2 = true}});
    m.boot(1);
    CHECK(mapped_to(m, 1, gicc, 0x0804'0000));
    CHECK(!m.vm(1).space.walk(dir).mapped);
    const auto walk = m.vm(1).space.walk(gicc);
    CHECK((walk.attributes.read && walk.attributes.write && !walk.attributes.execute));
    CHECK(walk.attributes.memory == stage2::MemoryType::device);
    Vcpu& v = m.load(m.vcpu(1));
    CHECK(m.read(v, guest_map::gicd.base + 0xfe8) == 0x2b); // GICD_PIDR2
    m.access(v, guest_map::gicr_base, false, 4, 3);
    CHECK(m.vm(1).aborts_injected == 1);
}

TEST_CASE("virtual interface: nothing of it with a GICv3") {
    Machine m;
    m.boot(1);
    CHECK(!m.vm(1).space.walk(gicc).mapped);
    m.access(m.load(m.vcpu(1)), dir, true, 4, 3);
    CHECK(m.vm(1).aborts_injected == 1);
}

TEST_CASE("virtual interface: more active interrupts than list registers: DIR ends the right one") {
    Machine m({VmSpec{.vcpus = 1, .gicv2 = true}}, 1);
    m.boot(1);
    Vcpu& v = m.load(m.vcpu(1));
    open(m, v);
    vgic::LrFile& lrs = m.hw().here().lrs;
    for (u32 spi = 40; spi < 46; ++spi) {
        kick_vcpus(m.vm(1), m.vm(1).gic.set_line(Intid{spi}, true));
        m.enter(0);
        CHECK(lrs.acknowledge(false) == spi);
        kick_vcpus(m.vm(1), m.vm(1).gic.set_line(Intid{spi}, false));
        m.enter(0);
    }
    for (u32 spi = 46; spi-- > 40;) {
        lrs.eoi(spi, false);
    }
    u32 left = 0x3f00;
    for (const u32 spi : {42u, 40u, 45u, 41u, 44u, 43u}) {
        m.write(v, dir, spi);
        left &= ~(1u << (spi - 32));
        CHECK(m.read(v, guest_map::gicd.base + 0x304) == left);
    }
    CHECK(m.read(v, dir) == 0);
    m.write(v, dir + 4, 40); // nothing is there
    CHECK(m.vm(1).aborts_injected == 0);
    stop_vm(m.vm(1), AfterStop::restart, false);
    m.settle();
    CHECK(mapped_to(m, 1, gicc, 0x0804'0000));
    CHECK(!m.vm(1).space.walk(dir).mapped);
}
