// SPDX-License-Identifier: Apache-2.0
// The ITS driver against a model of the device. [IHI0069 chapter 5]
#include <doctest/doctest.h>

#include <memory>

#include "tests/support/its_model.hpp"
#include "vgic/its.hpp"

using namespace atl;
using test::ItsModel;

namespace {

struct Rig {
    ItsModel model;
    std::unique_ptr<vgic::Its> its = std::make_unique<vgic::Its>();

    Status init() {
        const vgic::ItsPages pages{
            &model, [](void* m, unsigned order) { return static_cast<ItsModel*>(m)->allocate(order); },
            [](void* m, Pa p, unsigned order) { static_cast<ItsModel*>(m)->release(p, order); }};
        const Status status = its->init({Pa{ItsModel::base}, gic::gits::frames_size}, pages);
        model.configuration = its->configuration_table().value;
        return status;
    }
    void start() {
        REQUIRE(init().ok());
        for (u16 cpu = 0; cpu < 2; ++cpu) {
            REQUIRE(its->map_collection(cpu, u64{cpu} << 16).ok());
        }
    }
};

} // namespace

TEST_CASE("its: commands have the architecture's layout") {
    using namespace gic::its_command;
    CHECK(mapd(0x108, 8, Pa{0x1'2345'6700}, true) ==
          gic::ItsCommand{0x108'0000'0008, 7, 0x8000'0001'2345'6700, 0});
    CHECK(mapd(0x108, 1, {}, false) == gic::ItsCommand{0x108'0000'0008, 0, 0, 0});
    CHECK(mapc(3, 0x5'0000, true) == gic::ItsCommand{9, 0, 0x8000'0000'0005'0003, 0});
    CHECK(mapti(0x10, 70, 8192 + 70, 3) == gic::ItsCommand{0x10'0000'000a, 0x2046'0000'0046, 3, 0});
    CHECK(inv(0x10, 5) == gic::ItsCommand{0x10'0000'000c, 5, 0, 0});
    CHECK(sync(0x30000) == gic::ItsCommand{5, 0, 0x30000, 0});
    CHECK(movi(1, 2, 3) == gic::ItsCommand{0x1'0000'0001, 2, 3, 0});
    CHECK(discard(1, 2) == gic::ItsCommand{0x1'0000'000f, 2, 0, 0});
}

TEST_CASE("its: only what was mapped raises an LPI, and for its own device only") {
    Rig rig;
    SUBCASE("plain") {}
    SUBCASE("64 KiB table pages") {
        rig.model.fixed_page_size = 2;
    }
    SUBCASE("16 KiB table pages, large entries") {
        rig.model.fixed_page_size = 1;
        rig.model.device_entry_bytes = 16;
    }
    SUBCASE("no second level") {
        rig.model.can_indirect = false;
    }
    SUBCASE("does not snoop") {
        rig.model.snoops = false;
    }
    rig.start();
    CHECK(rig.its->coherent() == rig.model.snoops);
    REQUIRE(rig.its->map_device(0x10, 8).ok());
    REQUIRE(rig.its->map_device(0x18, 8).ok());
    REQUIRE(rig.its->map_event(0x10, 70, 8192 + 70, 0).ok());
    REQUIRE(rig.its->map_event(0x18, 70, 8192 + 256 + 70, 1).ok());
    CHECK(rig.model.msi(0x10, 70) == 8192 + 70);
    CHECK(rig.model.msi(0x18, 70) == 8192 + 256 + 70);
    CHECK(rig.model.target_of(0x18, 70) == 0x1'0000);
    CHECK(rig.model.msi(0x10, 71) == 0);
    CHECK(rig.model.msi(0, 70) == 0);
    REQUIRE(rig.its->unmap_device(0x10).ok());
    CHECK(rig.model.msi(0x10, 70) == 0);
    CHECK(rig.model.msi(0x18, 70) != 0);
    CHECK(rig.its->usable());
    CHECK(rig.model.mistakes == 0);
}

TEST_CASE("its: masking holds when the call returns") {
    Rig rig;
    rig.start();
    REQUIRE(rig.its->map_device(8, 8).ok());
    REQUIRE(rig.its->map_event(8, 64, 8192 + 64, 0).ok());
    CHECK(rig.model.msi(8, 64) != 0); // and now it is cached
    REQUIRE(rig.its->set_enabled(8192 + 64, 8, 64, false).ok());
    CHECK(rig.model.msi(8, 64) == 0);
    REQUIRE(rig.its->set_enabled(8192 + 64, 8, 64, true).ok());
    CHECK(rig.model.msi(8, 64) != 0);
    CHECK(rig.model.mistakes == 0);
}

TEST_CASE("its: refusals") {
    Rig rig;
    rig.model.device_bits = 10;
    rig.model.event_bits = 6;
    rig.start();
    CHECK(rig.its->map_device(1024, 4).error() == Error::overflow);
    CHECK(rig.its->map_device(1, 7).error() == Error::overflow);
    REQUIRE(rig.its->map_device(1, 6).ok());
    CHECK(rig.its->map_device(1, 6).error() == Error::already_exists);
    CHECK(rig.its->map_event(2, 0, 8192, 0).error() == Error::not_found);
    CHECK(rig.its->map_event(1, 64, 8192, 0).error() == Error::invalid_argument);
    CHECK(rig.its->map_event(1, 0, 8191, 0).error() == Error::invalid_argument);
    CHECK(rig.its->map_event(1, 0, 16384, 0).error() == Error::invalid_argument);
    CHECK(rig.its->map_event(1, 0, 8192, 2).error() == Error::invalid_argument); // no such collection
    CHECK(rig.its->unmap_device(2).error() == Error::not_found);
    for (u32 i = 2; i <= vgic::max_its_devices; ++i) {
        REQUIRE(rig.its->map_device(i, 1).ok());
    }
    CHECK(rig.its->map_device(100, 1).error() == Error::busy);
    CHECK(rig.model.mistakes == 0);
}

TEST_CASE("its: a flat table that cannot hold every DeviceID says so by its width") {
    Rig rig;
    rig.model.device_bits = 32;
    rig.model.can_indirect = false;
    rig.start();
    CHECK(rig.its->device_id_bits() == 17); // 256 pages of 4 KiB, 8 bytes each
    CHECK(rig.its->map_device(1u << 17, 1).error() == Error::overflow);
    CHECK(rig.its->map_device((1u << 17) - 1, 1).ok());
    CHECK(rig.model.mistakes == 0);
}

TEST_CASE("its: one that does not answer, has no LPIs, or gets no memory is not used") {
    Rig rig;
    SUBCASE("silent") {
        rig.model.answers = false;
    }
    SUBCASE("no physical LPIs") {
        rig.model.physical_lpis = false;
    }
    SUBCASE("no memory") {
        rig.model.pages_left = 2;
    }
    CHECK_FALSE(rig.init().ok());
    CHECK_FALSE(rig.its->usable());
    CHECK_FALSE(rig.its->map_device(1, 1).ok());
}

TEST_CASE("its: a stall ends its use, and memory that it may still write stays taken") {
    Rig rig;
    rig.start();
    REQUIRE(rig.its->map_device(1, 4).ok());
    const auto pages = rig.model.allocated.size();
    rig.model.commands_until_stall = 0;
    CHECK_FALSE(rig.its->unmap_device(1).ok());
    CHECK_FALSE(rig.its->usable());
    CHECK(rig.model.allocated.size() == pages);
    CHECK_FALSE(rig.its->map_event(1, 0, 8192, 0).ok());
}

TEST_CASE("its: the queue wraps") {
    Rig rig;
    rig.start();
    for (u32 i = 0; i < 3000; ++i) { // 2048 commands fit
        REQUIRE(rig.its->map_device(5, 3).ok());
        REQUIRE(rig.its->map_event(5, 2, 8192 + 2, 0).ok());
        CHECK(rig.model.msi(5, 2) == 8192 + 2);
        REQUIRE(rig.its->unmap_device(5).ok());
    }
    CHECK(rig.its->commands() > 3 * 2048);
    CHECK(rig.model.mistakes == 0);
}
