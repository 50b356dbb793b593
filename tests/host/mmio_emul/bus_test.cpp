// SPDX-License-Identifier: Apache-2.0
// Host tests of mmio_emul/bus: placement, the whole-access rule, and addresses that nobody should ask for.
#include <doctest/doctest.h>

#include "mmio_emul/bus.hpp"

using namespace atl;
using namespace atl::mmio_emul;

namespace {

class CountingDevice final : public Device {
  public:
    u64 read(VcpuIndex, u64, unsigned) override { return 0; }
    void write(VcpuIndex, u64, unsigned, u64) override {}
    void reset() override { ++resets; }
    int resets = 0;
};

} // namespace

TEST_CASE("bus: a device answers inside its range only, for the whole access") {
    Bus bus;
    CountingDevice uart;
    REQUIRE(bus.add(Ipa{0x0900'0000}, 0x1000, &uart).ok());
    CHECK(bus.find(Ipa{0x0900'0018}, 4).device == &uart);
    CHECK(bus.find(Ipa{0x0900'0018}, 4).offset == 0x18);
    CHECK(bus.find(Ipa{0x0900'0ffc}, 4).device == &uart);
    CHECK(bus.find(Ipa{0x0900'0ffd}, 4).device == nullptr);
    CHECK(bus.find(Ipa{0x0900'0ff8}, 8).device == &uart);
    CHECK(bus.find(Ipa{0x0900'0ffc}, 8).device == nullptr);
    CHECK(bus.find(Ipa{0x0900'1000}, 1).device == nullptr);
    CHECK(bus.find(Ipa{0x08ff'ffff}, 4).device == nullptr);
}

TEST_CASE("bus: any address is safe") {
    Bus bus;
    CountingDevice device;
    REQUIRE(bus.add(Bus::window.base, Bus::window.size, &device).ok());
    CHECK(bus.find(Ipa{0}, 8).device == nullptr);
    CHECK(bus.find(Ipa{0x07ff'ffff}, 8).device == nullptr);
    CHECK(bus.find(Ipa{0x0bff'ffff}, 1).device == &device);
    CHECK(bus.find(Ipa{0x0bff'ffff}, 2).device == nullptr);
    CHECK(bus.find(Ipa{0x0c00'0000}, 1).device == nullptr);
    CHECK(bus.find(Ipa{~u64{0}}, 8).device == nullptr);
    CHECK(bus.find(Ipa{0x1'0800'0000}, 4).device == nullptr);
}

TEST_CASE("bus: a device may span granules, a granule has one device") {
    Bus bus;
    CountingDevice gicr;
    CountingDevice other;
    REQUIRE(bus.add(Ipa{0x080a'0000}, 8 * 0x2'0000, &gicr).ok());
    CHECK(bus.find(Ipa{0x0819'fff8}, 8).offset == 0xf'fff8);
    CHECK(bus.add(Ipa{0x0819'0000}, 0x1'0000, &other).error() == Error::already_exists);
    CHECK(bus.add(Ipa{0x0809'0000}, 0x2'0000, &other).error() == Error::already_exists);
    CHECK(bus.device_count() == 1);
    // The refused device left no trace in the free half of its range.
    CHECK(bus.find(Ipa{0x0809'0000}, 4).device == nullptr);
    CHECK(bus.add(Ipa{0x081a'0000}, 0x1'0000, &other).ok());
    bus.reset_all();
    CHECK(gicr.resets == 1);
    CHECK(other.resets == 1);
}

TEST_CASE("bus: refuses what cannot be placed") {
    Bus bus;
    CountingDevice device;
    CHECK(bus.add(Ipa{0x0900'0000}, 0x1000, nullptr).error() == Error::invalid_argument);
    CHECK(bus.add(Ipa{0x0900'0000}, 0, &device).error() == Error::invalid_argument);
    CHECK(bus.add(Ipa{0x0900'1000}, 0x1000, &device).error() == Error::invalid_argument);
    CHECK(bus.add(Ipa{0x07ff'0000}, 0x1'0000, &device).error() == Error::invalid_argument);
    CHECK(bus.add(Ipa{0x0bff'0000}, 0x1'0001, &device).error() == Error::invalid_argument);
    CHECK(bus.add(Ipa{0x0bff'0000}, ~u64{0}, &device).error() == Error::invalid_argument);
    CHECK(bus.add(Ipa{~u64{0xffff}}, 0x2'0000, &device).error() == Error::invalid_argument);
    for (u64 i = 0; i < Bus::max_devices; ++i) {
        REQUIRE(bus.add(Ipa{0x0900'0000 + (i << 16)}, 0x1000, &device).ok());
    }
    CHECK(bus.add(Ipa{0x0a00'0000}, 0x1000, &device).error() == Error::no_memory);
}
