// SPDX-License-Identifier: Apache-2.0
// The physical GICv2: distributor and CPU interface set-up, EL2's use of them, and LrFileV2, the list registers. Owns a
// GICv2's registers. Does not own the face that it shares with GICv3 (vgic/gic_hw.hpp), who gets which interrupt (el2),
// nor the virtual state (VirtualGic). Locks: none. CPU interface and LrFileV2: own pCPU only, interrupts masked.
// Whether firmware keeps a secure half does not matter: every value written means the same in the Non-secure view and
// in that of a GIC with one security state. Spec: [IHI0048B].
#pragma once
#include "lib/arch/gicv2.hpp"
#include "vgic/frame_hw.hpp"
#include "vgic/gicv3_hw.hpp"

namespace atl::vgic {

/// What the host's device tree says.
struct GicV2Layout {
    Range<Pa> distributor{};   // GICD
    Range<Pa> cpu_interface{}; // GICC
    Range<Pa> control{};       // GICH
    Range<Pa> guest{};         // GICV
};

/// The list registers and the active state of PPIs of the pCPU that runs this, as LrFile, in its form. One per pCPU.
class LrFileV2 {
  public:
    static constexpr bool has_sources = true; // SGIs carry their sender
    static constexpr InSoftware in_software = InSoftware::never;
    static constexpr bool no_lpis = true;

    unsigned count() const { return count_; }
    unsigned priority_bits() const { return priority_bits_; }
    unsigned preemption_bits() const { return preemption_bits_; }
    /// GICV_DIR is trapped by not mapping its page [el2/virtual_interface.hpp].
    static u64 hcr_on() { return gic::IchHcr::En::mask; }

    u64 read(unsigned slot) const { return gic::from_gich_lr(read32(control_, gic::gich::lr0 + 4 * slot)); }
    void write(unsigned slot, u64 value) const {
        write32(control_, gic::gich::lr0 + 4 * slot, gic::to_gich_lr(value));
    }
    u64 empty() const { return read32(control_, gic::gich::elrsr0); }
    // GICH_HCR and GICH_VMCR have the layout of ICH_HCR_EL2 and ICH_VMCR_EL2.
    u64 hcr() const { return read32(control_, gic::gich::hcr); }
    void set_hcr(u64 value) const { write32(control_, gic::gich::hcr, static_cast<u32>(value)); }
    u64 vmcr() const { return read32(control_, gic::gich::vmcr); }
    void set_vmcr(u64 value) const { write32(control_, gic::gich::vmcr, static_cast<u32>(value)); }
    /// One active-priority register for both groups: at most 32 levels.
    void save_active(CpuInterface& cpu) const {
        cpu.level_shift = static_cast<u8>(8 - preemption_bits_);
        cpu.ap0r[0] = read32(control_, gic::gich::apr);
    }
    void restore_active(const CpuInterface& cpu) const { write32(control_, gic::gich::apr, cpu.ap0r[0]); }
    /// Makes a PPI of this pCPU active without its having fired. Complete on return.
    void hold(u16 pintid) const;
    /// Deactivates it: it may fire again.
    void release(u16 pintid) const;
    /// Whether it is active.
    bool held(u16 pintid) const {
        return (read32(distributor_, gic::gicd::isactiver) >> (pintid % 32) & 1) != 0;
    }
    /// The output of the loaded guest's virtual timer.
    static bool timer_line() { return LrFile::timer_line(); }

  private:
    friend class GicV2;
    HypVa control_{};
    HypVa distributor_{};
    HypVa cpu_interface_{};
    u8 count_ = 0;
    u8 priority_bits_ = 0;
    u8 preemption_bits_ = 0;
};

class GicV2 {
  public:
    /// On the boot CPU, first. not_supported: it answers as no GICv2; invalid_argument: the layout.
    Status init(const GicV2Layout& layout);
    /// On every CPU (the boot CPU too), after init. not_supported: no split of priority drop and deactivation.
    Status init_cpu(PcpuIndex cpu);

    LrFileV2& lr_file(PcpuIndex cpu) { return files_[cpu.value]; }
    u32 intid_count() const { return intids_; }
    /// GICV's two pages, for guests.
    Range<Pa> guest_interface() const { return guest_; }

    /// Whether this is QEMU's model. It forgets a level that is high while a guest's EOI deactivates the interrupt (HW = 1),
    /// until any line changes. [GICD_IIDR, IHI0048B §4.3.3]
    bool forgets_levels() const { return read32(distributor_, gic::gicd::iidr) == 0x43b; }

    HypVa frame() const { return distributor_; }
    /// An SPI that exists, to a CPU that is initialised.
    void route(Intid spi, PcpuIndex target) const;
    /// Earlier stores are visible to the target when it takes the SGI.
    void send_sgi(PcpuIndex target, u8 sgi) const;

    // The CPU interface of the pCPU that runs this. Values are GICC_IAR's: INTID, and the sender of an SGI.
    u32 acknowledge() const; // INTID 1020 and above: nothing to do
    void drop_priority(u32 iar) const { write32(cpu_interface_, gic::gicc::eoir, iar); }
    void deactivate(u32 iar) const;

  private:
    u8 own_mask() const;

    HypVa distributor_{};
    HypVa cpu_interface_{};
    HypVa control_{};
    Range<Pa> guest_{};
    u32 intids_ = 0;
    u8 masks_[max_pcpus] = {}; // each CPU's bit in GICD_ITARGETSR and GICD_SGIR
    LrFileV2 files_[max_pcpus]{};
};

inline u32 GicV2::acknowledge() const {
    const u32 iar = read32(cpu_interface_, gic::gicc::iar);
    // The acknowledge takes effect before what the handler does to the source, and before the stores that the sender of
    // an SGI made are looked for.
    asm volatile("dsb sy" ::: "memory");
    return iar;
}
/// The barrier makes the drop complete, too: the interrupt is not signalled again by a write that is still on its way.
inline void GicV2::deactivate(u32 iar) const {
    write32(cpu_interface_, gic::gicc::dir, iar);
    asm volatile("dsb sy" ::: "memory");
}
inline void LrFileV2::release(u16 pintid) const {
    write32(cpu_interface_, gic::gicc::dir, pintid);
    asm volatile("dsb sy" ::: "memory");
}
/// The read back makes the write complete.
inline void LrFileV2::hold(u16 pintid) const {
    write32(distributor_, gic::gicd::isactiver, 1u << (pintid % 32));
    static_cast<void>(read32(distributor_, gic::gicd::isactiver));
    asm volatile("dsb sy" ::: "memory");
}

// vgic/switch.hpp over these list registers. Its other calls come here by LrFile::gicv2().
namespace v2 {
VcpuMask load(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file);
VcpuMask save(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file);
VcpuMask flush(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file);
VcpuMask maintenance(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file);
void inject_timer(VirtualGic& gic, VcpuIndex vcpu, LrFile& file);
VcpuMask dir_write(VirtualGic& gic, VcpuIndex vcpu, LrFileV2& file, u64 value);
} // namespace v2

} // namespace atl::vgic
