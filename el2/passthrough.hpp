// SPDX-License-Identifier: Apache-2.0
// Passthrough of PCI functions: which VM has which, and what that needs: the SMMU stream on the VM's stage-2 table, the
// ITS events, the VM's host bridge, resets between owners, faults told. Does not drive any of them (smmu/, pci/, vgic/).
// Locks: the table of devices is constant after boot; a device's state changes under World::lifecycle_lock or in its
// VM's job; counters of faults and messages are the boot CPU's, or atomic.
//
// A device's life:
//   boot          described, reset, quiet; its stream aborts
//   VM starts     reset (a stage of the load job), then connect_devices(): stream on the VM's table
//   VM stops      disconnect_devices() as soon as the last vCPU has left: the stream aborts, nothing is in flight; then
//                 a reset, and only then is the VM's memory scrubbed or loaded anew
// [docs/dma.md]
#pragma once
#include <atomic>

#include "el2/report_budget.hpp"
#include "el2/vm_config.hpp"
#include "lib/result.hpp"
#include "pci/bridge.hpp"
#include "pci/virtual_bridge.hpp"
#include "smmu/smmu.hpp"
#include "vgic/direct_lpis.hpp"

namespace atl::el2 {

struct Vcpu;
struct Vm;
struct World;

constexpr unsigned max_assigned_devices = vgic::max_its_devices;
constexpr u32 lpis_per_device = 256; // LPI 8192 + 256 * index + EventID: found with a shift
static_assert(max_assigned_devices * lpis_per_device <= vgic::lpi_count);

constexpr u32 no_translation = gic::first_lpi - 1; // what AssignedDevice::lpis counts from

struct AssignedDevice {
    const pci::Function* function = nullptr;
    Vm* vm = nullptr;
    PciAddress address{};
    StreamId stream{};
    u32 device_id = 0;
    u8 slot = 0;  // device number on the VM's bus 0
    u8 line = 0;  // which of the VM's four INTx SPIs
    u16 intx = 0; // the host's INTID; 0: none
    AssignedDevice* next_on_line = nullptr;
    std::atomic<bool> connected{false};
    std::atomic<u64> messages{0};
    vgic::DirectDevice* direct = nullptr; // its VM's LPIs are injected directly: its LPIs here are doorbells
    /// By EventID: the LPI that the VM's own ITS makes of it, less 8191; 0: none. Written with that ITS's lock held.
    std::atomic<u16> lpis[lpis_per_device] = {};
    u64 faults = 0;
    u8 lpi_cpu[lpis_per_device] = {};       // the pCPU that the host's LPI goes to; with that lock, too
    std::atomic<bool> stray_told{false};    // that it still tried to reach memory after its VM's end
    std::atomic<bool> unmapped_told{false}; // that it sends events that its VM has not mapped
    // Against storms of messages.
    std::atomic<u32> burst{0};
    std::atomic<u64> burst_began{0};
    std::atomic<u32> held_back[lpis_per_device / 32] = {}; // a bit for each LPI that is masked for a while
    u64 storms = 0;

    u8 devfn() const { return static_cast<u8>(slot << 3); } // on the VM's bus
};

/// The last fault that was told, and how many like it came since.
struct FaultRun {
    smmu::FaultRecord record{};
    bool any = false;
    bool told = false; // else the VM's share of the log was used up
    u64 repeats = 0;
};

/// What the host's device tree says about RequesterIDs and INTx lines, as functions because el2 does not know boot.
struct PciRoutes {
    const void* context = nullptr;
    Result<StreamId> (*stream)(const void* context, u32 rid) = nullptr;
    Result<u32> (*device_id)(const void* context, u32 rid) = nullptr;
    u32 (*intx)(const void* context, unsigned device, unsigned pin) = nullptr; // pin 1: INTA; 0: no interrupt
};

struct Passthrough {
    smmu::Smmu smmu{};
    vgic::Its its{};
    std::string_view no_direct =
        "this machine has no usable ITS"; // why LPIs cannot be injected directly; empty: they can
    vgic::VpeHome vpe_homes[max_pcpus]{};
    pci::Topology topology{};
    pci::BridgeGroup bridges{};
    PciRoutes routes{};
    pci::MmioSeam mmio{};
    /// Empty: functions can be assigned. Else the sentence that says why not.
    FixedString<119> unusable{};
    unsigned device_count = 0;
    AssignedDevice devices[max_assigned_devices]{}; // the index is the LPI block's
    AssignedDevice* on_line[1020]{}; // by the host's INTID: who is first on that line; all of one VM
    FaultRun last_fault{};
    ReportBudget strays{};                // lines about accesses of devices that have no VM at the time
    u64 overflow_told_at = 0;             // counter ticks; 0: never
    std::atomic<bool> faults_left{false}; // events wait that no interrupt will tell
    std::atomic<u64> let_go_at{~u64{0}};  // when held-back messages are let through again, in counter ticks
};

/// Makes the VM's host bridge with its functions: at build time, before any VM runs, once the vCPUs have their CPUs. The
/// manifest has been checked against find_assignable(). Errors: no_memory; whatever the ITS says.
Status assign_devices(World& world, Vm& vm, pci::VirtualBridge& bridge);

/// Its events at the host's ITS, once and for good. A part of assigning it.
Status map_messages(World& world, Vm& vm, AssignedDevice& device);
/// The VM, which has devices, has an ITS: what that maps is noted for them.
void listen_to_its(Vm& vm);

/// What a manifest may name. `why`: empty when it may.
struct Assignable {
    const pci::Function* function = nullptr;
    StreamId stream{};
    u32 device_id = 0;
    u32 intx = 0;       // the host's INTID, 0: none
    u32 group = 0;      // functions that are not isolated from each other,
    u32 group_size = 1; // as many
    std::string_view why{};
};
Assignable find_assignable(const Passthrough& all, const PciAddress& address);
/// Switches on virtual functions 0 to `count` - 1 of a PF, or all that it has if these are fewer, for find_assignable() to
/// find; waits until they are there, up to ResetJob::vf_enable_us and SriovJob::ready_us. What goes wrong is a line in the
/// log. Boot CPU, before any VM is built; once for each PF.
void enable_vfs(World& world, const PciAddress& pf, unsigned count);
/// What pci/ measures its waits with.
pci::Clock device_clock(World& world);

/// Goes on with the resets of the VM's devices. False: look again at Vm::job_not_before.
bool devices_are_reset(Vm& vm);
/// Housekeeping: goes on with resets that guests have asked for, so that those who have VFs of a function in reset get them
/// back whether or not its guest looks. Boot CPU.
void care_for_resets(World& world);
/// The devices are reset, RAM is mapped: from now on they reach it. Errors: whatever the SMMU says; all are
/// disconnected then.
Status connect_devices(Vm& vm);
/// On return no device of the VM reaches memory or signals, and their resets have begun. No vCPU of it runs.
void disconnect_devices(Vm& vm);

/// An LPI was acknowledged and its priority dropped: a message, or the doorbell of one that was injected directly for a vCPU
/// that is not loaded. A device that sends more than `burst_limit` in `burst_ms` has that
/// message masked for as long: it stays pending at the redistributor, so none is lost, and others get the pCPU.
/// `loaded`: who need not be kicked, for its work is looked at before it runs on; nullptr: nobody.
void on_lpi(World& world, u32 lpi, const Vcpu* loaded = nullptr);
constexpr u32 burst_limit = 1000;
constexpr u64 burst_ms = 10;
/// Housekeeping, when Passthrough::let_go_at has come. Boot CPU.
void let_messages_go(World& world);
/// An SPI that EL2 does not know otherwise. False: nobody's; it is to be deactivated. True: the guest's deactivation
/// will do it.
bool on_host_line(World& world, Intid spi, const Vcpu* loaded = nullptr);
/// The SMMU's event interrupt, or housekeeping for what one call left. Boot CPU. A device that nobody has at the time is
/// told once and then silenced at the SMMU, until a VM has had it again.
void on_smmu_event(World& world);
void on_smmu_error(World& world);

/// A guest's access to its PCI windows: configuration space, or memory where no BAR is mapped. False: not there.
bool pci_read(Vm& vm, VcpuIndex vcpu, Ipa ipa, unsigned size, u64& value);
bool pci_write(Vm& vm, VcpuIndex vcpu, Ipa ipa, unsigned size, u64 value);

} // namespace atl::el2
