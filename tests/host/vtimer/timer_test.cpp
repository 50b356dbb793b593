// SPDX-License-Identifier: Apache-2.0
// Host tests of vtimer/timer: conditions, masks, wraps, far deadlines, conversions.
#include <doctest/doctest.h>

#include "vtimer/timer.hpp"

using namespace atl;
using namespace atl::vtimer;

namespace {
constexpr u64 enable = 1;
constexpr u64 imask = 2;
constexpr u64 istatus = 4;
constexpr u64 top = ~u64{0};
} // namespace

TEST_CASE("vtimer: CTL keeps two bits and shows the condition") {
    PhysicalTimer timer;
    CHECK(timer.read_ctl(100) == 0);
    timer.write_ctl(top);
    CHECK(timer.read_ctl(0) == (enable | imask | istatus)); // CVAL 0 has been reached
    timer.write_cval(50);
    CHECK(timer.read_ctl(49) == (enable | imask));
    CHECK(timer.read_ctl(50) == (enable | imask | istatus)); // ISTATUS ignores IMASK
    CHECK_FALSE(timer.line_high(50));
    timer.write_ctl(enable);
    CHECK(timer.line_high(50));
    CHECK_FALSE(timer.line_high(49));
    timer.write_ctl(istatus);
    CHECK(timer.read_ctl(50) == 0);
    CHECK_FALSE(timer.line_high(50));
    timer.reset();
    CHECK(timer.read_cval() == 0);
}

TEST_CASE("vtimer: TVAL is signed, 32 bits wide and wraps") {
    PhysicalTimer timer;
    timer.write_tval(10, 1000);
    CHECK(timer.read_cval() == 1010);
    CHECK(timer.read_tval(1000) == 10);
    CHECK(timer.read_tval(1011) == 0xffff'ffff);
    timer.write_tval(0xffff'ffff, 1000); // -1
    CHECK(timer.read_cval() == 999);
    timer.write_tval(0x8000'0000, 0x1'0000'0000);
    CHECK(timer.read_cval() == 0x8000'0000);
    timer.write_tval(0x7fff'ffff, 0);
    CHECK(timer.read_cval() == 0x7fff'ffff);
    timer.write_tval(0xdead'0000'0000'0005, 1); // the upper half is ignored
    CHECK(timer.read_cval() == 6);
    timer.write_tval(5, top - 1); // wraps
    CHECK(timer.read_cval() == 3);
    timer.write_tval(0xffff'fff0, 1); // below zero
    CHECK(timer.read_cval() == top - 14);
    CHECK(timer.read_tval(1) == 0xffff'fff0);
}

TEST_CASE("vtimer: deadline of the physical timer") {
    PhysicalTimer timer;
    timer.write_cval(500);
    CHECK_FALSE(timer.deadline(100).has_value()); // disabled
    timer.write_ctl(enable | imask);
    CHECK_FALSE(timer.deadline(100).has_value()); // masked
    timer.write_ctl(enable);
    CHECK(*timer.deadline(100) == 500);
    CHECK(*timer.deadline(499) == 500);
    CHECK_FALSE(timer.deadline(500).has_value()); // high already
    CHECK_FALSE(timer.deadline(501).has_value());
    timer.write_cval(top); // Linux's "never"
    CHECK_FALSE(timer.deadline(100).has_value());
}

TEST_CASE("vtimer: a parked virtual timer, with offsets of both signs") {
    // The guest's count started late: virtual = physical - 1000.
    ParkedTimer parked = parked_virtual_timer(enable, 50, 1000, 1040);
    CHECK_FALSE(parked.line_high);
    CHECK(parked.deadline == 1050);
    parked = parked_virtual_timer(enable | istatus, 50, 1000, 1050);
    CHECK(parked.line_high);
    CHECK(parked.deadline == never);
    parked = parked_virtual_timer(enable | imask, 50, 1000, 1050);
    CHECK_FALSE(parked.line_high);
    CHECK(parked.deadline == never);
    parked = parked_virtual_timer(0, 50, 1000, 1040);
    CHECK_FALSE(parked.line_high);
    CHECK(parked.deadline == never);
    // Virtual ahead of physical: the offset is a negative number.
    parked = parked_virtual_timer(enable, 5000, u64{0} - 1000, 100);
    CHECK_FALSE(parked.line_high);
    CHECK(parked.deadline == 4000);
    parked = parked_virtual_timer(enable, 1099, u64{0} - 1000, 100);
    CHECK(parked.line_high);
}

TEST_CASE("vtimer: far deadlines saturate, comparison is unsigned") {
    CHECK(parked_virtual_timer(enable, top, 0, 100).deadline == never);
    CHECK(parked_virtual_timer(enable, top, 1000, 2000).deadline == never); // would wrap
    CHECK(parked_virtual_timer(enable, top - 1, 0, 100).deadline == top - 1);
    CHECK_FALSE(parked_virtual_timer(enable, top, 0, 100).line_high);
    CHECK(line_level(enable, 0, 0, top)); // a CVAL of 0 is in the past, not in a signed future
    CHECK(line_level(enable, 0x10, 0, u64{1} << 63));
    CHECK_FALSE(line_level(enable, u64{1} << 63, 0, 0x10));
    // A count that has just wrapped below its offset reads as huge.
    CHECK(line_level(enable, 100, 1000, 999));
    CHECK(after(top - 5, 6) == never);
    CHECK(after(10, 6) == 16);
    CHECK(sooner(never, 7) == 7);
}

TEST_CASE("vtimer: conversions without division agree with division") {
    for (const u64 hz :
         {u64{1}, u64{1'000'000}, u64{24'000'000}, u64{62'500'000}, u64{1'000'000'000}, u64{0xffff'ffff}}) {
        const TickScale scale(hz);
        CHECK(scale.frequency_hz() == hz);
        for (const u64 ticks : {u64{0}, u64{1}, u64{999}, u64{62'500'000}, u64{123'456'789'012}}) {
            const long double exact = static_cast<long double>(ticks) * 1e9L / static_cast<long double>(hz);
            if (exact < 1.8e19L) {
                const long double error = exact - static_cast<long double>(scale.ticks_to_ns(ticks));
                CHECK(error >= -1.0L);
                CHECK(error <= 1.0L + exact * 1e-8L);
            }
        }
    }
    const TickScale virt(62'500'000);
    CHECK(virt.ticks_to_ns(1) == 16);
    CHECK(virt.ticks_to_ns(62'500'000) == 1'000'000'000);
    CHECK(virt.ms_to_ticks(10) == 625'000);
    CHECK(virt.us_to_ticks(1) == 62);
    CHECK(virt.us_to_ticks(2'000'000) == 125'000'000);
    CHECK(virt.ticks_to_ns(top) == top);
    CHECK(virt.ms_to_ticks(top) == top);
    const u64 ticks = virt.ns_to_ticks(1'000'000'000);
    CHECK(ticks <= 62'500'000);
    CHECK(ticks >= 62'499'998);
    CHECK(TickScale(0).frequency_hz() == 1);
    CHECK(TickScale(u64{1} << 40).frequency_hz() == 0xffff'ffff);
    CHECK(TickScale(1'000'000'000).ns_to_ticks(top) == top);
}
