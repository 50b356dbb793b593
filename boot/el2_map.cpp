// SPDX-License-Identifier: Apache-2.0
// EL2 stage-1 map builder. Pure. [DDI0487 D8.3]
#include "boot/el2_map.hpp"

#include "lib/register.hpp"

namespace atl::boot {
namespace {

// Descriptor bits [DDI0487 D8.3.1, D8.3.2]; MAIR indexes as boot/head.S programs them.
constexpr u64 desc_valid = 1;
constexpr u64 desc_table_or_page = 2;
using AttrIndx = Field<4, 2>;
constexpr u64 attr_device = AttrIndx::of(0);
constexpr u64 attr_normal = AttrIndx::of(1);
constexpr u64 desc_ap1 = u64{1} << 6; // RES1 in a regime with one privilege level
constexpr u64 desc_ap2_readonly = u64{1} << 7;
constexpr u64 desc_sh_inner = u64{3} << 8;
constexpr u64 desc_af = u64{1} << 10;
constexpr u64 desc_xn = u64{1} << 54;
constexpr u64 address_mask = 0x0000'ffff'ffff'f000;

constexpr u64 leaf_attributes(El2Kind kind) {
    const u64 common = desc_valid | desc_ap1 | desc_af;
    switch (kind) {
    case El2Kind::code:
        return common | attr_normal | desc_sh_inner | desc_ap2_readonly;
    case El2Kind::rodata:
        return common | attr_normal | desc_sh_inner | desc_ap2_readonly | desc_xn;
    case El2Kind::data:
        return common | attr_normal | desc_sh_inner | desc_xn;
    case El2Kind::device:
        return common | attr_device | desc_xn;
    }
    return 0;
}

constexpr unsigned level_shift(unsigned level) {
    return 39 - 9 * level;
}

} // namespace

Result<El2Table*> El2Map::next_table(El2Table& table, unsigned index) {
    u64& entry = table.entry[index];
    if ((entry & desc_valid) != 0) {
        if ((entry & desc_table_or_page) == 0) {
            return Error::already_exists;
        }
        return &tables_[((entry & address_mask) - tables_pa_.value) / page_size];
    }
    if (used_ == tables_.size()) {
        return Error::no_memory;
    }
    const std::size_t slot = used_++;
    entry = (tables_pa_.value + slot * page_size) | desc_table_or_page | desc_valid;
    return &tables_[slot];
}

Status El2Map::map(HypVa va, Pa pa, u64 bytes, El2Kind kind) {
    constexpr u64 va_limit = u64{1} << 48;
    if (!va.is_aligned(page_size) || !pa.is_aligned(page_size) || bytes % page_size != 0) {
        return Error::invalid_argument;
    }
    if (bytes > va_limit || va.value > va_limit - bytes || pa.value > va_limit - bytes) {
        return Error::invalid_argument;
    }
    const u64 attributes = leaf_attributes(kind);
    while (bytes != 0) {
        El2Table* table = &tables_[0];
        for (unsigned level = 0;; ++level) {
            const u64 size = u64{1} << level_shift(level);
            const auto index = static_cast<unsigned>((va.value >> level_shift(level)) & 511);
            const bool leaf_allowed = level != 0;
            if (leaf_allowed && va.is_aligned(size) && pa.is_aligned(size) && bytes >= size) {
                if ((table->entry[index] & desc_valid) != 0) {
                    return Error::already_exists;
                }
                table->entry[index] = pa.value | attributes | (level == 3 ? desc_table_or_page : 0);
                va += size;
                pa += size;
                bytes -= size;
                break;
            }
            auto next = next_table(*table, index);
            ATOLL_TRY(next);
            table = *next;
        }
    }
    return {};
}

} // namespace atl::boot
