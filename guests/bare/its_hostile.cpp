// SPDX-License-Identifier: Apache-2.0
// Payload its_hostile: an ITS in bad hands, from a fixed seed: registers of every width and at odd places, tables outside
// memory, over each other and under the commands that use them, random commands, long queues of the longest ones. Nothing
// is expected of the answers: it must come to its end, an ITS that is set up properly must work afterwards, and the other
// guests must not notice. Boot argument its.device: half of the commands are about its edu device (docs/specs/edu.rst in QEMU),
// which sends messages in between; with a GICv4 the host's ITS follows what these commands do.
#include "guests/bare/rt/edu.hpp"
#include "guests/bare/rt/its.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr unsigned rounds = 300;
constexpr unsigned commands_per_round = 60;
constexpr u64 playground = its_tables; // what tables may overwrite: nothing else of this guest's
constexpr u64 playground_bytes = 0x100'0000;
constexpr u64 long_queue_bytes = 0x10'0000;
constexpr u64 gicr_propbaser = 0x0070;
constexpr u64 gicr_pendbaser = 0x0078;

Edu edu;
u64 msi = 0;
u32 real_device = 0; // its DeviceID; 0: none

u64 state = 0x243f'6a88'85a3'08d3;

u64 random() { // xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545'f491'4f6c'dd1d;
}
u64 pick(u64 count) {
    return random() % count;
}

/// Where a table may be said to be: mostly in memory, so that it is used.
u64 place() {
    switch (pick(10)) {
    case 0:
        return 0;
    case 1:
        return u64{1} << pick(52);
    case 2:
        return gicd_base + pick(64) * 0x1'0000;
    case 3:
        return ram_base + 0x0400'0000 - 0x1000 + pick(4) * 0x1000; // the end of RAM, and beyond
    case 4:
        return 0xffff'ffff'f000;
    case 5:
        return 0xc000'0000 + pick(16) * 0x1000; // a share window that it has not got
    default:
        return playground + pick(playground_bytes / 0x1'0000) * 0x1'0000;
    }
}

u64 small_or_any() {
    switch (pick(4)) {
    case 0:
        return random();
    case 1:
        return pick(0x4000);
    default:
        return pick(8);
    }
}

ItsCommand any_command() {
    constexpr u8 opcodes[] = {0x01, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f};
    const u64 opcode = pick(8) == 0 ? pick(256) : opcodes[pick(sizeof(opcodes))];
    ItsCommand c{{opcode | small_or_any() << 32, small_or_any(), small_or_any(), small_or_any()}};
    if (real_device != 0 && pick(2) != 0) {
        c.word[0] = opcode | u64{real_device} << 32;
        c.word[1] = pick(16);
    }
    switch (opcode) {
    case 0x08:
        c.word[1] = pick(32);
        c.word[2] = (place() & ~u64{0xff}) | (pick(4) != 0 ? bit63 : 0);
        break;
    case 0x09:
        c.word[2] = pick(8) | pick(4) << 16 | (pick(4) != 0 ? bit63 : 0);
        break;
    case 0x0a:
        c.word[1] = pick(16) | (first_lpi + (pick(4) == 0 ? pick(0x10000) : pick(counted_lpis))) << 32;
        break;
    case 0x0e:
        c.word[2] = pick(4) << 16;
        c.word[3] = pick(4) << 16;
        break;
    default:
        break;
    }
    return c;
}

void stir_registers() {
    write32(its_base + gits_ctlr, 0);
    write64(its_base + gits_baser,
            (pick(8) != 0 ? bit63 : 0) | pick(256) | pick(4) << 8 | pick(2) << 62 | place());
    write64(its_base + gits_cbaser,
            (pick(8) != 0 ? bit63 : 0) | pick(16) | (pick(3) == 0 ? place() : its_queue));
    write64(its_base + gits_cwriter, pick(4) == 0 ? random() : 0);
    write32(its_base + gits_ctlr, static_cast<u32>(random()) | (pick(8) != 0 ? 1 : 0));
    if (pick(3) == 0) {
        const u64 frame = redistributor_of(static_cast<unsigned>(pick(2)));
        write32(frame, static_cast<u32>(pick(2)));
        write64(frame + gicr_propbaser, place() | pick(32));
        write64(frame + gicr_pendbaser, place() | pick(2) << 62);
        write32(frame, static_cast<u32>(pick(2)));
    }
}

/// The memory under the tables changes while commands use it.
void stir_tables() {
    for (unsigned i = 0; i < 200; ++i) {
        const u64 at = playground + pick(playground_bytes / 8) * 8;
        write64(at, pick(2) == 0 ? random() : bit63 | place() | pick(0x4000));
    }
}

void batch() {
    const u64 first = read64(its_base + gits_creadr) & 0xf'ffe0;
    u64 end = first;
    for (unsigned i = 0; i < commands_per_round; ++i) {
        const ItsCommand c = any_command();
        for (u64 w = 0; w < 4; ++w) {
            write64(its_queue + (end + 8 * w) % its_queue_bytes, c.word[w]);
        }
        end = (end + 32) % its_queue_bytes;
    }
    dsb();
    write64(its_base + gits_cwriter, end | pick(2));
    for (unsigned i = 0; real_device != 0 && i < 4; ++i) {
        edu_aim(msi, its_base + gits_translater, static_cast<u32>(pick(20)));
        edu_message(edu);
    }
    for (unsigned i = 0; i < 8; ++i) {
        static_cast<void>(read64(its_base + gits_creadr));
    }
}

/// Every width, everywhere in both frames: RAZ/WI or a register, never a fault.
bool sweep() {
    fault_begin();
    for (u64 offset = 0; offset < 0x2'0000; offset += offset % 0x1'0000 < 0x200 ? 4 : 0x1fc) {
        const u64 at = its_base + offset;
        const u64 value = random();
        asm volatile("ldrb w9, [%0]\n ldrh w9, [%0]\n ldr w9, [%0]\n ldr x9, [%1]\n"
                     "strb %w2, [%0]\n strh %w2, [%0]\n str %w2, [%0]\n str %2, [%1]" ::"r"(at),
                     "r"(at & ~u64{7}), "r"(value)
                     : "x9", "memory");
    }
    return !fault_end().taken;
}

void long_queue() {
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
        lpi_set_enabled(cpu, false);
    }
    lpi_enable_cpu(true); // with a configuration table in memory, so that INVALL reads all of it
    write32(its_base + gits_ctlr, 0);
    write64(its_base + gits_cbaser, bit63 | its_queue);
    const ItsCommand map = mapc(0, its_target(0), true);
    for (u64 w = 0; w < 4; ++w) {
        write64(its_queue + 8 * w, map.word[w]);
    }
    write32(its_base + gits_ctlr, 1);
    write64(its_base + gits_cwriter, 32);
    write32(its_base + gits_ctlr, 0);
    for (u64 at = 0; at < long_queue_bytes; at += 32) {
        write64(playground + at, at % 64 == 0 ? 0x0d : 0x0e);
        write64(playground + at + 16, 0);
        write64(playground + at + 24, 0x1'0000);
    }
    write64(its_base + gits_cbaser, bit63 | (long_queue_bytes / 4096 - 1) | playground);
    write32(its_base + gits_ctlr, 1);
    write64(its_base + gits_cwriter, 0x2'0000); // 4096 of them
    const u64 end = now() + 20 * BARE_READ("cntfrq_el0");
    while (read64(its_base + gits_creadr) != 0x2'0000 && now() < end) {
    }
    report_equal("its_hostile.long_queue_ends", read64(its_base + gits_creadr), 0x2'0000);
}

void sound_again() {
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
        lpi_set_enabled(cpu, false);
    }
    write32(its_base + gits_ctlr, 0);
    report("its_hostile.init", its_init());
    lpi_enable_cpu(true);
    lpi_configure(first_lpi, true);
    its_do(mapc(0, its_target(0), true));
    its_do(mapd(1, 4, itt_of(1), true));
    its_do(mapti(1, 0, first_lpi, 0));
    its_do(inv(1, 0));
    lpi_forget();
    its_do(raise(1, 0));
    const u64 end = now() + BARE_READ("cntfrq_el0");
    while (lpi_taken(0, first_lpi) == 0 && now() < end) {
        yield();
    }
    report_equal("its_hostile.works_again", lpi_taken(0, first_lpi), 1);
}

} // namespace

void payload() {
    report("its_hostile.gic", gic_init(true) && its_there());
    set_irq_handler(lpi_handler);
    unmask_irqs();
    if (has_option("its.device")) {
        msi = edu_find(&edu, 1) != 0 ? edu_msi(edu) : 0;
        report("its_hostile.device", msi != 0);
        edu_enable(edu, edu_master);
        real_device = static_cast<u32>((edu.config - edu_ecam) >> 12);
    } else {
        report("its_hostile.sweep",
               sweep()); // with a device, messages have a page that is not there to be read
    }
    for (unsigned round = 0; round < rounds; ++round) {
        stir_registers();
        stir_tables();
        batch();
        batch();
    }
    report("its_hostile.rounds", true);
    long_queue();
    sound_again();
}
