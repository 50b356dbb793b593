// SPDX-License-Identifier: Apache-2.0
// The lock-order check [lib/lock_order.hpp] and the ticket lock itself [lib/spinlock.hpp].
#include "lib/lock_order.hpp"

#include <doctest/doctest.h>

#include <array>
#include <set>
#include <string>
#include <thread>

using namespace atl;

TEST_CASE("lock order: every pair of ranks") {
    std::set<std::string> names;
    for (unsigned first = 0; first < lock_ranks; ++first) {
        names.insert(to_string(static_cast<LockRank>(first)));
        for (unsigned second = 0; second < lock_ranks; ++second) {
            HeldLocks held;
            int a = 0;
            int b = 0;
            CHECK(!held.acquire(static_cast<LockRank>(first), &a).violated);
            const LockOrder order = held.acquire(static_cast<LockRank>(second), &b);
            CHECK(order.violated == (second <= first));
            if (order.violated) {
                CHECK(order.held == static_cast<LockRank>(first));
                CHECK(held.count() == 1);
            }
        }
    }
    CHECK(names.size() == lock_ranks);
}

TEST_CASE("lock order: all ranks at once, released in any order") {
    HeldLocks held;
    std::array<int, lock_ranks> locks{};
    for (unsigned round = 0; round < 3; ++round) {
        for (unsigned i = 0; i < lock_ranks; ++i) {
            CHECK(!held.acquire(static_cast<LockRank>(i), &locks[i]).violated);
        }
        CHECK(held.count() == lock_ranks);
        CHECK(held.acquire(LockRank::vm_lifecycle, &locks[0]).violated); // a lock of one's own: a deadlock
        for (unsigned i = 0; i < lock_ranks; ++i) {
            held.release(&locks[(i * 11 + round) % lock_ranks]);
        }
        CHECK(held.count() == 0);
    }
    held.release(&locks[3]); // taken before the check began
    CHECK(held.count() == 0);
    CHECK(!held.acquire(LockRank::log, &locks[0]).violated);
    held.release(&locks[0]);
    CHECK(!held.acquire(LockRank::vm_lifecycle, &locks[0]).violated);
}

TEST_CASE("spinlock: one holder at a time, tickets wrap") {
    SpinLock lock(LockRank::page_pool);
    u64 count = 0; // not atomic: the lock is what orders it
    constexpr u64 each = 50'000;
    std::array<std::thread, 2> threads;
    for (std::thread& thread : threads) {
        thread = std::thread([&] {
            for (u64 i = 0; i < each; ++i) {
                LockGuard guard(lock);
                ++count;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(count == 2 * each); // more than 65536: the 16-bit tickets went round
}
