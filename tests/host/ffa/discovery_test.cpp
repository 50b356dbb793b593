// SPDX-License-Identifier: Apache-2.0
// FFA_VERSION, FEATURES, ID_GET, PARTITION_INFO_GET, and what is not served.
#include <doctest/doctest.h>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

TEST_CASE("version: answered for our major, refused for others") {
    FakeHost host;
    host.add_vm(1, 8, 0, 0, 0);
    Guest g(host, 1);
    CHECK(g.call(FFA_VERSION, FFA_VERSION_1_1).x[0] == FFA_VERSION_1_1);
    CHECK(g.call(FFA_VERSION, FFA_VERSION_1_0).x[0] == FFA_VERSION_1_1);
    CHECK(g.call(FFA_VERSION, 0x10002).x[0] == FFA_VERSION_1_1);
    for (const u32 bad : {0x00000009u, 0x00020000u, 0x80010001u, 0xffffffffu, 0u}) {
        CHECK(static_cast<i32>(static_cast<u32>(g.call(FFA_VERSION, bad).x[0])) == FFA_NOT_SUPPORTED);
    }
}

TEST_CASE("version: no change of mind while buffers are registered") {
    FakeHost host;
    host.add_vm(1, 8, 0, 0, 0);
    Guest g(host, 1);
    g.start(FFA_VERSION_1_0);
    CHECK(g.call(FFA_VERSION, FFA_VERSION_1_0).x[0] == FFA_VERSION_1_1);
    CHECK(static_cast<u32>(g.call(FFA_VERSION, FFA_VERSION_1_1).x[0]) == static_cast<u32>(FFA_NOT_SUPPORTED));
    g.call(FFA_RXTX_UNMAP);
    CHECK(g.call(FFA_VERSION, FFA_VERSION_1_1).x[0] == FFA_VERSION_1_1);
}

TEST_CASE("features: functions, the notification interrupt, and nothing else") {
    Islands w;
    CHECK(w.a.call(FFA_FEATURES, FFA_FEATURE_NPI).x[2] == notification_intid);
    for (const u32 f : {FFA_VERSION, FFA_RXTX_MAP64, FFA_MEM_SHARE, FFA_MEM_SHARE64, FFA_MEM_FRAG_TX,
                        FFA_MEM_LEND, FFA_MEM_LEND64, FFA_MEM_DONATE, FFA_MEM_DONATE64, FFA_MSG_SEND2,
                        FFA_NOTIFICATION_SET, FFA_PARTITION_INFO_GET, FFA_MEM_RECLAIM}) {
        CHECK(w.a.call(FFA_FEATURES, f).x[0] == FFA_SUCCESS);
    }
    for (const u32 f : {FFA_MSG_SEND_DIRECT_REQ, FFA_RUN, FFA_RX_ACQUIRE, FFA_MEM_FRAG_RX, FFA_FEATURE_SRI,
                        FFA_FEATURE_MEI, 0u, 0x84000000u, 0x840000efu}) {
        CHECK(Guest::error(w.a.call(FFA_FEATURES, f)) == FFA_NOT_SUPPORTED);
    }
}

TEST_CASE("what is not served is refused, never ignored") {
    Islands w;
    for (u32 n = 0x60; n <= 0xef; ++n) {
        for (const u32 base : {0x84000000u, 0xc4000000u}) {
            const u32 f = base | n;
            CHECK(Ffa::is_ffa(f));
            const bool known = Guest::error(w.a.call(FFA_FEATURES, f)) == 0;
            if (!known) {
                CHECK(Guest::error(w.a.call(f, 1, 2, 3)) == FFA_NOT_SUPPORTED);
            }
        }
    }
    CHECK(!Ffa::is_ffa(0x8400005f));
    CHECK(!Ffa::is_ffa(0x840000f0));
    CHECK(!Ffa::is_ffa(0x86000060));
    CHECK(w.a.call(0x86000001).x[0] == ~u64{0});
    CHECK(w.a.call(ATOLL_CALL_UID).x[0] == ATOLL_UID_0);
    CHECK(w.pristine());
}

TEST_CASE("id") {
    Islands w;
    CHECK(w.a.call(FFA_ID_GET).x[2] == 1);
    CHECK(w.c.call(FFA_ID_GET).x[2] == 3);
}

TEST_CASE("partition info: the caller and whom it may share with, in its own version") {
    Islands w;
    auto c = w.a.call(FFA_PARTITION_INFO_GET);
    CHECK(c.x[0] == FFA_SUCCESS);
    CHECK(c.x[2] == 3);
    CHECK(c.x[3] == 24);
    for (u16 i = 0; i < 3; ++i) {
        const auto info = w.a.get<ffa_partition_info>(w.a.rx() + i * 24u);
        CHECK(info.id == i + 1);
        CHECK(info.exec_ctxt == 2);
        CHECK(info.properties ==
              (FFA_PARTITION_INDIRECT_MESSAGES | FFA_PARTITION_NOTIFICATIONS | FFA_PARTITION_AARCH64));
        CHECK((info.uuid[0] | info.uuid[1] | info.uuid[2] | info.uuid[3]) == 0);
    }
    CHECK(Guest::error(w.a.call(FFA_PARTITION_INFO_GET)) == FFA_BUSY); // RX not released
    CHECK(w.a.call(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1).x[2] == 3);  // a count needs no buffer
    CHECK(w.a.call(FFA_RX_RELEASE).x[0] == FFA_SUCCESS);
    CHECK(w.b.call(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1).x[2] == 2);
    CHECK(w.d.call(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1).x[2] == 1);
    CHECK(Guest::error(w.a.call(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 2)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_PARTITION_INFO_GET, 1)) == FFA_INVALID_PARAMETERS);
    w.host.die(2);
    CHECK(w.a.call(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1).x[2] == 2);
    w.host.fail_write = 1;
    CHECK(Guest::error(w.a.call(FFA_PARTITION_INFO_GET)) == FFA_DENIED);
    CHECK(w.a.call(FFA_PARTITION_INFO_GET).x[0] == FFA_SUCCESS); // the buffer was not lost
}

TEST_CASE("partition info: eight bytes for v1.0") {
    Islands w(16, 0, 16, FFA_VERSION_1_0);
    const auto c = w.a.call(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1); // w5 means nothing in v1.0
    CHECK(c.x[2] == 3);
    CHECK(c.x[3] == 0);
    CHECK(w.a.get<u16>(w.a.rx() + 8) == 2);
    CHECK(w.a.get<u32>(w.a.rx() + 12) == FFA_PARTITION_INDIRECT_MESSAGES);
}

TEST_CASE("partition info: a peer that has not started yet is there, but takes no message") {
    FakeHost host;
    host.add_vm(1, 8, 0, 1u << 2, 0);
    CHECK(host.ffa->add({VmId{2}, 1, 1u << 1, {}}).ok());
    Guest g(host, 1);
    g.start();
    CHECK(g.call(FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1).x[2] == 2);
    CHECK(Guest::error(g.message(2, "x")) == FFA_DENIED);
}

TEST_CASE("partition info: without buffers") {
    FakeHost host;
    host.add_vm(1, 8, 0, 0, 0);
    Guest g(host, 1);
    CHECK(Guest::error(g.call(FFA_PARTITION_INFO_GET)) == FFA_DENIED);
}

TEST_CASE("endpoints are checked when they are added") {
    FakeHost host;
    host.add_vm(1, 4, 0, 0, 0);
    const Range<Ipa> none{};
    CHECK(host.ffa->add({VmId{1}, 1, 0, none}).error() == Error::already_exists);
    CHECK(host.ffa->add({VmId{0}, 1, 0, none}).error() == Error::invalid_argument);
    CHECK(host.ffa->add({VmId{max_vms + 1}, 1, 0, none}).error() == Error::invalid_argument);
    CHECK(host.ffa->add({VmId{2}, 0, 0, none}).error() == Error::invalid_argument);
    CHECK(host.ffa->add({VmId{2}, max_vcpus_per_vm + 1, 0, none}).error() == Error::invalid_argument);
    CHECK(host.ffa->add({VmId{2}, 1, 0, {Ipa{1}, page_size}}).error() == Error::invalid_argument);
    CHECK(host.ffa->add({VmId{max_vms}, 1, 0, none}).ok());
}
