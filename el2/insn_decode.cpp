// SPDX-License-Identifier: Apache-2.0
// The decoder of A64 loads and stores. Pure; see the header for what is left out and why.
#include "el2/insn_decode.hpp"

#include "lib/register.hpp"

namespace atl::el2 {
namespace {

// Fields as printed in [DDI0487 C4.1.94].
using LoadStoreClass = Field<28, 25>; // x1x0
using Op0 = Field<29, 28>;
using V = Bit<26>;
using Rt = Field<4, 0>;
using Rn = Field<9, 5>;
// Register pair.
using PairOpc = Field<31, 30>;
using PairMode = Field<24, 23>;
using PairL = Bit<22>;
using PairImm7 = Field<21, 15>;
using Rt2 = Field<14, 10>;
// Single register.
using Size = Field<31, 30>;
using UnsignedOffset = Bit<24>;
using Opc = Field<23, 22>;
using Imm12 = Field<21, 10>;
using Bit21 = Bit<21>;
using Imm9 = Field<20, 12>;
using Mode = Field<11, 10>;
using Rm = Field<20, 16>;
using Option = Field<15, 13>;
using S = Bit<12>;

constexpr u64 op0_pair = 2;
constexpr u64 op0_single = 3;
constexpr u8 sp_or_zero = 31;

enum class IndexMode : u8 { offset, post, pre };

u8 reg(u64 number) {
    return static_cast<u8>(number);
}

/// Fills in the addressing of an immediate form.
void set_immediate(LoadStore& out, IndexMode mode, i64 immediate) {
    out.offset = mode == IndexMode::post ? 0 : immediate;
    out.writeback = mode != IndexMode::offset;
    out.writeback_amount = out.writeback ? immediate : 0;
}

/// Writeback to a register that is also transferred is CONSTRAINED UNPREDICTABLE [DDI0487 K1.2].
bool writeback_clashes(const LoadStore& out) {
    if (!out.writeback || out.base == sp_or_zero) {
        return false;
    }
    return out.access[0].reg == out.base || (out.count == 2 && out.access[1].reg == out.base);
}

Result<LoadStore> decode_pair(u32 word) {
    const u64 opc = PairOpc::get(word);
    const u64 mode = PairMode::get(word); // 0 no-allocate, 1 post-index, 2 offset, 3 pre-index
    const bool load = PairL::test(word);
    const bool sign = opc == 1;
    if (opc == 3 || (sign && (!load || mode == 0))) {
        return Error::not_supported; // unallocated, STGP
    }
    const u8 size = opc == 2 ? 8 : 4;
    LoadStore out;
    out.count = 2;
    out.base = reg(Rn::get(word));
    const IndexMode index_mode =
        mode == 1 ? IndexMode::post : (mode == 3 ? IndexMode::pre : IndexMode::offset);
    set_immediate(out, index_mode, signed_get<PairImm7>(word) * size);
    const bool to_64 = sign || opc == 2;
    out.access[0] = {reg(Rt::get(word)), size, !load, sign, to_64, 0};
    out.access[1] = {reg(Rt2::get(word)), size, !load, sign, to_64, size};
    if (writeback_clashes(out) || (load && out.access[0].reg == out.access[1].reg)) {
        return Error::not_supported;
    }
    return out;
}

/// What size and opc say of a single register's transfer [DDI0487 C4.1.94, Load/store register].
Result<RegisterAccess> decode_transfer(u32 word) {
    const u64 size = Size::get(word);
    const auto bytes = static_cast<u8>(1u << size);
    const u8 rt = reg(Rt::get(word));
    switch (Opc::get(word)) {
    case 0:
        return RegisterAccess{rt, bytes, true, false, false, 0};
    case 1:
        return RegisterAccess{rt, bytes, false, false, size == 3, 0};
    case 2: // sign-extending to 64 bits; of size 3 it is a prefetch or unallocated
        if (size == 3) {
            return Error::not_supported;
        }
        return RegisterAccess{rt, bytes, false, true, true, 0};
    default: // sign-extending to 32 bits
        if (size >= 2) {
            return Error::not_supported;
        }
        return RegisterAccess{rt, bytes, false, true, false, 0};
    }
}

Status decode_register_offset(u32 word, LoadStore& out) {
    out.has_index = true;
    out.index = reg(Rm::get(word));
    out.shift = S::test(word) ? static_cast<u8>(Size::get(word)) : 0;
    switch (Option::get(word)) {
    case 2:
        out.extend = IndexExtend::uxtw;
        return {};
    case 3:
        out.extend = IndexExtend::lsl;
        return {};
    case 6:
        out.extend = IndexExtend::sxtw;
        return {};
    case 7:
        out.extend = IndexExtend::sxtx;
        return {};
    default:
        return Error::not_supported; // unallocated
    }
}

Result<LoadStore> decode_single(u32 word) {
    const auto transfer = decode_transfer(word);
    if (!transfer) {
        return transfer.error();
    }
    LoadStore out;
    out.count = 1;
    out.access[0] = *transfer;
    out.base = reg(Rn::get(word));
    if (UnsignedOffset::test(word)) {
        set_immediate(out, IndexMode::offset, static_cast<i64>(Imm12::get(word) << Size::get(word)));
        return out;
    }
    const u64 mode = Mode::get(word);
    if (Bit21::test(word)) {
        if (mode != 2) {
            return Error::not_supported; // atomics, loads with pointer authentication
        }
        ATOLL_TRY(decode_register_offset(word, out));
        return out;
    }
    // 0 unscaled, 1 post-index, 2 unprivileged, 3 pre-index
    const IndexMode index_mode =
        mode == 1 ? IndexMode::post : (mode == 3 ? IndexMode::pre : IndexMode::offset);
    set_immediate(out, index_mode, signed_get<Imm9>(word));
    if (writeback_clashes(out)) {
        return Error::not_supported;
    }
    return out;
}

u64 extend_index(u64 value, IndexExtend extend) {
    switch (extend) {
    case IndexExtend::uxtw:
        return static_cast<u32>(value);
    case IndexExtend::sxtw:
        return static_cast<u64>(signed_get<Field<31, 0>>(value));
    case IndexExtend::lsl:
    case IndexExtend::sxtx:
        break;
    }
    return value;
}

} // namespace

u64 LoadStore::address(unsigned i, u64 base_value, u64 index_value) const {
    u64 result = base_value + static_cast<u64>(offset) + access[i].displacement;
    if (has_index) {
        result += extend_index(index_value, extend) << shift;
    }
    return result;
}

Result<LoadStore> decode_load_store(u32 instruction) {
    if ((LoadStoreClass::get(instruction) & 0b0101) != 0b0100) {
        return Error::invalid_argument;
    }
    if (V::test(instruction)) {
        return Error::not_supported; // SIMD and floating point
    }
    switch (Op0::get(instruction)) {
    case op0_pair:
        return decode_pair(instruction);
    case op0_single:
        return decode_single(instruction);
    default:
        return Error::not_supported; // exclusive, ordered, literal, tags, memory copy
    }
}

} // namespace atl::el2
