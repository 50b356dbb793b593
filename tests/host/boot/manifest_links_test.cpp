// SPDX-License-Identifier: Apache-2.0
// Tests of boot/manifest_links: what concerns more than one VM: order and cycles, sharing, exclusive things,
// RAM.
#include <doctest/doctest.h>

#include "tests/host/boot/manifest_reading.hpp"

using namespace atl;
using namespace atl::boot;
using namespace atl::test;

TEST_CASE("manifest: cycles are shown, and what hangs on them still starts") {
    const Reading r(bundle("a { " + good + " start-after = \"b\"; }; b { " + good +
                           " start-after = \"c\"; }; c { " + good + " start-after = \"a\"; }; d { " + good +
                           " start-after = \"c\"; }; e { " + good + " start-after = \"d\"; };"));
    CHECK(r.status.ok());
    CHECK(r.manifest.refused == 3);
    CHECK(r.sentences.has(
        "/vms/a: start-after = \"b\": a cycle, none of these can be first: a -> b -> c -> a"));
    CHECK(r.sentences.has("warning: /vms/d: start-after = \"c\": that VM is refused: not waited for"));
    REQUIRE(r.manifest.vms.size() == 2);
    CHECK(r.manifest.start_order[0] == 0);
    CHECK(r.manifest.start_order[1] == 1);
}

TEST_CASE("manifest: sharing with a refused VM, devices and keyboard given twice") {
    const Reading r(bundle("a { " + good +
                           " share-with = \"b\"; devices = \"0000:00:01.0\"; console-focus; }; b { " + good +
                           " share-with = \"a\"; cpus = <9>; }; c { " + good +
                           " devices = \"0000:00:01.0\"; }; d { " + good + " console-focus; };"));
    CHECK(r.sentences.has("warning: /vms/a: share-with = \"b\": not with b: that VM is refused"));
    CHECK(r.vm("a")->share_with == 0);
    CHECK(r.sentences.has("/vms/c: devices = \"0000:00:01.0\": a has 0000:00:01.0 already"));
    CHECK(r.vm("c") == nullptr);
    CHECK(r.sentences.has("/vms/d: console-focus = (0 bytes): a has the keyboard first"));
    REQUIRE(r.vm("d") != nullptr);
    CHECK(!r.vm("d")->focus);
}

TEST_CASE("manifest: RAM goes to the VMs in order, as long as it lasts") {
    std::string vms;
    for (const char* name : {"a", "b", "c"}) {
        vms += std::string(name) + " { kernel = \"linux\"; memory-mib = <400>; }; ";
    }
    vms += "d { kernel = \"linux\"; memory-mib = <100>; };";
    const Reading r(bundle(vms), 1000);
    CHECK(r.vm("a") != nullptr);
    CHECK(r.vm("b") != nullptr);
    CHECK(r.vm("c") == nullptr);
    CHECK(r.vm("d") != nullptr);
    CHECK(r.sentences.has("/vms/c: memory-mib = <400>: the host has 196 MiB left"));
    const Reading none(bundle(vms), 0);
    CHECK(none.status.error() == Error::not_found);
    CHECK(none.manifest.refused == 4);
}

TEST_CASE("manifest: devices against the machine's") {
    const auto devices = [](const char* list) { return " { " + good + " devices = " + list + "; }; "; };
    SUBCASE("refused, each with its reason; the others start") {
        const Reading r(bundle("a" + devices("\"0000:00:02.0\", \"0000:02:02.0\"") + //
                               "b" + devices("\"0000:00:1f.0\"") +                   //
                               "c" + devices("\"0000:00:08.0\"") +                   //
                               "d" + devices("\"0000:00:02.0\", \"0000:00:03.0\"") + //
                               "e" + devices("\"0000:00:06.0\"") +                   //
                               "f" + devices("\"0000:00:14.0\"") + "g" + devices("\"0000:00:18.0\"")));
        CHECK(r.sentences.has("/vms/a: devices = ",
                              "0000:02:02.0: there is no such PCI function on this machine"));
        CHECK(r.sentences.has("/vms/b: devices = ", "0000:00:1f.0: is a bridge"));
        CHECK(r.sentences.has("/vms/c: devices = ", "0000:00:08.0: it is one of 2 functions"));
        CHECK(r.sentences.has(
            "/vms/e: devices = ",
            "0000:00:06.0: its INTx line (INTID 37) is also that of 0000:00:02.0, which d has"));
        CHECK(r.manifest.refused == 4);
        REQUIRE(r.vm("d") != nullptr);
        CHECK(r.vm("d")->devices.size() == 2);
        CHECK(r.vm("f") != nullptr); // no line
        CHECK(r.vm("g") != nullptr);
    }
    SUBCASE("a whole group, and one line within one VM") {
        const Reading r(bundle("a" + devices("\"0000:00:08.0\", \"0000:00:09.0\", \"0000:00:04.0\"")));
        CHECK(r.manifest.refused == 0);
    }
}

TEST_CASE("manifest: virtual functions") {
    const auto devices = [](const char* list) { return " { " + good + " devices = " + list + "; }; "; };
    SUBCASE("switched on once for each function, as many as the highest number asks for") {
        const Reading r(bundle("a" + devices("\"0000:00:05.0\", \"0000:00:04.0\"") + //
                               "b" + devices("\"0000:00:05.0/vf0\"") +               //
                               "c" + devices("\"0000:00:05.0/vf2\", \"0000:00:05.1/vf3\"")));
        CHECK(r.manifest.refused == 0);
        REQUIRE(r.enabled.size() == 2);
        CHECK(r.enabled[0] == std::pair{el2::PciAddress{0, 0, 5, 0}, 3u});
        CHECK(r.enabled[1] == std::pair{el2::PciAddress{0, 0, 5, 1}, 4u});
        CHECK(r.sentences.has("note: /vms/b: devices = ",
                              "0000:00:05.0/vf0: a has its physical function, and can"));
        CHECK(r.sentences.has("warning: /vms/c: devices = ",
                              "0000:00:05.1/vf3: no VM has its physical function"));
        CHECK(r.sentences.all.size() == 3);
    }
    SUBCASE("both in one VM: nothing to say") {
        const Reading r(bundle("a" + devices("\"0000:00:05.0/vf3\", \"0000:00:05.0\"")));
        CHECK(r.manifest.refused == 0);
        CHECK(r.sentences.all.empty());
        CHECK(r.vm("a")->devices[0].vf == 3);
    }
    SUBCASE("refused, each with its reason; the others start") {
        const Reading r(bundle("a" + devices("\"0000:00:05.0/vf0\"") +                       //
                               "b" + devices("\"0000:00:05.0/vf0\"") +                       //
                               "c" + devices("\"0000:00:05.0/vf4\"") +                       //
                               "d" + devices("\"0000:00:03.0/vf0\"") +                       //
                               "e" + devices("\"0000:00:05.0/vf1\", \"0000:00:05.0/vf1\"") + //
                               "f" + devices("\"0000:00:05.0/vf\"")));
        CHECK(r.sentences.has("/vms/b: devices = ", "a has 0000:00:05.0/vf0 already"));
        CHECK(r.sentences.has("/vms/c: devices = ", "0000:00:05.0/vf4: it has fewer virtual functions"));
        CHECK(r.sentences.has("/vms/d: devices = ", "0000:00:03.0/vf0: it has fewer virtual functions"));
        CHECK(r.sentences.has("/vms/e: devices = ", "\"0000:00:05.0/vf1\" is listed twice"));
        CHECK(r.sentences.has("/vms/f: devices = ",
                              "no PCI address of the form 0000:00:02.0 or 0000:00:02.0/vf0"));
        CHECK(r.manifest.refused == 5);
        CHECK(r.vm("a") != nullptr);
    }
    SUBCASE("the VM with the physical function is refused") {
        const Reading r(
            bundle("a { memory-mib = <999999>; kernel = \"linux\"; devices = \"0000:00:05.0\"; }; b" +
                   devices("\"0000:00:05.0/vf0\"")));
        CHECK(r.vm("a") == nullptr);
        CHECK(r.sentences.has("warning: /vms/b: devices = ", "no VM has its physical function"));
    }
}
