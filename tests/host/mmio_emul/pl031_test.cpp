// SPDX-License-Identifier: Apache-2.0
// Host tests of mmio_emul/pl031: the clock, the alarm and its wrap, as Linux's rtc-pl031 uses them.
#include <doctest/doctest.h>

#include "mmio_emul/pl031.hpp"

using namespace atl;
using namespace atl::mmio_emul;

namespace {

enum Reg : u64 { DR = 0x0, MR = 0x4, LR = 0x8, CR = 0xc, IMSC = 0x10, RIS = 0x14, MIS = 0x18, ICR = 0x1c };

struct Fixture {
    u64 time = 1'704'067'200; // 2024-01-01
    bool line = true;
    Pl031 rtc;

    Fixture() {
        rtc.attach({this, [](void* self, u32, bool high) { static_cast<Fixture*>(self)->line = high; }, 34},
                   {this, [](void* self) { return static_cast<Fixture*>(self)->time; }});
    }
    u32 get(u64 offset) { return static_cast<u32>(rtc.read(VcpuIndex{0}, offset, 4)); }
    void set(u64 offset, u32 value) { rtc.write(VcpuIndex{0}, offset, 4, value); }
};

} // namespace

TEST_CASE("pl031: tells the time and can be set") {
    Fixture f;
    CHECK_FALSE(f.line);
    CHECK(f.get(DR) == 1'704'067'200);
    CHECK(f.get(CR) == 1);
    f.time += 10;
    CHECK(f.get(DR) == 1'704'067'210);
    f.set(LR, 1000);
    CHECK(f.get(LR) == 1000);
    f.time += 5;
    CHECK(f.get(DR) == 1005);
    f.set(CR, 0);
    CHECK(f.get(CR) == 1);
    f.set(DR, 7);
    CHECK(f.get(DR) == 1005);
    f.rtc.reset();
    CHECK(f.get(DR) == 1'704'067'215);
    u32 peripheral = 0;
    u32 cell = 0;
    for (unsigned i = 0; i < 4; ++i) {
        peripheral |= f.get(0xfe0 + 4 * i) << (8 * i);
        cell |= f.get(0xff0 + 4 * i) << (8 * i);
    }
    CHECK(peripheral == 0x0004'1031);
    CHECK(cell == 0xb105'f00d);
}

TEST_CASE("pl031: the alarm fires once, is masked and cleared") {
    Fixture f;
    CHECK_FALSE(f.rtc.next_deadline().has_value());
    f.set(MR, f.get(DR) + 60);
    CHECK_FALSE(f.rtc.next_deadline().has_value()); // masked: nobody could see it
    f.set(IMSC, 1);
    REQUIRE(f.rtc.next_deadline().has_value());
    CHECK(*f.rtc.next_deadline() == f.time + 60);
    f.time += 59;
    f.rtc.poll();
    CHECK_FALSE(f.line);
    f.time += 1;
    f.rtc.poll();
    CHECK(f.line);
    CHECK(f.get(RIS) == 1);
    CHECK(f.get(MIS) == 1);
    CHECK_FALSE(f.rtc.next_deadline().has_value());
    f.set(IMSC, 0);
    CHECK_FALSE(f.line);
    CHECK(f.get(RIS) == 1);
    CHECK(f.get(MIS) == 0);
    f.set(IMSC, 1);
    CHECK(f.line);
    f.set(ICR, 1);
    CHECK_FALSE(f.line);
    f.time += 100;
    f.rtc.poll();
    CHECK_FALSE(f.line);
    CHECK(*f.rtc.next_deadline() == f.time - 100 + (u64{1} << 32));
}

TEST_CASE("pl031: a late poll, an equal match, and DR's wrap") {
    Fixture f;
    f.set(IMSC, 1);
    f.set(MR, f.get(DR));
    CHECK(f.line); // equal: at once
    f.set(ICR, 1);
    f.set(MR, f.get(DR) + 5);
    f.time += 500;
    CHECK(f.get(RIS) == 1); // a read sees it although nobody polled
    CHECK(f.line);
    f.set(ICR, 1);
    f.set(LR, 0xffff'fff0);
    f.set(MR, 4);
    CHECK(*f.rtc.next_deadline() == f.time + 20);
    f.time += 20;
    f.rtc.poll();
    CHECK(f.line);
    CHECK(f.get(DR) == 4);
}

TEST_CASE("pl031: every access is harmless") {
    Fixture f;
    for (u64 offset = 0; offset < Pl031::size; ++offset) {
        for (const unsigned size : {1u, 2u, 4u, 8u}) {
            f.rtc.write(VcpuIndex{0}, offset, size, ~u64{0} >> (64 - 8 * size));
            (void)f.rtc.read(VcpuIndex{0}, offset, size);
        }
    }
    f.rtc.reset();
    CHECK_FALSE(f.line);
    Pl031 bare;
    bare.reset();
    CHECK(bare.read(VcpuIndex{0}, DR, 4) == 0);
}
