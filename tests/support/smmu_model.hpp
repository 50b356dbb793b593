// SPDX-License-Identifier: Apache-2.0
// A model of an SMMUv3 and the devices behind it, for host tests: what can be seen from outside, with caches
// that really go stale. Also the host side of smmu/port_hw.hpp. It complains (violations) about what the
// specification forbids: registers written when they may not be, memory shown without a barrier, an entry
// that the SMMU could see half old and half new. One is current at a time. Spec: [IHI0070].
#pragma once
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "smmu/smmu.hpp"

namespace atl::test {

class SmmuModel {
  public:
    using Reg32 = smmu::Reg32;
    using Reg64 = smmu::Reg64;
    static constexpr Pa registers{0x0905'0000};

    SmmuModel();
    ~SmmuModel();
    SmmuModel(const SmmuModel&) = delete;
    SmmuModel& operator=(const SmmuModel&) = delete;

    // What the hardware is. The defaults are those of QEMU's virt.
    smmu::IdRegisters id{0x0d44'101b, 19u << 21 | 19u << 16 | 16, 1u << 10 | 1u << 2, 0x74};

    // What a VM's tables say: root -> IPA of a leaf -> leaf.
    struct Mapping {
        u64 pa;
        bool writable = true;
        u64 size = page_size;
    };
    std::map<u64, std::map<u64, Mapping>> tables;

    // Devices.
    struct Access {
        bool ok = false;
        Pa pa{};
    };
    Access dma(StreamId stream, Ipa ipa, bool write);
    /// An access that is translated now and reaches memory later: at finish(), or before a SYNC completes
    /// that invalidates what it used.
    bool start(StreamId stream, Ipa ipa);
    void finish();
    std::vector<u64> written;  // pages, in order
    std::set<u64> quiet_pages; // a late access there is a violation: they have moved on

    // Memory.
    Result<Pa> allocate(unsigned order);
    smmu::Pages pages() {
        return {this, [](void* m, unsigned order) { return static_cast<SmmuModel*>(m)->allocate(order); }};
    }
    u64& word(u64 pa) { return memory_[pa]; }
    u64 memory_left = 1024; // pages

    // Faults to inject.
    struct Refused {
        smmu::Op op;
        unsigned times;
        u64 code;
    };
    std::vector<Refused> refuse;
    std::set<smmu::Op> drop; // consumed without effect: what a driver that forgets them would do
    unsigned slow = 0;       // not 0: so many commands at each read of CMDQ_CONS, none by themselves
    bool frozen = false;     // consumes nothing
    bool frozen_until_restart = false;
    u32 cr0_deaf = 0; // bits of CR0 that are not acknowledged
    bool gbpa_deaf = false;
    bool irq_deaf = false;
    unsigned delay = 0;             // reads until a register is acknowledged
    bool overflow_as_abort = false; // as QEMU reports it
    void event(const std::array<u64, 4>& record);
    void raise(u32 gerror_bits) { gerror_ ^= gerror_bits & ~(gerror_ ^ gerrorn_); }
    void spoil_event_prod(u32 value) { event_prod_ = value; }

    // What can be seen.
    std::vector<smmu::Command> executed;
    std::vector<std::string> violations;
    unsigned event_interrupts = 0;
    unsigned syncs = 0;
    bool bypassed = false; // a device got through untranslated
    std::vector<std::pair<u32, u64>> register_writes;
    u32 cr0() const { return cr0_; }
    u32 value(Reg32 reg) const {
        return plain_.count(static_cast<u32>(reg)) ? plain_.at(static_cast<u32>(reg)) : 0;
    }
    u64 value(Reg64 reg) const {
        return wide_.count(static_cast<u32>(reg)) ? wide_.at(static_cast<u32>(reg)) : 0;
    }
    u32 gbpa() const { return gbpa_; }
    u32 event_cons() const { return event_cons_; }
    u32 command_prod() const { return command_prod_; }
    u32 active_errors() const { return gerror_ ^ gerrorn_; }

    /// From now on every store to this stream's entry, and every SYNC, is checked: all that the SMMU could
    /// have read since the last complete invalidation, word by word, aborts silently or is one of `allowed`:
    /// invalid, which aborts and is reported, only if invalid_ste is among them.
    void watch(StreamId stream, std::vector<smmu::Ste> allowed);
    unsigned watch_checks = 0;

    // For Port.
    u32 read(Reg32 reg);
    void write(Reg32 reg, u32 value);
    void write(Reg64 reg, u64 value);
    void store(u64 pa, u64 value);
    u64 load(u64 pa);
    void clean(u64 pa);
    void invalidate_line(u64 pa);
    void publish() { unpublished_ = 0; }
    void observe() { unobserved_ = false; }
    static SmmuModel& current();

  private:
    struct Flight {
        u32 stream;
        u32 vmid;
        u64 ipa;
        u64 pa;
    };
    struct Watch {
        std::vector<smmu::Ste> allowed;
        std::array<std::set<u64>, smmu::ste_words> seen;  // since the last complete invalidation
        std::array<std::set<u64>, smmu::ste_words> after; // since the invalidation that a SYNC will complete
        bool invalidating = false;
    };
    bool coherent() const { return smmu::Idr0::COHACC::test(id.idr0); }
    void complain(std::string what) { violations.push_back(std::move(what)); }
    void consume(unsigned most = ~0u);
    bool execute(const smmu::Command& command);
    void sync();
    void command_error(u64 code);
    void finish_one(const Flight& flight);
    std::optional<u64> entry_address(u32 stream);
    const smmu::Ste* find_entry(u32 stream);
    std::optional<u64> translate(u32 stream, u64 ipa, bool write, u32* vmid);
    void fault(u8 number, u32 stream, u64 ipa, bool write);
    void watch_store(u64 pa, u64 value);
    void check_watch(u32 stream, Watch& watch);
    void write_indexes(Reg32 reg, u32 value);

    std::map<u64, u64> memory_;
    std::map<u64, u64> cpu_cache_; // words, when the SMMU does not snoop
    std::set<u64> dirty_;
    std::map<u32, u32> plain_;
    std::map<u32, u64> wide_;
    std::map<u32, smmu::Ste> ste_cache_;
    std::map<u32, u64> l1_cache_;
    std::map<std::pair<u32, u64>, Mapping> tlb_; // by VMID and the leaf's IPA
    std::vector<smmu::Command> pending_;         // invalidations that the next SYNC completes
    std::vector<Flight> flights_;
    std::map<u32, Watch> watches_;
    static constexpr u64 first_page = 0x5000'0000;
    u64 next_page_ = first_page;
    u32 cr0_ = 0;
    u32 cr0ack_ = 0;
    u32 cr0_wait_ = 0;
    u32 gbpa_ = 0;
    u32 gbpa_wait_ = 0;
    u32 irq_ctrl_ = 0;
    u32 gerror_ = 0;
    u32 gerrorn_ = 0;
    u32 command_prod_ = 0;
    u32 command_cons_ = 0;
    u32 event_prod_ = 0;
    u32 event_cons_ = 0;
    u64 unpublished_ = 0;
    std::thread::id storing_; // who made the unpublished stores
    bool unobserved_ = false;
};

} // namespace atl::test
