// SPDX-License-Identifier: Apache-2.0
// Owns: the order in which the host's tree is read; memory, reservations, CPUs and /chosen.
// Does not own: devices (platform_devices.cpp). Lock: none. Spec: Devicetree Specification v0.4, chapters 3
// and 5.3.
#include "boot/platform.hpp"

#include <utility>

#include "boot/platform_parts.hpp"

namespace atl::boot {
namespace {

/// Cuts a RAM range to whole pages and to what EL2 can map. Empty when nothing is left.
Range<Pa> usable(Range<Pa> range) {
    if (range.base.value >= host_pa_limit) {
        return {};
    }
    const u64 last = range.end().value < host_pa_limit ? range.end().value : host_pa_limit;
    const u64 first = (range.base.value + page_size - 1) & ~(u64{page_size} - 1);
    const u64 end = last & ~(u64{page_size} - 1);
    return first < end ? Range<Pa>{Pa{first}, end - first} : Range<Pa>{};
}

/// Inserts in order and joins what touches. False when the list is full.
bool insert_ram(StaticVector<Range<Pa>, 32>& list, Range<Pa> range) {
    for (std::size_t i = 0; i < list.size();) {
        if (list[i].end() < range.base || range.end() < list[i].base) {
            ++i;
            continue;
        }
        const Pa base = list[i].base < range.base ? list[i].base : range.base;
        const Pa end = list[i].end() < range.end() ? range.end() : list[i].end();
        range = {base, end - base};
        list.erase(i);
    }
    if (!list.push_back(range)) {
        return false;
    }
    for (std::size_t i = list.size() - 1; i > 0 && list[i].base < list[i - 1].base; --i) {
        std::swap(list[i], list[i - 1]);
    }
    return true;
}

void read_memory(PlatformReader& reader, const FdtWalk& walk) {
    const auto count = walk.reg_count();
    if (!count.ok()) {
        reader.refuse(walk.node(), "reg", "RAM is not described by whole address and size pairs");
        return;
    }
    for (std::size_t i = 0; i < *count; ++i) {
        const auto range = walk.reg(i);
        if (!range.ok()) {
            reader.refuse(walk.node(), "reg", "entry {} is malformed or wraps around the address space", i);
            continue;
        }
        const Range<Pa> ram = usable(*range);
        if (range->size != 0 && (range->end().value > host_pa_limit || ram.empty())) {
            reader.warn(walk.node(), "reg", "EL2 uses {} of the {} bytes at {} (whole pages below {:x})",
                        ram.size, range->size, range->base, host_pa_limit);
        }
        for (const Range<Pa>& other : reader.out.ram) {
            if (other.overlaps(ram)) {
                reader.warn(walk.node(), "reg", "RAM at {} is described twice", ram.base);
            }
        }
        if (!ram.empty() && !insert_ram(reader.out.ram, ram)) {
            reader.warn(walk.node(), "reg", "more than {} RAM ranges: the one at {} stays unused",
                        reader.out.ram.capacity(), ram.base);
        }
    }
}

/// Reserves whole pages outwards; a reservation that finds no room would be a danger, hence a refusal.
void reserve(PlatformReader& reader, FdtNode node, Range<Pa> range) {
    if (range.empty()) {
        return;
    }
    if (range.base.value + range.size < range.base.value || range.end().value > ~u64{0} - page_size) {
        reader.refuse(node, "", "the reservation at {} wraps around the address space", range.base);
        return;
    }
    const Pa base = range.base.align_down(page_size);
    if (!reader.out.reserved.push_back({base, range.end().align_up(page_size) - base})) {
        reader.refuse(node, "", "more than {} reserved ranges", reader.out.reserved.capacity());
    }
}

void read_reserved_child(PlatformReader& reader, const FdtWalk& walk) {
    if (!reader.tree.has(walk.node(), "reg")) {
        return; // placed dynamically by an operating system (`size`): nothing is there yet
    }
    const auto count = walk.reg_count();
    for (std::size_t i = 0; count.ok() && i < *count; ++i) {
        const auto range = walk.reg(i);
        if (!range.ok()) {
            reader.refuse(walk.node(), "reg",
                          "entry {} is malformed, so it is unknown what must be left alone", i);
            return;
        }
        reserve(reader, walk.node(), *range);
    }
    if (!count.ok()) {
        reader.refuse(walk.node(), "reg", "it is malformed, so it is unknown what must be left alone");
    }
}

void read_cpu(PlatformReader& reader, const FdtWalk& walk) {
    const auto reg = reader.tree.property(walk.node(), "reg");
    const auto mpidr = reg.ok() ? reg->as_number() : Result<u64>(reg.error());
    if (!mpidr.ok() || (*mpidr & ~Mpidr::mask) != 0) {
        reader.warn(walk.node(), "reg", "no MPIDR affinity value: this CPU stays unused");
        return;
    }
    HostCpu cpu{Mpidr{*mpidr}, EnableMethod::other};
    for (const HostCpu& other : reader.out.cpus) {
        if (other.mpidr == cpu.mpidr) {
            reader.warn(walk.node(), "reg", "another CPU has this MPIDR: ignored");
            return;
        }
    }
    const auto method = reader.tree.property(walk.node(), "enable-method");
    cpu.enable_method = method.ok() && method->has_string("psci") ? EnableMethod::psci : EnableMethod::other;
    ++reader.out.cpus_in_tree;
    if (!reader.out.cpus.push_back(cpu) && cpu.mpidr == reader.boot_cpu) {
        reader.out.cpus.back() = cpu; // the running CPU is never among those left out
    }
}

/// Moves the running CPU to the front.
void settle_cpus(PlatformReader& reader) {
    auto& cpus = reader.out.cpus;
    std::size_t at = 0;
    while (at < cpus.size() && cpus[at].mpidr != reader.boot_cpu) {
        ++at;
    }
    if (at == cpus.size()) {
        reader.diagnostics.say(Severity::warning, "/cpus does not name the CPU that boots ({}): added",
                               reader.boot_cpu);
        ++reader.out.cpus_in_tree;
        const HostCpu self{reader.boot_cpu, EnableMethod::other};
        if (!cpus.push_back(self)) {
            cpus.back() = self;
        }
        at = cpus.size() - 1;
    }
    for (; at > 0; --at) {
        std::swap(cpus[at], cpus[at - 1]);
    }
    if (reader.out.cpus_in_tree > max_pcpus) {
        reader.diagnostics.say(Severity::note, "/cpus: {} CPUs; Atoll uses the first {}",
                               reader.out.cpus_in_tree, max_pcpus);
    }
}

/// stdout-path is a path or an alias, either with ":options" behind it [DTSpec 3.6].
void find_stdout(PlatformReader& reader, FdtNode chosen) {
    const auto property = reader.tree.property(chosen, "stdout-path");
    if (!property.ok()) {
        return;
    }
    const auto text = property->as_string();
    if (!text.ok()) {
        reader.warn(chosen, "stdout-path", "not one string: ignored");
        return;
    }
    std::string_view path(text->data(), 0);
    while (path.size() < text->size() && (*text)[path.size()] != ':') {
        path = std::string_view(text->data(), path.size() + 1);
    }
    if (!path.empty() && path.front() != '/') {
        const auto aliases = reader.tree.child(reader.tree.root(), "aliases");
        const auto alias =
            aliases.ok() ? reader.tree.property(*aliases, path) : Result<FdtProperty>(aliases.error());
        const auto target = alias.ok() ? alias->as_string() : Result<std::string_view>(alias.error());
        path = target.ok() ? *target : std::string_view{};
    }
    const auto node = reader.tree.find(path);
    if (node.ok()) {
        reader.stdout_node = *node;
    } else {
        reader.warn(chosen, "stdout-path", "names no node: ignored");
    }
}

void read_chosen(PlatformReader& reader) {
    const auto found = reader.tree.child(reader.tree.root(), "chosen");
    if (!found.ok()) {
        return;
    }
    const FdtNode chosen = *found;
    find_stdout(reader, chosen);
    const auto start = reader.tree.property(chosen, "linux,initrd-start");
    const auto end = reader.tree.property(chosen, "linux,initrd-end");
    if (start.ok() && end.ok()) {
        const auto first = start->as_number();
        const auto last = end->as_number();
        if (!first.ok() || !last.ok() || *last < *first) {
            reader.refuse(chosen, "linux,initrd-end",
                          "start and end are no ascending addresses of one or two cells");
        } else {
            reader.out.initrd = {Pa{*first}, *last - *first};
        }
    }
    const auto bootargs = reader.tree.property(chosen, "bootargs");
    if (bootargs.ok()) {
        const auto text = bootargs->as_string();
        if (!text.ok() || !reader.out.bootargs.assign(*text)) {
            reader.warn(chosen, "bootargs", "not one string of at most 255 characters: ignored");
        }
    }
    const auto kaslr = reader.tree.property(chosen, "kaslr-seed");
    reader.out.kaslr_seed = kaslr.ok() ? kaslr->as_number().value_or(0) : 0;
    const auto seed = reader.tree.property(chosen, "rng-seed");
    if (seed.ok()) {
        for (const u8 byte : seed->value) {
            if (reader.out.rng_seed_bytes < reader.out.rng_seed.size()) {
                reader.out.rng_seed[reader.out.rng_seed_bytes++] = byte;
            }
        }
    }
}

/// The bundle is read through the direct map of RAM: an address elsewhere would fault EL2.
void check_initrd(PlatformReader& reader) {
    bool inside = reader.out.initrd.empty();
    for (const Range<Pa>& bank : reader.out.ram) {
        inside = inside || bank.contains(reader.out.initrd.base, reader.out.initrd.size);
    }
    if (!inside) {
        const auto chosen = reader.tree.child(reader.tree.root(), "chosen");
        reader.refuse(chosen.value_or(reader.tree.root()), "linux,initrd-start",
                      "the initrd ({} bytes) is not in RAM", reader.out.initrd.size);
        reader.out.initrd = {};
    }
}

void read_identity(PlatformReader& reader) {
    const auto model = reader.tree.property(reader.tree.root(), "model");
    const auto compatible = reader.tree.property(reader.tree.root(), "compatible");
    std::string_view text;
    if (model.ok() && model->is_string_list() && model->strings().next(text) &&
        !reader.out.model.assign(text)) {
        reader.out.model.assign(std::string_view(text.data(), 63));
    }
    if (compatible.ok() && compatible->is_string_list() && compatible->strings().next(text) &&
        !reader.out.compatible.assign(text)) {
        reader.out.compatible.assign(std::string_view(text.data(), 63));
    }
}

bool has_device_type(const FdtView& tree, FdtNode node, std::string_view type) {
    const auto property = tree.property(node, "device_type");
    return property.ok() && property->has_string(type);
}

/// First look: memory, CPUs and the interrupt controller, which the second look needs.
Status first_look(PlatformReader& reader) {
    FdtWalk walk(reader.tree);
    for (;;) {
        const auto more = walk.next();
        if (!more.ok()) {
            return more.error();
        }
        if (!*more) {
            return {};
        }
        if (walk.depth() == 0 || !walk.is_okay()) {
            continue;
        }
        const std::string_view above = reader.tree.name(walk.parent());
        if (walk.depth() == 1 && has_device_type(reader.tree, walk.node(), "memory")) {
            read_memory(reader, walk);
        } else if (walk.depth() == 2 && above == "reserved-memory") {
            read_reserved_child(reader, walk);
        } else if (walk.depth() == 2 && above == "cpus" && has_device_type(reader.tree, walk.node(), "cpu")) {
            read_cpu(reader, walk);
        } else {
            read_interrupt_controller(reader, walk);
        }
    }
}

Status second_look(PlatformReader& reader) {
    FdtWalk walk(reader.tree);
    for (;;) {
        const auto more = walk.next();
        if (!more.ok()) {
            return more.error();
        }
        if (!*more) {
            return {};
        }
        if (walk.depth() > 0 && walk.is_okay()) {
            read_device(reader, walk);
        }
    }
}

} // namespace

u64 Platform::ram_bytes() const {
    u64 total = 0;
    for (const Range<Pa>& range : ram) {
        total += range.size;
    }
    return total;
}

bool Platform::is_free_ram(Range<Pa> range) const {
    bool inside = false;
    for (const Range<Pa>& bank : ram) {
        inside = inside || bank.contains(range.base, range.size);
    }
    for (const Range<Pa>& taken : reserved) {
        inside = inside && !taken.overlaps(range);
    }
    return inside;
}

Status read_platform(const FdtView& tree, Mpidr boot_cpu, Platform& out, Diagnostics& diagnostics) {
    PlatformReader reader{tree, boot_cpu, out, diagnostics};
    read_identity(reader);
    const std::size_t reservations = tree.reservation_count();
    for (std::size_t i = 0; i < reservations && !reader.failed; ++i) {
        const auto range = tree.reservation(i);
        if (range.ok()) {
            reserve(reader, tree.root(), *range);
        }
    }
    read_chosen(reader);
    Status walked = first_look(reader);
    if (walked.ok()) {
        walked = second_look(reader);
    }
    if (!walked.ok()) {
        diagnostics.say(Severity::refusal, "the host's device tree is nested deeper than {} levels",
                        fdt_max_depth);
        return walked;
    }
    settle_cpus(reader);
    check_initrd(reader);
    if (out.ram.empty()) {
        reader.refuse(tree.root(), "", "the host's device tree describes no RAM (no usable /memory node)");
    }
    if (out.gic.kind == GicKind::none) {
        reader.refuse(tree.root(), "",
                      "the host's device tree has no interrupt controller that Atoll knows (GICv3)");
    }
    return reader.failed ? Status(Error::corrupt) : Status();
}

} // namespace atl::boot
