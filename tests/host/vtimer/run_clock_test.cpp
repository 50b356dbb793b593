// SPDX-License-Identifier: Apache-2.0
// Host tests of vtimer::RunClock: it stands only while somebody waits and nobody runs, and never goes back.
#include "vtimer/run_clock.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>

using namespace atl;
using vtimer::never;
using vtimer::RunClock;

TEST_CASE("run clock: it goes while a vCPU runs or all sleep, and stands while one waits") {
    RunClock clock;
    clock.start(1000);
    CHECK(clock.offset(1500, never) == 1000); // all sleep
    CHECK_FALSE(clock.stands(never));
    CHECK(clock.stands(1600));
    CHECK(clock.offset(1600, 1600) == 1000);
    CHECK(clock.offset(1900, 1600) == 1300);  // 300 ticks of waiting
    CHECK(clock.on_load(2000, 1600) == 1400); // 400 in the end
    CHECK_FALSE(clock.stands(1600));          // another one may wait, but this one runs
    CHECK(clock.on_load(2100, 1700) == 1400); // the second vCPU meets the same offset
    clock.on_save(2200);
    CHECK(clock.offset(2300, 2200) == 1400);
    clock.on_save(2400);
    CHECK(clock.offset(2500, 2200) == 1500);  // not before nobody ran
    CHECK(clock.on_load(2390, 2200) == 1400); // a count read before the last save: nothing goes back
}

TEST_CASE("run clock: random vCPUs: one count for all, monotonic, as long as the model says") {
    u64 seed = 99;
    const auto random = [&seed](u64 below) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        return (seed >> 33) % below;
    };
    enum class State { asleep, waiting, running };
    std::array<State, 4> vcpu{};
    std::array<u64, 4> since{};
    since.fill(never);
    RunClock clock;
    u64 now = 5000;
    clock.start(now);
    u64 count = 0; // the model: ticks that passed while it did not stand
    const auto waiting = [&] { return *std::min_element(since.begin(), since.end()); };
    for (unsigned step = 0; step < 20000; ++step) {
        const bool runs = std::count(vcpu.begin(), vcpu.end(), State::running) != 0;
        const bool waits = std::count(vcpu.begin(), vcpu.end(), State::waiting) != 0;
        const u64 span = random(50);
        now += span;
        count += runs || !waits ? span : 0;
        REQUIRE(now - clock.offset(now, waiting()) == count);
        REQUIRE(clock.stands(waiting()) == (waits && !runs));
        const auto i = random(4);
        switch (vcpu[i]) {
        case State::asleep:
            vcpu[i] = State::waiting;
            since[i] = now;
            break;
        case State::waiting:
            REQUIRE(now - clock.on_load(now, waiting()) == count);
            since[i] = never;
            vcpu[i] = State::running;
            break;
        case State::running:
            clock.on_save(now);
            vcpu[i] = random(2) == 0 ? State::asleep : State::waiting;
            since[i] = vcpu[i] == State::waiting ? now : never;
            break;
        }
    }
}
