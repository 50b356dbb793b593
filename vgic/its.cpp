// SPDX-License-Identifier: Apache-2.0
// The physical ITS. See its.hpp. Pure over vgic/its_io_hw.hpp.
#include "vgic/its.hpp"

#include "vgic/its_io_hw.hpp"

namespace atl::vgic {
namespace {

using namespace gic;

constexpr unsigned answer_tries = 1'000'000; // reads of a register before the ITS counts as dead
constexpr unsigned queue_order = 4;          // 64 KiB, the alignment that GITS_CBASER wants
constexpr u64 queue_bytes = page_size << queue_order;
constexpr u64 command_bytes = sizeof(ItsCommand);
constexpr u8 lpi_priority = 0xa0; // as all that EL2 handles [vgic/gic_hw.hpp host_priority]
constexpr u64 itt_alignment = 256;

unsigned order_for(u64 bytes) {
    unsigned order = 0;
    while ((page_size << order) < bytes) {
        ++order;
    }
    return order;
}

u64 table_page_bytes(u64 page_size_field) {
    return page_size_field == 0 ? 4 * kib : page_size_field == 1 ? 16 * kib : 64 * kib;
}

} // namespace

Result<Pa> Its::take_zeroed(unsigned order) {
    const auto pages = pages_.allocate(pages_.context, order);
    if (pages.ok()) {
        its_io::zero(*pages, page_size << order);
    }
    return pages;
}

/// Firmware may have left it running: nothing may be changed before it is quiet [§12.19 GITS_CTLR].
Status Its::disable() {
    const u32 control = its_io::read32(frames_.base + gits::ctlr);
    its_io::write32(frames_.base + gits::ctlr, control & ~static_cast<u32>(GitsCtlr::Enabled::mask));
    for (unsigned i = 0; i < answer_tries; ++i) {
        if (GitsCtlr::Quiescent::test(its_io::read32(frames_.base + gits::ctlr))) {
            return {};
        }
    }
    return Error::not_supported;
}

Status Its::init(Range<Pa> frames, const ItsPages& pages) {
    if (frames.size < gits::frames_size) {
        return Error::invalid_argument;
    }
    frames_ = frames;
    pages_ = pages;
    ATOLL_TRY(disable());
    const u64 typer = its_io::read64(frames_.base + gits::typer);
    if (!GitsTyper::Physical::test(typer)) {
        return Error::not_supported;
    }
    device_id_bits_ = static_cast<unsigned>(GitsTyper::Devbits::get(typer)) + 1;
    event_id_bits_ = static_cast<unsigned>(GitsTyper::ID_bits::get(typer)) + 1;
    itt_entry_bytes_ = GitsTyper::ITT_entry_size::get(typer) + 1;
    target_address_ = GitsTyper::PTA::test(typer);
    injects_ = false;
    const auto configuration = take_zeroed(order_for(lpi_count));
    ATOLL_TRY(configuration);
    configuration_ = *configuration;
    ATOLL_TRY(init_queue());
    ATOLL_TRY(init_tables(GitsTyper::Virtual::test(typer)));
    its_io::write32(frames_.base + gits::ctlr, static_cast<u32>(GitsCtlr::Enabled::mask));
    usable_ = true;
    return {};
}

Status Its::init_queue() {
    const auto queue = take_zeroed(queue_order);
    ATOLL_TRY(queue);
    queue_ = *queue;
    const u64 value = GitsCbaser::Valid::mask | GitsCbaser::Size::of(queue_bytes / page_size - 1) |
                      (queue_.value & GitsCbaser::Physical_Address::mask) |
                      GitsCbaser::Shareability::of(shareability_inner) |
                      GitsCbaser::InnerCache::of(cache_write_back);
    its_io::write64(frames_.base + gits::cbaser, value);
    // Shareability reads as what the ITS can do; 0: it does not snoop.
    coherent_ = GitsCbaser::Shareability::test(its_io::read64(frames_.base + gits::cbaser));
    if (!coherent_) {
        its_io::write64(
            frames_.base + gits::cbaser,
            GitsCbaser::InnerCache::set(GitsCbaser::Shareability::set(value, 0), 1)); // non-cacheable
    }
    write_offset_ = 0;
    its_io::write64(frames_.base + gits::cwriter, 0); // GITS_CREADR becomes 0 with the write of GITS_CBASER
    return {};
}

Status Its::init_tables(bool with_vpes) {
    bool devices = false;
    for (unsigned i = 0; i < gits::basers; ++i) {
        const u64 type = GitsBaser::Type::get(its_io::read64(frames_.base + gits::baser + 8 * u64{i}));
        if (type == GitsBaser::type_devices) {
            devices = true;
            ATOLL_TRY(init_table(i, u64{1} << device_id_bits_, true));
        } else if (type == GitsBaser::type_collections) {
            ATOLL_TRY(init_table(i, max_pcpus, false));
        } else if (type == GitsBaser::type_vpes && with_vpes && init_table(i, max_vpes, false).ok()) {
            injects_ = true;
        } else if (type != 0) {
            its_io::write64(frames_.base + gits::baser + 8 * u64{i}, 0); // not used
        }
    }
    return devices ? Status{} : Status{Error::not_supported};
}

/// One table: flat when it fits into a page of the ITS, else two levels where the ITS can, else as large as may be.
Status Its::init_table(unsigned index, u64 entries, bool devices) {
    const Pa reg = frames_.base + gits::baser + 8 * u64{index};
    const u64 entry_bytes = GitsBaser::Entry_Size::get(its_io::read64(reg)) + 1;
    // Some of these bits are fixed in some implementations: what can be had is what reads back.
    its_io::write64(reg, GitsBaser::Indirect::mask | GitsBaser::Page_Size::of(0) |
                             GitsBaser::Shareability::of(shareability_inner) |
                             GitsBaser::InnerCache::of(cache_write_back));
    const u64 can = its_io::read64(reg);
    const u64 page_bytes = table_page_bytes(GitsBaser::Page_Size::get(can));
    bool indirect = false;
    u64 bytes = entries * entry_bytes;
    if (bytes > page_bytes && GitsBaser::Indirect::test(can)) {
        indirect = true;
        const u64 per_page = page_bytes / entry_bytes;
        bytes = (entries + per_page - 1) / per_page * sizeof(u64);
    }
    if (bytes > 256 * page_bytes) {
        bytes = 256 * page_bytes; // GITS_BASER.Size: fewer devices than the ITS could have
    }
    const u64 pages = (bytes + page_bytes - 1) / page_bytes;
    const auto base = take_zeroed(order_for(pages * page_bytes));
    ATOLL_TRY(base);
    if (devices) {
        device_table_ = {*base, indirect, page_bytes, entry_bytes};
        const u64 reach = indirect ? pages * page_bytes / sizeof(u64) * (page_bytes / entry_bytes)
                                   : pages * page_bytes / entry_bytes;
        while ((u64{1} << device_id_bits_) > reach) {
            --device_id_bits_;
        }
    }
    const bool snoops = GitsBaser::Shareability::test(can);
    coherent_ = coherent_ && snoops;
    its_io::write64(reg, GitsBaser::Valid::mask | GitsBaser::Indirect::of(indirect ? 1 : 0) |
                             GitsBaser::Page_Size::of(GitsBaser::Page_Size::get(can)) |
                             GitsBaser::Shareability::of(snoops ? shareability_inner : 0) |
                             GitsBaser::InnerCache::of(snoops ? cache_write_back : 1) |
                             (base->value & GitsBaser::Physical_Address::mask) |
                             GitsBaser::Size::of(pages - 1));
    return GitsBaser::Valid::test(its_io::read64(reg)) ? Status{} : Status{Error::not_supported};
}

// ---- the command queue [§5.3.1] ----

/// Whether one more command fits: the queue is full when only one slot is free.
bool Its::room() {
    const u64 next = (write_offset_ + command_bytes) % queue_bytes;
    for (unsigned i = 0; i < answer_tries; ++i) {
        const u64 read = its_io::read64(frames_.base + gits::creadr);
        if (GitsCreadr::Stalled::test(read)) {
            return false;
        }
        if ((read & GitsCreadr::Offset::mask) != next) {
            return true;
        }
    }
    return false;
}

/// An ITS that stalls on a command of ours, or stands still, is out of order for good: nothing after it would be true.
Status Its::put(const ItsCommand& command) {
    if (!usable_ || !room()) {
        usable_ = false;
        return Error::not_supported;
    }
    const Pa slot = queue_ + write_offset_;
    for (unsigned i = 0; i < command.size(); ++i) {
        its_io::store64(slot + 8 * u64{i}, command[i]);
    }
    its_io::publish(slot, command_bytes, coherent_);
    write_offset_ = (write_offset_ + command_bytes) % queue_bytes;
    its_io::write64(frames_.base + gits::cwriter, write_offset_);
    ++stat_commands_;
    return {};
}

Status Its::wait_done() {
    for (unsigned i = 0; i < answer_tries; ++i) {
        const u64 read = its_io::read64(frames_.base + gits::creadr);
        if ((read & GitsCreadr::Offset::mask) == write_offset_) {
            return {};
        }
        if (GitsCreadr::Stalled::test(read)) {
            break;
        }
    }
    usable_ = false;
    return Error::not_supported;
}

/// SYNC: what the commands before it did is done, at the redistributor too, when it has been consumed [§5.3.15].
Status Its::finish(u16 collection) {
    ATOLL_TRY(put(its_command::sync(targets_[collection])));
    return wait_done();
}

/// The same, wherever the event may go.
Status Its::finish_everywhere() {
    for (u16 i = 0; i < max_pcpus; ++i) {
        if (mapped_[i]) {
            ATOLL_TRY(finish(i));
        }
    }
    return {};
}

// ---- mappings ----

Status Its::map_collection(u16 collection, u64 target) {
    LockGuard guard(lock_);
    if (collection >= max_pcpus) {
        return Error::invalid_argument;
    }
    targets_[collection] = target & Field<51, 16>::mask;
    ATOLL_TRY(put(its_command::mapc(collection, targets_[collection], true)));
    // What the redistributor had cached of the configuration table is forgotten.
    ATOLL_TRY(put(its_command::invall(collection)));
    ATOLL_TRY(finish(collection));
    mapped_[collection] = true;
    return {};
}

Its::Device* Its::find(u32 device) {
    for (Device& d : devices_) {
        if (d.id == device) {
            return &d;
        }
    }
    return nullptr;
}

bool Its::has_event(u32 device, u32 event) {
    const Device* const d = find(device);
    return d != nullptr && event < (u32{1} << d->event_bits);
}

/// The page of the device table that holds this device's entry. Pages once given to the table stay there.
Status Its::back_device(u32 device) {
    const DeviceTable& table = device_table_;
    if (!table.indirect) {
        return {};
    }
    const u64 index = device / (table.page_bytes / table.entry_bytes);
    const Pa entry = table.base + index * sizeof(u64);
    if (GitsIndirect::Valid::test(its_io::read64(entry))) {
        return {};
    }
    const auto page = take_zeroed(order_for(table.page_bytes));
    ATOLL_TRY(page);
    its_io::store64(entry, GitsIndirect::Valid::mask | (page->value & GitsIndirect::Physical_Address::mask));
    its_io::publish(entry, sizeof(u64), coherent_);
    return {};
}

Status Its::map_device(u32 device, unsigned event_bits) {
    LockGuard guard(lock_);
    if (find(device) != nullptr) {
        return Error::already_exists;
    }
    if ((u64{device} >> device_id_bits_) != 0 || event_bits == 0 || event_bits > event_id_bits_) {
        return Error::overflow;
    }
    if (devices_.full()) {
        return Error::busy;
    }
    ATOLL_TRY(back_device(device));
    const u64 bytes = (u64{1} << event_bits) * itt_entry_bytes_;
    const unsigned order = order_for(bytes < itt_alignment ? itt_alignment : bytes);
    const auto itt = take_zeroed(order);
    ATOLL_TRY(itt);
    Status status = put(its_command::mapd(device, event_bits, *itt, true));
    status = status.ok() ? wait_done() : status;
    if (!status.ok()) {
        return status; // the ITS is out of order: what it may still use is not given back
    }
    devices_.push_back({device, event_bits, *itt, order});
    return {};
}

Status Its::write_configuration(u32 first, u32 count, bool enabled) {
    if (first < first_lpi || first - first_lpi >= lpi_count || count > lpi_count - (first - first_lpi)) {
        return Error::invalid_argument;
    }
    const Pa at = configuration_ + (first - first_lpi);
    for (u32 i = 0; i < count; ++i) {
        its_io::store8(
            at + i, static_cast<u8>(lpi_priority | LpiConfig::res1 | LpiConfig::Enable::of(enabled ? 1 : 0)));
    }
    its_io::publish(at, count, coherent_);
    return {};
}

Status Its::map_event(u32 device, u32 event, u32 lpi, u16 collection) {
    LockGuard guard(lock_);
    const Device* const d = find(device);
    if (d == nullptr) {
        return Error::not_found;
    }
    if (event >= (u32{1} << d->event_bits) || lpi < first_lpi || lpi >= first_lpi + lpi_count ||
        collection >= max_pcpus || !mapped_[collection]) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(write_configuration(lpi, 1, true));
    ATOLL_TRY(put(its_command::mapti(device, event, lpi, collection)));
    ATOLL_TRY(put(its_command::inv(device, event)));
    return finish(collection);
}

Status Its::move_event(u32 device, u32 event, u16 collection) {
    LockGuard guard(lock_);
    if (!has_event(device, event) || collection >= max_pcpus || !mapped_[collection]) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(put(its_command::movi(device, event, collection)));
    return finish(collection);
}

Status Its::unmap_device(u32 device) {
    LockGuard guard(lock_);
    Device* const d = find(device);
    if (d == nullptr) {
        return Error::not_found;
    }
    ATOLL_TRY(put(its_command::mapd(device, 1, {}, false)));
    ATOLL_TRY(finish_everywhere());
    pages_.release(pages_.context, d->itt, d->order);
    devices_.erase(static_cast<std::size_t>(d - &devices_[0]));
    return {};
}

Status Its::set_enabled(u32 lpi, u32 device, u32 event, bool enabled) {
    LockGuard guard(lock_);
    if (find(device) == nullptr) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(write_configuration(lpi, 1, enabled));
    ATOLL_TRY(put(its_command::inv(device, event)));
    return finish_everywhere(); // consumed is not done: only a SYNC says that the redistributor has followed
}

} // namespace atl::vgic
