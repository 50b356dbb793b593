// SPDX-License-Identifier: Apache-2.0
// A VM with an ITS for host tests: TestVm, LPIs, the ITS, and guest memory that a test can take away or change behind
// EL2's back. Memory is read and written without any lock of the vGIC's, which the lock check would tell.
#pragma once
#include <cstring>
#include <functional>
#include <set>

#include "tests/support/gic_guest.hpp"
#include "vgic/virtual_its.hpp"

namespace atl::vgic {

struct GuestRam {
    static constexpr u64 base = 0x4000'0000;
    static constexpr u64 size = 4 * mib;
    std::vector<u8> bytes = std::vector<u8>(size);
    std::set<u64> denied; // pages that are lent, borrowed or somebody else's, by IPA
    std::function<void(u64 ipa, u64 count)> after_read;
    unsigned reads = 0;
    unsigned writes = 0;

    bool has(u64 ipa, u64 count) const {
        bool ok = ipa >= base && ipa + count <= base + size && ipa + count > ipa;
        for (u64 page = ipa & ~(page_size - 1); ok && page < ipa + count; page += page_size) {
            ok = !denied.contains(page);
        }
        return ok;
    }
    u64 get64(u64 ipa) const {
        u64 value;
        std::memcpy(&value, bytes.data() + (ipa - base), sizeof(value));
        return value;
    }
    void put64(u64 ipa, u64 value) { std::memcpy(bytes.data() + (ipa - base), &value, sizeof(value)); }
    u8& byte(u64 ipa) { return bytes[ipa - base]; }

    GuestMemory access() {
        return {this,
                [](void* context, Ipa ipa, std::span<std::byte> to) -> Status {
                    GuestRam& ram = *static_cast<GuestRam*>(context);
                    ++ram.reads;
                    if (!ram.has(ipa.value, to.size())) {
                        return Error::denied;
                    }
                    SpinLock map(LockRank::address_space); // as the real one: nothing of a later rank is held
                    LockGuard guard(map);
                    std::memcpy(to.data(), ram.bytes.data() + (ipa.value - base), to.size());
                    if (ram.after_read) {
                        ram.after_read(ipa.value, to.size());
                    }
                    return {};
                },
                [](void* context, Ipa ipa, std::span<const std::byte> from) -> Status {
                    GuestRam& ram = *static_cast<GuestRam*>(context);
                    ++ram.writes;
                    if (!ram.has(ipa.value, from.size())) {
                        return Error::denied;
                    }
                    SpinLock map(LockRank::address_space);
                    LockGuard guard(map);
                    std::memcpy(ram.bytes.data() + (ipa.value - base), from.data(), from.size());
                    return {};
                }};
    }
};

/// Its driver does what a kernel's does: tables, queue, LPIs on, collection n to vCPU n.
struct ItsVm : TestVm {
    static constexpr u64 queue = GuestRam::base;
    static constexpr u64 queue_bytes = 0x4000;
    static constexpr u64 device_table = GuestRam::base + 0x1'0000;
    static constexpr u64 config_table = GuestRam::base + 0x2'0000;
    static constexpr u64 pending_tables = GuestRam::base + 0x4'0000; // 64 KiB for each
    static constexpr u64 itts = GuestRam::base + 0x10'0000;          // 512 KiB for each
    static constexpr u64 itt_bytes = 0x8'0000;

    GuestRam ram;
    std::unique_ptr<Lpis> lpis = std::make_unique<Lpis>();
    std::unique_ptr<VirtualIts> its = std::make_unique<VirtualIts>();
    u64 tail = 0;
    ItsFault fault = ItsFault::none;
    unsigned steps = 0;

    explicit ItsVm(unsigned vcpus = 2, unsigned list_registers = 4, unsigned event_bits = 16, bool v2 = false,
                   bool soft = false)
        : TestVm(vcpus, list_registers, 64, v2, soft) {
        if (!v2) {
            lpis->attach(gic, ram.access());
            its->init(gic, *lpis, ram.access(), event_bits);
        }
    }

    u64 rits(u64 offset, unsigned size = 8, unsigned v = 0) {
        for (unsigned tries = 0;; ++tries) {
            REQUIRE(tries < 4);
            const Access access = its->read(index(v), offset, size);
            if (!access.retry) {
                return access.value;
            }
            enter_all();
        }
    }
    void wits(u64 offset, u64 value, unsigned size = 8) {
        kick(its->write(offset, size, value));
        run();
    }
    /// As el2/trap_hw.cpp does before the vCPU runs on.
    void run() {
        for (bool more = its->has_work(); more; ++steps) {
            const ItsProgress progress = its->step();
            more = progress.more;
            fault = progress.fault != ItsFault::none ? progress.fault : fault;
            enter_all();
        }
        enter_all();
    }

    void give_tables() {
        wits(gic::gits::baser, gic::GitsBaser::Valid::mask | device_table); // one page of 4 KiB: 512 entries
        wits(gic::gits::cbaser, gic::GitsCbaser::Valid::mask | (queue_bytes / page_size - 1) | queue);
        wits(gic::gits::cwriter, 0);
        tail = 0;
    }
    void enable_lpis(unsigned v) {
        rwr(v, v, gic::gicr::propbaser, config_table | 13, 8);
        rwr(v, v, gic::gicr::pendbaser, pending_tables + v * u64{0x1'0000}, 8);
        rwr(v, v, gic::gicr::ctlr, 1);
    }
    void boot_its() {
        boot();
        give_tables();
        wits(gic::gits::ctlr, 1, 4);
        for (unsigned v = 0; v < files.size(); ++v) {
            enable_lpis(v);
            command(gic::its_command::mapc(static_cast<u16>(v), u64{v} << 16, true));
        }
        load_all();
    }
    static Pa itt(u32 device) { return Pa{itts + (device & 3) * itt_bytes}; }

    void put(const gic::ItsCommand& c) {
        std::memcpy(ram.bytes.data() + (queue - GuestRam::base) + tail, c.data(), sizeof(c));
        tail = (tail + sizeof(c)) % queue_bytes;
    }
    void go() { wits(gic::gits::cwriter, tail); }
    /// Executes it; what was wrong with it.
    ItsFault command(const gic::ItsCommand& c) {
        fault = ItsFault::none;
        put(c);
        go();
        return fault;
    }
    void configure(u32 lpi, bool enabled, u8 priority = 0xa0) {
        ram.byte(config_table + lpi - gic::first_lpi) =
            static_cast<u8>((priority & 0xfc) | 2 | (enabled ? 1 : 0));
    }
    /// Device 1 with 16 events, event n is LPI 8192 + n, enabled, for vCPU 0.
    void map_some() {
        REQUIRE(command(gic::its_command::mapd(1, 4, itt(1), true)) == ItsFault::none);
        for (u32 n = 0; n < 16; ++n) {
            configure(gic::first_lpi + n, true);
            REQUIRE(command(gic::its_command::mapti(1, n, gic::first_lpi + n, 0)) == ItsFault::none);
        }
    }
};

} // namespace atl::vgic
