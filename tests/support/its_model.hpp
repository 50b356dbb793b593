// SPDX-License-Identifier: Apache-2.0
// A model of an ITS behind vgic/its_io_hw.hpp: registers, tables in a sparse memory, commands executed when GITS_CWRITER
// moves, MSIs translated from the tables that the driver built. What it must not see (a command that names nothing, a
// table that was not published) is counted in `mistakes`. With virtual LPIs (GICv4.0, its_model_virtual.cpp) it is also the
// redistributors' VLPI_base frames: what pends of a resident vPE is in the redistributor alone until it leaves.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <vector>

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
    bool virtual_lpis = false;
    unsigned dirty_reads = 2; // of GICR_VPENDBASER after a vPE has left
    bool answers = true;      // GITS_CTLR.Quiescent comes
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
    /// The same of any event: a virtual LPI becomes pending. Returns the physical LPI, perhaps a doorbell, or 0.
    u32 message(u32 device, u32 event);

    static constexpr unsigned redistributors = 2;
    /// VLPI_base of the redistributor that collections and vPEs call `cpu`.
    static Pa vlpi_frame(unsigned cpu) { return Pa{0x080a'0000 + cpu * u64{0x4'0000} + 0x2'0000}; }
    /// The most urgent virtual LPI that the vPE resident there could take; 0: none. take() acknowledges it.
    u32 signalled(unsigned cpu);
    u32 take(unsigned cpu);
    bool resident(unsigned cpu) const { return gic::GicrVpendbaser::Valid::test(redist_[cpu].vpendbaser); }
    /// Whether it pends at that vPE, wherever that is known.
    bool pends(u16 vpe, u32 lpi);
    unsigned virtual_events() const; // mapped
    std::vector<u32> rung; // doorbells, by INT and VMOVI too: the redistributors have raised these LPIs

    Result<Pa> allocate(unsigned order);
    void release(Pa pages, unsigned order);

    // its_io
    u64 read(u64 address);
    void write(u64 address, u64 value);
    void store8(u64 address, u8 value);
    u64 load(u64 address);
    void zero(u64 address, u64 bytes);
    void publish(u64 address, u64 bytes, bool coherent);

  private:
    struct Event {
        u32 lpi;
        u16 collection;
        bool is_virtual = false; // `lpi` is one of the vPE's
        u16 vpe = 0;
        u32 doorbell = 0;
    };
    struct VirtualPe {
        u64 table = 0;
        unsigned cpu = 0;
        unsigned id_bits = 0;
    };
    struct Redistributor {
        u64 vpropbaser = 0, vpendbaser = 0;
        unsigned dirty = 0;
        std::set<u32> pending; // of the resident vPE
        std::map<u32, u8> cached_config;
    };
    u64 read_redistributor(unsigned cpu, u64 offset);
    void write_redistributor(unsigned cpu, u64 offset, u64 value);
    bool execute_virtual(const gic::ItsCommand& command);
    bool in_a_table(u64 address, u64 bytes);
    Redistributor* where(const VirtualPe& vpe);
    void set_virtual(u16 vpe, u32 lpi, bool pending, u32 doorbell);
    bool table_bit(const VirtualPe& vpe, u32 lpi);
    void set_table_bit(const VirtualPe& vpe, u32 lpi, bool pending);
    u8 configuration_of(Redistributor& r, u32 lpi);
    u32 physical(u32 lpi);
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
    std::map<u16, VirtualPe> vpes_;
    Redistributor redist_[redistributors];
    std::map<u32, u8> cached_config_; // what the redistributors remember of the configuration table
    u64 next_page_ = 0x1'0000'0000;
};

} // namespace atl::test
