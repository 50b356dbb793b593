// SPDX-License-Identifier: Apache-2.0
// Payload share_bench: what the calls that share and lend memory cost, in ticks of CNTVCT_EL0. Boot argument
// share.owner (VM 1) or share.borrower (VM 2), on one physical CPU. Under QEMU's -icount with -cpu max a tick is one
// instruction, and whoever does not call is parked in WFI: what is counted is the call itself, with all repeats of a
// long one [docs/adr/0015] and all fragments of a long descriptor, whose writing is not counted. Interrupts stay
// masked. Each row: "share-bench KIND SHAPE PAGES share N retrieve N relinquish N reclaim N", the least of each
// call's rounds. tests/bench/share.py reads them. [DEN0140 v1.1]
#include "guests/bare/rt/ffa.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u16 owner = 1;
constexpr u16 borrower = 2;
constexpr unsigned rounds = 3;
constexpr u64 buffer_base = 0x4200'0000; // a scattered buffer is every other page of 128 MiB
constexpr u32 page_counts[] = {1, 16, 256, 4096, 16384};
constexpr u32 intid_notification = 40;
constexpr u32 intid_none = 1020;
constexpr u32 mailbox_pages = 64;

// What the owner asks the borrower to do; `value` of the answer is what the call took.
constexpr u32 do_retrieve = 1;
constexpr u32 do_relinquish = 2;
constexpr u32 do_finish = 3;

alignas(4096) u8 big_tx[mailbox_pages * ffa_buffer_bytes];
alignas(4096) u8 big_rx[mailbox_pages * ffa_buffer_bytes];

u64 ticks = 0; // of the timed calls since it was zeroed

/// hvc() between two readings of the counter. The readings themselves cost one tick.
CallResult timed_hvc(u64 function, u64 a1, u64 a2 = 0, u64 a3 = 0, u64 a4 = 0) {
    register u64 x0 asm("x0") = function;
    register u64 x1 asm("x1") = a1;
    register u64 x2 asm("x2") = a2;
    register u64 x3 asm("x3") = a3;
    register u64 x4 asm("x4") = a4;
    register u64 x5 asm("x5") = 0;
    register u64 x6 asm("x6") = 0;
    register u64 x7 asm("x7") = 0;
    u64 before;
    u64 after;
    asm volatile("isb\n mrs %0, cntvct_el0\n hvc #0\n mrs %1, cntvct_el0"
                 : "=&r"(before), "=&r"(after), "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5),
                   "+r"(x6), "+r"(x7)
                 :
                 : "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "memory");
    ticks += after - before;
    return {{x0, x1, x2, x3, x4, x5, x6, x7}};
}

/// Sleeps until the peer's message is there.
bool receive(u16 from, FfaMessage& message) {
    wfi();                                       // masked interrupts end it, too
    const u64 iar = BARE_READ("S3_0_C12_C12_0"); // ICC_IAR1_EL1
    if ((iar & 0xff'ffff) < intid_none) {
        BARE_WRITE("S3_0_C12_C12_1", iar); // ICC_EOIR1_EL1
    }
    return ffa_receive(from, message);
}

/// The head of a descriptor with one endpoint in TX; its length.
u64 write_head(u16 receiver, u64 handle, u16 attributes, bool composite) {
    ffa_mem_region region{};
    region.sender_id = owner;
    region.attributes = attributes;
    region.handle = handle;
    region.ep_mem_size = sizeof(ffa_mem_region_attributes);
    region.ep_count = 1;
    region.ep_mem_offset = sizeof(region);
    ffa_mem_region_attributes access{};
    access.receiver = receiver;
    access.permissions = composite ? u8{FFA_MEM_PERM_RW} : u8{FFA_MEM_PERM_RW | FFA_MEM_PERM_NX};
    const u64 end = sizeof(region) + sizeof(access);
    access.composite_off = composite ? static_cast<u32>(end) : 0;
    put_at(0, region);
    put_at(sizeof(region), access);
    return end;
}

// ---- owner ----

struct Costs {
    u64 share = ~u64{0};
    u64 retrieve = ~u64{0};
    u64 relinquish = ~u64{0};
    u64 reclaim = ~u64{0};
};

void keep_least(u64& least, u64 value) {
    least = value < least ? value : least;
}

/// MEM_SHARE or MEM_LEND of `page_count` pages in one range, or each in a range of its own; the handle.
u64 send_memory(u32 function, u32 page_count, bool scattered) {
    const u16 attributes = function == FFA_MEM_SHARE
                               ? u16{FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER}
                               : u16{0};
    u64 at = write_head(borrower, 0, attributes, true);
    ffa_composite_mem_region composite{};
    composite.total_pg_cnt = page_count;
    composite.addr_range_cnt = scattered ? page_count : 1;
    put_at(at, composite);
    at += sizeof(composite);
    const u64 total = at + u64{composite.addr_range_cnt} * sizeof(ffa_mem_region_addr_range);
    CallResult r{};
    for (u32 i = 0; i < composite.addr_range_cnt;) {
        const bool first = i == 0;
        for (; i < composite.addr_range_cnt && at + sizeof(ffa_mem_region_addr_range) <= sizeof(big_tx);
             ++i) {
            ffa_mem_region_addr_range range{};
            range.address = buffer_base + u64{i} * 2 * 4096;
            range.pg_cnt = scattered ? 1 : page_count;
            put_at(at, range);
            at += sizeof(range);
        }
        dsb();
        r = first ? timed_hvc(function, total, at) : timed_hvc(FFA_MEM_FRAG_TX, r.x[1], r.x[2], at);
        at = 0;
        if (static_cast<u32>(r.x[0]) != FFA_MEM_FRAG_RX) {
            break;
        }
    }
    expect_success("share_bench.send", r);
    return ffa_handle(r);
}

/// What the borrower's call took.
u64 ask(u32 step, u64 handle) {
    FfaMessage answer{};
    const bool answered = ffa_send(borrower, {step, 0, handle, 0}) && receive(borrower, answer);
    report("share_bench.borrower_could", answered && answer.result == 0);
    return answer.value;
}

void measure(const char* kind, u32 function, u32 page_count, bool scattered) {
    Costs least;
    for (unsigned round = 0; round < rounds; ++round) {
        ticks = 0;
        const u64 handle = send_memory(function, page_count, scattered);
        keep_least(least.share, ticks);
        keep_least(least.retrieve, ask(do_retrieve, handle));
        keep_least(least.relinquish, ask(do_relinquish, handle));
        ticks = 0;
        expect_success("share_bench.reclaim", timed_hvc(FFA_MEM_RECLAIM, handle & 0xffff'ffff, handle >> 32));
        keep_least(least.reclaim, ticks);
    }
    put("share-bench ");
    put(kind);
    put(scattered ? " scattered " : " contiguous ");
    put_dec(page_count);
    put(" share ");
    put_dec(least.share);
    put(" retrieve ");
    put_dec(least.retrieve);
    put(" relinquish ");
    put_dec(least.relinquish);
    put(" reclaim ");
    put_dec(least.reclaim);
    put("\n");
}

void measure_all(const char* kind, u32 function) {
    for (const u32 page_count : page_counts) {
        measure(kind, function, page_count, false);
    }
    for (const u32 page_count : page_counts) {
        measure(kind, function, page_count, true);
    }
}

void own() {
    measure_all("share", FFA_MEM_SHARE);
    measure_all("lend", FFA_MEM_LEND);
    FfaMessage answer{};
    report("share_bench.finish",
           ffa_send(borrower, {do_finish, 0, 0, 0}) && receive(borrower, answer) && answer.result == 0);
}

// ---- borrower ----

/// 0, or what failed.
u32 retrieve(u64 handle) {
    const u64 length = write_head(borrower, handle, 0, false);
    dsb();
    const CallResult r = timed_hvc(FFA_MEM_RETRIEVE_REQ, length, length);
    if (static_cast<u32>(r.x[0]) != FFA_MEM_RETRIEVE_RESP) {
        return static_cast<u32>(r.x[2]);
    }
    hvc(FFA_RX_RELEASE);
    return 0;
}

/// ffa_relinquish(), timed. 0, or what failed.
u32 relinquish(u64 handle) {
    put_at(0, handle); // struct ffa_mem_relinquish, its members one by one: it ends in an array
    put_at(8, u32{0});
    put_at(12, u32{1});
    put_at(sizeof(ffa_mem_relinquish), borrower);
    dsb();
    const CallResult r = timed_hvc(FFA_MEM_RELINQUISH, 0);
    return succeeded(r) ? 0 : static_cast<u32>(r.x[2]);
}

void borrow() {
    FfaMessage message{};
    do {
        if (!receive(owner, message)) {
            return;
        }
        ticks = 0;
        u32 result = 0;
        if (message.step == do_retrieve) {
            result = retrieve(message.handle);
        } else if (message.step == do_relinquish) {
            result = relinquish(message.handle);
        }
        ffa_send(owner, {message.step, result, message.handle, ticks});
    } while (message.step != do_finish);
}

} // namespace

void payload() {
    ffa_introduce();
    hvc(FFA_RXTX_UNMAP); // long descriptors want larger ones
    ffa_tx = big_tx;
    ffa_rx = big_rx;
    expect_success("share_bench.rxtx_map",
                   hvc(FFA_RXTX_MAP64, address_of(big_tx), address_of(big_rx), mailbox_pages));
    report("share_bench.gic_init", gic_init(true));
    gic_enable_shared(intid_notification);
    if (has_option("share.owner")) {
        own();
    } else {
        borrow();
    }
}
