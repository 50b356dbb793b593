// SPDX-License-Identifier: Apache-2.0
// Payload flood: boot argument flood.hostile: a VM with eight edu devices that write, all at once and again and again, where
// it has no memory: eight times more reports than the SMMU's event queue holds in a moment. Without it: a VM whose
// device goes on moving data meanwhile, and whose memory nobody else changes.
#include "guests/bare/rt/edu.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr unsigned hostile_devices = 8;
constexpr u64 nowhere = 0x5000'0000; // the VM has 32 MiB from 0x4000'0000
constexpr u64 words = edu_bytes / 8;

alignas(4096) u64 source[words];
alignas(4096) u64 target[words];
alignas(4096) u64 still[64 * words];

constexpr u64 pattern(u64 i) {
    return 0xf100'd000'0000'0000 + i * 0x9e37'79b9;
}

void hostile() {
    Edu devices[hostile_devices];
    const unsigned count = edu_find(devices, hostile_devices);
    report_equal("flood.devices", count, hostile_devices);
    for (unsigned i = 0; i < count; ++i) {
        edu_enable(devices[i], edu_master);
    }
    bool ended = true;
    for (unsigned round = 0; round < 10; ++round) {
        for (unsigned i = 0; i < count; ++i) {
            edu_start(devices[i], nowhere + i * edu_bytes, edu_bytes, true);
        }
        for (unsigned i = 0; i < count; ++i) {
            ended = edu_wait(devices[i]) && ended;
        }
    }
    report("flood.transfers_end", ended);
}

void neighbour() {
    Edu edu;
    const bool found = edu_find(&edu, 1) == 1;
    report("flood.neighbours_device", found);
    if (!found) {
        return;
    }
    edu_enable(edu, edu_master);
    for (u64 i = 0; i < 64 * words; ++i) {
        still[i] = pattern(i);
    }
    bool ended = true;
    u64 wrong = 0;
    for (u64 round = 0; round < 10; ++round) {
        for (u64 i = 0; i < words; ++i) {
            source[i] = pattern(i + round);
            target[i] = 0;
        }
        ended = edu_transfer(edu, reinterpret_cast<u64>(source), edu_bytes, false) &&
                edu_transfer(edu, reinterpret_cast<u64>(target), edu_bytes, true) && ended;
        for (u64 i = 0; i < words; ++i) {
            wrong += target[i] == pattern(i + round) ? 0 : 1;
        }
    }
    report("flood.neighbours_transfers_end", ended);
    report_equal("flood.neighbours_data_arrive", wrong, 0);
    wrong = 0;
    for (u64 i = 0; i < 64 * words; ++i) {
        wrong += still[i] == pattern(i) ? 0 : 1;
    }
    report_equal("flood.neighbours_memory_is_unchanged", wrong, 0);
}

} // namespace

void payload() {
    if (has_option("flood.hostile")) {
        hostile();
    } else {
        neighbour();
    }
}
