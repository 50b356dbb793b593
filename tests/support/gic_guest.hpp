// SPDX-License-Identifier: Apache-2.0
// A VM for vGIC tests: a VirtualGic, one fake list-register file per vCPU, and what el2 does around them:
// kicks are served at once, every entry flushes, maintenance interrupts are taken until none is asserted
// (bounded).
#pragma once
#include <doctest/doctest.h>

#include <functional>
#include <memory>

#include "lib/arch/icc.hpp"
#include "tests/support/gic_fake_lr.hpp"
#include "vgic/virtual_gic.hpp"

namespace atl::vgic {

struct TestVm {
    std::unique_ptr<VirtualGic> owned = std::make_unique<VirtualGic>();
    VirtualGic& gic = *owned;
    std::vector<LrFile> files;
    unsigned maintenance_count = 0;
    std::function<void(unsigned v)> its_waits; // what el2/its.hpp its_step() does
    std::function<void(unsigned v, bool load)> switched;

    bool gicv2;
    bool software;

    explicit TestVm(unsigned vcpus = 2, unsigned list_registers = 4, unsigned spis = 64, bool v2 = false,
                    bool soft = false)
        : files(vcpus, LrFile(list_registers, v2)), gicv2(v2), software(soft) {
        Config config;
        config.gicv2 = v2;
        config.software = soft;
        config.vcpus = vcpus;
        config.spis = spis;
        REQUIRE(gic.init(config).ok());
    }

    static VcpuIndex index(unsigned v) { return {static_cast<u8>(v)}; }
    bool loaded(unsigned v) { return gic.vcpu(index(v)).loaded.load(); }

    /// What a guest's driver does at boot: everything group 1, on, priority 0xa0, CPU interface open.
    void boot() {
        wr(0, gic::gicd::ctlr, 3);
        for (u32 first = 32; first < gic.intid_count(); first += 32) {
            wr(0, gic::gicd::igroupr + first / 8, ~0u);
            wr(0, gic::gicd::isenabler + first / 8, ~0u);
            for (u32 i = 0; i < 32; i += 4) {
                wr(0, gic::gicd::ipriorityr + first + i, 0xa0a0a0a0);
            }
        }
        for (unsigned v = 0; v < files.size(); ++v) {
            if (!gicv2) {
                rwr(v, v, gic::gicr::waker, 0);
            }
            rwr(v, v, gic::gicr::igroupr0, ~0u);
            rwr(v, v, gic::gicr::isenabler0, ~0u);
            for (u32 i = 0; i < 32; i += 4) {
                rwr(v, v, gic::gicr::ipriorityr + i, 0xa0a0a0a0);
            }
            open_interface(v);
        }
    }
    static u64 open_vmcr(bool eoimode = false) {
        using V = gic::IchVmcr;
        return V::VENG0::mask | V::VENG1::mask | V::VPMR::of(0xf8) | V::VFIQEn::mask | V::VBPR0::of(2) |
               V::VBPR1::of(3) | V::VEOIM::of(eoimode ? 1 : 0);
    }
    void open_interface(unsigned v, bool eoimode = false) {
        if (loaded(v)) {
            files[v].set_vmcr(open_vmcr(eoimode));
        } else {
            gic.vcpu(index(v)).saved.vmcr = open_vmcr(eoimode);
        }
    }

    void load(unsigned v) {
        kick(vgic::load(gic, index(v), files[v]));
        if (switched) {
            switched(v, true);
        }
        enter(v);
    }
    void load_all() {
        for (unsigned v = 0; v < files.size(); ++v) {
            load(v);
        }
    }
    void save(unsigned v) {
        kick(vgic::save(gic, index(v), files[v]));
        if (switched) {
            switched(v, false);
        }
    }

    /// Everything that happens at EL2 before the vCPU runs.
    void enter(unsigned v) {
        for (unsigned rounds = 0; loaded(v); ++rounds) {
            REQUIRE(rounds < 8);
            if (its_waits && (gic.vcpu(index(v)).work.load() & work_its) != 0) {
                its_waits(v);
            } else if (gic.vcpu(index(v)).needs_flush()) {
                kick(vgic::flush(gic, index(v), files[v]));
            } else if (files[v].maintenance_asserted()) {
                ++maintenance_count;
                kick(vgic::maintenance(gic, index(v), files[v]));
            } else {
                break;
            }
        }
    }
    void enter_all() {
        for (unsigned v = 0; v < files.size(); ++v) {
            enter(v);
        }
    }
    void kick(VcpuMask mask) {
        for (unsigned v = 0; v < files.size(); ++v) {
            if (((mask >> v) & 1) != 0 && loaded(v)) {
                enter(v);
            }
        }
    }

    u64 rd(unsigned v, u64 offset, unsigned size = 4) {
        return repeat(v, [&] { return gic.gicd_read(index(v), offset, size); });
    }
    /// Of GICv2 the vCPU `frame` must do it itself: the registers are banked.
    u64 rrd(unsigned v, unsigned frame, u64 offset, unsigned size = 4) {
        if (gicv2) {
            return rd(frame, offset - gic::gicr::sgi_base, size);
        }
        return repeat(v,
                      [&] { return gic.gicr_read(index(v), frame * gic::gicr::frame_size + offset, size); });
    }
    void wr(unsigned v, u64 offset, u64 value, unsigned size = 4) {
        repeat(v, [&] { return gic.gicd_write(index(v), offset, size, value); });
    }
    void rwr(unsigned v, unsigned frame, u64 offset, u64 value, unsigned size = 4) {
        if (gicv2) {
            return wr(frame, offset - gic::gicr::sgi_base, value, size);
        }
        repeat(v,
               [&] { return gic.gicr_write(index(v), frame * gic::gicr::frame_size + offset, size, value); });
    }
    void sgi(unsigned v, u64 value) {
        kick(gic.sgi_write(index(v), SgiRegister::sgi1r, value));
        enter(v);
    }
    /// One SGI to one vCPU, in either version.
    void send(unsigned v, u32 number, unsigned to) {
        if (gicv2) {
            wr(v, gic::gicd::sgir, gic::GicdSgir::CPUTargetList::of(1u << to) | number);
        } else {
            sgi(v, gic::IccSgir::INTID::of(number) | (u64{1} << to));
        }
    }
    void route(unsigned v, u32 spi, unsigned to, bool wide = true) {
        if (gicv2) {
            wr(v, gic::gicd::itargetsr + spi, 1u << to, 1);
        } else {
            wr(v, gic::gicd::irouter + 8 * spi, to, wide ? 8 : 4);
        }
    }
    void line(u32 spi, bool high) { kick(gic.set_line({spi}, high)); }
    void pulse(u32 spi) { kick(gic.pulse({spi})); }
    void edge(u32 spi) {
        const u64 offset = gic::gicd::icfgr + spi / 16 * 4;
        wr(0, offset, rd(0, offset) | (2u << (2 * (spi % 16))));
    }

    /// A trapped register of a software interface: a GICv3's by its encoding, a GICv2's by its offset.
    u64 trapped(unsigned v, u64 id, bool write, u64 value = 0) {
        const InterfaceAccess access =
            interface_access(gic, index(v), files[v], static_cast<u32>(id), write, value);
        REQUIRE(access.defined);
        kick(access.kick);
        return access.value;
    }
    u32 ack(unsigned v) {
        const u64 iar1 = gicv2 ? gic::gicc::aiar : gic::icc::iar1;
        const u32 intid =
            software && loaded(v) ? static_cast<u32>(trapped(v, iar1, false)) : files[v].acknowledge(true);
        files[v].timer_high = files[v].timer_high && intid != 27;
        enter(v);
        return intid;
    }
    void eoi(unsigned v, u32 intid) {
        if (software) {
            trapped(v, gicv2 ? gic::gicc::aeoir : gic::icc::eoir1, true, intid);
        } else {
            files[v].eoi(intid, true);
        }
        enter(v);
    }
    void dir(unsigned v, u32 intid) {
        kick(dir_write(gic, index(v), files[v], gicv2 ? intid & gic::v2_intid_mask : intid));
        enter(v);
    }
    /// The physical timer interrupt of the vCPU's pCPU: only when inactive, as hardware does.
    bool fire_timer(unsigned v) {
        if (!loaded(v) || files[v].physical_active) {
            return false;
        }
        files[v].physical_active = true;
        files[v].timer_high = true;
        inject_timer(gic, index(v), files[v]);
        enter(v);
        return true;
    }

  private:
    template <class F>
    u64 repeat(unsigned v, F access) {
        for (unsigned tries = 0;; ++tries) {
            REQUIRE(tries < 4);
            const Access result = access();
            kick(result.kick);
            enter(v);
            if (!result.retry) {
                return result.value;
            }
        }
    }
};

} // namespace atl::vgic
