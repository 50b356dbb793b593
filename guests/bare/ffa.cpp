// SPDX-License-Identifier: Apache-2.0
// Payload ffa: two guests share memory by FF-A v1.1 [DEN0077A, DEN0140] with nothing but EL1 code. Boot
// argument ffa.owner or ffa.borrower tells the part. A message carries what the other side shall do next: a
// read-only share (a write must fault in the borrower), a read-write share, and one that is revoked by force.
#include "guests/bare/rt/ffa.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u64 page_count = 4;
constexpr u64 words_per_page = 4096 / 8;

enum class Step : u32 { look_read_only = 1, look_read_write, look_revoked, finish, answer };

// Twice as many pages as are shared: every other one, so that the buffer is scattered.
alignas(4096) u64 pages[2 * page_count][words_per_page];
u16 peer = 0;

u64 pattern(u64 page, u64 word) {
    return 0xa70'11ee'0000'0000 + page * 0x10000 + word;
}

bool send(Step step, u64 handle, u64 window = 0) {
    return ffa_send(peer, {static_cast<u32>(step), 0, handle, window});
}

/// Asks who is there until the peer is: it may not have started yet. When its first message is in RX already,
/// the call is BUSY and the message says who it is.
void find_peer() {
    const u64 end = now() + 5 * BARE_READ("cntfrq_el0");
    while (peer == 0 && now() < end) {
        const CallResult info = hvc(FFA_PARTITION_INFO_GET);
        if (!succeeded(info)) {
            expect_error("ffa.partition_info_busy", info, FFA_BUSY);
            peer = static_cast<u16>(get_at<ffa_msg_header>(0).ids >> 16);
            return;
        }
        for (u64 i = 0; i < info.x[2] && i < 16; ++i) {
            const auto partition = get_at<ffa_partition_info>(i * sizeof(ffa_partition_info));
            if (partition.id != ffa_self) {
                peer = partition.id;
            }
        }
        hvc(FFA_RX_RELEASE);
        yield();
    }
}

void introduce() {
    expect_error("ffa.not_mapped_yet", hvc(FFA_RX_RELEASE), FFA_DENIED);
    expect_error("ffa.map_outside", hvc(FFA_RXTX_MAP64, 0x0900'0000, address_of(ffa_rx), 1),
                 FFA_INVALID_PARAMETERS);
    expect_error("ffa.map_unaligned", hvc(FFA_RXTX_MAP64, address_of(ffa_tx) + 8, address_of(ffa_rx), 1),
                 FFA_INVALID_PARAMETERS);
    ffa_introduce();
    expect_error("ffa.rxtx_map_twice", hvc(FFA_RXTX_MAP64, address_of(ffa_tx), address_of(ffa_rx), 1),
                 FFA_DENIED);
    find_peer();
    report("ffa.sees_peer", peer != 0 && peer != ffa_self);
    expect_error("ffa.unknown_function", hvc(FFA_MSG_SEND_DIRECT_REQ), FFA_NOT_SUPPORTED);
}

/// Writes the transaction descriptor for the scattered pages into TX; its length.
u64 describe(u8 permissions, u64 handle, bool retrieve) {
    ffa_mem_region region{};
    region.sender_id = retrieve ? peer : ffa_self;
    region.attributes =
        retrieve ? u16{0} : u16{FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER};
    region.handle = handle;
    region.tag = 0x7a6;
    region.ep_mem_size = sizeof(ffa_mem_region_attributes);
    region.ep_count = 1;
    region.ep_mem_offset = sizeof(region);
    ffa_mem_region_attributes access{};
    access.receiver = retrieve ? ffa_self : peer;
    access.permissions = permissions;
    u64 at = sizeof(region) + sizeof(access);
    access.composite_off = retrieve ? 0 : static_cast<u32>(at);
    put_at(0, region);
    put_at(sizeof(region), access);
    if (!retrieve) {
        ffa_composite_mem_region composite{};
        composite.total_pg_cnt = page_count;
        composite.addr_range_cnt = page_count;
        put_at(at, composite);
        at += sizeof(composite);
        for (u64 i = 0; i < page_count; ++i) {
            ffa_mem_region_addr_range range{};
            range.address = address_of(pages[2 * i]);
            range.pg_cnt = 1;
            put_at(at, range);
            at += sizeof(range);
        }
    }
    return at;
}

// ---- owner
// -----------------------------------------------------------------------------------------------------

u64 share(u8 permissions) {
    for (u64 page = 0; page < page_count; ++page) {
        for (u64 word = 0; word < words_per_page; ++word) {
            pages[2 * page][word] = pattern(page, word);
        }
    }
    dsb();
    const u64 length = describe(permissions, 0, false);
    const CallResult r = hvc(FFA_MEM_SHARE, length, length);
    expect_success("ffa.mem_share", r);
    return ffa_handle(r);
}

bool ask(Step step, u64 handle) {
    FfaMessage answer{};
    return send(step, handle) && ffa_receive(peer, answer) && answer.step == static_cast<u32>(Step::answer);
}

void own() {
    const u64 outside = describe(FFA_MEM_PERM_RW, 0, false);
    put_at(sizeof(ffa_mem_region) + sizeof(ffa_mem_region_attributes) + sizeof(ffa_composite_mem_region),
           ffa_mem_region_addr_range{uart_base, 1, 0});
    report("ffa.share_of_device_refused", !succeeded(hvc(FFA_MEM_SHARE, outside, outside)));
    expect_error("ffa.reclaim_unknown", ffa_reclaim(0x1234'5678'9abc), FFA_INVALID_PARAMETERS);

    u64 handle = share(FFA_MEM_PERM_RO);
    report("ffa.read_only_borrower", ask(Step::look_read_only, handle));
    report_equal("ffa.read_only_kept", pages[0][0], pattern(0, 0));
    expect_success("ffa.reclaim_read_only", ffa_reclaim(handle));
    expect_error("ffa.reclaim_twice", ffa_reclaim(handle), FFA_INVALID_PARAMETERS);

    handle = share(FFA_MEM_PERM_RW);
    const u64 length = describe(FFA_MEM_PERM_RW, 0, false);
    report("ffa.share_twice_refused", !succeeded(hvc(FFA_MEM_SHARE, length, length)));
    report("ffa.read_write_borrower", ask(Step::look_read_write, handle));
    u64 wrong = 0;
    for (u64 page = 0; page < page_count; ++page) {
        for (u64 word = 0; word < words_per_page; ++word) {
            wrong += pages[2 * page][word] == ~pattern(page, word) ? 0 : 1;
        }
    }
    report_equal("ffa.sees_borrowers_writes", wrong, 0);
    expect_success("ffa.reclaim_read_write", ffa_reclaim(handle));

    handle = share(FFA_MEM_PERM_RW);
    report("ffa.borrower_holds", ask(Step::look_revoked, handle)); // it keeps the buffer
    expect_error("ffa.reclaim_while_held", ffa_reclaim(handle), FFA_DENIED);
    report_equal("ffa.revoke", hvc(ATOLL_MEM_REVOKE, handle).x[0], 0);
    pages[0][0] = 77;
    report("ffa.after_revoke", ask(Step::finish, handle));
    report_equal("ffa.revoked_memory_is_ours", pages[0][0], 77);
}

// ---- borrower
// --------------------------------------------------------------------------------------------------

/// Retrieves the handle; the address of the buffer in this guest, or 0.
u64 retrieve(u64 handle, u8 permissions) {
    const u64 length = describe(permissions, handle, true);
    const CallResult r = hvc(FFA_MEM_RETRIEVE_REQ, length, length);
    report_equal("ffa.retrieve_resp", static_cast<u32>(r.x[0]), FFA_MEM_RETRIEVE_RESP);
    if (static_cast<u32>(r.x[0]) != FFA_MEM_RETRIEVE_RESP) {
        return 0;
    }
    const auto region = get_at<ffa_mem_region>(0);
    const auto access = get_at<ffa_mem_region_attributes>(region.ep_mem_offset);
    const auto composite = get_at<ffa_composite_mem_region>(access.composite_off);
    const auto range = get_at<ffa_mem_region_addr_range>(access.composite_off + sizeof(composite));
    hvc(FFA_RX_RELEASE);
    report_equal("ffa.retrieved_pages", composite.total_pg_cnt, page_count);
    report_equal("ffa.retrieved_in_one_piece", range.pg_cnt, page_count);
    return range.address;
}

void relinquish(u64 handle) {
    expect_success("ffa.relinquish", ffa_relinquish(handle));
}

u64 differences(u64 window) {
    u64 wrong = 0;
    for (u64 page = 0; page < page_count; ++page) {
        for (u64 word = 0; word < words_per_page; ++word) {
            wrong += load(window + page * 4096 + word * 8) == pattern(page, word) ? 0 : 1;
        }
    }
    return wrong;
}

void look_read_only(u64 handle) {
    const u64 refused = describe(FFA_MEM_PERM_RW, handle, true);
    report("ffa.more_than_offered_refused",
           static_cast<u32>(hvc(FFA_MEM_RETRIEVE_REQ, refused, refused).x[0]) == FFA_ERROR);
    const u64 window = retrieve(handle, FFA_MEM_PERM_RO);
    if (window != 0) {
        report_equal("ffa.reads_owners_words", differences(window), 0);
        expect_fault("ffa.write_to_read_only_faults", window, true);
        relinquish(handle);
        expect_fault("ffa.read_after_relinquish_faults", window, false);
    }
}

void look_read_write(u64 handle) {
    const u64 window = retrieve(handle, FFA_MEM_PERM_RW);
    if (window != 0) {
        report_equal("ffa.reads_owners_words_again", differences(window), 0);
        for (u64 i = 0; i < page_count * words_per_page; ++i) {
            store(window + i * 8, ~pattern(i / words_per_page, i % words_per_page));
        }
        dsb();
        expect_fault("ffa.window_ends_with_the_buffer", window + page_count * 4096, false);
        relinquish(handle);
    }
}

void borrow() {
    u64 held = 0;
    for (;;) {
        FfaMessage message{};
        if (!ffa_receive(peer, message)) {
            return;
        }
        switch (static_cast<Step>(message.step)) {
        case Step::look_read_only:
            look_read_only(message.handle);
            break;
        case Step::look_read_write:
            look_read_write(message.handle);
            break;
        case Step::look_revoked:
            held = retrieve(message.handle, FFA_MEM_PERM_RW);
            break;
        case Step::finish:
            // Revoked by force: an EL1 access hits a scratch page, never the owner's memory again.
            if (held != 0) {
                fault_begin();
                store(held, 99);
                fault_end();
                relinquish(message.handle);
            }
            break;
        case Step::answer:
            break;
        }
        send(Step::answer, message.handle, held);
        if (static_cast<Step>(message.step) == Step::finish) {
            return;
        }
    }
}

} // namespace

void payload() {
    introduce();
    if (has_option("ffa.owner")) {
        own();
    } else {
        borrow();
    }
}
