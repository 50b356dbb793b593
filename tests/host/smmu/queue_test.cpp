// SPDX-License-Identifier: Apache-2.0
// smmu: the command queue's wrap, its errors and their repair, and what happens when nothing helps.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/smmu_fixture.hpp"

using namespace atl;
using namespace atl::smmu;
using namespace atl::test;

namespace {

constexpr u64 ram = 0x4000'0000;

struct Queue : SmmuFixture {
    Stage2 alpha = stage2(0, 11);
    StreamId disk{0x10};

    void prepare() {
        REQUIRE(init().ok());
        map(alpha, ram, 0x6000'0000);
        REQUIRE(smmu->attach(disk, alpha).ok());
        REQUIRE(model.dma(disk, {ram}, true).ok);
        unmap(alpha, ram);
    }
    void invalidate_ram() { smmu->invalidate({alpha.vmid, {ram}, page_size}); }
    unsigned count(Op op) const {
        return static_cast<unsigned>(
            std::count_if(model.executed.begin(), model.executed.end(),
                          [op](const Command& command) { return op_of(command.word[0]) == op; }));
    }
};

} // namespace

TEST_CASE("smmu queue: every size wraps, batches larger than the queue go through") {
    for (unsigned log2 = 0; log2 <= 6; ++log2) {
        CAPTURE(log2);
        SmmuFixture f;
        f.model.id.idr1 = static_cast<u32>(Idr1::CMDQS::set(f.model.id.idr1, log2));
        f.model.id.idr3 = 0;     // leaf by leaf: long batches
        f.model.slow = log2 % 3; // with an SMMU that lags behind the queue is really full
        REQUIRE(f.init().ok());
        for (u64 i = 1; i <= 200; ++i) {
            f.smmu->invalidate({{1}, {i * page_size}, (1 + i % 32) * page_size});
            CHECK(f.smmu->counters().syncs == f.model.syncs); // over when the call returns
        }
        CHECK(f.model.violations.empty());
        const Counters c = f.smmu->counters();
        CHECK(c.command_errors == 0);
        CHECK(c.commands == f.model.executed.size());
        CHECK(c.syncs == f.model.syncs);
        CHECK(f.model.command_prod() < (2u << log2));
    }
}

TEST_CASE_FIXTURE(Queue, "smmu queue: a refused command is skipped and asked for again") {
    prepare();
    const unsigned before = count(Op::TLBI_S2_IPA);
    SUBCASE("once: the same again") {
        model.refuse = {{Op::TLBI_S2_IPA, 1, cerror_ill}};
        invalidate_ram();
        CHECK(count(Op::TLBI_S2_IPA) == before + 1);
        CHECK(smmu->counters().command_errors == 1);
    }
    SUBCASE("always: everything is dropped instead") {
        model.refuse = {{Op::TLBI_S2_IPA, 1000, cerror_ill}};
        invalidate_ram();
        CHECK(count(Op::TLBI_NSNH_ALL) == 2);
        CHECK(smmu->counters().repeated == 2);
    }
    SUBCASE("a fetch that is aborted is tried again") {
        model.refuse = {{Op::TLBI_S2_IPA, 3, cerror_abt}, {Op::SYNC, 2, cerror_abt}};
        invalidate_ram();
        CHECK(count(Op::TLBI_S2_IPA) == before + 1);
        CHECK(smmu->counters().command_errors == 5);
        CHECK(smmu->counters().repeated == 0);
    }
    SUBCASE("a SYNC that fails is repeated") {
        model.refuse = {{Op::SYNC, 2, cerror_atc_inv_sync}};
        invalidate_ram();
        CHECK(smmu->counters().repeated == 0);
    }
    SUBCASE("more errors than can be believed: the queue is restarted") {
        model.refuse = {{Op::TLBI_S2_IPA, 10, cerror_abt}};
        invalidate_ram();
        CHECK(smmu->counters().restarts == 1);
    }
    CHECK(smmu->running());
    CHECK(!model.dma(disk, {ram}, true).ok);
    CHECK(model.active_errors() == 0);
    CHECK(model.violations.empty());
    map(alpha, ram, 0x6100'0000);
    CHECK(model.dma(disk, {ram}, true).ok); // and the rest works
}

TEST_CASE_FIXTURE(Queue, "smmu queue: a queue that stands still is restarted") {
    prepare();
    model.frozen = true;
    model.frozen_until_restart = true;
    const unsigned before = count(Op::TLBI_S2_IPA);
    invalidate_ram();
    CHECK(count(Op::TLBI_S2_IPA) == before + 1); // what stood in the queue is forgotten, and asked for again
    CHECK(smmu->running());
    CHECK(smmu->counters().restarts == 1);
    CHECK(!model.dma(disk, {ram}, true).ok);
    CHECK(model.violations.empty());
}

TEST_CASE_FIXTURE(Queue, "smmu queue: when nothing helps all DMA is stopped") {
    prepare();
    REQUIRE(model.dma(disk, {ram}, true).ok); // still cached
    SUBCASE("the queue stands still for ever") {
        model.frozen = true;
    }
    SUBCASE("the queue cannot be restarted") {
        model.frozen = true;
        model.cr0_deaf = Cr0::CMDQEN::mask;
        // Neither can it be seen to stop: the panic of the last resort, which a test cannot survive, is for
        // an SMMU that does not even clear SMMUEN. This one says that it failed itself.
        model.raise(static_cast<u32>(Gerror::SFM_ERR::mask));
    }
    SUBCASE("every command is refused") {
        model.refuse = {{Op::TLBI_S2_IPA, 1000, cerror_ill}, {Op::TLBI_NSNH_ALL, 1000, cerror_ill}};
    }
    invalidate_ram();
    CHECK(!smmu->running());
    CHECK(smmu->refusal() == Refusal::invalidation_failed);
    CHECK(!model.dma(disk, {ram}, true).ok);
    CHECK(!model.bypassed);
    CHECK(smmu->attach({0x20}, alpha).error() == Error::denied);
    CHECK(smmu->reassign(disk, alpha).error() == Error::denied);
    smmu->detach(disk);
    invalidate_ram();
    smmu->invalidate_all();
    CHECK(!model.dma(disk, {ram}, true).ok);
}

TEST_CASE_FIXTURE(Queue, "smmu queue: an entry that cannot be shown to the SMMU is never left half done") {
    prepare();
    SUBCASE("detach") {
        model.refuse = {{Op::CFGI_STE, 1000, cerror_ill}};
        smmu->detach(disk); // falls back to CFGI_ALL
        CHECK(smmu->running());
        CHECK(count(Op::CFGI_STE_RANGE) == 2);
    }
    SUBCASE("detach, and nothing helps") {
        model.frozen = true;
        smmu->detach(disk);
        CHECK(!smmu->running());
    }
    SUBCASE("attach, and nothing helps") {
        smmu->detach(disk);
        model.frozen = true;
        CHECK(smmu->attach(disk, alpha).error() == Error::denied);
        CHECK(!smmu->running());
    }
    map(alpha, ram, 0x6000'0000);
    CHECK(!model.dma(disk, {ram}, true).ok);
}
