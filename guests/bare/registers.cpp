// SPDX-License-Identifier: Apache-2.0
// Do system registers leak from one VM to another? With the option "write": fills every register of the
// EL1/EL0 space that may be written with a pattern, over and over. Without: looks for that pattern in every
// register that can be read. Both share one pCPU. Instructions are made up one by one, because most encodings
// have no name.
#include "guests/bare/rt/rt.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u64 pattern = 0x5a5a'5a5a'5a5a'5a5a;
constexpr u32 mrs_x9 = 0xd530'0009;
constexpr u32 msr_x9 = 0xd510'0009;
alignas(64) u32 code[4];

struct Register {
    u32 op0, op1, crn, crm, op2;
    u32 bits() const { return op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5; }
};

/// Runs one instruction on x9; false when it faults.
bool run(u32 instruction, u64& value) {
    code[0] = instruction;
    code[1] = 0xd503'201f; // nop: what a fault resumes at
    code[2] = 0xd65f'03c0; // ret
    sync_code(code, sizeof(code));
    fault_begin();
    register u64 x9 asm("x9") = value;
    register u64 x8 asm("x8") = reinterpret_cast<u64>(code);
    asm volatile("blr x8" : "+r"(x9), "+r"(x8)::"x30", "memory");
    value = x9;
    return !fault_end().taken;
}

/// Registers whose writing would stop this payload, or that have nothing to do with another VM: SCTLR, VBAR
/// and the exception state in use, interrupt controller and timers (other payloads), implementation defined
/// space.
bool left_out(const Register& r, bool write) {
    if (r.crn == 11 || r.crn == 15) {
        return true;
    }
    if (r.op0 == 2) {
        const bool os_lock = r.crn == 1 && r.crm == 0 && r.op2 == 4;
        const bool mdscr = r.crn == 0 && r.crm == 2 && r.op2 == 2;
        return !os_lock && (r.crn > 1 || (write && mdscr));
    }
    switch (r.crn) {
    case 0:
        return write && r.op1 != 2;
    case 1:
        return write && r.crm == 0 && r.op2 == 0;
    case 4:
        return r.crm != 0 || r.op1 == 3;
    case 12:
        return r.crm != 1 && (write || r.crm != 0);
    case 14:
        return r.op1 != 0 || r.crm != 1;
    default:
        return r.op1 == 3 && r.crn == 2;
    }
}

template <class Visit>
void each(bool write, Visit visit) {
    for (u32 op0 = 2; op0 <= 3; ++op0) {
        for (u32 rest = 0; rest < 4 * 16 * 16 * 8; ++rest) {
            const Register r{op0, rest >> 11, (rest >> 7) & 15, (rest >> 3) & 15, rest & 7};
            if (!left_out(r, write)) {
                visit(r);
            }
        }
    }
}

void write_all(u64 until) {
    while (now() < until) {
        each(true, [](const Register& r) {
            u64 value = pattern;
            static_cast<void>(run(msr_x9 | r.bits(), value));
        });
        asm volatile("wfe"); // let the other VM have the pCPU
    }
    report("registers.written", true);
}

bool has_pattern(u64 value) {
    unsigned lanes = 0;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        lanes += ((value >> shift) & 0xff) == 0x5a ? 1 : 0;
    }
    return lanes >= 2;
}

void read_all() {
    unsigned readable = 0;
    unsigned leaked = 0;
    each(false, [&](const Register& r) {
        u64 value = 0;
        if (!run(mrs_x9 | r.bits(), value)) {
            return;
        }
        ++readable;
        if (has_pattern(value)) {
            ++leaked;
            put("leak: encoding ");
            put_hex(r.bits());
            put(" holds ");
            put_hex(value);
            put("\n");
        }
    });
    report("registers.readable", readable > 30);
    report("registers.no_leak", leaked == 0);
}

} // namespace

void payload() {
    const u64 hz = BARE_READ("cntfrq_el0");
    const u64 start = now();
    BARE_WRITE("cpacr_el1", u64{3} << 20);
    isb();
    if (has_option("write")) {
        write_all(start + 3 * hz);
        return;
    }
    while (now() < start + hz) {
        asm volatile("wfe");
    }
    read_all();
}
