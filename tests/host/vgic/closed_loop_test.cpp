// SPDX-License-Identifier: Apache-2.0
// A closed loop: random devices, senders, drivers and schedulers around one VM, against a model that knows
// nothing of list registers. Fixed seeds. Checked at every step: each INTID in one place; what is
// acknowledged was pending, enabled, routed here, not active anywhere, and the most urgent; what is not
// offered was not deliverable; nothing is lost or delivered twice; the timer's physical side is held exactly
// while it should be; maintenance stays bounded.
#include <random>

#include "tests/support/gic_guest.hpp"

using namespace atl;
using namespace atl::vgic;

namespace {

namespace gicd = gic::gicd;
namespace gicr = gic::gicr;

constexpr unsigned vcpus = 3;
constexpr u32 timer = 27;

struct Model {
    bool enabled = true;
    bool edge = false;
    bool line = false;
    bool latch = false;
    u32 priority = 0xa0;
    unsigned target = 0;
    int active_on = -1;
    bool pending() const { return latch || (!edge && line); }
};

class Loop {
  public:
    Loop(unsigned list_registers, bool eoimode, unsigned seed)
        : vm_(vcpus, list_registers, 64), random_(seed), eoimode_(eoimode) {
        vm_.boot();
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
        for (u32 i = 0; i < 96; ++i) {
            set_priority(i < 32 ? i % vcpus : 0, i, (i * 13 % 31) << 3);
        }
        vm_.load_all();
    }

    void run(unsigned steps) {
        for (unsigned i = 0; i < steps; ++i) {
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
        for (u32 intid = 0; intid < 96; ++intid) {
            if (deliverable(v, intid) && model(v, intid).priority < best) {
                best = model(v, intid).priority;
            }
        }
        return best;
    }

    void set_priority(unsigned v, u32 intid, u32 priority) {
        model(v, intid).priority = priority;
        if (intid < 32) {
            vm_.rwr(v, v, gicr::ipriorityr + intid, priority, 1);
        } else {
            vm_.wr(v, gicd::ipriorityr + intid, priority, 1);
        }
    }
    void set_enable(unsigned v, u32 intid, bool on) {
        model(v, intid).enabled = on;
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
    bool timer_waits(unsigned v) { return vm_.loaded(v) && !vm_.files[v].physical_active; }

    void step() {
        const unsigned v = pick(vcpus);
        const u32 spi = 32 + pick(pick(4) == 0 ? 64 : 12);
        Model& s = model(0, spi);
        switch (pick(16)) {
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
            model(to, sgi).latch = true;
            vm_.sgi(v, gic::IccSgir::INTID::of(sgi) | (u64{1} << to));
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
            vm_.wr(v, gicd::irouter + 8 * spi, s.target, pick(2) == 0 ? 8 : 4);
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
            break;
        default:
            guest(v);
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

    bool acknowledge(unsigned v) {
        const u32 running = vm_.files[v].running_priority();
        const u32 urgent = most_urgent(v);
        const u32 intid = vm_.ack(v);
        if (intid == LrFile::spurious) {
            CHECK((urgent >= running || urgent >= 0xf8));
            return false;
        }
        REQUIRE(intid < 96);
        Model& m = model(v, intid);
        CAPTURE(intid);
        CHECK(m.enabled);
        CHECK(m.pending());
        CHECK(m.active_on < 0);
        CHECK((intid < 32 || m.target == v));
        CHECK(m.priority == urgent);
        m.latch = false;
        if (intid == timer) {
            m.line = false;
        }
        m.active_on = static_cast<int>(v);
        stack_[v].push_back(intid);
        ++acknowledged_;
        return true;
    }

    void finish(unsigned v) {
        const u32 intid = stack_[v].back();
        stack_[v].pop_back();
        if (!eoimode_) {
            model(v, intid).active_on = -1;
        } else {
            dropped_[v].push_back(intid);
        }
        vm_.eoi(v, intid);
    }

    void deactivate(unsigned v) {
        const unsigned i = pick(static_cast<unsigned>(dropped_[v].size()));
        const u32 intid = dropped_[v][i];
        dropped_[v].erase(dropped_[v].begin() + i);
        model(v, intid).active_on = -1;
        vm_.dir(v, intid);
    }

    void check() {
        using Lr = gic::IchLr;
        int place[96] = {};
        for (unsigned v = 0; v < vcpus; ++v) {
            VcpuGic& g = vm_.gic.vcpu(TestVm::index(v));
            if (!vm_.loaded(v)) {
                bool expected = false;
                const u32 running = saved_running(g);
                for (u32 i = 0; i < 96; ++i) {
                    expected |=
                        deliverable(v, i) && model(v, i).priority < 0xf8 && model(v, i).priority < running;
                }
                CHECK(vm_.gic.has_pending(TestVm::index(v)) == expected);
                continue;
            }
            CHECK(!g.needs_flush());
            CHECK(!vm_.files[v].maintenance_asserted());
            int seen_private[32] = {};
            for (unsigned slot = 0; slot < vm_.files[v].count(); ++slot) {
                const u64 lr = vm_.files[v].lrs[slot];
                if ((lr & (Lr::Pending::mask | Lr::Active::mask)) != 0) {
                    const u64 intid = Lr::VINTID::get(lr);
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
        u32 listed[96] = {};
        for (unsigned slot = 0; slot < vm_.files[v].count(); ++slot) {
            const u64 lr = vm_.files[v].lrs[slot];
            if (Lr::Pending::test(lr) && !Lr::Active::test(lr)) {
                least_urgent = std::max(least_urgent, Lr::Priority::get(lr));
                listed[Lr::VINTID::get(lr)] = 1;
            }
        }
        bool ordered = true;
        for (u32 i = 0; i < 96; ++i) {
            ordered &= listed[i] == 1 || !deliverable(v, i) || model(v, i).priority >= least_urgent;
        }
        CHECK(ordered);
    }
    static u32 saved_running(const VcpuGic& g) {
        const u32 levels = g.saved.ap0r[0] | g.saved.ap1r[0];
        return levels == 0 ? 0x100 : static_cast<u32>(std::countr_zero(levels)) << 3;
    }

    void drain() {
        for (unsigned v = 0; v < vcpus; ++v) {
            if (!vm_.loaded(v)) {
                vm_.load(v);
            }
        }
        for (u32 i = 0; i < 96; ++i) {
            for (unsigned v = 0; v < (i < 32 ? vcpus : 1); ++v) {
                set_enable(v, i, true);
            }
            if (i >= 32 && !model(0, i).edge && model(0, i).line) {
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
        for (u32 i = 0; i < 96; ++i) {
            for (unsigned v = 0; v < (i < 32 ? vcpus : 1); ++v) {
                CAPTURE(i);
                CHECK(!model(v, i).pending()); // nothing lost
                CHECK(model(v, i).active_on < 0);
            }
        }
        for (unsigned v = 0; v < vcpus; ++v) {
            CHECK(vm_.files[v].acknowledge(true) == LrFile::spurious); // nothing twice
            CHECK(!vm_.files[v].physical_active);
            CHECK(!vm_.gic.vcpu(TestVm::index(v)).waiting);
        }
    }

    TestVm vm_;
    std::mt19937 random_;
    bool eoimode_;
    Model private_[vcpus][32];
    Model shared_[96];
    std::vector<u32> stack_[vcpus];
    std::vector<u32> dropped_[vcpus];
    unsigned acknowledged_ = 0;
    unsigned causes_ = 0;
};

} // namespace

TEST_CASE("closed loop: random guests against a model, 1 to 16 list registers") {
    for (const unsigned lrs : {1u, 2u, 4u, 16u}) {
        for (const bool eoimode : {false, true}) {
            for (unsigned seed = 1; seed <= 6; ++seed) {
                CAPTURE(lrs);
                CAPTURE(eoimode);
                CAPTURE(seed);
                Loop loop(lrs, eoimode, seed);
                loop.run(3000);
                CHECK(loop.acknowledged() > 100);
                // Every maintenance exit is paid for by an acknowledge or a deactivation.
                CHECK(loop.maintenance() <= 2 * loop.acknowledged() + 16);
            }
        }
    }
}
