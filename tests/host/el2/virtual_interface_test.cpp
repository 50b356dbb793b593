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

TEST_CASE("virtual interface: in software: nothing is mapped, and every access to GICC is answered") {
    Machine m({VmSpec{.vcpus = 1, .gicv2 = true, .interrupts = InterruptMode::vi}}, 1);
    m.boot(1);
    CHECK(!m.vm(1).space.walk(gicc).mapped);
    Vcpu& v = m.load(m.vcpu(1));
    m.write(v, guest_map::gicd.base, 1);
    for (u32 spi = 40; spi < 42; ++spi) {
        m.write(v, guest_map::gicd.base + 0x400 + spi, 0xa0 - 0x20 * (spi - 40), 1);
        m.write(v, guest_map::gicd.base + 0x800 + spi, 1, 1);
    }
    m.write(v, guest_map::gicd.base + 0x104, 0x300);
    m.write(v, gicc, 1 | 1 << 9); // EOImode
    m.write(v, gicc + 4, 0xff);
    CHECK(m.read(v, gicc + 4) == 0xf8);
    CHECK(m.read(v, gicc + 4, 1) == 0); // words only
    m.write(v, gicc + 4, 0, 1);
    CHECK(m.read(v, gicc + 4) == 0xf8);
    const vgic::LrFile& lrs = m.hw().here().lrs;
    CHECK(!lrs.shown.irq);
    m.write(v, guest_map::gicd.base + 0x204, 0x300); // GICD_ISPENDR1
    CHECK(lrs.shown.irq);
    CHECK(m.read(v, gicc + 0xc) == 41);
    CHECK(!lrs.shown.irq);
    CHECK(m.read(v, gicc + 0x14) == 0x80);
    m.write(v, gicc + 0x10, 41);
    CHECK(lrs.shown.irq); // the priority is dropped
    CHECK(m.read(v, gicc + 0xc) == 40);
    m.write(v, gicc + 0x10, 40);
    CHECK(m.read(v, guest_map::gicd.base + 0x304) == 0x300);
    m.write(v, dir, 41);
    CHECK(m.read(v, guest_map::gicd.base + 0x304) == 0x100);
    m.write(v, dir, 40);
    CHECK(m.read(v, guest_map::gicd.base + 0x304) == 0);
    CHECK(m.read(v, gicc + 0xc) == 1023);
    CHECK(m.vm(1).aborts_injected == 0);
}
