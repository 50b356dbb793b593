// SPDX-License-Identifier: Apache-2.0
// The console: EL2's log, every guest's UART and the monitor on one physical PL011. Owns the mux, the UART
// and their lock (rank console); the line discipline is console_mux.hpp.
#pragma once
#include "el2/console_mux.hpp"
#include "el2/uart_hw.hpp"
#include "lib/log.hpp"
#include "lib/spinlock.hpp"

namespace atl::el2 {

struct World;
struct Vm;

class Console {
  public:
    constexpr Console() = default;

    /// Registers mapped; `counter_hz` for the mux's patience. Log lines appear from here on.
    void init(HypVa uart, u64 counter_hz);
    /// The same UART at another address, after the change of map.
    void move_uart(HypVa uart);
    /// The boot CPU takes interrupts from now on: it may be asked to call service().
    void enable_kicks() { kicks_ = true; }
    /// Joins a VM's emulated UART to this console. Before the VM runs.
    void add_guest(Vm& vm);
    void log(log::Level level, std::string_view line);

    /// The UART's interrupt, on the boot CPU.
    void on_interrupt(World& world);
    /// Moves output on and tells guests that have room again; when EL2's timer says so. Boot CPU.
    void service(World& world);
    /// Counter value at which service() must run; ~0: never. Any CPU may read.
    u64 deadline() const { return __atomic_load_n(&deadline_, __ATOMIC_RELAXED); }

    /// For the monitor's answers.
    void print(std::string_view text);

    /// Panics: no lock, no rings, waits for the UART.
    void panic_print(std::string_view text);
    bool present() const { return uart_.present(); }

  private:
    static bool guest_transmit(void* context, u8 byte);
    static std::size_t guest_pull(void* context, std::span<u8> into);
    bool queue_locked(VmId vm, u8 byte);
    void pump_locked();
    void publish_deadline(const ConsoleMux::PumpResult& result);

    SpinLock lock_{LockRank::console};
    ConsoleMux mux_{};
    Uart uart_{};
    GuestMask writable_ = 0; // guests to be told that there is room; under lock_
    u64 deadline_ = ~u64{0};
    bool kicks_ = false; // the boot CPU looks at deadline_ when it is kicked
};

/// A line typed at the monitor. Prints its answer through world.console.
void run_monitor_command(World& world, std::string_view line);

} // namespace atl::el2
