// SPDX-License-Identifier: Apache-2.0
// Memory transaction descriptors, both layouts, read from and written to guest memory. No state.
// Every byte of a descriptor is read once: the parts are disjoint by check, and what was read lives in EL2's
// copy. [DEN0140 v1.1 §1.10 memory transaction descriptor; v1.0: DEN0077A v1.0 §5.12]
#pragma once
#include "el2/ffa/call.hpp"
#include "el2/ffa/limits.hpp"
#include "el2/ffa/ports.hpp"

namespace atl::ffa {

/// A bounded stretch of a VM's TX buffer.
struct GuestBytes {
    const Ports& ports;
    VmId vm;
    Ipa base;
    u64 size;

    /// Errors: invalid_argument when the range leaves the stretch; what read_guest says.
    Status read(u64 offset, std::span<std::byte> out) const;
};

struct EndpointAccess {
    VmId vm;
    u8 permissions;
    u8 flags;
};

/// The head of a descriptor in one shape for both versions.
struct Transaction {
    VmId sender;
    u16 attributes;
    u32 flags;
    u64 handle;
    u64 tag;
    u32 endpoint_count; // 1 .. max_borrowers
    EndpointAccess endpoints[max_borrowers];
    u32 composite_offset; // the same for all endpoints; 0: there is none
};

struct Composite {
    u32 page_count;
    u32 range_count;
};

/// Head and endpoint descriptors, structure only: reserved fields zero, everything inside, nothing
/// overlapping. Errors: invalid_argument; no_memory (more endpoints than max_borrowers).
Result<Transaction> read_transaction(const GuestBytes& bytes, bool v1_1);
/// Errors: invalid_argument, also for zero or more than max_buffer_pages pages.
Result<Composite> read_composite(const GuestBytes& bytes, u32 offset);

/// What a borrower is told about its mapping.
struct RetrieveResponse {
    VmId owner;
    VmId borrower;
    u64 handle;
    u64 tag;
    u32 flags;
    Access access;
    bool execute;
    Ipa base;
    u32 page_count;
};
/// Its length in bytes, always: there is one constituent. It fits in one page.
constexpr u32 response_length(bool v1_1) {
    return (v1_1 ? sizeof(ffa_mem_region) : sizeof(ffa_mem_region_v10)) + sizeof(ffa_mem_region_attributes) +
           sizeof(ffa_composite_mem_region) + sizeof(ffa_mem_region_addr_range);
}
/// Writes it at `rx`.
Status write_response(const Ports& ports, Ipa rx, const RetrieveResponse& response, bool v1_1);

/// FFA_MEM_RELINQUISH's descriptor for one endpoint. Errors: invalid_argument for any other.
struct Relinquish {
    u64 handle;
    u32 flags;
    VmId endpoint;
};
Result<Relinquish> read_relinquish(const GuestBytes& bytes);

} // namespace atl::ffa
