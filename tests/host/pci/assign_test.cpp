// SPDX-License-Identifier: Apache-2.0
// Host tests of pci/assign: every BAR in pages of its own, reachable through all bridges by nobody else.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/pci_model.hpp"

using namespace atl;
using namespace atl::pci;
using namespace atl::test;

namespace {

struct Placed {
    PciModel model;
    std::unique_ptr<Topology> t = std::make_unique<Topology>();

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
    bool has(ProblemKind kind) const {
        for (const Problem& problem : t->problems) {
            if (problem.kind == kind) {
                return true;
            }
        }
        return false;
    }

    /// Everything decodes at once: each BAR's first and last byte finds its function and nobody else.
    void check_all() {
        for (const Function& f : t->functions) {
            if (!f.is_bridge && f.verdict == Verdict::assignable) {
                f.config.write16(4, 2);
            }
        }
        std::vector<Range<Pa>> pages;
        for (const Function& f : t->functions) {
            for (const Bar& bar : f.bars) {
                if (!bar.assigned) {
                    continue;
                }
                PciFn* fn = model.resolve(f.bdf.bus(), f.bdf.devfn());
                for (const u64 at : {bar.bus_address, bar.bus_address + bar.size - 1}) {
                    const std::vector<PciFn*> found = model.decoders(at);
                    CHECK(found.size() == 1);
                    CHECK((!found.empty() && found[0] == fn));
                }
                CHECK(bar.bus_address % bar.size == 0);
                CHECK(bar.pa.is_aligned(page_size));
                const Window& window = bar.bus_address < u64{1} << 32 ? t->host.mem32 : t->host.mem64;
                CHECK(bar.bus_address >= window.bus);
                CHECK(bar.bus_address + bar.span() <= window.bus + window.size);
                CHECK(bar.pa.value - window.cpu.value == bar.bus_address - window.bus);
                const Range<Pa> range{bar.pa, bar.span()};
                for (const Range<Pa>& other : pages) {
                    CHECK_FALSE(range.overlaps(other));
                }
                pages.push_back(range);
            }
        }
        CHECK(!pages.empty());
    }
};

std::string text_of(const auto& thing) {
    std::string text;
    print(
        TextSink{&text, [](void* to, std::string_view part) { static_cast<std::string*>(to)->append(part); }},
        thing);
    return text;
}

} // namespace

TEST_CASE("pci assign: small BARs share no page, large ones are aligned, I/O stays off") {
    Placed p;
    for (unsigned i = 1; i < 6; ++i) {
        PciFn& fn = p.model.add(nullptr, i, 0, 0x10d3'8086);
        fn.bar32(0, u64{16} << (4 * i));
        fn.bar32(1, 0x20);
        fn.bar_io(2, 0x40);
        fn.bar64(4, u64{1} << (8 + 5 * i), i % 2 == 0);
    }
    p.run();
    CHECK(p.t->problems.empty());
    p.check_all();
    const Function& f = p.at(0, 3);
    CHECK_FALSE(f.bars[2].assigned);
    CHECK(p.model.functions[2]->get32(0x18) == 1);
    CHECK(f.bars[4].bus_address >= p.model.host.mem64.bus);
    CHECK(f.bars[0].bus_address < u64{1} << 32);
    CHECK(text_of(f) == "00:03.0 8086:10d3 class 020000, BAR0 64 KiB at 0x11100000, BAR1 32 bytes at "
                        "0x11114000, BAR2 64 bytes of "
                        "I/O, unused, BAR4 8 MiB at 0x8210000000 64-bit, INTA, no reset");
}

TEST_CASE("pci assign: CPU and bus addresses differ") {
    Placed p;
    p.model.host.mem32 = {Pa{0x7'0000'0000}, 0x8000'0000, 0x0100'0000};
    p.model.host.mem64 = {};
    PciFn& fn = p.model.add(nullptr, 1, 0, 0x10d3'8086);
    fn.bar64(0, 0x10'0000);
    fn.bar32(2, 0x1000);
    p.run();
    p.check_all();
    CHECK(p.at(0, 1).bars[0].bus_address == 0x8000'0000);
    CHECK(p.at(0, 1).bars[0].pa.value == 0x7'0000'0000);
    CHECK(fn.get32(0x10) == 0x8000'0004);
}

TEST_CASE("pci assign: windows of bridges enclose what is behind them, and nothing else") {
    Placed p;
    PciFn& root = p.model.add_bridge(nullptr, 1, 0, 4);
    PciFn& up = p.model.add_bridge(&root, 0, 0, 5);
    PciFn& down0 = p.model.add_bridge(&up, 0, 0, 6);
    PciFn& down1 = p.model.add_bridge(&up, 1, 0, 6);
    PciFn& empty = p.model.add_bridge(nullptr, 2, 0, 4);
    root.bar32(0, 0x1000);
    up.bar64(0, 0x4'0000);
    PciFn& a = p.model.add(&down0, 0, 0, 0x1111'8086);
    a.bar32(0, 0x20'0000);
    a.bar64(2, 0x1'0000'0000, true);
    a.bar64(4, 0x4000); // not prefetchable: below 4 GiB
    PciFn& b = p.model.add(&down1, 0, 0, 0x1112'8086);
    b.bar32(0, 0x1000);
    b.bar32(1, 0x80'0000, 8); // prefetchable, of 32 bits
    b.bar64(2, 0x1000, true);
    PciFn& c = p.model.add(nullptr, 3, 0, 0x1113'8086);
    c.bar32(0, 0x40'0000);
    p.run();
    CHECK(p.t->problems.empty());
    p.check_all();
    CHECK(p.at(3, 0).bars[2].bus_address >= p.model.host.mem64.bus);
    CHECK(p.at(3, 0).bars[4].bus_address < u64{1} << 32);
    CHECK(empty.get32(0x20) == 0x0000'fff0);
    CHECK((empty.get32(0x24) & 0xfff0'fff0) == 0x0000'fff0);
    CHECK(root.command() == 0x406);
    CHECK((root.get16(0x1c) & 0xf0f0) == 0x00f0); // no I/O
    CHECK(text_of(p.at(0, 1)) == "00:01.0 1b36:000c class 060400, bridge to buses 1 to 4, ACS, BAR0 4 KiB at "
                                 "0x11400000, INTA");
}

TEST_CASE("pci assign: a 32-bit prefetchable window is not used") {
    Placed p;
    PciFn& root = p.model.add_bridge(nullptr, 1, 0, 4);
    root.set(0x24, 0, 4, 0xfff0'fff0);
    PciFn& a = p.model.add(&root, 0, 0, 0x1111'8086);
    a.bar64(0, 0x10'0000, true);
    p.run();
    p.check_all();
    CHECK(p.at(1, 0).bars[0].bus_address < u64{1} << 32);
}

TEST_CASE("pci assign: what does not fit is left out alone") {
    Placed p;
    p.model.host.mem32.size = 0x0100'0000;
    p.model.host.mem64.size = 0x1000'0000;
    p.model.add(nullptr, 1, 0, 0x1111'8086).bar32(0, 0x4000'0000); // larger than everything
    p.model.add(nullptr, 2, 0, 0x1111'8086).bar32(0, 0x80'0000);
    p.model.add(nullptr, 3, 0, 0x1111'8086).bar32(0, 0x80'0000);
    p.model.add(nullptr, 4, 0, 0x1111'8086).bar32(0, 0x40'0000); // no room is left
    p.model.add(nullptr, 5, 0, 0x1111'8086).bar64(0, 0x1000);
    PciFn& root = p.model.add_bridge(nullptr, 6, 0, 4);
    p.model.add(&root, 0, 0, 0x1111'8086).bar32(0, 0x1000);
    PciFn& stubborn = p.model.add(nullptr, 7, 0, 0x1111'8086);
    stubborn.bar64(0, 0x1000);
    stubborn.set(0x14, 0, 4, 0); // an upper half that is hard-wired to zero
    stubborn.set(0x10, 4, 4, 0x0000'f000);
    p.run();
    CHECK(p.at(0, 1).verdict == Verdict::no_space);
    CHECK(p.at(0, 2).verdict == Verdict::assignable);
    CHECK(p.at(0, 3).verdict == Verdict::assignable);
    CHECK(p.at(0, 4).verdict == Verdict::no_space);
    CHECK(p.at(0, 5).verdict == Verdict::assignable);
    CHECK(p.at(1, 0).verdict == Verdict::no_space);
    CHECK(p.at(0, 7).verdict == Verdict::malformed);
    CHECK(p.has(ProblemKind::bar_does_not_fit));
    CHECK(p.has(ProblemKind::window_does_not_fit));
    CHECK(p.has(ProblemKind::bar_not_held));
    CHECK(root.get32(0x20) == 0x0000'fff0);
    p.check_all();
    CHECK(text_of(p.t->problems[0]) ==
          "00:01.0: a BAR finds no place in the host bridge's windows (BAR 0, value 0x40000000)");
    CHECK(text_of(p.at(0, 4)).find("BARs do not fit") != std::string::npos);
}

TEST_CASE("pci assign: a full house, filled by largest first") {
    Placed p;
    p.model.host.mem32 = {Pa{0x1000'0000}, 0x1000'0000, 0x0100'0000};
    // 8 + 4 + 2 + 1 MiB and 256 times 4 KiB: all of the 16 MiB, in the worst order of discovery.
    PciFn* fn = nullptr;
    for (unsigned i = 0; i < 42; ++i) {
        fn = &p.model.add(nullptr, i / 8, i % 8, 0x1111'8086);
        fn->set(0xe, 0x80, 1);
        for (unsigned b = 0; b < 6; ++b) {
            fn->bar32(b, 0x1000);
        }
    }
    for (unsigned i = 0; i < 4; ++i) {
        p.model.add(nullptr, 20 + i, 0, 0x1111'8086).bar32(0, u64{0x10'0000} << i);
    }
    fn->bar32(0, 0x10);
    p.run();
    CHECK(p.t->problems.empty());
    p.check_all();
}
