// SPDX-License-Identifier: Apache-2.0
// The monitor's commands: what an operator asks of a running system. Runs on the boot CPU, from the console's
// interrupt; reads counters of other pCPUs without locks, so a figure may be one exit old.
#include "el2/console.hpp"
#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/its.hpp"
#include "el2/lifecycle.hpp"
#include "el2/passthrough.hpp"
#include "el2/world.hpp"
#include "lib/arch/esr.hpp"
#include "lib/panic.hpp"

namespace atl::el2 {
namespace {

struct Context {
    World& world;
    std::string_view argument;
};

TextSink console_of(World& world) {
    return {&world,
            [](void* context, std::string_view text) { static_cast<World*>(context)->console.print(text); }};
}

template <class... Args>
void say(World& world, std::string_view format, const Args&... args) {
    format_to(console_of(world), format, args...);
}

Vm* find_vm(World& world, std::string_view name) {
    for (unsigned id = 1; id <= world.vm_slots; ++id) {
        Vm* const vm = world.vms[id];
        if (vm != nullptr && vm->name() == name) {
            return vm;
        }
    }
    return nullptr;
}

const char* state_name(const Vcpu& vcpu) {
    if (vcpu.power.load(std::memory_order_relaxed) == Power::off) {
        return "off";
    }
    switch (vcpu.state) {
    case SchedState::off:
        return "off";
    case SchedState::ready:
        return "ready";
    case SchedState::running:
        return "running";
    case SchedState::parked:
        return "parked";
    }
    return "?";
}

u64 ms_since_boot(const World& world) {
    return (hw::counter() - world.boot_counter) / (world.counter_hz / 1000);
}

void cmd_vms(Context c) {
    for (unsigned id = 1; id <= c.world.vm_slots; ++id) {
        const Vm* const vm = c.world.vms[id];
        if (vm == nullptr) {
            continue;
        }
        say(c.world, "{} {:12}  {}  boots {}  RAM {} MiB  window {} MiB\n", id, vm->name(),
            vm->crashed ? "crashed" : to_string(vm->state), vm->boots, vm->config->ram_bytes / mib,
            vm->config->window_bytes / mib);
        for (unsigned i = 0; i < vm->vcpu_count; ++i) {
            const Vcpu& v = *vm->vcpus[i];
            const u64 now_loaded = v.cpu->current == &v ? hw::counter() - v.loaded_at : 0;
            say(c.world, "    vcpu {} on cpu {}  {}  ran {} ms\n", i, v.cpu->index, state_name(v),
                (v.run_ticks + now_loaded) / (c.world.counter_hz / 1000));
        }
    }
}

void say_exits(World& world, const Vm& vm) {
    u64 total = 0;
    u64 irqs = 0;
    for (unsigned i = 0; i < vm.vcpu_count; ++i) {
        irqs += vm.vcpus[i]->irq_exits;
    }
    for (unsigned ec = 0; ec < 64; ++ec) {
        u64 n = 0;
        for (unsigned i = 0; i < vm.vcpu_count; ++i) {
            n += vm.vcpus[i]->exits[ec];
        }
        total += n;
        if (n != 0) {
            say(world, "  exits {} {}\n", arch::to_string(static_cast<arch::ExceptionClass>(ec)), n);
        }
    }
    say(world, "  exits interrupt {}\n  exits total {}\n", irqs, total + irqs);
    say(world, "  injected: {} undefined instructions, {} external aborts\n", vm.undefined_injected,
        vm.aborts_injected);
}

void cmd_stats(Context c) {
    World& world = c.world;
    say(world, "up {} ms\n", ms_since_boot(world));
    for (unsigned i = 0; i < world.pcpu_count; ++i) {
        const PerCpu& cpu = *world.pcpus[i];
        say(world, "cpu {}: {} world switches, idle {} ms\n", i, cpu.switches,
            cpu.idle_ticks / (world.counter_hz / 1000));
    }
    for (unsigned id = 1; id <= world.vm_slots; ++id) {
        if (world.vms[id] != nullptr && (c.argument.empty() || c.argument == world.vms[id]->name())) {
            say(world, "{}:\n", world.vms[id]->name());
            say_exits(world, *world.vms[id]);
        }
    }
    const auto pool = world.pool.counters();
    say(world, "pages: {} free of {}\n", pool.free_pages, pool.total_pages);
}

void cmd_pages(Context c) {
    const auto census = c.world.ledger.census();
    for (unsigned state = 0; state < page_states; ++state) {
        say(c.world, "{:12} {}\n", to_string(static_cast<PageState>(state)), census.pages[state]);
    }
}

void cmd_irqs(Context c) {
    Vm* const vm = find_vm(c.world, c.argument);
    if (vm == nullptr) {
        say(c.world, "irqs: no VM is called '{}'\n", c.argument);
        return;
    }
    vm->gic.dump(console_of(c.world));
    if (vm->its != nullptr) {
        vm->its->its.dump(console_of(c.world));
    }
}

/// "VM NUMBER": the VM, or nullptr, and what follows it.
Vm* vm_and_rest(Context c, std::string_view& rest) {
    std::size_t space = 0;
    while (space < c.argument.size() && c.argument[space] != ' ') {
        ++space;
    }
    rest = c.argument;
    rest.remove_prefix(space < c.argument.size() ? space + 1 : space);
    return rest.empty() ? nullptr : find_vm(c.world, std::string_view(c.argument.data(), space));
}

/// Takes `word` and what is in front of it off the end.
bool take_last_word(std::string_view& text, std::string_view word) {
    if (text.size() <= word.size() || text[text.size() - word.size() - 1] != ' ' ||
        std::string_view(text.data() + text.size() - word.size(), word.size()) != word) {
        return false;
    }
    text.remove_suffix(word.size());
    while (!text.empty() && text.back() == ' ') {
        text.remove_suffix(1);
    }
    return true;
}

/// SGIs lose their short way, too, so that each says by whom it was sent.
void watch(Vm& vm, u32 intid) {
    vm.short_sgis.store(intid == vgic::History::nothing ? vm.vcpu_count : 0, std::memory_order_relaxed);
    kick_vcpus(vm, vm.gic.watch(intid));
}

/// irq VM INTID [watch|unwatch]
void cmd_irq(Context c) {
    const bool end = take_last_word(c.argument, "unwatch");
    const bool begin = !end && take_last_word(c.argument, "watch");
    std::string_view number;
    Vm* const vm = vm_and_rest(c, number);
    u32 intid = 0;
    bool decimal = vm != nullptr && number.size() <= 5;
    for (const char ch : number) {
        decimal = decimal && ch >= '0' && ch <= '9';
        intid = 10 * intid + static_cast<u32>(ch - '0');
    }
    if (!decimal) {
        say(c.world, "usage: irq VM INTID [watch|unwatch]\n");
        return;
    }
    if (end) {
        watch(*vm, vgic::History::nothing);
    }
    if (!vm->gic.explain(intid, console_of(c.world)).ok()) {
        say(c.world, "irq: {} has no interrupt {}\n", vm->name(), intid);
    } else if (begin) {
        watch(*vm, intid);
        say(c.world, "irq: from now on {} takes the long way, and everything about {} is recorded\n",
            vm->name(), intid);
    }
}

void cmd_walk(Context c) {
    std::string_view number;
    Vm* const vm = vm_and_rest(c, number);
    if (vm == nullptr) {
        say(c.world, "usage: walk VM IPA\n");
        return;
    }
    u64 ipa = 0;
    for (const char ch : number) {
        const u64 digit = ch >= '0' && ch <= '9'   ? static_cast<u64>(ch - '0')
                          : ch >= 'a' && ch <= 'f' ? static_cast<u64>(ch - 'a' + 10)
                                                   : 16;
        if (digit < 16) {
            ipa = ipa << 4 | digit;
        } else if (ch == 'x') {
            ipa = 0;
        }
    }
    if (!vm->space.alive()) {
        say(c.world, "{} is off\n", vm->name());
        return;
    }
    LockGuard guard(vm->space.lock());
    const auto walk = vm->space.walk(Ipa{ipa});
    for (unsigned level = walk.start_level; level <= walk.level && level < 4; ++level) {
        say(c.world, "  level {}: {:016x}\n", level, walk.entries[level]);
    }
    if (walk.mapped) {
        say(c.world, "  ipa {:x} -> pa {:x} {}{}{} {}\n", ipa, walk.pa, walk.attributes.read ? "r" : "-",
            walk.attributes.write ? "w" : "-", walk.attributes.execute ? "x" : "-",
            walk.attributes.memory == stage2::MemoryType::normal ? "normal" : "device");
    } else {
        say(c.world, "  ipa {:x} is not mapped\n", ipa);
    }
}

/// Every function that was found, whose it is, and what the SMMU has for it.
void cmd_devices(Context c) {
    Passthrough* const all = c.world.passthrough;
    if (all == nullptr) {
        return;
    }
    if (!all->unusable.empty()) {
        say(c.world, "no device can be assigned: {}\n", all->unusable.view());
        return;
    }
    const TextSink sink = console_of(c.world);
    for (const pci::Function& function : all->topology.functions) {
        pci::print(sink, function);
        say(c.world, "\n");
    }
    for (unsigned i = 0; i < all->device_count; ++i) {
        const AssignedDevice& d = all->devices[i];
        say(c.world, "{} of {}: there 00:{}.0, StreamID {}, {}, {} {}, {} faults\n",
            PciText(d.address).text(), d.vm->name(), d.slot, d.stream,
            d.connected.load(std::memory_order_relaxed) ? "connected" : "aborting",
            d.messages.load(std::memory_order_relaxed),
            d.direct != nullptr ? "doorbells (its messages come directly)" : "messages", d.faults);
        if (c.argument == "ste") {
            all->smmu.dump(sink, d.stream);
        }
    }
    all->smmu.dump(sink);
    say(c.world, "ITS: {} commands\n", all->its.commands());
}

void stop(Context c, AfterStop after) {
    Vm* const vm = find_vm(c.world, c.argument);
    if (vm == nullptr || vm->state != VmState::running) {
        say(c.world, "no running VM is called '{}'\n", c.argument);
        return;
    }
    stop_vm(*vm, after, false);
}

void cmd_stop(Context c) {
    stop(c, AfterStop::off);
}

void cmd_reset(Context c) {
    stop(c, AfterStop::restart);
}

void cmd_start(Context c) {
    Vm* const vm = find_vm(c.world, c.argument);
    if (vm == nullptr) {
        say(c.world, "no VM is called '{}'\n", c.argument);
        return;
    }
    if (const Status status = create_vm(c.world, *vm); !status.ok()) {
        say(c.world, "{} cannot start: {}\n", vm->name(), status.error());
    }
}

void cmd_off(Context c) {
    say(c.world, "turning the machine off\n");
    c.world.hooks.power_off(c.world);
}

void cmd_panic(Context) {
    ATOLL_PANIC("asked for at the monitor");
}

struct Command {
    std::string_view name;
    std::string_view help;
    void (*run)(Context);
};

constexpr Command commands[] = {
    {"vms", "VMs and their vCPUs: state, home CPU, time", cmd_vms},
    {"stats", "[VM]  exits by cause, switches, idle time, memory", cmd_stats},
    {"pages", "pages of host memory by state", cmd_pages},
    {"irqs", "VM  interrupts that are not idle, and where each sits", cmd_irqs},
    {"irq",
     "VM INTID [watch|unwatch]  all about one interrupt: its state, where it sits, why it waits, its last "
     "events",
     cmd_irq},
    {"walk", "VM IPA  stage-2 table entries for an address", cmd_walk},
    {"devices", "[ste]  PCI functions, their VMs, streams, messages and faults; the stream table entries",
     cmd_devices},
    {"start", "VM  starts a VM that is off", cmd_start},
    {"stop", "VM  turns a VM off", cmd_stop},
    {"reset", "VM  restarts a VM from its images", cmd_reset},
    {"off", "turns the machine off", cmd_off},
    {"panic", "stops EL2 with a report, as its own fault would", cmd_panic},
};

} // namespace

void run_monitor_command(World& world, std::string_view line) {
    std::size_t word = 0;
    while (word < line.size() && line[word] != ' ') {
        ++word;
    }
    std::size_t rest = word;
    while (rest < line.size() && line[rest] == ' ') {
        ++rest;
    }
    const std::string_view name(line.data(), word);
    std::string_view argument(line.data() + rest, line.size() - rest);
    while (!argument.empty() && argument.back() == ' ') {
        argument.remove_suffix(1);
    }
    if (name.empty()) {
        return;
    }
    if (name == "help") {
        for (const Command& command : commands) {
            say(world, "{:8} {}\n", command.name, command.help);
        }
        say(world, "Keys: Ctrl-] then a digit: that guest; n: next guest; m: monitor; ?: help\n");
        return;
    }
    for (const Command& command : commands) {
        if (command.name == name) {
            command.run(Context{world, argument});
            return;
        }
    }
    say(world, "unknown command '{}': try help\n", name);
}

} // namespace atl::el2
