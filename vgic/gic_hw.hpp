// SPDX-License-Identifier: Apache-2.0
// The physical GIC: one face over GICv2 and GICv3 (and 4) for the rest of EL2. Does not own the paths of an exit, which
// know their version: el2/interrupt_hw.cpp and vgic/switch_hw.cpp. Locks: none. Per-interrupt registers are write-1 or
// byte wide; read-modify-write of ICFGR happens at boot and when one CPU sets up a VM. Spec: [IHI0048B], [IHI0069].
#pragma once
#include "vgic/gicv2_hw.hpp"
#include "vgic/gicv3_hw.hpp"
#include "vgic/soft_file_hw.hpp"

namespace atl::vgic {

enum class Trigger : u8 { level, edge };

/// Priorities: everything that EL2 handles is alike; the guest's own priorities live in its virtual interface.
constexpr u8 host_priority = 0xa0;

class Gic {
  public:
    /// On the boot CPU, first. not_supported: another GIC, or it does not answer; invalid_argument: the layout.
    Status init(const GicV2Layout& layout);
    Status init(const GicV3Layout& layout);
    /// On every CPU (the boot CPU too), after init. `mpidr` is this CPU's. not_found: a GICv3 without a redistributor
    /// for it; not_supported: of its interface.
    Status init_cpu(PcpuIndex cpu, Mpidr mpidr);

    unsigned architecture() const { return is_v2_ ? 2 : v3_.architecture(); } // 2, 3 or 4
    bool is_v2() const { return is_v2_; }
    GicV2& v2() { return v2_; }
    GicV3& v3() { return v3_; }
    const GicV3& v3() const { return v3_; }
    u32 intid_count() const { return is_v2_ ? v2_.intid_count() : v3_.intid_count(); }
    LrFile& lr_file(PcpuIndex cpu) { return v3_.lr_file(cpu); }
    /// Usable priority bits of a guest.
    unsigned guest_priority_bits() {
        return is_v2_ ? v2_.lr_file({0}).priority_bits() : lr_file({0}).priority_bits();
    }

    /// For PPIs and SGIs these act on `cpu`, which must be the caller's with GICv2; for SPIs `cpu` is ignored. Unknown
    /// INTIDs: invalid_argument.
    Status enable(PcpuIndex cpu, Intid intid) const;
    /// Complete on return: it will not fire any more.
    Status disable(PcpuIndex cpu, Intid intid) const;
    Status set_priority(PcpuIndex cpu, Intid intid, u8 priority) const;
    /// The interrupt must be disabled. SGIs are always edge.
    Status set_trigger(PcpuIndex cpu, Intid intid, Trigger trigger) const;
    Status set_active(PcpuIndex cpu, Intid intid, bool active) const;
    /// An SPI to one CPU that is initialised.
    Status route(Intid spi, PcpuIndex target);
    /// Earlier stores are visible to the target when it takes the SGI. To a CPU that is initialised.
    void send_sgi(PcpuIndex target, u8 sgi) const;

  private:
    Result<HypVa> frame_of(PcpuIndex cpu, Intid intid) const;
    Status set_bit(PcpuIndex cpu, Intid intid, u64 array) const;

    bool is_v2_ = false;
    GicV2 v2_{};
    GicV3 v3_{};
    SoftFile soft_files_[max_pcpus]{};
};

} // namespace atl::vgic
