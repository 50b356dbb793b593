// SPDX-License-Identifier: Apache-2.0
// The monitors of tests/support/stage2_monitor.hpp themselves: each violation is caught.
#include "tests/support/stage2_monitor.hpp"

#include <doctest/doctest.h>

using namespace atl;
using namespace atl::stage2;
using test::TableMachine;

namespace {

struct Machine : TableMachine {
    Pa root{};
    Machine() {
        const Geometry geometry = *make_geometry(36, {48, 16});
        set_geometry(geometry);
        root = *allocate(geometry.root_order);
        clear(root);
        publish();
    }
    Pa table() {
        const Pa page = *allocate(0);
        clear(page);
        return page;
    }
    void invalidate_all() {
        TlbScope scope;
        scope.vttbr = make_vttbr(root, Vmid{1});
        scope.whole_vm = true;
        invalidate(scope);
    }
    void invalidate_range(u64 ipa, u64 bytes, unsigned level) {
        TlbScope scope;
        scope.vttbr = make_vttbr(root, Vmid{1});
        scope.add({ipa}, bytes, level);
        invalidate(scope);
    }
};

u64 block(u64 pa) {
    return leaf_descriptor({pa}, 1, attribute_bits(ram_attributes));
}

} // namespace

TEST_CASE("stage2 monitor: a live entry may change its permissions only") {
    Machine machine;
    machine.write(machine.root, block(0));
    machine.write(machine.root, block(0) & ~Descriptor::S2AP_W::mask);
    CHECK(machine.violations.empty());
    CHECK_FALSE(machine.quiet());
    machine.invalidate_all();
    CHECK(machine.quiet());
    machine.write(machine.root, block(gib));
    CHECK(machine.violations.size() == 1);
}

TEST_CASE("stage2 monitor: make needs break and invalidation of the right range") {
    Machine machine;
    machine.write(machine.root, block(0));
    machine.write(machine.root, 0);
    machine.invalidate_range(gib, gib, 1); // another range
    machine.write(machine.root, block(gib));
    CHECK(machine.violations.size() == 1);
    machine.write(machine.root, 0);
    machine.invalidate_range(0, gib, 1);
    machine.write(machine.root, block(2 * gib));
    CHECK(machine.violations.size() == 1);
}

TEST_CASE("stage2 monitor: a stride larger than the leaf leaves entries behind") {
    Machine machine;
    const Pa table = machine.table();
    machine.write(table, leaf_descriptor({0}, 2, attribute_bits(ram_attributes)));
    machine.publish();
    machine.write(machine.root, table_descriptor(table));
    machine.write(table, 0);
    machine.invalidate_range(0, gib, 1);
    CHECK_FALSE(machine.quiet());
    machine.invalidate_range(0, 2 * mib, 2);
    CHECK(machine.quiet());
}

TEST_CASE("stage2 monitor: a table is published before it is linked, and invalidated before it is freed") {
    Machine machine;
    const Pa table = machine.table();
    machine.write(machine.root, table_descriptor(table));
    CHECK(machine.violations.size() == 1);
    machine.write(machine.root, 0);
    machine.write(table, 0x8000'0001); // still reachable through a walk cache
    CHECK(machine.violations.size() == 2);
    machine.release(table, 0);
    CHECK(machine.violations.size() == 3);
    machine.release(table, 0); // twice
    CHECK(machine.violations.size() == 4);
    machine.write(table, 0);
    CHECK(machine.violations.size() == 5);
}

TEST_CASE("stage2 monitor: freeing a linked table, linking garbage, invalidating another VM") {
    Machine machine;
    const Pa table = machine.table();
    machine.publish();
    machine.write(machine.root, table_descriptor(table));
    CHECK(machine.violations.empty());
    machine.release(table, 0);
    CHECK(machine.violations.size() == 1);
    machine.write(machine.root + 8, table_descriptor({0x123000}));
    CHECK(machine.violations.size() == 2);
    TlbScope scope;
    scope.vttbr = make_vttbr({0x9000}, Vmid{1});
    scope.whole_vm = true;
    machine.invalidate(scope);
    CHECK(machine.violations.size() == 3);
}
