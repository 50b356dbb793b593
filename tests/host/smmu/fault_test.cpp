// SPDX-License-Identifier: Apache-2.0
// smmu: draining events, storms, overflow, stalled accesses, global errors.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/smmu_fixture.hpp"

using namespace atl;
using namespace atl::smmu;
using namespace atl::test;

namespace {

struct Faults : SmmuFixture {
    Stage2 alpha = stage2(0, 11);
    StreamId disk{0x10};

    void prepare(unsigned event_log2 = 19) {
        model.id.idr1 = static_cast<u32>(Idr1::EVENTQS::set(model.id.idr1, event_log2));
        map(alpha, 0x4000'0000, 0x6000'0000);
        map(alpha, 0x4000'1000, 0x6000'1000, false);
        REQUIRE(init().ok());
        REQUIRE(smmu->attach(disk, alpha).ok());
    }
    void storm(u64 count) {
        for (u64 i = 0; i < count; ++i) {
            CHECK(!model.dma(disk, {0x9000'0000 + 4 * i}, true).ok);
        }
    }
    ~Faults() { CHECK(model.violations.empty()); }
};

} // namespace

TEST_CASE_FIXTURE(Faults, "smmu drain: what a device did wrong") {
    prepare();
    CHECK(!model.dma(disk, {0x5000'0008}, false).ok);
    CHECK(!model.dma(disk, {0x4000'1010}, true).ok);
    CHECK(!model.dma({0x2000}, {0x10}, true).ok);
    CHECK(model.event_interrupts == 1);
    const Drained drained = smmu->drain(sink(), 10);
    CHECK(drained.records == 3);
    CHECK(!drained.more);
    CHECK(!drained.overflow);
    REQUIRE(faults.size() == 3);
    CHECK(faults[0].kind == FaultKind::f_translation);
    CHECK(faults[0].stream == disk);
    CHECK(faults[0].ipa == Ipa{0x5000'0008});
    CHECK(faults[0].read);
    CHECK(std::string(reason(faults[0].kind)) == "nothing is mapped there");
    CHECK(faults[1].kind == FaultKind::f_permission);
    CHECK(!faults[1].read);
    CHECK(faults[2].kind == FaultKind::c_bad_streamid);
    CHECK(faults[2].stream == StreamId{0x2000});
    // The queue was empty when drain() looked last: the next one interrupts.
    CHECK(!model.dma(disk, {0x5000'0008}, false).ok);
    CHECK(model.event_interrupts == 2);
    CHECK(smmu->drain(sink(), 10).records == 1);
    CHECK(smmu->drain(sink(), 10).records == 0);
}

TEST_CASE_FIXTURE(Faults, "smmu drain: a storm is taken in portions, in order, across many wraps") {
    prepare(5);
    u64 expected = 0;
    for (unsigned round = 0; round < 50; ++round) {
        storm(25);
        Drained drained = smmu->drain(sink(), 7);
        CHECK(drained.records == 7);
        CHECK(drained.more);
        unsigned total = drained.records;
        while (drained.more) {
            drained = smmu->drain(sink(), 16);
            total += drained.records;
        }
        CHECK(total == 25);
        expected += total;
    }
    CHECK(faults.size() == expected);
    for (std::size_t i = 0; i < faults.size(); ++i) {
        CHECK(faults[i].ipa.value == 0x9000'0000 + 4 * (i % 25));
    }
    CHECK(smmu->counters().overflows == 0);
    CHECK(smmu->counters().events == expected);
}

TEST_CASE_FIXTURE(Faults, "smmu drain: one faulting DMA of 4 KiB fits") {
    prepare();
    storm(1024);
    unsigned total = 0;
    for (Drained d{0, true}; d.more;) {
        d = smmu->drain(sink(), 100);
        CHECK(!d.overflow);
        total += d.records;
    }
    CHECK(total == 1024);
}

TEST_CASE_FIXTURE(Faults, "smmu drain: overflow is told, acknowledged, and told again when it comes again") {
    prepare(4);
    for (unsigned round = 1; round <= 3; ++round) {
        storm(40); // 16 fit
        Drained drained = smmu->drain(sink(), 4);
        CHECK(drained.overflow);
        CHECK(drained.more);
        CHECK(((model.read(Reg32::EVENTQ_PROD) ^ model.event_cons()) & EventqIndex::OVFLG::mask) == 0);
        model.observe();
        unsigned total = drained.records;
        while (drained.more) {
            drained = smmu->drain(sink(), 4);
            CHECK(!drained.overflow);
            total += drained.records;
        }
        CHECK(total == 16);
        CHECK(smmu->counters().overflows == round);
    }
    storm(3);
    CHECK(smmu->drain(sink(), 100).records == 3);
}

TEST_CASE_FIXTURE(Faults, "smmu drain: an index out of the queue's range does not wedge it") {
    prepare(4);
    storm(3);
    model.spoil_event_prod(0x1b); // 27 ahead of 0 in a queue of 16
    CHECK(smmu->drain(sink(), 100).records == 0);
    CHECK(smmu->counters().discarded_events == 1);
    storm(2);
    CHECK(smmu->drain(sink(), 100).records == 2);
}

TEST_CASE_FIXTURE(Faults, "smmu drain: a stalled access gets an abort for an answer") {
    model.id.idr0 = static_cast<u32>(Idr0::STALL_MODEL::set(model.id.idr0, 0)); // it could
    prepare();
    CHECK(!Ste2::S2S::test(ste(alpha)[2])); // but is not asked to
    model.event({0x10 | u64{0x10} << 32, Evt1::Stall::mask | 0x77, 0x1000, 0});
    CHECK(smmu->drain(sink(), 10).records == 1);
    REQUIRE(model.executed.size() >= 2);
    CHECK(model.executed[model.executed.size() - 2] == cmd_resume_abort(disk, 0x77));
    CHECK(faults[0].stalled);
    CHECK(smmu->counters().stalls == 1);
}

TEST_CASE_FIXTURE(Faults, "smmu drain: a record of a stall from an SMMU that cannot is not answered") {
    prepare();
    const std::size_t before = model.executed.size();
    model.event({0x10 | u64{0x10} << 32, Evt1::Stall::mask | 0x77, 0x1000, 0});
    CHECK(smmu->drain(sink(), 10).records == 1);
    CHECK(model.executed.size() == before);
}

TEST_CASE_FIXTURE(Faults, "smmu gerror: each is acknowledged") {
    prepare();
    CHECK(smmu->on_gerror() == 0);
    SUBCASE("event queue abort: what is in it cannot be believed, then it goes on") {
        storm(5);
        model.raise(static_cast<u32>(Gerror::EVENTQ_ABT_ERR::mask));
        storm(5); // not recorded while it is active
        CHECK(smmu->on_gerror() == Gerror::EVENTQ_ABT_ERR::mask);
        CHECK(smmu->drain(sink(), 100).records == 0);
        CHECK(smmu->counters().discarded_events == 5);
        storm(2);
        CHECK(smmu->drain(sink(), 100).records == 2);
    }
    SUBCASE("an MSI that was aborted") {
        model.raise(0xf0);
        CHECK(smmu->on_gerror() == 0xf0);
    }
    SUBCASE("a command error that nobody waits for") {
        model.raise(static_cast<u32>(Gerror::CMDQ_ERR::mask));
        CHECK(smmu->on_gerror() == 1);
        smmu->invalidate({alpha.vmid, {0}, page_size});
        CHECK(smmu->running());
    }
    CHECK(model.active_errors() == 0);
    CHECK(smmu->on_gerror() == 0);
}

TEST_CASE_FIXTURE(Faults, "smmu gerror: an overflow that is reported as an abort keeps its records") {
    model.overflow_as_abort = true;
    prepare(4);
    storm(40);
    CHECK(smmu->on_gerror() == 0); // no error of its own: drain() tells it
    CHECK(model.active_errors() == 0);
    const Drained drained = smmu->drain(sink(), 100);
    CHECK(drained.records == 16);
    CHECK(drained.overflow);
    storm(1);
    CHECK(smmu->drain(sink(), 100).records == 1);
}

TEST_CASE_FIXTURE(Faults, "smmu gerror: service failure stops all DMA") {
    prepare();
    REQUIRE(model.dma(disk, {0x4000'0000}, true).ok);
    model.raise(static_cast<u32>(Gerror::SFM_ERR::mask));
    CHECK(smmu->on_gerror() == Gerror::SFM_ERR::mask);
    CHECK(!smmu->running());
    CHECK(smmu->refusal() == Refusal::service_failure);
    CHECK(!model.dma(disk, {0x4000'0000}, true).ok);
    CHECK(!model.bypassed);
    smmu->invalidate({alpha.vmid, {0}, page_size});
}

TEST_CASE_FIXTURE(Faults, "smmu dump: state and one entry") {
    std::string text;
    const TextSink out{&text, [](void* t, std::string_view s) { static_cast<std::string*>(t)->append(s); }};
    smmu->dump(out);
    CHECK(text.find("SMMU at 0x0") == 0);
    prepare();
    text.clear();
    smmu->dump(out);
    CHECK(text.find("translating") != std::string::npos);
    CHECK(
        text.find("two-level stream table, 16 bits of StreamID, 1 second levels; VMID 16 bits; PA 44 bits") !=
        std::string::npos);
    text.clear();
    smmu->dump(out, disk);
    CHECK(text.find("stage 2 only, VMID 11, root 0x80000000") != std::string::npos);
    text.clear();
    smmu->dump(out, {0x4000});
    CHECK(text.find("every access aborts") != std::string::npos);
}
