// SPDX-License-Identifier: Apache-2.0
// One function's header, BARs and capability list, all of them hostile input: every walk has an end and every
// number is checked before use. Owns nothing. No lock: boot CPU only.
// Spec: [PCI 3.0 §6.1 header, §6.2.5.1 BARs, §6.7 capability list, §6.8 MSI]; [PCIe Base §7].
#include "pci/describe.hpp"

namespace atl::pci {
namespace {

using namespace reg;

/// A run of ones from the lowest one upwards: what a BAR's address bits may be. The top may be hard-wired to
/// zero; assign() reads back what it wrote.
bool one_run(u64 mask) {
    const u64 lowest = mask & (~mask + 1);
    return mask != 0 && (mask & (mask + lowest)) == 0;
}

/// The register's writable bits. Decoding is off; 0 is left in it.
u32 probe(const Config& config, u32 offset) {
    config.write32(offset, ~u32{0});
    const u32 mask = config.read32(offset);
    config.write32(offset, 0);
    return mask;
}

void read_header(Function& f) {
    const Config& config = f.config;
    const u32 ids = config.read32(vendor_id);
    f.vendor = static_cast<u16>(ids);
    f.device = static_cast<u16>(ids >> 16);
    f.revision_class = config.read32(revision_class);
    const u8 type = config.read8(header_type);
    f.multi_function = HeaderMultiFunction::test(type);
    f.is_bridge = HeaderLayout::get(type) == 1;
    const u8 pin = config.read8(interrupt_pin);
    f.interrupt_pin = pin <= 4 ? pin : u8{0};
    if (!f.is_bridge) {
        f.subsystem_vendor = config.read16(subsystem_vendor_id);
        f.subsystem = config.read16(subsystem_id);
    }
}

bool is_virtio(const Function& f) {
    return f.vendor == virtio::vendor && f.device >= virtio::first_device && f.device <= virtio::last_device;
}

class CapabilityReader {
  public:
    CapabilityReader(Topology& topology, Function& function) : topology_(topology), f_(function) {}

    /// Bounded: each of the 48 dwords is visited once at most.
    void walk() {
        if ((f_.config.read16(status) & sts::capabilities) == 0) {
            return;
        }
        u64 visited = 0;
        u8 at = f_.config.read8(capabilities_pointer) & 0xfc;
        while (at != 0) {
            const u64 bit = u64{1} << (at / 4);
            const u8 id = at >= first_capability ? f_.config.read8(at) : u8{0xff};
            if ((visited & bit) != 0 || id == 0xff) {
                topology_.note({ProblemKind::bad_capability_list, f_.bdf, 0, at});
                return;
            }
            visited |= bit;
            take(id, at);
            at = f_.config.read8(at + 1u) & 0xfc;
        }
    }

  private:
    void take(u8 id, u8 at) {
        if (id != cap_vendor && f_.find(id) != 0) {
            return; // a second one of a kind is nobody's
        }
        switch (id) {
        case cap_power:
            if (add(id, at, pm::length)) {
                power(at);
            }
            break;
        case cap_msi:
            message(at);
            break;
        case cap_msix:
            if (add(id, at, msix::length)) {
                message_x(at);
            }
            break;
        case cap_pcie:
            if (add(id, at, pcie::length_v1)) {
                express(at);
            }
            break;
        case cap_vendor:
            vendor_specific(at);
            break;
        default:
            break; // not shown to guests, not needed by EL2
        }
    }

    bool add(u8 id, u8 at, u32 length, u8 virtio_type = 0) {
        if (at + length > conventional_size) {
            topology_.note({ProblemKind::bad_capability_list, f_.bdf, 0, at});
            return false;
        }
        if (!f_.capabilities.push_back({id, at, static_cast<u8>(length), virtio_type})) {
            topology_.note({ProblemKind::too_many_capabilities, f_.bdf, 0, at});
            return false;
        }
        return true;
    }

    void power(u8 at) {
        const u16 state = f_.config.read16(at + pm::pmcsr);
        f_.soft_reset = (state & pm::no_soft_reset) == 0;
        if ((state & pm::state) != 0) {
            // Configuration space works in D3hot, memory does not. The reset on assignment waits out the way
            // up.
            f_.config.write16(at + pm::pmcsr, 0);
        }
    }

    void message(u8 at) {
        const u16 control = f_.config.read16(at + msi::control);
        const bool is_64 = (control & msi::is_64) != 0;
        const bool maskable = (control & msi::maskable) != 0;
        const u64 log2 = msi::MultipleCapable::get(control);
        const u32 length = maskable ? (is_64 ? 0x18 : 0x14) : (is_64 ? 0xe : 0xa);
        if (log2 > 5 || !add(cap_msi, at, length)) {
            return;
        }
        f_.config.write16(at + msi::control, 0);
        f_.msi = {static_cast<u8>(1u << log2), is_64, maskable};
    }

    void message_x(u8 at) {
        f_.config.write16(at + msix::control, 0);
        const u32 entries = static_cast<u32>(msix::TableSize::get(f_.config.read16(at + msix::control))) + 1;
        const u32 table = f_.config.read32(at + msix::table);
        const u32 pba = f_.config.read32(at + msix::pba);
        const MsixInfo info{static_cast<u16>(entries), static_cast<u8>(table & 7), static_cast<u8>(pba & 7),
                            table & ~u32{7}, pba & ~u32{7}};
        if (!inside(info.table_bar, info.table_offset, u64{entries} * msix::entry_size) ||
            !inside(info.pba_bar, info.pba_offset, (u64{entries} + 63) / 64 * 8)) {
            topology_.note({ProblemKind::bad_msix, f_.bdf, info.table_bar, table});
            return; // entries stays 0: nobody is shown it
        }
        f_.msix = info;
    }

    bool inside(u8 bar, u64 offset, u64 length) const {
        return bar < f_.bar_count() && f_.bars[bar].is_memory() &&
               Range<Pa>{Pa{0}, f_.bars[bar].size}.contains(Pa{offset}, length);
    }

    void express(u8 at) {
        const u64 type = pcie::Type::get(f_.config.read16(at + pcie::flags));
        const bool known = type <= 1 || (type >= 4 && type <= 10);
        f_.pcie_type = known ? static_cast<PcieType>(type) : PcieType::endpoint;
        f_.flr = (f_.config.read32(at + pcie::device_capabilities) & pcie::flr_capable) != 0;
        f_.device_control =
            f_.config.read16(at + pcie::device_control) & static_cast<u16>(~pcie::initiate_flr);
    }

    void vendor_specific(u8 at) {
        if (!f_.virtio.is_virtio) {
            return;
        }
        const u8 length = f_.config.read8(at + virtio::cap_length);
        const u8 type = f_.config.read8(at + virtio::config_type);
        if (length < virtio::least_length || type == 0 || type > virtio::last_shown_type ||
            !add(cap_vendor, at, length, type) || type != virtio::type_common || f_.virtio.has_common) {
            return;
        }
        f_.virtio.common_bar = f_.config.read8(at + virtio::cap_bar);
        f_.virtio.common_offset = f_.config.read32(at + virtio::cap_offset);
        const u32 size = f_.config.read32(at + virtio::cap_size);
        f_.virtio.has_common = size >= virtio::common_length && (f_.virtio.common_offset & 3) == 0 &&
                               inside(f_.virtio.common_bar, f_.virtio.common_offset, size);
    }

    Topology& topology_;
    Function& f_;
};

bool is_placed(const Bar& bar) {
    return bar.is_memory() && bar.assigned;
}

bool holds(const Config& config, u32 at, const Bar& bar) {
    return (config.read32(at) & ~bar::memory_flags) == static_cast<u32>(bar.bus_address) &&
           (bar.kind != BarKind::mem64 || config.read32(at + 4) == static_cast<u32>(bar.bus_address >> 32));
}

void put(const Config& config, u32 at, const Bar& bar) {
    config.write32(at, static_cast<u32>(bar.bus_address));
    if (bar.kind == BarKind::mem64) {
        config.write32(at + 4, static_cast<u32>(bar.bus_address >> 32));
    }
}

} // namespace

void quiesce(const Config& config) {
    config.write16_settled(command, cmd::interrupt_disable);
}

void silence(const Config& config) {
    config.write16_settled(command, cmd::interrupt_disable | (config.read16(command) & cmd::memory_space));
}

bool size_bars(const Config& config, u32 first, unsigned count, Bar* bars, u8& bad) {
    bool good = true;
    for (unsigned i = 0; i < count; ++i) {
        Bar& bar = bars[i];
        bar = {};
        const u32 low = probe(config, first + 4 * i);
        if (low == 0) {
            continue;
        }
        u64 mask = low & ~bar::memory_flags;
        if ((low & bar::is_io) != 0) {
            bar.kind = BarKind::io;
            mask = low & ~bar::io_flags;
        } else if (bar::Type::get(low) == bar::type_64 && i + 1 < count) {
            bar.kind = BarKind::mem64;
            mask |= u64{probe(config, first + 4 * (i + 1))} << 32;
        } else if (bar::Type::get(low) == bar::type_32) {
            bar.kind = BarKind::mem32;
        }
        if (bar.kind == BarKind::none || !one_run(mask)) {
            bar = {};
            bad = static_cast<u8>(i);
            good = false;
            continue;
        }
        bar.prefetchable = bar.is_memory() && (low & bar::prefetchable) != 0;
        bar.size = mask & (~mask + 1);
        if (bar.kind == BarKind::mem64) {
            bars[++i] = {};
            bars[i].kind = BarKind::upper_half;
        }
    }
    return good;
}

bool has_bars(const Config& config, u32 first, std::span<const Bar> bars) {
    for (unsigned i = 0; i < bars.size(); ++i) {
        if (is_placed(bars[i]) && !holds(config, first + 4 * i, bars[i])) {
            return false;
        }
    }
    return true;
}

bool put_bars(const Config& config, u32 first, std::span<const Bar> bars) {
    for (unsigned i = 0; i < bars.size(); ++i) {
        if (is_placed(bars[i])) {
            put(config, first + 4 * i, bars[i]);
        }
    }
    return has_bars(config, first, bars);
}

void describe(Topology& topology, Function& function) {
    quiesce(function.config);
    const u8 layout = static_cast<u8>(HeaderLayout::get(function.config.read8(header_type)));
    read_header(function);
    if (layout > 1) {
        topology.note({ProblemKind::unknown_header, function.bdf, 0, layout});
        function.verdict = Verdict::malformed;
        return;
    }
    // A host bridge has a type 0 header; its class tells.
    const bool bridge_class = function.revision_class >> 24 == class_bridge;
    function.verdict = function.is_bridge || bridge_class ? Verdict::is_bridge : Verdict::assignable;
    function.config.write32(function.is_bridge ? rom1 : rom0, 0);
    function.virtio.is_virtio = is_virtio(function);
    u8 bad = 0;
    if (!size_bars(function.config, bar0, function.bar_count(), function.bars.data(), bad)) {
        topology.note({ProblemKind::bad_bar, function.bdf, bad, 0});
        function.verdict = Verdict::malformed;
    }
    CapabilityReader(topology, function).walk();
    if (function.find(cap_pcie) != 0) {
        describe_extended(topology, function);
    }
}

void describe_vf(Topology& topology, Function& vf) {
    const Function& pf = *vf.pf;
    const unsigned number =
        (vf.bdf.value - pf.bdf.value - pf.sriov.first_offset) / (pf.sriov.stride != 0 ? pf.sriov.stride : 1u);
    quiesce(vf.config);
    // Ids read as all ones in a VF, its BARs as zero, and it has no INTx [SR-IOV §3.4.1].
    vf.vendor = pf.vendor;
    vf.device = pf.sriov.device_id;
    vf.virtio.is_virtio = is_virtio(vf);
    vf.subsystem_vendor = pf.subsystem_vendor;
    vf.subsystem = vf.config.read16(subsystem_id);
    vf.revision_class = vf.config.read32(revision_class);
    for (unsigned i = 0; i < type0_bars; ++i) {
        vf.bars[i] = pf.sriov.bars[i];
        if (vf.bars[i].is_memory()) {
            vf.bars[i].bus_address += number * vf.bars[i].size;
            vf.bars[i].pa += number * vf.bars[i].size;
        }
    }
    // Its stream is its own; what is above it is what is above its PF.
    const bool open_port = topology.functions[pf.group].is_bridge;
    vf.group = open_port ? pf.group : static_cast<u16>(topology.functions.size());
    CapabilityReader(topology, vf).walk();
    if (pf.verdict == Verdict::behind_conventional) {
        vf.verdict = Verdict::behind_conventional;
    } else if (!vf.flr) {
        vf.verdict = Verdict::malformed; // every VF has it [PCIe Base, SR-IOV, VF Function Level Reset]
    }
}

} // namespace atl::pci
