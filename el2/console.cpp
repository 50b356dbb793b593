// SPDX-License-Identifier: Apache-2.0
// Joins mux, UART, guests and monitor. The guests' UART models are called without the console lock held,
// because they take their own first (lock order: device, then console).
#include "el2/console.hpp"

#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/world.hpp"

namespace atl::el2 {
namespace {

constexpr std::size_t pump_bytes = 512; // at a time: bounds how long the lock is held

constexpr const char* prefix_of(log::Level level) {
    switch (level) {
    case log::Level::error:
        return "error: ";
    case log::Level::warn:
        return "warning: ";
    case log::Level::info:
    case log::Level::debug:
        return "";
    }
    return "";
}

} // namespace

void Console::init(HypVa uart, u64 counter_hz) {
    uart_.init(uart);
    const ConsoleMux::Uart port{
        this, [](void* context) { return static_cast<Console*>(context)->uart_.can_write(); },
        [](void* context, u8 byte) { static_cast<Console*>(context)->uart_.write(byte); }};
    ConsoleMux::Timing timing;
    timing.partial_ticks = counter_hz / 5;
    timing.hold_ticks = counter_hz / 2;
    timing.stall_ticks = counter_hz * 2;
    mux_.configure(port, timing);
}

void Console::move_uart(HypVa uart) {
    uart_.init(uart);
}

void Console::add_guest(Vm& vm) {
    {
        LockGuard guard(lock_);
        mux_.add_guest(vm.id, vm.name());
    }
    mmio_emul::Pl011::Backend backend;
    backend.context = &vm;
    backend.transmit = &Console::guest_transmit;
    backend.pull = &Console::guest_pull;
    const IrqLine line{&vm,
                       [](void* context, u32 intid, bool high) {
                           Vm& target = *static_cast<Vm*>(context);
                           kick_vcpus(target, target.gic.set_line(Intid{intid}, high));
                       },
                       guest_map::first_spi + guest_map::uart_spi};
    vm.uart.attach(line, backend);
}

bool Console::guest_transmit(void* context, u8 byte) {
    const Vm& vm = *static_cast<Vm*>(context);
    Console& self = vm.world->console;
    LockGuard guard(self.lock_);
    if (self.mux_.write_through(vm.id, byte, hw::counter())) [[likely]] {
        return true;
    }
    return self.queue_locked(vm.id, byte);
}

[[gnu::noinline]] bool Console::queue_locked(VmId vm, u8 byte) {
    const bool taken = mux_.guest_write(vm, byte);
    pump_locked();
    return taken;
}

std::size_t Console::guest_pull(void* context, std::span<u8> into) {
    Vm& vm = *static_cast<Vm*>(context);
    Console& self = vm.world->console;
    LockGuard guard(self.lock_);
    return self.mux_.take_input(vm.id, into);
}

void Console::pump_locked() {
    const auto result = mux_.pump(hw::counter(), pump_bytes);
    writable_ |= result.writable;
    publish_deadline(result);
}

/// Soon: there is more, or guests have room again and are told by the boot CPU without this caller's locks.
/// A stuck port has its interrupt, and the mux's own patience.
void Console::publish_deadline(const ConsoleMux::PumpResult& result) {
    constexpr u64 soon = 1;
    const bool stuck = result.more && !uart_.can_write();
    uart_.set_tx_interrupt(stuck);
    const u64 wanted = writable_ != 0 || (result.more && !stuck) ? soon : result.deadline;
    const u64 old = deadline_;
    __atomic_store_n(&deadline_, wanted, __ATOMIC_RELAXED);
    if (wanted < old && kicks_) {
        hw::send_kick(PcpuIndex{0});
    }
}

void Console::service(World& world) {
    GuestMask writable = 0;
    {
        LockGuard guard(lock_);
        const auto result = mux_.pump(hw::counter(), pump_bytes);
        writable = writable_ | result.writable;
        writable_ = 0;
        publish_deadline(result);
    }
    while (writable != 0) {
        const auto index = static_cast<u16>(__builtin_ctz(writable));
        writable &= writable - 1;
        if (Vm* vm = world.vm(VmId{static_cast<u16>(index + 1)}); vm != nullptr) {
            vm->uart.tx_drained();
        }
    }
}

void Console::on_interrupt(World& world) {
    // First: a byte that comes after the FIFO was found empty raises the interrupt anew.
    uart_.acknowledge();
    for (;;) {
        ConsoleMux::InputResult result;
        ConsoleMux::Command command;
        bool have_command = false;
        {
            LockGuard guard(lock_);
            const int byte = uart_.read();
            if (byte < 0) {
                break;
            }
            result = mux_.input(static_cast<u8>(byte));
            have_command = result.command && mux_.take_command(command);
            pump_locked();
        }
        if (result.guest.value != 0) {
            if (Vm* vm = world.vm(result.guest); vm != nullptr) {
                vm->uart.input_ready();
            }
        }
        if (have_command) {
            run_monitor_command(world, command.view());
            LockGuard guard(lock_);
            mux_.monitor_done();
            pump_locked();
        }
    }
    service(world);
}

void Console::log(log::Level level, std::string_view line) {
    if (!uart_.present()) {
        return;
    }
    const FormatBuffer<260> text("{}{}", prefix_of(level), line);
    LockGuard guard(lock_);
    mux_.log_line(text.text());
    pump_locked();
}

void Console::print(std::string_view text) {
    LockGuard guard(lock_);
    mux_.monitor_print(text);
    pump_locked();
}

void Console::panic_print(std::string_view text) {
    for (const char c : text) {
        if (c == '\n') {
            uart_.write_polled('\r');
        }
        uart_.write_polled(static_cast<u8>(c));
    }
}

} // namespace atl::el2
