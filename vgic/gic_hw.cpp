// SPDX-License-Identifier: Apache-2.0
// The physical GIC's registers for one interrupt each: the same in GICv2 and GICv3, but for where the private ones are.
// Locks: none (see the header). Spec: [IHI0048B §4.3], [IHI0069 §12.9, §12.11].
#include "vgic/gic_hw.hpp"

namespace atl::vgic {

namespace gicd = gic::gicd;

Status Gic::init(const GicV2Layout& layout) {
    is_v2_ = true;
    return v2_.init(layout);
}

Status Gic::init(const GicV3Layout& layout) {
    return v3_.init(layout);
}

Status Gic::init_cpu(PcpuIndex cpu, Mpidr mpidr) {
    if (cpu.value >= max_pcpus) {
        return Error::invalid_argument;
    }
    LrFile& file = v3_.lr_file(cpu);
    InterfaceShape shape;
    if (is_v2_) {
        ATOLL_TRY(v2_.init_cpu(cpu));
        const LrFileV2& gicv2 = v2_.lr_file(cpu);
        file.set_gicv2(v2_.lr_file(cpu));
        shape.gicv2 = true;
        shape.priority_bits = static_cast<u8>(gicv2.priority_bits());
        shape.preemption_bits = static_cast<u8>(gicv2.preemption_bits());
    } else {
        ATOLL_TRY(v3_.init_cpu(cpu, mpidr));
        shape = InterfaceShape::of_vtr(GicV3::virtual_interface_type());
    }
    soft_files_[cpu.value] = SoftFile(shape, file);
    file.set_software(soft_files_[cpu.value]);
    return {};
}

Result<HypVa> Gic::frame_of(PcpuIndex cpu, Intid intid) const {
    const HypVa frame = is_v2_ ? v2_.frame() : v3_.frame_of(cpu, intid);
    return frame.value == 0 || intid.value >= intid_count() ? Result<HypVa>(Error::invalid_argument)
                                                            : Result<HypVa>(frame);
}

Status Gic::set_bit(PcpuIndex cpu, Intid intid, u64 array) const {
    const Result<HypVa> frame = frame_of(cpu, intid);
    ATOLL_TRY(frame);
    write32(*frame, array + intid.value / 32 * 4, 1u << (intid.value % 32));
    return {};
}

Status Gic::enable(PcpuIndex cpu, Intid intid) const {
    return set_bit(cpu, intid, gicd::isenabler);
}

Status Gic::disable(PcpuIndex cpu, Intid intid) const {
    ATOLL_TRY(set_bit(cpu, intid, gicd::icenabler));
    if (is_v2_) {
        // No register says when; the read back makes the write complete.
        static_cast<void>(read32(v2_.frame(), gicd::icenabler + intid.value / 32 * 4));
        return {};
    }
    return v3_.wait_for_writes(cpu, intid);
}

Status Gic::set_active(PcpuIndex cpu, Intid intid, bool active) const {
    return set_bit(cpu, intid, active ? gicd::isactiver : gicd::icactiver);
}

Status Gic::set_priority(PcpuIndex cpu, Intid intid, u8 priority) const {
    const Result<HypVa> frame = frame_of(cpu, intid);
    ATOLL_TRY(frame);
    write8(*frame, gicd::ipriorityr + intid.value, priority);
    return {};
}

Status Gic::set_trigger(PcpuIndex cpu, Intid intid, Trigger trigger) const {
    const Result<HypVa> frame = frame_of(cpu, intid);
    ATOLL_TRY(frame);
    if (intid.value < gic::first_ppi) {
        return trigger == Trigger::edge ? Status{} : Status{Error::invalid_argument};
    }
    const u64 offset = gicd::icfgr + intid.value / 16 * 4;
    const u32 bit = 2u << (2 * (intid.value % 16));
    const u32 old = read32(*frame, offset);
    write32(*frame, offset, trigger == Trigger::edge ? old | bit : old & ~bit);
    return {};
}

Status Gic::route(Intid spi, PcpuIndex target) {
    if (spi.value < gic::first_spi || spi.value >= intid_count() || target.value >= max_pcpus) {
        return Error::invalid_argument;
    }
    if (is_v2_) {
        v2_.route(spi, target);
    } else {
        v3_.route(spi, target);
    }
    return {};
}

void Gic::send_sgi(PcpuIndex target, u8 sgi) const {
    if (is_v2_) {
        v2_.send_sgi(target, sgi);
    } else {
        GicV3::send_sgi(v3_.sgi_value(target, sgi));
    }
}

} // namespace atl::vgic
