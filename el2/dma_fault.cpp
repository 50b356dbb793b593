// SPDX-License-Identifier: Apache-2.0
// What the SMMU reports, as sentences: which VM's device wanted what, and why it did not get it. A faulting transfer makes
// an event for every few bytes: what repeats is counted, not printed. Boot CPU, where the SMMU's interrupts are routed.
#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/passthrough.hpp"
#include "el2/world.hpp"
#include "lib/log.hpp"

namespace atl::el2 {
namespace {

constexpr unsigned events_at_once = 128; // bounds the time in one interrupt
constexpr u64 least_repeats = 16;        // fewer are one small transfer

const AssignedDevice* owner_of(const Passthrough& all, StreamId stream) {
    for (unsigned i = 0; i < all.device_count; ++i) {
        if (all.devices[i].stream == stream) {
            return &all.devices[i];
        }
    }
    return nullptr;
}

/// The next word of the same transfer, or the same one again.
bool continues(const FaultRun& run, const smmu::FaultRecord& next) {
    const smmu::FaultRecord& last = run.record;
    return run.any && last.stream == next.stream && last.kind == next.kind && last.read == next.read &&
           last.has_address == next.has_address && last.ipa.page_number() == next.ipa.page_number();
}

void end_run(Passthrough& all) {
    FaultRun& run = all.last_fault;
    if (run.any && run.told && run.repeats >= least_repeats) {
        log::warn("StreamID {}: the same {} more times in that page", run.record.stream, run.repeats);
    }
    run = {};
}

std::string_view place_of(const Vm& vm, Ipa ipa) {
    const RamBanks banks = ram_banks(vm.config->ram_bytes);
    return banks.low.contains(ipa) || banks.high.contains(ipa) ? "in its RAM"
           : window_of(*vm.config).contains(ipa)               ? "in its share window"
           : ipa.align_down(page_size) == guest_map::msi_page  ? "in its message page"
                                                               : "where it has no memory";
}

/// False: this VM has had its share of the log.
bool tell(const AssignedDevice* device, const smmu::FaultRecord& record) {
    const char* const what = record.instruction ? "fetch" : record.read ? "read" : "write";
    if (device == nullptr) {
        log::warn("a device that no VM has (StreamID {}): {} at {:x} stopped: {} ({})", record.stream, what,
                  record.ipa, smmu::reason(record.kind), smmu::to_string(record.kind));
    } else if (!may_report(*device->vm)) {
        return false;
    } else if (record.has_address) {
        log::warn("{}: device {} (StreamID {}): {} of ipa {:x}, {}, stopped: {} ({})", device->vm->name(),
                  PciText(device->address).text(), record.stream, what, record.ipa,
                  place_of(*device->vm, record.ipa), smmu::reason(record.kind), smmu::to_string(record.kind));
    } else {
        log::warn("{}: device {} (StreamID {}): stopped: {} ({})", device->vm->name(),
                  PciText(device->address).text(), record.stream, smmu::reason(record.kind),
                  smmu::to_string(record.kind));
    }
    return true;
}

void take_fault(void* context, const smmu::FaultRecord& record) {
    Passthrough& all = *static_cast<Passthrough*>(context);
    AssignedDevice* const device = const_cast<AssignedDevice*>(owner_of(all, record.stream));
    if (device != nullptr) {
        ++device->faults;
    }
    if (continues(all.last_fault, record)) {
        ++all.last_fault.repeats;
        return;
    }
    end_run(all);
    all.last_fault = {record, true, tell(device, record), 0};
}

} // namespace

void on_smmu_event(World& world) {
    Passthrough& all = *world.passthrough;
    all.faults_left.store(false, std::memory_order_relaxed);
    const smmu::Drained drained = all.smmu.drain({&all, &take_fault}, events_at_once);
    if (drained.overflow) {
        log::warn("SMMU: its event queue was full: some faults are not told (their accesses were stopped all "
                  "the same)");
    }
    if (drained.more) {
        all.faults_left.store(true, std::memory_order_relaxed);
        bring_forward(world.devices_deadline,
                      hw::counter() + world.counter_hz / 1000); // guests run meanwhile
    } else {
        end_run(all);
    }
}

void on_smmu_error(World& world) {
    const u32 active = world.passthrough->smmu.on_gerror();
    for (u32 bit = 0; bit < 32; ++bit) {
        if ((active & (1u << bit)) != 0 && smmu::gerror_sentence(bit)[0] != '\0') {
            log::error("SMMU: {}", smmu::gerror_sentence(bit));
        }
    }
    if (!world.passthrough->smmu.running()) {
        log::error("SMMU: {}", smmu::to_string(world.passthrough->smmu.refusal()));
    }
}

} // namespace atl::el2
