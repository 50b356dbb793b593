// SPDX-License-Identifier: Apache-2.0
// Its: GICv4.0's side of the physical ITS: vPEs, and events that become virtual LPIs. See its.hpp. Every value is checked
// before a command has it: an ITS may stall on one that names what does not exist. vPEs stay where they were mapped, so
// there is no VMOVP. Pure over vgic/its_io_hw.hpp. Spec: [IHI0069 §5.3 (VMAPP, VMAPTI, VMOVI, VSYNC, VINVALL), §6].
#include "vgic/its.hpp"
#include "vgic/its_io_hw.hpp"

namespace atl::vgic {

using namespace gic;

/// VSYNC: what the commands before it did is done for this vPE, at the redistributor too, when it has been consumed.
Status Its::finish_vpe(u16 vpe) {
    ATOLL_TRY(put(its_command::vsync(vpe)));
    return wait_done();
}

Status Its::map_vpe(u16 vpe, u64 target, Pa pending_table, unsigned id_bits) {
    LockGuard guard(lock_);
    if (!injects_ || vpe >= max_vpes || vpes_[vpe] || !pending_table.is_aligned(64 * kib)) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(put(its_command::vmapp(vpe, target & Field<51, 16>::mask, pending_table, id_bits, true)));
    ATOLL_TRY(finish_vpe(vpe));
    vpes_[vpe] = true;
    return {};
}

Status Its::unmap_vpe(u16 vpe) {
    LockGuard guard(lock_);
    if (!has_vpe(vpe)) {
        return Error::not_found;
    }
    // While it is mapped: a VSYNC of one that is not is an error.
    ATOLL_TRY(put(its_command::vsync(vpe)));
    ATOLL_TRY(put(its_command::vmapp(vpe, 0, {}, 1, false)));
    ATOLL_TRY(wait_done());
    vpes_[vpe] = false;
    return {};
}

Status Its::map_direct(u32 device, u32 event, u32 vlpi, u16 vpe, u32 doorbell) {
    LockGuard guard(lock_);
    if (!has_event(device, event) || !has_vpe(vpe) || vlpi < first_lpi || vlpi - first_lpi >= lpi_count ||
        doorbell < first_lpi || doorbell - first_lpi >= lpi_count) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(put(its_command::vmapti(device, event, vlpi, vpe, doorbell)));
    // Its configuration may have been cached when another event raised it.
    ATOLL_TRY(put(its_command::inv(device, event)));
    return finish_vpe(vpe);
}

Status Its::move_direct(u32 device, u32 event, u16 from, u16 to) {
    LockGuard guard(lock_);
    if (!has_event(device, event) || !has_vpe(from) || !has_vpe(to)) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(put(its_command::vmovi(device, event, to)));
    ATOLL_TRY(put(its_command::vsync(from)));
    return finish_vpe(to);
}

Status Its::command_direct(ItsOpcode opcode, u32 device, u32 event, u16 vpe) {
    LockGuard guard(lock_);
    if (!has_event(device, event) || !has_vpe(vpe)) {
        return Error::invalid_argument;
    }
    const ItsCommand command = opcode == ItsOpcode::discard ? its_command::discard(device, event)
                               : opcode == ItsOpcode::clear ? its_command::clear(device, event)
                                                            : its_command::inv(device, event);
    ATOLL_TRY(put(command));
    return finish_vpe(vpe);
}

Status Its::raise_direct(u32 device, u32 event) {
    LockGuard guard(lock_);
    return has_event(device, event) ? put(its_command::raise(device, event)) : Error::invalid_argument;
}

Status Its::sync_vpe(u16 vpe) {
    LockGuard guard(lock_);
    return has_vpe(vpe) ? finish_vpe(vpe) : Status{Error::invalid_argument};
}

Status Its::reload_vpe(u16 vpe) {
    LockGuard guard(lock_);
    if (!has_vpe(vpe)) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(put(its_command::vinvall(vpe)));
    return finish_vpe(vpe);
}

/// INV of an event that is mapped as virtual means the virtual LPI: of a doorbell only INVALL speaks.
Status Its::enable_doorbells(u32 first, u32 count, bool enabled) {
    LockGuard guard(lock_);
    ATOLL_TRY(write_configuration(first, count, enabled));
    for (u16 collection = 0; collection < max_pcpus; ++collection) {
        if (mapped_[collection]) {
            ATOLL_TRY(put(its_command::invall(collection)));
            ATOLL_TRY(finish(collection));
        }
    }
    return {};
}

} // namespace atl::vgic
