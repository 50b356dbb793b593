// SPDX-License-Identifier: Apache-2.0
// LEND, DONATE, DMA counts and long calls over the real page records, address spaces and pool.
#include "tests/support/el2_ffa_guest.hpp"
#include "tests/support/stage2_memory.hpp"

using namespace atl;
using namespace atl::test;
using ffa::Kind;

namespace {

constexpr u32 not_executable = FFA_MEM_PERM_RW | FFA_MEM_PERM_NX;

bool complete_ram(Two& t, u64 bytes) {
    for (u64 ipa = 0x4000'0000; ipa < 0x4000'0000 + bytes; ipa += page_size) {
        if (!t.mapped(1, ipa)) {
            return false;
        }
    }
    return true;
}

} // namespace

TEST_CASE("ffa ports: lent pages leave the owner's map, and come back where they were") {
    Two t;
    const std::vector<Part> parts{{buffer + 0x5000, 3}, {buffer, 1}, {0x4000'4000, 1}};
    std::vector<Pa> before;
    for (const Part& part : parts) {
        before.push_back(t.pa(1, part.first));
    }
    fake_hardware().invalidations.clear();
    const u64 handle = t.a.send(Kind::lend, 2, parts, FFA_MEM_PERM_RW);
    REQUIRE(handle != 0);
    REQUIRE(!fake_hardware().invalidations.empty());
    CHECK(fake_hardware().invalidations.back().vttbr == t.m.vm(1).space.vttbr());
    CHECK(t.in_state(PageState::lent) == 5);
    for (const Part& part : parts) {
        CHECK(!t.mapped(1, part.first));
    }
    CHECK(t.mapped(1, buffer + 0x1000)); // its neighbours stay
    const Part window = t.b.retrieve(1, handle, not_executable);
    REQUIRE(window.second == 5);
    CHECK(t.pa(2, window.first) == before[0]);
    CHECK(t.a.reclaim(handle) == FFA_DENIED);
    CHECK(t.b.relinquish(handle) == FFA_SUCCESS);
    t.m.leave_free(0); // needs no memory
    CHECK(t.a.reclaim(handle) == FFA_SUCCESS);
    t.m.give_back();
    for (std::size_t i = 0; i < parts.size(); ++i) {
        CHECK(t.pa(1, parts[i].first) == before[i]);
        CHECK(t.m.vm(1).space.walk(Ipa{parts[i].first}).attributes.execute);
    }
    CHECK(t.in_state(PageState::lent) == 0);
    t.off(1);
    t.off(2);
    CHECK(t.free() == t.all);
}

TEST_CASE("ffa ports: an owner that touches what it has lent is told so") {
    Two t;
    const auto touch = [&](Ipa ipa) {
        Vcpu& v = t.a.cpu();
        v.pc = 0x4000'0000;
        t.m.hw().fault = {ipa.value, ipa, true};
        return t.m.exit(v, u64{0x24} << 26 | arch::Esr::IL::mask | 0b000111);
    };
    const u64 handle = t.a.send(Kind::lend, 2, {{buffer, 1}}, FFA_MEM_PERM_RW);
    REQUIRE(handle != 0);
    CHECK(touch(Ipa{buffer}) == action::inject);
    CHECK(t.m.hw().logged("it has lent or donated this memory to another VM"));
    CHECK(touch(Ipa{buffer + page_size}) == action::resume); // that one it still has
    CHECK(t.a.reclaim(handle) == FFA_SUCCESS);
    CHECK(touch(Ipa{buffer}) == action::resume);
}

TEST_CASE("ffa ports: lending whole blocks, pieces of blocks and everything around without a page to spare") {
    for (u64 left = 0; left < 8; ++left) {
        for (const u64 at : {0x4020'0000ull, 0x4020'0000ull + 0x7000, 0x4040'0000ull - 0x3000}) {
            Two t(12);
            t.m.leave_free(left);
            const u64 handle = t.a.send(Kind::lend, 2, {{at, 1024}}, FFA_MEM_PERM_RW);
            CHECK((handle != 0) == !t.mapped(1, at)); // all or nothing
            if (handle != 0) {
                CHECK(!t.mapped(1, at + 1023 * page_size));
                t.m.leave_free(0);
                CHECK(t.a.reclaim(handle) == FFA_SUCCESS);
            }
            CHECK(complete_ram(t, 12 * mib));
            CHECK(t.in_state(PageState::lent) == 0);
            t.m.give_back();
            t.off(1);
            t.off(2);
            CHECK(t.free() == t.all);
        }
    }
}

TEST_CASE(
    "ffa ports: an owner restarts while its memory is lent: what is held stays away, the rest is home") {
    for (const bool held : {false, true}) {
        Two t;
        const u64 handle = t.a.send(Kind::lend, 2, {{buffer, 8}}, FFA_MEM_PERM_RW);
        const Pa old = held ? t.pa(2, t.b.retrieve(1, handle, not_executable).first) : Pa{};
        t.reset(1);
        CHECK(complete_ram(t, 4 * mib));
        CHECK(t.in_state(PageState::retained) == (held ? 8 : 0));
        CHECK(t.in_state(PageState::owned) == 2 * 1024);
        if (held) {
            CHECK(t.pa(1, buffer) != old);
            CHECK(t.b.relinquish(handle) == FFA_SUCCESS);
        }
        t.off(1);
        t.off(2);
        CHECK(t.free() == t.all);
    }
}

TEST_CASE("ffa ports: donated pages are the receiver's; the donor's restart gets others") {
    for (const bool donor_first : {true, false}) {
        Two t;
        const std::vector<Part> parts{{buffer, 8}, {0x4000'1000, 1}}; // also a page of its kernel
        const Pa page = t.pa(1, buffer);
        *t.m.guest(1, buffer) = 0x5a;
        const u64 handle = t.a.send(Kind::donate, 2, parts, 0);
        REQUIRE(handle != 0);
        CHECK(t.in_state(PageState::donating) == 9);
        const Part window = t.b.retrieve(1, handle, not_executable);
        REQUIRE(window.second == 9);
        CHECK(t.pa(2, window.first) == page);
        CHECK(*t.m.guest(2, window.first) == 0x5a);
        CHECK(t.m.world.ledger.record(page)->owner == VmId{2});
        CHECK(t.in_state(PageState::owned) == 2 * 1024);
        CHECK(!t.mapped(1, buffer));
        CHECK(t.a.reclaim(handle) == FFA_INVALID_PARAMETERS);
        // The receiver shares some of it on; it may not send it away again.
        CHECK(t.b.send(Kind::lend, 1, {{window.first, 1}}, FFA_MEM_PERM_RW) == 0);
        const u64 on = t.b.share(1, {{window.first + page_size, 2}});
        REQUIRE(on != 0);
        CHECK(t.b.reclaim(on) == FFA_SUCCESS);

        t.reset(1);
        CHECK(complete_ram(t, 4 * mib));
        CHECK(t.pa(1, buffer) != page);
        CHECK(*t.m.guest(1, buffer) == 0);
        CHECK(*t.m.guest(2, window.first) == 0x5a);
        CHECK(t.in_state(PageState::owned) == 2 * 1024 + 9);
        t.reset(2); // the receiver starts with what its manifest says
        CHECK(!t.mapped(2, window.first));
        CHECK(*t.m.hw().ram.at(page, 1) == 0); // scrubbed
        CHECK(t.in_state(PageState::owned) == 2 * 1024);
        t.off(donor_first ? 1 : 2);
        t.off(donor_first ? 2 : 1);
        CHECK(t.free() == t.all);
    }
}

TEST_CASE("ffa ports: a donor restarts with complete RAM or not at all") {
    for (u64 left = 0; left < 20; ++left) {
        Two t;
        const u64 handle = t.a.send(Kind::donate, 2, {{buffer, 16}}, 0);
        REQUIRE(t.b.retrieve(1, handle, not_executable).second == 16);
        t.m.leave_free(left);
        t.m.on(0);
        stop_vm(t.m.vm(1), AfterStop::restart, false);
        t.m.settle();
        if (t.m.vm(1).state == VmState::running) {
            CHECK(complete_ram(t, 4 * mib));
            CHECK(left >= 16);
            t.off(1);
        } else {
            CHECK(t.m.vm(1).state == VmState::absent);
            CHECK(t.m.hw().logged("cannot be loaded"));
            CHECK(left < 16);
        }
        t.m.give_back();
        t.off(2);
        CHECK(t.free() == t.all);
    }
}

TEST_CASE("ffa ports: a block is donated as a block, and freed as one") {
    Two t(12, 64);
    const u64 handle = t.a.send(Kind::donate, 2, {{0x4020'0000, 1024}}, 0);
    const Part window = t.b.retrieve(1, handle, FFA_MEM_PERM_X | FFA_MEM_PERM_RW);
    REQUIRE(window.second == 1024);
    CHECK(t.m.vm(2).space.walk(Ipa{window.first}).level == 2);
    CHECK(t.m.vm(2).space.walk(Ipa{window.first}).attributes.execute);
    t.m.leave_free(0);
    t.off(2);
    t.m.give_back();
    t.off(1);
    CHECK(t.free() == t.all);
}

TEST_CASE("ffa ports: what a borrower's devices reach is counted, and reclaimed only after") {
    for (const Kind kind : {Kind::share, Kind::lend}) {
        Two t;
        t.m.vm(2).dma = true;
        const u64 handle = t.a.send(kind, 2, {{buffer, 4}}, FFA_MEM_PERM_RW);
        const Part window =
            t.b.retrieve(1, handle, kind == Kind::share ? u32{FFA_MEM_PERM_RW} : not_executable);
        REQUIRE(window.second == 4);
        PageRecord& record = *t.m.world.ledger.record(t.pa(2, window.first));
        CHECK(record.use.dma_mappings == 1);
        CHECK(record.use.mappings == 1);
        CHECK(check(PageOp::reclaim, record, VmId{1}).error() == Error::busy);
        CHECK(t.a.reclaim(handle) == FFA_DENIED);
        fake_hardware().invalidations.clear();
        CHECK(t.b.relinquish(handle) == FFA_SUCCESS);
        CHECK(!fake_hardware().invalidations.empty());
        CHECK(record.use.dma_mappings == 0);
        CHECK(t.a.reclaim(handle) == FFA_SUCCESS);
        const u64 again = t.a.send(kind, 2, {{buffer, 4}}, FFA_MEM_PERM_RW);
        REQUIRE(t.b.retrieve(1, again, kind == Kind::share ? u32{FFA_MEM_PERM_RW} : not_executable).second ==
                4);
        t.off(1); // retained: the count stays until the borrower lets go
        CHECK(record.state == PageState::retained);
        CHECK(record.use.dma_mappings == 1);
        t.off(2);
        CHECK(t.free() == t.all);
    }
    Two t; // a donation: the count ends with the acceptance
    t.m.vm(2).dma = true;
    const u64 handle = t.a.send(Kind::donate, 2, {{buffer, 4}}, 0);
    const Part window = t.b.retrieve(1, handle, not_executable);
    CHECK(t.m.world.ledger.record(t.pa(2, window.first))->use.dma_mappings == 0);
    t.off(2);
    t.off(1);
    CHECK(t.free() == t.all);
}

TEST_CASE("ffa ports: a long call repeats its instruction, registers untouched, and others run in between") {
    for (const bool smc : {false, true}) {
        Two t(12);
        const u64 bytes = t.a.describe(Kind::lend, 2, {{0x4020'0000, 2000}}, FFA_MEM_PERM_RW);
        Vcpu& v = t.m.load(t.m.vcpu(1));
        const u64 x[8] = {FFA_MEM_LEND, bytes, bytes, 0, 0, 0, 0, 0};
        for (unsigned i = 0; i < 8; ++i) {
            v.x[i] = x[i];
        }
        const u64 pc = v.pc;
        const u64 esr = u64{smc ? 0x17u : 0x16u} << 26 | arch::Esr::IL::mask;
        CHECK(t.m.exit(v, esr) == (smc ? action::resume : action::repeat));
        for (unsigned i = 0; i < 8; ++i) {
            CHECK(v.x[i] == x[i]);
        }
        CHECK(v.pc == pc);
        CHECK(t.b.call({FFA_ID_GET}) == FFA_SUCCESS); // another VM's call
        t.m.load(v);
        CHECK(t.m.call(v, {FFA_MEM_LEND, bytes, bytes, 0, 0, 0, 0, 0}, smc) == FFA_SUCCESS);
        CHECK(t.m.repeats > 2);
        CHECK(t.in_state(PageState::lent) == 2000);
        t.off(1);
        t.off(2);
        CHECK(t.free() == t.all);
    }
}

TEST_CASE("ffa ports: a VM that stops in the middle of a long call leaves nothing") {
    for (const Kind kind : {Kind::share, Kind::lend, Kind::donate}) {
        for (int steps = 1; steps < 12; ++steps) {
            Two t(12);
            const u32 permissions = kind == Kind::donate ? 0 : FFA_MEM_PERM_RW;
            const u64 bytes = t.a.describe(kind, 2, {{0x4020'1000, 2000}}, permissions);
            const u32 function = kind == Kind::share  ? FFA_MEM_SHARE
                                 : kind == Kind::lend ? FFA_MEM_LEND
                                                      : FFA_MEM_DONATE;
            Vcpu& v = t.m.load(t.m.vcpu(1));
            const u64 x[8] = {function, bytes, bytes, 0, 0, 0, 0, 0};
            for (unsigned i = 0; i < 8; ++i) {
                v.x[i] = x[i];
            }
            for (int i = 0; i < steps; ++i) {
                t.m.load(v);
                if (t.m.exit(v, u64{0x16} << 26 | arch::Esr::IL::mask) != action::repeat) {
                    break;
                }
            }
            t.off(1);
            t.off(2);
            CHECK(t.free() == t.all);
        }
    }
}
