// SPDX-License-Identifier: Apache-2.0
// One virtual machine: what it is made of. Owns its address space, interrupt controller, devices and vCPUs.
// Locks: `space` and `gic` bring their own; `state` changes under World::lifecycle_lock; the rest is constant
// while the VM runs.
#pragma once
#include <array>
#include <atomic>

#include "el2/idregs.hpp"
#include "el2/page_pool.hpp"
#include "el2/report_budget.hpp"
#include "el2/vcpu.hpp"
#include "el2/vm_config.hpp"
#include "mmio_emul/bus.hpp"
#include "mmio_emul/pl011.hpp"
#include "mmio_emul/pl031.hpp"
#include "stage2/address_space.hpp"
#include "vgic/virtual_gic.hpp"
#include "vtimer/run_clock.hpp"

namespace atl::pci {
class VirtualBridge;
}

namespace atl::el2 {

struct VmIts;
struct World;

/// Transitions, all under World::lifecycle_lock [el2/lifecycle.cpp]:
///   absent -> loading          create(): RAM allocated and mapped
///   loading -> running         the load job is done; vCPU 0 starts
///   running -> stopping        SYSTEM_OFF, SYSTEM_RESET, crash, monitor
///   stopping -> loading        the last vCPU has left, and a restart was asked for
///   stopping -> tearing_down   the last vCPU has left, and it stays off
///   loading -> tearing_down    it cannot be loaded
///   tearing_down -> absent     RAM is scrubbed and given back
enum class VmState : u8 { absent, loading, running, stopping, tearing_down };

/// What happens once every vCPU has left.
enum class AfterStop : u8 { off, restart };

struct RamRun {
    Ipa ipa{};
    PageRun pages{};
};

struct LastVcpu { // which vCPU of this VM ran last on a pCPU: its private TLB entries may still be there
    Vcpu* vcpu = nullptr;
};

struct Vm {
    const VmConfig* config = nullptr;
    World* world = nullptr;
    VmId id{};
    unsigned vcpu_count = 0;
    std::atomic<u32> short_sgis{
        0};             // vCPUs that an SGI has a short way to: all, or none while an INTID is watched
    u64 gicr_bytes = 0; // of all redistributors; 0 with a GICv2
    Vcpu* vcpus[max_vcpus_per_vm] = {};
    u64 cntvoff = 0;       // of CNTVOFF_EL2 while a vCPU is loaded
    bool run_time = false; // clock = "run" [el2/vm_time.hpp]
    vtimer::RunClock run_clock{};
    SpinLock clock_lock{LockRank::vm_clock};
    IdRegisters id_registers{};
    vgic::VirtualGic gic{};
    stage2::AddressSpace space{};
    Vmid vmid{};
    mmio_emul::Bus bus{};
    mmio_emul::Pl011 uart{};
    mmio_emul::Pl031 rtc{};
    VmIts* its = nullptr;                 // of a VM with an emulated ITS [el2/its.hpp]
    pci::VirtualBridge* bridge = nullptr; // of a VM with passthrough devices [el2/passthrough.hpp]
    LastVcpu last_on[max_pcpus]{};
    Pa time_page{}; // of stolen-time records
    bool has_time_page = false;
    Pa scratch{}; // stands in for revoked memory at EL1, allocated on first use
    bool has_scratch = false;

    VmState state = VmState::absent;
    AfterStop after_stop = AfterStop::off;
    u32 vcpus_left = 0; // vCPUs that have not left yet, while stopping
    bool crashed = false;
    bool rebooting = false;
    bool incomplete =
        false; // a block of RAM is not mapped although its pages are the VM's: it cannot boot again
    bool patched = false; // some RAM pages are not those of `runs` any more: others kept the originals
    bool dma = false;     // has passthrough devices, which walk `space` too; set before the first share
    u32 boots = 0;
    Vm* next_job = nullptr; // on a pCPU's job list
    u32 job_stage = 0;
    u64 job_position = 0;
    u64 job_not_before = 0; // counter ticks: the job waits for a device until then

    static constexpr unsigned max_runs = 512;
    unsigned run_count = 0;
    RamRun runs[max_runs] = {};

    ReportBudget reports{}; // lines about this VM's mistakes
    u64 undefined_injected = 0;
    u64 aborts_injected = 0;

    std::string_view name() const { return config->name.view(); }
};

} // namespace atl::el2
