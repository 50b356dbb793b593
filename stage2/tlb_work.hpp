// SPDX-License-Identifier: Apache-2.0
// What must be invalidated after a stage-2 change, as values: TlbScope (where) and TlbWork (a debt).
// Not here: the instructions (tlb_hw.cpp). [DDI0487 D8.14 TLB maintenance, D8.14.1 break-before-make]
#pragma once
#include <utility>

#include "lib/types.hpp"
#include "stage2/descriptor.hpp"
#include "stage2/geometry.hpp"

namespace atl::stage2 {

/// The translations of one VM that may be stale in a TLB, of the CPUs and of the SMMU.
struct TlbScope {
    u64 vttbr = 0; // root and VMID of the VM
    Ipa base{};
    u64 bytes = 0;
    u8 leaf_level = 1;     // deepest level among the stale leaves: one operation per entry of that level
    bool whole_vm = false; // every translation of the VMID; base and bytes do not matter

    constexpr bool empty() const { return bytes == 0 && !whole_vm; }
    constexpr Vmid vmid() const { return vmid_of(vttbr); }
    constexpr u64 stride() const { return level_size(leaf_level); }
    constexpr u64 operations() const {
        const u64 first = base.align_down(stride()).value;
        return (base.value + bytes - first + stride() - 1) / stride();
    }
    /// Widens the scope by a stale leaf, or a table whose deepest leaves may be at `level`.
    constexpr void add(Ipa start, u64 size, unsigned level) {
        const u64 end = start.value + size;
        const u64 old_end = base.value + bytes;
        const bool first = bytes == 0;
        base = first || start < base ? start : base;
        bytes = (first || end > old_end ? end : old_end) - base.value;
        leaf_level = level > leaf_level ? static_cast<u8>(level) : leaf_level;
    }
};

/// Ends a chain of table pages. A link is a page address, so its bit 0 is clear: a walker that still reads it
/// through a stale table pointer sees an invalid descriptor.
constexpr Pa no_table{~u64{0xfff}};

/// Above this many operations the whole VMID is invalidated: the by-IPA sequence ends with VMALLE1 anyway, so
/// only cached stage-2 walks are saved by being precise.
constexpr u64 max_tlb_operations = 64;

/// Who else caches a VM's translations: the SMMU of its devices, which does not hear CPU TLBIs (no BTM).
/// Called after the CPU half, with the address-space lock held; returns when no device can use a stale entry.
struct InvalidateHook {
    void* context = nullptr;
    void (*invalidate)(void* context, const TlbScope& scope) = nullptr;
};

/// The debt that a weakened or removed mapping leaves: paid by AddressSpace::complete(), which invalidates
/// CPU and SMMU and only then frees the table pages that fell out of use. Until then no page may change hands
/// and the address-space lock stays held; the space refuses (panics) further changes.
class [[nodiscard]] TlbWork {
  public:
    constexpr explicit TlbWork(u64 vttbr) { scope_.vttbr = vttbr; }
    constexpr TlbWork(TlbWork&& other) noexcept : scope_(other.scope_), retired_(other.retired_) {
        other.scope_.bytes = 0;
        other.scope_.whole_vm = false;
        other.retired_ = no_table;
    }
    TlbWork(const TlbWork&) = delete;
    TlbWork& operator=(const TlbWork&) = delete;
    TlbWork& operator=(TlbWork&&) = delete;

    constexpr const TlbScope& scope() const { return scope_; }
    constexpr bool empty() const { return scope_.empty() && retired_ == no_table; }

  private:
    template <class Memory>
    friend class BasicAddressSpace;

    TlbScope scope_{};
    Pa retired_ = no_table; // chain of unlinked table pages through their first entry
};

} // namespace atl::stage2
