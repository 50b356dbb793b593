// SPDX-License-Identifier: Apache-2.0
// The rules of memory transactions: see rules.hpp.
#include "el2/ffa/rules.hpp"

namespace atl::ffa {

namespace {

constexpr u32 data_bits = 0x3;
constexpr u32 instruction_bits = 0xc;

/// Normal write-back memory, inner or outer shareable.
bool acceptable_attributes(u16 attributes) {
    return (attributes & ~0x3u) == (FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK) && (attributes & 0x2) != 0;
}

/// Nobody but one receiver can reach the memory: it says itself what it wants.
bool exclusive(Kind kind, bool several) {
    return kind != Kind::share && !several;
}

Status check_receiver(const EndpointAccess& e, Kind kind, bool several) {
    const u32 data = e.permissions & data_bits;
    const u32 instructions = e.permissions & instruction_bits;
    const bool data_ok =
        kind == Kind::donate ? data == 0 : data == FFA_MEM_PERM_RO || data == FFA_MEM_PERM_RW;
    const bool instructions_ok =
        instructions == 0 || (instructions == FFA_MEM_PERM_NX && !exclusive(kind, several));
    return data_ok && instructions_ok && e.flags == 0 ? Status{} : Status{Error::invalid_argument};
}

} // namespace

Status check_send(const Mailboxes& mailboxes, VmId caller, Kind kind, const Transaction& t) {
    const u32 flags = FFA_MEM_FLAG_TIME_SLICE | (kind == Kind::share ? 0 : FFA_MEM_FLAG_ZERO);
    const bool several = t.endpoint_count > 1;
    if (t.sender != caller || t.handle != 0 || (t.flags & ~flags) != 0 || t.composite_offset == 0 ||
        (several && kind == Kind::donate)) {
        return Error::invalid_argument;
    }
    if (exclusive(kind, several)) {
        if (t.attributes != 0) {
            return Error::invalid_argument;
        }
    } else if (!acceptable_attributes(t.attributes)) {
        return (t.attributes & 0xffc0) != 0 ? Error::invalid_argument : Error::denied;
    }
    for (u32 i = 0; i < t.endpoint_count; ++i) {
        const EndpointAccess& e = t.endpoints[i];
        if (!mailboxes.known(e.vm) || e.vm == caller) {
            return Error::invalid_argument;
        }
        ATOLL_TRY(check_receiver(e, kind, several));
        if (!mailboxes.allowed(caller, e.vm)) {
            return Error::denied;
        }
    }
    return {};
}

Result<Grant> check_retrieve(VmId caller, const Transaction& t, const Offer& offer) {
    constexpr u32 known_flags = FFA_MEM_FLAG_ZERO | FFA_MEM_FLAG_TIME_SLICE | FFA_MEM_FLAG_ZERO_AFTER |
                                FFA_MEM_FLAG_TYPE_MASK | FFA_MEM_FLAG_ALIGNMENT_HINT |
                                FFA_MEM_FLAG_ONE_BORROWER;
    constexpr u32 hint_valid = 0x200; // a hint, which is not followed, but its bits must make sense
    constexpr u32 zero_flags = FFA_MEM_FLAG_ZERO | FFA_MEM_FLAG_ZERO_AFTER;
    const u32 type = t.flags & FFA_MEM_FLAG_TYPE_MASK;
    const u32 hint = t.flags & FFA_MEM_FLAG_ALIGNMENT_HINT;
    if (t.sender != offer.owner || t.tag != offer.tag || t.composite_offset != 0 ||
        (t.flags & ~known_flags) != 0 || (type != 0 && type != type_flag(offer.kind)) ||
        (hint != 0 && (hint & hint_valid) == 0) ||
        ((t.flags & FFA_MEM_FLAG_ONE_BORROWER) != 0 && t.endpoint_count != 1) ||
        (offer.kind == Kind::share && (t.flags & zero_flags) != 0)) {
        return Error::invalid_argument;
    }
    if (t.attributes != 0 && t.attributes != memory_attributes) {
        return Error::denied;
    }
    const EndpointAccess* own = nullptr;
    for (u32 i = 0; i < t.endpoint_count; ++i) {
        if ((t.endpoints[i].flags & ~1u) != 0) {
            return Error::invalid_argument;
        }
        own = t.endpoints[i].vm == caller ? &t.endpoints[i] : own;
    }
    if (own == nullptr) {
        return Error::invalid_argument;
    }
    const u32 data = own->permissions & data_bits;
    const u32 instructions = own->permissions & instruction_bits;
    const bool alone = exclusive(offer.kind, offer.several);
    if (data == data_bits || instructions == instruction_bits || (alone && instructions == 0)) {
        return Error::invalid_argument;
    }
    const bool execute = instructions == FFA_MEM_PERM_X;
    if ((execute && !alone) || (data == FFA_MEM_PERM_RW && offer.access == Access::read_only)) {
        return Error::denied;
    }
    const Access access = data == FFA_MEM_PERM_RO ? Access::read_only : offer.access;
    if (((t.flags & zero_flags) != 0 && access == Access::read_only) ||
        ((t.flags & FFA_MEM_FLAG_ZERO) != 0 && !offer.zeroed)) {
        return Error::denied;
    }
    return Grant{access, execute, (t.flags & FFA_MEM_FLAG_ZERO_AFTER) != 0};
}

} // namespace atl::ffa
