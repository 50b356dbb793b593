// SPDX-License-Identifier: Apache-2.0
// The machine while EL2 comes up: what boot found, what it reserved, the World that it fills.
// Boot CPU only. Every step returns a Status and says why in the log.
#pragma once
#include "boot/el2_map.hpp"
#include "boot/manifest.hpp"
#include "boot/platform.hpp"
#include "el2/world.hpp"
#include "vgic/gic_hw.hpp"

namespace atl::boot {

struct Host {
    Platform platform{};
    el2::World* world = nullptr;
    Pa load_address{};
    Pa device_tree_pa{};
    Range<Pa> device_tree{};
    Range<Pa> image{};
    vgic::Gic gic{};
    unsigned vmid_bits = 0;
    StaticVector<Range<Pa>, 72> occupied{}; // what the pool must not get
    std::span<const u8> bundle{};

    Status read_device_tree(u64 entry_level);
    Status build_map();
    Status build_memory();
    Status init_cpus_and_gic();
    void init_smmu();
    void start_secondaries();
    void init_passthrough();
    void flush_console();
    unsigned gic_architecture() const { return gic.architecture(); }

  private:
    Status init_gic();
    Status init_gic_of_cpu(const el2::PerCpu& cpu);
    Status init_its();
    std::string_view init_direct();
    Status map_image(El2Map& map);
    Status map_ram(El2Map& map);
    Status map_devices(El2Map& map);
    Result<Pa> carve(u64 bytes);
    void configure_interrupts(unsigned cpu);
    friend void secondary_main(el2::PerCpu& cpu);
};

/// The one Host, in .bss.
Host& make_host(Pa load_address, Pa device_tree);
/// TPIDR_EL2 and VBAR_EL2 of this CPU.
void enter_cpu(el2::PerCpu* cpu);
/// A secondary's own set-up, up to being online.
void secondary_main(el2::PerCpu& cpu);

} // namespace atl::boot
