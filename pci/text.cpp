// SPDX-License-Identifier: Apache-2.0
// Functions and problems as lines for people. Pure, owns nothing. No lock.
#include "pci/bridge.hpp"

namespace atl::pci {
namespace {

/// 4 or 6 hexadecimal digits without 0x, as lspci prints ids and classes.
template <unsigned digits>
struct Hex {
    explicit constexpr Hex(u32 value) {
        for (unsigned i = digits; i-- > 0; value >>= 4) {
            chars[i] = "0123456789abcdef"[value & 15];
        }
    }
    constexpr std::string_view view() const { return {chars, digits}; }
    char chars[digits] = {};
};

void print_size(const TextSink& sink, u64 bytes) {
    if (bytes >= gib && bytes % gib == 0) {
        format_to(sink, "{} GiB", bytes / gib);
    } else if (bytes >= mib && bytes % mib == 0) {
        format_to(sink, "{} MiB", bytes / mib);
    } else if (bytes >= kib && bytes % kib == 0) {
        format_to(sink, "{} KiB", bytes / kib);
    } else {
        format_to(sink, "{} bytes", bytes);
    }
}

void print_bars(const TextSink& sink, const char* name, const Bar* bars) {
    for (unsigned i = 0; i < reg::type0_bars; ++i) {
        const Bar& bar = bars[i];
        if (bar.kind == BarKind::none || bar.kind == BarKind::upper_half) {
            continue;
        }
        format_to(sink, ", {}{} ", name, i);
        print_size(sink, bar.size);
        if (bar.kind == BarKind::io) {
            sink.put(" of I/O, unused");
        } else if (!bar.assigned) {
            sink.put(" not placed");
        } else {
            format_to(sink, " at {}{}{}", bar.pa, bar.kind == BarKind::mem64 ? " 64-bit" : "",
                      bar.prefetchable ? " prefetchable" : "");
        }
    }
}

/// What ResetJob will do.
const char* reset_of(const Function& f) {
    if (f.flr) {
        return ", FLR";
    }
    if (f.virtio.has_common) {
        return ", virtio reset";
    }
    return f.find(reg::cap_power) != 0 && f.soft_reset ? ", D3 reset" : ", no reset";
}

} // namespace

void print(const TextSink& sink, const Function& f) {
    format_to(sink, "{} {}:{} class {}", BdfText(f.bdf).view(), Hex<4>(f.vendor).view(),
              Hex<4>(f.device).view(), Hex<6>(f.revision_class >> 8).view());
    if (f.is_bridge) {
        format_to(sink, ", bridge to buses {} to {}{}", f.secondary_bus, f.subordinate_bus,
                  f.acs ? ", ACS" : "");
    }
    if (f.is_vf()) {
        sink.put(", VF");
    }
    print_bars(sink, "BAR", f.bars.data());
    if (f.msix.entries != 0) {
        format_to(sink, ", MSI-X {} in BAR{}+{:x}", f.msix.entries, f.msix.table_bar, f.msix.table_offset);
    }
    if (f.msi.vectors != 0) {
        format_to(sink, ", MSI {}", f.msi.vectors);
    }
    if (f.interrupt_pin != 0) {
        format_to(sink, ", INT{}", "ABCD"[f.interrupt_pin - 1]);
    }
    if (!f.is_bridge) {
        sink.put(reset_of(f));
    }
    if (f.sriov.offset != 0) {
        format_to(sink, ", SR-IOV {} VFs", f.sriov.total_vfs);
        print_bars(sink, "VF BAR", f.sriov.bars.data());
    }
    if (f.verdict != Verdict::assignable && f.verdict != Verdict::is_bridge) {
        format_to(sink, ": {}", to_string(f.verdict));
    }
}

const char* to_string(ProblemKind kind) {
    switch (kind) {
    case ProblemKind::too_many_functions:
        return "one function more than the table holds: left off";
    case ProblemKind::too_many_bridges:
        return "one bridge more than the table holds: nothing behind it is used";
    case ProblemKind::too_deep:
        return "too many bridges one behind the other: nothing behind it is used";
    case ProblemKind::out_of_buses:
        return "no bus number is left for what is behind it";
    case ProblemKind::unknown_header:
        return "header type is neither 0 nor 1";
    case ProblemKind::not_ready:
        return "not ready after power-on: left off";
    case ProblemKind::bad_bar:
        return "a BAR that is malformed";
    case ProblemKind::bad_capability_list:
        return "its capability list has a loop or leaves configuration space";
    case ProblemKind::too_many_capabilities:
        return "more capabilities than the table holds: the rest is hidden";
    case ProblemKind::bad_msix:
        return "its MSI-X table is not inside a memory BAR: MSI-X is hidden";
    case ProblemKind::bad_sriov:
        return "its SR-IOV capability is malformed: no VFs";
    case ProblemKind::bar_does_not_fit:
        return "a BAR finds no place in the host bridge's windows";
    case ProblemKind::window_does_not_fit:
        return "what is behind this bridge finds no place in the host bridge's windows";
    case ProblemKind::vf_bar_does_not_fit:
        return "its VFs' BARs find no place in the host bridge's windows: no VFs";
    case ProblemKind::bar_not_held:
        return "a BAR does not hold the address that was written to it";
    }
    return "?";
}

void print(const TextSink& sink, const Problem& problem) {
    format_to(sink, "{}: {} (BAR {}, value {:x})", BdfText(problem.bdf).view(), to_string(problem.kind),
              problem.bar, problem.value);
}

} // namespace atl::pci
