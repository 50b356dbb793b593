// SPDX-License-Identifier: Apache-2.0
// A guest of el2_world.hpp's machine with an emulated ITS that it drives as software does: by loads and stores that trap,
// with tables and queue in its own RAM.
#pragma once
#include "el2/its.hpp"
#include "tests/support/el2_world.hpp"

namespace atl::test {

struct ItsGuest {
    static constexpr u64 queue = 0x4010'0000;
    static constexpr u64 device_table = 0x4010'1000;
    static constexpr u64 config_table = 0x4010'2000; // 8 KiB
    static constexpr u64 pending_table = 0x4012'0000;
    static constexpr u64 itts = 0x4013'0000; // a page for each of 16 devices
    Machine& m;
    unsigned id;
    std::unique_ptr<VmIts> its = std::make_unique<VmIts>();
    u64 tail = 0;

    /// After the VM's VirtualGic::init(), before it boots.
    ItsGuest(Machine& machine, unsigned vm) : m(machine), id(vm) { attach_its(m.vm(id), *its); }

    void put64(u64 ipa, u64 value) { m.poke(id, ipa, &value, sizeof(value)); }
    u64 read(u64 offset, unsigned size = 8) { return m.read(m.vcpu(id), guest_map::its.base + offset, size); }
    void write(u64 offset, u64 value, unsigned size = 8) {
        m.write(m.vcpu(id), guest_map::its.base + offset, value, size);
    }
    void gicr(u64 offset, u64 value, unsigned size) {
        m.write(m.vcpu(id), guest_map::gicr_base + offset, value, size);
    }
    static Pa itt(u32 device) { return Pa{itts + (device & 15) * page_size}; }

    /// Everything on, collection 0 at vCPU 0.
    void start() {
        m.write(m.vcpu(id), guest_map::gicd.base, 3);
        gicr(gic::gicr::waker, 0, 4);
        gicr(gic::gicr::propbaser, config_table | 13, 8);
        gicr(gic::gicr::pendbaser, pending_table, 8);
        gicr(gic::gicr::ctlr, 1, 4);
        write(gic::gits::baser, gic::GitsBaser::Valid::mask | device_table);
        write(gic::gits::cbaser, gic::GitsCbaser::Valid::mask | queue);
        write(gic::gits::cwriter, 0);
        tail = 0;
        write(gic::gits::ctlr, 1, 4);
        command(gic::its_command::mapc(0, 0, true));
    }
    void put(const gic::ItsCommand& c) {
        m.poke(id, queue + tail, c.data(), sizeof(c));
        tail = (tail + sizeof(c)) % page_size;
    }
    /// False: it was refused.
    bool command(const gic::ItsCommand& c) {
        const u64 faults = its->its.stat_faults();
        put(c);
        write(gic::gits::cwriter, tail);
        CHECK(read(gic::gits::creadr) == tail);
        return its->its.stat_faults() == faults;
    }
    void configure(u32 lpi, bool enabled) {
        const u8 byte = 0xa2 | (enabled ? 1 : 0);
        m.poke(id, config_table + lpi - gic::first_lpi, &byte, 1);
    }
    bool map(u32 device, u32 event, u32 lpi) {
        configure(lpi, true);
        return command(gic::its_command::mapd(device, 4, itt(device), true)) &&
               command(gic::its_command::mapti(device, event, lpi, 0));
    }
    /// The LPI waits in a list register of vCPU 0, which is loaded then.
    bool pending(u32 lpi) {
        m.load(m.vcpu(id));
        bool found = false;
        for (unsigned i = 0; i < m.hw().here().lrs.count(); ++i) {
            const u64 lr = m.hw().here().lrs.peek(i);
            found = found || (gic::IchLr::Pending::test(lr) && gic::IchLr::VINTID::get(lr) == lpi);
        }
        return found;
    }
};

} // namespace atl::test
