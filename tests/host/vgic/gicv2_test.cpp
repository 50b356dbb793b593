// SPDX-License-Identifier: Apache-2.0
// A VM's GICv2 as its guest sees it [vgic/dist_v2_regs.cpp], and the form of its list registers [lib/arch/gicv2.hpp].
// The closed loop runs over it, too (closed_loop_test.cpp).
#include "tests/support/gic_guest.hpp"

using namespace atl;
using namespace atl::vgic;

namespace {

namespace gicd = gic::gicd;
using Lr = gic::IchLr;

u32 iar(u32 intid, unsigned sender) {
    return static_cast<u32>(gic::GiccIar::INTID::of(intid) | gic::GiccIar::CPUID::of(sender));
}

TestVm gicv2(unsigned vcpus = 3, unsigned list_registers = 4, unsigned spis = 64) {
    return TestVm(vcpus, list_registers, spis, true);
}

} // namespace

TEST_CASE("gicv2: list registers in GICH_LR's form and back") {
    // [IHI0048B §5.3.10] State 29:28, Grp1 30, HW 31, Priority 27:23, PhysicalID 19:10, CPUID 12:10, EOI 19.
    CHECK(gic::to_gich_lr(Lr::VINTID::of(40) | Lr::Priority::of(0xa0) | Lr::Pending::mask) == 0x1a00'0028);
    CHECK(gic::to_gich_lr(Lr::VINTID::of(40) | Lr::Active::mask | Lr::Group::mask | Lr::EOI::mask) ==
          0x6008'0028);
    CHECK(gic::to_gich_lr(Lr::VINTID::of(27) | Lr::HW::mask | Lr::PINTID::of(1019) | Lr::Pending::mask) ==
          (0x9000'001b | 1019 << 10));
    CHECK(gic::to_gich_lr(Lr::VINTID::of(5) | gic::LrSource::of(7) | Lr::Active::mask | Lr::Pending::mask) ==
          (0x3000'0005 | 7 << 10));
    for (u32 lr :
         {0x1a00'0028u, 0x6008'0028u, 0x9000'001bu | 1019 << 10, 0x3000'0005u | 7 << 10, 0xff8f'ffffu, 0u}) {
        CHECK(gic::to_gich_lr(gic::from_gich_lr(lr)) == lr);
    }
}

TEST_CASE("gicv2: identification, and what a GICv3 has is not there") {
    TestVm vm = gicv2();
    CHECK(vm.rd(0, gicd::typer) == (2 | 2 << 5)); // 96 INTIDs, 3 CPUs, no Security Extensions, no MBIS
    CHECK(vm.rd(0, gicd::ctlr) == 0);
    vm.wr(0, gicd::ctlr, ~0u);
    CHECK(vm.rd(0, gicd::ctlr) == 3); // no ARE, no DS, no RWP
    CHECK(vm.rd(0, gicd::v2_pidr2) == 0x2b);
    CHECK(vm.rd(0, gic::pidr2) == 0);
    vm.wr(0, gicd::irouter + 8 * 40, 1, 8);
    CHECK(vm.rd(0, gicd::irouter + 8 * 40, 8) == 0);
    vm.wr(0, gicd::setspi_nsr, 40);
    CHECK(vm.rd(0, gicd::ispendr + 4) == 0);
}

TEST_CASE("gicv2: private registers are the accessing vCPU's") {
    TestVm vm = gicv2();
    vm.wr(1, gicd::isenabler, 0x0800'0001);
    CHECK(vm.rd(1, gicd::isenabler) == 0x0800'0001);
    CHECK(vm.rd(0, gicd::isenabler) == 0);
    vm.wr(1, gicd::ipriorityr + 27, 0x58, 1);
    CHECK(vm.rd(1, gicd::ipriorityr + 24) == 0x5800'0000);
    CHECK(vm.rd(2, gicd::ipriorityr + 24) == 0);
    CHECK(vm.rd(0, gicd::icfgr) == 0xaaaa'aaaa);
    vm.wr(0, gicd::icfgr + 4, ~0u);
    CHECK(vm.rd(0, gicd::icfgr + 4) == 0);
    CHECK(vm.rd(0, gicd::ipriorityr + 29, 4) == 0); // unaligned
}

TEST_CASE("gicv2: targets") {
    TestVm vm = gicv2();
    for (unsigned v = 0; v < 3; ++v) {
        CHECK(vm.rd(v, gicd::itargetsr + 4) == 0x0101'0101u << v);
        vm.wr(v, gicd::itargetsr, 0);
        CHECK(vm.rd(v, gicd::itargetsr, 1) == 1u << v);
    }
    CHECK(vm.rd(0, gicd::itargetsr + 32) == 0); // out of reset nobody's
    vm.wr(0, gicd::itargetsr + 40, ~0u);
    CHECK(vm.rd(0, gicd::itargetsr + 40) == 0x0707'0707); // CPUs that exist
    vm.wr(0, gicd::itargetsr + 41, 4, 1);
    CHECK(vm.rd(0, gicd::itargetsr + 40) == 0x0707'0407);
    TestVm one = gicv2(1);
    one.wr(0, gicd::itargetsr + 40, ~0u);
    CHECK(one.rd(0, gicd::itargetsr + 40) == 0); // with one CPU RAZ/WI, and all are its
    one.boot();
    one.load_all();
    one.line(41, true);
    CHECK(one.ack(0) == 41);
}

TEST_CASE("gicv2: an SPI without a target waits, and moves while it pends") {
    TestVm vm = gicv2();
    vm.boot();
    vm.load_all();
    vm.edge(40);
    vm.pulse(40);
    for (unsigned v = 0; v < 3; ++v) {
        CHECK(vm.ack(v) == LrFile::spurious);
    }
    vm.route(2, 40, 1);
    CHECK(vm.files[1].offered(true) == 40);
    vm.route(2, 40, 2);
    CHECK(vm.ack(1) == LrFile::spurious);
    CHECK(vm.ack(2) == 40);
    vm.eoi(2, 40);
    CHECK(vm.rd(0, gicd::isactiver + 4) == 0);
}

TEST_CASE("gicv2: SGIs: three filters, one pending for each sender") {
    TestVm vm = gicv2();
    vm.boot();
    vm.load_all();
    const auto sgir = [&](unsigned v, u32 filter, u32 list, u32 sgi) {
        vm.wr(v, gicd::sgir, filter << 24 | list << 16 | sgi);
    };
    sgir(1, 2, 0, 3);
    CHECK(vm.ack(1) == iar(3, 1));
    vm.eoi(1, iar(3, 1));
    sgir(1, 1, 0, 4);
    CHECK(vm.ack(1) == LrFile::spurious);
    CHECK(vm.ack(0) == iar(4, 1));
    CHECK(vm.ack(2) == iar(4, 1));
    vm.eoi(0, iar(4, 1));
    vm.eoi(2, iar(4, 1));
    sgir(1, 3, 0xff, 4); // reserved: nobody
    sgir(1, 0, 0xf8, 4); // CPUs that do not exist
    for (unsigned v = 0; v < 3; ++v) {
        CHECK(vm.ack(v) == LrFile::spurious);
    }
    sgir(0, 0, 4, 7);
    sgir(1, 0, 4, 7);
    sgir(1, 0, 4, 7); // pends already
    sgir(2, 0, 4, 7);
    CHECK(vm.rd(2, gicd::cpendsgir + 7, 1) == 7);
    CHECK(vm.rd(2, gicd::spendsgir + 4) == 0x0700'0000);
    CHECK((vm.rd(2, gicd::ispendr) & 0xffff) == 1u << 7);
    CHECK(vm.rd(1, gicd::cpendsgir + 4) == 0); // banked
    std::string text;
    vm.gic.dump(TextSink{&text, [](void* context, std::string_view part) {
                             static_cast<std::string*>(context)->append(part);
                         }});
    CHECK(text.find("GICv2") == 0);
    CHECK(text.find("  7 waits for its turn from vCPUs 0x6\n") != std::string::npos); // vCPU 0's is listed
    u32 seen = 0;
    for (unsigned i = 0; i < 3; ++i) {
        const u32 got = vm.ack(2);
        CHECK((got & 0x3ff) == 7);
        CHECK(vm.ack(2) == LrFile::spurious); // the others wait for its end
        vm.eoi(2, got);
        seen |= 1u << (got >> 10);
    }
    CHECK(seen == 7);
    CHECK(vm.ack(2) == LrFile::spurious);
    CHECK(!vm.files[2].maintenance_asserted());
}

TEST_CASE("gicv2: SGIs' pending state by SPENDSGIR and CPENDSGIR alone, listed or not, loaded or not") {
    TestVm vm = gicv2();
    vm.boot();
    const bool loaded = [] {
        SUBCASE("loaded") {
            return true;
        }
        return false;
    }();
    if (loaded) {
        vm.load_all();
    }
    vm.wr(0, gicd::spendsgir + 9, 6, 1);
    CHECK(vm.rd(0, gicd::cpendsgir + 8) == 0x0600);
    vm.wr(0, gicd::icpendr, 1u << 9);
    vm.wr(0, gicd::ispendr, 1u << 8);
    CHECK((vm.rd(0, gicd::ispendr) & 0xffff) == 1u << 9);
    vm.wr(0, gicd::cpendsgir + 8, 0x0200);
    CHECK(vm.rd(0, gicd::cpendsgir + 9, 1) == 4);
    if (!loaded) {
        CHECK(vm.gic.has_pending({0}));
        vm.load(0);
    }
    CHECK(vm.ack(0) == iar(9, 2));
    vm.eoi(0, iar(9, 2));
    CHECK(vm.ack(0) == LrFile::spurious);
    vm.save(0);
    CHECK(!vm.gic.has_pending({0}));
}

TEST_CASE("gicv2: an active SGI keeps its sender over a world switch and an overflow") {
    TestVm vm = gicv2(3, 1);
    vm.boot();
    vm.load_all();
    vm.send(2, 6, 0);
    CHECK(vm.ack(0) == iar(6, 2));
    vm.send(1, 6, 0); // another sender's waits
    vm.wr(0, gicd::ipriorityr + 5, 0x10, 1);
    vm.send(1, 5, 0); // more urgent: takes the only list register
    CHECK(vm.ack(0) == iar(5, 1));
    vm.save(0);
    vm.load(0);
    vm.eoi(0, iar(5, 1));
    vm.eoi(0, iar(6, 2)); // only a list register that says 2 knows it
    CHECK(vm.rd(0, gicd::isactiver) == 0);
    CHECK(vm.ack(0) == iar(6, 1));
    vm.eoi(0, iar(6, 1));
    CHECK(vm.files[0].running_priority() == 0x100);
}

TEST_CASE("gicv2: every offset and size is harmless") {
    TestVm vm = gicv2(2, 4, 224);
    vm.boot();
    vm.load_all();
    for (const unsigned size : {1u, 2u, 4u, 8u}) {
        for (u64 offset = 0; offset < gicd::frame_size; ++offset) {
            vm.gic.gicd_write({1}, offset, size, ~u64{0});
            const u64 value = vm.gic.gicd_read({1}, offset, size).value;
            if (size == 2 || size == 8 || offset % size != 0 || offset >= gicd::v2_frame_size) {
                CHECK(value == 0);
            } else {
                CHECK((value >> (8 * size)) == 0);
            }
            vm.enter_all();
        }
    }
}

TEST_CASE("a read of active state starts afresh after one that waited") {
    for (const bool v2 : {false, true}) {
        TestVm vm(1, 4, 64, v2);
        vm.boot();
        vm.load_all();
        for (const u32 spi : {40u, 41u}) {
            vm.edge(spi);
            vm.route(0, spi, 0);
        }
        vm.pulse(40);
        CHECK(vm.ack(0) == 40);
        vm.eoi(0, 40);
        CHECK(vm.rd(0, gicd::isactiver + 4) == 0); // waits; when it is repeated nothing is listed any more
        vm.pulse(41);
        CHECK(vm.ack(0) == 41);
        CHECK(vm.rd(0, gicd::isactiver + 4) == 1u << 9);
    }
}
