// SPDX-License-Identifier: Apache-2.0
// The physical GICv3: distributor and redistributor set-up, EL2's CPU interface, and LrFile, the list
// registers. Owns a GICv3's registers. Does not own the face that it shares with GICv2 (vgic/gic_hw.hpp), who gets
// which interrupt (el2), nor the virtual state (VirtualGic). Locks: none. CPU interface and LrFile: own pCPU only,
// interrupts masked. Spec: [IHI0069].
#pragma once
#include <string_view>

#include "lib/containers.hpp"
#include "lib/result.hpp"
#include "vgic/switch.hpp"

namespace atl::vgic {

/// What the host's device tree says.
struct GicV3Layout {
    Range<Pa> distributor{};
    StaticVector<Range<Pa>, 8> redistributors{}; // "#redistributor-regions"
    u64 stride = 0;                              // "redistributor-stride"; 0: by GICR_TYPER.VLPIS
};

class LrFileV2;
class SoftFile;

/// The list registers and the active state of PPIs of the pCPU that runs this. One per pCPU.
class LrFile {
  public:
    static constexpr bool has_sources = false;
    static constexpr InSoftware in_software = InSoftware::never;
    unsigned count() const { return count_; }
    /// Usable priority bits of a guest: ICH_VTR_EL2.PRIbits + 1.
    unsigned priority_bits() const { return priority_bits_; }
    /// ICH_HCR_EL2 while a guest runs, without what maintenance needs.
    u64 hcr_on() const { return hcr_on_; }

    static u64 read(unsigned slot);
    static void write(unsigned slot, u64 value);
    static u64 empty(); // one bit for each
    static u64 hcr();
    static void set_hcr(u64 value);
    static u64 vmcr();
    static void set_vmcr(u64 value);
    void save_active(CpuInterface& cpu) const;
    void restore_active(const CpuInterface& cpu) const;
    /// Makes a PPI of this pCPU active without its having fired. Complete on return.
    void hold(u16 pintid) const;
    /// Deactivates it: it may fire again.
    static void release(u16 pintid);
    /// The output of the loaded guest's virtual timer [DDI0487 D12.2.4].
    static bool timer_line();
    /// On a machine with GICv2 its list registers stand in for these, of which nothing else may then be used.
    LrFileV2* gicv2() const { return gicv2_; }
    void set_gicv2(LrFileV2& file) { gicv2_ = &file; }
    /// And these for a VM whose CPU interface is software.
    SoftFile* software() const { return software_; }
    void set_software(SoftFile& file) { software_ = &file; }

  private:
    friend class GicV3;
    LrFileV2* gicv2_ = nullptr;
    SoftFile* software_ = nullptr;
    HypVa redistributor_{};
    u8 count_ = 0;
    u8 priority_bits_ = 0;
    u8 preemption_bits_ = 0;
    bool takes_vlpis_ = false; // ICH_VTR_EL2.nV4
    u64 hcr_on_ = 0;
};

class GicV3 {
  public:
    /// On the boot CPU, first. not_supported: not a GICv3 or v4, or it does not answer; invalid_argument: the
    /// layout.
    Status init(const GicV3Layout& layout);
    /// On every CPU (the boot CPU too), after init. `mpidr` is this CPU's. not_found: no redistributor has
    /// it.
    Status init_cpu(PcpuIndex cpu, Mpidr mpidr);

    LrFile& lr_file(PcpuIndex cpu) { return files_[cpu.value]; }
    static u64 virtual_interface_type();                    // ICH_VTR_EL2
    unsigned architecture() const { return architecture_; } // 3 or 4
    u32 intid_count() const { return intids_; }

    /// The frame with the registers of `intid`: the distributor, or that CPU's SGI_base; 0 before its init_cpu.
    HypVa frame_of(PcpuIndex cpu, Intid intid) const;
    Status wait_for_writes(PcpuIndex cpu, Intid intid) const;
    /// An SPI that exists, to a CPU that is initialised.
    void route(Intid spi, PcpuIndex target);

    /// Lets LPIs reach `cpu`: `configuration` is the table that all CPUs share (vgic/its.hpp), `pending` 64 KiB of this
    /// CPU's own, zeroed, cleaned, 64 KiB aligned; both stay. After init_cpu. not_supported: no LPIs here, or firmware
    /// has turned them on for good with tables of its own.
    Status enable_lpis(PcpuIndex cpu, Pa configuration, Pa pending, bool coherent);
    /// GICv4.0: where the registers of its vPE are. Why not: empty when they are there.
    std::string_view why_no_vlpis(PcpuIndex cpu) const;
    Pa vlpi_frame(PcpuIndex cpu) const;
    /// What the ITS calls this CPU's redistributor [IHI0069 GITS_TYPER.PTA].
    u64 its_target(PcpuIndex cpu, bool by_address) const;

    // The CPU interface of the pCPU that runs this. At EL2 with HCR_EL2.IMO = 1 these are the physical
    // registers.
    static Intid acknowledge();             // 1020 and above: nothing to do
    static void drop_priority(Intid intid); // ICC_EOIR1_EL1 with EOImode = 1
    static void deactivate(Intid intid);    // ICC_DIR_EL1
    /// Earlier stores are visible to the target when it takes the SGI.
    static void send_sgi(u64 value);
    /// ICC_SGI1R_EL1 for one CPU that is initialised.
    u64 sgi_value(PcpuIndex cpu, u8 sgi) const;

  private:
    Result<HypVa> find_redistributor(Mpidr mpidr) const;
    Status init_redistributor(HypVa frame) const;

    GicV3Layout layout_{};
    HypVa distributor_{};
    unsigned architecture_ = 0;
    u32 intids_ = 0;
    LrFile files_[max_pcpus]{};
    Mpidr mpidrs_[max_pcpus]{};
};

inline u64 LrFile::empty() {
    u64 value;
    asm volatile("mrs %0, ich_elrsr_el2" : "=r"(value));
    return value;
}
inline u64 LrFile::hcr() {
    u64 value;
    asm volatile("mrs %0, ich_hcr_el2" : "=r"(value));
    return value;
}
/// Takes effect at the next context synchronization event: ERET, or the ISB of who looks at ICH_MISR_EL2.
inline void LrFile::set_hcr(u64 value) {
    asm volatile("msr ich_hcr_el2, %0" ::"r"(value));
}
inline u64 LrFile::vmcr() {
    u64 value;
    asm volatile("mrs %0, ich_vmcr_el2" : "=r"(value));
    return value;
}
inline void LrFile::set_vmcr(u64 value) {
    asm volatile("msr ich_vmcr_el2, %0" ::"r"(value));
}

inline Intid GicV3::acknowledge() {
    u64 value;
    asm volatile("mrs %0, icc_iar1_el1" : "=r"(value));
    // The acknowledge must take effect before what the handler does to the source [IHI0069 §4.1.1].
    asm volatile("dsb sy" ::: "memory");
    return {static_cast<u32>(value)};
}
inline void GicV3::drop_priority(Intid intid) {
    asm volatile("msr icc_eoir1_el1, %0" ::"r"(static_cast<u64>(intid.value)) : "memory");
    asm volatile("isb" ::: "memory"); // the drop precedes whatever enables interrupts again
}
inline void GicV3::deactivate(Intid intid) {
    asm volatile("msr icc_dir_el1, %0" ::"r"(static_cast<u64>(intid.value)) : "memory");
    asm volatile("isb" ::: "memory");
}
inline void GicV3::send_sgi(u64 value) {
    // Orders the stores that the target will look at before the interrupt that tells it to.
    asm volatile("dsb ishst" ::: "memory");
    asm volatile("msr icc_sgi1r_el1, %0\n isb" ::"r"(value) : "memory");
}
inline bool LrFile::timer_line() {
    u64 ctl;
    asm volatile("mrs %0, cntv_ctl_el0" : "=r"(ctl));
    return (ctl & 7) == 5; // ENABLE, ISTATUS, and no IMASK
}
inline void LrFile::release(u16 pintid) {
    GicV3::deactivate(Intid{pintid});
}

} // namespace atl::vgic
