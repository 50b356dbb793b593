// SPDX-License-Identifier: Apache-2.0
// A closed loop: random devices, senders, drivers and schedulers around one VM, against a model that knows
// nothing of list registers. Fixed seeds. Checked at every step: each INTID in one place; what is
// acknowledged was pending, enabled, routed here, not active anywhere, and the most urgent; what is not
// offered was not deliverable; nothing is lost or delivered twice; the timer's physical side is held exactly
// while it should be; maintenance stays bounded.
#include <random>

#include "tests/support/gic_its.hpp"

using namespace atl;
using namespace atl::vgic;
using namespace atl::gic::its_command;

namespace {

namespace gicd = gic::gicd;
namespace gicr = gic::gicr;

constexpr unsigned vcpus = 3;
constexpr u32 timer = 27;
// LPIs come after the SPIs in the model; spread over words, so that some share one.
constexpr u32 first_of_lpis = 96;
constexpr u32 lpis = 24;
constexpr u32 all = first_of_lpis + lpis;
constexpr u32 intid_of(u32 index) {
    return index < first_of_lpis ? index
                                 : gic::first_lpi + (index - first_of_lpis) * (index % 2 == 0 ? 341 : 7);
}
u32 index_of(u32 intid) {
    u32 index = intid < first_of_lpis ? intid : all;
    for (u32 i = first_of_lpis; i < all && intid >= gic::first_lpi; ++i) {
        index = intid_of(i) == intid ? i : index;
    }
    return index;
}

struct Model {
    bool enabled = true;
    bool edge = false;
    bool line = false;
    bool latch = false;
    u32 priority = 0xa0;
    unsigned target = 0;
    int active_on = -1;
    u32 senders = 0; // GICv2: of an SGI
    bool pending() const { return latch || senders != 0 || (!edge && line); }
};

class Loop {
  public:
    Loop(unsigned list_registers, bool eoimode, unsigned seed, bool gicv2, bool software, bool watched)
        : vm_(vcpus, list_registers, 16, gicv2, software), random_(seed), eoimode_(eoimode), lpis_(!gicv2),
          watched_(watched) {
        if (lpis_) {
            vm_.boot_its();
        } else {
            vm_.boot();
        }
        for (u32 spi = 32; gicv2 && spi < 96; ++spi) {
            vm_.route(0, spi, 0); // GICD_ITARGETSR is 0 out of reset
        }
        for (u32 spi = 32; spi < 96; ++spi) {
            model(0, spi).edge = spi % 2 != 0;
            if (spi % 2 != 0) {
                vm_.edge(spi);
            }
        }
        for (unsigned v = 0; v < vcpus; ++v) {
            vm_.open_interface(v, eoimode);
            for (u32 i = 0; i < 16; ++i) {
                model(v, i).edge = true;
            }
        }
        REQUIRE((!lpis_ || vm_.command(mapd(1, 5, ItsVm::itt(1), true)) == ItsFault::none));
        for (u32 i = first_of_lpis; i < count(); ++i) {
            model(0, i).edge = true;
            REQUIRE(vm_.command(mapti(1, i - first_of_lpis, intid_of(i), 0)) == ItsFault::none);
        }
        for (u32 i = 0; i < count(); ++i) {
            set_priority(i < 32 ? i % vcpus : 0, i, (i * 13 % 31) << 3);
        }
    }

    void run(unsigned steps) {
        for (unsigned i = 0; i < steps; ++i) {
            if (watched_ && pick(40) == 0) { // another one, or none: the short ways end and begin
                vm_.kick(vm_.gic.watch(pick(3) == 0 ? History::nothing : intid_of(pick(count()))));
            }
            step();
            check();
        }
        drain();
    }
    unsigned acknowledged() const { return acknowledged_; }
    unsigned maintenance() const { return vm_.maintenance_count; }
    unsigned causes() const { return causes_; }

  private:
    unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
    Model& model(unsigned v, u32 intid) { return intid < 32 ? private_[v][intid] : shared_[intid]; }

    bool deliverable(unsigned v, u32 intid) {
        const Model& m = model(v, intid);
        const bool here = intid < 32 || m.target == v;
        return m.pending() && m.enabled && here && m.active_on < 0;
    }
    u32 most_urgent(unsigned v) {
        u32 best = 0x100;
        for (u32 intid = 0; intid < count(); ++intid) {
            if (deliverable(v, intid) && model(v, intid).priority < best) {
                best = model(v, intid).priority;
            }
        }
        return best;
    }

    void set_priority(unsigned v, u32 intid, u32 priority) {
        model(v, intid).priority = priority;
        if (intid >= first_of_lpis) {
            configure(intid);
        } else if (intid < 32) {
            vm_.rwr(v, v, gicr::ipriorityr + intid, priority, 1);
        } else {
            vm_.wr(v, gicd::ipriorityr + intid, priority, 1);
        }
    }
    void set_enable(unsigned v, u32 intid, bool on) {
        model(v, intid).enabled = on;
        if (intid >= first_of_lpis) {
            return configure(intid);
        }
        const u32 bit = 1u << (intid % 32);
        if (intid < 32) {
            vm_.rwr(pick(vcpus), v, on ? gicr::isenabler0 : gicr::icenabler0, bit);
            if (intid == timer && on && timer_waits(v)) {
                private_[v][timer].line = false; // sampled again by the physical line
            }
        } else {
            vm_.wr(pick(vcpus), (on ? gicd::isenabler : gicd::icenabler) + intid / 32 * 4, bit);
        }
    }
    void configure(u32 lpi) {
        const Model& m = model(0, lpi);
        vm_.configure(intid_of(lpi), m.enabled, static_cast<u8>(m.priority));
        vm_.command(pick(3) == 0 ? invall(0) : inv(1, lpi - first_of_lpis));
    }
    /// A command, or a message of a device's, about one LPI.
    void step_lpi(unsigned v, u32 lpi) {
        Model& m = model(0, lpi);
        const u32 event = lpi - first_of_lpis;
        switch (pick(8)) {
        case 0:
            set_enable(v, lpi, pick(3) != 0);
            break;
        case 1:
            if (m.active_on < 0) {
                set_priority(v, lpi, pick(31) << 3);
            }
            break;
        case 2:
            m.target = pick(vcpus);
            vm_.command(movi(1, event, static_cast<u16>(m.target)));
            break;
        case 3:
            m.latch = false;
            vm_.command(clear(1, event));
            break;
        case 4:
            m.latch = true;
            vm_.command(raise(1, event));
            ++causes_;
            break;
        default:
            m.latch = true;
            vm_.kick(vm_.lpis->arrive(intid_of(lpi)));
            ++causes_;
            break;
        }
    }
    bool timer_waits(unsigned v) { return vm_.loaded(v) && !vm_.files[v].physical_active; }

    void step() {
        const unsigned v = pick(vcpus);
        const u32 spi = 32 + pick(pick(4) == 0 ? 64 : 12);
        Model& s = model(0, spi);
        switch (pick(lpis_ ? 18 : 16)) {
        case 16:
        case 17:
            step_lpi(v, first_of_lpis + pick(pick(2) == 0 ? lpis : 4));
            break;
        case 0:
        case 1:
            if (s.edge) {
                s.latch = true;
                vm_.pulse(spi);
                ++causes_;
            } else {
                s.line = !s.line;
                vm_.line(spi, s.line);
                ++causes_;
            }
            break;
        case 2:
        case 3: {
            const u32 sgi = pick(16);
            const unsigned to = pick(vcpus);
            if (vm_.gicv2) {
                model(to, sgi).senders |= 1u << v;
            } else {
                model(to, sgi).latch = true;
            }
            vm_.send(v, sgi, to);
            ++causes_;
            break;
        }
        case 4:
            if (!private_[v][timer].line && private_[v][timer].active_on < 0 && vm_.fire_timer(v)) {
                private_[v][timer].line = true;
                ++causes_;
            }
            break;
        case 5:
            set_enable(v, spi, pick(3) != 0);
            break;
        case 6: {
            const u32 intid = pick(2) == 0 ? timer : pick(16);
            set_enable(v, intid, pick(3) != 0);
            break;
        }
        case 7:
            if (s.active_on < 0) {
                set_priority(v, spi, pick(31) << 3);
            }
            break;
        case 8:
            s.target = pick(vcpus);
            vm_.route(v, spi, s.target, pick(2) == 0);
            break;
        case 9:
            s.latch = false;
            vm_.wr(v, gicd::icpendr + spi / 32 * 4, 1u << (spi % 32));
            break;
        case 10:
            if (vm_.loaded(v)) {
                vm_.save(v);
                CHECK(!vm_.files[v].physical_active);
            } else {
                vm_.load(v);
            }
            break;
        case 11:
            if (s.edge) {
                s.latch = true;
                vm_.wr(v, gicd::ispendr + spi / 32 * 4, 1u << (spi % 32));
                ++causes_;
            }
            if (vm_.gicv2) {
                senders_by_register(v, pick(16));
            }
            break;
        default:
            guest(v);
            break;
        }
    }

    /// GICD_SPENDSGIR and GICD_CPENDSGIR: one sender more, or less, or a look.
    void senders_by_register(unsigned v, u32 sgi) {
        const u32 bit = 1u << pick(vcpus);
        u32& senders = private_[v][sgi].senders;
        switch (pick(3)) {
        case 0:
            senders |= bit;
            vm_.wr(v, gicd::spendsgir + sgi, bit, 1);
            ++causes_;
            break;
        case 1:
            senders &= ~bit;
            vm_.wr(v, gicd::cpendsgir + sgi, bit, 1);
            break;
        default:
            CHECK(vm_.rd(v, gicd::cpendsgir + sgi, 1) == senders);
            CHECK((vm_.rd(v, gicd::ispendr) >> sgi & 1) == (senders != 0 ? 1 : 0));
            break;
        }
    }

    void guest(unsigned v) {
        if (!vm_.loaded(v)) {
            return;
        }
        if (pick(5) < 3) {
            acknowledge(v);
        } else if (!stack_[v].empty()) {
            finish(v);
        } else if (!dropped_[v].empty()) {
            deactivate(v);
        }
    }

    u32 count() const { return lpis_ ? all : first_of_lpis; }
    /// Of what IAR gave: with GICv2 an SGI's sender is in it.
    u32 index_in(u32 iar) const { return lpis_ ? index_of(iar) : iar & gic::v2_intid_mask; }

    bool acknowledge(unsigned v) {
        const u32 running = vm_.files[v].running_priority();
        const u32 urgent = most_urgent(v);
        const u32 iar = vm_.ack(v);
        if (iar == LrFile::spurious) {
            CHECK((urgent >= running || urgent >= 0xf8));
            return false;
        }
        const u32 intid = index_in(iar);
        REQUIRE(intid < all);
        Model& m = model(v, intid);
        CAPTURE(intid);
        CHECK(m.enabled);
        CHECK(m.pending());
        CHECK(m.active_on < 0);
        CHECK((intid < 32 || m.target == v));
        CHECK(m.priority == urgent);
        m.latch = false;
        if (vm_.gicv2) {
            const u32 sender = 1u << (iar >> 10);
            CHECK((intid >= 16 || (m.senders & sender) != 0));
            m.senders &= ~sender;
        }
        if (intid == timer) {
            m.line = false;
        }
        m.active_on = intid < first_of_lpis ? static_cast<int>(v) : -1; // an LPI is pending or not
        stack_[v].push_back(iar);
        ++acknowledged_;
        return true;
    }

    void finish(unsigned v) {
        const u32 iar = stack_[v].back();
        stack_[v].pop_back();
        if (!eoimode_) {
            model(v, index_in(iar)).active_on = -1;
        } else if (index_in(iar) < first_of_lpis) {
            dropped_[v].push_back(iar);
        }
        vm_.eoi(v, iar);
    }

    void deactivate(unsigned v) {
        const unsigned i = pick(static_cast<unsigned>(dropped_[v].size()));
        const u32 intid = dropped_[v][i];
        dropped_[v].erase(dropped_[v].begin() + i);
        model(v, intid & gic::v2_intid_mask).active_on = -1;
        vm_.dir(v, intid);
    }

    void check() {
        using Lr = gic::IchLr;
        int place[all] = {};
        for (unsigned v = 0; v < vcpus; ++v) {
            VcpuGic& g = vm_.gic.vcpu(TestVm::index(v));
            if (!vm_.loaded(v)) {
                CHECK((!vm_.files[v].trapping && vm_.files[v].shown == VirtualLines{}));
                bool expected = false;
                const u32 running = saved_running(g);
                for (u32 i = 0; i < all; ++i) {
                    expected |=
                        deliverable(v, i) && model(v, i).priority < 0xf8 && model(v, i).priority < running;
                }
                CHECK(vm_.gic.has_pending(TestVm::index(v)) == expected);
                continue;
            }
            CHECK(!g.needs_flush());
            CHECK(!vm_.files[v].maintenance_asserted());
            CHECK(vm_.files[v].trapping == vm_.software);
            CHECK(vm_.files[v].shown == (vm_.software ? vm_.files[v].lines() : VirtualLines{}));
            int seen_private[32] = {};
            for (unsigned slot = 0; slot < vm_.files[v].count(); ++slot) {
                const u64 lr = vm_.files[v].peek(slot);
                if ((lr & (Lr::Pending::mask | Lr::Active::mask)) != 0) {
                    const u32 intid = index_of(static_cast<u32>(Lr::VINTID::get(lr)));
                    REQUIRE(intid < all);
                    CHECK((g.used >> slot & 1) == 1);
                    int& seen = intid < 32 ? seen_private[intid] : place[intid];
                    CHECK(++seen == 1);
                    CHECK((intid >= 32 || (g.priv.active >> intid & 1) == 0));
                }
            }
            check_order(v);
            const Model& t = private_[v][timer];
            CHECK(vm_.files[v].physical_active == (t.line || t.active_on >= 0));
        }
    }
    /// Nothing that waits is more urgent than something that is listed as pending.
    void check_order(unsigned v) {
        using Lr = gic::IchLr;
        u64 least_urgent = 0;
        u32 listed[all] = {};
        for (unsigned slot = 0; slot < vm_.files[v].count(); ++slot) {
            const u64 lr = vm_.files[v].peek(slot);
            if (Lr::Pending::test(lr) && !Lr::Active::test(lr)) {
                least_urgent = std::max(least_urgent, Lr::Priority::get(lr));
                listed[index_of(static_cast<u32>(Lr::VINTID::get(lr)))] = 1;
            }
        }
        bool ordered = true;
        for (u32 i = 0; i < all; ++i) {
            ordered &= listed[i] == 1 || !deliverable(v, i) || model(v, i).priority >= least_urgent;
        }
        CHECK(ordered);
    }
    static u32 saved_running(const VcpuGic& g) {
        const u32 levels = g.saved.ap0r[0] | g.saved.ap1r[0];
        return levels == 0 ? 0x100 : static_cast<u32>(std::countr_zero(levels)) << 3;
    }

    void drain() {
        vm_.kick(vm_.gic.watch(History::nothing));
        for (unsigned v = 0; v < vcpus; ++v) {
            if (!vm_.loaded(v)) {
                vm_.load(v);
            }
        }
        for (u32 i = 0; i < all; ++i) {
            for (unsigned v = 0; v < (i < 32 ? vcpus : 1); ++v) {
                set_enable(v, i, true);
            }
            if (i >= 32 && i < first_of_lpis && !model(0, i).edge && model(0, i).line) {
                model(0, i).line = false;
                vm_.line(i, false);
            }
        }
        for (unsigned rounds = 0; rounds < 100; ++rounds) {
            for (unsigned v = 0; v < vcpus; ++v) {
                while (acknowledge(v)) {
                }
                while (!stack_[v].empty()) {
                    finish(v);
                    while (acknowledge(v)) {
                    }
                }
                while (!dropped_[v].empty()) {
                    deactivate(v);
                }
            }
            check();
        }
        for (u32 i = 0; i < all; ++i) {
            for (unsigned v = 0; v < (i < 32 ? vcpus : 1); ++v) {
                CAPTURE(i);
                CHECK(!model(v, i).pending()); // nothing lost
                CHECK(model(v, i).active_on < 0);
            }
        }
        for (unsigned v = 0; v < vcpus; ++v) {
            CHECK(vm_.files[v].acknowledge(true) == LrFile::spurious); // nothing twice
            CHECK(!vm_.files[v].physical_active);
            CHECK(vm_.gic.vcpu(TestVm::index(v)).long_way == (vm_.software ? none_allowed : 0));
        }
    }

    ItsVm vm_;
    std::mt19937 random_;
    bool eoimode_;
    bool lpis_;
    bool watched_;
    Model private_[vcpus][32];
    Model shared_[all];
    std::vector<u32> stack_[vcpus];
    std::vector<u32> dropped_[vcpus];
    unsigned acknowledged_ = 0;
    unsigned causes_ = 0;
};

} // namespace

static void run_loops(bool gicv2, bool software = false, bool watched = false) {
    for (const unsigned lrs : {1u, 2u, 4u, 16u}) {
        for (const bool eoimode : {false, true}) {
            for (unsigned seed = 1; seed <= 6; ++seed) {
                CAPTURE(lrs);
                CAPTURE(eoimode);
                CAPTURE(seed);
                Loop loop(lrs, eoimode, seed, gicv2, software, watched);
                loop.run(3000);
                CHECK(loop.acknowledged() > 100);
                // Every maintenance exit is paid for by an acknowledge or a deactivation.
                CHECK(loop.maintenance() <= 2 * loop.acknowledged() + 16);
            }
        }
    }
}

TEST_CASE("closed loop: random guests against a model, 1 to 16 list registers") {
    run_loops(false);
}

TEST_CASE("closed loop: the same with a GICv2: an SGI for each sender, targets, banked registers") {
    run_loops(true);
}

TEST_CASE("closed loop: the same with the CPU interface in software") {
    run_loops(false, true);
    run_loops(true, true);
}

TEST_CASE("closed loop: the same while interrupts are watched") {
    run_loops(false, false, true);
    run_loops(true, false, true);
}
