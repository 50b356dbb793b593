// SPDX-License-Identifier: Apache-2.0
// Payload lend: three guests lend and donate memory by FF-A v1.1 [DEN0140]. Boot argument lend.owner or
// lend.borrower. The owner, VM 1, leads by messages to VM 2 and VM 3; last, it shares and lends 64 MiB of
// scattered pages while its timer ticks: calls that long take interrupts in the middle.
#include "guests/bare/rt/ffa.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u16 owner = 1;
constexpr u16 second = 2;
constexpr u16 third = 3;
constexpr u64 words = 4096 / 8;
constexpr u64 big_base = 0x4200'0000; // every other page of 128 MiB
constexpr u32 big_pages = 16384;

// What the owner asks a borrower to do: flags.
constexpr u32 do_execute = 1;     // retrieve with X, write a function there, call it
constexpr u32 do_expect_zero = 2; // all words are zero
constexpr u32 do_write = 4;
constexpr u32 do_read_only = 8; // a write must fault
constexpr u32 do_keep = 16;     // do not relinquish
constexpr u32 do_zero_after = 32;
constexpr u32 do_give = 64;      // relinquish what was kept
constexpr u32 do_share_on = 128; // share the first page of what was donated with the owner
constexpr u32 do_donated = 256;  // it is donated: there is nothing to relinquish
constexpr u32 do_finish = 512;
constexpr u32 do_multiple = 1024; // one of several borrowers

alignas(4096) u64 pages[6][words];
alignas(4096) u8 big_tx[64 * 4096];
alignas(4096) u8 big_rx[64 * 4096];

struct Range {
    u64 base;
    u32 stride_pages; // between the first pages of two constituents
    u32 count;        // of one page each
};

u64 write_head(u16 sender, const u16* receivers, u32 count, u32 flags, u64 handle, const u8* permissions,
               u16 attributes, bool composite) {
    ffa_mem_region region{};
    region.sender_id = sender;
    region.attributes = attributes;
    region.flags = flags;
    region.handle = handle;
    region.ep_mem_size = sizeof(ffa_mem_region_attributes);
    region.ep_count = count;
    region.ep_mem_offset = sizeof(region);
    put_at(0, region);
    const u64 end = sizeof(region) + count * sizeof(ffa_mem_region_attributes);
    for (u32 i = 0; i < count; ++i) {
        ffa_mem_region_attributes access{};
        access.receiver = receivers[i];
        access.permissions = permissions[i];
        access.composite_off = composite ? static_cast<u32>(end) : 0;
        put_at(sizeof(region) + i * sizeof(access), access);
    }
    return end;
}

/// Sends the descriptor in as many fragments as the TX buffer of `buffer` bytes needs.
CallResult send_memory(u32 function, const u16* receivers, const u8* permissions, u32 count, u32 flags,
                       const Range& range, u64 buffer) {
    const bool exclusive = function != FFA_MEM_SHARE && count == 1;
    const u16 attributes =
        exclusive ? u16{0} : u16{FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER};
    u64 at = write_head(ffa_self, receivers, count, flags, 0, permissions, attributes, true);
    ffa_composite_mem_region composite{};
    composite.total_pg_cnt = range.count;
    composite.addr_range_cnt = range.count;
    put_at(at, composite);
    at += sizeof(composite);
    const u64 total = at + u64{range.count} * sizeof(ffa_mem_region_addr_range);
    CallResult r{};
    bool first = true;
    for (u32 i = 0; i < range.count;) {
        for (; i < range.count && at + sizeof(ffa_mem_region_addr_range) <= buffer; ++i) {
            ffa_mem_region_addr_range part{};
            part.address = range.base + u64{i} * range.stride_pages * 4096;
            part.pg_cnt = 1;
            put_at(at, part);
            at += sizeof(part);
        }
        dsb();
        r = first ? hvc(function, total, at) : hvc(FFA_MEM_FRAG_TX, r.x[1], r.x[2], at, 0);
        first = false;
        at = 0;
        if (static_cast<u32>(r.x[0]) != FFA_MEM_FRAG_RX) {
            break;
        }
    }
    return r;
}

// ---- owner ----

u64 send_small(const char* name, u32 function, const u16* receivers, const u8* permissions, u32 count,
               u32 flags) {
    const CallResult r = send_memory(function, receivers, permissions, count, flags,
                                     {address_of(pages), 2, 3}, ffa_buffer_bytes);
    expect_success(name, r);
    return ffa_handle(r);
}

u64 ask(u16 whom, u32 what, u64 handle) {
    FfaMessage answer{};
    const bool answered = ffa_send(whom, {what, 0, handle, 0}) && ffa_receive(whom, answer);
    report("lend.borrower_content", answered && answer.result == 0);
    return answer.handle;
}

void lend_to_one() {
    constexpr u8 rw = FFA_MEM_PERM_RW;
    pages[0][0] = 0x1111;
    const u64 h = send_small("lend.lend", FFA_MEM_LEND, &second, &rw, 1, FFA_MEM_FLAG_ZERO);
    expect_fault("lend.owner_cannot_read", address_of(pages[0]), false);
    pages[1][0] = 5; // the page between is its own
    ask(second, do_execute | do_expect_zero | do_keep, h);
    expect_error("lend.reclaim_while_held", ffa_reclaim(h), FFA_DENIED);
    ask(second, do_give | do_zero_after, h);
    expect_success("lend.reclaim", ffa_reclaim(h));
    u64 wrong = 0;
    for (u64 page = 0; page < 3; ++page) {
        for (u64 word = 0; word < words; ++word) {
            wrong += pages[2 * page][word] == 0 ? 0 : 1;
        }
    }
    report_equal("lend.zero_after_relinquish", wrong, 0);
}

void lend_to_two() {
    const u16 both[2] = {second, third};
    const u8 rights[2] = {FFA_MEM_PERM_RW, FFA_MEM_PERM_RO};
    const u64 h = send_small("lend.lend_to_two", FFA_MEM_LEND, both, rights, 2, 0);
    ask(second, do_write | do_keep | do_multiple, h);
    ask(third, do_read_only | do_multiple, h);
    expect_error("lend.reclaim_while_one_holds", ffa_reclaim(h), FFA_DENIED);
    ask(second, do_give, h);
    expect_success("lend.reclaim_from_two", ffa_reclaim(h));
    report_equal("lend.sees_the_write", pages[0][0], 0xbeef);
}

/// After it, three pages of this VM are another's.
void donate() {
    constexpr u8 unsaid = 0;
    const u64 h = send_small("lend.donate", FFA_MEM_DONATE, &third, &unsaid, 1, 0);
    expect_fault("lend.donor_cannot_read", address_of(pages[0]), false);
    const u64 on = ask(third, do_write | do_donated | do_share_on, h);
    expect_error("lend.reclaim_donated", ffa_reclaim(h), FFA_INVALID_PARAMETERS);
    expect_fault("lend.donated_for_good", address_of(pages[0]), false);
    // The receiver shares a page of it with its first owner.
    constexpr u8 rights = FFA_MEM_PERM_RW;
    const u64 length = write_head(third, &ffa_self, 1, 0, on, &rights, 0, false);
    const CallResult r = hvc(FFA_MEM_RETRIEVE_REQ, length, length);
    report_equal("lend.retrieve_from_receiver", static_cast<u32>(r.x[0]), FFA_MEM_RETRIEVE_RESP);
    const auto range = get_at<ffa_mem_region_addr_range>(sizeof(ffa_mem_region) + 32);
    hvc(FFA_RX_RELEASE);
    report_equal("lend.receivers_word", load(range.address), 0xbeef);
    expect_success("lend.relinquish_to_receiver", ffa_relinquish(on));
}

volatile bool in_call = false;
u32 ticks_in_call = 0;
u64 period = 0;

void on_tick(u32, u64) {
    BARE_WRITE("cntv_tval_el0", period);
    isb();
    ticks_in_call += in_call ? 1 : 0;
}

template <class Send>
CallResult with_ticks(Send send) {
    ticks_in_call = 0;
    unmask_irqs();
    in_call = true;
    const CallResult r = send();
    in_call = false;
    mask_irqs();
    return r;
}

// Done in one step, each of the two calls would take one tick at its end.
constexpr u32 enough_ticks = 4;

void big() {
    ffa_tx = big_tx;
    ffa_rx = big_rx;
    CallResult unmapped = hvc(FFA_RXTX_UNMAP);
    while (static_cast<i32>(unmapped.x[2]) == FFA_BUSY) { // the third one's end is being written to RX
        unmapped = hvc(FFA_RXTX_UNMAP);
    }
    expect_success("lend.rxtx_unmap", unmapped);
    expect_success("lend.rxtx_map", hvc(FFA_RXTX_MAP64, address_of(big_tx), address_of(big_rx), 64));
    report("lend.gic", gic_init(true));
    set_irq_handler(on_tick);
    gic_enable_private(intid_vtimer);
    period = BARE_READ("cntfrq_el0") / 20'000;                  // 50 us
    const u64 least_period = BARE_READ("cntfrq_el0") / 500'000; // 2 us
    BARE_WRITE("cntv_tval_el0", period);
    BARE_WRITE("cntv_ctl_el0", 1);
    constexpr u32 functions[] = {FFA_MEM_SHARE, FFA_MEM_LEND};
    for (const u32 function : functions) {
        store(big_base, 0x5151);
        store(big_base + u64{big_pages - 1} * 8192, 0x6161);
        constexpr u8 rw = FFA_MEM_PERM_RW;
        const auto send = [&] {
            return send_memory(function, &second, &rw, 1, 0, {big_base, 2, big_pages}, sizeof(big_tx));
        };
        CallResult sent = with_ticks(send);
        while (ticks_in_call < enough_ticks && period > least_period) {
            // The calls were over before there could be so many: once more, with shorter ticks.
            expect_success("lend.big_reclaim", ffa_reclaim(ffa_handle(sent)));
            period /= 2;
            sent = with_ticks(send);
        }
        report("lend.interrupts_while_sending", ticks_in_call >= enough_ticks);
        expect_success("lend.big", sent);
        const u64 h = ffa_handle(sent);
        ask(second, do_write | (function == FFA_MEM_SHARE ? do_multiple : 0), h);
        expect_success("lend.big_reclaim", ffa_reclaim(h));
        report_equal("lend.big_first", load(big_base), 0xbeef);
        report_equal("lend.big_last", load(big_base + u64{big_pages - 1} * 8192), 0x6161);
    }
    BARE_WRITE("cntv_ctl_el0", 0);
}

// ---- borrower ----

u64 kept = 0;

u64 content_errors(u64 window, u32 what) {
    u64 wrong = 0;
    if ((what & do_expect_zero) != 0) {
        for (u64 word = 0; word < 3 * words; ++word) {
            wrong += load(window + word * 8) == 0 ? 0 : 1;
        }
    }
    if ((what & do_execute) != 0) {
        store(window, 0xd65f'03c0'5280'0540); // mov w0, #42; ret
        sync_code(reinterpret_cast<const void*>(window), 8);
        wrong += reinterpret_cast<int (*)()>(window)() == 42 ? 0 : 1;
    }
    if ((what & do_write) != 0) {
        store(window, 0xbeef);
    }
    if ((what & do_read_only) != 0) {
        expect_fault("lend.write_to_read_only_faults", window, true);
    }
    return wrong;
}

void take(const FfaMessage& message, FfaMessage& answer) {
    const u32 what = message.step;
    u8 rights = (what & do_read_only) != 0 ? FFA_MEM_PERM_RO : FFA_MEM_PERM_RW;
    if ((what & do_multiple) == 0) {
        rights |= (what & do_execute) != 0 ? FFA_MEM_PERM_X : FFA_MEM_PERM_NX;
    }
    const u64 length = write_head(owner, &ffa_self, 1, 0, message.handle, &rights, 0, false);
    const CallResult r = hvc(FFA_MEM_RETRIEVE_REQ, length, length);
    report_equal("lend.retrieve", static_cast<u32>(r.x[0]), FFA_MEM_RETRIEVE_RESP);
    if (static_cast<u32>(r.x[0]) != FFA_MEM_RETRIEVE_RESP) {
        answer.result = 1;
        return;
    }
    const auto range = get_at<ffa_mem_region_addr_range>(sizeof(ffa_mem_region) + 32);
    hvc(FFA_RX_RELEASE);
    answer.result = static_cast<u32>(content_errors(range.address, what));
    kept = range.address;
    if ((what & do_share_on) != 0) {
        constexpr u8 rw = FFA_MEM_PERM_RW;
        expect_error("lend.no_relinquish_of_donated", ffa_relinquish(message.handle), FFA_INVALID_PARAMETERS);
        const CallResult on =
            send_memory(FFA_MEM_SHARE, &owner, &rw, 1, 0, {range.address, 1, 1}, ffa_buffer_bytes);
        expect_success("lend.share_what_was_donated", on);
        answer.handle = ffa_handle(on);
    } else if ((what & do_keep) == 0) {
        expect_success("lend.relinquish", ffa_relinquish(message.handle));
        expect_fault("lend.gone_after_relinquish", range.address, false);
    }
}

void borrow() {
    for (;;) {
        FfaMessage message{};
        if (!ffa_receive(owner, message)) {
            return;
        }
        FfaMessage answer{0, 0, 0, 0};
        if ((message.step & do_give) != 0) {
            const u32 flags = (message.step & do_zero_after) != 0 ? FFA_MEM_FLAG_ZERO : 0;
            expect_success("lend.relinquish_later", ffa_relinquish(message.handle, flags));
            expect_fault("lend.gone_after_relinquish", kept, false);
        } else if ((message.step & do_finish) == 0) {
            take(message, answer);
        }
        ffa_send(owner, answer);
        if ((message.step & do_finish) != 0) {
            return;
        }
    }
}

} // namespace

void payload() {
    ffa_introduce();
    if (!has_option("lend.owner")) {
        borrow();
        return;
    }
    lend_to_one();
    lend_to_two();
    donate();
    ask(third, do_finish, 0);
    big();
    ask(second, do_finish, 0);
}
