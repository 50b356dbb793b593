// SPDX-License-Identifier: Apache-2.0
// Panic: cause, registers, backtrace with names, the last exits of this pCPU; every other CPU stops.
#include "el2/panic.hpp"

#include "el2/cpu_hw.hpp"
#include "el2/symbols.hpp"
#include "el2/world.hpp"
#include "lib/arch/esr.hpp"
#include "vgic/gic_hw.hpp"

namespace atl::el2 {
namespace {

constinit World* panic_world = nullptr;
constinit u32 panicking = 0;
constexpr unsigned max_frames = 24;
constexpr unsigned shown_exits = 16;

void put(void*, std::string_view text) {
    panic_world->console.panic_print(text);
}

template <class... Args>
void print(std::string_view format, const Args&... args) {
    format_to(TextSink{nullptr, &put}, format, args...);
}

void print_symbol(HypVa address) {
    const Symbol symbol = find_symbol(address);
    if (symbol.name != nullptr) {
        print("{:016x} {}+{:x}\n", address.value, symbol.name, symbol.offset);
    } else {
        print("{:016x}\n", address.value);
    }
}

/// A frame record may only lie on this image's stacks or data; anything else ends the walk.
bool plausible_frame(u64 fp) {
    return fp >= 0x4000'0000'0000 && fp < 0x4000'4000'0000 && (fp & 7) == 0;
}

void backtrace(u64 fp, u64 pc) {
    print("[atoll] backtrace:\n[atoll]   ");
    print_symbol(HypVa{pc});
    for (unsigned i = 0; i < max_frames && plausible_frame(fp); ++i) {
        const u64* const record = arch::pointer<const u64>(HypVa{fp});
        const u64 next = record[0];
        const u64 lr = record[1];
        if (!is_code(HypVa{lr})) {
            break;
        }
        print("[atoll]   ");
        print_symbol(HypVa{lr - 4});
        if (next <= fp) {
            break; // stacks grow down: older frames lie higher
        }
        fp = next;
    }
}

void last_exits() {
    const PerCpu* const cpu = this_cpu_or_null();
    if (cpu == nullptr) {
        return;
    }
    print("[atoll] last exits of cpu {}, newest first:\n", cpu->index);
    for (unsigned i = 1; i <= shown_exits && i <= cpu->history_next; ++i) {
        const ExitRecord& exit = cpu->history[(cpu->history_next - i) % PerCpu::history_size];
        if (exit.vcpu == nullptr) {
            break;
        }
        const bool interrupt = (exit.esr >> 32) == 0xffff'ffff;
        print("[atoll]   {} vcpu {} pc {:x} ", exit.vcpu->vm->name(), exit.vcpu->index, exit.pc);
        if (interrupt) {
            print("interrupt {}\n", ~exit.esr);
        } else {
            print("{} esr {:x}\n", arch::to_string(arch::exception_class(exit.esr)), exit.esr);
        }
    }
}

[[noreturn]] void halt() {
    for (;;) {
        arch::wfi();
    }
}

void stop_others() {
    const PerCpu* const self = this_cpu_or_null();
    if (self == nullptr || panic_world->gic == nullptr) {
        return;
    }
    for (unsigned i = 0; i < panic_world->pcpu_count; ++i) {
        const PerCpu* const cpu = panic_world->pcpus[i];
        if (cpu != nullptr && cpu != self && __atomic_load_n(&cpu->online, __ATOMIC_RELAXED) != 0) {
            panic_world->gic->send_sgi(cpu->index, stop_sgi);
        }
    }
}

/// The first pCPU to get here prints; the others, and a panic inside a panic, stop silently.
void begin() {
    if (__atomic_exchange_n(&panicking, 1U, __ATOMIC_ACQ_REL) != 0 || panic_world == nullptr ||
        !panic_world->console.present()) {
        halt();
    }
    stop_others();
}

void print_el2_registers() {
    print("[atoll] esr {:x} elr {:x} far {:x} hpfar {:x} spsr {:x}\n", ATOLL_MRS(esr_el2), ATOLL_MRS(elr_el2),
          ATOLL_MRS(far_el2), ATOLL_MRS(hpfar_el2), ATOLL_MRS(spsr_el2));
    print("[atoll] hcr {:x} vttbr {:x} sctlr {:x} tpidr {:x} sp {:x}\n", ATOLL_MRS(hcr_el2),
          ATOLL_MRS(vttbr_el2), ATOLL_MRS(sctlr_el2), ATOLL_MRS(tpidr_el2),
          reinterpret_cast<u64>(__builtin_frame_address(0)));
}

[[noreturn]] void finish(u64 fp, u64 pc) {
    backtrace(fp, pc);
    last_exits();
    print("[atoll] stopped: all CPUs\n");
    halt();
}

} // namespace

void set_panic_world(World& world) {
    panic_world = &world;
}

void stop_for_panic() {
    halt();
}

struct FaultFrame {
    u64 x[31];
    u64 sp;
};

extern "C" [[noreturn]] void el2_report_fault(const FaultFrame* frame, u64 vector) {
    begin();
    const u64 esr = ATOLL_MRS(esr_el2);
    const u64 elr = ATOLL_MRS(elr_el2);
    print("\n[atoll] PANIC on cpu {}: EL2 took an exception it cannot handle: {}{}\n",
          this_cpu_or_null() != nullptr ? this_cpu().index.value : u8{0},
          arch::to_string(arch::exception_class(esr)), (vector & 3) == 0 ? "" : " (asynchronous)");
    print_el2_registers();
    for (unsigned i = 0; i < 31; ++i) {
        print("{}x{} {:016x}{}", i % 4 == 0 ? "[atoll] " : "  ", i, frame->x[i], i % 4 == 3 ? "\n" : "");
    }
    print("  sp {:016x}\n", frame->sp);
    finish(frame->x[29], elr);
}

} // namespace atl::el2

namespace atl {

void panic(std::string_view why, const char* file, int line) {
    el2::begin();
    el2::print("\n[atoll] PANIC on cpu {}: {} ({}:{})\n",
               el2::this_cpu_or_null() != nullptr ? el2::this_cpu().index.value : u8{0}, why, file, line);
    el2::print_el2_registers();
    // The caller's frame record: this function's own would only repeat the address below.
    const u64 fp = *static_cast<const u64*>(__builtin_frame_address(0));
    el2::finish(fp, reinterpret_cast<u64>(__builtin_return_address(0)) - 4);
}

} // namespace atl

extern "C" [[noreturn]] void __stack_chk_fail() {
    atl::panic("a stack buffer was overrun", "stack protector", 0);
}
