// SPDX-License-Identifier: Apache-2.0
// Bringing the machine up, step by step. See boot/main.cpp for the order.
#include <new>

#include "boot/boot_hw.hpp"
#include "boot/host.hpp"
#include "el2/cpu_hw.hpp"
#include "el2/hw.hpp"
#include "el2/panic.hpp"
#include "el2/switch_hw.hpp"
#include "lib/abi/smccc.hpp"
#include "lib/log.hpp"
#include "stage2/tlb_hw.hpp"

extern "C" char el2_vectors[], el2_vectors_gicv2[];
extern "C" atl::u64 firmware_call(atl::u64 function, atl::u64 smc);

namespace atl::boot {
namespace {

alignas(el2::World) constinit u8 world_storage[sizeof(el2::World)] = {};
alignas(Host) constinit u8 host_storage[sizeof(Host)] = {};
alignas(el2::PerCpu) constinit u8 percpu_storage[max_pcpus][sizeof(el2::PerCpu)] = {};
constinit Host* the_host = nullptr;

/// Lines said before there is a console.
struct EarlyLog {
    char text[4 * kib];
    std::size_t size;
};
constinit EarlyLog early_log{};

void log_sink(log::Level level, std::string_view line) {
    el2::Console& console = the_host->world->console;
    if (console.present()) {
        console.log(level, line);
        return;
    }
    if (early_log.size + line.size() + 1 < sizeof(early_log.text)) {
        for (const char c : line) {
            early_log.text[early_log.size++] = c;
        }
        early_log.text[early_log.size++] = '\n';
    }
}

void replay_early_log(el2::Console& console) {
    std::size_t start = 0;
    for (std::size_t i = 0; i < early_log.size; ++i) {
        if (early_log.text[i] == '\n') {
            console.log(log::Level::info, std::string_view(early_log.text + start, i - start));
            start = i + 1;
        }
    }
    early_log.size = 0;
}

Range<Pa> page_range(Range<Pa> range) {
    const Pa base = range.base.align_down(page_size);
    return {base, range.end().align_up(page_size) - base};
}

void power_off(el2::World& world) {
    world.console.service(world);
    const PsciConduit conduit = the_host->platform.psci;
    if (conduit != PsciConduit::none) {
        firmware_call(abi::psci_system_off, conduit == PsciConduit::smc ? 1 : 0);
    }
    log::warn("firmware cannot turn this machine off");
}

el2::IdRegisters read_id_registers() {
    el2::IdRegisters ids{};
// clang-format off
#define ATOLL_ID(crm, op2) ids[el2::id_index(crm, op2)] = ATOLL_MRS(s3_0_c0_c##crm##_##op2);
#define ATOLL_ID_ROW(crm)                                                                                    \
    ATOLL_ID(crm, 0) ATOLL_ID(crm, 1) ATOLL_ID(crm, 2) ATOLL_ID(crm, 3)                                      \
    ATOLL_ID(crm, 4) ATOLL_ID(crm, 5) ATOLL_ID(crm, 6) ATOLL_ID(crm, 7)
    // The whole block is readable, unallocated ones as zero [DDI0487 D18.3.1, table of ID registers].
    ATOLL_ID_ROW(1) ATOLL_ID_ROW(2) ATOLL_ID_ROW(3) ATOLL_ID_ROW(4) ATOLL_ID_ROW(5) ATOLL_ID_ROW(6)
    ATOLL_ID_ROW(7);
#undef ATOLL_ID_ROW
#undef ATOLL_ID
    // clang-format on
    return ids;
}

stage2::TablePages table_pages(el2::World& world) {
    return {
        &world,
        [](void* context, unsigned order) { return static_cast<el2::World*>(context)->pool.allocate(order); },
        [](void* context, Pa pages, unsigned order) {
            el2::hw::zero_pages(pages, u64{1} << order);
            if (!static_cast<el2::World*>(context)->pool.free(pages, order).ok()) {
                ATOLL_PANIC("a stage-2 table page was freed twice");
            }
        }};
}

} // namespace

Host& make_host(Pa load_address, Pa device_tree) {
    Host* const host = new (host_storage) Host{};
    the_host = host;
    host->world = new (world_storage) el2::World{};
    host->load_address = load_address;
    host->device_tree_pa = device_tree;
    log::set_sink(&log_sink);
    el2::set_panic_world(*host->world);
    return *host;
}

void enter_cpu(el2::PerCpu* cpu) {
    el2::set_this_cpu(cpu);
    ATOLL_MSR(vbar_el2, reinterpret_cast<u64>(el2_vectors));
    arch::isb();
}

void Host::flush_console() {
    world->console.service(*world);
}

Status Host::read_device_tree(u64 entry_level) {
    const auto bytes = early_device_tree(device_tree_pa);
    const auto size = FdtView::total_size(bytes.first(fdt_header_bytes));
    ATOLL_TRY(size);
    const auto view = FdtView::open(bytes);
    ATOLL_TRY(view);
    device_tree = page_range({device_tree_pa, *size});
    Diagnostics diagnostics(nullptr, &report_to_log);
    const Status status = read_platform(*view, this_mpidr(), platform, diagnostics);
    world->counter_hz = ATOLL_MRS(cntfrq_el0);
    world->scale = vtimer::TickScale(world->counter_hz);
    if (!platform.console.registers.empty()) {
        world->console.init(early_map_device(platform.console.registers.base, entry_level),
                            world->counter_hz);
        replay_early_log(world->console);
    }
    return status;
}

Status Host::map_image(El2Map& map) {
    const ImageLayout layout = image_layout();
    const auto pa = [&](HypVa va) { return load_address + (va - layout.start); };
    ATOLL_TRY(map.map(layout.start, pa(layout.start), layout.text_end - layout.start, El2Kind::code));
    ATOLL_TRY(
        map.map(layout.text_end, pa(layout.text_end), layout.rodata_end - layout.text_end, El2Kind::rodata));
    ATOLL_TRY(
        map.map(layout.rodata_end, pa(layout.rodata_end), layout.bss_end - layout.rodata_end, El2Kind::data));
    const auto map_stack = [&](StackRange stack) {
        return map.map(stack.base, pa(stack.base), stack.top - stack.base, El2Kind::data);
    };
    ATOLL_TRY(map_stack(early_stack()));
    for (unsigned i = 0; i < max_pcpus; ++i) {
        ATOLL_TRY(map_stack(pcpu_stack(i)));
        ATOLL_TRY(map_stack(pcpu_emergency_stack(i)));
    }
    // The code that turns the MMU on, at its physical address: the first page of the image [boot/head.S].
    return map.map(HypVa{load_address.value}, load_address, page_size, El2Kind::code);
}

Status Host::map_ram(El2Map& map) {
    // Reserved ranges stay unmapped: they may be secure, and even a speculative access could fault there. The
    // image has its own map: a writable alias would undo W^X.
    StaticVector<Range<Pa>, 65> holes;
    ATOLL_CHECK(holes.push_back(page_range(image)));
    for (const Range<Pa>& range : platform.reserved) {
        ATOLL_CHECK(holes.push_back(range));
    }
    const auto map_range = [&](Pa base, Pa end) {
        return base < end ? map.map(to_hyp_va(base), base, end - base, El2Kind::data) : Status{};
    };
    for (const Range<Pa>& ram : platform.ram) {
        Pa at = ram.base;
        while (at < ram.end()) {
            Range<Pa> next{ram.end(), 0};
            for (const Range<Pa>& hole : holes) {
                if (hole.end() > at && hole.base < next.base) {
                    next = hole;
                }
            }
            if (next.base > at) {
                ATOLL_TRY(map_range(at, next.base));
            }
            at = next.empty() ? ram.end() : next.end();
        }
    }
    // The bundle may lie in a reservation of its own.
    if (!platform.initrd.empty() && !platform.is_free_ram(page_range(platform.initrd))) {
        for (const Range<Pa>& hole : platform.reserved) {
            if (hole.overlaps(platform.initrd)) {
                const Range<Pa> part = page_range(platform.initrd);
                const Pa base = part.base > hole.base ? part.base : hole.base;
                const Pa end = part.end() < hole.end() ? part.end() : hole.end();
                ATOLL_TRY(map_range(base, end));
            }
        }
    }
    return {};
}

Status Host::map_devices(El2Map& map) {
    const auto map_device = [&](Range<Pa> range) {
        if (range.empty()) {
            return Status{};
        }
        const Range<Pa> pages = page_range(range);
        return map.map(to_hyp_va(pages.base), pages.base, pages.size, El2Kind::device);
    };
    ATOLL_TRY(map_device(platform.console.registers));
    ATOLL_TRY(map_device(platform.rtc));
    ATOLL_TRY(map_device(platform.gic.distributor));
    for (const Range<Pa>& region : platform.gic.redistributors) {
        ATOLL_TRY(map_device(region));
    }
    ATOLL_TRY(map_device(platform.gic.cpu_interface));
    ATOLL_TRY(map_device(platform.gic.hypervisor_interface));
    ATOLL_TRY(map_device(platform.gic.vcpu_interface));
    ATOLL_TRY(map_device(platform.gic.its));
    ATOLL_TRY(map_device(platform.smmu.registers));
    ATOLL_TRY(map_device(platform.pci.ecam));
    ATOLL_TRY(map_device({platform.pci.mmio32.cpu, platform.pci.mmio32.size}));
    ATOLL_TRY(map_device({platform.pci.mmio64.cpu, platform.pci.mmio64.size}));
    return {};
}

Status Host::build_map() {
    const ImageLayout layout = image_layout();
    image = {load_address, layout.image_end - layout.start};
    El2Map map(el2_tables(), el2_tables_pa(load_address));
    ATOLL_TRY(map_image(map));
    ATOLL_TRY(map_ram(map));
    ATOLL_TRY(map_devices(map));
    install(map, load_address);
    if (world->console.present()) {
        world->console.move_uart(to_hyp_va(platform.console.registers.base));
    }
    return {};
}

Result<Pa> Host::carve(u64 bytes) {
    for (const Range<Pa>& ram : platform.ram) {
        Pa at = ram.base;
        while (at + bytes <= ram.end()) {
            const Range<Pa> candidate{at, bytes};
            const Range<Pa>* blocker = nullptr;
            for (const Range<Pa>& used : occupied) {
                if (used.overlaps(candidate)) {
                    blocker = &used;
                }
            }
            if (blocker == nullptr) {
                static_cast<void>(occupied.push_back(candidate));
                return at;
            }
            at = blocker->end().align_up(page_size);
        }
    }
    return Error::no_memory;
}

Status Host::build_memory() {
    for (const Range<Pa>& range : platform.reserved) {
        ATOLL_CHECK(occupied.push_back(range));
    }
    ATOLL_CHECK(occupied.push_back(page_range(image)));
    ATOLL_CHECK(occupied.push_back(device_tree));
    if (!platform.initrd.empty()) {
        ATOLL_CHECK(occupied.push_back(page_range(platform.initrd)));
        bundle = ram_bytes(platform.initrd.base, platform.initrd.size);
    }
    u64 records = 0;
    for (const Range<Pa>& ram : platform.ram) {
        records += el2::PageLedger::records_for(ram);
    }
    const u64 bytes = (records * sizeof(el2::PageRecord) + page_size - 1) & ~(page_size - 1);
    const auto storage = carve(bytes);
    ATOLL_TRY(storage);
    world->ledger.init({arch::pointer<el2::PageRecord>(to_hyp_va(*storage)), records});
    for (const Range<Pa>& ram : platform.ram) {
        ATOLL_TRY(world->ledger.add_range(ram));
    }
    world->pool.init(world->ledger);
    for (const Range<Pa>& ram : platform.ram) {
        ATOLL_TRY(world->pool.add_range(ram, occupied.span()));
    }
    return {};
}

void Host::configure_interrupts(unsigned cpu) {
    const PcpuIndex index{static_cast<u8>(cpu)};
    const el2::HostIntids& ids = world->intids;
    for (const u32 intid :
         {u32{el2::kick_sgi}, u32{el2::stop_sgi}, ids.virtual_timer, ids.el2_timer, ids.maintenance}) {
        // Among equals the lower INTID wins for ever: kicks must not hold back the timer that ends a slice.
        const bool timer = intid == ids.el2_timer;
        ATOLL_CHECK(
            gic.set_priority(index, Intid{intid}, timer ? vgic::host_priority - 0x20 : vgic::host_priority)
                .ok());
        ATOLL_CHECK(gic.enable(index, Intid{intid}).ok());
    }
    if (cpu == 0 && ids.uart != 0) {
        ATOLL_CHECK(gic.set_priority(index, Intid{ids.uart}, vgic::host_priority).ok());
        ATOLL_CHECK(gic.set_trigger(index, Intid{ids.uart}, vgic::Trigger::level).ok());
        ATOLL_CHECK(gic.route(Intid{ids.uart}, index).ok());
        ATOLL_CHECK(gic.enable(index, Intid{ids.uart}).ok());
    }
}

/// This CPU's vectors and its GIC's. With GICv2 the vectors are others [el2/interrupt_hw.cpp].
Status Host::init_gic_of_cpu(const el2::PerCpu& cpu) {
    if (gic.is_v2()) {
        ATOLL_MSR(vbar_el2, reinterpret_cast<u64>(el2_vectors_gicv2));
        arch::isb();
    }
    return gic.init_cpu(cpu.index, cpu.mpidr);
}

Status Host::init_gic() {
    const HostGic& found = platform.gic;
    if (found.kind == GicKind::v2) {
        ATOLL_TRY(gic.init(vgic::GicV2Layout{found.distributor, found.cpu_interface,
                                             found.hypervisor_interface, found.vcpu_interface}));
        world->guest_cpu_interface = gic.v2().guest_interface().base;
        world->recheck_ticks = gic.v2().forgets_levels() ? world->slice_ticks : 0;
    } else {
        vgic::GicV3Layout layout;
        layout.distributor = found.distributor;
        layout.stride = found.redistributor_stride;
        for (const Range<Pa>& region : found.redistributors) {
            ATOLL_CHECK(layout.redistributors.push_back(region));
        }
        ATOLL_TRY(gic.init(layout));
    }
    world->gic = &gic;
    return {};
}

Status Host::init_cpus_and_gic() {
    const auto or_default = [](u32 found, u32 fallback) { return found != 0 ? found : fallback; };
    world->intids = {or_default(platform.timer.el1_virtual, 27), or_default(platform.timer.el2_physical, 26),
                     or_default(platform.gic.maintenance_intid, 25), platform.console.intid};
    world->host_ids = read_id_registers();
    const auto features =
        stage2::decode_features(world->host_ids[el2::id_index(7, 0)], world->host_ids[el2::id_index(7, 1)]);
    ATOLL_TRY(features);
    vmid_bits = features->vmid_bits;
    // 40 bits reach all that a manifest can ask for [el2/vm_config.hpp guest_map::ram_max].
    const auto geometry = stage2::make_geometry(features->pa_bits < 40 ? features->pa_bits : 40, *features);
    ATOLL_TRY(geometry);
    world->geometry = *geometry;
    ATOLL_TRY(world->vmids.init(features->vmid_bits, {nullptr, [](void*) { stage2::tlb_invalidate_all(); }}));
    world->table_memory.pages = table_pages(*world);
    world->slice_ticks = world->counter_hz / 100;
    world->boot_counter = el2::hw::counter();
    world->entropy = platform.kaslr_seed ^ (world->boot_counter * 0x9e37'79b9'7f4a'7c15);
    if (!platform.rtc.empty()) {
        const u32 seconds =
            *arch::pointer<volatile u32>(to_hyp_va(platform.rtc.base)); // RTCDR [DDI0224 §3.3.1]
        world->wall_clock_base = seconds - world->boot_counter / world->counter_hz;
    }
    world->hooks.power_off = &power_off;

    ATOLL_TRY(init_gic());
    for (unsigned i = 0; i < platform.cpus.size(); ++i) {
        el2::PerCpu* const cpu = new (percpu_storage[i]) el2::PerCpu{};
        cpu->index = {static_cast<u8>(i)};
        cpu->mpidr = platform.cpus[i].mpidr;
        cpu->world = world;
        cpu->stack_top = pcpu_stack(i).top.value;
        cpu->emergency_stack_top = pcpu_emergency_stack(i).top.value;
        world->pcpus[i] = cpu;
    }
    world->pcpu_count = 1;
    el2::set_this_cpu(world->pcpus[0]);
    ATOLL_TRY(init_gic_of_cpu(*world->pcpus[0]));
    el2::init_cpu_for_guests(world->geometry.vtcr);
    stage2::tlb_invalidate_all_local();
    configure_interrupts(0);
    __atomic_store_n(&world->pcpus[0]->online, 1U, __ATOMIC_RELEASE);
    return {};
}

void Host::start_secondaries() {
    const bool can = platform.psci != PsciConduit::none;
    const u64 patience = world->counter_hz; // one second for a CPU to come up
    unsigned online = 1;
    for (unsigned i = 1; i < platform.cpus.size(); ++i) {
        el2::PerCpu& cpu = *world->pcpus[i];
        const SecondaryBoot parameters{el2_tables_pa(load_address).value, pcpu_stack(i).top.value,
                                       reinterpret_cast<u64>(&cpu)};
        const i64 status =
            can ? start_secondary(cpu.mpidr, i, load_address, platform.psci == PsciConduit::smc, parameters)
                : abi::psci_not_supported;
        const u64 start = el2::hw::counter();
        while (status == abi::psci_success && __atomic_load_n(&cpu.online, __ATOMIC_ACQUIRE) == 0 &&
               el2::hw::counter() - start < patience) {
        }
        if (__atomic_load_n(&cpu.online, __ATOMIC_ACQUIRE) != 1) {
            log::warn("CPU {:x} does not start (PSCI status {}): going on without it", cpu.mpidr, status);
            break; // the CPUs before it are numbered without a gap
        }
        ++online;
    }
    world->pcpu_count = online;
}

void secondary_main(el2::PerCpu& cpu) {
    Host& host = *the_host;
    const el2::IdRegisters ids = read_id_registers();
    const bool alike = ids[el2::id_index(7, 0)] == host.world->host_ids[el2::id_index(7, 0)] &&
                       ids[el2::id_index(7, 1)] == host.world->host_ids[el2::id_index(7, 1)];
    if (!alike || !host.init_gic_of_cpu(cpu).ok()) {
        // Guests are pinned but see one kind of CPU: a different one stays out.
        __atomic_store_n(&cpu.online, 2U, __ATOMIC_RELEASE);
        stop_here();
    }
    el2::init_cpu_for_guests(host.world->geometry.vtcr);
    stage2::tlb_invalidate_all_local();
    host.configure_interrupts(cpu.index.value);
    __atomic_store_n(&cpu.online, 1U, __ATOMIC_RELEASE);
}

} // namespace atl::boot
