// SPDX-License-Identifier: Apache-2.0
// Payload hostile: random hypercalls, FF-A calls with plausible buffers, MMIO of every width, system
// registers, all from a fixed seed. Nothing is expected of the answers: it must come to its end, and the
// other guests must not notice.
#include "lib/abi/ffa.h"

#include "guests/bare/rt/rt.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr unsigned rounds = 20'000;

u64 state = 0x9e37'79b9'7f4a'7c15;
alignas(4096) u8 buffer_tx[4096];
alignas(4096) u8 buffer_rx[4096];
alignas(4096) u8 lendable[4][4096];
u32 code[2] __attribute__((aligned(64)));

u64 random() { // xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545'f491'4f6c'dd1d;
}

u64 pick(u64 count) {
    return random() % count;
}

u64 address_of(const void* p) {
    return reinterpret_cast<u64>(p);
}

/// An argument that has a chance to get past the first check.
u64 argument() {
    switch (pick(10)) {
    case 0:
        return 0;
    case 1:
        return pick(8);
    case 2:
        return address_of(buffer_tx);
    case 3:
        return address_of(buffer_rx);
    case 4:
        return address_of(lendable[pick(4)]);
    case 5:
        return u64{1} << pick(64);
    case 6:
        return ~u64{0} - pick(4096);
    case 7:
        return pick(0x10000) << 16 | pick(4);
    case 8:
        return 0xc000'0000 + pick(1 << 20) * 4096;
    default:
        return random();
    }
}

bool ends_us(u32 function) {
    const u32 number = function & ~abi::smccc_64;
    return number == abi::psci_system_off || number == abi::psci_system_reset ||
           number == abi::psci_system_reset2 || number == abi::psci_cpu_off ||
           number == abi::psci_cpu_suspend || number == 0x8400'0015; // SYSTEM_OFF2
}

u32 function_id() {
    switch (pick(5)) {
    case 0:
        return 0x8400'0000U + static_cast<u32>(pick(0x20)) + (pick(2) != 0 ? abi::smccc_64 : 0);
    case 1:
    case 2:
        return FFA_ERROR + static_cast<u32>(pick(0x30)) + (pick(2) != 0 ? abi::smccc_64 : 0);
    case 3:
        return 0x8000'0000U + (static_cast<u32>(pick(64)) << 24) + static_cast<u32>(pick(0x20));
    default:
        return static_cast<u32>(random());
    }
}

/// A transaction descriptor that is nearly right: one field of it is made wrong half of the time.
u64 write_descriptor() {
    for (u64 i = 0; i < 256; i += 8) {
        const u64 zero = 0;
        __builtin_memcpy(buffer_tx + i, &zero, 8);
    }
    ffa_mem_region region{};
    region.sender_id = 1;
    region.attributes = FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER;
    region.ep_mem_size = sizeof(ffa_mem_region_attributes);
    region.ep_count = 1;
    region.ep_mem_offset = sizeof(ffa_mem_region);
    ffa_mem_region_attributes access{};
    access.receiver = 2;
    access.permissions = static_cast<u8>(1 + pick(2));
    access.composite_off = sizeof(region) + sizeof(access);
    ffa_composite_mem_region composite{};
    composite.total_pg_cnt = 2;
    composite.addr_range_cnt = 2;
    ffa_mem_region_addr_range ranges[2] = {};
    for (unsigned i = 0; i < 2; ++i) {
        ranges[i].address = address_of(lendable[pick(4)]);
        ranges[i].pg_cnt = 1;
    }
    u8* to = buffer_tx;
    __builtin_memcpy(to, &region, sizeof(region));
    __builtin_memcpy(to + sizeof(region), &access, sizeof(access));
    __builtin_memcpy(to + sizeof(region) + sizeof(access), &composite, sizeof(composite));
    __builtin_memcpy(to + sizeof(region) + sizeof(access) + sizeof(composite), ranges, sizeof(ranges));
    const u64 length = sizeof(region) + sizeof(access) + sizeof(composite) + sizeof(ranges);
    if (pick(2) != 0) {
        const u64 value = argument();
        __builtin_memcpy(to + pick(length / 4) * 4, &value, 4);
    }
    return length;
}

void random_call() {
    u32 function = function_id();
    if (ends_us(function)) {
        return;
    }
    u64 length = argument();
    u64 fragment = argument();
    if (pick(3) == 0) {
        length = write_descriptor();
        fragment = pick(4) == 0 ? length / 2 : length;
        function = FFA_MEM_SHARE + static_cast<u32>(pick(5));
    } else if (pick(20) == 0) {
        function = FFA_RXTX_MAP64;
        length = address_of(buffer_tx);
        fragment = address_of(buffer_rx);
    }
    if (pick(2) != 0) {
        hvc(function, length, fragment, pick(2), argument(), argument(), argument(), argument());
    } else {
        smc(function, length, fragment, pick(2), argument(), argument(), argument(), argument());
    }
}

/// Reads anywhere; writes only where this guest does not destroy itself: the GIC, and what is not mapped.
void random_mmio() {
    static const u64 windows[] = {gicd_base,   gicr_base,   uart_base,   rtc_base,
                                  0x0700'0000, 0x0a00'0000, 0xc000'0000, 0x2'0000'0000};
    const u64 which = pick(8);
    const bool write = pick(2) != 0 && which != 2;
    const u64 address = windows[which] + pick(0x2'0000);
    const u64 value = random();
    switch (pick(5) + (write ? 5 : 0)) {
    case 0:
        asm volatile("ldrb w0, [%0]" ::"r"(address) : "x0", "memory");
        return;
    case 1:
        asm volatile("ldrsh x0, [%0]" ::"r"(address & ~u64{1}) : "x0", "memory");
        return;
    case 2:
        asm volatile("ldr w0, [%0]" ::"r"(address) : "x0", "memory");
        return;
    case 3:
        asm volatile("ldr x0, [%0]" ::"r"(address & ~u64{7}) : "x0", "memory");
        return;
    case 4:
        asm volatile("ldp x0, x1, [%0]" ::"r"(address & ~u64{7}) : "x0", "x1", "memory");
        return;
    case 5:
        asm volatile("strb %w1, [%0]" ::"r"(address), "r"(value) : "memory");
        return;
    case 6:
        asm volatile("strh %w1, [%0]" ::"r"(address & ~u64{1}), "r"(value) : "memory");
        return;
    case 7:
        asm volatile("str %w1, [%0]" ::"r"(address & ~u64{3}), "r"(value) : "memory");
        return;
    case 8:
        asm volatile("str %1, [%0]" ::"r"(address & ~u64{7}), "r"(value) : "memory");
        return;
    default:
        asm volatile("stp %1, %1, [%0]" ::"r"(address & ~u64{7}), "r"(value) : "memory");
        return;
    }
}

/// mrs or msr of a random encoding. Writes spare the registers that this payload lives on: SCTLR (CRn 1),
/// exception state (CRn 4), VBAR (CRn 12, CRm 0), and everything of the debug space.
void random_register() {
    const u32 encoding = static_cast<u32>(random()) & 0x7ffe0; // op1, CRn, CRm, op2
    const u32 crn = (encoding >> 12) & 0xf;
    const u32 crm = (encoding >> 8) & 0xf;
    const bool write = pick(2) != 0 && crn != 1 && crn != 4 && !(crn == 12 && crm < 8);
    const u32 op0 = write || pick(4) != 0 ? 3 : 2;
    code[0] = 0xd500'0000U | (write ? 0 : 1U << 21) | (op0 << 19) | encoding;
    code[1] = 0xd65f'03c0; // ret
    sync_code(code, sizeof(code));
    asm volatile("mov x0, %1\n blr %0" ::"r"(code), "r"(random()) : "x0", "x30", "memory");
}

} // namespace

void payload() {
    mask_irqs();
    unsigned done_rounds = 0;
    for (; done_rounds < rounds; ++done_rounds) {
        fault_begin();
        switch (pick(4)) {
        case 0:
            random_mmio();
            break;
        case 1:
            random_register();
            break;
        default:
            random_call();
            break;
        }
        fault_end();
    }
    put("hostile: survived ");
    put_dec(done_rounds);
    put(" rounds\n");
}
