// SPDX-License-Identifier: Apache-2.0
// LPIs that are injected directly: what a guest does to its ITS against what the host's ITS then does, with a model of that
// and of the redistributors. [vgic/direct_lpis.hpp; IHI0069 §5.3, §6]
#include <map>
#include <random>

#include "tests/support/gic_direct.hpp"

using namespace atl;
using namespace atl::vgic;
using namespace atl::gic::its_command;

namespace {

constexpr u32 lpi = gic::first_lpi; // of event n: lpi + n
constexpr u16 vpe0 = DirectVm::first_vpe;

} // namespace

TEST_CASE("direct: GICv4's commands have the architecture's layout") {
    CHECK(vmapp(5, 0x3'0000, Pa{0x4321'0000}, 14, true) ==
          gic::ItsCommand{0x29, 0x5'0000'0000, 0x8000'0000'0003'0000, 0x4321'000d});
    CHECK(vmapp(5, 0x3'0000, Pa{0x4321'0000}, 14, false) == gic::ItsCommand{0x29, 0x5'0000'0000, 0, 0});
    CHECK(vmapti(0x10, 3, 8195, 5, 8200) ==
          gic::ItsCommand{0x10'0000'002a, 0x5'0000'0003, 0x2008'0000'2003, 0});
    CHECK(vmovi(0x10, 3, 6) == gic::ItsCommand{0x10'0000'0021, 0x6'0000'0003, 0, 0});
    CHECK(vsync(6) == gic::ItsCommand{0x25, 0x6'0000'0000, 0, 0});
    CHECK(vinvall(6) == gic::ItsCommand{0x2d, 0x6'0000'0000, 0, 0});
}

TEST_CASE(
    "direct: a message of a mapped event is pending at once, without EL2; one of another event is nothing") {
    for (const bool snoops : {true, false}) {
        DirectVm vm({0, 1}, snoops);
        vm.boot_its();
        CHECK(vm.model.virtual_events() == 0);
        vm.map_some();
        CHECK(vm.model.virtual_events() == 16);
        CHECK(vm.direct->mapped(0) == 16);
        const u64 commands = vm.host->commands();
        const auto refills = vm.gic.vcpu({0}).stat_refills;
        vm.message(3);
        CHECK(vm.model.signalled(0) == lpi + 3);
        CHECK(vm.take(0) == lpi + 3);
        CHECK(vm.take(0) == 0);
        vm.message(16);
        vm.message(200);
        CHECK(vm.model.signalled(0) == 0);
        CHECK(vm.model.rung.empty());
        CHECK(vm.host->commands() == commands);
        CHECK(vm.gic.vcpu({0}).stat_refills == refills);
        // What the guest writes into its table counts when it says so.
        vm.configure(lpi + 4, false);
        vm.message(4);
        CHECK(vm.take(0) == lpi + 4);
        CHECK(vm.command(inv(1, 4)) == ItsFault::none);
        vm.message(4);
        CHECK(vm.take(0) == 0);
        vm.configure(lpi + 4, true, 0x20);
        vm.configure(lpi + 5, true, 0x40);
        CHECK(vm.command(invall(0)) == ItsFault::none);
        vm.message(6);
        vm.message(5);
        CHECK(vm.take(0) == lpi + 4);
        CHECK(vm.take(0) == lpi + 5);
        CHECK(vm.take(0) == lpi + 6);
    }
}

TEST_CASE("direct: MOVI, MAPC and DISCARD take pending state along, or away, as the architecture says") {
    DirectVm vm;
    vm.boot_its();
    vm.map_some();
    for (u32 event = 0; event < 4; ++event) {
        vm.message(event);
    }
    CHECK(vm.command(movi(1, 0, 1)) == ItsFault::none);
    CHECK(vm.model.pends(vpe0 + 1, lpi));
    CHECK(vm.command(clear(1, 1)) == ItsFault::none);
    CHECK(vm.command(discard(1, 2)) == ItsFault::none);
    CHECK(vm.take(1) == lpi);
    CHECK(vm.take(0) == lpi + 3);
    CHECK(vm.take(0) == 0);
    vm.message(2); // not mapped any more
    CHECK_FALSE(vm.pends_in_hardware(lpi + 2));
    CHECK(vm.command(raise(1, 3)) == ItsFault::none);
    CHECK(vm.model.pends(vpe0, lpi + 3));
    CHECK(vm.command(mapc(0, 1u << 16, true)) == ItsFault::none);
    CHECK(vm.direct->mapped(0) == 0);
    CHECK(vm.direct->mapped(1) == 15);
    CHECK(vm.take(1) == lpi + 3);
    // Mapped to another LPI, and by another event.
    CHECK(vm.command(mapti(1, 3, lpi + 40, 1)) == ItsFault::none);
    vm.configure(lpi + 40, true);
    CHECK(vm.command(inv(1, 3)) == ItsFault::none);
    vm.message(3);
    CHECK(vm.take(1) == lpi + 40);
    CHECK(vm.command(mapti(1, 9, lpi + 40, 1)) == ItsFault::none); // takes it over
    vm.message(3);
    CHECK(vm.take(1) == 0);
    vm.message(9);
    CHECK(vm.take(1) == lpi + 40);
    CHECK(vm.command(mapd(1, 4, vm.itt(1), false)) == ItsFault::none);
    CHECK(vm.model.virtual_events() == 0);
}

TEST_CASE("direct: what arrives in software of a direct LPI pends in its vPE's table, also when a list "
          "register is free") {
    DirectVm vm;
    vm.boot_its();
    vm.map_some();
    vm.kick(vm.lpis->arrive(lpi + 3)); // as of a message that was under way when the event became direct
    vm.enter_all();
    CHECK(vm.model.pends(vpe0, lpi + 3));
    CHECK(vm.places(lpi + 3) == 1);
    CHECK(vm.take(0) == lpi + 3);
    CHECK(vm.take(0) == 0);
}

TEST_CASE("direct: GITS_CREADR does not move on before the host's ITS has followed") {
    DirectVm vm;
    vm.boot_its();
    REQUIRE(vm.command(mapd(1, 8, vm.itt(1), true)) == ItsFault::none);
    for (u32 event = 0; event < 200; ++event) {
        vm.configure(lpi + event, true);
        REQUIRE(vm.command(mapti(1, event, lpi + event, 0)) == ItsFault::none);
    }
    const u64 before = vm.rits(gic::gits::creadr);
    vm.put(mapc(0, 1u << 16, true));
    vm.kick(vm.its->write(gic::gits::cwriter, 8, vm.tail));
    unsigned steps = 0;
    for (bool more = true; more; ++steps) {
        REQUIRE(steps < 100);
        const u64 commands = vm.host->commands();
        more = vm.its->step().more;
        CHECK(vm.host->commands() - commands <= 3 * 34); // a bounded part of it
        CHECK(more == (vm.its->read({1}, gic::gits::creadr, 8).value == before));
    }
    CHECK(steps > 4);
    CHECK(vm.direct->mapped(1) == 200);
}

TEST_CASE(
    "direct: a vCPU that is not loaded is woken by the doorbell, and does not sleep with something pending") {
    DirectVm vm({0, 0}); // two vCPUs of one pCPU
    vm.boot();
    vm.give_tables();
    vm.wits(gic::gits::ctlr, 1, 4);
    for (unsigned v = 0; v < 2; ++v) {
        vm.enable_lpis(v);
        vm.command(mapc(static_cast<u16>(v), u64{v} << 16, true));
    }
    vm.map_some();
    vm.load(0);
    vm.message(1);
    CHECK(vm.model.rung.empty()); // resident: no doorbell
    vm.save(0);
    CHECK(vm.gic.has_pending({0})); // GICR_VPENDBASER.PendingLast
    vm.load(0);
    CHECK(vm.take(0) == lpi + 1);
    vm.save(0);
    CHECK_FALSE(vm.gic.has_pending({0}));
    vm.load(1);
    vm.message(2);
    REQUIRE(vm.model.rung.size() == 1);
    CHECK(vm.model.rung[0] == DirectVm::doorbells + 2);
    CHECK(vm.answer_doorbells() == 1);
    vm.save(1);
    CHECK_FALSE(vm.gic.has_pending({1}));
    vm.load(0);
    CHECK(vm.take(0) == lpi + 2);
    // Disabled ones wake nobody; nor does what its CPU interface would not take.
    vm.configure(lpi + 2, false);
    CHECK(vm.command(inv(1, 2)) == ItsFault::none);
    vm.message(2);
    vm.save(0);
    CHECK_FALSE(vm.gic.has_pending({0}));
    vm.load(0);
    vm.message(3);
    vm.files[0].set_vmcr(DirectVm::open_vmcr() & ~gic::IchVmcr::VENG1::mask);
    vm.save(0);
    CHECK_FALSE(vm.gic.has_pending({0}));
    // A table that is written slowly, or never.
    vm.model.dirty_reads = 1000;
    vm.load(0);
    vm.files[0].set_vmcr(DirectVm::open_vmcr());
    CHECK(vm.take(0) == lpi + 3);
    vm.save(0);
    CHECK_FALSE(vm.gic.has_pending({0}));
    vm.model.dirty_reads = 10'000'000;
    vm.load(0);
    vm.save(0);
    CHECK(vm.gic.has_pending({0})); // the safer answer
    CHECK(vm.frames[0].timeouts() == 1);
    vm.model.mistakes = 0; // nobody else can be resident there now
}

TEST_CASE("direct: what software makes pending of a direct LPI goes to the table, too") {
    DirectVm vm;
    vm.boot_its();
    vm.map_some();
    // A DeviceID that is no device's, mapped to the same LPI.
    REQUIRE(vm.command(mapd(2, 4, vm.itt(2), true)) == ItsFault::none);
    REQUIRE(vm.command(mapti(2, 7, lpi + 7, 0)) == ItsFault::none);
    REQUIRE(vm.command(mapti(2, 8, lpi + 100, 0)) == ItsFault::none);
    CHECK(vm.command(raise(2, 7)) == ItsFault::none);
    CHECK(vm.model.pends(vpe0, lpi + 7));
    CHECK(vm.places(lpi + 7) == 1);
    vm.message(7);
    CHECK(vm.take(0) == lpi + 7);
    CHECK(vm.take(0) == 0);
    vm.kick(vm.its->message(2, 7));
    vm.enter_all();
    CHECK(vm.take(0) == lpi + 7);
    // Pending, in a list register, when it becomes direct.
    vm.configure(lpi + 100, true);
    CHECK(vm.command(inv(2, 8)) == ItsFault::none);
    CHECK(vm.command(raise(2, 8)) == ItsFault::none);
    CHECK_FALSE(vm.pends_in_hardware(lpi + 100));
    CHECK(vm.places(lpi + 100) == 1);
    REQUIRE(vm.command(mapti(1, 15, lpi + 100, 1)) == ItsFault::none);
    CHECK(vm.model.pends(vpe0 + 1, lpi + 100));
    CHECK(vm.places(lpi + 100) == 1);
    CHECK(vm.take(1) == lpi + 100);
    CHECK(vm.take(0) == 0);
    // Only software's event moves it: it is the LPI's route all the same.
    REQUIRE(vm.command(movi(2, 7, 1)) == ItsFault::none);
    vm.message(7);
    CHECK(vm.take(1) == lpi + 7);
}

TEST_CASE("direct: LPIs off, ITS off, collection unmapped: messages are nothing, what pended stays pending") {
    DirectVm vm;
    vm.boot_its();
    vm.map_some();
    SUBCASE("GITS_CTLR") {
        vm.message(5);
        vm.wits(gic::gits::ctlr, 0, 4);
        CHECK(vm.rits(gic::gits::ctlr, 4) == 0x8000'0000);
        CHECK(vm.model.virtual_events() == 0);
        vm.message(6);
        CHECK(vm.places(lpi + 5) == 1);
        CHECK_FALSE(vm.pends_in_hardware(lpi + 5));
        SUBCASE("taken meanwhile, by a list register") {
            CHECK(vm.take(0) == lpi + 5);
            CHECK(vm.direct->vpe(0).resident()); // again, with an empty table
            vm.wits(gic::gits::ctlr, 1, 4);
        }
        SUBCASE("taken afterwards") {
            vm.wits(gic::gits::ctlr, 1, 4);
            CHECK(vm.pends_in_hardware(lpi + 5));
            CHECK(vm.take(0) == lpi + 5);
        }
    }
    SUBCASE("GICR_CTLR.EnableLPIs: into the guest's table, and back") {
        vm.message(5);
        vm.rwr(1, 0, gic::gicr::ctlr, 0); // by the other vCPU
        CHECK(vm.direct->mapped(0) == 0);
        CHECK_FALSE(vm.direct->vpe(0).resident());
        CHECK(vm.places(lpi + 5) == 0);
        CHECK(vm.ram.byte(ItsVm::pending_tables + (lpi + 5) / 8) == 1 << 5);
        vm.message(6);
        vm.rwr(0, 0, gic::gicr::ctlr, 1);
        CHECK(vm.direct->mapped(0) == 16);
        CHECK(vm.model.pends(vpe0, lpi + 5));
        CHECK(vm.take(0) == lpi + 5);
    }
    SUBCASE("MAPC") {
        vm.message(5);
        CHECK(vm.command(mapc(0, 0, false)) == ItsFault::none);
        CHECK(vm.model.virtual_events() == 0);
        vm.message(6);
        CHECK(vm.take(0) == lpi + 5); // it pended at vCPU 0
        CHECK(vm.command(mapc(0, 1u << 16, true)) == ItsFault::none);
        CHECK(vm.direct->mapped(1) == 16);
    }
    SUBCASE("MOVI to a vCPU with LPIs off") {
        vm.rwr(1, 1, gic::gicr::ctlr, 0);
        vm.message(5);
        CHECK(vm.command(movi(1, 5, 1)) == ItsFault::none);
        CHECK(vm.direct->mapped(0) == 15);
        vm.message(5);
        CHECK(vm.take(0) == lpi + 5);
    }
    SUBCASE("GICD_CTLR.EnableGrp1: pending, and not signalled") {
        vm.wr(1, gic::gicd::ctlr, 1);
        CHECK_FALSE(vm.direct->vpe(0).resident());
        vm.message(5);
        CHECK(vm.model.pends(vpe0, lpi + 5));
        CHECK(vm.take(0) == 0);
        vm.save(0);
        CHECK_FALSE(vm.gic.has_pending({0}));
        vm.wr(1, gic::gicd::ctlr, 3);
        CHECK(vm.gic.has_pending({0}));
        vm.load(0);
        CHECK(vm.take(0) == lpi + 5);
    }
    CHECK(vm.take(0) == 0);
    CHECK(vm.take(1) == 0);
}

TEST_CASE("direct: a new life finds nothing of the one before") {
    DirectVm vm;
    vm.boot_its();
    vm.map_some();
    for (u32 event = 0; event < 16; ++event) {
        vm.message(event);
    }
    vm.save(0);
    vm.save(1);
    REQUIRE(vm.its->reset());
    REQUIRE(vm.gic.reset().ok());
    CHECK(vm.model.virtual_events() == 0);
    vm.message(3);
    CHECK_FALSE(vm.gic.has_pending({0}));
    vm.boot_its();
    CHECK(vm.take(0) == 0);
    vm.map_some();
    CHECK(vm.take(0) == 0);
    vm.message(3);
    CHECK(vm.take(0) == lpi + 3);
    CHECK(vm.take(0) == 0);
}

TEST_CASE("direct: the host's ITS is told nothing that a guest has not been checked for") {
    DirectVm vm;
    vm.boot_its();
    REQUIRE(vm.command(mapd(1, 8, vm.itt(1), true)) == ItsFault::none);
    std::mt19937 random(1);
    for (unsigned i = 0; i < 20'000; ++i) {
        // Opcodes of either GIC, fields small and absurd.
        const auto field = [&](u64 small) { return random() % 8 == 0 ? u64{random()} : random() % small; };
        const u64 opcode = random() % 4 == 0 ? random() % 0x30 : 1 + random() % 15;
        if (opcode == 0x08 && random() % 4 != 0) {
            continue;
        }
        vm.put({opcode | field(3) << 32, (field(20) & 0xffff'ffff) | (8190 + field(20)) << 32,
                field(4) | (opcode == 0x08 ? vm.itt(1).value : field(3) << 16) |
                    (random() % 4 != 0 ? u64{1} << 63 : 0),
                field(3) << 16});
        vm.go();
        vm.message(random() % 20);
        if (random() % 4 == 0) {
            static_cast<void>(vm.take(random() % 2));
        }
    }
    CHECK(vm.host->usable());
}

TEST_CASE("direct: whatever is done in whatever order, no message is lost, and each pends in one place") {
    for (unsigned seed = 0; seed < 60; ++seed) {
        DirectVm vm(seed % 3 == 0 ? std::vector<unsigned>{0, 0} : std::vector<unsigned>{0, 1}, seed % 2 == 0);
        const bool shared = vm.homes[1] == 0;
        vm.boot();
        vm.give_tables();
        vm.wits(gic::gits::ctlr, 1, 4);
        for (unsigned v = 0; v < 2; ++v) {
            vm.enable_lpis(v);
            vm.command(mapc(static_cast<u16>(v), u64{v} << 16, true));
        }
        vm.map_some();
        REQUIRE(vm.command(mapd(2, 4, vm.itt(2), true)) == ItsFault::none);
        for (u32 event = 0; event < 4; ++event) { // the same LPIs, and some of its own
            REQUIRE(vm.command(mapti(2, event, lpi + event, 0)) == ItsFault::none);
            vm.configure(lpi + 32 + event, true);
            REQUIRE(vm.command(mapti(2, 4 + event, lpi + 32 + event, 0)) == ItsFault::none);
        }
        std::mt19937 random(seed);
        std::map<u32, bool> expected; // what pends
        bool its_on = true, lpis_on[2] = {true, true}, mapped[16];
        std::map<u32, unsigned> route; // of an LPI
        std::fill(std::begin(mapped), std::end(mapped), true);
        const auto arrives = [&](u32 which) {
            if (its_on && lpis_on[route[which]]) {
                expected[which] = true;
            }
        };
        const auto took = [&](unsigned v) {
            const u32 which = vm.take(v);
            if (which != 0) {
                INFO(which);
                CHECK(expected[which]);
                expected[which] = false;
            }
            return which != 0;
        };
        const auto toggle = [&](unsigned v) {
            if (shared && !vm.loaded(v)) {
                vm.loaded(1 - v) ? vm.save(1 - v) : void();
            }
            vm.loaded(v) ? vm.save(v) : vm.load(v);
        };
        const auto somebody = [&] { // who runs can write registers
            if (!vm.loaded(0) && !vm.loaded(1)) {
                vm.load(0);
            }
            return vm.loaded(0) ? 0u : 1u;
        };
        for (unsigned i = 0; i < 400; ++i) {
            const u32 event = random() % 16;
            const unsigned v = random() % 2;
            switch (random() % 16) {
            case 0:
            case 1:
            case 2:
                vm.message(event);
                if (mapped[event]) {
                    arrives(lpi + event);
                }
                break;
            case 3:
                if (its_on && (event % 8 >= 4 || mapped[event % 8])) {
                    vm.command(raise(2, event % 8));
                    arrives(event % 8 < 4 ? lpi + event % 8 : lpi + 28 + event % 8);
                }
                break;
            case 4:
                if (its_on && mapped[event]) {
                    vm.command(raise(1, event));
                    arrives(lpi + event);
                }
                break;
            case 5:
                if (its_on && mapped[event] && lpis_on[0] && lpis_on[1]) {
                    vm.command(clear(1, event));
                    expected[lpi + event] = false;
                }
                break;
            case 6:
                if (its_on && mapped[event] && lpis_on[0] && lpis_on[1]) {
                    vm.command(movi(1, event, static_cast<u16>(v)));
                    route[lpi + event] = v;
                }
                break;
            case 7:
                if (its_on && lpis_on[0] && lpis_on[1]) {
                    vm.command(discard(1, event));
                    if (mapped[event]) {
                        expected[lpi + event] = false;
                    }
                    mapped[event] = false;
                }
                break;
            case 8:
                if (its_on && !mapped[event] && lpis_on[0] && lpis_on[1]) {
                    vm.command(mapti(1, event, lpi + event, static_cast<u16>(v)));
                    mapped[event] = true;
                    route[lpi + event] = v;
                }
                break;
            case 9:
                if (its_on) {
                    vm.configure(lpi + event, random() % 2 == 0);
                    vm.command(random() % 2 == 0 ? invall(0) : inv(1, event));
                }
                break;
            case 10:
                if (random() % 4 == 0) {
                    its_on = !its_on;
                    vm.wits(gic::gits::ctlr, its_on ? 1 : 0, 4);
                }
                break;
            case 11:
                if (random() % 4 == 0 && (lpis_on[1 - v] || !lpis_on[v])) {
                    lpis_on[v] = !lpis_on[v];
                    vm.rwr(somebody(), v, gic::gicr::ctlr, lpis_on[v] ? 1 : 0);
                }
                break;
            case 12:
                vm.wr(somebody(), gic::gicd::ctlr, random() % 4 == 0 ? 1 : 3);
                break;
            case 13:
                toggle(v);
                break;
            default:
                if (vm.loaded(v)) {
                    took(v);
                }
                break;
            }
            vm.enter_all();
            vm.answer_doorbells();
            for (u32 which = lpi; which < lpi + 48; ++which) {
                REQUIRE(vm.places(which) <= 1);
            }
        }
        // Everything on: all that pends is taken, and nothing else. Nobody had to be asked to look.
        vm.wits(gic::gits::ctlr, 1, 4);
        vm.wr(somebody(), gic::gicd::ctlr, 3);
        for (unsigned v = 0; v < 2; ++v) {
            vm.rwr(somebody(), v, gic::gicr::ctlr, 1);
        }
        for (u32 event = 0; event < 16; ++event) {
            vm.configure(lpi + event, true);
        }
        vm.command(invall(0));
        for (unsigned rounds = 0; rounds < 4; ++rounds) {
            for (unsigned v = 0; v < 2; ++v) {
                vm.loaded(1 - v) && shared ? vm.save(1 - v) : void();
                vm.loaded(v) ? void() : vm.load(v);
                while (took(v)) {
                }
            }
        }
        for (const auto& [which, pends] : expected) {
            INFO("seed ", seed, " LPI ", which);
            CHECK_FALSE(pends);
        }
    }
}
