// SPDX-License-Identifier: Apache-2.0
// The physical ITS: turns a device's MSI write (DeviceID, EventID) into an LPI. Owns its registers, its tables, its
// command queue and the LPI configuration table. Does not own what an LPI means (el2/devices) nor the redistributors'
// side (vgic/gicv3_hw.hpp). Only (DeviceID, EventID) pairs that map_device() and map_event() have named raise anything:
// a device cannot signal on behalf of another one, since its DeviceID comes with the transaction.
// Lock: lock(), rank its_queue; every public member but init() takes it. Spec: [IHI0069 chapter 5].
#pragma once
#include "lib/arch/its.hpp"
#include "lib/containers.hpp"
#include "lib/limits.hpp"
#include "lib/result.hpp"
#include "lib/spinlock.hpp"

namespace atl::vgic {

/// Where table pages come from: 2^order pages, aligned to their size, contents undefined.
struct ItsPages {
    void* context = nullptr;
    Result<Pa> (*allocate)(void* context, unsigned order) = nullptr;
    void (*release)(void* context, Pa pages, unsigned order) = nullptr;
};

constexpr unsigned max_its_devices = 32;
constexpr unsigned max_vpes = 128;   // vCPUs of all VMs whose LPIs are injected directly
constexpr unsigned lpi_id_bits = 14; // INTIDs below 16384: LPIs 8192 .. 16383
constexpr u32 lpi_count = (1u << lpi_id_bits) - gic::first_lpi;

class Its {
  public:
    constexpr Its() = default;

    /// `frames`: control and translation frame. Allocates the tables, empties the queue, enables the ITS.
    /// not_supported: no physical LPIs, or it does not answer; no_memory. An ITS that failed stays disabled.
    Status init(Range<Pa> frames, const ItsPages& pages);
    bool usable() const { return usable_; }
    /// Where devices write: the page that holds GITS_TRANSLATER at offset gits::translater.
    Pa doorbell_page() const { return frames_.base + gic::gits::translation_frame; }
    unsigned device_id_bits() const { return device_id_bits_; }
    /// GITS_TYPER.PTA: what map_collection() wants of a redistributor, its address or its processor number.
    bool targets_are_addresses() const { return target_address_; }

    /// LPIs of `collection` go to that redistributor. `target` is its address, or its number shifted left by 16.
    Status map_collection(u16 collection, u64 target);
    /// Lets a device signal events 0 .. 2^event_bits - 1, none of which does anything yet. already_exists; no_memory;
    /// overflow: the DeviceID or the number of events is beyond the ITS; busy: max_its_devices.
    Status map_device(u32 device, unsigned event_bits);
    /// The event raises `lpi`, which is enabled. invalid_argument: no such LPI or collection; not_found: no such device.
    Status map_event(u32 device, u32 event, u32 lpi, u16 collection);
    /// The device signals nothing any more when this returns; its LPIs are disabled by the caller. not_found.
    Status unmap_device(u32 device);
    /// Masks or unmasks one LPI at the source; complete on return. `device` and `event` are what raises it.
    Status set_enabled(u32 lpi, u32 device, u32 event, bool enabled);

    /// The event's LPI goes to another collection, and so does its pending state; complete on return.
    Status move_event(u32 device, u32 event, u16 collection);

    // GICv4: an event becomes a virtual LPI of a vPE without EL2 [vgic/direct_lpis.hpp]; its_virtual.cpp. Complete on
    // return, but for raise_direct(). Values out of range, or what is not mapped: invalid_argument, not_found.
    bool injects() const { return injects_; } // GITS_TYPER.Virtual, and there is a table of vPEs
    /// `target` as in map_collection(); `pending_table` 64 KiB aligned, zeroed, for INTIDs below 2^id_bits.
    Status map_vpe(u16 vpe, u64 target, Pa pending_table, unsigned id_bits);
    /// None of its events is mapped any more. Then nobody writes its table.
    Status unmap_vpe(u16 vpe);
    /// The event is not mapped. `doorbell` is an LPI, enabled by enable_doorbells().
    Status map_direct(u32 device, u32 event, u32 vlpi, u16 vpe, u32 doorbell);
    /// With its pending state.
    Status move_direct(u32 device, u32 event, u16 from, u16 to);
    /// DISCARD, CLEAR or INV of such an event.
    Status command_direct(gic::ItsOpcode opcode, u32 device, u32 event, u16 vpe);
    Status raise_direct(u32 device, u32 event); // INT, in order with other commands
    /// What was sent to the vPE so far is in its table.
    Status sync_vpe(u16 vpe);
    /// The configuration of all of its LPIs is read again.
    Status reload_vpe(u16 vpe);
    /// No event raises these LPIs but as doorbells.
    Status enable_doorbells(u32 first, u32 count, bool enabled);

    // For the redistributors [vgic/gicv3_hw.hpp].
    Pa configuration_table() const { return configuration_; }
    bool coherent() const { return coherent_; }

    u64 commands() const { return stat_commands_; }

  private:
    struct Device {
        u32 id = 0;
        unsigned event_bits = 0;
        Pa itt{};
        unsigned order = 0;
    };
    struct DeviceTable {
        Pa base{};
        bool indirect = false;
        u64 page_bytes = 0;
        u64 entry_bytes = 0;
    };

    Status disable();
    Status init_tables(bool with_vpes);
    Status init_table(unsigned index, u64 entries, bool devices);
    Status init_queue();
    Result<Pa> take_zeroed(unsigned order);
    Status back_device(u32 device);
    Device* find(u32 device);

    bool room();
    Status put(const gic::ItsCommand& command);
    Status finish(u16 collection);
    Status finish_everywhere();
    Status wait_done();
    Status finish_vpe(u16 vpe);
    Status write_configuration(u32 first, u32 count, bool enabled);
    bool has_event(u32 device, u32 event);
    bool has_vpe(u16 vpe) const { return vpe < max_vpes && vpes_[vpe]; }

    SpinLock lock_{LockRank::its_queue};
    Range<Pa> frames_{};
    ItsPages pages_{};
    bool usable_ = false;
    bool coherent_ = true;
    bool target_address_ = false;
    unsigned device_id_bits_ = 0;
    unsigned event_id_bits_ = 0;
    u64 itt_entry_bytes_ = 0;
    Pa queue_{};
    u64 write_offset_ = 0;
    Pa configuration_{};
    DeviceTable device_table_{};
    u64 targets_[max_pcpus] = {}; // by collection
    bool mapped_[max_pcpus] = {};
    bool injects_ = false;
    bool vpes_[max_vpes] = {}; // mapped
    StaticVector<Device, max_its_devices> devices_{};
    u64 stat_commands_ = 0;
};

} // namespace atl::vgic
