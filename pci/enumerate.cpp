// SPDX-License-Identifier: Apache-2.0
// Finds the functions, bus by bus, and numbers the buses depth first, so that what is behind a bridge is one
// range. Owns the bridges' bus number registers. No lock: boot CPU only.
// Spec: [PCI 3.0 §3.2.2.3, §6.1]; [PCI-to-PCI Bridge 1.2 §3.2.5 bus numbers, §9.1 INTx]; [PCIe Base, ACS].
#include "pci/describe.hpp"

namespace atl::pci {
namespace {

using namespace reg;
constexpr unsigned devices_per_bus = 32;
constexpr unsigned functions_per_device = 8;
constexpr u64 bytes_per_bus = u64{devices_per_bus} * functions_per_device * config_size;

class Scanner {
  public:
    explicit Scanner(Topology& topology) : t_(topology), last_bus_(topology.host.first_bus) {}

    /// `parent`: index of the bridge, Function::none for the root bus.
    void visit(u8 bus, u16 parent, unsigned depth) {
        const std::size_t first = t_.functions.size();
        const PcieType above = parent == Function::none ? PcieType::none : t_.functions[parent].pcie_type;
        // A PCI Express link has one device, and a careless one answers to every device number.
        const bool link = above == PcieType::root_port || above == PcieType::downstream_port;
        for (unsigned device = 0; device < (link ? 1 : devices_per_bus); ++device) {
            scan_device(bus, device, parent);
        }
        const std::size_t end = t_.functions.size();
        for (std::size_t i = first; i < end; ++i) {
            reserve_vf_buses(t_.functions[i]);
        }
        for (std::size_t i = first; i < end; ++i) {
            if (t_.functions[i].is_bridge && t_.functions[i].verdict == Verdict::is_bridge) {
                descend(static_cast<u16>(i), depth);
            }
        }
    }

  private:
    void scan_device(u8 bus, unsigned device, u16 parent) {
        const unsigned count = probe(Bdf::of(bus, device, 0), parent) ? functions_per_device : 1;
        for (unsigned function = 1; function < count; ++function) {
            (void)probe(Bdf::of(bus, device, function), parent);
        }
    }

    /// True when it is there and says that its device has more functions.
    bool probe(Bdf bdf, u16 parent) {
        const Config config = t_.config_of(bdf);
        const u16 vendor = config.read16(vendor_id);
        if (vendor == no_vendor || vendor == 0) {
            return false;
        }
        if (vendor == retry_vendor) {
            t_.note({ProblemKind::not_ready, bdf, 0, 0});
            return false;
        }
        const u8 type = config.read8(header_type);
        if (HeaderLayout::get(type) == 1) {
            // Closed until its turn: whatever numbers firmware gave, no two bridges claim one bus meanwhile.
            config.write32(bus_numbers, 0);
        }
        if (!t_.functions.push_back(Function{})) {
            quiesce(config);
            t_.note({ProblemKind::too_many_functions, bdf, 0, max_functions});
            return HeaderMultiFunction::test(type);
        }
        Function& f = t_.functions.back();
        f.bdf = bdf;
        f.config = config;
        f.parent = parent;
        describe(t_, f);
        set_root_pin(f);
        return f.multi_function;
    }

    /// INTx is rotated by the device number at each bridge on its way up.
    void set_root_pin(Function& f) const {
        unsigned device = f.bdf.device();
        unsigned pin = f.interrupt_pin;
        for (u16 up = f.parent; up != Function::none; up = t_.functions[up].parent) {
            pin = pin == 0 ? 0 : (pin - 1 + device) % 4 + 1;
            device = t_.functions[up].bdf.device();
        }
        f.root_device = static_cast<u8>(device);
        f.root_pin = static_cast<u8>(pin);
    }

    /// VFs may lie on bus numbers beyond their PF's, which must then lead to the same place.
    void reserve_vf_buses(Function& f) {
        if (f.sriov.offset == 0) {
            return;
        }
        const u32 last_vf = f.bdf.value + f.sriov.distance(f.sriov.total_vfs - 1u);
        const unsigned bus = last_vf >> 8;
        if (bus > t_.host.last_bus) {
            t_.note({ProblemKind::out_of_buses, f.bdf, 0, bus});
            f.sriov = SriovInfo{};
            return;
        }
        last_bus_ = bus > last_bus_ ? bus : last_bus_;
    }

    void descend(u16 index, unsigned depth) {
        Function& f = t_.functions[index];
        if (depth == max_bridge_depth) {
            return refuse(f, ProblemKind::too_deep, depth);
        }
        if (last_bus_ >= t_.host.last_bus) {
            return refuse(f, ProblemKind::out_of_buses, t_.host.last_bus);
        }
        if (!t_.bridges.push_back({index})) {
            return refuse(f, ProblemKind::too_many_bridges, max_bridges);
        }
        f.secondary_bus = static_cast<u8>(++last_bus_);
        set_buses(f, t_.host.last_bus); // open upwards while its subordinates are counted
        visit(f.secondary_bus, index, depth + 1);
        f.subordinate_bus = static_cast<u8>(last_bus_);
        set_buses(f, f.subordinate_bus);
    }

    void refuse(Function& f, ProblemKind kind, u64 value) {
        f.verdict = Verdict::malformed; // stays closed
        t_.note({kind, f.bdf, 0, value});
    }

    static void set_buses(const Function& f, u8 subordinate) {
        // The secondary latency timer, bits 31:24, is nothing to PCI Express.
        f.config.write32(bus_numbers, f.bdf.bus() | u32{f.secondary_bus} << 8 | u32{subordinate} << 16);
        (void)f.config.read32(bus_numbers); // settled: the next access is routed by it
    }

    Topology& t_;
    unsigned last_bus_;
};

/// True when some downstream port beside `port` lets its peers' requests through.
bool switch_is_open(const Topology& t, const Function& port) {
    for (const Function& f : t.functions) {
        if (f.pcie_type == PcieType::downstream_port && f.parent == port.parent && !f.acs) {
            return true;
        }
    }
    return false;
}

void set_group(const Topology& t, Function& f, u16 self) {
    f.group = self;
    for (u16 i = 0; i < self; ++i) {
        const Function& other = t.functions[i];
        if (other.bdf.value >> 3 == f.bdf.value >> 3) {
            f.group = i;
            break;
        }
    }
    for (u16 up = f.parent; up != Function::none; up = t.functions[up].parent) {
        const Function& bridge = t.functions[up];
        if (bridge.pcie_type == PcieType::root_port && !bridge.acs) {
            f.group = up;
        } else if (bridge.pcie_type == PcieType::downstream_port && switch_is_open(t, bridge)) {
            f.group = bridge.parent != Function::none ? bridge.parent : up;
        } else if (bridge.pcie_type == PcieType::none || bridge.pcie_type == PcieType::pcie_to_pci) {
            f.group = up;
            if (f.verdict == Verdict::assignable) {
                f.verdict = Verdict::behind_conventional;
            }
        }
    }
}

bool valid_window(const Window& window, u64 end_limit) {
    const u64 most = u64{1} << 48;
    return window.size == 0 ||
           (window.size <= most && window.bus <= most && window.cpu.value <= most &&
            window.cpu.is_aligned(page_size) && ((window.bus | window.size) & (page_size - 1)) == 0 &&
            window.bus + window.size <= end_limit);
}

} // namespace

Status enumerate(Topology& topology, const HostBridge& host) {
    const u64 buses = u64{host.last_bus} - host.first_bus + 1;
    if (host.first_bus > host.last_bus || !host.ecam.base.is_aligned(page_size) ||
        host.ecam.size < buses * bytes_per_bus || host.ecam.base.value > u64{1} << 48 ||
        !valid_window(host.mem32, u64{1} << 32) || !valid_window(host.mem64, ~u64{0})) {
        return Error::invalid_argument;
    }
    topology.functions.clear();
    topology.bridges.clear();
    topology.problems.clear();
    topology.problems_dropped = 0;
    topology.host = host;
    Scanner(topology).visit(host.first_bus, Function::none, 0);
    for (std::size_t i = 0; i < topology.functions.size(); ++i) {
        set_group(topology, topology.functions[i], static_cast<u16>(i));
    }
    return {};
}

bool share_isolation(const Function& a, const Function& b) {
    return a.group == b.group;
}

} // namespace atl::pci
