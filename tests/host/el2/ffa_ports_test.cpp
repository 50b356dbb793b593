// SPDX-License-Identifier: Apache-2.0
// FF-A over the real page records, address spaces and pool [el2/ffa_ports.hpp]: two VMs share in place, and
// whoever dies in whatever order, every page is somebody's and comes back.
#include "tests/support/el2_ffa_guest.hpp"
#include "tests/support/stage2_memory.hpp"

using namespace atl;
using namespace atl::test;
namespace Spsr = arch::Spsr;

TEST_CASE("ffa ports: the borrower's pages are the owner's pages, in the order of the descriptor") {
    Two t;
    const std::vector<Part> parts{{buffer + 0x5000, 3}, {buffer, 1}, {0x4038'f000, 2}, {0x4000'4000, 1}};
    const u64 handle = t.a.share(2, parts);
    REQUIRE(handle != 0);
    CHECK(t.in_state(PageState::shared) == 7);
    const Part window = t.b.retrieve(1, handle);
    REQUIRE(window.second == 7);
    CHECK(window_of(*t.m.vm(2).config).contains(Ipa{window.first}, 7 * page_size));
    u64 at = window.first;
    for (const Part& part : parts) {
        for (u32 i = 0; i < part.second; ++i, at += page_size) {
            CHECK(t.pa(2, at) == t.pa(1, part.first + i * page_size));
        }
    }
    *t.m.guest(1, buffer) = 0xab;
    CHECK(*t.m.guest(2, window.first + 3 * page_size) == 0xab);
    const auto walk = t.m.vm(2).space.walk(Ipa{window.first});
    CHECK(walk.attributes.write);
    CHECK(!walk.attributes.execute);
    // The owner's own mapping is as it was: not even split.
    CHECK(t.m.vm(1).space.walk(Ipa{buffer}).level == 2);

    CHECK(t.a.reclaim(handle) == FFA_DENIED);
    const u64 vttbr = t.m.vm(2).space.vttbr();
    fake_hardware().invalidations.clear();
    CHECK(t.b.relinquish(handle) == FFA_SUCCESS);
    CHECK(!t.mapped(2, window.first));
    REQUIRE(!fake_hardware().invalidations.empty());
    CHECK(fake_hardware().invalidations.back().vttbr == vttbr);
    CHECK(t.a.reclaim(handle) == FFA_SUCCESS);
    CHECK(t.in_state(PageState::shared) == 0);
}

TEST_CASE("ffa ports: a read-only borrower's write faults in the borrower alone") {
    Two t;
    const u64 handle = t.a.share(2, {{buffer, 4}}, FFA_MEM_PERM_RO);
    const Part window = t.b.retrieve(1, handle, FFA_MEM_PERM_RO);
    REQUIRE(window.second == 4);
    CHECK(!t.m.vm(2).space.walk(Ipa{window.first}).attributes.write);
    CHECK(t.fault(2, window.first, 0b001111, true) == action::inject);
    CHECK(t.m.hw().logged("shared read-only by its owner"));
    CHECK(t.fault(2, window.first, 0b001111, false) == action::resume); // reading is allowed: repeat
    CHECK(t.m.vm(1).aborts_injected == 0);
    CHECK(t.m.vm(2).aborts_injected == 1);
}

TEST_CASE(
    "ffa ports: what is not the caller's own exclusive RAM cannot be shared, and nothing stays claimed") {
    Two t;
    const u64 handle = t.a.share(2, {{buffer, 2}});
    const Part window = t.b.retrieve(1, handle);
    CHECK(t.b.share(1, {{window.first, 1}}) == 0);                          // borrowed
    CHECK(t.a.share(2, {{buffer + page_size, 1}}) == 0);                    // shared already
    CHECK(t.a.share(2, {{buffer + 0x8000, 2}, {buffer + 0x9000, 1}}) == 0); // twice
    CHECK(t.a.share(2, {{buffer + 0x8000, 2}, {0x4040'0000, 1}}) == 0);     // beyond RAM
    CHECK(t.a.share(2, {{0x403f'f000, 2}}) == 0);                           // across its end
    CHECK(t.a.share(2, {{guest_map::uart.base.value, 1}}) == 0);
    CHECK(t.a.share(2, {{guest_map::window_base.value, 1}}) == 0);
    CHECK(t.a.share(2, {{FfaGuest::rx, 1}}) == 0); // its own mailbox
    CHECK(t.a.share(2, {{0xffff'ffff'ffff'f000, 2}}) == 0);
    CHECK(t.a.share(1, {{buffer + 0x8000, 1}}) == 0);
    CHECK(t.a.share(3, {{buffer + 0x8000, 1}}) == 0);
    CHECK(t.in_state(PageState::shared) == 2);
}

TEST_CASE("ffa ports: the owner goes off, the borrower keeps the pages until it gives them back") {
    Two t;
    const u64 kept = t.a.share(2, {{buffer, 8}, {0x4000'8000, 1}});
    const u64 unused = t.a.share(2, {{buffer + 0x1'0000, 4}});
    REQUIRE(unused != 0);
    const Part window = t.b.retrieve(1, kept);
    *t.m.guest(1, buffer) = 0x77;
    const Pa page = t.pa(1, buffer);
    t.off(1);
    CHECK(t.in_state(PageState::retained) == 9);
    CHECK(t.in_state(PageState::shared) == 0);
    CHECK(*t.m.guest(2, window.first) == 0x77);
    CHECK(t.b.retrieve(1, unused).second == 0);
    CHECK(t.b.relinquish(kept) == FFA_SUCCESS);
    CHECK(t.in_state(PageState::retained) == 0);
    CHECK(*t.m.hw().ram.at(page, 1) == 0); // scrubbed
    t.off(2);
    CHECK(t.free() == t.all);
}

TEST_CASE("ffa ports: the owner reboots: fresh zeroed pages for it, the old ones for the borrower") {
    for (const bool owner_first : {true, false}) {
        Two t;
        const u64 handle = t.a.share(2, {{buffer, 8}, {0x4000'1000, 1}}); // also a page of its kernel
        const Part window = t.b.retrieve(1, handle);
        const Pa old = t.pa(1, buffer);
        *t.m.guest(1, buffer) = 0x77;
        t.reset(1);
        CHECK(t.pa(1, buffer) != old);
        CHECK(t.pa(2, window.first) == old);
        CHECK(*t.m.guest(1, buffer) == 0);
        CHECK(*t.m.guest(2, window.first) == 0x77);
        CHECK(*t.m.guest(1, 0x4000'1000) ==
              t.m.vm(1).config->kernel.bytes[0x1000]); // loaded into the fresh page
        CHECK(t.in_state(PageState::retained) == 9);
        CHECK(t.in_state(PageState::owned) == 2 * 1024);
        // The new boot shares the fresh pages, too.
        t.a.start();
        const u64 second = t.a.share(2, {{buffer, 8}});
        REQUIRE(second != 0);
        const Part other = t.b.retrieve(1, second);
        REQUIRE(other.second == 8);
        CHECK(t.pa(2, other.first) == t.pa(1, buffer));
        t.reset(1); // and reboots again with both held
        CHECK(t.in_state(PageState::retained) == 17);
        CHECK(t.b.relinquish(second) == FFA_SUCCESS);
        t.off(owner_first ? 1 : 2);
        t.off(owner_first ? 2 : 1);
        CHECK(t.free() == t.all);
        CHECK(t.in_state(PageState::retained) == 0);
    }
}

TEST_CASE("ffa ports: retained pages that come back may be given to anybody, their first owner included") {
    Two t;
    const u64 handle = t.a.share(2, {{buffer, 16}});
    REQUIRE(t.b.retrieve(1, handle).second == 16);
    t.reset(1);
    t.a.start();
    CHECK(t.b.relinquish(handle) == FFA_SUCCESS); // the old pages are free
    const u64 again = t.a.share(2, {{buffer, 16}});
    REQUIRE(t.b.retrieve(1, again).second == 16);
    t.m.leave_free(16 + 4); // what is left is just those
    t.reset(1);
    t.m.give_back();
    t.off(1);
    t.off(2);
    CHECK(t.free() == t.all);
}

TEST_CASE("ffa ports: the borrower dies: the owner may reclaim, and nothing is lost") {
    for (const bool restarts : {false, true}) {
        Two t;
        const u64 handle = t.a.share(2, {{buffer, 8}});
        const Part window = t.b.retrieve(1, handle);
        if (restarts) {
            t.reset(2);
            CHECK(!t.mapped(2, window.first));
        } else {
            t.off(2);
        }
        CHECK(t.a.reclaim(handle) == FFA_SUCCESS);
        t.off(1);
        if (restarts) {
            t.off(2);
        }
        CHECK(t.free() == t.all);
    }
}

TEST_CASE("ffa ports: revoked: a process gets an abort, the kernel a page of its own to finish on") {
    Two t;
    const u64 handle = t.a.share(2, {{buffer, 8}});
    const Part window = t.b.retrieve(1, handle);
    CHECK(t.a.revoke(handle) == 0);
    CHECK(!t.mapped(2, window.first));
    CHECK(t.in_state(PageState::shared) == 0); // the owner's alone again, at once
    CHECK(t.fault(2, window.first, 0b000111, true, Spsr::EL0t) == action::inject);
    CHECK(t.m.hw().logged("took this shared buffer back"));
    CHECK(t.fault(2, window.first, 0b000111, true, Spsr::M4_AArch32) == action::inject);
    CHECK(!t.mapped(2, window.first));
    CHECK(t.fault(2, window.first + page_size, 0b000111, true, Spsr::EL1h) == action::resume);
    REQUIRE(t.mapped(2, window.first + page_size));
    const Pa scratch = t.pa(2, window.first + page_size);
    CHECK(scratch != t.pa(1, buffer + page_size));
    CHECK(*t.m.hw().ram.at(scratch, 1) == 0);
    CHECK(!t.m.vm(2).space.walk(Ipa{window.first + page_size}).attributes.execute);
    CHECK(t.fault(2, window.first + 3 * page_size, 0b000111, false, Spsr::EL1h) == action::resume);
    CHECK(t.pa(2, window.first + 3 * page_size) == scratch); // one for the VM
    CHECK(t.b.relinquish(handle) == FFA_SUCCESS);
    CHECK(!t.mapped(2, window.first + page_size));
    CHECK(!t.mapped(2, window.first + 3 * page_size));
    CHECK(t.fault(2, window.first, 0b000111, true, Spsr::EL1h) ==
          action::inject); // no longer revoked: nothing there
    t.off(2);
    t.off(1);
    CHECK(t.free() == t.all);
}

TEST_CASE("ffa ports: a scratch page that cannot be had ends in an abort, not in EL2") {
    Two t;
    const u64 handle = t.a.share(2, {{buffer, 8}});
    const Part window = t.b.retrieve(1, handle);
    CHECK(t.a.revoke(handle) == 0);
    t.m.leave_free(0);
    CHECK(t.fault(2, window.first, 0b000111, true, Spsr::EL1h) == action::inject);
    t.m.give_back();
    CHECK(t.fault(2, window.first, 0b000111, true, Spsr::EL1h) == action::resume);
}

TEST_CASE("ffa ports: no page left for tables or lists: the call fails, the state stays") {
    for (u64 left = 0; left < 8; ++left) {
        Two t;
        t.m.leave_free(left);
        const u64 handle = t.a.share(2, {{buffer, 8}});
        if (handle == 0) {
            CHECK(t.in_state(PageState::shared) == 0);
            CHECK(t.free() == left);
        } else {
            const u64 before = t.free();
            if (t.b.retrieve(1, handle).second == 0) {
                CHECK(t.free() == before);
                CHECK(t.a.reclaim(handle) == FFA_SUCCESS);
                CHECK(t.free() == left);
            }
        }
        t.m.give_back();
        t.off(1);
        t.off(2);
        CHECK(t.free() == t.all);
    }
}

TEST_CASE("ffa ports: an owner ends while no page is left for splitting its blocks") {
    for (const bool restarts : {false, true}) {
        for (u64 left = 0; left < 6; ++left) {
            Two t(12);
            // One page of each of the owner's 2 MiB blocks.
            const u64 handle =
                t.a.share(2, {{0x4020'3000, 1}, {0x4040'3000, 1}, {0x4060'3000, 2}, {0x4080'3000, 1}});
            const Part window = t.b.retrieve(1, handle);
            REQUIRE(window.second == 5);
            *t.m.guest(1, 0x4040'3000) = 0x3c;
            t.m.leave_free(left);
            t.m.on(0);
            stop_vm(t.m.vm(1), restarts ? AfterStop::restart : AfterStop::off, false);
            t.m.settle();
            CHECK(*t.m.guest(2, window.first + page_size) == 0x3c);
            // A restart may be impossible; the borrower has its pages, and nothing is lost in either case.
            CHECK((t.m.vm(1).state == VmState::absent || t.m.vm(1).state == VmState::running));
            CHECK(t.in_state(PageState::retained) == 5);
            t.m.give_back();
            if (t.m.vm(1).state == VmState::running) {
                for (u64 ipa = 0x4000'0000; ipa < 0x40c0'0000; ipa += page_size) {
                    REQUIRE(t.mapped(1, ipa));
                }
                CHECK(t.in_state(PageState::owned) == 3072 + 1024);
                t.off(1);
            }
            t.off(2);
            CHECK(t.free() == t.all);
        }
    }
}

TEST_CASE("ffa ports: random sharing, deaths and rebirths of two VMs: counts agree, and no page is lost") {
    u64 seed = 11;
    const auto random = [&seed](u64 below) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (seed >> 33) % below;
    };
    Two t;
    struct Handle {
        u64 value;
        unsigned owner;
        bool retrieved;
    };
    std::vector<Handle> handles;
    FfaGuest* const guest[3] = {nullptr, &t.a, &t.b};
    for (unsigned step = 0; step < 1200; ++step) {
        const auto id = static_cast<unsigned>(1 + random(2));
        const unsigned peer = 3 - id;
        if (t.m.vm(id).state == VmState::absent) {
            t.m.boot(id);
            guest[id]->start();
        }
        Handle* const h = handles.empty() ? nullptr : &handles[random(handles.size())];
        switch (random(10)) {
        case 0:
        case 1:
        case 2: {
            std::vector<Part> parts;
            for (u64 n = 1 + random(5); n != 0; --n) {
                parts.push_back({0x4020'0000 + random(400) * page_size, static_cast<u32>(1 + random(6))});
            }
            const auto kind = static_cast<ffa::Kind>(random(3));
            const u32 permissions = random(3) == 0 ? FFA_MEM_PERM_RO : FFA_MEM_PERM_RW;
            if (const u64 handle =
                    guest[id]->send(kind, peer, parts, kind == ffa::Kind::donate ? 0 : permissions);
                handle != 0) {
                handles.push_back({handle, id, false});
            }
            break;
        }
        case 3:
        case 4:
            if (h != nullptr && t.m.vm(3 - h->owner).state == VmState::running) {
                guest[3 - h->owner]->retrieve(h->owner, h->value,
                                              (random(2) == 0 ? FFA_MEM_PERM_RO : FFA_MEM_PERM_RW) |
                                                  FFA_MEM_PERM_NX);
            }
            break;
        case 5:
        case 6:
            if (h != nullptr && t.m.vm(3 - h->owner).state == VmState::running) {
                guest[3 - h->owner]->relinquish(h->value);
            }
            break;
        case 7:
            if (h != nullptr && t.m.vm(h->owner).state == VmState::running) {
                guest[h->owner]->reclaim(h->value);
            }
            break;
        case 8:
            if (h != nullptr && t.m.vm(h->owner).state == VmState::running && random(3) == 0) {
                guest[h->owner]->revoke(h->value);
            }
            break;
        default:
            if (random(6) == 0) {
                if (random(2) == 0) {
                    t.off(id);
                } else {
                    t.reset(id);
                    guest[id]->start();
                }
            }
            break;
        }
        if (handles.size() > 40) {
            handles.erase(handles.begin());
        }
        if (step % 20 == 0) {
            // Every page of each window belongs to the peer (or nobody any more), and counts its mappings.
            std::map<u64, unsigned> mappings;
            for (unsigned v = 1; v <= 2; ++v) {
                for (u64 ipa = 0xc000'0000; t.m.vm(v).space.alive() && ipa < 0xc100'0000;) {
                    const auto walk = t.m.vm(v).space.walk(Ipa{ipa});
                    if (walk.mapped) {
                        const bool scratch = t.m.vm(v).has_scratch && walk.pa == t.m.vm(v).scratch;
                        const bool given =
                            t.m.world.ledger.record(walk.pa)->owner == VmId{static_cast<u16>(v)};
                        mappings[walk.pa.value] += scratch || given ? 0 : 1;
                        CHECK(!walk.attributes.execute);
                    }
                    ipa += walk.mapped ? page_size : walk.bytes_left;
                }
            }
            for (const auto& [pa, count] : mappings) {
                const PageRecord* const record = t.m.world.ledger.record(Pa{pa});
                REQUIRE(record != nullptr);
                if (count == 0) {
                    continue; // a stand-in, or donated
                }
                CHECK((record->state == PageState::shared || record->state == PageState::lent ||
                       record->state == PageState::retained));
                CHECK(record->use.mappings == count);
            }
        }
    }
    for (unsigned id = 1; id <= 2; ++id) {
        if (t.m.vm(id).state != VmState::absent) {
            t.off(id);
        }
    }
    CHECK(t.free() == t.all);
    CHECK(t.in_state(PageState::retained) == 0);
    CHECK(t.in_state(PageState::shared) + t.in_state(PageState::lent) + t.in_state(PageState::donating) == 0);
}

TEST_CASE("ffa ports: a message goes into the peer's RX buffer, and nowhere once the peer is off") {
    Two t;
    const ffa_msg_header header{0, 0, sizeof(ffa_msg_header), 1u << 16 | 2, 5};
    t.m.poke(1, FfaGuest::tx, &header, sizeof(header));
    t.m.poke(1, FfaGuest::tx + sizeof(header), "hello", 5);
    CHECK(t.a.call({FFA_MSG_SEND2, 0}) == FFA_SUCCESS);
    char text[5] = {};
    t.m.peek(2, FfaGuest::rx + sizeof(header), text, 5);
    CHECK(std::string(text, 5) == "hello");
    CHECK(t.a.call({FFA_MSG_SEND2, 0}) == FFA_BUSY);
    t.off(2);
    CHECK(t.a.call({FFA_MSG_SEND2, 0}) == FFA_DENIED);
    CHECK(!t.m.world.ffa.is_revoked(VmId{2}, Ipa{0xc000'0000}));
    // The ports themselves, on a VM that has no map any more.
    const ffa::Ports ports = make_ffa_ports(t.m.world);
    std::array<std::byte, 16> bytes{};
    CHECK(ports.write_guest(ports.context, VmId{2}, Ipa{FfaGuest::rx}, bytes).error() == Error::not_found);
    CHECK(ports.read_guest(ports.context, VmId{2}, Ipa{FfaGuest::rx}, bytes).error() == Error::not_found);
    CHECK(ports.read_guest(ports.context, VmId{9}, Ipa{FfaGuest::rx}, bytes).error() == Error::not_found);
    CHECK(ports.read_guest(ports.context, VmId{1}, Ipa{0x403f'fff8}, bytes).error() ==
          Error::invalid_argument);
    CHECK(ports.read_guest(ports.context, VmId{1}, Ipa{~u64{7}}, bytes).error() == Error::overflow);
}
