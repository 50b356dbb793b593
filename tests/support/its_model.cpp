// SPDX-License-Identifier: Apache-2.0
// See its_model.hpp. [IHI0069 chapter 5, §12.19]
#include "tests/support/its_model.hpp"

#include "vgic/its_io_hw.hpp"

namespace atl::test {
namespace {
ItsModel* the_model = nullptr;
using namespace gic;
} // namespace

ItsModel::ItsModel() {
    the_model = this;
    baser_[0] = GitsBaser::Type::of(GitsBaser::type_devices);
    baser_[1] = GitsBaser::Type::of(GitsBaser::type_vpes);
    baser_[2] = GitsBaser::Type::of(GitsBaser::type_collections);
}
ItsModel::~ItsModel() {
    the_model = nullptr;
}

Result<Pa> ItsModel::allocate(unsigned order) {
    if (pages_left-- <= 0) {
        return Error::no_memory;
    }
    const u64 size = page_size << order;
    const u64 at = (next_page_ + size - 1) & ~(size - 1);
    next_page_ = at + size;
    allocated[at] = order;
    return Pa{at};
}
void ItsModel::release(Pa pages, unsigned order) {
    const auto it = allocated.find(pages.value);
    if (it == allocated.end() || it->second != order) {
        ++mistakes;
        return;
    }
    allocated.erase(it);
}

u64 ItsModel::word(u64 address) {
    if (unpublished.count(address & ~u64{7}) != 0) {
        ++mistakes; // the ITS would see what was there before
    }
    const auto it = memory.find(address & ~u64{7});
    return it == memory.end() ? 0 : it->second;
}

u64 ItsModel::read(u64 address) {
    for (unsigned cpu = 0; cpu < redistributors; ++cpu) {
        if (const u64 at = address - vlpi_frame(cpu).value; at < 0x1'0000) {
            return read_redistributor(cpu, at);
        }
    }
    const u64 offset = address - base;
    if (offset >= gits::frames_size) {
        const auto it = memory.find(address); // the driver reads back its own table
        return it == memory.end() ? 0 : it->second;
    }
    switch (offset) {
    case gits::ctlr:
        return control_ | (control_ == 0 && answers ? GitsCtlr::Quiescent::mask : 0);
    case gits::typer:
        return (physical_lpis ? 1 : 0) | GitsTyper::Virtual::of(virtual_lpis ? 1 : 0) |
               GitsTyper::ITT_entry_size::of(itt_entry_bytes - 1) | GitsTyper::ID_bits::of(event_bits - 1) |
               GitsTyper::Devbits::of(device_bits - 1);
    case gits::cbaser:
        return cbaser_;
    case gits::cwriter:
        return cwriter_;
    case gits::creadr:
        return creadr_;
    }
    if (offset >= gits::baser && offset < gits::baser + 64) {
        return baser_[(offset - gits::baser) / 8] | GitsBaser::Entry_Size::of(device_entry_bytes - 1);
    }
    ++mistakes;
    return 0;
}

void ItsModel::write(u64 address, u64 value) {
    for (unsigned cpu = 0; cpu < redistributors; ++cpu) {
        if (const u64 at = address - vlpi_frame(cpu).value; at < 0x1'0000) {
            return write_redistributor(cpu, at, value);
        }
    }
    const u64 offset = address - base;
    if (offset == gits::ctlr) {
        control_ = value & 1;
        if (control_ != 0 && (!GitsCbaser::Valid::test(cbaser_) || !GitsBaser::Valid::test(baser_[0]))) {
            ++mistakes;
        }
    } else if (offset == gits::cbaser) {
        mistakes += control_ != 0; // only while disabled and quiescent
        cbaser_ = snoops ? value : GitsCbaser::Shareability::set(value, 0);
        creadr_ = 0;
    } else if (offset == gits::cwriter) {
        cwriter_ = value;
        if (control_ != 0) {
            run_commands();
        }
    } else if (offset >= gits::baser && offset < gits::baser + 64) {
        mistakes += control_ != 0;
        u64& reg = baser_[(offset - gits::baser) / 8];
        const u64 type = reg & GitsBaser::Type::mask;
        value = GitsBaser::Page_Size::set(value, fixed_page_size);
        value = can_indirect ? value : GitsBaser::Indirect::set(value, 0);
        value = snoops ? value : GitsBaser::Shareability::set(value, 0);
        reg = (value & ~(GitsBaser::Type::mask | GitsBaser::Entry_Size::mask)) | type;
    } else {
        ++mistakes;
    }
}

void ItsModel::store8(u64 address, u8 value) {
    u64& w = memory[address & ~u64{7}];
    const unsigned shift = 8 * (address & 7);
    w = (w & ~(u64{0xff} << shift)) | (u64{value} << shift);
    unpublished.insert(address & ~u64{7});
}
u64 ItsModel::load(u64 address) {
    const auto it = memory.find(address & ~u64{7});
    return it == memory.end() ? 0 : it->second;
}
void ItsModel::zero(u64 address, u64 bytes) {
    mistakes += in_a_table(address, bytes);
    for (auto it = memory.lower_bound(address); it != memory.end() && it->first < address + bytes;) {
        it = memory.erase(it);
    }
}
void ItsModel::publish(u64 address, u64 bytes, bool coherent) {
    if (coherent && !snoops) {
        return; // a barrier alone does not reach a device that does not snoop
    }
    for (u64 a = address & ~u64{7}; a < address + bytes; a += 8) {
        unpublished.erase(a);
    }
}

void ItsModel::run_commands() {
    const u64 queue = cbaser_ & GitsCbaser::Physical_Address::mask;
    const u64 size = (GitsCbaser::Size::get(cbaser_) + 1) * 4096;
    while (creadr_ != cwriter_) {
        if (commands_until_stall == 0) {
            creadr_ |= GitsCreadr::Stalled::mask;
            return;
        }
        commands_until_stall -= commands_until_stall > 0;
        ItsCommand command;
        for (unsigned i = 0; i < 4; ++i) {
            command[i] = word(queue + creadr_ + 8 * i);
        }
        execute(command);
        creadr_ = (creadr_ + 32) % size;
    }
}

bool ItsModel::device_backed(u32 device) {
    const u64 reg = baser_[0];
    const u64 page = GitsBaser::Page_Size::get(reg) == 0   ? 4096
                     : GitsBaser::Page_Size::get(reg) == 1 ? 16384
                                                           : 65536;
    const u64 table = reg & GitsBaser::Physical_Address::mask;
    const u64 bytes = (GitsBaser::Size::get(reg) + 1) * page;
    const u64 per_page = page / device_entry_bytes;
    if (!GitsBaser::Indirect::test(reg)) {
        return device < bytes / device_entry_bytes;
    }
    const u64 index = device / per_page;
    return index < bytes / 8 && GitsIndirect::Valid::test(word(table + 8 * index));
}

void ItsModel::execute(const ItsCommand& c) {
    const auto device = static_cast<u32>(c[0] >> 32);
    const auto event = static_cast<u32>(c[1]);
    const auto collection = static_cast<u32>(c[2] & 0xffff);
    const u64 key = u64{device} << 32 | event;
    if (execute_virtual(c)) {
        return;
    }
    switch (c[0] & 0xff) {
    case 0x08: // MAPD
        if ((c[2] >> 63) == 0) {
            devices_.erase(device);
            for (auto it = events_.lower_bound(u64{device} << 32);
                 it != events_.end() && it->first >> 32 == device;) {
                it = events_.erase(it);
            }
        } else {
            const u64 itt = c[2] & Field<51, 8>::mask;
            mistakes += !device_backed(device) || allocated.count(itt) == 0 ||
                        (page_size << allocated[itt]) < (u64{2} << (c[1] & 31)) * itt_entry_bytes;
            devices_[device] = static_cast<unsigned>(c[1] & 31) + 1;
        }
        break;
    case 0x09: // MAPC
        collections_[collection] = c[2] & Field<51, 16>::mask;
        break;
    case 0x0a: // MAPTI
        mistakes += devices_.count(device) == 0 || event >> devices_[device] != 0 ||
                    collections_.count(collection) == 0;
        events_[key] = {static_cast<u32>(c[1] >> 32), static_cast<u16>(collection)};
        break;
    case 0x01: // MOVI
        mistakes += events_.count(key) == 0 || collections_.count(collection) == 0;
        events_[key].collection = static_cast<u16>(collection);
        break;
    case 0x05: // SYNC
        break;
    case 0x0c: // INV
        if (events_.count(key) == 0) {
            ++mistakes;
        } else {
            cached_config_.erase(events_[key].lpi);
        }
        break;
    case 0x0d: // INVALL
        mistakes += collections_.count(collection) == 0;
        cached_config_.clear();
        break;
    default:
        ++mistakes;
    }
}

u32 ItsModel::msi(u32 device, u32 event) {
    const auto it = events_.find(u64{device} << 32 | event);
    if (control_ == 0 || devices_.count(device) == 0 || it == events_.end() || it->second.is_virtual) {
        return 0;
    }
    return physical(it->second.lpi);
}
/// An LPI of the host's, as its redistributor has it cached: 0 when it is not enabled.
u32 ItsModel::physical(u32 lpi) {
    if (cached_config_.count(lpi) == 0) {
        // The test says where the table is: the first allocation.
        const u64 table = configuration;
        cached_config_[lpi] =
            static_cast<u8>(word(table + lpi - first_lpi) >> (8 * ((table + lpi - first_lpi) & 7)));
    }
    return (cached_config_[lpi] & 1) != 0 ? lpi : 0;
}
u64 ItsModel::target_of(u32 device, u32 event) {
    return collections_[events_[u64{device} << 32 | event].collection];
}

} // namespace atl::test

namespace atl::vgic::its_io {
using test::the_model;
u32 read32(Pa address) {
    return static_cast<u32>(the_model->read(address.value));
}
u64 read64(Pa address) {
    return the_model->read(address.value);
}
void write32(Pa address, u32 value) {
    the_model->write(address.value, value);
}
void write64(Pa address, u64 value) {
    the_model->write(address.value, value);
}
void store64(Pa address, u64 value) {
    the_model->memory[address.value] = value;
    the_model->unpublished.insert(address.value);
}
void store8(Pa address, u8 value) {
    the_model->store8(address.value, value);
}
u64 load64(Pa address) {
    return the_model->load(address.value);
}
void refresh(Pa, u64, bool) {}
void zero(Pa address, u64 bytes) {
    the_model->zero(address.value, bytes);
}
void publish(Pa address, u64 bytes, bool coherent) {
    the_model->publish(address.value, bytes, coherent);
}
} // namespace atl::vgic::its_io
