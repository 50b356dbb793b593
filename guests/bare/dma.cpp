// SPDX-License-Identifier: Apache-2.0
// Payload dma: what a device of a guest's own reaches, and what not. Boot argument dma.device: the VM with QEMU's `edu`
// device (docs/specs/edu.rst in QEMU), MMU off, no driver but this one; dma.owner: a VM that shares pages with it and
// watches that nothing else of its memory changes. What is stopped is also told by EL2, which the QEMU case looks for.
#include "guests/bare/rt/edu.hpp"
#include "guests/bare/rt/ffa.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u16 owner_id = 1;
constexpr u16 device_id = 2;
constexpr u64 page_bytes = 4096;
constexpr u64 share_tag = 0xd3a;
constexpr u64 words = page_bytes / 8;

enum class Step : u32 { use = 1, use_read_only, after_reclaim, finish, answer };

constexpr u64 pattern(u64 i) {
    return 0xd3a'0000'0000'0000 + i * 0x9e37'79b9;
}

// ---- the edu device ----

constexpr u64 message_page = 0x0809'0000;
Edu edu;

bool transfer(u64 ipa, u32 bytes, bool to_memory) {
    return edu_transfer(edu, ipa, bytes, to_memory);
}

alignas(4096) u64 source[words];
alignas(4096) u64 target[words];

/// The device's buffer into `target`.
bool look() {
    for (u64& word : target) {
        word = 0;
    }
    return transfer(address_of(target), page_bytes, true);
}

u64 differences(u64 salt) {
    u64 wrong = 0;
    for (u64 i = 0; i < words; ++i) {
        wrong += target[i] == pattern(i + salt) ? 0 : 1;
    }
    return wrong;
}

/// The device's buffer holds pattern(salt + i) from now on.
void fill_device(u64 salt) {
    for (u64 i = 0; i < words; ++i) {
        source[i] = pattern(i + salt);
    }
    report("dma.fill", transfer(address_of(source), page_bytes, false));
}

bool start_edu() {
    const bool found = edu_find(&edu, 1) == 1;
    report("dma.edu_found", found);
    if (!found) {
        return false;
    }
    const u64 config = edu.config;
    report_equal("dma.other_slots_are_empty", read32(edu_ecam + (31 << 15)), 0xffff'ffff);
    // Over this VM's own RAM, the interrupt controller, the configuration space: it must not decode there.
    static constexpr u64 taken[] = {ram_base, gicd_base, edu_ecam, 0x7fff'0000, 0};
    const u32 word = read32(ram_base);
    const u32 identity = read32(gicd_base + 0xffe8);
    for (const u64 place : taken) {
        write32(config + 0x10, static_cast<u32>(place));
        write32(config + 4, 2);
        report("dma.bar_over_others_does_not_decode", read32(ram_base) == word &&
                                                          read32(gicd_base + 0xffe8) == identity &&
                                                          read32(config) == 0x11e8'1234);
        write32(config + 4, 0);
    }
    u32 others = 0;
    for (u64 function = 0; function < 256; ++function) {
        for (u64 offset = 0; offset < 4096 && edu_ecam + (function << 12) != config; offset += 0x104) {
            write32(edu_ecam + (function << 12) + offset, ~0u);
            others += read32(edu_ecam + (function << 12) + offset) == 0xffff'ffff ? 0 : 1;
        }
    }
    report_equal("dma.no_foreign_function_shows", others, 0);
    write32(config + 0x10, static_cast<u32>(edu.bar));
    report_equal("dma.bar_reads_ones_before_decoding", read32(edu.bar), 0xffff'ffff);
    edu_enable(edu, 0);
    report_equal("dma.edu_identification", read32(edu.bar) & 0xffff, 0x00ed);
    fill_device(0);
    // Mastering is off: the device believes that it has read, and has not.
    report("dma.no_master_no_dma", look() && differences(0) != 0);
    edu_enable(edu, edu_master);
    return true;
}

void own_memory() {
    fill_device(1);
    report("dma.reads_and_writes_own_memory", look() && differences(1) == 0);
}

/// Addresses that mean something to the host or to other VMs, and nothing to this one.
constexpr u64 foreign[] = {
    0x4200'0000, // RAM of the host beyond this VM's 32 MiB
    0x4400'0000, 0x4800'0000, 0x5000'0000, 0x5ff0'0000, 0x6000'0000, 0x7000'0000, 0x7fff'f000,
    0xc000'0000, // its share window, with nothing retrieved
    0x0800'0000, // GICD
    0x0808'0000, // ITS
    0x080a'0000, // GICR
    0x0900'0000, // UART
    0x0901'0000, // RTC
    0x0905'0000, // SMMU
    0x3f00'0000, // configuration space
    0,
};

void forbidden() {
    fill_device(2);
    bool ended = true;
    for (const u64 ipa : foreign) {
        ended = transfer(ipa, 8, true) && ended; // writes first: nothing may change
        ended = transfer(ipa, 8, false) && ended;
    }
    report("dma.forbidden_transfers_end", ended);
    report("dma.forbidden_reads_bring_nothing", look());
    // What the device has in its buffer after reads that were stopped is the machine's own (zeroes or the old words), never
    // another's memory: the rest of the buffer is as it was.
    u64 wrong = 0;
    for (u64 i = 1; i < words; ++i) {
        wrong += target[i] == pattern(i + 2) ? 0 : 1;
    }
    report_equal("dma.rest_of_the_buffer_is_as_before", wrong, 0);
    report("dma.first_word_is_nobodys", target[0] == 0 || target[0] == pattern(2) || target[0] == ~u64{0});
}

bool pending(u32 intid) {
    return (read32(gicd_base + 0x200 + 4 * (intid / 32)) >> (intid % 32) & 1) != 0;
}

/// The device sends `data` to `address` as its MSI.
void send_message(u64 msi, u64 address, u32 data) {
    edu_aim(msi, address, data);
    edu_message(edu);
}

/// Its own events reach this VM; no other number, no other address and no other way does.
void messages() {
    gic_init(true);
    const u64 at = edu_msi(edu);
    report("dma.msi_capability", at != 0);
    if (at == 0) {
        return;
    }
    static constexpr u32 others[] = {32, 34, 39, 60, 95, 224, 255, 256, 8192, 0xffff};
    for (const u32 event : others) {
        send_message(at, message_page + 0x40, event);
    }
    bool any = false;
    for (u32 intid = 32; intid < 224; ++intid) {
        // The UART's line and FF-A's bell may be high for reasons of their own.
        any = any || (intid != 33 && intid != 40 && pending(intid));
    }
    report("dma.no_event_but_its_own", !any);
    send_message(at, message_page + 0x40, 100);
    report("dma.own_event_is_pending", pending(100));
    write32(gicd_base + 0x280 + 4 * (100 / 32), 1u << (100 % 32)); // ICPENDR

    target[0] = 0;
    dsb();
    send_message(at, address_of(target), 0xd3a);
    report_equal("dma.message_to_own_memory_is_a_write", target[0], 0xd3a);
    send_message(at, gicd_base + 0x40, 101); // the real distributor's SETSPI_NSR, if it got there
    send_message(at, 0x4200'0000, 101);
    source[0] = 101;
    report("dma.write_to_the_doorbell_ends",
           transfer(address_of(source), 8, false) && transfer(message_page + 0x40, 4, true));
    write32(message_page + 0x40, 102); // by the CPU
    report("dma.cpu_rings_no_doorbell", !pending(102));
    fault_begin();
    read32(message_page + 0x40);
    report("dma.message_page_is_write_only", fault_end().taken);
}

u64 window = 0;

/// The device reads the owner's words and writes its own, in place.
void use(u64 handle) {
    window = ffa_retrieve(owner_id, handle, FFA_MEM_PERM_RW, share_tag);
    report("dma.retrieved", window != 0);
    report("dma.reads_shared_page", transfer(window, page_bytes, false) && look() && differences(100) == 0);
    fill_device(200);
    report("dma.writes_shared_page", transfer(window, page_bytes, true));
    expect_success("dma.relinquish", ffa_relinquish(handle));
}

void use_read_only(u64 handle) {
    window = ffa_retrieve(owner_id, handle, FFA_MEM_PERM_RO, share_tag);
    report("dma.retrieved_read_only", window != 0);
    report("dma.reads_read_only_page",
           transfer(window, page_bytes, false) && look() && differences(300) == 0);
    fill_device(400);
    report("dma.write_to_read_only_ends", transfer(window, page_bytes, true));
    expect_success("dma.relinquish_read_only", ffa_relinquish(handle));
}

/// The page is the owner's alone again: the device's translation of it must be gone as well.
void after_reclaim() {
    fill_device(500);
    report("dma.write_after_reclaim_ends", transfer(window, page_bytes, true));
    report("dma.read_after_reclaim_ends", transfer(window, page_bytes, false));
    report("dma.reads_nothing_after_reclaim", look() && differences(600) != 0);
}

void answer(u64 handle) {
    ffa_send(owner_id, {static_cast<u32>(Step::answer), 0, handle, window});
}

void drive() {
    if (!start_edu()) {
        return;
    }
    own_memory();
    forbidden();
    messages();
    FfaMessage message{};
    while (ffa_receive(owner_id, message)) {
        switch (static_cast<Step>(message.step)) {
        case Step::use:
            use(message.handle);
            break;
        case Step::use_read_only:
            use_read_only(message.handle);
            break;
        case Step::after_reclaim:
            after_reclaim();
            break;
        case Step::finish:
        case Step::answer:
            answer(message.handle);
            return;
        }
        answer(message.handle);
    }
}

// ---- the owner ----

alignas(4096) u64 shared[words];
alignas(4096) u64 private_words[64 * words]; // around it nothing may change

u64 share(u8 permissions, u64 salt) {
    for (u64 i = 0; i < words; ++i) {
        shared[i] = pattern(i + salt);
    }
    dsb();
    const CallResult r = ffa_share_page(device_id, address_of(shared), permissions, share_tag);
    expect_success("dma.share", r);
    return ffa_handle(r);
}

bool ask(Step step, u64 handle) {
    FfaMessage reply{};
    return ffa_send(device_id, {static_cast<u32>(step), 0, handle, 0}) && ffa_receive(device_id, reply);
}

u64 changed(u64 salt) {
    u64 wrong = 0;
    for (u64 i = 0; i < words; ++i) {
        wrong += shared[i] == pattern(i + salt) ? 0 : 1;
    }
    return wrong;
}

void own() {
    for (u64 i = 0; i < 64 * words; ++i) {
        private_words[i] = pattern(i);
    }
    u64 handle = share(FFA_MEM_PERM_RW, 100);
    report("dma.device_used_it", ask(Step::use, handle));
    report_equal("dma.owner_sees_the_devices_words", changed(200), 0);
    expect_success("dma.reclaim", ffa_reclaim(handle));

    handle = share(FFA_MEM_PERM_RO, 300);
    report("dma.device_used_it_read_only", ask(Step::use_read_only, handle));
    report_equal("dma.read_only_page_is_unchanged", changed(300), 0);
    expect_success("dma.reclaim_read_only", ffa_reclaim(handle));

    for (u64 i = 0; i < words; ++i) {
        shared[i] = pattern(i + 600);
    }
    dsb();
    report("dma.device_tried_after_reclaim", ask(Step::after_reclaim, 0));
    report_equal("dma.reclaimed_page_is_unchanged", changed(600), 0);

    u64 wrong = 0;
    for (u64 i = 0; i < 64 * words; ++i) {
        wrong += private_words[i] == pattern(i) ? 0 : 1;
    }
    report_equal("dma.owners_other_memory_is_unchanged", wrong, 0);
    ask(Step::finish, 0);
}

} // namespace

void payload() {
    ffa_introduce();
    if (has_option("dma.owner")) {
        own();
    } else {
        drive();
    }
}
