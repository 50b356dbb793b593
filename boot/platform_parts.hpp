// SPDX-License-Identifier: Apache-2.0
// Owns: what the parts of the platform reader share (platform.cpp: order of work, memory, CPUs, chosen;
// platform_devices.cpp: interrupt controller, timer, PSCI, UART, RTC, SMMU; platform_pci.cpp). Not for anyone else.
// Lock: none.
#pragma once
#include "boot/platform.hpp"

namespace atl::boot {

struct PlatformReader {
    const FdtView& tree;
    Mpidr boot_cpu;
    Platform& out;
    Diagnostics& diagnostics;
    u32 gic_phandle = 0;
    unsigned gic_cells = 3;
    unsigned gic_address_cells = 0; // of its #address-cells: what interrupt-map entries carry
    FdtNode stdout_node{};
    bool failed = false;

    template <class... Args>
    void refuse(FdtNode node, std::string_view property, std::string_view reason, const Args&... args) {
        failed = true;
        diagnostics.say(Severity::refusal, tree, node, property, reason, args...);
    }
    template <class... Args>
    void warn(FdtNode node, std::string_view property, std::string_view reason, const Args&... args) {
        diagnostics.say(Severity::warning, tree, node, property, reason, args...);
    }
};

/// Interrupt controller and ITS: must be known before any `interrupts` can be read.
void read_interrupt_controller(PlatformReader& reader, const FdtWalk& walk);
/// Everything else that is found by `compatible`.
void read_device(PlatformReader& reader, const FdtWalk& walk);
/// A pci-host-ecam-generic node. The first one is used.
void read_pci(PlatformReader& reader, const FdtWalk& walk);

/// A three-cell GIC specifier -> INTID; 0 when it names none.
u32 intid_of(u32 type, u32 number);
/// Register frame `index`, of at least `least` bytes and mapped below host_pa_limit; an empty range and a sentence if not.
Range<Pa> frame(PlatformReader& reader, const FdtWalk& walk, std::size_t index, u64 least);

} // namespace atl::boot
