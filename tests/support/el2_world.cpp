// SPDX-License-Identifier: Apache-2.0
// The machine of el2_world.hpp. What it does at exits and switches follows el2/trap_hw.cpp and
// el2/switch_hw.cpp.
#include "tests/support/el2_world.hpp"

#include "el2/its.hpp"

#include <cstring>
#include <utility>

#include "el2/housekeeping.hpp"
#include "el2/idregs.hpp"
#include "stage2/tlb_hw.hpp"
#include "tests/support/stage2_memory.hpp"

namespace atl::test {
namespace {

Machine* machine = nullptr;

void keep_line(log::Level, std::string_view line) {
    fake_el2().log.emplace_back(line);
}

Result<Hooks::Placement> place(World&, Vm& vm) {
    if (machine->fail_place) {
        return Error::corrupt;
    }
    Hooks::Placement p;
    p.kernel = Machine::kernel_at;
    p.ramdisk = ram_banks(vm.config->ram_bytes).low.end() - 512 * kib;
    p.device_tree = p.ramdisk + 256 * kib;
    p.has_device_tree = true;
    p.entry = p.kernel + 0x40;
    p.x0 = Machine::context;
    return p;
}

Result<u32> write_tree(World&, Vm& vm, std::span<u8> out) {
    if (machine->fail_tree) {
        return Error::overflow;
    }
    std::memset(out.data(), 0xd0 + static_cast<int>(vm.id.value), 0x1234);
    return 0x1234;
}

void power_off(World&) {
    ++machine->powered_off;
}

IdRegisters plain_cpu() {
    IdRegisters ids{};
    ids[id_index(4, 0)] = 0x1100'0000'1111'1111; // AArch64 at all levels, AdvSIMD, GIC, SVE and more
    ids[id_index(7, 0)] = 0x0000'0000'0000'1125;
    return ids;
}

} // namespace

Machine::Machine(std::vector<VmSpec> specs, unsigned pcpus, u64 ram_mib) {
    machine = this;
    fake_hardware().reset();
    fake_el2() = FakeEl2Hw{};
    fake_el2().world = &world;
    fake_el2().ram = Arena(ram_base, ram_mib * mib);
    log::set_sink(&keep_line);
    world.pcpu_count = pcpus;
    for (unsigned i = 0; i < pcpus; ++i) {
        cpus.push_back(std::make_unique<PerCpu>());
        cpus[i]->world = &world;
        cpus[i]->index = PcpuIndex{static_cast<u8>(i)};
        cpus[i]->online = 1;
        world.pcpus[i] = cpus[i].get();
    }
    const Range<Pa> ram{ram_base, ram_mib * mib};
    records_.resize(PageLedger::records_for(ram));
    world.ledger.init(records_);
    REQUIRE(world.ledger.add_range(ram).ok());
    world.pool.init(world.ledger);
    REQUIRE(world.pool.add_range(ram, {}).ok());
    const auto geometry = stage2::make_geometry(40, {48, 16});
    REQUIRE(geometry.ok());
    world.geometry = *geometry;
    REQUIRE(world.vmids.init(8, {nullptr, [](void*) { stage2::tlb_invalidate_all(); }}).ok());
    world.table_memory.pages = table_pages(world.pool);
    world.counter_hz = hw::counter_frequency();
    world.scale = vtimer::TickScale(world.counter_hz);
    world.slice_ticks = 5000;
    world.host_ids = plain_cpu();
    world.hooks = {&write_tree, &place, &power_off};
    world.console.init(HypVa{0x1000}, world.counter_hz);
    tables_ = std::make_unique<ffa::Tables>();
    world.ffa.init(make_ffa_ports(world), *tables_, 0x5eed);
    for (unsigned i = 0; i < specs.size(); ++i) {
        add_vm(specs[i], i + 1);
    }
}

Machine::~Machine() {
    give_back();
    fake_el2().world = nullptr;
    log::set_sink(nullptr);
    machine = nullptr;
}

void Machine::add_vm(const VmSpec& spec, unsigned id) {
    auto config = std::make_unique<VmConfig>();
    config->id = VmId{static_cast<u16>(id)};
    REQUIRE(config->name.assign("vm" + std::to_string(id)));
    config->vcpus = static_cast<u8>(spec.vcpus);
    config->ram_bytes = spec.ram_mib * mib;
    config->window_bytes = spec.window_mib * mib;
    config->share_with = spec.share_with;
    config->on_crash = spec.on_crash;
    config->clock = spec.clock;
    auto& kernel = images_.emplace_back(spec.kernel_bytes);
    for (std::size_t i = 0; i < kernel.size(); ++i) {
        kernel[i] = static_cast<u8>(i * 7 + id);
    }
    config->kernel.bytes = kernel;
    auto& ramdisk = images_.emplace_back(spec.ramdisk_bytes, static_cast<u8>(0x40 + id));
    config->ramdisk = ramdisk;

    auto made = std::make_unique<Vm>();
    made->config = config.get();
    made->world = &world;
    made->id = config->id;
    made->vcpu_count = spec.vcpus;
    made->short_sgis.store(spec.vcpus, std::memory_order_relaxed);
    made->gicr_bytes = spec.gicv2 ? 0 : spec.vcpus * guest_map::gicr_stride;
    made->id_registers = sanitise_id_registers(world.host_ids, world.geometry.ipa_bits);
    for (unsigned i = 0; i < spec.vcpus; ++i) {
        auto v = std::make_unique<Vcpu>();
        PerCpu& home = *cpus[(spec.first_pcpu + i) % cpus.size()];
        v->vm = made.get();
        v->cpu = &home;
        v->home = home.index;
        v->index = VcpuIndex{static_cast<u8>(i)};
        v->gic = &made->gic.vcpu(v->index);
        v->hcr = arch::HcrEl2::VM::mask;
        v->next_at_home = home.home_list;
        home.home_list = v.get();
        made->vcpus[i] = v.get();
        vcpus_.push_back(std::move(v));
    }
    vgic::Config gic;
    gic.vcpus = spec.vcpus;
    gic.gicv2 = spec.gicv2;
    gic.software = spec.interrupts == InterruptMode::vi;
    if (spec.gicv2) {
        world.guest_cpu_interface = Pa{0x0804'0000};
        for (auto& one : hw().cpu) {
            one.lrs = vgic::LrFile(4, true);
        }
    }
    REQUIRE(made->gic.init(gic).ok());
    REQUIRE(made->bus.add(guest_map::uart.base, guest_map::uart.size, &made->uart).ok());
    REQUIRE(made->bus.add(guest_map::rtc.base, guest_map::rtc.size, &made->rtc).ok());
    world.console.add_guest(*made);
    const IrqLine line{made.get(),
                       [](void* c, u32 intid, bool high) {
                           Vm& target = *static_cast<Vm*>(c);
                           kick_vcpus(target, target.gic.set_line(Intid{intid}, high));
                       },
                       guest_map::first_spi + guest_map::rtc_spi};
    made->rtc.attach(line, {&world, [](void*) { return el2::hw::counter() / 1'000'000; }});
    REQUIRE(world.ffa.add({config->id, config->vcpus, config->share_with, window_of(*config)}).ok());
    world.vms[id] = made.get();
    world.vm_slots = id;
    configs.push_back(std::move(config));
    vms_.push_back(std::move(made));
}

void Machine::boot(unsigned id) {
    const Status status = create_vm(world, vm(id));
    REQUIRE(status.ok());
    settle();
    REQUIRE(vm(id).state == VmState::running);
}

void Machine::boot_all() {
    for (unsigned id = 1; id <= world.vm_slots; ++id) {
        boot(id);
    }
}

// ---- the scheduler loop
// ------------------------------------------------------------------------------------------

void Machine::load_registers(Vcpu& v) {
    FakeEl2Hw::Cpu& h = hw().here();
    if (v.power.load() == Power::on_pending) {
        reset_vcpu_registers(v, v.start_pc, v.start_context);
        v.power.store(Power::on);
    }
    if (v.keeps_time) {
        time_on_load(v, hw().counter);
    }
    v.vm->last_on[v.cpu->index.value].vcpu = &v;
    kick_vcpus(*v.vm, vgic::load(v.vm->gic, v.index, h.lrs));
    if (v.vpe != nullptr) {
        v.vpe->load();
    }
    v.hcr &= ~(arch::HcrEl2::TWI::mask | arch::HcrEl2::TWE::mask);
    h.hcr = v.hcr;
    h.pstate = v.pstate;
    h.sp = v.sys.sp_el1;
    v.deadline = ~u64{0};
    v.cpu->current = &v;
    v.loaded_at = hw().counter;
    ++v.cpu->switches;
}

void Machine::save_registers(Vcpu& v) {
    FakeEl2Hw::Cpu& h = hw().here();
    v.pstate = h.pstate;
    v.sys.sp_el1 = h.sp;
    kick_vcpus(*v.vm, vgic::save(v.vm->gic, v.index, h.lrs));
    if (v.vpe != nullptr) {
        save_vpe(v);
    }
    v.cpu->current = nullptr;
    if (v.keeps_time) {
        time_on_save(v, hw().counter);
    }
    sample_timers(v, hw().counter);
}

Vcpu* Machine::next(PerCpu& c, unsigned& job_steps) {
    if (Vcpu* const picked = std::exchange(hw().here().picked, nullptr); picked != nullptr) {
        return picked;
    }
    for (;;) {
        reap_stopped(c);
        const bool job = job_steps != 0 && run_job_step(c);
        job_steps -= job ? 1 : 0;
        if (SchedNode* const node = c.queue.pick(); node != nullptr) {
            return static_cast<Vcpu*>(node);
        }
        if (c.index.value == 0) {
            housekeep(world, hw().counter);
        }
        c.slice_end = ~u64{0};
        arm_timer(c, nullptr);
        c.work_pending = 0;
        if (!job) {
            return nullptr;
        }
    }
}

Vcpu* Machine::enter(unsigned cpu_index, unsigned max_job_steps) {
    PerCpu& c = cpu(cpu_index);
    on(cpu_index);
    for (unsigned rounds = 0;; ++rounds) {
        REQUIRE(rounds < 10'000); // EL2 would never come back to the guest
        if (hw().here().kicked) {
            hw().here().kicked = false;
            c.work_pending |= work::retarget;
        }
        Vcpu* const at = c.current;
        if (at == nullptr) {
            Vcpu* const picked = next(c, max_job_steps);
            if (picked == nullptr) {
                return nullptr;
            }
            c.slice_end = ~u64{0};
            load_registers(*picked);
            c.work_pending = 0;
            retarget(c, picked);
        } else if (c.reap_pending != 0 || (c.work_pending & work::resched) != 0) {
            c.work_pending &= ~work::resched;
            save_registers(*at);
            hw().here().picked = settle_and_pick(c, *at);
        } else if (c.work_pending != 0) {
            c.work_pending = 0;
            if (c.index.value == 0) {
                housekeep(world, hw().counter);
            }
            retarget(c, at);
        } else if (its_waits(*at)) {
            its_step(*at);
        } else if (at->gic->needs_flush()) {
            kick_vcpus(*at->vm, vgic::flush(at->vm->gic, at->index, hw().here().lrs));
        } else {
            return at;
        }
    }
}

void Machine::settle() {
    bool again = true;
    for (unsigned rounds = 0; again; ++rounds) {
        REQUIRE(rounds < 1000);
        for (unsigned i = 0; i < cpus.size(); ++i) {
            if (has_job(cpu(i)) && cpu(i).current != nullptr) {
                cpu(i).work_pending |= work::resched; // jobs run when a slice ends
            }
            enter(i);
        }
        again = false;
        for (unsigned i = 0; i < cpus.size(); ++i) {
            again = again || hw().cpu[i].kicked || cpu(i).reap_pending != 0 || has_job(cpu(i));
        }
    }
}

Vcpu& Machine::load(Vcpu& wanted) {
    const unsigned index = wanted.cpu->index.value;
    enter(index);
    for (unsigned tries = 0; cpu(index).current != &wanted; ++tries) {
        REQUIRE(tries < 200);
        preempt(index);
    }
    on(index);
    return wanted;
}

void Machine::preempt(unsigned cpu_index) {
    cpu(cpu_index).work_pending |= work::resched;
    enter(cpu_index);
}

// ---- exits
// --------------------------------------------------------------------------------------------------------

void Machine::take_exception(Vcpu& v) {
    FakeEl2Hw::Cpu& h = hw().here();
    const ExceptionEntry entry = exception_entry(h.pstate, v.sys.vbar, v.sys.sctlr, true, 0);
    v.sys.esr = v.exception.esr;
    if (v.exception.has_far) {
        v.sys.far = v.exception.far;
    }
    v.sys.elr = v.pc;
    v.sys.spsr = h.pstate;
    v.pc = entry.pc;
    h.pstate = entry.pstate;
}

Action Machine::handle(Vcpu& from, u64 esr) {
    const Action action = run_handler(from, esr);
    if ((action & action::leave) != 0) {
        save_registers(from);
        el2::settle(*from.cpu, from);
    }
    return action;
}

Action Machine::run_handler(Vcpu& from, u64 esr) {
    REQUIRE(from.cpu->current == &from);
    on(from.cpu->index.value);
    const Action action = sync_handlers[(esr >> 26) & 63](from, esr);
    last_action = action;
    if ((action & action::advance) != 0) {
        const ExceptionEntry after = step_over(from.pc, hw().here().pstate, esr);
        from.pc = after.pc;
        hw().here().pstate = after.pstate;
    }
    if ((action & action::inject) != 0) {
        take_exception(from);
    }
    return action;
}

Action Machine::exit(Vcpu& from, u64 esr) {
    const Action action = run_handler(from, esr);
    if ((action & action::leave) != 0) {
        save_registers(from);
        hw().here().picked = settle_and_pick(*from.cpu, from);
    }
    enter(from.cpu->index.value);
    return action;
}

u64 Machine::call(Vcpu& from, std::initializer_list<u64> x, bool smc) {
    load(from);
    unsigned n = 0;
    for (const u64 value : x) {
        from.x[n++] = value;
    }
    const u64 ec = smc ? 0x17 : 0x16;
    exit(from, ec << 26 | arch::Esr::IL::mask);
    while (smc ? last_action == action::resume : last_action == action::repeat) {
        ++repeats; // not finished: the guest executes the same instruction again
        if (between_steps) {
            between_steps();
        }
        load(from);
        exit(from, ec << 26 | arch::Esr::IL::mask);
    }
    return from.x[0];
}

u64 Machine::abort_esr(bool write, unsigned size, unsigned rt, const Extra& extra) {
    using namespace arch;
    const u64 sas = static_cast<u64>(__builtin_ctz(size));
    return Esr::EC::of(0x24) | Esr::IL::mask | DataAbort::ISV::mask | DataAbort::SAS::of(sas) |
           DataAbort::SRT::of(rt) | (extra.sign_extend ? DataAbort::SSE::mask : 0) |
           (extra.to_64 ? DataAbort::SF::mask : 0) | (write ? DataAbort::WnR::mask : 0) | extra.fsc |
           extra.bits;
}

Action Machine::access(Vcpu& from, Ipa ipa, bool write, unsigned size, unsigned rt, const Extra& extra) {
    hw().fault = {0xffff'0000'0000'0000 | ipa.value, ipa, true};
    return exit(from, abort_esr(write, size, rt, extra));
}

u64 Machine::read(Vcpu& from, Ipa ipa, unsigned size) {
    const u64 pc = from.pc;
    for (unsigned tries = 0; from.pc == pc; ++tries) {
        REQUIRE(tries < 8);
        load(from);
        access(from, ipa, false, size, 9);
        settle();
    }
    return from.x[9];
}

void Machine::write(Vcpu& from, Ipa ipa, u64 value, unsigned size) {
    const u64 pc = from.pc;
    for (unsigned tries = 0; from.pc == pc; ++tries) {
        REQUIRE(tries < 8);
        load(from);
        from.x[9] = value;
        access(from, ipa, true, size, 9);
        settle();
    }
}

// ---- time
// ---------------------------------------------------------------------------------------------------------

/// The guest's own timer on the hardware: fires by itself while the vCPU is loaded.
void Machine::live_virtual_timer(unsigned index) {
    Vcpu* const v = cpu(index).current;
    if (v == nullptr || hw().cpu[index].lrs.physical_active ||
        !vtimer::line_level(v->sys.cntv_ctl, v->sys.cntv_cval, v->vm->cntvoff, hw().counter)) {
        return;
    }
    on(index);
    hw().cpu[index].lrs.physical_active = true;
    hw().cpu[index].lrs.timer = [this, v] {
        return vtimer::line_level(v->sys.cntv_ctl, v->sys.cntv_cval, v->vm->cntvoff, hw().counter);
    };
    vgic::inject_timer(v->vm->gic, v->index, hw().cpu[index].lrs);
    enter(index);
}

void Machine::fire_timers() {
    for (unsigned i = 0; i < cpus.size(); ++i) {
        for (unsigned fired = 0; hw().timer_asserted(i); ++fired) {
            INFO("EL2's timer of pCPU " << i << " stays asserted");
            REQUIRE(fired < 4); // a level that the handler does not take back is an interrupt storm
            on(i);
            on_timer(cpu(i), cpu(i).current);
            enter(i);
        }
        live_virtual_timer(i);
    }
}

void Machine::pass(u64 ticks) {
    const u64 end = hw().counter + ticks;
    while (hw().counter < end) {
        u64 stop = end;
        for (unsigned i = 0; i < cpus.size(); ++i) {
            const u64 due = hw().cpu[i].timer;
            stop = due > hw().counter && due < stop ? due : stop;
        }
        hw().counter = stop;
        fire_timers();
        settle();
    }
}

// ---- memory
// -------------------------------------------------------------------------------------------------------

u8* Machine::guest(unsigned id, u64 ipa) {
    const auto pa = vm(id).space.translate(Ipa{ipa});
    REQUIRE(pa.ok());
    return hw().ram.at(*pa, 1);
}
void Machine::poke(unsigned id, u64 ipa, const void* data, u64 bytes) {
    for (u64 i = 0; i < bytes; ++i) {
        *guest(id, ipa + i) = static_cast<const u8*>(data)[i];
    }
}
void Machine::peek(unsigned id, u64 ipa, void* data, u64 bytes) {
    for (u64 i = 0; i < bytes; ++i) {
        static_cast<u8*>(data)[i] = *guest(id, ipa + i);
    }
}

void Machine::leave_free(u64 left) {
    for (unsigned order = PagePool::max_order + 1; order-- > 0;) {
        while (world.pool.counters().free_pages >= left + (u64{1} << order)) {
            const auto pages = world.pool.allocate(order);
            if (!pages.ok()) {
                break;
            }
            hogged_.push_back({*pages, PagePool::block_bytes(order)});
        }
    }
}
void Machine::give_back() {
    for (const PageRun& run : hogged_) {
        REQUIRE(world.pool.free_run(run).ok());
    }
    hogged_.clear();
}

} // namespace atl::test
