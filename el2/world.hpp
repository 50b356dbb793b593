// SPDX-License-Identifier: Apache-2.0
// Everything there is: built once by boot, passed to every handler through its Vm. A test builds its own.
#pragma once
#include <array>
#include <atomic>
#include <span>

#include "el2/console.hpp"
#include "el2/ffa/ffa.hpp"
#include "el2/page_pool.hpp"
#include "el2/pages.hpp"
#include "el2/percpu.hpp"
#include "el2/vm.hpp"
#include "stage2/vmid.hpp"
#include "vgic/switch.hpp"

namespace atl::vgic {
class Gic;
}

namespace atl::el2 {

/// What the core asks of whoever wired it up: kept as functions because el2 does not know boot.
struct Hooks {
    /// Writes the VM's device tree into `out`; returns the bytes used. For every boot of a guest.
    Result<u32> (*write_device_tree)(World& world, Vm& vm, std::span<u8> out) = nullptr;
    /// Where kernel, ramdisk, device tree go and what the first vCPU starts with.
    struct Placement {
        Ipa kernel{};
        Ipa ramdisk{};
        Ipa device_tree{};
        bool has_device_tree = false;
        Ipa entry{};
        u64 x0 = 0;
    };
    Result<Placement> (*place)(World& world, Vm& vm) = nullptr;
    /// Turns the machine off through firmware; returns when it cannot.
    void (*power_off)(World& world) = nullptr;
};

/// Interrupt numbers of the host, from its device tree.
struct HostIntids {
    u32 virtual_timer = 27;
    u32 el2_timer = 26;
    u32 maintenance = 25;
    u32 uart = 0;
    u32 smmu_event = 0; // 0: none
    u32 smmu_error = 0;
};

struct Passthrough;

/// Makes a deadline that any CPU may bring forward no later than `at`.
inline void bring_forward(std::atomic<u64>& deadline, u64 at) {
    u64 old = deadline.load(std::memory_order_relaxed);
    while (at < old && !deadline.compare_exchange_weak(old, at, std::memory_order_release)) {
    }
}

struct World {
    SpinLock lifecycle_lock{LockRank::vm_lifecycle};
    // These first: each entry asks for their deadlines, and the others are large.
    std::atomic<u64> rtc_deadline{~u64{0}}; // counter value of the earliest RTC alarm [el2/housekeeping.hpp]
    std::atomic<u64> devices_deadline{~u64{0}}; // when passthrough devices' housekeeping is due
    Console console{};
    unsigned pcpu_count = 0;
    PerCpu* pcpus[max_pcpus] = {};
    unsigned vm_slots = 0;               // highest VM id that exists
    Vm* vms[max_vms + 1] = {};           // by VM id; [0] and gaps are nullptr
    std::span<const VmConfig> configs{}; // every configured VM, for names
    PageLedger ledger{};
    PagePool pool{};
    stage2::Geometry geometry{};
    stage2::VmidAllocator vmids{};
    stage2::TableMemory::Config table_memory{};
    ffa::Ffa ffa{};
    vgic::Gic* gic = nullptr;           // the physical one; *_hw files know its face
    Pa guest_cpu_interface{};           // two pages of GICV; 0 on a machine with GICv3
    Passthrough* passthrough = nullptr; // nullptr: this machine's devices stay unused
    HostIntids intids{};
    IdRegisters host_ids{};
    u64 counter_hz = 0;
    vtimer::TickScale scale{}; // of counter_hz
    u64 slice_ticks = 0;
    u64 recheck_ticks =
        0; // 0, or the host's GIC must be made to look at timer lines [el2/run.hpp watch_timer]
    u64 boot_counter = 0;
    u64 wall_clock_base = 0; // seconds since 1970 at counter 0, from the host's RTC; 0 without one
    u64 entropy = 0;         // state of a small generator for guests' seeds, under lifecycle_lock
    bool power_off_when_done = true;
    Hooks hooks{};

    Vm* vm(VmId id) const { return id.value <= vm_slots ? vms[id.value] : nullptr; }
};

} // namespace atl::el2
