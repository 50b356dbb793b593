// SPDX-License-Identifier: Apache-2.0
// Payload fp: keeps a pattern in every FP/SIMD register while another guest with another pattern (boot
// argument fp.seed=a or fp.seed=b) shares the CPU. Each check comes after a spin that is longer than a time
// slice may be.
#include "guests/bare/rt/rt.hpp"

extern "C" atl::u64 fp_nonzero();
extern "C" void fp_fill(atl::u64 seed);
extern "C" atl::u64 fp_check(atl::u64 seed);

using namespace atl;
using namespace atl::bare;

void payload() {
    const u64 base = has_option("fp.seed=b") ? 0xb000'0000'0000'0005 : 0xa000'0000'0000'000a;
    BARE_WRITE("cpacr_el1", u64{3} << 20);
    isb();
    // The first use, after the other guest's: nothing of its may be seen.
    report_equal("fp.zero_at_first", fp_nonzero(), 0);
    const u64 step = BARE_READ("cntfrq_el0") / 50;
    u64 wrong = 0;
    for (u64 round = 0; round < 50; ++round) {
        const u64 seed = base + round * 0x101;
        fp_fill(seed);
        const u64 end = now() + step;
        while (now() < end) {
        }
        if (round % 10 == 9) { // a trap in between as well
            hvc(abi::psci_version);
        }
        wrong += fp_check(seed);
    }
    report_equal("fp.registers_kept", wrong, 0);
}
