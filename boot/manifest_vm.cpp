// SPDX-License-Identifier: Apache-2.0
// Owns: the properties of one /vms node: types, ranges, unknown and duplicate ones. docs/manifest.md lists
// them. Does not own: what refers to images (manifest_image.cpp) or other VMs (manifest_links.cpp). Lock:
// none.
#include "boot/manifest_parts.hpp"

namespace atl::boot {
namespace {

constexpr std::string_view known[] = {
    "cpus",       "memory-mib", "kernel",      "ramdisk",       "bootargs", "share-with", "share-window-mib",
    "devices",    "start",      "start-after", "console-focus", "on-crash", "clock",      "msi",
    "interrupts", "lpis",       "phandle",     "linux,phandle",
};

/// Typos are the commonest mistake, and a property read twice is the oddest.
void check_names(ManifestReader& reader, std::size_t index) {
    u32 seen = 0;
    reader.tree.each_property(reader.node(index), [&](const FdtProperty& property) {
        u32 bit = 0;
        for (std::size_t k = 0; k < std::size(known); ++k) {
            bit |= known[k] == property.name ? u32{1} << k : 0;
        }
        if (bit == 0) {
            reader.warn(index, property.name, "unknown property, ignored");
        } else if ((seen & bit) != 0) {
            reader.refuse(index, property.name, "this property is there twice");
        }
        seen |= bit;
    });
    reader.tree.each_child(reader.node(index), [&](FdtNode child) {
        reader.diagnostics.say(Severity::warning, reader.tree, child, "",
                               "a VM has no nodes inside: ignored");
    });
}

/// A whole number within [least, most]. False: absent, or refused.
bool number(ManifestReader& reader, std::size_t index, std::string_view name, u64 least, u64 most,
            std::string_view what, u64& value) {
    const auto property = reader.tree.property(reader.node(index), name);
    if (!property.ok()) {
        return false;
    }
    const auto parsed = property->as_number();
    if (!parsed.ok()) {
        reader.refuse(index, name, "one number in angle brackets is wanted");
        return false;
    }
    if (*parsed < least || *parsed > most) {
        reader.refuse(index, name, "{}", what);
        return false;
    }
    value = *parsed;
    return true;
}

/// One of two words; false: absent, or refused.
bool choice(ManifestReader& reader, std::size_t index, std::string_view name, std::string_view no,
            std::string_view yes, bool& value) {
    const auto property = reader.tree.property(reader.node(index), name);
    if (!property.ok()) {
        return false;
    }
    const auto text = property->as_string();
    if (!text.ok() || (*text != no && *text != yes)) {
        reader.refuse(index, name, "it is either \"{}\" or \"{}\"", no, yes);
        return false;
    }
    value = *text == yes;
    return true;
}

void read_bootargs(ManifestReader& reader, std::size_t index) {
    const auto property = reader.tree.property(reader.node(index), "bootargs");
    if (!property.ok()) {
        return;
    }
    const auto text = property->as_string();
    if (!text.ok()) {
        reader.refuse(index, "bootargs", "one string is wanted");
        return;
    }
    for (const char c : *text) {
        if (c < 0x20 || c > 0x7e) {
            reader.refuse(index, "bootargs", "a kernel command line has printable characters only");
            return;
        }
    }
    if (!reader.vm(index).bootargs.assign(*text)) {
        reader.refuse(index, "bootargs", "{} characters; at most {} fit", text->size(), max_bootargs);
    }
}

void read_memory(ManifestReader& reader, std::size_t index) {
    el2::VmConfig& vm = reader.vm(index);
    u64 value = 0;
    if (!reader.tree.has(reader.node(index), "memory-mib")) {
        reader.refuse(index, "memory-mib", "it is missing: how much RAM has this VM?");
    } else if (number(reader, index, "memory-mib", 1, el2::guest_map::ram_max / mib,
                      "a VM has 1 to 262144 MiB of RAM", value)) {
        vm.ram_bytes = value * mib;
    }
    value = reader.tree.has(reader.node(index), "share-with") ? 256 : 0;
    number(reader, index, "share-window-mib", 0, el2::guest_map::window_max / mib,
           "a share window has 0 to 1024 MiB", value);
    if (value % 2 != 0) {
        reader.refuse(index, "share-window-mib", "a share window is a multiple of 2 MiB");
    }
    vm.window_bytes = value * mib;
}

void read_devices(ManifestReader& reader, std::size_t index) {
    const auto property = reader.tree.property(reader.node(index), "devices");
    if (!property.ok()) {
        return;
    }
    if (!property->is_string_list()) {
        reader.refuse(index, "devices", "a list of strings such as \"0000:00:02.0\" is wanted");
        return;
    }
    FdtStrings list = property->strings();
    std::string_view text;
    while (list.next(text)) {
        const auto address = parse_pci_address(text);
        if (!address.ok()) {
            reader.refuse(index, "devices",
                          "\"{}\" is no PCI address of the form 0000:00:02.0 or 0000:00:02.0/vf0", text);
            return;
        }
        for (const el2::PciAddress& other : reader.vm(index).devices) {
            if (other == *address) {
                reader.refuse(index, "devices", "\"{}\" is listed twice", text);
                return;
            }
        }
        if (!reader.vm(index).devices.push_back(*address)) {
            reader.refuse(index, "devices", "a VM has at most {} devices", el2::max_devices_per_vm);
            return;
        }
    }
}

/// `digits` hexadecimal digits at `at`, advancing it.
bool hex(std::string_view text, std::size_t& at, unsigned digits, u32& value) {
    value = 0;
    for (unsigned i = 0; i < digits; ++i, ++at) {
        const char c = at < text.size() ? text[at] : '\0';
        const bool decimal = c >= '0' && c <= '9';
        const char letter = static_cast<char>(c | 0x20);
        if (!decimal && (letter < 'a' || letter > 'f')) {
            return false;
        }
        value = value << 4 | static_cast<u32>(decimal ? c - '0' : letter - 'a' + 10);
    }
    return true;
}

/// "/vf0" to "/vf99", or nothing more; advances `at`.
bool vf_number(std::string_view text, std::size_t& at, u8& vf) {
    constexpr std::string_view prefix = "/vf";
    if (at == text.size()) {
        return true;
    }
    if (!std::string_view(text.data() + at, text.size() - at).starts_with(prefix)) {
        return false;
    }
    at += prefix.size();
    const std::size_t digits = text.size() - at;
    if (digits < 1 || digits > 2 || (digits == 2 && text[at] == '0')) {
        return false;
    }
    for (vf = 0; at < text.size(); ++at) {
        if (text[at] < '0' || text[at] > '9') {
            return false;
        }
        vf = static_cast<u8>(vf * 10 + (text[at] - '0'));
    }
    return true;
}

bool separator(std::string_view text, std::size_t& at, char wanted) {
    return at < text.size() && text[at++] == wanted;
}

} // namespace

Result<el2::PciAddress> parse_pci_address(std::string_view text) {
    std::size_t at = 0;
    u32 segment = 0;
    u32 bus = 0;
    u32 device = 0;
    u32 function = 0;
    u8 vf = el2::PciAddress::no_vf;
    if (!hex(text, at, 4, segment) || !separator(text, at, ':') || !hex(text, at, 2, bus) ||
        !separator(text, at, ':') || !hex(text, at, 2, device) || !separator(text, at, '.') ||
        !hex(text, at, 1, function) || !vf_number(text, at, vf) || device > 31 || function > 7) {
        return Error::invalid_argument;
    }
    return el2::PciAddress{static_cast<u16>(segment), static_cast<u8>(bus), static_cast<u8>(device),
                           static_cast<u8>(function), vf};
}

void read_vm(ManifestReader& reader, std::size_t index) {
    el2::VmConfig& vm = reader.vm(index);
    check_names(reader, index);
    u64 cpus = 1;
    number(reader, index, "cpus", 1, max_vcpus_per_vm, "a VM has 1 to 8 vCPUs", cpus);
    static_assert(max_vcpus_per_vm == 8, "the sentence above");
    vm.vcpus = static_cast<u8>(cpus);
    read_memory(reader, index);
    read_bootargs(reader, index);
    read_devices(reader, index);
    bool automatic = true;
    bool restart = false;
    choice(reader, index, "start", "manual", "auto", automatic);
    choice(reader, index, "on-crash", "stop", "restart", restart);
    bool run_time = false;
    choice(reader, index, "clock", "wall", "run", run_time);
    vm.clock = run_time ? el2::VmClock::run : el2::VmClock::wall;
    bool its = true;
    choice(reader, index, "msi", "mbi", "its", its);
    vm.msi = its ? el2::MsiKind::its : el2::MsiKind::mbi;
    bool by_vi = false;
    choice(reader, index, "interrupts", "virtual-interface", "vi", by_vi);
    vm.interrupts = by_vi ? el2::InterruptMode::vi : el2::InterruptMode::virtual_interface;
    bool direct = true;
    if (choice(reader, index, "lpis", "software", "direct", direct)) {
        vm.lpis = direct ? el2::LpiKind::direct : el2::LpiKind::software;
    }
    vm.autostart = automatic;
    vm.on_crash = restart ? el2::CrashPolicy::restart : el2::CrashPolicy::stop;
    const auto focus = reader.tree.property(reader.node(index), "console-focus");
    vm.focus = focus.ok();
    if (focus.ok() && !focus->value.empty()) {
        reader.refuse(index, "console-focus", "it takes no value: being there is all");
    }
}

} // namespace atl::boot
