// SPDX-License-Identifier: Apache-2.0
// The PCI model behind pci::hw: see pci_model.hpp. Owns the functions of the current test.
#include "tests/support/pci_model.hpp"

#include <cstdlib>

namespace atl::test {

PciModel* PciModel::current = nullptr;

void PciFn::set(u32 at, u32 value, unsigned size, u32 writable, u32 clear) {
    for (unsigned i = 0; i < size; ++i) {
        cfg[at + i] = static_cast<u8>(value >> (8 * i));
        wmask[at + i] = static_cast<u8>(writable >> (8 * i));
        w1c[at + i] = static_cast<u8>(clear >> (8 * i));
    }
}

void PciFn::bar_at(u32 first, unsigned i, u64 size, u32 flags) {
    set(first + 4 * i, flags, 4, static_cast<u32>(~(size - 1)) & ~0xfu);
}

void PciFn::bar64_at(u32 first, unsigned i, u64 size, bool prefetchable) {
    bar_at(first, i, size, 4 | (prefetchable ? 8 : 0));
    set(first + 4 * i + 4, 0, 4, static_cast<u32>(~(size - 1) >> 32));
}

void PciFn::bar64(unsigned i, u64 size, bool prefetchable) {
    bar64_at(0x10, i, size, prefetchable);
}

void PciFn::bar_io(unsigned i, u32 size) {
    set(0x10 + 4 * i, 1, 4, ~(size - 1) & 0xfffc);
}

u64 PciFn::bar_address(unsigned i, u32 first) const {
    const u32 low = get32(first + 4 * i);
    return (low & 6) == 4 ? (low & ~0xfu) | u64{get32(first + 4 * i + 4)} << 32 : low & ~0xfu;
}

void PciFn::cap(u8 id, u8 at) {
    set(last_cap == 0 ? 0x34 : last_cap + 1u, at, 1);
    set(at, id, 2);
    cfg[6] |= 0x10;
    last_cap = at;
}

void PciFn::add_pm(u8 at, bool no_soft_reset) {
    cap(1, at);
    set(at + 2u, 0xfe03, 2); // PME from everywhere, version 3
    set(at + 4u, no_soft_reset ? 8 : 0, 2, 0x103, 0x8000);
    pm = at;
}

void PciFn::add_msi(u8 at, bool is_64, bool maskable, unsigned log2) {
    cap(5, at);
    set(at + 2u, log2 << 1 | (is_64 ? 0x80 : 0) | (maskable ? 0x100 : 0), 2, 0x71);
    set(at + 4u, 0, 4, ~3u);
    u32 next = at + 8u;
    if (is_64) {
        set(next, 0, 4, ~0u);
        next += 4;
    }
    set(next, 0, 2, 0xffff);
    if (maskable) {
        set(next + 4, 0, 4, (1u << (1u << log2)) - 1u);
        set(next + 8, 0x1, 4);
    }
}

void PciFn::add_msix(u8 at, unsigned entries, unsigned bir, u32 table, u32 pba) {
    cap(0x11, at);
    set(at + 2u, entries - 1, 2, 0xc000);
    set(at + 4u, table | bir, 4);
    set(at + 8u, pba | bir, 4);
}

void PciFn::add_pcie(u8 at, unsigned type, bool flr) {
    cap(0x10, at);
    set(at + 2u, 2 | type << 4, 2);
    set(at + 4u, 0x8002 | (flr ? 1u << 28 : 0) | 0x18, 4);
    set(at + 8u, 0x2810, 2, 0x7fff);
    set(at + 10u, 0, 2, 0, 0xf);
    set(at + 0xcu, 0x1234'5678, 4); // link capabilities
    set(at + 0x10u, 0, 2, 0xffff);  // link control
    set(at + 0x28u, 0, 2, 0xffff);  // device control 2
    pcie = at;
}

void PciFn::add_virtio(u8 at, u8 type, u8 bar, u32 offset, u32 length) {
    cap(9, at);
    set(at + 2u, 20, 1);
    set(at + 3u, type, 1);
    set(at + 4u, bar, 1, type == 5 ? 0xff : 0);
    set(at + 8u, offset, 4, type == 5 ? ~0u : 0);
    set(at + 12u, length, 4, type == 5 ? ~0u : 0);
    set(at + 16u, 4, 4, type == 5 ? ~0u : 0);
}

void PciFn::add_ext(u16 id, u32 at) {
    if (last_ext != 0) {
        set(last_ext, get32(last_ext) | at << 20, 4);
    }
    set(at, id | 1u << 16, 4);
    last_ext = at;
}

void PciFn::add_acs(u32 at, u16 offered) {
    add_ext(0xd, at);
    set(at + 4, offered, 2);
    set(at + 6, 0, 2, offered);
}

void PciFn::add_sriov(u32 at, u16 total, u16 offset, u16 stride, u16 vf_device) {
    add_ext(0x10, at);
    sriov = at;
    set(at + 8, 0, 2, 0x19);
    set(at + 0xc, total, 2);
    set(at + 0xe, total, 2);
    set(at + 0x10, 0, 2, 0xffff);
    set(at + 0x14, offset, 2);
    set(at + 0x16, stride, 2);
    set(at + 0x1a, vf_device, 2);
    set(at + 0x1c, 0x553, 4);
    set(at + 0x20, 1, 4, 0x553);
}

PciModel::PciModel() {
    current = this;
    host.ecam = {Pa{0x40'1000'0000}, 0x1000'0000};
    host.first_bus = 0;
    host.last_bus = 255;
    host.mem32 = {Pa{0x1000'0000}, 0x1000'0000, 0x2eff'0000};
    host.mem64 = {Pa{0x80'0000'0000}, 0x80'0000'0000, 0x80'0000'0000};
    host.io = {Pa{0x3eff'0000}, 0, 0x1'0000};
}

PciModel::~PciModel() {
    current = nullptr;
}

PciFn& PciModel::add(PciFn* parent, unsigned device, unsigned function, u32 ids, u32 class_code) {
    functions.push_back(std::make_unique<PciFn>());
    PciFn& fn = *functions.back();
    fn.model = this;
    fn.parent = parent;
    fn.devfn = static_cast<u8>(device << 3 | function);
    fn.set(0, ids, 4);
    fn.set(4, 0, 2, 0x547);
    fn.set(6, 0, 2, 0, 0xf900);
    fn.set(8, class_code << 8 | 2, 4);
    fn.set(0xc, 0, 1, 0xff);
    fn.set(0x2c, 0x1100'1af4, 4);
    fn.set(0x30, 0, 4, 0xfffe'0001); // a ROM of 128 KiB
    fn.set(0x3c, 0, 1, 0xff);
    fn.set(0x3d, 1, 1);
    return fn;
}

PciFn& PciModel::add_bridge(PciFn* parent, unsigned device, unsigned function, unsigned pcie_type, bool acs) {
    PciFn& fn = add(parent, device, function, 0x000c'1b36, 0x060400);
    fn.bridge = true;
    fn.set(0xe, 1, 1);
    fn.set(0x18, 0, 4, 0x00ff'ffff);
    fn.set(0x1c, 0x0101, 2, 0xf0f0);
    fn.set(0x20, 0, 4, 0xfff0'fff0);
    fn.set(0x24, 0x0001'0001, 4, 0xfff0'fff0);
    fn.set(0x28, 0, 4, ~0u);
    fn.set(0x2c, 0, 4, ~0u);
    fn.set(0x30, 0, 4, ~0u);
    fn.set(0x38, 0, 4, 0xfffe'0001);
    fn.set(0x3e, 0, 2, 0x5f);
    if (pcie_type != 0xff) {
        fn.add_pcie(0x40, pcie_type, false);
        if (acs && (pcie_type == 4 || pcie_type == 6)) {
            fn.add_acs(0x100);
        }
    }
    return fn;
}

void PciModel::seal() {
    for (auto& fn : functions) {
        fn->power_on = fn->cfg;
    }
}

void PciModel::claim(const PciFn* bridge, unsigned bus, u8 devfn, std::vector<PciFn*>& found) {
    const unsigned own = bus_of(bridge);
    for (auto& owned : functions) {
        PciFn& fn = *owned;
        if (fn.parent != bridge) {
            continue;
        }
        const bool anywhere = fn.answers_anywhere && (devfn & 7) == (fn.devfn & 7);
        if (bus == own && (fn.devfn == devfn || anywhere)) {
            found.push_back(&fn);
        }
        if (fn.sriov != 0 && (fn.get16(fn.sriov + 8) & 1) != 0) {
            for (auto& vf : fn.vfs) {
                const unsigned rid = (own << 8 | fn.devfn) + fn.get16(fn.sriov + 0x14) +
                                     fn.get16(fn.sriov + 0x16) * vf->vf_number;
                if (rid == (bus << 8 | devfn)) {
                    found.push_back(vf.get());
                }
            }
        }
        if (fn.bridge && fn.cfg[0x19] > own && bus >= fn.cfg[0x19] && bus <= fn.cfg[0x1a]) {
            claim(&fn, bus, devfn, found);
        }
    }
}

PciFn* PciModel::resolve(unsigned bus, u8 devfn) {
    std::vector<PciFn*> found;
    claim(nullptr, bus, devfn, found);
    ambiguous += found.size() > 1 ? 1 : 0;
    return found.empty() ? nullptr : found[0];
}

void PciModel::decode(const PciFn* bridge, u64 address, std::vector<PciFn*>& found) const {
    const auto hit = [&](const PciFn& fn, u32 first, unsigned count, u64 copies) {
        for (unsigned i = 0; i < count; ++i) {
            const u32 at = first + 4 * i;
            const u32 low = fn.get32(at);
            const u64 mask = u64{fn.wmask[at] | fn.wmask[at + 1] << 8 | fn.wmask[at + 2] << 16 |
                                 static_cast<u32>(fn.wmask[at + 3]) << 24};
            const bool wide = (low & 7) == 4;
            const u64 upper = wide ? u64{fn.wmask[at + 4] | fn.wmask[at + 5] << 8 | fn.wmask[at + 6] << 16 |
                                         static_cast<u32>(fn.wmask[at + 7]) << 24}
                                   : 0xffff'ffff;
            const u64 full = mask | (wide ? (upper & 0xffff'ffff) << 32 : u64{0xffff'ffff} << 32);
            if ((low & 1) == 0 && (mask != 0 || (wide && upper != 0))) {
                const u64 base = fn.bar_address(i, first);
                if (address >= base && address - base < (~full + 1) * copies) {
                    found.push_back(const_cast<PciFn*>(&fn));
                }
            }
            i += wide ? 1 : 0;
        }
    };
    for (const auto& owned : functions) {
        const PciFn& fn = *owned;
        if (fn.parent != bridge) {
            continue;
        }
        if (fn.sriov != 0 && (fn.get16(fn.sriov + 8) & 9) == 9) {
            hit(fn, fn.sriov + 0x24, 6, fn.get16(fn.sriov + 0x10));
        }
        if ((fn.command() & 2) == 0) {
            continue;
        }
        hit(fn, 0x10, fn.bridge ? 2 : 6, 1);
        if (fn.bridge) {
            const u64 base = u64{fn.get16(0x20) & 0xfff0u} << 16;
            const u64 limit = u64{fn.get16(0x22) & 0xfff0u} << 16 | 0xf'ffff;
            const u64 pbase = u64{fn.get16(0x24) & 0xfff0u} << 16 | u64{fn.get32(0x28)} << 32;
            const u64 plimit = u64{fn.get16(0x26) & 0xfff0u} << 16 | 0xf'ffff | u64{fn.get32(0x2c)} << 32;
            if ((address >= base && address <= limit) || (address >= pbase && address <= plimit)) {
                decode(&fn, address, found);
            }
        }
    }
}

std::vector<PciFn*> PciModel::decoders(u64 address) const {
    std::vector<PciFn*> found;
    decode(nullptr, address, found);
    return found;
}

u32 PciModel::config_read(Pa at, unsigned size) {
    const u32 none = size == 4 ? ~0u : (1u << (8 * size)) - 1;
    unaligned += at.is_aligned(size) && (size == 1 || size == 2 || size == 4) ? 0 : 1;
    if (!host.ecam.contains(at, size)) {
        ++outside;
        return none;
    }
    const u64 offset = at - host.ecam.base;
    PciFn* fn = resolve(static_cast<unsigned>(offset >> 20) + host.first_bus, static_cast<u8>(offset >> 12));
    if (fn == nullptr) {
        return none;
    }
    ++fn->touched;
    fn->early_accesses += now_us < fn->flr_at_us + 100'000 && fn->flr_at_us != 0 ? 1 : 0;
    const u32 reg = static_cast<u32>(offset & 0xfff);
    if (now_us < fn->silent_until_us) {
        return fn->says_retry && reg < 2 ? 0xffff'0001 & none : none;
    }
    if (fn->pcie != 0) {
        const bool pending = now_us < fn->pending_until_us;
        fn->cfg[fn->pcie + 10] = static_cast<u8>((fn->cfg[fn->pcie + 10] & ~0x20) | (pending ? 0x20 : 0));
    }
    u32 value = 0;
    for (unsigned i = 0; i < size; ++i) {
        value |= u32{fn->cfg[reg + i]} << (8 * i);
    }
    return value;
}

void PciModel::config_write(Pa at, unsigned size, u32 value) {
    unaligned += at.is_aligned(size) && (size == 1 || size == 2 || size == 4) ? 0 : 1;
    if (!host.ecam.contains(at, size)) {
        ++outside;
        return;
    }
    const u64 offset = at - host.ecam.base;
    PciFn* fn = resolve(static_cast<unsigned>(offset >> 20) + host.first_bus, static_cast<u8>(offset >> 12));
    if (fn == nullptr) {
        return;
    }
    const u32 reg = static_cast<u32>(offset & 0xfff);
    ++fn->touched;
    fn->early_accesses += now_us < fn->flr_at_us + 100'000 && fn->flr_at_us != 0 ? 1 : 0;
    if (logging) {
        writes.push_back({fn, reg, size, value});
    }
    if (now_us < fn->silent_until_us) {
        return;
    }
    const bool flr = fn->pcie != 0 && reg <= fn->pcie + 9 && reg + size > fn->pcie + 9 &&
                     ((value >> (8 * (fn->pcie + 9 - reg))) & 0x80) != 0 &&
                     (fn->get32(fn->pcie + 4) & (1u << 28)) != 0;
    const u8 state_before = fn->pm != 0 ? fn->cfg[fn->pm + 4] & 3 : 0;
    for (unsigned i = 0; i < size; ++i) {
        u8& byte = fn->cfg[reg + i];
        const u8 in = static_cast<u8>(value >> (8 * i));
        byte = static_cast<u8>((byte & ~fn->wmask[reg + i]) | (in & fn->wmask[reg + i]));
        byte = static_cast<u8>(byte & ~(in & fn->w1c[reg + i]));
    }
    if (flr) {
        fn->flr_at_us = now_us;
        reset(*fn);
    } else if (state_before == 3 && (fn->cfg[fn->pm + 4] & 0xb) == 0) {
        reset(*fn);
    }
    after_write(*fn, reg, size);
}

void PciModel::after_write(PciFn& fn, u32 at, unsigned size) {
    if (fn.sriov != 0 && at <= fn.sriov + 8 && at + size > fn.sriov + 8) {
        if ((fn.get16(fn.sriov + 8) & 1) == 0) {
            fn.vfs.clear();
        } else if (fn.vfs.empty()) {
            make_vfs(fn);
        }
    }
}

void PciModel::make_vfs(PciFn& pf) {
    for (u16 i = 0; i < pf.get16(pf.sriov + 0x10); ++i) {
        pf.vfs.push_back(std::make_unique<PciFn>());
        PciFn& vf = *pf.vfs.back();
        vf.model = this;
        vf.pf = &pf;
        vf.vf_number = i;
        vf.set(0, 0xffff'ffff, 4);
        vf.set(4, 0, 2, 0x4); // bus master alone is a VF's own
        vf.set(8, pf.get32(8), 4);
        vf.set(0x2e, 0x0001, 2);
        vf.silent_until_us = now_us + pf.recovery_us;
        vf.flr_at_us = now_us; // 100 ms here as well
        vf.dies = pf.dies;
        if (pf.dies) {
            vf.silent_until_us = ~u64{0};
        }
        if (pf.build_vf) {
            pf.build_vf(vf);
        }
        vf.power_on = vf.cfg;
    }
}

void PciModel::reset(PciFn& fn) {
    ++fn.resets;
    fn.mastering_at_reset = fn.mastering_at_reset || (fn.command() & 4) != 0;
    fn.cfg = fn.power_on;
    fn.vfs.clear();
    if (fn.sriov != 0) {
        vf_words.clear();
    }
    if (fn.changes_id) {
        fn.cfg[0] ^= 0x40;
    }
    fn.silent_until_us = fn.dies ? ~u64{0} : now_us + fn.recovery_us;
}

u32 PciModel::mmio_read(Pa at, unsigned size) {
    const u32 none = size == 4 ? ~0u : (1u << (8 * size)) - 1;
    const auto who = decoders(at.value);
    if (!virtio_answers || who.size() != 1) {
        return none;
    }
    if (!who[0]->vfs.empty()) {
        return vf_words[at.value];
    }
    if ((at.value & 0xfff) == 0x14 && size == 1) {
        if (virtio_slow_reads != 0) {
            --virtio_slow_reads;
            return 0x0f;
        }
        return virtio_status;
    }
    return (at.value & 0xfff) == 4 && size == 4 && virtio_select < 2 ? virtio_features[virtio_select] : 0;
}

void PciModel::mmio_write(Pa at, unsigned size, u32 value) {
    const auto who = decoders(at.value);
    if (who.size() != 1) {
        return;
    }
    if (!who[0]->vfs.empty()) {
        vf_words[at.value] = value;
        return;
    }
    if ((at.value & 0xfff) == 0 && size == 4) {
        virtio_select = value;
    } else if ((at.value & 0xfff) == 0x14 && size == 1) {
        virtio_status = static_cast<u8>(value);
        virtio_resets += value == 0 ? 1 : 0;
    }
}

u64 digest(const std::vector<u8>& bytes, u32 from, u32 to) {
    u64 hash = 0xcbf2'9ce4'8422'2325;
    for (u32 i = from; i < to; ++i) {
        hash = (hash ^ bytes[i]) * 0x100'0000'01b3;
    }
    return hash;
}

} // namespace atl::test

namespace atl::pci::hw {

u32 config_read(Pa at, unsigned size) {
    return test::PciModel::current != nullptr ? test::PciModel::current->config_read(at, size) : ~0u;
}

void config_write(Pa at, unsigned size, u32 value) {
    if (test::PciModel::current != nullptr) {
        test::PciModel::current->config_write(at, size, value);
    }
}

} // namespace atl::pci::hw
