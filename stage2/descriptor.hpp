// SPDX-License-Identifier: Apache-2.0
// Stage-2 descriptors of the 4 KiB granule: layouts, encoding, decoding. Pure values, no state, no lock.
// Not here: where tables live (table_memory_hw.hpp), how they are changed (address_space_impl.hpp).
// [DDI0487 D8.3.1 descriptor formats, D8.3.2 attributes, D8.4.2 stage 2 permissions, D8.5.5 stage 2 memory
// types]
#pragma once
#include "lib/register.hpp"
#include "lib/types.hpp"

namespace atl::stage2 {

enum class MemoryType : u8 {
    normal, // write-back cacheable, inner shareable
    device, // Device-nGnRE; the guest's stage 1 may only make it stronger
};

/// What a guest may do with a mapping. A mapping without any access is not a mapping: unmap instead.
struct MapAttributes {
    MemoryType memory = MemoryType::normal;
    bool read = true;
    bool write = true;
    bool execute = true;
    constexpr bool operator==(const MapAttributes&) const = default;
    /// Execution needs read permission, and never happens from device memory.
    constexpr bool valid() const {
        return (read || write) && (!execute || (read && memory == MemoryType::normal));
    }
};

constexpr MapAttributes ram_attributes{MemoryType::normal, true, true, true};
constexpr MapAttributes device_attributes{MemoryType::device, true, true, false};

/// Fields of a stage-2 descriptor as the manual prints them.
struct Descriptor {
    using Valid = Bit<0>;
    using Table = Bit<1>;        // levels 0..2: 1 = table, 0 = block; level 3: 1 = page, 0 = reserved
    using MemAttr = Field<5, 2>; // without FEAT_S2FWB
    using S2AP_R = Bit<6>;
    using S2AP_W = Bit<7>;
    using SH = Field<9, 8>;
    using AF = Bit<10>;
    using Address = Field<47, 12>; // next table or output address; no FEAT_LPA2
    using XN = Bit<54>;            // with bit 53 zero: no execution at EL1 and EL0, also with FEAT_XNX
};

constexpr u64 mem_attr_normal_wb = 0b1111;    // outer and inner write-back [DDI0487 D8.5.5]
constexpr u64 mem_attr_device_ngnre = 0b0001; // Device-nGnRE
constexpr u64 sh_inner = 0b11;

constexpr unsigned last_level = 3;
constexpr unsigned entries_per_table = 512;

/// log2 of what one entry of `level` maps: 39, 30, 21, 12 for levels 0..3.
constexpr unsigned level_shift(unsigned level) {
    return 12 + 9 * (last_level - level);
}
constexpr u64 level_size(unsigned level) {
    return u64{1} << level_shift(level);
}
static_assert(level_size(1) == gib && level_size(2) == 2 * mib && level_size(3) == page_size);

constexpr bool is_valid(u64 descriptor) {
    return Descriptor::Valid::test(descriptor);
}
constexpr bool is_table(u64 descriptor, unsigned level) {
    return is_valid(descriptor) && level < last_level && Descriptor::Table::test(descriptor);
}
/// A block (levels 1, 2) or a page (level 3). Reserved encodings are none of both: they fault.
constexpr bool is_leaf(u64 descriptor, unsigned level) {
    if (!is_valid(descriptor)) {
        return false;
    }
    const bool bit1 = Descriptor::Table::test(descriptor);
    return level == last_level ? bit1 : (level != 0 && !bit1);
}
constexpr Pa output_address(u64 descriptor) {
    return {descriptor & Descriptor::Address::mask};
}

constexpr u64 table_descriptor(Pa table) {
    return (table.value & Descriptor::Address::mask) | Descriptor::Valid::mask | Descriptor::Table::mask;
}

/// The permission bits of `attributes`: what may change in a live leaf without break-before-make.
constexpr u64 permission_bits(const MapAttributes& attributes) {
    return Descriptor::S2AP_R::of(attributes.read) | Descriptor::S2AP_W::of(attributes.write) |
           Descriptor::XN::of(!attributes.execute);
}
constexpr u64 permission_mask = Descriptor::S2AP_R::mask | Descriptor::S2AP_W::mask | Descriptor::XN::mask;

/// All attribute bits of a leaf. AF is set: no access-flag faults. Shareability of device memory is ignored.
constexpr u64 attribute_bits(const MapAttributes& attributes) {
    const u64 type = attributes.memory == MemoryType::normal
                         ? Descriptor::MemAttr::of(mem_attr_normal_wb) | Descriptor::SH::of(sh_inner)
                         : Descriptor::MemAttr::of(mem_attr_device_ngnre);
    return type | Descriptor::AF::mask | permission_bits(attributes);
}
/// What BasicAddressSpace keeps apart in a leaf: everything that is neither address nor type bits.
constexpr u64 attribute_mask =
    permission_mask | Descriptor::MemAttr::mask | Descriptor::SH::mask | Descriptor::AF::mask;

constexpr u64 leaf_descriptor(Pa output, unsigned level, u64 attributes) {
    return (output.value & Descriptor::Address::mask) | attributes | Descriptor::Valid::mask |
           Descriptor::Table::of(level == last_level);
}

constexpr MapAttributes attributes_of(u64 leaf) {
    const bool normal = Descriptor::MemAttr::get(leaf) == mem_attr_normal_wb;
    return {normal ? MemoryType::normal : MemoryType::device, Descriptor::S2AP_R::test(leaf),
            Descriptor::S2AP_W::test(leaf), !Descriptor::XN::test(leaf)};
}

static_assert(attributes_of(leaf_descriptor({0x4000'0000}, 1, attribute_bits(ram_attributes))) ==
              ram_attributes);
static_assert(attributes_of(leaf_descriptor({0x1000}, 3, attribute_bits(device_attributes))) ==
              device_attributes);

} // namespace atl::stage2
