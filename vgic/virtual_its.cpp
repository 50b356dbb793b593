// SPDX-License-Identifier: Apache-2.0
// VirtualIts: registers, and the command queue up to a command; what commands do is in vgic/virtual_its_commands.cpp.
// Untrusted offsets, sizes and values. Spec: [IHI0069 §5.3.1, §12.19].
#include "vgic/virtual_its.hpp"

namespace atl::vgic {
namespace {

using namespace gic;

constexpr u32 iidr_value = 0x41 << 24; // as GICD_IIDR
constexpr u64 command_bytes = sizeof(ItsCommand);
constexpr unsigned commands_per_step = 32;
constexpr unsigned long_command = 16; // counts as so many: it goes through all LPIs
constexpr u64 entry_bytes = 8;

/// What EL2's accesses are; these fields may be fixed [§12.19 GITS_CBASER, GITS_BASER<n>].
constexpr u64 attributes =
    GitsCbaser::Shareability::of(shareability_inner) | GitsCbaser::InnerCache::of(cache_write_back);
constexpr u64 cbaser_kept =
    GitsCbaser::Size::mask | GitsCbaser::Physical_Address::mask | GitsCbaser::Valid::mask;
constexpr u64 baser_fixed =
    GitsBaser::Entry_Size::of(entry_bytes - 1) | GitsBaser::Type::of(GitsBaser::type_devices) |
    GitsBaser::Shareability::of(shareability_inner) | GitsBaser::InnerCache::of(cache_write_back);
constexpr u64 baser_kept = GitsBaser::Size::mask | GitsBaser::Page_Size::mask |
                           GitsBaser::Physical_Address::mask | GitsBaser::Valid::mask;
constexpr u64 page_size_reserved = 3;

bool in_register(u64 offset, u64 reg) {
    return offset - reg < 8;
}

} // namespace

void VirtualIts::init(VirtualGic& gic, Lpis& lpis, const GuestMemory& memory, unsigned event_bits) {
    gic_ = &gic;
    lpis_ = &lpis;
    memory_ = memory;
    event_bits_ = event_bits;
    static_cast<void>(reset());
}

bool VirtualIts::reset() {
    LockGuard guard(lock_);
    enabled_.store(false, std::memory_order_relaxed);
    stalled_ = executed_ = false;
    cbaser_ = cwriter_ = creadr_ = device_baser_ = 0;
    note_work();
    if (listener_.device != nullptr) {
        for (u32 device = 0; device < 1u << device_bits; ++device) {
            listener_.device(listener_.context, device);
        }
    }
    return direct_ == nullptr || direct_->reset();
}

u64 VirtualIts::typer() const {
    using T = GitsTyper;
    // Physical LPIs only; redistributors by processor number; all collections without memory.
    return T::Physical::mask | T::ITT_entry_size::of(entry_bytes - 1) | T::ID_bits::of(event_bits_ - 1) |
           T::Devbits::of(device_bits - 1) | T::HCC::of(max_collections) | T::CIL::mask |
           T::CIDbits::of(collection_bits - 1);
}

u64 VirtualIts::queue_bytes() const {
    return (GitsCbaser::Size::get(cbaser_) + 1) * page_size;
}

/// A GITS_CWRITER beyond the queue is UNPREDICTABLE: nothing is executed.
bool VirtualIts::waiting() const {
    return enabled() && GitsCbaser::Valid::test(cbaser_) && !stalled_ && cwriter_ != creadr_ &&
           cwriter_ < queue_bytes();
}

// ---- registers ----

Access VirtualIts::read(VcpuIndex caller, u64 offset, unsigned size) {
    if (size < 4 || (offset & (size - 1)) != 0 || offset >= gits::translation_frame) {
        return {};
    }
    LockGuard guard(lock_);
    if (size == 4) {
        switch (offset) {
        case gits::ctlr:
            return {GitsCtlr::Enabled::of(enabled() ? 1 : 0) |
                    GitsCtlr::Quiescent::of(enabled() || !host_follows() ? 0 : 1)};
        case gits::iidr:
            return {iidr_value};
        case pidr2:
            return {Pidr2ArchRev::of(3) | 0xb};
        }
    }
    if (in_register(offset, gits::typer)) {
        return {register_part(typer(), offset, size)};
    }
    if (in_register(offset, gits::cbaser)) {
        return {register_part(cbaser_ | attributes, offset, size)};
    }
    if (in_register(offset, gits::cwriter)) {
        return {register_part(cwriter_, offset, size)};
    }
    if (in_register(offset, gits::creadr)) {
        // What a command has changed is done when it is seen as executed: list registers are recalled before that.
        return {register_part(creadr_ | GitsCreadr::Stalled::of(stalled_ ? 1 : 0), offset, size), 0,
                gic_->recall_outstanding(caller)};
    }
    if (in_register(offset, gits::baser)) {
        return {register_part(device_baser_ | baser_fixed, offset, size)};
    }
    return {};
}

VcpuMask VirtualIts::write(u64 offset, unsigned size, u64 value) {
    if (offset == gits::translation_frame + gits::translater) {
        // A write by a CPU carries no DeviceID of its own: 0, as on QEMU's virt. Lower halves are allowed [§12.19].
        return size == 2 || size == 4 ? message(0, static_cast<u32>(value)) : 0;
    }
    if (size < 4 || (offset & (size - 1)) != 0 || offset >= gits::translation_frame) {
        return 0;
    }
    LockGuard guard(lock_);
    if (offset == gits::ctlr && size == 4) {
        write_control(static_cast<u32>(value));
    } else if (in_register(offset, gits::cbaser)) {
        write_queue_base(register_with(cbaser_, offset, size, value));
    } else if (in_register(offset, gits::cwriter)) {
        write_queue_end(register_with(cwriter_, offset, size, value));
    } else if (in_register(offset, gits::baser) && !enabled()) { // else UNPREDICTABLE: no effect
        device_baser_ = register_with(device_baser_, offset, size, value) & baser_kept;
        if (GitsBaser::Page_Size::get(device_baser_) == page_size_reserved) {
            device_baser_ = GitsBaser::Page_Size::set(device_baser_, 2); // 64 KiB
        }
    }
    note_work();
    return 0;
}

void VirtualIts::write_control(u32 value) {
    enabled_.store(GitsCtlr::Enabled::test(value), std::memory_order_relaxed);
    if (direct_ != nullptr) {
        direct_->set_enabled(enabled());
    }
}

/// While the ITS is enabled UNPREDICTABLE: no effect. GITS_CREADR becomes 0 [§12.19 GITS_CBASER].
void VirtualIts::write_queue_base(u64 value) {
    if (enabled()) {
        return;
    }
    cbaser_ = value & cbaser_kept;
    creadr_ = 0;
    stalled_ = executed_ = false;
}

void VirtualIts::write_queue_end(u64 value) {
    cwriter_ = value & GitsCwriter::Offset::mask;
    if (GitsCwriter::Retry::test(value)) {
        stalled_ = false;
    }
}

// ---- the queue ----

void VirtualIts::next_command() {
    executed_ = false;
    creadr_ = (creadr_ + command_bytes) % queue_bytes();
}

/// A command is seen as executed (GITS_CREADR) once the host's ITS has followed.
ItsProgress VirtualIts::step() {
    LockGuard guard(lock_);
    ItsProgress progress;
    for (unsigned cost = 0; cost < commands_per_step || (executed_ && host_follows());) {
        if (!host_follows()) {
            progress.kick |= direct_->step();
            cost += long_command;
            continue;
        }
        if (executed_) {
            next_command();
            continue;
        }
        if (!waiting()) {
            break;
        }
        ItsCommand command{};
        const Ipa at = Ipa{(cbaser_ & GitsCbaser::Physical_Address::mask) + creadr_};
        if (!memory_.read(memory_.context, at, std::as_writable_bytes(std::span(command))).ok()) {
            stalled_ = true;
            progress.fault = ItsFault::table_not_in_memory;
            break;
        }
        const Outcome outcome = execute(command);
        executed_ = true;
        progress.kick |= outcome.kick;
        ++stat_commands_;
        if (outcome.fault != ItsFault::none) {
            progress.fault = outcome.fault;
            ++stat_faults_;
        }
        const auto opcode = static_cast<ItsOpcode>(ItsWord0::Opcode::get(command[0]));
        cost += opcode == ItsOpcode::invall || opcode == ItsOpcode::movall ? long_command : 1;
        if (host_follows()) {
            next_command();
        }
    }
    if (progress.fault != ItsFault::none) {
        last_fault_ = progress.fault;
    }
    note_work();
    progress.more = has_work();
    return progress;
}

void VirtualIts::dump(const TextSink& sink) {
    LockGuard guard(lock_);
    format_to(sink,
              "ITS {}{}, queue at {:x}, read {:x}, written {:x}, {} commands, {} refused (last: {}), {} LPIs "
              "signalled\n",
              enabled() ? "enabled" : "off", stalled_ ? ", stalled" : "",
              cbaser_ & GitsCbaser::Physical_Address::mask, creadr_, cwriter_, stat_commands_, stat_faults_,
              to_string(last_fault_), lpis_->stat_arrived());
}

const char* to_string(ItsFault fault) {
    switch (fault) {
    case ItsFault::none:
        return "none";
    case ItsFault::unknown_command:
        return "there is no such command";
    case ItsFault::device_out_of_range:
        return "DeviceID beyond GITS_TYPER.Devbits or the device table";
    case ItsFault::itt_size_out_of_range:
        return "more EventID bits than GITS_TYPER.ID_bits";
    case ItsFault::event_out_of_range:
        return "EventID beyond what the device was mapped with";
    case ItsFault::lpi_out_of_range:
        return "INTID that is no LPI, or beyond GICR_PROPBASER.IDbits";
    case ItsFault::collection_out_of_range:
        return "ICID beyond GITS_TYPER.CIDbits";
    case ItsFault::redistributor_out_of_range:
        return "RDbase of no redistributor";
    case ItsFault::device_not_mapped:
        return "device that is not mapped";
    case ItsFault::event_not_mapped:
        return "event that is not mapped";
    case ItsFault::collection_not_mapped:
        return "collection that is not mapped";
    case ItsFault::table_not_in_memory:
        return "table or queue that is not in the VM's own memory";
    }
    return "?";
}

} // namespace atl::vgic
