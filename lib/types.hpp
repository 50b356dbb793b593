// SPDX-License-Identifier: Apache-2.0
// Strong types for addresses and identifiers: they never travel as bare integers.
// Owns no state. Conversions between address spaces are explicit functions with a name.
// The root namespace is `atl`: ::atoll is a function of <stdlib.h> and cannot be a namespace.
#pragma once
#include <compare>
#include <cstddef>
#include <cstdint>

#include "lib/limits.hpp"

namespace atl {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

/// An address in one address space; Tag tells which. Arithmetic stays in the space; differences are sizes.
template <class Tag>
struct Address {
    u64 value = 0;

    constexpr auto operator<=>(const Address&) const = default;
    constexpr Address operator+(u64 bytes) const { return {value + bytes}; }
    constexpr Address operator-(u64 bytes) const { return {value - bytes}; }
    constexpr u64 operator-(Address other) const { return value - other.value; }
    constexpr Address& operator+=(u64 bytes) {
        value += bytes;
        return *this;
    }
    /// True when the address is a multiple of `alignment`, a power of two.
    constexpr bool is_aligned(u64 alignment) const { return (value & (alignment - 1)) == 0; }
    constexpr Address align_down(u64 alignment) const { return {value & ~(alignment - 1)}; }
    /// The caller has checked that the result does not wrap.
    constexpr Address align_up(u64 alignment) const { return {(value + alignment - 1) & ~(alignment - 1)}; }
    constexpr u64 page_number() const { return value >> page_shift; }
};

struct PaTag;
struct IpaTag;
struct HypVaTag;
struct GuestVaTag;
using Pa = Address<PaTag>;           // physical address
using Ipa = Address<IpaTag>;         // intermediate physical address: what a guest calls physical
using HypVa = Address<HypVaTag>;     // EL2 stage-1 virtual address
using GuestVa = Address<GuestVaTag>; // EL1&0 stage-1 virtual address of a guest

/// A small integer that names one kind of thing.
template <class Tag, class Rep>
struct Id {
    Rep value = 0;
    constexpr auto operator<=>(const Id&) const = default;
};

struct VmIdTag;
struct VcpuIndexTag;
struct PcpuIndexTag;
struct VmidTag;
struct IntidTag;
struct StreamIdTag;
using VmId = Id<VmIdTag, u16>;          // FF-A endpoint id: 0 is the hypervisor, VMs count from 1
using VcpuIndex = Id<VcpuIndexTag, u8>; // 0 .. max_vcpus_per_vm-1, within one VM
using PcpuIndex = Id<PcpuIndexTag, u8>; // 0 .. max_pcpus-1
using Vmid = Id<VmidTag, u16>;          // VTTBR_EL2.VMID
using Intid = Id<IntidTag, u32>;        // GIC interrupt number
using StreamId = Id<StreamIdTag, u32>;  // SMMU StreamID

/// The affinity fields of MPIDR_EL1 and nothing else: Aff3 in bits 39:32, Aff2..Aff0 in bits 23:0 [DDI0487
/// D19.2.108].
struct Mpidr {
    static constexpr u64 mask = 0xff'00ff'ffff;
    u64 value = 0;
    constexpr auto operator<=>(const Mpidr&) const = default;
};

/// [base, base + size). `size` in bytes; an empty range contains nothing.
template <class A>
struct Range {
    A base{};
    u64 size = 0;

    constexpr A end() const { return base + size; }
    constexpr bool empty() const { return size == 0; }
    /// True when [address, address + bytes) lies inside; immune to wrap-around.
    constexpr bool contains(A address, u64 bytes = 1) const {
        return address.value >= base.value && bytes <= size && address.value - base.value <= size - bytes;
    }
    constexpr bool overlaps(const Range& other) const {
        return size != 0 && other.size != 0 && base.value < other.base.value + other.size &&
               other.base.value < base.value + size;
    }
    constexpr bool operator==(const Range&) const = default;
};

/// A set of vCPUs of one VM, bit n for VcpuIndex n. Returned by whoever made an interrupt pending: those must
/// be woken.
using VcpuMask = u32;

/// EL2's direct map: all host RAM and the devices that EL2 drives, at a constant offset [boot/el2_map.cpp
/// builds it].
constexpr u64 direct_map_base = 0x0000'8000'0000'0000;
constexpr HypVa to_hyp_va(Pa pa) {
    return {pa.value + direct_map_base};
}
constexpr Pa direct_map_pa(HypVa va) {
    return {va.value - direct_map_base};
}

} // namespace atl
