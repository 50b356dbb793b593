// SPDX-License-Identifier: Apache-2.0
// Distributor and redistributor registers as a driver sees them, sizes and reserved places included.
#include "tests/support/gic_guest.hpp"

using namespace atl;
using namespace atl::vgic;

namespace gicd = gic::gicd;
namespace gicr = gic::gicr;

TEST_CASE("configuration limits") {
    auto gic = std::make_unique<VirtualGic>();
    const auto refused = [&](auto change) {
        Config config;
        change(config);
        return !gic->init(config).ok();
    };
    CHECK(refused([](Config& c) { c.vcpus = 0; }));
    CHECK(refused([](Config& c) { c.vcpus = max_vcpus_per_vm + 1; }));
    CHECK(refused([](Config& c) { c.spis = 0; }));
    CHECK(refused([](Config& c) { c.spis = 33; }));
    CHECK(refused([](Config& c) { c.spis = 256; }));
    CHECK(refused([](Config& c) { c.priority_bits = 3; }));
    CHECK(refused([](Config& c) { c.timer_vintid = 15; }));
    CHECK(refused([](Config& c) { c.timer_vintid = 32; }));
    CHECK(refused([](Config& c) { c.timer_pintid = 40; }));
    CHECK(!refused([](Config& c) { c.timer_vintid = 0; }));
    CHECK(!refused([](Config& c) { c.vcpus = 8, c.spis = 224; }));
}

TEST_CASE("identification") {
    TestVm vm(3, 4, 96);
    CHECK(vm.rd(0, gicd::typer) == ((9u << 19) | (1u << 16) | 3)); // MBIS
    CHECK((vm.rd(0, gic::pidr2) & 0xf0) == 0x30);
    CHECK((vm.rrd(0, 1, gic::pidr2) & 0xf0) == 0x30);
    CHECK((vm.rrd(0, 1, gicr::sgi_base + gic::pidr2) & 0xf0) == 0x30);
    CHECK(vm.rd(0, gicd::ctlr) == 0x50); // ARE, DS
    vm.wr(0, gicd::ctlr, 0);
    CHECK(vm.rd(0, gicd::ctlr) == 0x50);
    vm.wr(0, gicd::ctlr, ~0u);
    CHECK(vm.rd(0, gicd::ctlr) == 0x53);
    for (unsigned v = 0; v < 3; ++v) {
        const u64 typer = (u64{v} << 32) | (u64{v} << 8) | (v == 2 ? 0x10 : 0);
        CHECK(vm.rrd(0, v, gicr::typer, 8) == typer);
        CHECK(vm.rrd(0, v, gicr::typer) == (typer & 0xffff'ffff));
        CHECK(vm.rrd(0, v, gicr::typer + 4) == typer >> 32);
    }
    CHECK(vm.rrd(0, 3, gicr::typer, 8) == 0); // no such redistributor
    CHECK(vm.rrd(0, 0, gicr::waker) == 6);
    vm.rwr(0, 0, gicr::waker, 0);
    CHECK(vm.rrd(0, 0, gicr::waker) == 0);
    CHECK(vm.rrd(0, 1, gicr::waker) == 6);
    CHECK(vm.rrd(0, 0, gicr::ctlr) == 0);
}

TEST_CASE("word registers: set, clear, first word and beyond the last are RAZ/WI") {
    TestVm vm;
    for (const u64 base : {gicd::igroupr, gicd::isenabler, gicd::ispendr, gicd::isactiver}) {
        CAPTURE(base);
        for (const u64 word : {u64{0}, u64{3}, u64{31}}) {
            vm.wr(0, base + 4 * word, ~0u);
            CHECK(vm.rd(0, base + 4 * word) == 0);
        }
        vm.wr(0, base + 4, 0x0ff0'0001);
        CHECK(vm.rd(0, base + 4) == 0x0ff0'0001);
        CHECK(vm.rd(0, base + 8) == 0);
        if (base == gicd::igroupr) {
            vm.wr(0, base + 4, 0x10);
            CHECK(vm.rd(0, base + 4) == 0x10);
            continue;
        }
        CHECK(vm.rd(0, base + 0x84) == 0x0ff0'0001);
        vm.wr(0, base + 4, 0x2); // sets only
        CHECK(vm.rd(0, base + 4) == 0x0ff0'0003);
        vm.wr(0, base + 0x84, 0x0f00'0001);
        CHECK(vm.rd(0, base + 4) == 0x00f0'0002);
    }
}

TEST_CASE("private word registers belong to one vCPU, whoever writes them") {
    TestVm vm;
    for (const u64 reg : {gicr::igroupr0, gicr::isenabler0, gicr::ispendr0, gicr::isactiver0}) {
        vm.rwr(1, 0, reg, 0x8000'8001);
        CHECK(vm.rrd(0, 0, reg) == 0x8000'8001);
        CHECK(vm.rrd(0, 1, reg) == 0);
        vm.rwr(1, 0, reg + 4, 0xff); // only the first word exists
        CHECK(vm.rrd(0, 0, reg + 4) == 0);
    }
    CHECK(vm.rrd(0, 0, gicr::icfgr0) == 0xaaaa'aaaa);
    CHECK(vm.rrd(0, 0, gicr::icfgr1) == 0);
    vm.rwr(0, 0, gicr::icfgr1, ~0u);
    CHECK(vm.rrd(0, 0, gicr::icfgr1) == 0);
}

TEST_CASE("priorities: bytes and words, implemented bits") {
    TestVm vm;
    vm.wr(0, gicd::ipriorityr + 33, 0xff, 1);
    CHECK(vm.rd(0, gicd::ipriorityr + 32) == 0xf800);
    vm.wr(0, gicd::ipriorityr + 36, 0x11223344);
    CHECK(vm.rd(0, gicd::ipriorityr + 36) == 0x10203040);
    CHECK(vm.rd(0, gicd::ipriorityr + 39, 1) == 0x10);
    vm.wr(0, gicd::ipriorityr + 8, ~0u); // private: not here
    CHECK(vm.rd(0, gicd::ipriorityr + 8) == 0);
    vm.wr(0, gicd::ipriorityr + 96, ~0u);
    CHECK(vm.rd(0, gicd::ipriorityr + 96) == 0);
    vm.rwr(0, 1, gicr::ipriorityr + 31, 0xa5, 1);
    CHECK(vm.rrd(0, 1, gicr::ipriorityr + 28) == 0xa000'0000);
    CHECK(vm.rrd(0, 0, gicr::ipriorityr + 28) == 0);
    vm.rwr(0, 1, gicr::ipriorityr + 32, ~0u);
    CHECK(vm.rrd(0, 1, gicr::ipriorityr + 32) == 0);
}

TEST_CASE("trigger configuration") {
    TestVm vm;
    vm.wr(0, gicd::icfgr + 8, 0xffff'ffff);
    CHECK(vm.rd(0, gicd::icfgr + 8) == 0xaaaa'aaaa);
    CHECK(vm.rd(0, gicd::icfgr + 12) == 0);
    vm.wr(0, gicd::icfgr + 8, 0x8);
    CHECK(vm.rd(0, gicd::icfgr + 8) == 0x8);
    vm.wr(0, gicd::icfgr, ~0u);
    CHECK(vm.rd(0, gicd::icfgr) == 0);
    vm.wr(0, gicd::icfgr + 24, ~0u);
    CHECK(vm.rd(0, gicd::icfgr + 24) == 0);
}

TEST_CASE("routes: whole and in halves, one never brings back the other's past") {
    TestVm vm(3);
    const u64 reg = gicd::irouter + 8 * 40;
    vm.wr(0, reg, 0x12'8000'0102, 8);
    CHECK(vm.rd(0, reg, 8) == 0x12'8000'0102);
    vm.wr(0, reg, ~u64{0}, 8);
    CHECK(vm.rd(0, reg, 8) == 0xff'80ff'ffff);
    vm.wr(0, reg + 4, 0);
    CHECK(vm.rd(0, reg, 8) == 0x80ff'ffff);
    vm.wr(0, reg, 2);
    CHECK(vm.rd(0, reg, 8) == 2);
    CHECK(vm.gic.bank(0).target[8].load() == 2);
    vm.wr(0, reg + 4, 1); // Aff3 = 1: nobody
    CHECK(vm.rd(0, reg) == 2);
    CHECK(vm.rd(0, reg + 4) == 1);
    CHECK(vm.gic.bank(0).target[8].load() == no_vcpu);
    vm.wr(0, reg + 4, 0);
    CHECK(vm.gic.bank(0).target[8].load() == 2);
    vm.wr(0, reg, 3); // no such vCPU
    CHECK(vm.gic.bank(0).target[8].load() == no_vcpu);
    vm.wr(0, gicd::irouter + 8 * 31, 1, 8); // private
    CHECK(vm.rd(0, gicd::irouter + 8 * 31, 8) == 0);
    vm.wr(0, gicd::irouter + 8 * 96, 1, 8);
    CHECK(vm.rd(0, gicd::irouter + 8 * 96, 8) == 0);
    vm.wr(0, reg, 1, 1); // bytes are not allowed
    CHECK(vm.rd(0, reg, 8) == 3);

    vm.rwr(2, 2, gicr::waker, 0); // 1 of N: only an awake one
    vm.wr(0, reg, u64{1} << 31, 8);
    CHECK(vm.gic.bank(0).target[8].load() == 2);
}

TEST_CASE("every offset and size is harmless, and undefined ones read as zero") {
    TestVm vm(2, 4, 224);
    vm.boot();
    vm.load_all();
    for (const unsigned size : {1u, 2u, 4u, 8u}) {
        for (u64 offset = 0; offset < gicd::frame_size; ++offset) {
            vm.gic.gicd_write({0}, offset, size, ~u64{0});
            const u64 value = vm.gic.gicd_read({0}, offset, size).value;
            if (size == 2 || offset % size != 0) {
                CHECK(value == 0);
            } else if (size < 8) {
                CHECK((value >> (8 * size)) == 0);
            }
        }
        for (u64 offset = 0; offset < 3 * gicr::frame_size; ++offset) {
            vm.gic.gicr_write({0}, offset, size, ~u64{0});
            const u64 value = vm.gic.gicr_read({0}, offset, size).value;
            if (size == 2 || offset % size != 0 || offset >= 2 * gicr::frame_size) {
                CHECK(value == 0);
            }
        }
    }
    vm.enter_all();
}

TEST_CASE("SGIs: lists, ranges, broadcast, targets that do not exist, groups") {
    using R = gic::IccSgir;
    TestVm vm(4);
    vm.boot();
    const auto send = [&](u64 value) { return vm.gic.sgi_write({1}, SgiRegister::sgi1r, value); };
    const auto pending = [&](unsigned v) { return vm.rrd(0, v, gicr::ispendr0) & 0xffff; };
    CHECK(send(R::INTID::of(5) | 0xffff) == 0xd); // the caller's own exit serves it
    for (unsigned v = 0; v < 4; ++v) {
        CHECK(pending(v) == 1u << 5);
    }
    CHECK(send(R::INTID::of(6) | R::IRM::mask | 0x2) == 0xd);
    CHECK(pending(1) == 1u << 5);
    CHECK(pending(0) == 3u << 5);
    CHECK(send(R::INTID::of(7) | R::Aff1::of(1) | 0xf) == 0);
    CHECK(send(R::INTID::of(7) | R::Aff2::of(1) | 0xf) == 0);
    CHECK(send(R::INTID::of(7) | R::Aff3::of(1) | 0xf) == 0);
    CHECK(send(R::INTID::of(7) | R::RS::of(1) | 0xf) == 0);
    CHECK(send(R::INTID::of(7) | 0xfff0) == 0);
    CHECK(pending(0) == 3u << 5);
    vm.rwr(0, 0, gicr::icpendr0, ~0u);
    CHECK(pending(0) == 0);

    vm.rwr(0, 2, gicr::igroupr0, ~(1u << 9)); // SGI 9 of vCPU 2 alone in group 0
    vm.gic.sgi_write({1}, SgiRegister::sgi0r, R::INTID::of(9) | 0xf);
    CHECK((pending(2) & (1u << 9)) != 0);
    CHECK((pending(3) & (1u << 9)) == 0);
}

TEST_CASE("a register write is complete when the other vCPU has given the interrupt up") {
    TestVm vm;
    vm.boot();
    vm.edge(40);
    vm.wr(0, gicd::irouter + 8 * 40, 1, 8);
    vm.load_all();
    vm.pulse(40);
    REQUIRE(vm.files[1].offered(true) == 40);
    const Access access = vm.gic.gicd_write({0}, gicd::icenabler + 4, 4, 1u << 8);
    CHECK(access.kick == 2);
    CHECK(gic::GicdCtlr::RWP::test(vm.gic.gicd_read({0}, gicd::ctlr, 4).value));
    vm.enter(1);
    CHECK(!gic::GicdCtlr::RWP::test(vm.gic.gicd_read({0}, gicd::ctlr, 4).value));
    CHECK(vm.files[1].offered(true) == LrFile::spurious);
}

TEST_CASE("reading active state of a running vCPU waits for its list registers") {
    TestVm vm;
    vm.boot();
    vm.edge(40);
    vm.wr(0, gicd::irouter + 8 * 40, 1, 8);
    vm.load_all();
    vm.pulse(40);
    REQUIRE(vm.ack(1) == 40);
    Access access = vm.gic.gicd_read({0}, gicd::isactiver + 4, 4);
    CHECK(access.retry);
    CHECK(access.kick == 2);
    CHECK(vm.gic.gicd_read({0}, gicd::isactiver + 4, 4).retry); // not yet
    vm.enter(1);
    access = vm.gic.gicd_read({0}, gicd::isactiver + 4, 4);
    CHECK(!access.retry);
    CHECK(access.value == 1u << 8);
    vm.eoi(1, 40);
    CHECK(vm.rd(0, gicd::isactiver + 4) == 0);
    vm.save(1);
    CHECK(!vm.gic.gicd_read({0}, gicd::isactiver + 4, 4).retry);
}

TEST_CASE("a WFI ends exactly when the CPU interface would signal") {
    TestVm vm(1);
    vm.boot();
    CpuInterface& cpu = vm.gic.vcpu({0}).saved;
    vm.edge(40);
    vm.wr(0, gicd::ipriorityr + 40, 0x80, 1);
    CHECK(!vm.gic.has_pending({0}));
    CHECK(vm.gic.pulse({40}) == 1);
    CHECK(vm.gic.has_pending({0}));
    cpu.vmcr = gic::IchVmcr::VPMR::set(cpu.vmcr, 0x80);
    CHECK(!vm.gic.has_pending({0}));
    cpu.vmcr = gic::IchVmcr::VPMR::set(cpu.vmcr, 0x88);
    CHECK(vm.gic.has_pending({0}));
    cpu.vmcr &= ~gic::IchVmcr::VENG1::mask;
    CHECK(!vm.gic.has_pending({0}));
    cpu.vmcr |= gic::IchVmcr::VENG1::mask;
    cpu.ap1r[0] = 1u << (0x80 >> 3);
    CHECK(!vm.gic.has_pending({0}));
    cpu.ap1r[0] = 1u << (0x88 >> 3);
    CHECK(vm.gic.has_pending({0}));
    cpu.vmcr = gic::IchVmcr::VBPR1::set(cpu.vmcr, 4); // 0x80 and 0x88 become one preemption level
    cpu.ap1r[0] = 1u << (0x80 >> 3);
    CHECK(!vm.gic.has_pending({0}));
    cpu.ap1r[0] = 0;
    vm.wr(0, gicd::ctlr, 1);
    CHECK(!vm.gic.has_pending({0}));
    vm.wr(0, gicd::ctlr, 3);
    vm.wr(0, gicd::icenabler + 4, 1u << 8);
    CHECK(!vm.gic.has_pending({0}));
}

TEST_CASE("what arrives between the last look and the parking shows in needs_flush") {
    TestVm vm(2);
    vm.boot();
    vm.load_all();
    vm.save(1);
    CHECK(!vm.gic.has_pending({1}));
    CHECK(!vm.gic.vcpu({1}).needs_flush());
    SUBCASE("SGI") {
        CHECK(vm.gic.sgi_write({0}, SgiRegister::sgi1r, 2) == 2);
    }
    SUBCASE("PPI level") {
        CHECK(vm.gic.set_ppi({1}, {30}, true) == 2);
    }
    SUBCASE("PPI pulse") {
        CHECK(vm.gic.pulse_ppi({1}, {25}) == 2);
    }
    SUBCASE("SPI") {
        vm.wr(0, gicd::irouter + 8 * 33, 1, 8);
        CHECK(vm.gic.set_line({33}, true) == 2);
        CHECK(vm.gic.set_line({33}, true) == 0); // no news
    }
    CHECK(vm.gic.vcpu({1}).needs_flush());
    CHECK(vm.gic.has_pending({1}));
}

TEST_CASE("inputs that do not exist are ignored") {
    TestVm vm;
    vm.boot();
    for (const u32 intid : {0u, 31u, 96u, 256u, 1020u, ~0u}) {
        CHECK(vm.gic.set_line({intid}, true) == 0);
        CHECK(vm.gic.pulse({intid}) == 0);
    }
    CHECK(vm.gic.set_ppi({7}, {30}, true) == 0);
    CHECK(vm.gic.set_ppi({0}, {15}, true) == 0);
    CHECK(vm.gic.pulse_ppi({0}, {32}) == 0);
    CHECK(!vm.gic.has_pending({0}));
}

TEST_CASE("reset forgets everything") {
    TestVm vm;
    vm.boot();
    vm.load_all();
    vm.edge(40);
    vm.pulse(40);
    CHECK(vm.ack(0) == 40);
    vm.pulse(40);
    vm.line(33, true);
    vm.sgi(0, 3);
    vm.save(0);
    vm.save(1);
    REQUIRE(vm.gic.reset().ok());
    CHECK(vm.rd(0, gicd::ctlr) == 0x50);
    for (const u64 base : {gicd::igroupr, gicd::isenabler, gicd::ispendr, gicd::isactiver, gicd::icfgr + 4}) {
        CHECK(vm.rd(0, base + 4) == 0);
    }
    CHECK(vm.rrd(0, 0, gicr::ispendr0) == 0);
    vm.files.assign(2, LrFile(4));
    vm.boot();
    vm.load_all();
    CHECK(vm.ack(0) == LrFile::spurious);
    CHECK(vm.ack(1) == LrFile::spurious);
}

TEST_CASE("the dump names what is going on") {
    TestVm vm;
    vm.boot();
    vm.load_all();
    vm.edge(40);
    vm.pulse(40);
    std::string text;
    vm.gic.dump(TextSink{&text, [](void* context, std::string_view part) {
                             static_cast<std::string*>(context)->append(part);
                         }});
    CHECK(text.find("vCPU 0 loaded") != std::string::npos);
    CHECK(text.find("40 prio 0xa0 edge enabled listed: pending") != std::string::npos);
}

TEST_CASE("message-based SPIs: SETSPI and CLRSPI from a guest") {
    TestVm vm(1);
    vm.boot();
    vm.load_all();
    vm.wr(0, gicd::setspi_nsr, 40); // level: an input that stays
    CHECK(vm.ack(0) == 40);
    vm.eoi(0, 40);
    CHECK(vm.ack(0) == 40);
    vm.wr(0, gicd::clrspi_nsr, 40);
    vm.eoi(0, 40);
    CHECK(vm.ack(0) == 1023);
    vm.edge(41);
    vm.wr(0, gicd::setspi_nsr, 41); // edge: once
    CHECK(vm.ack(0) == 41);
    vm.eoi(0, 41);
    CHECK(vm.ack(0) == 1023);
    for (const u32 nothing : {0u, 27u, 31u, 96u, 1023u, 8192u, ~0u}) {
        vm.wr(0, gicd::setspi_nsr, nothing);
        vm.wr(0, gicd::clrspi_nsr, nothing);
    }
    vm.edge(42);
    vm.wr(0, gicd::setspi_nsr, 42, 2); // a half-word is enough [IHI0069 §12.1.3]
    CHECK(vm.ack(0) == 42);
    vm.eoi(0, 42);
    vm.wr(0, gicd::setspi_nsr, 42, 2);
    vm.wr(0, gicd::clrspi_nsr, 42, 2);
    vm.wr(0, gicd::setspi_nsr, 42, 1); // a byte is nothing
    vm.wr(0, gicd::setspi_nsr + 2, 42, 2);
    CHECK(vm.ack(0) == 1023);
    CHECK(vm.rd(0, gicd::setspi_nsr) == 0);
}

TEST_CASE("a physical line behind an SPI is let go exactly when the guest has deactivated it") {
    TestVm vm(2);
    static u32 resampled;
    static u32 last;
    resampled = 0;
    vm.gic.set_host_lines({nullptr, [](void*, Intid spi) {
                               ++resampled;
                               last = spi.value;
                           }});
    REQUIRE(vm.gic.back_by_host({36}, true).ok());
    CHECK_FALSE(vm.gic.back_by_host({31}, true).ok());
    CHECK_FALSE(vm.gic.back_by_host({96}, true).ok());
    vm.boot();
    vm.load_all();

    SUBCASE("acknowledge and EOI") {
        vm.line(36, true);
        CHECK(vm.ack(0) == 36);
        CHECK(resampled == 0);
        vm.eoi(0, 36);
        CHECK(resampled == 1);
        CHECK(last == 36);
        CHECK(vm.ack(0) == 1023); // the input fell with it
        vm.line(36, true);        // it fires again: the device still asks
        CHECK(vm.ack(0) == 36);
        vm.eoi(0, 36);
        CHECK(resampled == 2);
    }
    SUBCASE("never taken: it stays") {
        vm.line(36, true);
        vm.save(0);
        vm.load(0);
        vm.wr(1, gicd::icenabler + 4, 1u << 4);
        vm.wr(1, gicd::isenabler + 4, 1u << 4);
        CHECK(resampled == 0);
        CHECK(vm.ack(0) == 36);
    }
    SUBCASE("deactivated by ICACTIVER, listed") {
        vm.line(36, true);
        CHECK(vm.ack(0) == 36);
        vm.wr(1, gicd::icactiver + 4, 1u << 4);
        CHECK(resampled == 1);
    }
    SUBCASE("deactivated by ICACTIVER while its vCPU is away") {
        vm.line(36, true);
        CHECK(vm.ack(0) == 36);
        vm.save(0);
        vm.wr(1, gicd::icactiver + 4, 1u << 4);
        CHECK(resampled == 1);
        vm.load(0);
        CHECK(resampled == 1);
    }
    SUBCASE("EOImode 1: by DIR, not by EOI") {
        vm.open_interface(0, true);
        vm.line(36, true);
        CHECK(vm.ack(0) == 36);
        vm.eoi(0, 36);
        CHECK(resampled == 0);
        vm.dir(0, 36);
        CHECK(resampled == 1);
    }
    SUBCASE("overflow: active without a list register") {
        for (u32 i = 0; i < 8; ++i) {
            vm.wr(0, gicd::ipriorityr + 36 + i, 0x80 - 8 * i, 1);
        }
        for (u32 i = 0; i < 8; ++i) { // each preempts the one before: more than four are active
            vm.line(36 + i, true);
            CHECK(vm.ack(0) == 36 + i);
        }
        for (u32 i = 8; i-- > 0;) {
            CHECK(resampled == 0);
            vm.line(36 + i, i == 0);
            vm.eoi(0, 36 + i);
        }
        CHECK(resampled == 1);
    }
}
