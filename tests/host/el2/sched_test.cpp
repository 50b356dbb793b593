// SPDX-License-Identifier: Apache-2.0
// The run queue [el2/sched.hpp]: every transition, and random interleavings against a model: each vCPU is in
// exactly one place, no wake-up is lost, and the queue is first come, first served.
#include <doctest/doctest.h>

#include <deque>
#include <thread>

#include "el2/sched.hpp"

using namespace atl;
using namespace atl::el2;

TEST_CASE("sched: transitions of one vCPU") {
    RunQueue queue;
    SchedNode node;
    CHECK(queue.pick() == nullptr);
    CHECK(queue.wake(node, 1) == WakeEffect::none); // off stays off
    CHECK(node.state == SchedState::off);
    CHECK(!queue.contended());
    queue.start(node, 1);
    CHECK(node.state == SchedState::ready);
    CHECK(queue.contended());
    queue.start(node, 1); // twice changes nothing
    CHECK(queue.wake(node, 1) == WakeEffect::none);
    CHECK(queue.pick() == &node);
    CHECK(node.state == SchedState::running);
    CHECK(!queue.contended());
    CHECK(queue.pick() == nullptr);
    queue.start(node, 1); // running: nothing
    CHECK(node.state == SchedState::running);
    CHECK(queue.park(node));
    CHECK(node.state == SchedState::parked);
    queue.requeue(node); // only a running one
    CHECK(node.state == SchedState::parked);
    CHECK(queue.wake(node, 1) == WakeEffect::queued);
    CHECK(queue.wake(node, 1) == WakeEffect::none);
    CHECK(queue.pick() == &node);
    queue.requeue(node);
    CHECK(node.state == SchedState::ready);
    queue.stop(node);
    CHECK(node.state == SchedState::off);
    CHECK(queue.pick() == nullptr);
}

TEST_CASE("sched: hand_over() is park() or requeue(), and pick()") {
    RunQueue queue;
    SchedNode a;
    SchedNode b;
    queue.start(a, 1);
    queue.start(b, 1);
    REQUIRE(queue.pick() == &a);
    CHECK(queue.hand_over(a, false) == &b); // end of slice: behind the other
    CHECK(a.state == SchedState::ready);
    CHECK(b.state == SchedState::running);
    CHECK(queue.hand_over(b, true) == &a);
    CHECK(b.state == SchedState::parked);
    CHECK(queue.hand_over(a, true) == nullptr);
    CHECK(a.state == SchedState::parked);
    CHECK(queue.wake(b, 1) == WakeEffect::queued);
    REQUIRE(queue.pick() == &b);
    CHECK(queue.hand_over(b, false) == &b); // alone: goes on
    CHECK(queue.wake(b, 1) == WakeEffect::running);
    CHECK(queue.hand_over(b, true) == &b); // the wake-up was for it
    CHECK(queue.hand_over(b, true) == nullptr);
    queue.start(a, 1); // only from off
    CHECK(queue.wake(a, 1) == WakeEffect::queued);
    REQUIRE(queue.pick() == &a);
    queue.stop(a);
    CHECK(queue.hand_over(a, false) == nullptr); // it was stopped: stays off
    CHECK(a.state == SchedState::off);
}

TEST_CASE("sched: a wake-up before park() is not lost, and counts once") {
    RunQueue queue;
    SchedNode node;
    queue.start(node, 1);
    REQUIRE(queue.pick() == &node);
    CHECK(queue.wake(node, 1) == WakeEffect::running);
    CHECK(!queue.park(node));
    CHECK(node.state == SchedState::running);
    CHECK(queue.park(node));
    // What came in before the pick is part of what the pick found.
    CHECK(queue.wake(node, 1) == WakeEffect::queued);
    REQUIRE(queue.pick() == &node);
    CHECK(queue.park(node));
}

TEST_CASE("sched: stop takes any one out of the queue and leaves the order of the rest") {
    for (unsigned gone = 0; gone < 4; ++gone) {
        RunQueue queue;
        SchedNode node[4];
        for (SchedNode& n : node) {
            queue.start(n, 1);
        }
        queue.stop(node[gone]);
        SchedNode late;
        queue.start(late, 1); // the tail is right, too
        for (unsigned i = 0; i < 4; ++i) {
            if (i != gone) {
                CHECK(queue.pick() == &node[i]);
            }
        }
        CHECK(queue.pick() == &late);
        CHECK(queue.pick() == nullptr);
        CHECK(!queue.contended());
    }
}

TEST_CASE("sched: stop in every other state") {
    RunQueue queue;
    SchedNode running;
    SchedNode parked;
    queue.start(parked, 1);
    REQUIRE(queue.pick() == &parked);
    REQUIRE(queue.park(parked));
    queue.start(running, 1);
    REQUIRE(queue.pick() == &running);
    CHECK(queue.wake(running, 1) == WakeEffect::running);
    queue.stop(running);
    queue.stop(parked);
    CHECK(running.state == SchedState::off);
    CHECK(parked.state == SchedState::off);
    queue.start(running, 1);
    REQUIRE(queue.pick() == &running);
    CHECK(queue.park(running)); // the old wake-up is gone
}

TEST_CASE("sched: random interleavings agree with a model") {
    constexpr unsigned count = 6;
    u64 seed = 0x5eed;
    const auto random = [&seed](unsigned below) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return static_cast<unsigned>((seed >> 33) % below);
    };
    for (unsigned trial = 0; trial < 50; ++trial) {
        RunQueue queue;
        SchedNode node[count];
        SchedState state[count] = {};
        bool hint[count] = {};
        std::deque<unsigned> order;
        for (unsigned step = 0; step < 400; ++step) {
            const unsigned i = random(count);
            switch (random(6)) {
            case 0:
                queue.start(node[i], 1);
                if (state[i] == SchedState::off) {
                    state[i] = SchedState::ready;
                    order.push_back(i);
                }
                break;
            case 1: {
                const WakeEffect effect = queue.wake(node[i], 1);
                CHECK(effect == (state[i] == SchedState::parked    ? WakeEffect::queued
                                 : state[i] == SchedState::running ? WakeEffect::running
                                                                   : WakeEffect::none));
                if (state[i] == SchedState::parked) {
                    state[i] = SchedState::ready;
                    order.push_back(i);
                }
                hint[i] = hint[i] || state[i] == SchedState::running;
                break;
            }
            case 2:
                if (state[i] == SchedState::running) {
                    CHECK(queue.park(node[i]) == !hint[i]);
                    state[i] = hint[i] ? SchedState::running : SchedState::parked;
                    hint[i] = false;
                }
                break;
            case 3:
                queue.requeue(node[i]);
                if (state[i] == SchedState::running) {
                    state[i] = SchedState::ready;
                    hint[i] = false;
                    order.push_back(i);
                }
                break;
            case 4:
                if (random(4) == 0) {
                    queue.stop(node[i]);
                    std::erase(order, i);
                    state[i] = SchedState::off;
                    hint[i] = false;
                }
                break;
            default: {
                SchedNode* const picked = queue.pick();
                CHECK((picked == nullptr) == order.empty());
                if (picked != nullptr) {
                    CHECK(picked == &node[order.front()]);
                    state[order.front()] = SchedState::running;
                    hint[order.front()] = false;
                    order.pop_front();
                }
                break;
            }
            }
            for (unsigned n = 0; n < count; ++n) {
                REQUIRE(node[n].state == state[n]);
            }
            REQUIRE(queue.contended() == !order.empty());
        }
    }
}

TEST_CASE("sched: no wake-up is lost between two threads") {
    // The sleeper announces a round and sleeps until woken for it, the waker wakes it once for each round.
    RunQueue queue;
    SchedNode node;
    constexpr unsigned rounds = 20'000;
    std::atomic<unsigned> event{0};
    std::atomic<unsigned> seen{0};
    queue.start(node, 1);
    std::thread waker([&] {
        for (unsigned r = 1; r <= rounds; ++r) {
            event.store(r);
            queue.wake(node, 1);
            while (seen.load() != r) {
                std::this_thread::yield();
            }
        }
    });
    unsigned done = 0;
    while (done != rounds) {
        SchedNode* const picked = queue.pick();
        if (picked == nullptr) {
            std::this_thread::yield();
            continue;
        }
        for (;;) {
            if (event.load() != done) {
                seen.store(done = event.load());
                continue;
            }
            if (queue.park(node)) {
                break;
            }
        }
        // A lost wake-up would leave this loop waiting for ever.
    }
    waker.join();
    CHECK(done == rounds);
}
