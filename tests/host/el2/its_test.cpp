// SPDX-License-Identifier: Apache-2.0
// The emulated ITS in a VM [el2/its.hpp]: trapped accesses, tables in memory that changes hands, long queues between
// interrupts and other guests, restarts.
#include "tests/support/el2_ffa_guest.hpp"
#include "tests/support/el2_its_guest.hpp"

using namespace atl;
using namespace atl::test;
using namespace atl::gic;
using namespace atl::gic::its_command;

namespace {

constexpr u32 lpi = first_lpi + 3;

} // namespace

TEST_CASE("its in a VM: a guest maps an event, and its LPI waits in a list register") {
    Machine m;
    ItsGuest g(m, 1);
    m.boot(1);
    CHECK(g.read(pidr2, 4) == 0x3b);
    g.start();
    REQUIRE(g.map(1, 5, lpi));
    CHECK_FALSE(g.pending(lpi));
    CHECK(g.command(raise(1, 5)));
    CHECK(g.pending(lpi));
    CHECK(g.command(clear(1, 5)));
    CHECK_FALSE(g.pending(lpi));
    // By a store to GITS_TRANSLATER, and by one that is none.
    REQUIRE(g.map(0, 2, lpi + 1));
    g.write(gits::translation_frame + gits::translater, 2, 4);
    CHECK(g.pending(lpi + 1));
    CHECK(g.read(gits::translation_frame + gits::translater, 4) == 0);
    CHECK_FALSE(g.command({0x55, 0, 0, 0}));
    CHECK(m.hw().logged("ITS command without effect: there is no such command"));
    // No ITS, nothing there.
    Machine plain;
    plain.boot(1);
    Vcpu& v = plain.load(plain.vcpu(1));
    v.sys.vbar = 0xffff'8000'0000'0000;
    plain.access(v, guest_map::its.base, false, 4, 3);
    CHECK(plain.vm(1).aborts_injected == 1);
}

TEST_CASE("its in a VM: tables must lie in memory that is the VM's own at that moment") {
    std::unique_ptr<ItsGuest> its;
    Machine m({{.vcpus = 1, .share_with = 1u << 2}, {.vcpus = 1, .share_with = 1u << 1}});
    its = std::make_unique<ItsGuest>(m, 1);
    ItsGuest& g = *its;
    m.boot_all();
    FfaGuest a{m, 1};
    FfaGuest b{m, 2};
    // The mailbox page of FfaGuest is the queue's of ItsGuest.
    const u64 page = ItsGuest::itt(7).value;
    g.start();
    REQUIRE(g.map(7, 1, lpi));
    CHECK(g.command(raise(7, 1)));
    CHECK(g.pending(lpi));
    g.command(clear(7, 1));
    g.write(gits::ctlr, 0, 4);
    a.start();
    b.start();
    const u64 handle = a.send(ffa::Kind::lend, 2, {{page, 1}}, FFA_MEM_PERM_RW);
    REQUIRE(handle != 0);
    const Part window = b.retrieve(1, handle, FFA_MEM_PERM_RW | FFA_MEM_PERM_NX);
    REQUIRE(window.second == 1);
    g.start(); // the queue is where the mailbox was
    CHECK_FALSE(g.command(raise(7, 1)));
    CHECK(m.hw().logged("not in the VM's own memory"));
    CHECK_FALSE(g.command(mapti(7, 2, lpi, 0)));
    CHECK_FALSE(g.pending(lpi));
    // A borrowed page is no place for tables either; b has no ITS here, so a borrows from b's window address.
    CHECK(g.command(mapd(7, 4, Pa{guest_map::window_base.value}, true)));
    CHECK_FALSE(g.command(mapti(7, 2, lpi, 0)));
    CHECK(g.command(mapd(7, 4, Pa{page}, true)));
    CHECK(b.relinquish(handle) == FFA_SUCCESS);
    CHECK(a.reclaim(handle) == FFA_SUCCESS);
    g.start();
    CHECK(g.command(raise(7, 1)));
    CHECK(g.pending(lpi));
}

TEST_CASE("its in a VM: a long queue is executed in pieces; its VM can be stopped in the middle") {
    Machine m({{.vcpus = 1}, {.vcpus = 1, .first_pcpu = 0}}, 1);
    ItsGuest g(m, 1);
    m.boot_all();
    g.start();
    for (unsigned i = 0; i < page_size / 32 - 1; ++i) {
        g.put(invall(0));
    }
    Vcpu& v = m.load(m.vcpu(1));
    v.x[9] = g.tail;
    m.hw().fault = {0, guest_map::its.base + gits::cwriter, true};
    CHECK(m.handle(v, Machine::abort_esr(true, 8, 9, {})) == action::advance);
    CHECK(its_waits(v));
    CHECK(g.its->its.stat_commands() <= 2);
    its_step(v);
    CHECK(its_waits(v));
    // The slice ends: the other guest runs, and the commands are still there.
    m.preempt(0);
    CHECK(m.cpu(0).current == &m.vcpu(2));
    CHECK(its_waits(v));
    stop_vm(m.vm(1), AfterStop::restart, false);
    m.settle();
    for (unsigned i = 0; i < 200 && m.vm(1).state != VmState::running; ++i) {
        m.pass(m.world.counter_hz / 1000);
        m.settle();
    }
    REQUIRE(m.vm(1).state == VmState::running);
    CHECK_FALSE(its_waits(v));
    CHECK(g.read(gits::ctlr, 4) == GitsCtlr::Quiescent::mask);
    g.start();
    REQUIRE(g.map(1, 5, lpi));
    CHECK(g.command(raise(1, 5)));
    CHECK(g.pending(lpi));
}
