// SPDX-License-Identifier: Apache-2.0
// Notifications: binding, ringing, collecting.
#include <doctest/doctest.h>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

TEST_CASE("bind, set, get") {
    Islands w;
    const u64 bit = u64{1} << 40 | 5;
    CHECK(Guest::error(w.a.ring(2, bit)) == FFA_DENIED); // not bound
    CHECK(Guest::error(w.b.bind(1, bit)) == 0);
    CHECK(Guest::error(w.b.bind(1, bit)) == 0); // again is fine
    CHECK(Guest::error(w.a.ring(2, bit | 2)) == FFA_DENIED);
    CHECK(w.host.vms[2].interrupts == 0);
    CHECK(Guest::error(w.a.ring(2, bit)) == 0);
    CHECK(w.host.vms[2].interrupts == 1);
    CHECK(Guest::error(w.a.ring(2, 1)) == 0); // pending already
    CHECK(w.host.vms[2].interrupts == 1);
    auto c = w.b.notifications();
    CHECK((c.x[4] | c.x[5] << 32) == bit);
    CHECK((c.x[2] | c.x[3] | c.x[6] | c.x[7]) == 0);
    c = w.b.notifications();
    CHECK((c.x[4] | c.x[5]) == 0);
    CHECK(Guest::error(w.a.ring(2, 1)) == 0);
    CHECK(w.host.vms[2].interrupts == 2);
}

TEST_CASE("bits belong to one sender") {
    Islands w;
    CHECK(Guest::error(w.a.bind(2, 0b011)) == 0);
    CHECK(Guest::error(w.a.bind(3, 0b110)) == FFA_DENIED);
    CHECK(Guest::error(w.a.bind(3, 0b100)) == 0);
    CHECK(Guest::error(w.c.ring(1, 0b001)) == FFA_DENIED);
    CHECK(Guest::error(w.c.ring(1, 0b100)) == 0);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_UNBIND, 3u << 16 | 1, 0, 0b100)) == FFA_DENIED); // pending
    w.a.notifications();
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_UNBIND, 3u << 16 | 1, 0, 0b101)) ==
          FFA_DENIED); // not all its own
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_UNBIND, 3u << 16 | 1, 0, 0b100)) == 0);
    CHECK(Guest::error(w.c.ring(1, 0b100)) == FFA_DENIED);
}

TEST_CASE("malformed calls") {
    Islands w;
    CHECK(Guest::error(w.a.bind(2, 0)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.bind(1, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.bind(0, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.bind(99, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.bind(4, 1)) == FFA_DENIED);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BIND, 2u << 16 | 3, 0, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BIND, 2u << 16 | 1, 1, 1)) ==
          FFA_INVALID_PARAMETERS); // per vCPU
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_UNBIND, 2u << 16 | 1, 1, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_UNBIND, 99u << 16 | 1, 0, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_SET, 2u << 16 | 1, 0, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_SET, 1u << 16 | 99, 0, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_SET, 1u << 16 | 2, 1, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_SET, 1u << 16 | 2, 1u << 16, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.ring(2, 0)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.notifications(0)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.notifications(0x10)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_GET, 2, 2)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_GET, 2u << 16 | 1, 2)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_GET, 1u << 16 | 1, 0xf)) == 0);
}

TEST_CASE("bitmaps exist from the start") {
    Islands w;
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BITMAP_CREATE, 1, 2)) == 0);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BITMAP_CREATE, 2, 2)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BITMAP_CREATE, 1, 3)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BITMAP_CREATE, 1, 0)) == FFA_INVALID_PARAMETERS);
    w.a.bind(2, 1);
    w.b.ring(1, 1);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BITMAP_DESTROY, 2)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BITMAP_DESTROY, 1)) == FFA_DENIED);
    w.a.notifications();
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_BITMAP_DESTROY, 1)) == 0);
    CHECK(Guest::error(w.b.ring(1, 1)) == FFA_DENIED);
}

TEST_CASE("info: itself once for each ring, otherwise no data") {
    Islands w;
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_INFO_GET)) == FFA_NO_DATA);
    w.a.bind(2, 3);
    w.b.ring(1, 1);
    const auto c = w.a.call(FFA_NOTIFICATION_INFO_GET64);
    CHECK(c.x[0] == FFA_SUCCESS64);
    CHECK((c.x[2] >> 7 & 0x1f) == 1);
    CHECK(c.x[3] == 1);
    CHECK(Guest::error(w.a.call(FFA_NOTIFICATION_INFO_GET64)) == FFA_NO_DATA);
    w.b.ring(1, 2);
    CHECK(w.a.call(FFA_NOTIFICATION_INFO_GET).x[0] == FFA_SUCCESS);
    w.b.message(1, "m");
    CHECK(w.a.call(FFA_NOTIFICATION_INFO_GET).x[0] == FFA_SUCCESS);
}

TEST_CASE("a VM that died is not rung, and forgets") {
    Islands w;
    w.b.bind(1, 1);
    w.a.ring(2, 1);
    w.host.die(2);
    w.host.ffa->vm_started(VmId{2});
    CHECK(w.b.notifications().x[4] == 0);
    CHECK(Guest::error(w.a.ring(2, 1)) == FFA_DENIED);
}
