// SPDX-License-Identifier: Apache-2.0
// The CPU interface in software, register by register, and a VM that has it [docs/adr/0024]. That it does with list registers
// what hardware does, is what every other test of the vGIC rests on.
#include "vgic/soft_interface.hpp"

#include "lib/arch/gicv2.hpp"
#include "lib/arch/its.hpp"
#include "tests/support/gic_guest.hpp"

using namespace atl;
using namespace atl::vgic;
namespace icc = atl::gic::icc;
using Lr = gic::IchLr;

namespace {

constexpr u64 pending(u32 intid, u64 priority, bool group1 = true) {
    return Lr::VINTID::of(intid) | Lr::Priority::of(priority) | Lr::Group::of(group1 ? 1 : 0) |
           Lr::Pending::mask;
}

/// An open interface: both groups on, nothing masked.
struct Guest : SoftInterface {
    explicit Guest(const InterfaceShape& shape = {}) : SoftInterface(shape) {
        set_hcr(hcr_on());
        set_vmcr(gic::IchVmcr::VFIQEn::mask);
        if (!shape.gicv2) {
            set(icc::pmr, 0xff);
            set(icc::igrpen0, 1);
            set(icc::igrpen1, 1);
        }
    }
    u64 get(u64 id) {
        u64 value = ~u64{0};
        REQUIRE(read_register(static_cast<u32>(id), value));
        return value;
    }
    void set(u64 id, u64 value) { REQUIRE(write_register(static_cast<u32>(id), value)); }
};

} // namespace

TEST_CASE("soft interface: which registers there are, and which way") {
    Guest g;
    u64 value = 0;
    for (const u32 id : {icc::eoir0, icc::eoir1, icc::dir, icc::sgi1r, icc::ap0r0 + 1, icc::ap1r0 + 3,
                         icc::ap1r0 + 5 /* NMIAR1 */, icc::rpr + 1}) {
        CAPTURE(id);
        CHECK(!g.read_register(id, value));
    }
    for (const u32 id :
         {icc::iar0, icc::iar1, icc::hppir0, icc::hppir1, icc::rpr, icc::ap0r0 + 1, icc::dir}) {
        CAPTURE(id);
        CHECK(!g.write_register(id, 0));
    }
    for (const unsigned bits : {5u, 6u, 7u}) {
        Guest wide({.priority_bits = static_cast<u8>(bits), .preemption_bits = static_cast<u8>(bits)});
        for (u32 n = 0; n < 4; ++n) {
            CHECK(wide.read_register(icc::ap0r0 + n, value) == (n < (bits == 7 ? 4 : bits - 4)));
            CHECK(wide.write_register(icc::ap1r0 + n, 0) == (n < (bits == 7 ? 4 : bits - 4)));
        }
    }
}

TEST_CASE("soft interface: what of the registers can be written") {
    Guest g(InterfaceShape::of_vtr(gic::IchVtr::PRIbits::of(4) | gic::IchVtr::PREbits::of(4) |
                                   gic::IchVtr::IDbits::of(1) | gic::IchVtr::A3V::mask));
    g.set(icc::ctlr, ~u64{0});
    CHECK(g.get(icc::ctlr) == (3 | 4 << 8 | 1 << 11 | 1 << 15));
    g.set(icc::ctlr, 0);
    g.set(icc::pmr, 0x7f);
    CHECK(g.get(icc::pmr) == 0x78);
    for (u64 point = 0; point < 8; ++point) {
        g.set(icc::bpr0, point);
        g.set(icc::bpr1, point);
        CHECK(g.get(icc::bpr0) == std::max<u64>(point, 2));
        CHECK(g.get(icc::bpr1) == std::max<u64>(point, 3));
    }
    g.set(icc::bpr1, 4);
    g.set(icc::ctlr, 1); // CBPR: Group 0's plus one, saturated; writes are ignored
    CHECK(g.get(icc::bpr1) == 7);
    g.set(icc::bpr0, 3);
    g.set(icc::bpr1, 6);
    CHECK(g.get(icc::bpr1) == 4);
    g.set(icc::ctlr, 0);
    CHECK(g.get(icc::bpr1) == 4);
    g.set(icc::igrpen0, ~u64{0});
    CHECK(g.get(icc::igrpen0) == 1);
    g.set(icc::ap1r0, 0x8000'0001);
    CHECK(g.get(icc::ap1r0) == 0x8000'0001);
    CHECK(g.get(icc::rpr) == 0);
}

TEST_CASE("soft interface: what is signalled, as which input, and what is acknowledged") {
    Guest g;
    CHECK(g.lines() == VirtualLines{});
    g.write(0, pending(40, 0xa0));
    CHECK(g.lines() == VirtualLines{true, false});
    g.write(3, pending(41, 0x80, false));
    CHECK(g.lines() == VirtualLines{false, true});
    CHECK(g.get(icc::hppir0) == 41);
    CHECK(g.get(icc::hppir1) == 1023);
    CHECK(g.get(icc::iar1) == 1023);
    g.set(icc::pmr, 0x80);
    CHECK(g.lines() == VirtualLines{});
    CHECK(g.get(icc::hppir0) == 41); // pending all the same
    CHECK(g.get(icc::iar0) == 1023);
    g.set(icc::pmr, 0xff);
    g.set(icc::igrpen0, 0);
    CHECK(g.lines() == VirtualLines{true, false});
    g.set(icc::igrpen0, 1);
    CHECK(g.get(icc::iar0) == 41);
    CHECK(g.get(icc::rpr) == 0x80);
    CHECK(g.get(icc::ap0r0) == 1u << 16);
    CHECK(g.lines() == VirtualLines{}); // the other one does not preempt
    g.write(1, pending(42, 0x60));
    CHECK(g.get(icc::iar1) == 42);
    CHECK(g.get(icc::ap1r0) == 1u << 12);
    g.set(icc::eoir1, 1023); // nothing
    CHECK(g.get(icc::rpr) == 0x60);
    g.set(icc::eoir1, 42);
    g.set(icc::eoir0, 41);
    CHECK(g.get(icc::rpr) == 0xff);
    CHECK(g.empty() == 0xfffe);
    CHECK(g.get(icc::iar1) == 40);
    g.set_hcr(0); // off: nothing comes out
    g.write(1, pending(42, 0));
    CHECK(g.lines() == VirtualLines{});
}

TEST_CASE("soft interface: levels of preemption in all active-priority registers") {
    for (const unsigned bits : {5u, 6u, 7u}) {
        Guest g({.priority_bits = static_cast<u8>(bits), .preemption_bits = static_cast<u8>(bits)});
        unsigned slot = 0;
        for (int priority = 0xf0; priority >= 0; priority -= 16) {
            g.write(slot, pending(100 + slot, static_cast<u64>(priority)));
            CHECK(g.get(icc::iar1) == 100 + slot);
            CHECK(g.get(icc::rpr) == static_cast<u64>(priority));
            slot = (slot + 1) % 16;
        }
        CpuInterface saved;
        g.save_active(saved);
        Guest other({.priority_bits = 8, .preemption_bits = static_cast<u8>(bits)});
        other.restore_active(saved);
        CHECK(other.running_priority() == g.running_priority());
    }
}

TEST_CASE("soft interface: ends: with and without list registers, LPIs, the host's INTID") {
    Guest g;
    g.write(0, pending(27, 0xa0) | Lr::HW::mask | Lr::PINTID::of(30));
    CHECK(g.get(icc::iar1) == 27);
    CHECK(g.take_ended() == 0);
    g.set(icc::eoir1, 27);
    CHECK(g.take_ended() == 30);
    CHECK(g.take_ended() == 0);
    g.write(0, pending(gic::first_lpi + 5, 0xa0));
    CHECK(g.get(icc::iar1) == gic::first_lpi + 5);
    CHECK((g.empty() & 1) == 1); // never active, but its priority is
    CHECK(g.get(icc::rpr) == 0xa0);
    g.set(icc::ctlr, 2);
    g.set(icc::eoir1, gic::first_lpi + 5);
    CHECK(g.get(icc::rpr) == 0xff);
    g.write(0, pending(40, 0xa0));
    CHECK(g.get(icc::iar1) == 40);
    g.set(icc::eoir1, 40); // EOImode: the priority only
    CHECK(Lr::Active::test(g.read(0)));
    g.set(icc::ctlr, 0);
    CHECK(gic::IchHcr::EOIcount::get(g.hcr()) == 0);
    g.set(icc::eoir1, 40); // no active priority: ignored
    CHECK(Lr::Active::test(g.read(0)));
    g.set(icc::ap1r0, 1u << 20);
    g.set_hcr(g.hcr() | gic::IchHcr::LRENPIE::mask);
    CHECK(!g.maintenance_asserted());
    g.set(icc::eoir1, 41);
    CHECK(gic::IchHcr::EOIcount::get(g.hcr()) == 1);
    CHECK(g.maintenance_asserted());
    g.set_hcr(g.hcr_on());
    g.write(1, pending(42, 0x20) | Lr::EOI::mask);
    CHECK(g.get(icc::iar1) == 42);
    CHECK(!g.maintenance_asserted());
    g.set(icc::eoir1, 42);
    CHECK(g.maintenance_asserted());
}

TEST_CASE(
    "soft interface: a VM that has it: inputs follow, other vCPUs' too, and nothing stays when it leaves") {
    TestVm vm(2, gic::max_list_registers, 64, false, true);
    vm.boot();
    vm.load_all();
    CHECK((vm.files[0].trapping && vm.files[1].trapping));
    vm.sgi(0, gic::IccSgir::INTID::of(5) | 2);
    CHECK(vm.files[1].shown == VirtualLines{true, false});
    CHECK(vm.files[0].shown == VirtualLines{});
    vm.save(1);
    CHECK((vm.files[1].shown == VirtualLines{} && !vm.files[1].trapping));
    CHECK(vm.gic.has_pending(TestVm::index(1)));
    vm.load(1);
    CHECK(vm.files[1].shown == VirtualLines{true, false});
    CHECK(vm.ack(1) == 5);
    CHECK(vm.files[1].shown == VirtualLines{});
    vm.sgi(0, gic::IccSgir::INTID::of(5) | 2); // again, while it is active
    CHECK(vm.files[1].shown == VirtualLines{});
    vm.eoi(1, 5);
    CHECK(vm.files[1].shown == VirtualLines{true, false});
    CHECK(vm.ack(1) == 5);
    vm.eoi(1, 5);
    CHECK(vm.fire_timer(0));
    CHECK(vm.files[0].shown.irq);
    CHECK(vm.ack(0) == 27);
    CHECK(vm.files[0].physical_active);
    vm.eoi(0, 27);
    CHECK(!vm.files[0].physical_active);
    CHECK(vm.fire_timer(0));
    CHECK(vm.ack(0) == 27);
    vm.line(40, true); // still high at its end: once more
    CHECK(!vm.files[0].shown.irq);
    vm.eoi(0, 27);
    for (unsigned i = 0; i < 3; ++i) {
        CHECK(vm.ack(0) == 40);
        vm.eoi(0, 40);
        CHECK(vm.files[0].shown.irq);
    }
    vm.line(40, false);
    CHECK(!vm.files[0].shown.irq);
}

TEST_CASE("soft interface: a GICv2's frame") {
    namespace gicc = gic::gicc;
    Guest g({.gicv2 = true});
    g.set(gicc::ctlr, ~u64{0});
    CHECK(g.get(gicc::ctlr) == 0x21f);
    g.set(gicc::ctlr, 3);
    g.set(gicc::pmr, 0xff);
    CHECK(g.get(gicc::pmr) == 0xf8);
    g.set(gicc::bpr, 0);
    g.set(gicc::abpr, 0);
    CHECK((g.get(gicc::bpr) == 2 && g.get(gicc::abpr) == 3));
    CHECK(g.get(gicc::iidr) == 0x0412'0000);
    CHECK(g.get(gicc::iar) == 1023);
    g.write(0, pending(5, 0xa0, false) | gic::LrSource::of(3)); // an SGI of CPU 3's
    g.write(1, pending(40, 0x80));
    CHECK(g.lines() == VirtualLines{true, false});
    CHECK(g.get(gicc::hppir) == 1022);
    CHECK(g.get(gicc::iar) == 1022); // group 1's, without AckCtl
    CHECK(g.get(gicc::ahppir) == 40);
    CHECK(g.get(gicc::aiar) == 40);
    CHECK(g.get(gicc::rpr) == 0x80);
    g.set(gicc::aeoir, 40);
    CHECK(g.get(gicc::aiar) == 1023); // group 0's
    CHECK(g.lines() == VirtualLines{true, false});
    g.set(gicc::ctlr, 3 | 1 << 3); // FIQEn
    CHECK(g.lines() == VirtualLines{false, true});
    CHECK(g.get(gicc::hppir) == (5 | 3 << 10));
    CHECK(g.get(gicc::iar) == (5 | 3 << 10));
    CHECK(g.get(gicc::apr) == 1u << 20);
    g.set(gicc::eoir, 5); // another CPU's: the priority is dropped, and that is all
    CHECK(Lr::Active::test(g.read(0)));
    g.set(gicc::apr, 1u << 20);
    g.set(gicc::eoir, 5 | 3 << 10);
    CHECK(!Lr::Active::test(g.read(0)));
    g.set(gicc::ctlr, 3 | 1 << 2); // AckCtl
    g.write(2, pending(41, 0x80));
    CHECK(g.get(gicc::hppir) == 41);
    CHECK(g.get(gicc::iar) == 41);
    CHECK(g.get(gicc::rpr) == 0x80);
    g.set(gicc::eoir, 41);
    CHECK(g.get(gicc::rpr) == 0xff);
    for (u64 offset = gicc::ahppir + 4; offset < gicc::apr; offset += 4) {
        g.set(offset, ~u64{0});
        CHECK(g.get(offset) == 0);
    }
}
