// SPDX-License-Identifier: Apache-2.0
// DirectLpis: a VM's LPIs that real devices raise and that reach it without EL2 (GICv4.0). An event of a device is *direct*
// while the host's ITS maps it to a virtual LPI of a vCPU's vPE: when the guest's ITS is enabled, has mapped the event, and
// its LPI is routed to a vCPU whose LPIs are enabled; else it is not mapped there at all, and a message is nothing.
//
// The invariant: an LPI pends in one place. One that a direct event raises is *owned* by that event: what arrives for it in
// software (INT on a DeviceID that is no device's, a pending table) is passed on to the host's ITS as an INT of the owner
// [Lpis::put()]. Where an event stops being direct other than by the guest's own DISCARD or MAPD, its pending state comes
// back into software out of the vPE's table, for which the vPE must not be resident.
//
// What the guest does changes wishes (`want`, routes, enables); settle() and step() then make the host's ITS follow, in
// bounded steps, before the guest sees its command as executed.
// Does not own: which LPI goes where (vgic/lpis.hpp), the commands of the host's ITS (vgic/its.hpp), residency (vgic/vpe.hpp).
// Locks: that of the VM's VirtualIts, but for owned(), raise(), configure(), refresh_allowed(): dist_lock; and the atomics.
// Spec: [IHI0069 §5.2.8 to §6].
#pragma once
#include "vgic/its.hpp"
#include "vgic/lpis.hpp"
#include "vgic/vpe.hpp"

namespace atl::vgic {

constexpr unsigned max_direct_devices = 8;
constexpr u32 direct_events = 256;

/// A device's events. INTIDs are kept less 8191; 0: none.
struct DirectDevice {
    u32 guest_id = 0;                       // DeviceID at the VM's ITS
    u32 host_id = 0;                        // and at the host's
    u32 doorbells = 0;                      // LPI of the host's that event 0 rings
    u16 want[direct_events] = {};           // what the guest has mapped it to
    u16 has[direct_events] = {};            // what the host's ITS has mapped it to, and
    std::atomic<u8> at[direct_events] = {}; // at whose vPE; no_vcpu: not mapped there
};

/// Two pages for each VM, a table for each vCPU: of EL2's own, never the guest's.
struct DirectTables {
    Pa configuration{};                 // vlpi_count bytes, 4 KiB aligned
    Pa pending[max_vcpus_per_vm] = {};  // 64 KiB each, as aligned
    u64 targets[max_vcpus_per_vm] = {}; // of the vCPU's home, for Its::map_vpe()
    VpeFrame* frames[max_vcpus_per_vm] = {};
    u16 first_vpe = 0; // of vPEIDs
};

class DirectLpis {
  public:
    /// Before any vCPU runs; afterwards lpis.set_direct() and its.set_direct().
    void init(VirtualGic& gic, Lpis& lpis, Its& host, const DirectTables& tables);
    /// Its events are not mapped at the host's ITS; its doorbells are enabled. nullptr: no place.
    DirectDevice* add(u32 guest_id, u32 host_id, u32 first_doorbell);
    /// No vCPU runs: nothing is mapped, nothing pends, all vPEs are as new. False: the host's ITS is out of order.
    bool reset();

    // ---- from VirtualIts, its lock held; each returns whom to kick ----
    VcpuMask map(u32 device, u32 event, u32 lpi); // MAPTI, DISCARD (lpi 0)
    void unmap_device(u32 device);
    /// The LPI's route has changed; the event named it.
    VcpuMask rerouted(u32 device, u32 event, u32 lpi);
    void clear(u32 lpi);
    void set_enabled(bool enabled); // GITS_CTLR
    /// A part of what is left to do. After it: has_work() says whether there is more.
    VcpuMask step();

    // ---- any lock, or none ----
    /// Routes or enables have changed: step() is to be called.
    void routes_changed() { changed_.store(true, std::memory_order_release); }
    bool has_work() const {
        return changed_.load(std::memory_order_relaxed) || scanning_.load(std::memory_order_relaxed);
    }
    /// How many events are direct at a vCPU.
    unsigned mapped(unsigned v) const { return mapped_[v].load(std::memory_order_acquire); }
    Vpe& vpe(unsigned v) { return vpes_[v]; }
    const Vpe& vpe(unsigned v) const { return vpes_[v]; }
    /// An event's doorbell was rung: whom to kick. It is for a vCPU that is not loaded, or was not a moment ago.
    static VcpuMask ring(const DirectDevice& device, u32 event);
    void invalidate(u32 lpi); // INV; the lock of the VM's ITS
    void invalidate_all();

    // ---- dist_lock ----
    bool owned(u32 n) const { return owner_[n].load(std::memory_order_relaxed) != 0; }
    void raise(u32 n);
    /// Bytes of the guest's configuration table, already cut to what hardware may see.
    void configure(u32 first, std::span<const u8> bytes);
    /// LPIs or Group 1 were turned on or off. Returns whom to kick.
    VcpuMask refresh_allowed(unsigned v);

    /// For the monitor.
    void dump(const TextSink& sink);
    void explain(u32 n, const TextSink& sink);

  private:
    enum class Settled : u8 { yes, waits };
    struct Event {
        DirectDevice* device = nullptr;
        u32 number = 0;
    };

    DirectDevice* find(u32 device);
    Event owner_of(u32 n);
    u16 name_of(const DirectDevice& device, u32 event) const;
    u16 vpe_id(unsigned v) const { return static_cast<u16>(tables_.first_vpe + v); }
    bool in_table(unsigned v, u32 n) const;
    Settled settle(DirectDevice& device, u32 event, VcpuMask& kick);
    void settle_owner(u32 lpi, VcpuMask& kick);
    void inject(DirectDevice& device, u32 event, unsigned v, VcpuMask& kick);
    void discard(DirectDevice& device, u32 event);
    Settled take_back(DirectDevice& device, u32 event, VcpuMask& kick);
    void forget(DirectDevice& device, u32 event);
    VcpuMask allow_again();

    VirtualGic* gic_ = nullptr;
    Lpis* lpis_ = nullptr;
    Its* host_ = nullptr;
    DirectTables tables_{};
    unsigned device_count_ = 0;
    bool enabled_ = false; // the VM's ITS
    u32 cursor_ = 0;       // of step(): device and event
    u32 leaving_ = 0;      // vCPUs whose vPE must not be resident, for take_back(); dist_lock
    std::atomic<bool> changed_{false};
    std::atomic<bool> scanning_{false};
    std::atomic<u16> mapped_[max_vcpus_per_vm] = {};
    Vpe vpes_[max_vcpus_per_vm]{};
    DirectDevice devices_[max_direct_devices]{};
    std::atomic<u16> owner_[vlpi_count] = {}; // name_of() its event; 0: none. Written with dist_lock held
};

} // namespace atl::vgic
