// SPDX-License-Identifier: Apache-2.0
// The host bridge and all that is behind it: finding, numbering, sizing and placing, once, on the boot CPU.
// Owns the Topology's contents and the registers of every bridge; a function's own registers pass to whoever
// it is assigned to. Does not own the device tree, stage 2, or the SMMU. No lock: constant after boot, except
// that SriovJob appends. Spec: [PCI 3.0 §6.2.5] BARs; [PCI-to-PCI Bridge 1.2 §3.2.5]; [PCIe Base, ACS].
#pragma once
#include "lib/result.hpp"
#include "pci/function.hpp"

namespace atl::pci {

// Limits. Each excess is a Problem, and the rest goes on.
constexpr unsigned max_functions = 64; // bridges and VFs included
constexpr unsigned max_bridges = 32;
constexpr unsigned max_bridge_depth = 8;
constexpr unsigned max_vfs_per_function = 16;
constexpr unsigned max_problems = 32;

/// A window of the host bridge: what the CPU addresses at `cpu` is `bus` on the bus. size 0: there is none.
struct Window {
    Pa cpu{};
    u64 bus = 0;
    u64 size = 0;
};

/// What the device tree says of the host bridge (pci-host-ecam-generic).
struct HostBridge {
    u16 segment = 0;
    Range<Pa> ecam{}; // its first page is first_bus, device 0, function 0
    u8 first_bus = 0;
    u8 last_bus = 0;
    Window mem32{}; // below 4 GiB on the bus
    Window mem64{}; // may be absent
    Window io{};    // known, never opened: no function is given I/O space
};

enum class ProblemKind : u8 {
    too_many_functions,
    too_many_bridges,
    too_deep,
    out_of_buses,
    unknown_header,
    not_ready,
    bad_bar,
    bad_capability_list,
    too_many_capabilities,
    bad_msix,
    bad_sriov,
    bar_does_not_fit,
    window_does_not_fit,
    vf_bar_does_not_fit,
    bar_not_held,
};

/// Something that was refused while the bus was brought up, as a value.
struct Problem {
    ProblemKind kind{};
    Bdf bdf{};
    u8 bar = 0;    // where the kind is about one
    u64 value = 0; // the size, offset or register that was wrong
};

/// The memory that the bridge at functions[function] forwards. Index 0: below 4 GiB; 1: prefetchable, 64-bit.
struct BridgeWindows {
    u16 function = Function::none;
    bool has_high = false;
    bool placed[2] = {};
    u64 size[2] = {};
    u64 align[2] = {};
    u64 base[2] = {};
};

struct Topology {
    HostBridge host{};
    StaticVector<Function, max_functions> functions{};
    StaticVector<BridgeWindows, max_bridges> bridges{}; // parents before their children
    StaticVector<Problem, max_problems> problems{};
    u32 problems_dropped = 0;

    void note(const Problem& problem) {
        if (!problems.push_back(problem)) {
            ++problems_dropped;
        }
    }
    Config config_of(Bdf bdf) const {
        const u64 index = bdf.value - (u64{host.first_bus} << 8);
        return {host.ecam.base + index * reg::config_size};
    }
    const Function* find(Bdf bdf) const {
        for (const Function& function : functions) {
            if (function.bdf == bdf) {
                return &function;
            }
        }
        return nullptr;
    }
    Function* find(Bdf bdf) { return const_cast<Function*>(std::as_const(*this).find(bdf)); }
};

/// Finds every function, numbers the buses afresh, sizes all BARs with decoding off, and leaves everything
/// quiet: no bus mastering, no decoding, no interrupt, ROMs off, no ATS. `topology` holds `host` from then
/// on. invalid_argument: the host bridge's values contradict each other. Whatever else is wrong is a Problem.
Status enumerate(Topology& topology, const HostBridge& host);

/// Places every memory BAR in pages of its own, the largest first, and programs the bridges' windows around
/// what is behind them. After it a function either has all of its memory BARs or the verdict no_space.
void assign(Topology& topology);

/// True when a device behind `a` could reach `b` (or take its name) without the SMMU seeing it: one slot's
/// functions, and all that is below a port without ACS. They go to one VM together or not at all. VFs of one
/// PF are apart.
bool share_isolation(const Function& a, const Function& b);

const char* to_string(ProblemKind kind);
/// One sentence.
void print(const TextSink& sink, const Problem& problem);

} // namespace atl::pci
