// SPDX-License-Identifier: Apache-2.0
// VirtualIts: the commands, and the tables in the guest's memory that they go through. Caller: the ITS's lock. Every value
// comes from the guest, at the moment of its use. Spec: [IHI0069 §5.2 (tables), §5.3 (commands)].
#include "vgic/virtual_its.hpp"

namespace atl::vgic {
namespace {

using namespace gic;

constexpr u64 entry_bytes = 8;

/// Our device table's entries: what MAPD said.
struct DeviceEntry {
    using Size = Field<4, 0>; // EventID bits - 1
    using ITT_addr = Field<51, 8>;
    using Valid = Bit<63>;
};
/// Our translation tables' entries. The collection is the LPI's [vgic/lpis.hpp].
struct EventEntry {
    using INTID = Field<31, 0>;
    using Valid = Bit<63>;
};

u64 table_bytes(u64 baser) {
    constexpr u64 sizes[] = {4 * kib, 16 * kib, 64 * kib, 64 * kib};
    return (GitsBaser::Size::get(baser) + 1) * sizes[GitsBaser::Page_Size::get(baser)];
}

} // namespace

Result<u64> VirtualIts::load(Ipa at) const {
    u64 value = 0;
    ATOLL_TRY(memory_.read(memory_.context, at, std::as_writable_bytes(std::span(&value, 1))));
    return value;
}

bool VirtualIts::store(Ipa at, u64 value) const {
    return memory_.write(memory_.context, at, std::as_bytes(std::span(&value, 1))).ok();
}

/// The device table may be shorter than the DeviceIDs that there are.
bool VirtualIts::device_exists(u32 device) const {
    return device < 1u << device_bits && GitsBaser::Valid::test(device_baser_) &&
           (device + 1) * entry_bytes <= table_bytes(device_baser_);
}

/// With 64 KiB pages bits 51:48 of the address are in 15:12 [§12.19 GITS_BASER<n>.Physical_Address].
Ipa VirtualIts::device_entry(u32 device) const {
    u64 base = device_baser_ & GitsBaser::Physical_Address::mask;
    if (GitsBaser::Page_Size::get(device_baser_) == 2) {
        base = (base & ~Field<15, 0>::mask) | Field<51, 48>::of(base >> 12);
    }
    return Ipa{base + device * entry_bytes};
}

ItsFault VirtualIts::find(u32 device, Device& found) const {
    if (!device_exists(device)) {
        return ItsFault::device_out_of_range;
    }
    const auto entry = load(device_entry(device));
    if (!entry.ok()) {
        return ItsFault::table_not_in_memory;
    }
    found = {Ipa{*entry & DeviceEntry::ITT_addr::mask},
             static_cast<unsigned>(DeviceEntry::Size::get(*entry)) + 1};
    return DeviceEntry::Valid::test(*entry) && found.event_bits <= event_bits_ ? ItsFault::none
                                                                               : ItsFault::device_not_mapped;
}

ItsFault VirtualIts::find(u32 device, u32 event, Ipa& entry) const {
    Device found;
    if (const ItsFault fault = find(device, found); fault != ItsFault::none) {
        return fault;
    }
    entry = found.itt + event * entry_bytes;
    return event < 1u << found.event_bits ? ItsFault::none : ItsFault::event_out_of_range;
}

ItsFault VirtualIts::find(u32 device, u32 event, Ipa& entry, u32& lpi) const {
    if (const ItsFault fault = find(device, event, entry); fault != ItsFault::none) {
        return fault;
    }
    const auto value = load(entry);
    if (!value.ok()) {
        return ItsFault::table_not_in_memory;
    }
    lpi = static_cast<u32>(EventEntry::INTID::get(*value));
    return EventEntry::Valid::test(*value) && lpis_->exists(lpi) ? ItsFault::none
                                                                 : ItsFault::event_not_mapped;
}

VcpuMask VirtualIts::message(u32 device, u32 event) {
    LockGuard guard(lock_);
    Ipa entry;
    u32 lpi = 0;
    return enabled() && find(device, event, entry, lpi) == ItsFault::none ? lpis_->arrive(lpi) : 0;
}

VirtualIts::Outcome VirtualIts::execute(const ItsCommand& command) {
    const auto device = static_cast<u32>(ItsWord0::DeviceID::get(command[0]));
    const auto event = static_cast<u32>(ItsWord1::EventID::get(command[1]));
    const auto opcode = static_cast<ItsOpcode>(ItsWord0::Opcode::get(command[0]));
    switch (opcode) {
    case ItsOpcode::mapd:
        return map_device(command);
    case ItsOpcode::mapc:
        return map_collection(command);
    case ItsOpcode::mapti:
        return map_event(command, static_cast<u32>(ItsWord1::pINTID::get(command[1])));
    case ItsOpcode::mapi:
        return map_event(command, event);
    case ItsOpcode::movi:
        return move_event(command);
    case ItsOpcode::movall:
        return move_all(command);
    case ItsOpcode::invall: {
        const u64 collection = ItsWord2::ICID::get(command[2]);
        if (collection >= max_collections) {
            return ItsFault::collection_out_of_range;
        }
        if (lpis_->collection_target(static_cast<unsigned>(collection)) == no_vcpu) {
            return ItsFault::collection_not_mapped;
        }
        return lpis_->reload_all(); // those of other collections, too
    }
    case ItsOpcode::sync:
        // Commands are executed in order, and GITS_CREADR waits for list registers [VirtualIts::read].
        return ItsWord2::RDbase::get(command[2]) < gic_->vcpu_count() ? ItsFault::none
                                                                      : ItsFault::redistributor_out_of_range;
    case ItsOpcode::raise:
    case ItsOpcode::clear:
    case ItsOpcode::inv:
    case ItsOpcode::discard:
        return event_command(opcode, device, event);
    }
    return ItsFault::unknown_command;
}

VirtualIts::Outcome VirtualIts::map_device(const ItsCommand& command) {
    const auto device = static_cast<u32>(ItsWord0::DeviceID::get(command[0]));
    const bool valid = ItsWord2::V::test(command[2]);
    const u64 size = ItsWord1::Size::get(command[1]);
    if (!device_exists(device)) {
        return ItsFault::device_out_of_range;
    }
    if (valid && size + 1 > event_bits_) {
        return ItsFault::itt_size_out_of_range;
    }
    const u64 entry =
        DeviceEntry::Valid::mask | (ItsWord2::ITT_addr::mask & command[2]) | DeviceEntry::Size::of(size);
    if (!store(device_entry(device), valid ? entry : 0)) {
        return ItsFault::table_not_in_memory;
    }
    if (listener_.device != nullptr) {
        listener_.device(listener_.context, device); // a device that is mapped anew has no events yet
    }
    if (direct_ != nullptr) {
        direct_->unmap_device(device);
    }
    return ItsFault::none;
}

VirtualIts::Outcome VirtualIts::map_collection(const ItsCommand& command) {
    const u64 collection = ItsWord2::ICID::get(command[2]);
    const u64 target = ItsWord2::RDbase::get(command[2]);
    const bool valid = ItsWord2::V::test(command[2]);
    if (collection >= max_collections) {
        return ItsFault::collection_out_of_range;
    }
    if (valid && target >= gic_->vcpu_count()) {
        return ItsFault::redistributor_out_of_range;
    }
    lpis_->map_collection(static_cast<unsigned>(collection), valid ? static_cast<u8>(target) : no_vcpu);
    if (direct_ != nullptr) {
        direct_->routes_changed();
    }
    return ItsFault::none;
}

/// The collection need not be mapped yet.
VirtualIts::Outcome VirtualIts::map_event(const ItsCommand& command, u32 lpi) {
    const auto device = static_cast<u32>(ItsWord0::DeviceID::get(command[0]));
    const auto event = static_cast<u32>(ItsWord1::EventID::get(command[1]));
    const u64 collection = ItsWord2::ICID::get(command[2]);
    Ipa entry;
    if (const ItsFault fault = find(device, event, entry); fault != ItsFault::none) {
        return fault;
    }
    if (collection >= max_collections) {
        return ItsFault::collection_out_of_range;
    }
    if (!lpis_->exists(lpi)) {
        return ItsFault::lpi_out_of_range;
    }
    if (!store(entry, EventEntry::Valid::mask | EventEntry::INTID::of(lpi))) {
        return ItsFault::table_not_in_memory;
    }
    VcpuMask mask = lpis_->map(lpi, static_cast<u8>(collection));
    if (listener_.event != nullptr) {
        listener_.event(listener_.context, device, event, lpi);
    }
    if (direct_ != nullptr) {
        mask |= direct_->map(device, event, lpi);
    }
    return mask;
}

VirtualIts::Outcome VirtualIts::move_event(const ItsCommand& command) {
    const u64 collection = ItsWord2::ICID::get(command[2]);
    Ipa entry;
    u32 lpi = 0;
    const auto device = static_cast<u32>(ItsWord0::DeviceID::get(command[0]));
    const auto event = static_cast<u32>(ItsWord1::EventID::get(command[1]));
    if (const ItsFault fault = find(device, event, entry, lpi); fault != ItsFault::none) {
        return fault;
    }
    if (collection >= max_collections) {
        return ItsFault::collection_out_of_range;
    }
    if (lpis_->collection_target(static_cast<unsigned>(collection)) == no_vcpu) {
        return ItsFault::collection_not_mapped;
    }
    VcpuMask mask = lpis_->move(lpi, static_cast<u8>(collection));
    if (listener_.moved != nullptr) {
        listener_.moved(listener_.context, device, event);
    }
    if (direct_ != nullptr) {
        mask |= direct_->rerouted(device, event, lpi);
    }
    return mask;
}

VirtualIts::Outcome VirtualIts::move_all(const ItsCommand& command) {
    const u64 from = ItsWord2::RDbase::get(command[2]);
    const u64 to = ItsWord2::RDbase::get(command[3]);
    if (from >= gic_->vcpu_count() || to >= gic_->vcpu_count()) {
        return ItsFault::redistributor_out_of_range;
    }
    return lpis_->move_all(static_cast<unsigned>(from), static_cast<unsigned>(to));
}

VirtualIts::Outcome VirtualIts::event_command(ItsOpcode opcode, u32 device, u32 event) {
    Ipa entry;
    u32 lpi = 0;
    if (const ItsFault fault = find(device, event, entry, lpi); fault != ItsFault::none) {
        return fault;
    }
    if (opcode == ItsOpcode::inv) {
        return lpis_->reload(lpi);
    }
    if (opcode == ItsOpcode::raise) {
        return lpis_->signal(lpi);
    }
    if (opcode == ItsOpcode::clear) {
        return lpis_->clear(lpi);
    }
    if (!store(entry, 0)) {
        return ItsFault::table_not_in_memory;
    }
    if (listener_.event != nullptr) {
        listener_.event(listener_.context, device, event, 0);
    }
    VcpuMask mask = direct_ != nullptr ? direct_->map(device, event, 0) : 0;
    mask |= lpis_->unmap(lpi);
    return mask;
}

} // namespace atl::vgic
