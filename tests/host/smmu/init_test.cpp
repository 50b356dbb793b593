// SPDX-License-Identifier: Apache-2.0
// smmu: from what firmware left to an SMMU that aborts every stream; every way in which it may not obey.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/smmu_fixture.hpp"

using namespace atl;
using namespace atl::smmu;
using namespace atl::test;

namespace {

/// It can be a global of EL2, which has no static constructors.
[[maybe_unused]] constinit Smmu global_smmu;

bool issued(const SmmuModel& model, const Command& command) {
    return std::find(model.executed.begin(), model.executed.end(), command) != model.executed.end();
}

} // namespace

TEST_CASE("smmu init: two-level, everything aborts") {
    SmmuFixture f;
    f.model.delay = 3;
    REQUIRE(f.init().ok());
    CHECK(f.smmu->running());
    CHECK(f.model.violations.empty());
    CHECK((f.model.gbpa() & Gbpa::ABORT::mask) != 0);
    // The very first register write of all is the global abort.
    REQUIRE(!f.model.register_writes.empty());
    CHECK(f.model.register_writes[0].first == static_cast<u32>(Reg32::GBPA));
    CHECK(f.model.cr0() == (Cr0::SMMUEN::mask | Cr0::EVENTQEN::mask | Cr0::CMDQEN::mask));
    CHECK(f.model.value(Reg32::CR1) == 0xd75);
    CHECK(f.model.value(Reg32::CR2) == Cr2::RECINVSID::mask);
    CHECK(f.model.value(Reg32::STRTAB_BASE_CFG) == (1u << 16 | 8u << 6 | 16));
    // Configuration first, then translations, both complete.
    CHECK(f.model.executed ==
          std::vector<Command>{cmd_cfgi_all(), cmd_sync(), cmd_tlbi_nsnh_all(), cmd_sync()});
    for (const u32 stream : {0u, 8u, 0xffffu, 0x1'0000u}) {
        CHECK(!f.model.dma({stream}, {0x4000'0000}, true).ok);
    }
    CHECK(!f.model.bypassed);
    CHECK(f.model.event_interrupts == 1); // the first of four
    const Drained drained = f.smmu->drain(f.sink(), 100);
    CHECK(drained.records == 4);
    CHECK(f.faults[0].kind == FaultKind::c_bad_streamid);
}

TEST_CASE("smmu init: linear table, Hyp, BTM, ATS, MSI") {
    SmmuFixture f;
    f.model.id.idr0 = static_cast<u32>(Idr0::ST_LEVEL::set(f.model.id.idr0, 0) | Idr0::Hyp::mask |
                                       Idr0::BTM::mask | Idr0::ATS::mask | Idr0::MSI::mask);
    f.model.id.idr1 = 4u << 21 | 5u << 16 | 7; // 16 commands, 32 events, 128 streams
    REQUIRE(f.init().ok());
    CHECK(f.model.violations.empty());
    CHECK(f.model.value(Reg32::STRTAB_BASE_CFG) == 7);
    CHECK((f.model.value(Reg64::CMDQ_BASE) & 31) == 4);
    CHECK((f.model.value(Reg64::EVENTQ_BASE) & 31) == 5);
    CHECK(f.model.value(Reg32::CR2) == (Cr2::RECINVSID::mask | Cr2::PTM::mask));
    CHECK((f.model.cr0() & Cr0::ATSCHK::mask) != 0);
    CHECK(issued(f.model, cmd_tlbi_el2_all()));
    // Nobody's streams abort and are reported, in the table and beyond it.
    CHECK(!f.model.dma({127}, {0}, false).ok);
    CHECK(!f.model.dma({128}, {0}, false).ok);
    CHECK(f.smmu->drain(f.sink(), 100).records == 2);
    REQUIRE(f.faults.size() == 2);
    CHECK(f.faults[0].kind == FaultKind::c_bad_ste);
    CHECK(f.faults[1].kind == FaultKind::c_bad_streamid);
    CHECK(f.smmu->attach({128}, f.stage2(0, 1)).error() == Error::overflow);
}

TEST_CASE("smmu init: an SMMU that firmware left on") {
    SmmuFixture f;
    f.model.write(Reg32::GBPA, static_cast<u32>(Gbpa::ABORT::mask | Gbpa::Update::mask));
    static_cast<void>(f.model.read(Reg32::GBPA));
    f.model.write(Reg32::CR0, 1);
    static_cast<void>(f.model.read(Reg32::CR0ACK));
    f.model.write(Reg32::IRQ_CTRL, 7);
    f.model.raise(0x1fd);
    REQUIRE(f.init().ok());
    CHECK(f.model.violations.empty());
    CHECK(f.model.active_errors() == 0);
}

TEST_CASE("smmu init: each failure is a sentence, and no device gets through") {
    SmmuFixture f;
    Refusal expected{};
    Error error = Error::not_supported;
    SUBCASE("no stage 2") {
        f.model.id.idr0 &= ~1u;
        expected = Refusal::no_stage2;
    }
    SUBCASE("disable") {
        f.model.write(Reg32::GBPA, static_cast<u32>(Gbpa::ABORT::mask | Gbpa::Update::mask));
        f.model.write(Reg32::CR0, 1);
        static_cast<void>(f.model.read(Reg32::CR0ACK));
        f.model.cr0_deaf = 1;
        expected = Refusal::disable_stuck;
    }
    SUBCASE("command queue") {
        f.model.cr0_deaf = Cr0::CMDQEN::mask;
        expected = Refusal::queues_stuck;
    }
    SUBCASE("event queue") {
        f.model.cr0_deaf = Cr0::EVENTQEN::mask;
        expected = Refusal::queues_stuck;
    }
    SUBCASE("enable") {
        f.model.cr0_deaf = Cr0::SMMUEN::mask;
        expected = Refusal::enable_stuck;
    }
    SUBCASE("interrupts") {
        f.model.irq_deaf = true;
        expected = Refusal::interrupts_stuck;
    }
    SUBCASE("commands are not consumed") {
        f.model.frozen = true;
        expected = Refusal::first_commands_failed;
    }
    SUBCASE("a first command is refused") {
        f.model.refuse = {{Op::TLBI_NSNH_ALL, 1, cerror_ill}};
        expected = Refusal::first_commands_failed;
    }
    SUBCASE("memory for the table") {
        f.model.memory_left = 0;
        expected = Refusal::no_memory;
        error = Error::no_memory;
    }
    SUBCASE("memory for the queues") {
        f.model.memory_left = 2;
        expected = Refusal::no_memory;
        error = Error::no_memory;
    }
    const Status status = f.init();
    REQUIRE(!status.ok());
    CHECK(status.error() == error);
    CHECK(f.smmu->refusal() == expected);
    CHECK(!f.smmu->running());
    CHECK(!f.model.dma({8}, {0x4000'0000}, true).ok);
    CHECK(!f.model.bypassed);
    CHECK(f.smmu->attach({8}, f.stage2(0, 1)).error() == Error::denied);
    CHECK(f.smmu->drain(f.sink(), 10).records == 0);
    CHECK(f.smmu->on_gerror() == 0);
    f.smmu->invalidate({{1}, {0}, page_size});
    f.smmu->detach({8});
}

TEST_CASE("smmu init: an SMMU that cannot be told to abort is left alone") {
    SmmuFixture f;
    f.model.gbpa_deaf = true;
    CHECK(f.init().error() == Error::not_supported);
    CHECK(f.smmu->refusal() == Refusal::global_abort_stuck);
    CHECK(f.model.register_writes.size() == 1);
}

TEST_CASE("smmu init: a register window that is too small is not touched") {
    SmmuFixture f;
    Config config = f.config();
    config.registers.size = 0x10000;
    CHECK(f.smmu->init(config).error() == Error::invalid_argument);
    CHECK(f.smmu->refusal() == Refusal::window_too_small);
    config = f.config();
    config.registers.base += 0x1000;
    CHECK(f.smmu->init(config).error() == Error::invalid_argument);
    CHECK(f.model.register_writes.empty());
}
