// SPDX-License-Identifier: Apache-2.0
// smmu: attach, reassign, detach. The model checks at every store and every SYNC that no mixture of an
// entry's words can be seen, and that nothing is relied on before its barrier.
#include <doctest/doctest.h>

#include <random>
#include <thread>

#include "tests/support/smmu_fixture.hpp"

using namespace atl;
using namespace atl::smmu;
using namespace atl::test;

namespace {

constexpr u64 ram = 0x4000'0000; // IPA

/// Two VMs, each with a page at `ram`, and two devices.
struct Streams : SmmuFixture {
    Stage2 alpha = stage2(0, 11);
    Stage2 beta = stage2(1, 12);
    StreamId disk{0x10};
    StreamId card{0x108}; // on another bus: another second-level table

    void prepare() {
        map(alpha, ram, 0x6000'0000);
        map(beta, ram, 0x7000'0000);
        REQUIRE(init().ok());
    }
    ~Streams() { CHECK(model.violations.empty()); }
};

/// Whether the device at `stream` reaches `pa` by `ram`.
bool reaches(SmmuFixture& f, StreamId stream, u64 pa) {
    const SmmuModel::Access access = f.model.dma(stream, {ram + 8}, true);
    return access.ok && access.pa.value == pa + 8;
}

} // namespace

TEST_CASE_FIXTURE(Streams, "smmu stream: attach, detach, another owner") {
    prepare();
    model.watch(disk, {invalid_ste, ste(alpha), ste(beta)});
    CHECK(!reaches(*this, disk, 0x6000'0000));
    REQUIRE(smmu->attach(disk, alpha).ok());
    CHECK(reaches(*this, disk, 0x6000'0000));
    CHECK(!model.dma(card, {ram}, true).ok); // nobody else's device gets in
    CHECK(smmu->attach(disk, beta).error() == Error::already_exists);
    CHECK(reaches(*this, disk, 0x6000'0000));
    smmu->detach(disk);
    CHECK(!model.dma(disk, {ram}, true).ok);
    // Nothing of the VM stays cached for who may get its VMID.
    REQUIRE(model.executed.size() > 2);
    CHECK(model.executed[model.executed.size() - 2] == cmd_tlbi_vmall(alpha.vmid));
    CHECK(model.executed.back() == cmd_sync());
    smmu->detach(disk);
    REQUIRE(smmu->attach(disk, beta).ok());
    CHECK(reaches(*this, disk, 0x7000'0000));
    CHECK(model.watch_checks > 20);
    CHECK(smmu->counters().second_levels == 1);
    smmu->detach(card); // never attached: nothing to do
}

TEST_CASE_FIXTURE(Streams, "smmu stream: a linear table") {
    model.id.idr0 = static_cast<u32>(Idr0::ST_LEVEL::set(model.id.idr0, 0));
    model.id.idr1 = static_cast<u32>(Idr1::SIDSIZE::set(model.id.idr1, 9));
    prepare();
    for (const StreamId stream : {disk, card, StreamId{0}, StreamId{511}}) {
        model.watch(stream, {invalid_ste, ste(alpha)});
        REQUIRE(smmu->attach(stream, alpha).ok());
        CHECK(reaches(*this, stream, 0x6000'0000));
    }
    CHECK(smmu->attach({512}, alpha).error() == Error::overflow);
    CHECK(smmu->counters().second_levels == 0);
}

TEST_CASE_FIXTURE(Streams, "smmu stream: a second level appears where an invalid descriptor is cached") {
    prepare();
    // Both descriptors are fetched, and kept, while they are invalid.
    CHECK(!model.dma(disk, {ram}, true).ok);
    CHECK(!model.dma(card, {ram}, true).ok);
    CHECK(!model.dma({0xff}, {ram}, true).ok);
    REQUIRE(smmu->attach(disk, alpha).ok());
    CHECK(reaches(*this, disk, 0x6000'0000));
    REQUIRE(smmu->attach({0xff}, alpha).ok()); // the same bus
    CHECK(smmu->counters().second_levels == 1);
    REQUIRE(smmu->attach(card, beta).ok());
    CHECK(smmu->counters().second_levels == 2);
    CHECK(reaches(*this, card, 0x7000'0000));
    CHECK(!model.dma({0x11}, {ram}, true).ok); // a neighbour in the new table
    REQUIRE(smmu->attach({0xffff}, beta).ok());
    CHECK(reaches(*this, {0xffff}, 0x7000'0000));
    CHECK(smmu->attach({0x1'0000}, beta).error() == Error::overflow);
}

TEST_CASE_FIXTURE(Streams, "smmu stream: no memory for a second level changes nothing") {
    prepare();
    REQUIRE(smmu->attach(disk, alpha).ok());
    model.memory_left = 3;
    CHECK(smmu->attach(card, beta).error() == Error::no_memory);
    CHECK(smmu->attach({0x11}, beta).ok());
    model.memory_left = 4;
    CHECK(smmu->attach(card, beta).ok());
}

TEST_CASE_FIXTURE(Streams, "smmu stream: a new VMID has no gap") {
    prepare();
    REQUIRE(smmu->attach(disk, alpha).ok());
    CHECK(reaches(*this, disk, 0x6000'0000));
    Stage2 renamed = alpha;
    renamed.vmid = {77};
    // Only the old one and the new one: not even an aborting one.
    model.watch(disk, {ste(alpha), ste(renamed)});
    const std::size_t before = model.executed.size();
    REQUIRE(smmu->reassign(disk, renamed).ok());
    CHECK(model.executed.size() == before + 6); // TLBI new, CFGI, TLBI old, each with a SYNC
    CHECK(reaches(*this, disk, 0x6000'0000));
    // The old VMID is clean for its next owner.
    Stage2 other = beta;
    other.vmid = alpha.vmid;
    REQUIRE(smmu->attach(card, other).ok());
    CHECK(reaches(*this, card, 0x7000'0000));
    // A change of more than one word goes through aborting.
    model.watch(disk, {ste(renamed), ste(beta)});
    REQUIRE(smmu->reassign(disk, beta).ok());
    CHECK(reaches(*this, disk, 0x7000'0000));
    CHECK(smmu->reassign({0x20}, beta).error() == Error::not_found);
}

TEST_CASE_FIXTURE(Streams, "smmu stream: a VMID that another VM had") {
    prepare();
    Stage2 heir = beta;
    heir.vmid = alpha.vmid;
    REQUIRE(smmu->attach(disk, alpha).ok());
    CHECK(reaches(*this, disk, 0x6000'0000));
    smmu->detach(disk);
    REQUIRE(smmu->attach(card, heir).ok());
    CHECK(reaches(*this, card, 0x7000'0000));
}

TEST_CASE_FIXTURE(Streams, "smmu stream: accesses under way are over when detach returns") {
    prepare();
    REQUIRE(smmu->attach(disk, alpha).ok());
    REQUIRE(model.start(disk, {ram}));
    smmu->detach(disk);
    CHECK(model.written == std::vector<u64>{0x6000'0000});
    model.quiet_pages = {0x6000'0000};
    model.finish();
}

TEST_CASE_FIXTURE(Streams, "smmu stream: what nobody has aborts, and is reported until it is silenced") {
    prepare();
    const auto reported = [&](StreamId stream) {
        faults.clear();
        CHECK(!model.dma(stream, {ram}, true).ok);
        return smmu->drain(sink(), 10).records;
    };
    CHECK(reported(disk) == 1);
    CHECK(faults[0].kind == FaultKind::c_bad_streamid); // its bus has no table yet
    smmu->silence(disk);                                // so there is nothing that could be silent
    CHECK(reported(disk) == 1);
    REQUIRE(smmu->attach(disk, alpha).ok());
    smmu->silence(disk); // it has a stage 2
    CHECK(reaches(*this, disk, 0x6000'0000));
    const StreamId neighbour{0x11};
    CHECK(reported(neighbour) == 1);
    CHECK(faults[0].kind == FaultKind::c_bad_ste);
    CHECK(!faults[0].has_address);
    for (unsigned life = 0; life < 2; ++life) {
        smmu->detach(disk);
        CHECK(reported(disk) == 1);
        CHECK(reported(disk) == 1);
        CHECK(faults[0].kind == FaultKind::c_bad_ste);
        CHECK(faults[0].stream == disk);
        model.watch(disk, {invalid_ste});
        smmu->silence(disk);
        CHECK(reported(disk) == 0); // the SMMU has dropped the invalid entry that it kept
        const std::size_t before = model.executed.size();
        smmu->silence(disk);
        CHECK(model.executed.size() == before);
        CHECK(reported(neighbour) == 1);
        model.watch(disk, {ste(beta)}); // from silent to its stage 2, never invalid
        REQUIRE(smmu->attach(disk, beta).ok());
        CHECK(reaches(*this, disk, 0x7000'0000));
        model.watch(disk, {invalid_ste, ste(beta)});
    }
    smmu->silence({0x2'0000}); // beyond the table
    CHECK(smmu->running());
}

TEST_CASE_FIXTURE(Streams, "smmu stream: an SMMU that does not snoop") {
    model.id.idr0 &= ~static_cast<u32>(Idr0::COHACC::mask);
    prepare();
    CHECK(model.value(Reg32::CR1) == 0);
    REQUIRE(smmu->attach(disk, alpha).ok());
    CHECK(reaches(*this, disk, 0x6000'0000));
    for (u64 i = 0; i < 3000; ++i) { // more than a lap of lines that EL2 has in its cache
        CHECK(!model.dma(disk, {0x1'0000 + i * 8}, true).ok);
        if (i % 3 == 0) {
            smmu->drain(sink(), 2);
        }
    }
    while (smmu->drain(sink(), 100).more) {
    }
    REQUIRE(faults.size() == 3000);
    for (u64 i = 0; i < 3000; ++i) {
        CHECK(faults[i].ipa.value == 0x1'0000 + i * 8);
    }
    smmu->detach(disk);
    CHECK(!model.dma(disk, {ram}, true).ok);
}

TEST_CASE_FIXTURE(Streams, "smmu invalidate: exactly what is stale, in one batch") {
    prepare();
    SUBCASE("by range") {}
    SUBCASE("leaf by leaf") {
        smmu = std::make_unique<Smmu>();
        model.write(Reg32::CR0, model.cr0() & 0xe);
        static_cast<void>(model.read(Reg32::CR0ACK));
        model.id.idr3 = 0;
        REQUIRE(init().ok());
    }
    const bool ranges = smmu->features().range_invalidate;
    constexpr u64 block = 0x20'0000;
    for (u64 i = 0; i < 70; ++i) {
        map(alpha, ram + i * page_size, 0x6000'0000 + i * page_size);
    }
    map(alpha, 0x8000'0000, 0xa000'0000, true, block);
    map(alpha, 0x8000'0000 + block, 0xa000'0000 + block, true, block);
    REQUIRE(smmu->attach(disk, alpha).ok());
    const auto touch = [&] {
        for (u64 i = 0; i < 70; ++i) {
            CHECK(model.dma(disk, {ram + i * page_size}, false).ok);
        }
        CHECK(model.dma(disk, {0x8000'1234}, false).ok);
        CHECK(model.dma(disk, {0x8000'1234 + block}, false).ok);
    };
    touch();
    const auto gone = [&](u64 ipa) { return !model.dma(disk, {ipa}, false).ok; };
    const auto run = [&](const Invalidation& what) {
        const std::size_t before = model.executed.size();
        smmu->invalidate(what);
        CHECK(model.executed.back() == cmd_sync());
        return model.executed.size() - before - 1;
    };
    unmap(alpha, ram + page_size);
    CHECK(!gone(ram + page_size)); // stale until told
    CHECK(run({alpha.vmid, {ram + page_size}, page_size}) == 1);
    CHECK(gone(ram + page_size));
    for (u64 i = 2; i < 34; ++i) {
        unmap(alpha, ram + i * page_size);
    }
    CHECK(run({alpha.vmid, {ram + 2 * page_size}, 32 * page_size}) == (ranges ? 1 : 32));
    CHECK(gone(ram + 2 * page_size));
    CHECK(gone(ram + 33 * page_size));
    // 33 and 35 leaves: by range, rounded up, or the whole VMID
    unmap(alpha, ram + 66 * page_size);
    CHECK(run({alpha.vmid, {ram + 34 * page_size}, 33 * page_size}) == 1);
    CHECK(gone(ram + 66 * page_size));
    unmap(alpha, ram + 69 * page_size);
    CHECK(run({alpha.vmid, {ram + 35 * page_size}, 35 * page_size}) == 1);
    CHECK(gone(ram + 69 * page_size));
    unmap(alpha, 0x8000'0000);
    unmap(alpha, 0x8000'0000 + block);
    CHECK(run({alpha.vmid, {0x8000'0000}, block, block}) == 1);
    CHECK(gone(0x8000'1234));
    CHECK(run({alpha.vmid, {0x8000'3000 + block}, page_size, block}) == 1); // within a leaf: the leaf
    CHECK(gone(0x8000'1234 + block));
    unmap(alpha, ram);
    CHECK(run({alpha.vmid, {}, 0, page_size, true}) == 1);
    CHECK(gone(ram));
    smmu->invalidate({alpha.vmid, {ram}, 0}); // nothing
    CHECK(model.executed.back() == cmd_sync());
    const std::size_t before = model.executed.size();
    smmu->invalidate_all();
    CHECK(model.executed.size() == before + 2);
}

TEST_CASE_FIXTURE(Streams, "smmu invalidate: from many CPUs at once") {
    prepare();
    REQUIRE(smmu->attach(disk, alpha).ok());
    const u64 before = smmu->counters().syncs;
    std::vector<std::thread> cpus;
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
        cpus.emplace_back([&, cpu] {
            for (unsigned i = 0; i < 100; ++i) {
                smmu->invalidate({{static_cast<u16>(cpu)}, {ram + i * page_size}, page_size * (1 + i % 40)});
            }
        });
    }
    for (std::thread& cpu : cpus) {
        cpu.join();
    }
    CHECK(smmu->counters().syncs == before + 200);
    CHECK(model.syncs == smmu->counters().syncs);
    CHECK(smmu->counters().command_errors == 0);
}
