// SPDX-License-Identifier: Apache-2.0
// FF-A from a bare guest: see ffa.hpp.
#include "guests/bare/rt/ffa.hpp"

namespace atl::bare {
namespace {

constexpr u64 rx_buffer_full = 1; // framework notification of the hypervisor: bit 0 of w7 [DEN0077A §10.4]

alignas(4096) u8 tx_page[ffa_buffer_bytes];
alignas(4096) u8 rx_page[ffa_buffer_bytes];

} // namespace

u8* ffa_tx = tx_page;
u8* ffa_rx = rx_page;
u16 ffa_self = 0;

void expect_success(const char* name, const CallResult& r) {
    report_equal(name, succeeded(r) ? 0 : static_cast<u32>(r.x[2]), 0);
}

void expect_error(const char* name, const CallResult& r, int code) {
    const bool error = static_cast<u32>(r.x[0]) == FFA_ERROR;
    report_equal(name, error ? static_cast<u32>(r.x[2]) : 0, static_cast<u32>(code));
}

void expect_fault(const char* name, u64 address, bool write) {
    fault_begin();
    if (write) {
        store(address, 1);
    } else {
        load(address);
    }
    const Fault fault = fault_end();
    report_equal(name, fault.exception_class(), ec_data_abort);
}

void ffa_introduce() {
    report_equal("ffa.version", hvc(FFA_VERSION, FFA_VERSION_1_1).x[0], FFA_VERSION_1_1);
    const CallResult id = hvc(FFA_ID_GET);
    expect_success("ffa.id_get", id);
    ffa_self = static_cast<u16>(id.x[2]);
    expect_success("ffa.rxtx_map", hvc(FFA_RXTX_MAP64, address_of(ffa_tx), address_of(ffa_rx), 1));
}

bool ffa_send(u16 to, const FfaMessage& message) {
    const ffa_msg_header header{0, 0, sizeof(ffa_msg_header), u32{ffa_self} << 16 | to, sizeof(FfaMessage)};
    const u64 end = now() + 5 * BARE_READ("cntfrq_el0");
    while (now() < end) {
        put_at(0, header);
        put_at(sizeof(header), message);
        const CallResult r = hvc(FFA_MSG_SEND2, u64{ffa_self} << 16, 0);
        if (succeeded(r)) {
            return true;
        }
        // Denied: the peer has no RX buffer yet.
        const i32 code = static_cast<i32>(r.x[2]);
        if (code != FFA_BUSY && code != FFA_RETRY && code != FFA_DENIED) {
            report_equal("ffa.msg_send2", static_cast<u32>(r.x[2]), 0);
            return false;
        }
        yield();
    }
    report("ffa.msg_send2_in_time", false);
    return false;
}

bool ffa_receive(u16 from, FfaMessage& message) {
    const u64 end = now() + 30 * BARE_READ("cntfrq_el0");
    while (now() < end) {
        const CallResult r = hvc(FFA_NOTIFICATION_GET, ffa_self, 0xf);
        if (!succeeded(r) || (r.x[7] & rx_buffer_full) == 0) {
            yield();
            continue;
        }
        const auto header = get_at<ffa_msg_header>(0);
        const bool ours = header.ids == (u32{from} << 16 | ffa_self) && header.size == sizeof(FfaMessage) &&
                          header.offset <= ffa_buffer_bytes - sizeof(FfaMessage);
        if (ours) {
            message = get_at<FfaMessage>(header.offset);
        }
        hvc(FFA_RX_RELEASE);
        if (ours) {
            return true;
        }
    }
    report("ffa.message_in_time", false);
    return false;
}

CallResult ffa_share_page(u16 borrower, u64 page, u8 permissions, u64 tag) {
    ffa_mem_region region{};
    region.sender_id = ffa_self;
    region.attributes = u16{FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER};
    region.tag = tag;
    region.ep_mem_size = sizeof(ffa_mem_region_attributes);
    region.ep_count = 1;
    region.ep_mem_offset = sizeof(region);
    ffa_mem_region_attributes access{};
    access.receiver = borrower;
    access.permissions = permissions;
    access.composite_off = sizeof(region) + sizeof(access);
    ffa_composite_mem_region composite{};
    composite.total_pg_cnt = 1;
    composite.addr_range_cnt = 1;
    put_at(0, region);
    put_at(sizeof(region), access);
    put_at(access.composite_off, composite);
    put_at(access.composite_off + sizeof(composite), ffa_mem_region_addr_range{page, 1, 0});
    const u64 length = access.composite_off + sizeof(composite) + sizeof(ffa_mem_region_addr_range);
    return hvc(FFA_MEM_SHARE, length, length);
}

u64 ffa_retrieve(u16 owner, u64 handle, u8 permissions, u64 tag) {
    ffa_mem_region region{};
    region.sender_id = owner;
    region.handle = handle;
    region.tag = tag;
    region.ep_mem_size = sizeof(ffa_mem_region_attributes);
    region.ep_count = 1;
    region.ep_mem_offset = sizeof(region);
    ffa_mem_region_attributes access{};
    access.receiver = ffa_self;
    access.permissions = permissions;
    put_at(0, region);
    put_at(sizeof(region), access);
    const u64 length = sizeof(region) + sizeof(access);
    const CallResult r = hvc(FFA_MEM_RETRIEVE_REQ, length, length);
    if (static_cast<u32>(r.x[0]) != FFA_MEM_RETRIEVE_RESP) {
        return 0;
    }
    const auto mine = get_at<ffa_mem_region_attributes>(get_at<ffa_mem_region>(0).ep_mem_offset);
    const auto range =
        get_at<ffa_mem_region_addr_range>(mine.composite_off + sizeof(ffa_composite_mem_region));
    hvc(FFA_RX_RELEASE);
    return range.address;
}

CallResult ffa_relinquish(u64 handle, u32 flags) {
    put_at(0, handle); // its members one by one: it ends in an array
    put_at(8, flags);
    put_at(12, u32{1});
    put_at(sizeof(ffa_mem_relinquish), ffa_self);
    return hvc(FFA_MEM_RELINQUISH);
}

CallResult ffa_reclaim(u64 handle, u32 flags) {
    return hvc(FFA_MEM_RECLAIM, handle & 0xffff'ffff, handle >> 32, flags);
}

} // namespace atl::bare
