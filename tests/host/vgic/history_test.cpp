// SPDX-License-Identifier: Apache-2.0
// The last events of an interrupt [vgic/history.hpp], as the monitor's `irq` shows them.
#include <string>

#include "tests/support/gic_its.hpp"

using namespace atl;
using namespace atl::vgic;
using namespace atl::gic::its_command;

namespace gicd = gic::gicd;
namespace gicr = gic::gicr;

namespace {

std::string explain(TestVm& vm, u32 intid) {
    std::string text;
    const Status status = vm.gic.explain(intid, {&text, [](void* context, std::string_view part) {
                                                     static_cast<std::string*>(context)->append(part);
                                                 }});
    REQUIRE(status.ok());
    return text;
}

/// Every one of `parts`, in this order.
void expect(const std::string& text, std::initializer_list<const char*> parts) {
    std::size_t from = 0;
    for (const char* part : parts) {
        CAPTURE(text);
        CAPTURE(part);
        const std::size_t at = text.find(part, from);
        REQUIRE(at != std::string::npos);
        from = at + 1;
    }
}

void watch(TestVm& vm, u32 intid) {
    vm.kick(vm.gic.watch(intid));
}

u64 clock_us;
void set_clock(TestVm& vm) {
    clock_us = 1000;
    vm.gic.history().set_clock({nullptr, [](void*) { return clock_us++; }});
}

} // namespace

TEST_CASE("history: the life of a level SPI that is watched, with the guest's time") {
    for (const bool v2 : {false, true}) {
        TestVm vm(2, 4, 64, v2);
        vm.boot();
        vm.route(0, 40, 1);
        vm.load_all();
        set_clock(vm);
        watch(vm, 40);
        vm.line(40, true);
        CHECK(vm.ack(1) == 40);
        vm.line(40, false);
        vm.eoi(1, 40);
        vm.wr(0, gicd::icenabler + 4, 1u << 8);
        vm.line(40, true);
        expect(explain(vm, 40),
               {"watched; last events", "1000 watched from here on", "line high",
                "vCPU 1: into a list register: pending", "line low", "vCPU 1: read back: active",
                "vCPU 1: read back: inactive", " disabled\n", "line high\n"});
        expect(explain(vm, 41), {"before another one was watched"});
    }
}

TEST_CASE("history: an SGI that is watched says who sent it; other VMs' vCPUs keep their short ways") {
    for (const bool v2 : {false, true}) {
        TestVm vm(3, 4, 64, v2);
        TestVm other(1, 4, 64, v2);
        vm.boot();
        vm.load_all();
        other.boot();
        other.load_all();
        watch(vm, 5);
        CHECK(vm.gic.vcpu({1}).long_way == none_allowed);
        vm.send(2, 5, 1);
        const u32 iar = vm.ack(1);
        CHECK((iar & 0xf) == 5);
        vm.eoi(1, iar);
        expect(explain(vm, 5), {"vCPU 1: sent by vCPU 2", "vCPU 1: into a list register: pending",
                                "vCPU 1: read back: inactive"});
        CHECK(other.gic.vcpu({0}).long_way == 0);
        watch(vm, History::nothing);
        CHECK(vm.gic.vcpu({1}).long_way == 0);
        const u64 refills = vm.gic.vcpu({1}).stat_refills;
        vm.send(2, 5, 1);
        vm.eoi(1, vm.ack(1));
        CHECK(vm.gic.vcpu({1}).stat_refills == refills);
    }
}

TEST_CASE("history: the timer that is watched") {
    TestVm vm;
    vm.boot();
    vm.load_all();
    watch(vm, 27);
    for (unsigned i = 0; i < 2; ++i) {
        REQUIRE(vm.fire_timer(0));
        CHECK(vm.ack(0) == 27);
        vm.eoi(0, 27);
    }
    expect(explain(vm, 27), {"vCPU 0: the host's timer fired", "vCPU 0: into a list register: pending",
                             "vCPU 0: the host's timer fired", "vCPU 0: into a list register: pending"});
    vm.save(0);
    vm.kick(vm.gic.set_ppi({0}, {27}, true));
    expect(explain(vm, 27), {"vCPU 0: line high"});
}

TEST_CASE("history: an LPI that is watched: commands, messages, the table, moves") {
    ItsVm vm;
    vm.boot_its();
    vm.map_some();
    watch(vm, gic::first_lpi + 3);
    vm.kick(vm.lpis->arrive(gic::first_lpi + 3));
    CHECK(vm.ack(0) == gic::first_lpi + 3);
    vm.eoi(0, gic::first_lpi + 3);
    vm.configure(gic::first_lpi + 3, false);
    vm.command(invall(0));
    vm.command(raise(1, 3));
    vm.command(movi(1, 3, 1));
    vm.command(movall(1u << 16, 0));
    vm.command(clear(1, 3));
    vm.command(discard(1, 3));
    expect(explain(vm, gic::first_lpi + 3),
           {"signalled by a message", "vCPU 0: into a list register: pending", "configuration 0xa2",
            "signalled by a message", "moved to collection 1", "vCPU 1: all that pended moved to vCPU 0",
            "pending state cleared", " unmapped\n"});
}

TEST_CASE("history: what registers changed is there without watching, of every INTID in the word") {
    TestVm vm;
    vm.boot();
    vm.wr(0, gicd::icenabler + 4, 0x300);
    vm.wr(0, gicd::igroupr + 4, ~0x200u);
    vm.wr(0, gicd::ispendr + 4, 0x200);
    vm.wr(0, gicd::icpendr + 4, 0x200);
    vm.wr(0, gicd::isactiver + 4, 0x200);
    vm.wr(0, gicd::icactiver + 4, 0x200);
    vm.edge(41);
    vm.wr(0, gicd::ipriorityr + 41, 0x40, 1);
    vm.route(0, 41, 1);
    vm.route(0, 41, 7);
    vm.line(41, true);
    const std::string text = explain(vm, 41);
    expect(text, {"registers and commands", " enabled", " disabled\n", "group 0\n", "made pending",
                  "pending state cleared", "made active", "deactivated by", "edge-triggered", "priority 0x40",
                  "routed to vCPU 1", "routed to no vCPU"});
    CHECK(text.find("line high\n") == std::string::npos);
    expect(explain(vm, 40), {" disabled\n"});
    vm.rwr(1, 0, gicr::icenabler0, 1u << 5);
    expect(explain(vm, 5), {"vCPU 0: disabled"});
    vm.wr(0, gicd::isenabler + 4, 0x200);
    REQUIRE(vm.gic.reset().ok());
    expect(explain(vm, 41), {"routed to no vCPU", " enabled\n", "interrupts were reset"});
}

TEST_CASE("history: the oldest events make room, the newest is last") {
    TestVm vm;
    vm.boot();
    vm.wr(0, gicd::ipriorityr + 41, 0x10, 1);
    for (u32 i = 0; i < 200; ++i) {
        vm.wr(0, gicd::ipriorityr + 40, (i % 31) << 3, 1);
    }
    CHECK(explain(vm, 41).find("priority 0x10\n") == std::string::npos);
    const std::string text = explain(vm, 40);
    CHECK(text.substr(text.size() - 14) == "priority 0x68\n"); // 199 % 31 << 3
}
