// SPDX-License-Identifier: Apache-2.0
// ItsModel: virtual LPIs of GICv4.0. [IHI0069 §5.3, §6, §12.11 GICR_VPENDBASER]
#include <algorithm>

#include "tests/support/its_model.hpp"

namespace atl::test {

using namespace gic;
using Pend = GicrVpendbaser;

u64 ItsModel::read_redistributor(unsigned cpu, u64 offset) {
    Redistributor& r = redist_[cpu];
    if (offset == gicr_vlpi::vpropbaser) {
        return snoops ? r.vpropbaser : GicrPropbaser::Shareability::set(r.vpropbaser, 0);
    }
    mistakes += offset != gicr_vlpi::vpendbaser;
    if (r.dirty > 0) {
        --r.dirty;
        return (r.vpendbaser & ~Pend::PendingLast::mask) | Pend::Dirty::mask;
    }
    return r.vpendbaser;
}

void ItsModel::write_redistributor(unsigned cpu, u64 offset, u64 value) {
    Redistributor& r = redist_[cpu];
    if (offset == gicr_vlpi::vpropbaser) {
        mistakes += Pend::Valid::test(r.vpendbaser); // only while nobody is resident
        r.vpropbaser = value;
        r.cached_config.clear();
        return;
    }
    constexpr u64 fixed = Pend::Physical_Address::mask | Pend::InnerCache::mask | Pend::Shareability::mask;
    const bool was = Pend::Valid::test(r.vpendbaser);
    const bool is = Pend::Valid::test(value);
    mistakes += offset != gicr_vlpi::vpendbaser || (was && is) || r.dirty > 0;
    if (was && !is) {
        mistakes += (value & fixed) != (r.vpendbaser & fixed);
        const bool last = signalled(cpu) != 0;
        for (const auto& [id, vpe] : vpes_) {
            if (vpe.table == (r.vpendbaser & Pend::Physical_Address::mask)) {
                for (const u32 lpi : r.pending) {
                    set_table_bit(vpe, lpi, true);
                }
            }
        }
        r.pending.clear();
        r.vpendbaser = value | Pend::PendingLast::of(last ? 1 : 0);
        r.dirty = dirty_reads;
    } else if (!was && is) {
        bool known = false;
        for (const auto& [id, vpe] : vpes_) {
            if (vpe.table != (value & Pend::Physical_Address::mask)) {
                continue;
            }
            known = vpe.cpu == cpu && GicrPropbaser::IDbits::get(r.vpropbaser) + 1 == vpe.id_bits;
            for (u32 lpi = first_lpi; lpi < 1u << vpe.id_bits; ++lpi) {
                if (table_bit(vpe, lpi)) {
                    r.pending.insert(lpi);
                    set_table_bit(vpe, lpi, false); // stale from now on
                }
            }
        }
        mistakes += !known;
        r.vpendbaser = value;
        r.cached_config.clear();
    } else {
        r.vpendbaser = value;
    }
}

bool ItsModel::in_a_table(u64 address, u64 bytes) {
    return std::any_of(vpes_.begin(), vpes_.end(), [&](const auto& one) {
        return address < one.second.table + 0x1'0000 && one.second.table < address + bytes;
    });
}

ItsModel::Redistributor* ItsModel::where(const VirtualPe& vpe) {
    Redistributor& r = redist_[vpe.cpu];
    return Pend::Valid::test(r.vpendbaser) && (r.vpendbaser & Pend::Physical_Address::mask) == vpe.table
               ? &r
               : nullptr;
}

bool ItsModel::table_bit(const VirtualPe& vpe, u32 lpi) {
    return (word(vpe.table + lpi / 64 * 8) >> (lpi % 64) & 1) != 0;
}
void ItsModel::set_table_bit(const VirtualPe& vpe, u32 lpi, bool pending) {
    u64& w = memory[vpe.table + lpi / 64 * 8];
    w = (w & ~(u64{1} << (lpi % 64))) | (u64{pending} << (lpi % 64));
}

void ItsModel::set_virtual(u16 id, u32 lpi, bool pending, u32 doorbell) {
    const VirtualPe& vpe = vpes_[id];
    mistakes += lpi >> vpe.id_bits != 0;
    if (Redistributor* const r = where(vpe); r != nullptr) {
        pending ? static_cast<void>(r->pending.insert(lpi)) : static_cast<void>(r->pending.erase(lpi));
        return;
    }
    set_table_bit(vpe, lpi, pending);
    if (pending && physical(doorbell) != 0) {
        rung.push_back(doorbell);
    }
}

bool ItsModel::pends(u16 id, u32 lpi) {
    if (vpes_.count(id) == 0) {
        return false;
    }
    Redistributor* const r = where(vpes_[id]);
    return r != nullptr ? r->pending.count(lpi) != 0 : table_bit(vpes_[id], lpi);
}

unsigned ItsModel::virtual_events() const {
    return static_cast<unsigned>(
        std::count_if(events_.begin(), events_.end(), [](const auto& one) { return one.second.is_virtual; }));
}

u8 ItsModel::configuration_of(Redistributor& r, u32 lpi) {
    const u64 at = (r.vpropbaser & GicrPropbaser::Physical_Address::mask) + lpi - first_lpi;
    const auto [it, inserted] = r.cached_config.try_emplace(lpi, 0);
    if (inserted) {
        it->second = static_cast<u8>(word(at) >> (8 * (at & 7)));
    }
    return it->second;
}

u32 ItsModel::signalled(unsigned cpu) {
    Redistributor& r = redist_[cpu];
    u32 best = 0;
    unsigned priority = 0x100;
    for (const u32 lpi : r.pending) {
        const u8 config = configuration_of(r, lpi);
        if (LpiConfig::Enable::test(config) && (config & LpiConfig::Priority::mask) < priority) {
            best = lpi;
            priority = config & LpiConfig::Priority::mask;
        }
    }
    return best;
}
u32 ItsModel::take(unsigned cpu) {
    const u32 lpi = signalled(cpu);
    redist_[cpu].pending.erase(lpi);
    return lpi;
}

u32 ItsModel::message(u32 device, u32 event) {
    const auto it = events_.find(u64{device} << 32 | event);
    if (control_ == 0 || devices_.count(device) == 0 || it == events_.end()) {
        return 0;
    }
    if (!it->second.is_virtual) {
        return physical(it->second.lpi);
    }
    const auto before = rung.size();
    set_virtual(it->second.vpe, it->second.lpi, true, it->second.doorbell);
    return rung.size() != before ? it->second.doorbell : 0;
}

/// False: a command of GICv3 for a physical event, or one.
bool ItsModel::execute_virtual(const ItsCommand& c) {
    const auto device = static_cast<u32>(c[0] >> 32);
    const auto event = static_cast<u32>(c[1]);
    const auto vpe = static_cast<u16>(ItsWord1::vPEID::get(c[1]));
    const u64 key = u64{device} << 32 | event;
    const auto it = events_.find(key);
    const bool is_virtual = it != events_.end() && it->second.is_virtual;
    switch (c[0] & 0xff) {
    case 0x29: { // VMAPP
        if (!ItsWord2::V::test(c[2])) {
            mistakes += vpes_.count(vpe) == 0 || where(vpes_[vpe]) != nullptr;
            for (const auto& [k, e] : events_) {
                mistakes += e.is_virtual && e.vpe == vpe;
            }
            vpes_.erase(vpe);
            return true;
        }
        const VirtualPe one{c[3] & ItsWord3::VPT_addr::mask,
                            static_cast<unsigned>(ItsWord2::RDbase::get(c[2])),
                            static_cast<unsigned>(ItsWord3::VPT_size::get(c[3])) + 1};
        mistakes +=
            !virtual_lpis || vpes_.count(vpe) != 0 || one.cpu >= redistributors || in_a_table(one.table, 1);
        for (u64 at = 0; at < (u64{1} << one.id_bits) / 8; at += 8) {
            mistakes += word(one.table + at) != 0;
        }
        vpes_[vpe] = one;
        return true;
    }
    case 0x2a: // VMAPTI
        mistakes += devices_.count(device) == 0 || event >> devices_[device] != 0 || it != events_.end() ||
                    vpes_.count(vpe) == 0;
        events_[key] = {static_cast<u32>(ItsWord2::vINTID::get(c[2])), 0, true, vpe,
                        static_cast<u32>(ItsWord2::Dbell_pINTID::get(c[2]))};
        return true;
    case 0x21: { // VMOVI
        if (!is_virtual || vpes_.count(vpe) == 0) {
            ++mistakes;
            return true;
        }
        Event& e = it->second;
        const bool pending = pends(e.vpe, e.lpi);
        if (e.vpe != vpe && pending) {
            set_virtual(e.vpe, e.lpi, false, 0);
            set_virtual(vpe, e.lpi, true, e.doorbell);
        }
        e.vpe = vpe;
        return true;
    }
    case 0x25: // VSYNC
        mistakes += vpes_.count(vpe) == 0;
        return true;
    case 0x2d: // VINVALL
        mistakes += vpes_.count(vpe) == 0;
        if (Redistributor* const r = where(vpes_[vpe]); r != nullptr) {
            r->cached_config.clear();
        }
        return true;
    case 0x03: // INT
    case 0x04: // CLEAR
    case 0x0c: // INV
    case 0x0f: // DISCARD
        if (!is_virtual) {
            return false;
        }
        if ((c[0] & 0xff) == 0x0c) {
            redist_[vpes_[it->second.vpe].cpu].cached_config.erase(it->second.lpi);
            return true;
        }
        set_virtual(it->second.vpe, it->second.lpi, (c[0] & 0xff) == 0x03, it->second.doorbell);
        if ((c[0] & 0xff) == 0x0f) {
            events_.erase(it);
        }
        return true;
    }
    return false;
}

} // namespace atl::test
