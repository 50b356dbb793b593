// SPDX-License-Identifier: Apache-2.0
// QEMU's edu device (docs/specs/edu.rst in QEMU) from a bare guest: a buffer of 4 KiB, one transfer at a time, which takes
// 100 ms of the machine's time from its start and cannot be called back. No driver but this one; CPU 0 only.
#pragma once
#include "guests/bare/rt/rt.hpp"

namespace atl::bare {

constexpr u64 edu_ecam = 0x3f00'0000; // the VM's configuration window
constexpr u64 edu_bars = 0x1000'0000; // where we put their BARs
constexpr u64 edu_bar_bytes = 0x10'0000;
constexpr u32 edu_bytes = 4096;
constexpr u32 edu_master = 4; // in the command register, with 2: decode memory

struct Edu {
    u64 config = 0; // its configuration space
    u64 bar = 0;
};

/// Those on the VM's bus, in order of their slots, with a place for each one's BAR; at most `most`.
unsigned edu_find(Edu* found, unsigned most);
/// The BAR to its place, memory decoding on, and what `command` says besides.
void edu_enable(const Edu& edu, u32 command);
/// Begins a transfer between memory at `ipa` and the start of the device's buffer. What was written to memory before is
/// there when the device is told.
void edu_start(const Edu& edu, u64 ipa, u32 bytes, bool to_memory);
/// Until it has ended; false after two seconds.
bool edu_wait(const Edu& edu);
/// Its MSI capability, by address; 0: none.
u64 edu_msi(const Edu& edu);
/// From now on its MSI is a write of `data` to `address`.
void edu_aim(u64 msi, u64 address, u32 data);
/// Sends it, and takes the interrupt's cause away again.
void edu_message(const Edu& edu);
inline bool edu_transfer(const Edu& edu, u64 ipa, u32 bytes, bool to_memory) {
    edu_start(edu, ipa, bytes, to_memory);
    return edu_wait(edu);
}

} // namespace atl::bare
