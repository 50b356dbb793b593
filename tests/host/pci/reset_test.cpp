// SPDX-License-Identifier: Apache-2.0
// Host tests of pci/reset, sriov and virtio: jobs that wait without sleeping, against devices that are slow,
// stuck, gone, or somebody else afterwards.
#include <doctest/doctest.h>

#include "pci/sriov.hpp"
#include "pci/virtio.hpp"
#include "tests/support/pci_model.hpp"

using namespace atl;
using namespace atl::pci;
using namespace atl::test;

namespace {

struct Bench {
    PciModel model;
    std::unique_ptr<Topology> t = std::make_unique<Topology>();
    ResetJob job;

    void run() {
        model.seal();
        REQUIRE(enumerate(*t, model.host).ok());
        assign(*t);
    }
    Function& at(unsigned bus, unsigned device, unsigned function = 0) {
        Function* found = t->find(Bdf::of(bus, device, function));
        REQUIRE(found != nullptr);
        return *found;
    }
    PciFn& nvme(bool flr = true) {
        PciFn& fn = model.add(nullptr, 1, 0, 0x0010'1b36, 0x010802);
        fn.bar64(0, 0x4000);
        fn.bar32(2, 0x1000);
        fn.add_msix(0x40, 4, 0, 0x2000, 0x3000);
        fn.add_pcie(0x80, 0, flr);
        return fn;
    }
    void reset_and_check(PciFn& fn, ResetMethod method) {
        const u64 bar0 = fn.bar_address(0);
        fn.set(4, 0x6, 2, 0x547); // as a guest leaves it
        fn.set(0x10, fn.get32(0x10), 4, 0xffff'c000);
        job.start(at(0, 1), model.clock());
        CHECK((fn.command() & 5) == 0); // at once
        model.writes.clear();
        CHECK(model.finish(job) == Step::done);
        CHECK(job.method() == method);
        CHECK_FALSE(job.busy());
        CHECK(fn.bar_address(0) == bar0);
        // Nothing stops decoding that the reset does not stop.
        const bool kept = method == ResetMethod::quiesced_only;
        CHECK(fn.command() == (kept ? 0x402 : 0x400));
        for (const PciModel::Write& write : model.writes) {
            CHECK_FALSE((kept && (write.at >= 0x10 && write.at < 0x28)));
            CHECK_FALSE((kept && write.at == 4 && (write.value & 2) == 0));
        }
        CHECK(fn.early_accesses == 0);
        CHECK_FALSE(fn.mastering_at_reset);
    }
};

} // namespace

TEST_CASE("pci reset: FLR, and all is put back") {
    Bench b;
    PciFn& fn = b.nvme();
    b.run();
    fn.cfg[0x43] = 0xc0;
    const u64 start = b.model.now_us;
    b.reset_and_check(fn, ResetMethod::flr);
    CHECK(fn.resets == 1);
    CHECK(fn.get16(0x88) == 0x2810);
    CHECK(fn.get16(0x42) == 3);
    CHECK(b.model.now_us - start >= ResetJob::flr_us);
    CHECK(b.model.now_us - start < 2 * ResetJob::flr_us);
    CHECK_FALSE(b.job.forced());
    CHECK(b.job.step() == Step::done); // and stays done
}

TEST_CASE("pci reset: a step returns at once and says when to come back") {
    Bench b;
    PciFn& fn = b.nvme();
    fn.recovery_us = 700'000;
    fn.says_retry = true;
    b.run();
    b.job.start(b.at(0, 1), b.model.clock());
    unsigned steps = 0;
    Step step = Step::busy;
    while ((step = b.job.step()) == Step::busy) {
        const u64 next = b.job.not_before_us();
        REQUIRE(next > b.model.now_us);
        const std::size_t before = fn.touched;
        b.model.now_us = next - 1;
        CHECK(b.job.step() == Step::busy);
        CHECK(fn.touched == before); // too early: the function is left alone
        b.model.now_us = next;
        REQUIRE(++steps < 2000);
    }
    CHECK(step == Step::done);
    CHECK(fn.early_accesses == 0);
}

TEST_CASE("pci reset: pending transactions are waited for, but not for ever") {
    Bench b;
    PciFn& fn = b.nvme();
    b.run();
    fn.pending_until_us = b.model.now_us + 300'000;
    b.reset_and_check(fn, ResetMethod::flr);
    CHECK_FALSE(b.job.forced());
    fn.flr_at_us = 0;
    fn.pending_until_us = ~u64{0};
    const u64 start = b.model.now_us;
    b.reset_and_check(fn, ResetMethod::flr);
    CHECK(b.job.forced());
    CHECK(b.model.now_us - start < ResetJob::drain_us + 3 * ResetJob::flr_us);
}

TEST_CASE("pci reset: a function that does not come back, or as somebody else") {
    Bench b;
    PciFn& fn = b.nvme();
    b.run();
    fn.dies = true;
    b.job.start(b.at(0, 1), b.model.clock());
    const u64 start = b.model.now_us;
    CHECK(b.model.finish(b.job) == Step::failed);
    CHECK(b.model.now_us - start < 2'000'000);
    CHECK(b.job.step() == Step::failed);
    CHECK_FALSE(b.job.busy());
    fn.dies = false;
    fn.silent_until_us = 0;
    fn.changes_id = true;
    b.job.start(b.at(0, 1), b.model.clock());
    CHECK(b.model.finish(b.job) == Step::failed);
    fn.cfg = fn.power_on;
    fn.changes_id = false;
    fn.silent_until_us = 0;
    // BARs that do not hold what they are given any more.
    fn.set(0x18, 0, 4, 0);
    fn.power_on = fn.cfg;
    b.job.start(b.at(0, 1), b.model.clock());
    CHECK(b.model.finish(b.job) == Step::failed);
    CHECK((fn.command() & 7) == 0);
}

TEST_CASE("pci reset: D3hot and back, else nothing but quiet") {
    SUBCASE("soft reset") {
        Bench b;
        PciFn& fn = b.nvme(false);
        fn.add_pm(0xa0);
        b.run();
        const u64 start = b.model.now_us;
        b.reset_and_check(fn, ResetMethod::power);
        CHECK(fn.resets == 1);
        CHECK(b.model.now_us - start >= 2 * ResetJob::power_us);
        CHECK((fn.get16(0xa4) & 3) == 0);
    }
    SUBCASE("no soft reset") {
        Bench b;
        PciFn& fn = b.nvme(false);
        fn.add_pm(0xa0, true);
        b.run();
        b.reset_and_check(fn, ResetMethod::quiesced_only);
        CHECK(fn.resets == 0);
    }
    SUBCASE("conventional") {
        Bench b;
        PciFn& fn = b.model.add(nullptr, 1, 0, 0x11e8'1234, 0x00ff00);
        fn.bar32(0, 0x10'0000);
        b.run();
        b.reset_and_check(fn, ResetMethod::quiesced_only);
    }
    SUBCASE("virtio's own") {
        Bench b;
        PciFn& fn = b.model.add(nullptr, 1, 0, 0x1041'1af4);
        fn.bar64(4, 0x4000, true);
        fn.add_virtio(0x40, 1, 4, 0, 0x38);
        b.run();
        b.model.virtio_status = 0xf;
        b.model.virtio_slow_reads = 5;
        b.job.start(b.at(0, 1), b.model.clock(), b.model.mmio());
        CHECK(b.model.finish(b.job) == Step::done);
        CHECK(b.job.method() == ResetMethod::virtio);
        CHECK(b.model.virtio_status == 0);
        CHECK(b.model.virtio_resets == 1);
        CHECK(fn.command() == 0x402);
        b.model.virtio_slow_reads = 1'000'000;
        b.job.start(b.at(0, 1), b.model.clock(), b.model.mmio());
        CHECK(b.model.finish(b.job) == Step::failed);
        CHECK(fn.command() == 0x400);
        b.job.start(b.at(0, 1), b.model.clock()); // no way to reach it
        CHECK(b.model.finish(b.job) == Step::done);
        CHECK(b.job.method() == ResetMethod::quiesced_only);
    }
    for (const ResetMethod method :
         {ResetMethod::flr, ResetMethod::virtio, ResetMethod::power, ResetMethod::quiesced_only}) {
        CHECK(to_string(method)[0] != '?');
    }
}

namespace {

struct Igb : Bench {
    PciFn& pf;
    SriovJob sriov;
    Igb() : pf(model.add(nullptr, 1, 0, 0x10c9'8086)) {
        pf.set(0xe, 0x80, 1);
        pf.bar32(0, 0x2'0000);
        pf.add_pcie(0xa0, 0, true);
        pf.add_ext(0x1, 0x100);
        pf.add_sriov(0x160, 8, 0x80, 2, 0x10ca);
        pf.bar64_at(0x184, 0, 0x4000, true);
        pf.bar64_at(0x184, 3, 0x4000, true);
        pf.build_vf = [](PciFn& vf) {
            vf.add_msix(0x70, 3, 3, 0, 0x2000);
            vf.add_pcie(0xa0, 0, true);
        };
    }
};

} // namespace

TEST_CASE("pci sriov: virtual functions become functions") {
    Igb b;
    b.run();
    CHECK(b.t->problems.empty());
    Function& pf = b.at(0, 1);
    CHECK(pf.sriov.total_vfs == 8);
    CHECK(pf.sriov.bars[0].assigned);
    CHECK(pf.sriov.bars[0].bus_address < u64{1} << 32); // small: where every implementation decodes it
    CHECK(pf.verdict == Verdict::assignable);           // as long as nobody uses its VFs
    CHECK(b.sriov.start(*b.t, Bdf::of(0, 2, 0), 1, b.model.clock()).error() == Error::not_found);
    CHECK(b.sriov.start(*b.t, pf.bdf, 9, b.model.clock()).error() == Error::overflow);
    CHECK(b.sriov.start(*b.t, pf.bdf, 0, b.model.clock()).error() == Error::overflow);
    const u64 start = b.model.now_us;
    REQUIRE(b.sriov.start(*b.t, pf.bdf, 3, b.model.clock()).ok());
    CHECK(b.sriov.step() == Step::busy);
    CHECK(b.t->functions.size() == 1);
    CHECK(b.model.finish(b.sriov) == Step::done);
    CHECK(b.model.now_us - start >= ResetJob::vf_enable_us);
    CHECK(b.sriov.start(*b.t, pf.bdf, 1, b.model.clock()).error() == Error::already_exists);
    REQUIRE(b.t->functions.size() == 4);
    CHECK(pf.verdict == Verdict::assignable);
    CHECK(pf.sriov.enabled_vfs == 3);
    CHECK(b.pf.early_accesses == 0);
    for (unsigned i = 0; i < 3; ++i) {
        const Function& vf = b.t->functions[1 + i];
        CHECK(vf.bdf.value == 0x08 + 0x80 + 2 * i);
        CHECK(vf.vendor == 0x8086);
        CHECK(vf.device == 0x10ca);
        CHECK(vf.is_vf());
        CHECK(vf.verdict == Verdict::assignable);
        CHECK(vf.msix.entries == 3);
        CHECK(vf.flr);
        CHECK(vf.interrupt_pin == 0);
        CHECK(vf.bars[3].kind == BarKind::mem64);
        CHECK(vf.bars[3].pa == pf.sriov.bars[3].pa + i * u64{0x4000});
        CHECK(b.model.decoders(vf.bars[3].bus_address + 0x3fff).size() == 1);
        CHECK(vf.bars[3].bus_address + 0x4000 <= pf.sriov.bars[3].bus_address + 8 * 0x4000);
        CHECK_FALSE(share_isolation(vf, pf));
        CHECK_FALSE(share_isolation(vf, b.t->functions[1 + (i + 1) % 3]));
        CHECK(b.pf.vfs[i]->early_accesses == 0);
    }
    // A VF's reset is its own, and its BARs are nothing to put back.
    ResetJob job;
    job.start(b.t->functions[2], b.model.clock());
    CHECK(b.model.finish(job) == Step::done);
    CHECK(b.pf.vfs[1]->resets == 1);
    CHECK(b.pf.vfs[0]->resets == 0);
    CHECK(b.pf.resets == 0);
}

TEST_CASE("pci sriov: large VF BARs go above 4 GiB") {
    Igb b;
    b.pf.bar64_at(0x184, 0, 0x40'0000, true);
    b.run();
    CHECK(b.at(0, 1).sriov.bars[0].bus_address >= b.model.host.mem64.bus);
    CHECK(b.at(0, 1).sriov.bars[3].bus_address < u64{1} << 32);
}

TEST_CASE("pci sriov: VFs that never come, and lists that are full") {
    Igb b;
    b.pf.dies = true;
    b.run();
    REQUIRE(b.sriov.start(*b.t, Bdf::of(0, 1, 0), 2, b.model.clock()).ok());
    CHECK(b.model.finish(b.sriov) == Step::failed);
    CHECK(b.t->functions.size() == 1);
    CHECK((b.pf.get16(0x168) & 1) == 0);
    CHECK(b.at(0, 1).verdict == Verdict::lost);

    Igb full;
    for (unsigned i = 0; i < 60; ++i) {
        full.model.add(nullptr, 2 + i / 8, i % 8, 0x1111'8086).set(0xe, 0x80, 1);
    }
    full.run();
    CHECK(full.sriov.start(*full.t, Bdf::of(0, 1, 0), 8, full.model.clock()).error() == Error::no_memory);
    CHECK((full.pf.get16(0x168) & 1) == 0);
}

TEST_CASE("pci sriov: VFs where another function is, VFs without FLR, BARs that do not hold") {
    Igb b;
    b.model.add(nullptr, 0x11, 2, 0x1111'8086);
    b.model.add(nullptr, 0x11, 0, 0x1111'8086).set(0xe, 0x80, 1);
    b.run();
    CHECK(b.sriov.start(*b.t, Bdf::of(0, 1, 0), 1, b.model.clock()).error() == Error::already_exists);
    CHECK(b.pf.get16(0x168) == 0);
    CHECK(b.pf.get16(0x170) == 0);
    CHECK(b.at(0, 1).sriov.enabled_vfs == 0);
    CHECK(b.at(0, 1).verdict == Verdict::assignable);

    Igb lame;
    lame.pf.build_vf = [](PciFn& vf) { vf.add_pcie(0xa0, 0, false); };
    lame.run();
    REQUIRE(lame.sriov.start(*lame.t, Bdf::of(0, 1, 0), 1, lame.model.clock()).ok());
    CHECK(lame.model.finish(lame.sriov) == Step::done);
    CHECK(lame.t->functions[1].verdict == Verdict::malformed);

    Igb loose;
    loose.run();
    loose.pf.set(0x190, 0xc, 4); // VF BAR 3 no longer takes what is written
    CHECK(loose.sriov.start(*loose.t, Bdf::of(0, 1, 0), 1, loose.model.clock()).error() == Error::not_found);
    CHECK(loose.pf.get16(0x168) == 0);
    CHECK(loose.at(0, 1).sriov.enabled_vfs == 0);
}

TEST_CASE("pci sriov: a reset of the PF ends with its VFs on again") {
    Igb b;
    b.run();
    ResetJob job;
    job.start(b.at(0, 1), b.model.clock()); // not in use: they stay off
    CHECK(b.model.finish(job) == Step::done);
    CHECK(b.pf.vfs.empty());
    REQUIRE(b.sriov.start(*b.t, Bdf::of(0, 1, 0), 2, b.model.clock()).ok());
    REQUIRE(b.model.finish(b.sriov) == Step::done);
    const u64 bar = b.pf.bar_address(3, 0x184);
    const u64 start = b.model.now_us;
    job.start(b.at(0, 1), b.model.clock());
    CHECK(b.model.finish(job) == Step::done);
    CHECK(b.model.now_us - start >= ResetJob::flr_us + ResetJob::vf_enable_us);
    CHECK(b.pf.vfs.size() == 2);
    CHECK((b.pf.get16(0x168) & 9) == 9);
    CHECK(b.pf.bar_address(3, 0x184) == bar);
    ResetJob vf;
    vf.start_after_pf(b.t->functions[2], b.model.clock());
    CHECK(b.model.finish(vf) == Step::done);
    CHECK(b.pf.vfs[1]->resets == 0);
    CHECK(b.pf.vfs[1]->early_accesses == 0);
}

TEST_CASE("pci sriov: buses for VFs are reserved behind the PF's port") {
    Bench b;
    PciFn& root = b.model.add_bridge(nullptr, 1, 0, 4);
    PciFn& next = b.model.add_bridge(nullptr, 2, 0, 4);
    PciFn& pf = b.model.add(&root, 0, 0, 0x10c9'8086);
    pf.add_pcie(0xa0, 0, true);
    pf.add_ext(0x1, 0x100);
    pf.add_sriov(0x160, 4, 0x100, 0x80, 0x10ca);
    pf.bar64_at(0x184, 0, 0x4000, true);
    b.model.add(&next, 0, 0, 0x1111'8086);
    b.run();
    CHECK(b.at(0, 1).secondary_bus == 1);
    CHECK(b.at(0, 1).subordinate_bus == 3);
    CHECK(b.at(0, 2).secondary_bus == 4);
    SriovJob job;
    REQUIRE(job.start(*b.t, Bdf::of(1, 0, 0), 4, b.model.clock()).ok());
    CHECK(b.model.finish(job) == Step::done);
    CHECK(b.t->functions.back().bdf == Bdf::of(3, 16, 0));
    CHECK(b.model.ambiguous == 0);
}

TEST_CASE("pci sriov: malformed capabilities give no VFs") {
    for (unsigned kind = 0; kind < 7; ++kind) {
        Igb b;
        switch (kind) {
        case 0:
            b.pf.set(0x174, 0, 2); // First VF Offset 0
            break;
        case 1:
            b.pf.set(0x176, 0, 2); // VF Stride 0
            break;
        case 2:
            b.pf.set(0x17c, 2, 4); // no 4 KiB pages
            break;
        case 3:
            b.pf.bar_at(0x184, 0, 0x100, 0); // a VF BAR below a page
            break;
        case 4:
            b.pf.set(0x174, 0xffff, 2); // beyond all buses
            break;
        case 5:
            b.pf.set(0xa4, 0, 4); // no FLR, which every PF has
            break;
        default:
            b.pf.bar64_at(0x184, 0, u64{1} << 38, true); // 16 of them have no place
            break;
        }
        b.run();
        CAPTURE(kind);
        CHECK(b.t->problems.size() == 1);
        CHECK(b.at(0, 1).sriov.offset == 0);
        CHECK(b.at(0, 1).verdict == Verdict::assignable);
        CHECK(b.sriov.start(*b.t, Bdf::of(0, 1, 0), 1, b.model.clock()).error() == Error::not_found);
    }
}

TEST_CASE("pci virtio: who goes around the SMMU") {
    Bench b;
    const auto add = [&](unsigned device, u32 id, bool modern) -> PciFn& {
        PciFn& fn = b.model.add(nullptr, device, 0, id << 16 | 0x1af4);
        fn.bar_io(0, 0x40);
        fn.bar64(4, 0x4000, true);
        if (modern) {
            fn.add_virtio(0x84, 5, 0, 0, 0);
            fn.add_virtio(0x70, 2, 4, 0x3000, 0x1000);
            fn.add_virtio(0x40, 1, 4, 0x1000, 0x38);
        }
        return fn;
    };
    add(1, 0x1041, true);
    add(2, 0x1000, false);
    add(3, 0x1042, false);
    add(4, 0x1001, true);
    PciFn& wrong = add(5, 0x1041, true);
    wrong.set(0x48, 0x8000, 4);              // common configuration beyond its BAR
    b.model.add(nullptr, 6, 0, 0x1110'1af4); // not virtio
    b.run();
    const MmioSeam mmio = b.model.mmio();
    const auto probe = [&](unsigned device) {
        Function& f = b.at(0, device);
        f.verdict = Verdict::assignable;
        const Verdict verdict = probe_virtio(f, mmio);
        CHECK(f.verdict == verdict);
        CHECK(b.model.functions[device - 1]->command() == 0x400);
        return verdict;
    };
    b.model.virtio_features[0] = 0xffff'fffd; // bit 1 of the wrong word proves nothing
    CHECK(probe(1) == Verdict::virtio_bypasses);
    b.model.virtio_features[1] = 0x3;
    CHECK(probe(1) == Verdict::assignable);
    CHECK(b.model.virtio_select == 0);
    CHECK(probe(2) == Verdict::virtio_legacy);
    CHECK(probe(3) == Verdict::virtio_unreadable);
    CHECK(probe(4) == Verdict::assignable);
    CHECK(probe(5) == Verdict::virtio_unreadable);
    CHECK(probe(6) == Verdict::assignable);
    b.model.virtio_answers = false;
    CHECK(probe(1) == Verdict::virtio_unreadable);
    Function& lost = b.at(0, 1);
    lost.verdict = Verdict::no_space;
    CHECK(probe_virtio(lost, mmio) == Verdict::no_space);
    for (unsigned i = 0; i <= static_cast<unsigned>(Verdict::lost); ++i) {
        CHECK(to_string(static_cast<Verdict>(i))[0] != '?');
    }
}
