// SPDX-License-Identifier: Apache-2.0
// What sender and receiver of memory may say about it: flags, attributes, permissions of a transaction
// descriptor that is well formed. No state.
//
//                    SHARE        LEND, several    LEND, one     DONATE
//   borrowers        1..4         2..4             1             1
//   attributes       normal memory, write-back     none          none
//   zero first       INVALID      may              may           may
//   data access      RO or RW     RO or RW         RO or RW      none
//   instructions     none or NX   none or NX       none          none
// and in the retrieve request
//   data access      none, or what the sender said, or less
//   instructions     none or NX   none or NX       NX or X       NX or X
//   zero first       INVALID      DENIED unless the sender said so; DENIED for a read-only retrieve
//   zero afterwards  INVALID      DENIED for a read-only retrieve
// Memory that several VMs reach is never executable: X is DENIED there. [DEN0140 v1.1 memory management
// protocol: data access permissions, instruction access permissions, memory region attributes, flags usage]
#pragma once
#include "el2/ffa/descriptor.hpp"
#include "el2/ffa/mailbox.hpp"

namespace atl::ffa {

/// Normal write-back inner-shareable memory: what every mapping is.
constexpr u16 memory_attributes = FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER;

/// Errors: invalid_argument; denied (a receiver that the manifest does not allow, another kind of memory).
Status check_send(const Mailboxes& mailboxes, VmId caller, Kind kind, const Transaction& t);

/// What the sender said, as far as a retrieve request is held against it.
struct Offer {
    VmId owner;
    u64 tag;
    Kind kind;
    bool zeroed;  // the sender asked for zeroes
    bool several; // borrowers
    Access access;
};
/// What a receiver gets.
struct Grant {
    Access access;
    bool execute;
    bool zero_after;

    bool operator==(const Grant&) const = default;
};
/// Errors: invalid_argument, denied. That every listed endpoint is a borrower is checked elsewhere.
Result<Grant> check_retrieve(VmId caller, const Transaction& t, const Offer& offer);

/// Bits 4:3 of the flags of a retrieve request and response.
constexpr u32 type_flag(Kind kind) {
    switch (kind) {
    case Kind::share:
        return FFA_MEM_FLAG_TYPE_SHARE;
    case Kind::lend:
        return FFA_MEM_FLAG_TYPE_LEND;
    case Kind::donate:
        return FFA_MEM_FLAG_TYPE_DONATE;
    }
    return 0;
}

} // namespace atl::ffa
