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

AssignedDevice* owner_of(Passthrough& all, StreamId stream) {
    for (unsigned i = 0; i < all.device_count; ++i) {
        if (all.devices[i].stream == stream) {
            return &all.devices[i];
        }
    }
    return nullptr;
}

const pci::Function* function_of(const Passthrough& all, StreamId stream) {
    for (const pci::Function& function : all.topology.functions) {
        if (all.routes.stream == nullptr) {
            break; // before the bus was looked at
        }
        const auto own = all.routes.stream(all.routes.context, function.bdf.value);
        if (own.ok() && *own == stream) {
            return &function;
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
        log::warn("StreamID {}: the same {} more times{}", run.record.stream, run.repeats,
                  run.record.has_address ? " in that page" : "");
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

/// DMA of a device that no VM has at the time. The record of an invalid entry has no address [IHI0070 §7.3.5].
bool tell_stray(const World& world, AssignedDevice* device, const smmu::FaultRecord& record) {
    Passthrough& all = *world.passthrough;
    if (device != nullptr && device->stray_told.exchange(true)) {
        return false;
    }
    if (!all.strays.take(world, "DMA of devices that no VM has")) {
        return false;
    }
    const char* const name = smmu::to_string(record.kind);
    if (device != nullptr) {
        log::warn("{}: device {} (StreamID {}): DMA stopped: {} ({})", device->vm->name(),
                  PciText(device->address).text(), record.stream,
                  device->vm->bridge->came_back(device->devfn()) ? "its VM does not run"
                                                                 : "it did not come back from its reset",
                  name);
    } else if (const pci::Function* const function = function_of(all, record.stream); function != nullptr) {
        log::warn("PCI device {} (StreamID {}): DMA stopped: no VM has it ({})",
                  pci::BdfText(function->bdf).view(), record.stream, name);
    } else {
        log::warn("unknown device (StreamID {}): DMA stopped: no VM has it ({})", record.stream, name);
    }
    return true;
}

/// False: this VM has had its share of the log.
bool tell(const World& world, AssignedDevice* device, const smmu::FaultRecord& record) {
    if (device == nullptr || record.kind == smmu::FaultKind::c_bad_ste) {
        return tell_stray(world, device, record);
    }
    const char* const what = record.instruction ? "fetch" : record.read ? "read" : "write";
    if (!may_report(*device->vm)) {
        return false;
    }
    if (record.has_address) {
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
    World& world = *static_cast<World*>(context);
    Passthrough& all = *world.passthrough;
    AssignedDevice* const device = owner_of(all, record.stream);
    if (record.kind == smmu::FaultKind::c_bad_ste) {
        all.smmu.silence(record.stream);
    }
    if (device != nullptr) {
        ++device->faults;
    }
    if (continues(all.last_fault, record)) {
        ++all.last_fault.repeats;
        return;
    }
    end_run(all);
    all.last_fault = {record, true, tell(world, device, record), 0};
}

/// A device can fill the queue as often as it likes: one line in a while, with the count.
void tell_overflow(World& world) {
    Passthrough& all = *world.passthrough;
    const u64 now = hw::counter();
    if (all.overflow_told_at == 0 || now - all.overflow_told_at > report_seconds * world.counter_hz) {
        all.overflow_told_at = now;
        log::warn("SMMU: its event queue was full (overflow {}): some faults are not told; their accesses "
                  "were stopped "
                  "all the same",
                  all.smmu.counters().overflows);
    }
}

} // namespace

void on_smmu_event(World& world) {
    Passthrough& all = *world.passthrough;
    all.faults_left.store(false, std::memory_order_relaxed);
    const smmu::Drained drained = all.smmu.drain({&world, &take_fault}, events_at_once);
    if (drained.overflow) {
        tell_overflow(world);
    }
    if (drained.more) {
        all.faults_left.store(true, std::memory_order_relaxed);
        bring_forward(world.devices_deadline,
                      hw::counter() + world.counter_hz / 1000); // guests run meanwhile
        hw::send_kick(PcpuIndex{0});                            // this one: it arms its timer anew
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
