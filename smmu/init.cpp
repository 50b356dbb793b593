// SPDX-License-Identifier: Apache-2.0
// From whatever firmware left to an SMMU that aborts every stream: see smmu.hpp. On the boot CPU, before any
// other uses it. Every wait has an end. Spec: [IHI0070 §3.11 initialization, §6.3.9 CR0, §6.3.14.1 GBPA
// update].
#include "smmu/smmu.hpp"

namespace atl::smmu {
namespace {

constexpr u8 command_log2 = 8; // 4 KiB: a batch is at most most_by_ipa + 1
constexpr u8 event_log2 = 12;  // 128 KiB: a faulting DMA of 4 KiB makes up to 1024 events

constexpr u8 smaller(u8 a, u8 b) {
    return a < b ? a : b;
}
template <class Done>
bool wait_until(Done done) {
    for (unsigned i = 0; i < Port::tries; ++i) {
        if (done()) {
            return true;
        }
        Port::relax();
    }
    return false;
}

} // namespace

Status Smmu::refuse(Refusal refusal, Error error) {
    refusal_.store(refusal, std::memory_order_relaxed);
    return error;
}

/// No field may change again before CR0ACK has followed [§6.3.9].
bool Smmu::change_cr0(u32 value) {
    cr0_ = value;
    port_.publish(); // what the change lets the SMMU read is there
    port_.write(Reg32::CR0, value);
    const bool done = wait_until([&] { return ((port_.read(Reg32::CR0ACK) ^ value) & Cr0::all) == 0; });
    port_.observe();
    return done;
}

/// First of all, DMA that firmware left running ends: GBPA says abort while SMMUEN is 0, then SMMUEN becomes
/// 0.
Status Smmu::stop_everything_first() {
    const auto updated = [&] { return !Gbpa::Update::test(port_.read(Reg32::GBPA)); };
    if (!wait_until(updated)) {
        return refuse(Refusal::global_abort_stuck, Error::not_supported);
    }
    const u64 gbpa = port_.read(Reg32::GBPA) | Gbpa::ABORT::mask | Gbpa::Update::mask;
    port_.write(Reg32::GBPA, static_cast<u32>(gbpa)); // one write with Update set [§6.3.14.1]
    if (!wait_until(updated) || !Gbpa::ABORT::test(port_.read(Reg32::GBPA))) {
        return refuse(Refusal::global_abort_stuck, Error::not_supported);
    }
    // A change that firmware has begun ends first.
    const u32 left = port_.read(Reg32::CR0);
    if (!wait_until([&] { return ((port_.read(Reg32::CR0ACK) ^ left) & Cr0::all) == 0; }) || !change_cr0(0)) {
        return refuse(Refusal::disable_stuck, Error::not_supported);
    }
    // No interrupt source, and no MSI: *_IRQ_CFG may only be written while it is off [§6.3.16].
    port_.write(Reg32::IRQ_CTRL, 0);
    if (!wait_until([&] { return (port_.read(Reg32::IRQ_CTRLACK) & 7) == 0; })) {
        return refuse(Refusal::interrupts_stuck, Error::not_supported);
    }
    return {};
}

Status Smmu::set_up_queues() {
    const u8 commands = smaller(command_log2, features_.command_log2);
    const u8 events = smaller(event_log2, features_.event_log2);
    const Result<Pa> command_pages =
        config_.pages.allocate(config_.pages.context, order_for(command_bytes << commands));
    const Result<Pa> event_pages =
        config_.pages.allocate(config_.pages.context, order_for(event_bytes << events));
    if (!command_pages || !event_pages) {
        return refuse(Refusal::no_memory, Error::no_memory);
    }
    // How the SMMU reaches tables and queues [§6.3.11]: as the CPUs do, or past the caches.
    u64 cr1 = 0;
    if (features_.coherent) {
        cr1 = Cr1::TABLE_SH::of(inner_shareable) | Cr1::TABLE_OC::of(cr1_write_back) |
              Cr1::TABLE_IC::of(cr1_write_back) | Cr1::QUEUE_SH::of(inner_shareable) |
              Cr1::QUEUE_OC::of(cr1_write_back) | Cr1::QUEUE_IC::of(cr1_write_back);
    }
    port_.write(Reg32::CR1, static_cast<u32>(cr1));
    // RECINVSID: a StreamID that the table does not reach is reported. PTM: CPU TLBIs of guests cost nothing
    // here, invalidate() says what matters. E2H = 0: no stream has EL2's regime [§6.3.12].
    port_.write(Reg32::CR2,
                static_cast<u32>(Cr2::RECINVSID::mask | (features_.broadcast_tlb ? Cr2::PTM::mask : 0)));
    commands_.set_up(port_, *command_pages, commands);
    events_.set_up(port_, *event_pages, events);
    if (features_.msi) {
        port_.write(Reg64::GERROR_IRQ_CFG0, 0); // address 0: no MSI, the wire [§3.18]
        port_.write(Reg64::EVENTQ_IRQ_CFG0, 0);
    }
    // Errors of the past are acknowledged, or the command queue would not start [§7.5].
    port_.write(Reg32::GERRORN, port_.read(Reg32::GERROR));
    if (!change_cr0(Cr0::CMDQEN::mask)) {
        return refuse(Refusal::queues_stuck, Error::not_supported);
    }
    return {};
}

/// Nothing that firmware used is cached when translation begins. Configuration before translations, so that
/// no translation is made of an old one [§4.3.6].
Status Smmu::empty_caches() {
    const Command configuration[] = {cmd_cfgi_all()};
    const Command translations[] = {cmd_tlbi_nsnh_all(), cmd_tlbi_el2_all()};
    const std::span<const Command> all(translations, features_.hyp ? 2 : 1);
    if (commands_.run(configuration) != CommandQueue::Outcome::complete ||
        commands_.run(all) != CommandQueue::Outcome::complete) {
        return refuse(Refusal::first_commands_failed, Error::not_supported);
    }
    return {};
}

Status Smmu::enable() {
    // The event queue and its interrupt before the first transaction that could need them.
    u32 cr0 = static_cast<u32>(Cr0::CMDQEN::mask | Cr0::EVENTQEN::mask);
    if (!change_cr0(cr0)) {
        return refuse(Refusal::queues_stuck, Error::not_supported);
    }
    const u32 interrupts = static_cast<u32>(IrqCtrl::EVENTQ_IRQEN::mask | IrqCtrl::GERROR_IRQEN::mask);
    port_.write(Reg32::IRQ_CTRL, interrupts);
    if (!wait_until([&] { return (port_.read(Reg32::IRQ_CTRLACK) & 7) == interrupts; })) {
        return refuse(Refusal::interrupts_stuck, Error::not_supported);
    }
    if (features_.ats) {
        // Or a device's "translated" addresses would pass unchecked [§3.9.1, §6.3.9 ATSCHK].
        cr0 |= static_cast<u32>(Cr0::ATSCHK::mask);
        if (!change_cr0(cr0)) {
            return refuse(Refusal::enable_stuck, Error::not_supported);
        }
    }
    if (!change_cr0(cr0 | static_cast<u32>(Cr0::SMMUEN::mask))) {
        return refuse(Refusal::enable_stuck, Error::not_supported);
    }
    return {};
}

Status Smmu::init(const Config& config) {
    config_ = config;
    if (config.registers.size < register_bytes || !config.registers.base.is_aligned(0x10000)) {
        return refuse(Refusal::window_too_small, Error::invalid_argument);
    }
    port_ = Port(config.registers.base);
    ATOLL_TRY(stop_everything_first());
    const IdRegisters id{port_.read(Reg32::IDR0), port_.read(Reg32::IDR1), port_.read(Reg32::IDR3),
                         port_.read(Reg32::IDR5)};
    if (const Refusal refusal = judge(id, config.memory_end); refusal != Refusal::none) {
        return refuse(refusal, Error::not_supported);
    }
    features_ = decode_features(id);
    port_.set_coherent(features_.coherent);
    if (!table_.set_up(port_, features_, config.pages)) {
        return refuse(Refusal::no_memory, Error::no_memory);
    }
    ATOLL_TRY(set_up_queues());
    ATOLL_TRY(empty_caches());
    ATOLL_TRY(enable());
    state_.store(State::running, std::memory_order_release);
    return {};
}

} // namespace atl::smmu
