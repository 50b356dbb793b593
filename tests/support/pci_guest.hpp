// SPDX-License-Identifier: Apache-2.0
// VMs' PCI host bridges over the PCI model, with hooks that keep what is mapped and reported, and a guest's
// accesses as calls.
#pragma once
#include <doctest/doctest.h>

#include <map>

#include "pci/sriov.hpp"
#include "pci/virtual_bridge.hpp"
#include "tests/support/pci_model.hpp"

namespace atl::test {

/// The machine: a bus with what EL2 has found there.
struct PciBus {
    PciModel model;
    std::unique_ptr<pci::Topology> t = std::make_unique<pci::Topology>();
    pci::BridgeGroup group;

    void find_all() {
        model.seal();
        REQUIRE(pci::enumerate(*t, model.host).ok());
        pci::assign(*t);
    }
    const pci::Function& at(unsigned bus, unsigned device, unsigned function = 0) {
        const pci::Function* found = t->find(pci::Bdf::of(bus, device, function));
        REQUIRE(found != nullptr);
        return *found;
    }
};

/// One of the VMs on it.
struct PciVm {
    static constexpr Range<Ipa> mem32{Ipa{0x1000'0000}, 0x2eff'0000};
    static constexpr Range<Ipa> mem64{Ipa{0x80'0000'0000}, 0x80'0000'0000};

    PciModel& machine;
    std::unique_ptr<pci::VirtualBridge> owned = std::make_unique<pci::VirtualBridge>();
    pci::VirtualBridge& bridge = *owned;
    std::map<u64, pci::BarMapping> mapped; // by IPA
    std::vector<pci::Offence> offences;
    unsigned events = 0;
    bool refuse_map = false;
    std::vector<std::string> broken; // what the hooks found wrong

    explicit PciVm(PciModel& model) : machine(model) {}
    void init(pci::BridgeGroup& group) {
        pci::VirtualBridge::Setup setup;
        setup.mem32 = mem32;
        setup.mem64 = mem64;
        setup.hooks = {this, &on_map, &on_unmap, &on_report};
        setup.clock = machine.clock();
        setup.mmio = machine.mmio();
        setup.group = &group;
        REQUIRE(bridge.init(setup).ok());
    }
    void settle() {
        for (unsigned i = 0; i < 10'000 && !idle(); ++i) {
            const u64 next = bridge.next_poll_us();
            machine.now_us = next > machine.now_us ? next : machine.now_us + 1;
        }
        REQUIRE(idle());
        REQUIRE(bridge.next_poll_us() == pci::VirtualBridge::idle);
    }
    bool idle() { return bridge.poll() == pci::VirtualBridge::idle; }
    u64 rd(u8 devfn, u32 offset, unsigned size = 4) {
        return bridge.read(VcpuIndex{0}, u64{devfn} * 0x1000 + offset, size);
    }
    void wr(u8 devfn, u32 offset, u64 value, unsigned size = 4) {
        bridge.write(VcpuIndex{0}, u64{devfn} * 0x1000 + offset, size, value);
    }
    bool reported(pci::Offence::Kind kind) const {
        for (const pci::Offence& offence : offences) {
            if (offence.kind == kind) {
                return true;
            }
        }
        return false;
    }

  private:
    static Status on_map(void* self, const pci::BarMapping& mapping) {
        auto& guest = *static_cast<PciVm*>(self);
        ++guest.events;
        if (guest.refuse_map) {
            return Error::no_memory;
        }
        if (mapping.size % page_size != 0 || !mapping.ipa.is_aligned(page_size) ||
            !mapping.pa.is_aligned(page_size) ||
            !(mem32.contains(mapping.ipa, mapping.size) || mem64.contains(mapping.ipa, mapping.size))) {
            guest.broken.push_back("mapping outside of the windows or of pages");
        }
        for (const auto& [ipa, other] : guest.mapped) {
            if (Range<Ipa>{other.ipa, other.size}.overlaps({mapping.ipa, mapping.size})) {
                guest.broken.push_back("mapping over another");
            }
        }
        // The function decodes before the guest can reach it.
        PciFn* fn = guest.machine.resolve(mapping.physical.bus(), mapping.physical.devfn());
        if (fn == nullptr) {
            guest.broken.push_back("mapped while it is not there");
        } else if (fn->pf == nullptr && (fn->command() & 2) == 0) {
            guest.broken.push_back("mapped while it does not decode");
        }
        guest.mapped[mapping.ipa.value] = mapping;
        return {};
    }
    static void on_unmap(void* self, const pci::BarMapping& mapping) {
        auto& guest = *static_cast<PciVm*>(self);
        ++guest.events;
        const auto found = guest.mapped.find(mapping.ipa.value);
        if (found == guest.mapped.end() || found->second.pa != mapping.pa ||
            found->second.size != mapping.size) {
            guest.broken.push_back("unmapped what was not mapped");
            return;
        }
        PciFn* fn = guest.machine.resolve(mapping.physical.bus(), mapping.physical.devfn());
        if (fn == nullptr) {
            guest.broken.push_back("it was gone before the guest's mapping was");
        } else if (fn->pf == nullptr && (fn->command() & 2) == 0) {
            guest.broken.push_back("decoding was off before the guest's mapping was");
        }
        guest.mapped.erase(found);
    }
    static void on_report(void* self, const pci::Offence& offence) {
        static_cast<PciVm*>(self)->offences.push_back(offence);
    }
};

/// A machine with one VM.
struct PciGuest : PciBus, PciVm {
    PciGuest() : PciVm(model) {}
    void bring_up() {
        find_all();
        init(group);
    }
};

/// Gives `fn` eight VFs like those of an Intel 82576: at its Routing ID + 0x80, two apart.
inline void make_igb(PciFn& fn) {
    fn.bar32(0, 0x2'0000);
    fn.add_msix(0x70, 10, 0, 0, 0x1000);
    fn.add_pcie(0xa0, 0, true);
    fn.add_ext(0x1, 0x100);
    fn.add_sriov(0x160, 8, 0x80, 2, 0x10ca);
    fn.bar64_at(0x184, 0, 0x4000, true);
    fn.bar64_at(0x184, 3, 0x4000, true);
    fn.build_vf = [](PciFn& vf) {
        vf.add_msix(0x70, 3, 3, 0, 0x2000);
        vf.add_pcie(0xa0, 0, true);
    };
}

} // namespace atl::test
