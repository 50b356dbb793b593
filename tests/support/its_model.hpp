// SPDX-License-Identifier: Apache-2.0
// A model of an ITS behind vgic/its_io_hw.hpp: registers, tables in a sparse memory, commands executed when GITS_CWRITER
// moves, MSIs translated from the tables that the driver built. What it must not see (a command that names nothing, a
// table that was not published) is counted in `mistakes`.
#pragma once
#include <cstdint>
#include <map>
#include <set>

#include "lib/arch/its.hpp"
#include "lib/result.hpp"

namespace atl::test {

struct ItsModel {
    // What it is like; set before Its::init().
    unsigned device_bits = 16;
    unsigned event_bits = 16;
    u64 itt_entry_bytes = 12;
    u64 device_entry_bytes = 8;
    unsigned fixed_page_size = 0; // GITS_BASER.Page_Size reads as this
    bool can_indirect = true;
    bool snoops = true;
    bool physical_lpis = true;
    bool answers = true; // GITS_CTLR.Quiescent comes
    int commands_until_stall = -1;
    int pages_left = 1'000'000;

    u64 configuration = 0; // where the LPI configuration table is (the test says)

    // What happened.
    unsigned mistakes = 0;
    std::map<u64, unsigned> allocated; // base -> order
    std::map<u64, u64> memory;         // 8-byte words
    std::set<u64> unpublished;         // words stored and not yet published

    static constexpr u64 base = 0x0808'0000;
    ItsModel();
    ~ItsModel();

    /// What a device's write to GITS_TRANSLATER raises: an LPI that is enabled, or 0.
    u32 msi(u32 device, u32 event);
    u64 target_of(u32 device, u32 event);

    Result<Pa> allocate(unsigned order);
    void release(Pa pages, unsigned order);

    // its_io
    u64 read(u64 address);
    void write(u64 address, u64 value);
    void store8(u64 address, u8 value);
    void zero(u64 address, u64 bytes);
    void publish(u64 address, u64 bytes, bool coherent);

  private:
    struct Event {
        u32 lpi;
        u16 collection;
    };
    void run_commands();
    void execute(const gic::ItsCommand& command);
    bool device_backed(u32 device);
    u64 word(u64 address);

    u64 control_ = 1;
    u64 cbaser_ = 0, cwriter_ = 0, creadr_ = 0;
    u64 baser_[8] = {};
    std::map<u32, unsigned> devices_; // DeviceID -> event bits
    std::map<u64, Event> events_;     // DeviceID << 32 | EventID
    std::map<u32, u64> collections_;
    std::map<u32, u8> cached_config_; // what the redistributors remember of the configuration table
    u64 next_page_ = 0x1'0000'0000;
};

} // namespace atl::test
