// SPDX-License-Identifier: Apache-2.0
// Gives every memory BAR pages of its own and programs the bridges around them. First from the leaves up: how
// much does each bridge forward; then from the root down: where. Both lay a bus out in the same order,
// largest alignment first, so that nothing but the last megabyte of a bridge's window is lost.
// Owns the BARs and the bridges' window registers. No lock: boot CPU only.
// Spec: [PCI 3.0 §6.2.5.1]; [PCI-to-PCI Bridge 1.2 §3.2.5.8 to §3.2.5.10]; [PCIe Base, SR-IOV VF BARs].
#include "pci/describe.hpp"

namespace atl::pci {
namespace {

using namespace reg;

enum Pool : unsigned { low, high }; // below 4 GiB on the bus; anywhere
// QEMU 10.0 decodes the low 32 bits only of a VF's 64-bit BARs; up to this size they cost little below 4 GiB.
constexpr u64 small_vf_aperture = 16 * mib;
constexpr u64 window_granule = mib; // of a bridge's memory windows

/// One thing that wants a place on a bus.
struct Item {
    static constexpr unsigned vf_bars = type0_bars;    // slots 6 to 11
    static constexpr unsigned window = 2 * type0_bars; // slot 12: what a bridge forwards

    u64 align = 0; // 0: no item
    u64 size = 0;
    u16 function = 0;
    u16 slot = 0;

    u32 number() const { return u32{function} * 16 + slot; }
    /// The order of placing.
    bool before(const Item& other) const {
        return align != other.align ? align > other.align : number() < other.number();
    }
};

u64 round_up(u64 value, u64 align) {
    return (value + align - 1) & ~(align - 1);
}

class Placer {
  public:
    explicit Placer(Topology& topology) : t_(topology) {}

    void run() {
        for (std::size_t i = 0; i < t_.functions.size(); ++i) {
            drop_impossible(static_cast<u16>(i));
        }
        for (BridgeWindows& bridge : t_.bridges) { // parents first
            const Function& f = t_.functions[bridge.function];
            bridge.has_high = forwards_high(f) && high_on(f.parent);
        }
        for (std::size_t i = t_.bridges.size(); i-- > 0;) { // children first
            measure(t_.bridges[i]);
        }
        const u64 low_end = t_.host.mem32.bus + t_.host.mem32.size;
        const u64 high_end = t_.host.mem64.bus + t_.host.mem64.size;
        place(Function::none, low, t_.host.mem32.bus, low_end);
        place(Function::none, high, t_.host.mem64.bus, high_end);
        for (const BridgeWindows& bridge : t_.bridges) {
            for (const Pool pool : {low, high}) {
                const u64 size = bridge.placed[pool] ? bridge.size[pool] : 0;
                place(bridge.function, pool, bridge.base[pool], bridge.base[pool] + size);
            }
        }
        for (const BridgeWindows& bridge : t_.bridges) {
            open(bridge);
        }
    }

  private:
    BridgeWindows* windows_of(u16 function) {
        for (BridgeWindows& bridge : t_.bridges) {
            if (bridge.function == function) {
                return &bridge;
            }
        }
        return nullptr;
    }

    /// Whether the bus behind `bridge` (none: the root bus) has a window above 4 GiB.
    bool high_on(u16 bridge) {
        if (bridge == Function::none) {
            return t_.host.mem64.size != 0;
        }
        const BridgeWindows* windows = windows_of(bridge);
        return windows != nullptr && windows->has_high;
    }

    /// A prefetchable window of 64 bits has 1 in the low bits of its base register.
    static bool forwards_high(const Function& f) { return (f.config.read16(prefetchable_base) & 0xf) == 1; }

    Pool pool_of(const Function& f, const Bar& bar) {
        // Behind a bridge only its prefetchable window reaches above 4 GiB.
        const bool wide = bar.kind == BarKind::mem64 && (f.parent == Function::none || bar.prefetchable);
        return wide && high_on(f.parent) ? high : low;
    }

    Pool vf_pool_of(const Function& f, const Bar& bar) {
        return bar.size * f.sriov.total_vfs <= small_vf_aperture ? low : pool_of(f, bar);
    }

    /// What could not be placed even alone must not take its neighbours' place away.
    void drop_impossible(u16 index) {
        Function& f = t_.functions[index];
        const u64 most = t_.host.mem32.size > t_.host.mem64.size ? t_.host.mem32.size : t_.host.mem64.size;
        for (unsigned i = 0; i < f.bar_count(); ++i) {
            if (f.bars[i].is_memory() && f.bars[i].size > most) {
                fail({f.bars[i].size, f.bars[i].size, index, static_cast<u16>(i)});
                return;
            }
        }
        for (unsigned i = 0; i < type0_bars; ++i) {
            const Bar& bar = f.sriov.bars[i];
            if (bar.is_memory() && bar.size > most / max_vfs_per_function) {
                fail({bar.size, bar.size, index, static_cast<u16>(i + Item::vf_bars)});
                return;
            }
        }
    }

    static bool wants_place(const Function& f) {
        return f.verdict != Verdict::malformed && f.verdict != Verdict::no_space;
    }

    /// The item that is placed after `last`; align 0 when that was the last one.
    Item next(u16 parent, Pool pool, const Item& last) {
        Item best{};
        const auto offer = [&](const Item& item) {
            if (item.size != 0 && last.before(item) && (best.align == 0 || item.before(best))) {
                best = item;
            }
        };
        for (std::size_t i = 0; i < t_.functions.size(); ++i) {
            const Function& f = t_.functions[i];
            if (f.parent != parent || f.is_vf() || !wants_place(f)) {
                continue;
            }
            const u16 index = static_cast<u16>(i);
            for (unsigned b = 0; b < f.bar_count(); ++b) {
                const Bar& bar = f.bars[b];
                if (bar.is_memory() && pool_of(f, bar) == pool) {
                    const u64 align = bar.span();
                    offer({align, align, index, static_cast<u16>(b)});
                }
            }
            for (unsigned b = 0; b < type0_bars; ++b) {
                const Bar& bar = f.sriov.bars[b];
                if (f.sriov.offset != 0 && bar.is_memory() && vf_pool_of(f, bar) == pool) {
                    const u64 size = bar.size * f.sriov.total_vfs;
                    offer({bar.size, size, index, static_cast<u16>(b + Item::vf_bars)});
                }
            }
            if (const BridgeWindows* bridge = f.is_bridge ? windows_of(index) : nullptr; bridge != nullptr) {
                offer({bridge->align[pool], bridge->size[pool], index, Item::window});
            }
        }
        return best;
    }

    void measure(BridgeWindows& bridge) {
        for (const Pool pool : {low, high}) {
            u64 end = 0;
            u64 align = window_granule;
            // Sums stay far below 2^64: no item is larger than a window of the host bridge.
            for (Item item = next(bridge.function, pool, first_item); item.align != 0;
                 item = next(bridge.function, pool, item)) {
                end = round_up(end, item.align) + item.size;
                align = item.align > align ? item.align : align;
            }
            bridge.size[pool] = round_up(end, window_granule);
            bridge.align[pool] = align;
        }
    }

    void place(u16 parent, Pool pool, u64 base, u64 end) {
        u64 cursor = base;
        for (Item item = next(parent, pool, first_item); item.align != 0; item = next(parent, pool, item)) {
            const u64 at = round_up(cursor, item.align);
            if (at + item.size > end) {
                fail(item);
                continue;
            }
            put(item, pool, at);
            cursor = at + item.size;
        }
    }

    void fail(const Item& item) {
        Function& f = t_.functions[item.function];
        if (item.slot == Item::window) {
            t_.note({ProblemKind::window_does_not_fit, f.bdf, 0, item.size});
            // Closed: with no size left, everything behind it fails in its turn.
            BridgeWindows* bridge = windows_of(item.function);
            bridge->size[low] = bridge->size[high] = 0;
        } else if (item.slot >= Item::vf_bars) {
            const u8 bar = static_cast<u8>(item.slot - Item::vf_bars);
            t_.note({ProblemKind::vf_bar_does_not_fit, f.bdf, bar, item.size});
            f.sriov = SriovInfo{}; // the PF itself is none the worse
        } else {
            t_.note({ProblemKind::bar_does_not_fit, f.bdf, static_cast<u8>(item.slot), item.size});
            f.verdict = Verdict::no_space;
        }
    }

    void put(const Item& item, Pool pool, u64 at) {
        Function& f = t_.functions[item.function];
        if (item.slot == Item::window) {
            BridgeWindows* bridge = windows_of(item.function);
            bridge->base[pool] = at;
            bridge->placed[pool] = true;
            return;
        }
        const bool vf = item.slot >= Item::vf_bars;
        const unsigned number = vf ? item.slot - Item::vf_bars : item.slot;
        Bar& bar = vf ? f.sriov.bars[number] : f.bars[number];
        const Window& window = pool == low ? t_.host.mem32 : t_.host.mem64;
        bar.bus_address = at;
        bar.pa = window.cpu + (at - window.bus);
        bar.assigned = true;
        const u32 offset = vf ? f.sriov.offset + sriov::vf_bar0 + 4 * number : bar0 + 4 * number;
        if (!put_bars(f.config, offset, {&bar, 1})) {
            t_.note({ProblemKind::bar_not_held, f.bdf, static_cast<u8>(number), at});
            bar.assigned = false;
            if (vf) {
                f.sriov = SriovInfo{};
            } else {
                f.verdict = Verdict::malformed;
            }
        }
    }

    /// Base and limit registers; base above limit is closed. The I/O window always is.
    void open(const BridgeWindows& bridge) {
        const Function& f = t_.functions[bridge.function];
        const Config& config = f.config;
        config.write16(io_base, 0x00f0);
        config.write32(io_base_upper, 0);
        config.write32(memory_base,
                       window_register(bridge.base[low], bridge.placed[low] ? bridge.size[low] : 0));
        config.write32(prefetchable_base, 0x0000'fff0); // closed while the upper halves change
        if (bridge.placed[high] && bridge.size[high] != 0) {
            const u64 last = bridge.base[high] + bridge.size[high] - 1;
            config.write32(prefetchable_base_upper, static_cast<u32>(bridge.base[high] >> 32));
            config.write32(prefetchable_limit_upper, static_cast<u32>(last >> 32));
            config.write32(prefetchable_base, window_register(bridge.base[high], bridge.size[high]));
        } else {
            config.write32(prefetchable_base_upper, ~u32{0});
            config.write32(prefetchable_limit_upper, 0);
        }
        // Bus master: requests from below go up. Nothing below masters until it is assigned.
        const u16 on = f.verdict == Verdict::is_bridge ? cmd::memory_space | cmd::bus_master : 0;
        config.write16_settled(command, on | cmd::interrupt_disable);
    }

    static u32 window_register(u64 base, u64 size) {
        if (size == 0) {
            return 0x0000'fff0;
        }
        const u32 first = static_cast<u32>(base >> 16) & 0xfff0;
        const u32 last = static_cast<u32>((base + size - 1) >> 16) & 0xfff0;
        return first | last << 16;
    }

    static constexpr Item first_item{~u64{0}, 0, 0, 0}; // before every other
    Topology& t_;
};

} // namespace

void assign(Topology& topology) {
    Placer(topology).run();
}

} // namespace atl::pci
