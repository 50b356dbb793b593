// SPDX-License-Identifier: Apache-2.0
// VirtualIts: one VM's emulated Interrupt Translation Service: registers, command queue, device table and translation
// tables. The tables are in the guest's memory and may change at any time: an entry is copied once, checked, used, and
// not trusted again. What follows from a wrong one is an LPI of the VM's own, or nothing. Collections are kept here
// (GITS_TYPER.HCC), so there is no collection table. What an LPI is and where it goes is vgic/lpis.hpp.
// A command that is wrong has no effect, and the queue goes on; a queue that cannot be read stalls (GITS_CREADR.Stalled).
// Lock: one of its own (rank virtual_its), taken by every public member but enabled(). Spec: [IHI0069 chapter 5, §12.19].
#pragma once
#include "lib/format.hpp"
#include "vgic/direct_lpis.hpp"

namespace atl::vgic {

constexpr unsigned device_bits = 8; // DeviceIDs are RequesterIDs of bus 0

/// Why a command had no effect; those of [§5.3, command errors], without their encodings: GITS_TYPER.SEIS is 0.
enum class ItsFault : u8 {
    none,
    unknown_command,
    device_out_of_range,
    itt_size_out_of_range,
    event_out_of_range,
    lpi_out_of_range,
    collection_out_of_range,
    redistributor_out_of_range,
    device_not_mapped,
    event_not_mapped,
    collection_not_mapped,
    table_not_in_memory,
};
constexpr unsigned its_faults = 12;
const char* to_string(ItsFault fault);

/// Whoever turns messages of real devices into LPIs is told what the guest maps. Called with the ITS's lock held.
struct ItsListener {
    void* context = nullptr;
    void (*event)(void* context, u32 device, u32 event, u32 lpi) = nullptr; // lpi 0: not mapped any more
    void (*moved)(void* context, u32 device, u32 event) = nullptr;          // to another collection
    void (*device)(void* context, u32 device) = nullptr; // none of its events is mapped any more
};

struct ItsProgress {
    VcpuMask kick = 0;
    bool more = false;               // call again
    ItsFault fault = ItsFault::none; // the last one in this step
};

class VirtualIts {
  public:
    /// Before any vCPU runs. `event_bits`: EventIDs below 2^event_bits, 1 .. 16.
    void init(VirtualGic& gic, Lpis& lpis, const GuestMemory& memory, unsigned event_bits);
    void set_direct(DirectLpis& direct) { direct_ = &direct; }
    void set_listener(const ItsListener& listener) { listener_ = listener; }
    /// Before VirtualGic::reset(). No vCPU is loaded. False: the host's ITS is out of order, and injects nothing.
    bool reset();

    /// The control frame and, where no real ITS is behind it, the translation frame: 128 KiB. RAZ/WI for what does not
    /// exist. After a write look at has_work().
    Access read(VcpuIndex caller, u64 offset, unsigned size);
    VcpuMask write(u64 offset, unsigned size, u64 value);

    /// Commands wait: step() has to be called until it says that there is no more, by the vCPU that wrote GITS_CWRITER, with
    /// interrupts looked at in between. No lock: a hint.
    bool has_work() const { return work_.load(std::memory_order_relaxed) || !host_follows(); }
    /// A bounded number of them.
    ItsProgress step();

    /// Messages are translated: GITS_CTLR.Enabled. No lock.
    bool enabled() const { return enabled_.load(std::memory_order_relaxed); }
    /// A message, as by a device: whom to kick. What is not mapped is nothing.
    VcpuMask message(u32 device, u32 event);

    void dump(const TextSink& sink);
    u64 stat_commands() const { return stat_commands_; }
    u64 stat_faults() const { return stat_faults_; }

  private:
    struct Translation {
        u32 lpi = 0;
    };
    struct Device {
        Ipa itt{};
        unsigned event_bits = 0;
    };
    struct Outcome {
        ItsFault fault = ItsFault::none;
        VcpuMask kick = 0;
        constexpr Outcome(ItsFault f) : fault(f) {}
        constexpr Outcome(VcpuMask mask) : kick(mask) {}
    };

    /// The host's ITS has done what the guest's commands and registers ask for.
    bool host_follows() const { return direct_ == nullptr || !direct_->has_work(); }
    u64 queue_bytes() const;
    bool waiting() const;
    void note_work() { work_.store(executed_ || waiting(), std::memory_order_relaxed); }
    void write_control(u32 value);
    void write_queue_base(u64 value);
    void write_queue_end(u64 value);
    u64 typer() const;

    Ipa device_entry(u32 device) const;
    bool device_exists(u32 device) const;
    Result<u64> load(Ipa at) const;
    bool store(Ipa at, u64 value) const;
    /// The device and, for the second, its event, as the tables say now.
    ItsFault find(u32 device, Device& found) const;
    ItsFault find(u32 device, u32 event, Ipa& entry) const;
    ItsFault find(u32 device, u32 event, Ipa& entry, u32& lpi) const;

    void next_command();
    Outcome execute(const gic::ItsCommand& command);
    Outcome map_device(const gic::ItsCommand& command);
    Outcome map_collection(const gic::ItsCommand& command);
    Outcome map_event(const gic::ItsCommand& command, u32 lpi);
    Outcome move_event(const gic::ItsCommand& command);
    Outcome move_all(const gic::ItsCommand& command);
    Outcome event_command(gic::ItsOpcode opcode, u32 device, u32 event);

    SpinLock lock_{LockRank::virtual_its};
    VirtualGic* gic_ = nullptr;
    Lpis* lpis_ = nullptr;
    GuestMemory memory_{};
    ItsListener listener_{};
    DirectLpis* direct_ = nullptr;
    unsigned event_bits_ = 0;

    std::atomic<bool> enabled_{false};
    std::atomic<bool> work_{false};
    bool stalled_ = false;
    bool executed_ = false; // the command at GITS_CREADR, but the host's ITS has to follow yet
    u64 cbaser_ = 0;
    u64 cwriter_ = 0;
    u64 creadr_ = 0;
    u64 device_baser_ = 0;
    u64 stat_commands_ = 0;
    u64 stat_faults_ = 0;
    ItsFault last_fault_ = ItsFault::none;
};

} // namespace atl::vgic
