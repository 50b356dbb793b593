// SPDX-License-Identifier: Apache-2.0
// QEMU's edu device: see edu.hpp.
#include "guests/bare/rt/edu.hpp"

namespace atl::bare {
namespace {

constexpr u32 edu_id = 0x11e8'1234;
constexpr u32 buffer_at = 0x4'0000; // in the device's own address space
constexpr u64 reg_source = 0x80;
constexpr u64 reg_destination = 0x88;
constexpr u64 reg_count = 0x90;
constexpr u64 reg_command = 0x98;
constexpr u32 run = 1;
constexpr u32 from_device = 2;
constexpr u64 reg_raise = 0x60; // interrupt status: set by writing here
constexpr u64 reg_acknowledge = 0x64;

} // namespace

unsigned edu_find(Edu* found, unsigned most) {
    unsigned count = 0;
    for (u64 slot = 0; slot < 32 && count < most; ++slot) {
        const u64 config = edu_ecam + (slot << 15);
        if (read32(config) == edu_id) {
            found[count] = {config, edu_bars + count * edu_bar_bytes};
            ++count;
        }
    }
    return count;
}

void edu_enable(const Edu& edu, u32 command) {
    write32(edu.config + 0x10, static_cast<u32>(edu.bar));
    write32(edu.config + 4, 2 | command);
}

u64 edu_msi(const Edu& edu) {
    for (u64 at = read32(edu.config + 0x34) & 0xfc, left = 48; at != 0 && left != 0; --left) {
        const u32 head = read32(edu.config + at);
        if ((head & 0xff) == 5) {
            return edu.config + at;
        }
        at = (head >> 8) & 0xfc;
    }
    return 0;
}

void edu_aim(u64 msi, u64 address, u32 data) {
    write32(msi + 4, static_cast<u32>(address));
    write32(msi + 8, 0);
    write32(msi + 12, data); // a 64-bit capability
    write32(msi, read32(msi) | 1u << 16);
}

void edu_message(const Edu& edu) {
    write32(edu.bar + reg_raise, 1);
    write32(edu.bar + reg_acknowledge, 1);
}

void edu_start(const Edu& edu, u64 ipa, u32 bytes, bool to_memory) {
    dsb();
    write32(edu.bar + reg_source, to_memory ? buffer_at : static_cast<u32>(ipa));
    write32(edu.bar + reg_destination, to_memory ? static_cast<u32>(ipa) : buffer_at);
    write32(edu.bar + reg_count, bytes);
    write32(edu.bar + reg_command, to_memory ? run | from_device : run);
}

bool edu_wait(const Edu& edu) {
    const u64 end = now() + 2 * BARE_READ("cntfrq_el0");
    while ((read32(edu.bar + reg_command) & run) != 0) {
        if (now() > end) {
            return false;
        }
        yield();
    }
    dsb();
    return true;
}

} // namespace atl::bare
