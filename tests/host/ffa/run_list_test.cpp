// SPDX-License-Identifier: Apache-2.0
// Run lists: merging, growth over pages, quota and pool exhaustion.
#include "el2/ffa/run_list.hpp"

#include <doctest/doctest.h>

#include "tests/host/ffa/fake_host.hpp"

using namespace atl;
using namespace atl::ffa;

TEST_CASE("run list: touching runs become one") {
    test::FakeHost host;
    RunList list;
    u32 quota = 4;
    CHECK(list.append(host.ports, {Pa{0x10000}, 2}, quota).ok());
    CHECK(list.append(host.ports, {Pa{0x12000}, 3}, quota).ok());
    CHECK(list.append(host.ports, {Pa{0x11000}, 1}, quota).ok()); // behind, not touching the end
    CHECK(list.run_count() == 2);
    CHECK(list.first()->runs[0].page_count == 5);
    CHECK(quota == 3);
    list.clear(host.ports, quota);
    CHECK(quota == 4);
    CHECK(list.first() == nullptr);
    CHECK(host.storage_in_use() == 0);
}

TEST_CASE("run list: grows page by page until the quota or the pool ends it") {
    test::FakeHost host;
    RunList list;
    u32 quota = 2;
    u64 pa = 0;
    for (u32 i = 0; i < 2 * RunPage::capacity; ++i) {
        REQUIRE(list.append(host.ports, {Pa{pa += 2 * page_size}, 1}, quota).ok());
    }
    CHECK(quota == 0);
    CHECK(list.append(host.ports, {Pa{pa + 2 * page_size}, 1}, quota).error() == Error::no_memory);
    CHECK(list.append(host.ports, {Pa{pa + page_size}, 1}, quota).ok()); // merges, needs no room
    quota = 1;
    host.fail_alloc = 1;
    CHECK(list.append(host.ports, {Pa{0}, 1}, quota).error() == Error::no_memory);
    CHECK(quota == 1);
    u32 runs = 0;
    for (const RunPage* p = list.first(); p != nullptr; p = p->next) {
        runs += static_cast<u32>(p->span().size());
    }
    CHECK(runs == 2 * RunPage::capacity);
    CHECK(runs == list.run_count());
    list.clear(host.ports, quota);
    CHECK(quota == 3);
    CHECK(host.storage_in_use() == 0);
    CHECK(host.violations == 0);
}
