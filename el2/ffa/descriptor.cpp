// SPDX-License-Identifier: Apache-2.0
// Memory transaction descriptors: see descriptor.hpp.
#include "el2/ffa/descriptor.hpp"

namespace atl::ffa {

namespace {

static_assert(sizeof(ffa_mem_region) == 48 && sizeof(ffa_mem_region_v10) == 32);
static_assert(sizeof(ffa_mem_region_attributes) == 16 && sizeof(ffa_composite_mem_region) == 16);
static_assert(sizeof(ffa_mem_region_addr_range) == 16 && sizeof(ffa_mem_relinquish) == 16);

template <class T>
Status read_value(const GuestBytes& bytes, u64 offset, T& out) {
    return bytes.read(offset, std::as_writable_bytes(std::span<T, 1>(&out, 1)));
}

/// Where the endpoint descriptors are.
struct EndpointArray {
    u32 offset;
    u32 count;
};

Result<EndpointArray> read_head_v1_1(const GuestBytes& bytes, Transaction& out) {
    ffa_mem_region head;
    ATOLL_TRY(read_value(bytes, 0, head));
    if (head.ep_mem_size != sizeof(ffa_mem_region_attributes) || head.ep_mem_offset < sizeof(head) ||
        head.ep_mem_offset % 16 != 0 || (head.reserved[0] | head.reserved[1] | head.reserved[2]) != 0) {
        return Error::invalid_argument;
    }
    out.sender = VmId{head.sender_id};
    out.attributes = head.attributes;
    out.flags = head.flags;
    out.handle = head.handle;
    out.tag = head.tag;
    return EndpointArray{head.ep_mem_offset, head.ep_count};
}

Result<EndpointArray> read_head_v1_0(const GuestBytes& bytes, Transaction& out) {
    ffa_mem_region_v10 head;
    ATOLL_TRY(read_value(bytes, 0, head));
    if (head.reserved0 != 0 || head.reserved1 != 0) {
        return Error::invalid_argument;
    }
    out.sender = VmId{head.sender_id};
    out.attributes = head.attributes;
    out.flags = head.flags;
    out.handle = head.handle;
    out.tag = head.tag;
    return EndpointArray{sizeof(head), head.ep_count};
}

} // namespace

Status GuestBytes::read(u64 offset, std::span<std::byte> out) const {
    if (offset > size || out.size() > size - offset) {
        return Error::invalid_argument;
    }
    return ports.read_guest(ports.context, vm, base + offset, out);
}

Result<Transaction> read_transaction(const GuestBytes& bytes, bool v1_1) {
    Transaction out{};
    const auto array = v1_1 ? read_head_v1_1(bytes, out) : read_head_v1_0(bytes, out);
    if (!array.ok()) {
        return array.error();
    }
    if (array->count == 0) {
        return Error::invalid_argument;
    }
    if (array->count > max_borrowers) {
        return Error::no_memory;
    }
    ffa_mem_region_attributes list[max_borrowers];
    const std::span<ffa_mem_region_attributes> endpoints(list, array->count);
    ATOLL_TRY(bytes.read(array->offset, std::as_writable_bytes(endpoints)));
    const u64 end = u64{array->offset} + endpoints.size_bytes();
    out.endpoint_count = array->count;
    out.composite_offset = endpoints[0].composite_off;
    if (out.composite_offset != 0 && (out.composite_offset < end || out.composite_offset % 8 != 0)) {
        return Error::invalid_argument;
    }
    for (u32 i = 0; i < array->count; ++i) {
        const auto& e = endpoints[i];
        if (e.reserved != 0 || e.composite_off != out.composite_offset || (e.permissions & 0xf0) != 0) {
            return Error::invalid_argument;
        }
        for (u32 k = 0; k < i; ++k) {
            if (out.endpoints[k].vm.value == e.receiver) {
                return Error::invalid_argument;
            }
        }
        out.endpoints[i] = {VmId{e.receiver}, e.permissions, e.flags};
    }
    return out;
}

Result<Composite> read_composite(const GuestBytes& bytes, u32 offset) {
    ffa_composite_mem_region composite;
    ATOLL_TRY(read_value(bytes, offset, composite));
    // Each range has at least one page, so there are never more ranges than pages.
    if (composite.reserved != 0 || composite.total_pg_cnt == 0 || composite.total_pg_cnt > max_buffer_pages ||
        composite.addr_range_cnt == 0 || composite.addr_range_cnt > composite.total_pg_cnt) {
        return Error::invalid_argument;
    }
    return Composite{composite.total_pg_cnt, composite.addr_range_cnt};
}

Status write_response(const Ports& ports, Ipa rx, const RetrieveResponse& response, bool v1_1) {
    struct Tail {
        ffa_mem_region_attributes endpoint;
        ffa_composite_mem_region composite;
        ffa_mem_region_addr_range range;
    } tail{};
    static_assert(sizeof(Tail) == 48);
    const u32 head_size = v1_1 ? sizeof(ffa_mem_region) : sizeof(ffa_mem_region_v10);
    tail.endpoint.receiver = response.borrower.value;
    tail.endpoint.permissions =
        static_cast<u8>((response.execute ? FFA_MEM_PERM_X : FFA_MEM_PERM_NX) |
                        (response.access == Access::read_write ? FFA_MEM_PERM_RW : FFA_MEM_PERM_RO));
    tail.endpoint.composite_off = head_size + sizeof(ffa_mem_region_attributes);
    tail.composite.total_pg_cnt = response.page_count;
    tail.composite.addr_range_cnt = 1;
    tail.range.address = response.base.value;
    tail.range.pg_cnt = response.page_count;
    constexpr u8 attributes = FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER;
    std::span<const std::byte> head_bytes;
    ffa_mem_region head{};
    ffa_mem_region_v10 head_v10{};
    if (v1_1) {
        head = {response.owner.value,
                attributes,
                response.flags,
                response.handle,
                response.tag,
                sizeof(ffa_mem_region_attributes),
                1,
                sizeof(ffa_mem_region),
                {}};
        head_bytes = std::as_bytes(std::span<const ffa_mem_region, 1>(&head, 1));
    } else {
        head_v10 = {response.owner.value, attributes, 0, response.flags, response.handle, response.tag, 0, 1};
        head_bytes = std::as_bytes(std::span<const ffa_mem_region_v10, 1>(&head_v10, 1));
    }
    ATOLL_TRY(ports.write_guest(ports.context, response.borrower, rx, head_bytes));
    return ports.write_guest(ports.context, response.borrower, rx + head_size,
                             std::as_bytes(std::span<const Tail, 1>(&tail, 1)));
}

Result<Relinquish> read_relinquish(const GuestBytes& bytes) {
    struct {
        u64 handle;
        u32 flags;
        u32 count;
        u16 endpoint;
    } raw{};
    static_assert(offsetof(decltype(raw), endpoint) == sizeof(ffa_mem_relinquish));
    constexpr std::size_t length = sizeof(ffa_mem_relinquish) + sizeof(u16);
    ATOLL_TRY(bytes.read(0, std::as_writable_bytes(std::span(&raw, 1)).first(length)));
    if (raw.count != 1) {
        return Error::invalid_argument; // a VM speaks for itself only
    }
    return Relinquish{raw.handle, raw.flags, VmId{raw.endpoint}};
}

} // namespace atl::ffa
