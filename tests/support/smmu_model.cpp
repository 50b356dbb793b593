// SPDX-License-Identifier: Apache-2.0
// The model's registers, memory and command queue: see smmu_model.hpp. Devices: smmu_model_dma.cpp.
#include "tests/support/smmu_model.hpp"

#include <algorithm>
#include <cstdlib>

namespace atl::test {

using namespace smmu;

namespace {

SmmuModel* the_model = nullptr;

u32 queue_mask(u64 base) {
    return (u32{2} << QueueBase::LOG2SIZE::get(base)) - 1;
}
u64 queue_entry(u64 base, u32 index, u64 bytes) {
    return (base & 0x000f'ffff'ffff'ffe0) + (index & (queue_mask(base) >> 1)) * bytes;
}
bool queue_full(u64 base, u32 prod, u32 cons) {
    return ((prod - cons) & queue_mask(base)) == u32{1} << QueueBase::LOG2SIZE::get(base);
}

} // namespace

SmmuModel::SmmuModel() {
    the_model = this;
}
SmmuModel::~SmmuModel() {
    the_model = nullptr;
}
SmmuModel& SmmuModel::current() {
    if (the_model == nullptr) {
        std::abort();
    }
    return *the_model;
}

Result<Pa> SmmuModel::allocate(unsigned order) {
    const u64 bytes = u64{page_size} << order;
    if (memory_left < (u64{1} << order)) {
        return Error::no_memory;
    }
    memory_left -= u64{1} << order;
    next_page_ = (next_page_ + bytes - 1) & ~(bytes - 1);
    const Pa at{next_page_};
    next_page_ += bytes;
    return at;
}

u32 SmmuModel::read(Reg32 reg) {
    switch (reg) {
    case Reg32::IDR0:
        return id.idr0;
    case Reg32::IDR1:
        return id.idr1;
    case Reg32::IDR3:
        return id.idr3;
    case Reg32::IDR5:
        return id.idr5;
    case Reg32::CR0:
        return cr0_;
    case Reg32::CR0ACK:
        if (cr0_wait_ > 0) {
            --cr0_wait_;
        } else {
            const bool enabling = Cr0::CMDQEN::test(cr0_ & ~cr0ack_ & ~cr0_deaf);
            cr0ack_ = (cr0ack_ & cr0_deaf) | (cr0_ & ~cr0_deaf);
            if (enabling) {
                frozen = frozen && !frozen_until_restart;
                consume();
            }
        }
        return cr0ack_;
    case Reg32::GBPA:
        if (gbpa_wait_ > 0) {
            --gbpa_wait_;
        } else if (!gbpa_deaf) {
            gbpa_ &= ~static_cast<u32>(Gbpa::Update::mask);
        }
        return gbpa_;
    case Reg32::IRQ_CTRL:
        return irq_ctrl_;
    case Reg32::IRQ_CTRLACK:
        return irq_deaf ? irq_ctrl_ ^ 1 : irq_ctrl_;
    case Reg32::GERROR:
        return gerror_;
    case Reg32::GERRORN:
        return gerrorn_;
    case Reg32::CMDQ_PROD:
        return command_prod_;
    case Reg32::CMDQ_CONS: {
        const u32 now = command_cons_;
        if (slow != 0) {
            consume(slow);
        }
        return now;
    }
    case Reg32::EVENTQ_PROD:
        unobserved_ = true;
        return event_prod_;
    case Reg32::EVENTQ_CONS:
        return event_cons_;
    default:
        return value(reg);
    }
}

void SmmuModel::write_indexes(Reg32 reg, u32 value) {
    const bool commands_run = Cr0::CMDQEN::test(cr0_ | cr0ack_);
    const bool events_run = Cr0::EVENTQEN::test(cr0_ | cr0ack_);
    const u64 command_base = wide_[static_cast<u32>(Reg64::CMDQ_BASE)];
    const u64 event_base = wide_[static_cast<u32>(Reg64::EVENTQ_BASE)];
    switch (reg) {
    case Reg32::CMDQ_PROD:
        if (commands_run) {
            const u32 mask = queue_mask(command_base);
            if (((value - command_cons_) & mask) > mask / 2 + 1) {
                complain("CMDQ_PROD passes CONS");
            }
        }
        command_prod_ = value;
        if (slow == 0) {
            consume();
        }
        break;
    case Reg32::CMDQ_CONS:
        if (commands_run) {
            complain("CMDQ_CONS written while the queue runs");
        }
        command_cons_ = value;
        break;
    case Reg32::EVENTQ_PROD:
        if (events_run) {
            complain("EVENTQ_PROD written while the queue runs");
        }
        event_prod_ = value;
        break;
    default:
        if (events_run && ((event_prod_ - value) & queue_mask(event_base)) > queue_mask(event_base) / 2 + 1) {
            complain("EVENTQ_CONS passes PROD");
        }
        event_cons_ = value;
        break;
    }
}

void SmmuModel::write(Reg32 reg, u32 value) {
    register_writes.push_back({static_cast<u32>(reg), value});
    if (unpublished_ != 0 && (reg == Reg32::CR0 || reg == Reg32::CMDQ_PROD)) {
        complain("stores without a barrier before a register write that shows them");
    }
    const bool enabled = Cr0::SMMUEN::test(cr0_ | cr0ack_);
    switch (reg) {
    case Reg32::CR0:
        if (((cr0_ ^ cr0ack_) & ~cr0_deaf) != 0) {
            complain("CR0 changed before CR0ACK has followed");
        }
        if (Cr0::SMMUEN::test(value) && !Gbpa::ABORT::test(gbpa_)) {
            complain("enabled with a bypass behind it");
        }
        cr0_ = value;
        cr0_wait_ = delay;
        break;
    case Reg32::GBPA:
        if (!Gbpa::Update::test(value) || Gbpa::Update::test(gbpa_)) {
            complain("GBPA without Update, or during an update");
        }
        gbpa_ = value;
        gbpa_wait_ = delay;
        break;
    case Reg32::CR1:
    case Reg32::CR2:
    case Reg32::STRTAB_BASE_CFG:
        if (enabled) {
            complain("a register that is fixed while SMMUEN");
        }
        plain_[static_cast<u32>(reg)] = value;
        break;
    case Reg32::IRQ_CTRL:
        irq_ctrl_ = value;
        break;
    case Reg32::GERRORN:
        if (((gerrorn_ ^ value) & ~(gerror_ ^ gerrorn_)) != 0) {
            complain("GERRORN toggles an error that is not active");
        }
        gerrorn_ = value;
        if (slow == 0) {
            consume();
        }
        break;
    case Reg32::CMDQ_PROD:
    case Reg32::CMDQ_CONS:
    case Reg32::EVENTQ_PROD:
    case Reg32::EVENTQ_CONS:
        write_indexes(reg, value);
        break;
    default:
        plain_[static_cast<u32>(reg)] = value;
        break;
    }
}

void SmmuModel::write(Reg64 reg, u64 value) {
    register_writes.push_back({static_cast<u32>(reg), value});
    const u32 running = cr0_ | cr0ack_;
    if ((reg == Reg64::STRTAB_BASE && Cr0::SMMUEN::test(running)) ||
        (reg == Reg64::CMDQ_BASE && Cr0::CMDQEN::test(running)) ||
        (reg == Reg64::EVENTQ_BASE && Cr0::EVENTQEN::test(running))) {
        complain("a base register that is fixed while it is used");
    }
    if ((reg == Reg64::GERROR_IRQ_CFG0 || reg == Reg64::EVENTQ_IRQ_CFG0) && irq_ctrl_ != 0) {
        complain("an interrupt configured while it is enabled");
    }
    wide_[static_cast<u32>(reg)] = value;
}

// Memory: words, in a CPU cache of 64-byte lines when the SMMU does not snoop.

void SmmuModel::store(u64 pa, u64 value) {
    if (unpublished_ != 0 && storing_ != std::this_thread::get_id()) {
        complain("two CPUs write at once");
    }
    storing_ = std::this_thread::get_id();
    if (pa < first_page || pa >= next_page_) {
        complain("a store outside of what was allocated");
    }
    if (++unpublished_ == 1) {
        std::this_thread::yield(); // another CPU gets its chance
    }
    if (coherent()) {
        memory_[pa] = value;
        watch_store(pa, value);
        return;
    }
    cpu_cache_[pa] = value;
    dirty_.insert(pa);
}

u64 SmmuModel::load(u64 pa) {
    const u64 events = wide_[static_cast<u32>(Reg64::EVENTQ_BASE)];
    if (unobserved_ && events != 0 &&
        pa - queue_entry(events, 0, 1) < u64{queue_mask(events) / 2 + 1} * event_bytes) {
        complain("an event read without a barrier after PROD");
    }
    if (coherent()) {
        return memory_[pa];
    }
    const u64 line = pa & ~u64{63};
    for (u64 at = line; at < line + 64; at += 8) {
        cpu_cache_.try_emplace(at, memory_[at]);
    }
    return cpu_cache_[pa];
}

void SmmuModel::clean(u64 pa) {
    const u64 line = pa & ~u64{63};
    for (u64 at = line; at < line + 64; at += 8) {
        if (dirty_.erase(at) != 0) {
            memory_[at] = cpu_cache_[at];
            watch_store(at, memory_[at]);
        }
    }
}

void SmmuModel::invalidate_line(u64 pa) {
    clean(pa);
    const u64 line = pa & ~u64{63};
    for (u64 at = line; at < line + 64; at += 8) {
        cpu_cache_.erase(at);
    }
}

// Commands.

void SmmuModel::command_error(u64 code) {
    command_cons_ = static_cast<u32>(CmdqCons::ERR::set(command_cons_, code));
    raise(static_cast<u32>(Gerror::CMDQ_ERR::mask));
}

void SmmuModel::consume(unsigned most) {
    const u64 base = wide_[static_cast<u32>(Reg64::CMDQ_BASE)];
    const u32 mask = queue_mask(base);
    const auto ready = [&] {
        return Cr0::CMDQEN::test(cr0_ & cr0ack_) && !frozen &&
               ((command_prod_ ^ command_cons_) & mask) != 0 && !Gerror::CMDQ_ERR::test(gerror_ ^ gerrorn_);
    };
    for (; most != 0 && ready(); --most) {
        const u64 at = queue_entry(base, command_cons_, command_bytes);
        const Command command{{memory_[at], memory_[at + 8]}};
        const Op op = op_of(command.word[0]);
        const auto bad = std::find_if(refuse.begin(), refuse.end(),
                                      [op](const Refused& r) { return r.op == op && r.times != 0; });
        if (bad != refuse.end()) {
            --bad->times;
            command_error(bad->code);
            return;
        }
        if (!execute(command)) {
            complain("an illegal command");
            command_error(cerror_ill);
            return;
        }
        command_cons_ = (command_cons_ & ~mask) | ((command_cons_ + 1) & mask);
    }
}

bool SmmuModel::execute(const Command& command) {
    executed.push_back(command);
    const Op op = op_of(command.word[0]);
    switch (op) {
    case Op::SYNC:
        if (Cmd0::CS::get(command.word[0]) == 3) {
            return false;
        }
        sync();
        return true;
    case Op::CFGI_STE:
    case Op::CFGI_STE_RANGE: {
        const bool all = op == Op::CFGI_STE_RANGE;
        for (auto& [stream, watch] : watches_) {
            if (drop.count(op) == 0 && (all || stream == Cmd0::StreamID::get(command.word[0]))) {
                watch.invalidating = true;
                const std::optional<u64> at = entry_address(stream);
                for (unsigned i = 0; i < ste_words; ++i) {
                    watch.after[i] = {at ? memory_[*at + i * 8] : invalid_ste[i]};
                }
            }
        }
        break;
    }
    case Op::TLBI_S2_IPA: {
        const bool range = Cmd1::TG::get(command.word[1]) != 0;
        const bool one = Cmd0::NUM::get(command.word[0]) == 0 && Cmd0::SCALE::get(command.word[0]) == 0;
        if (range ? one || !Idr3::RIL::test(id.idr3) : !one) {
            return false;
        }
        break;
    }
    case Op::TLBI_EL2_ALL:
        if (!Idr0::Hyp::test(id.idr0)) {
            return false;
        }
        break;
    case Op::RESUME:
        return Idr0::STALL_MODEL::get(id.idr0) != stall_none;
    case Op::TLBI_S12_VMALL:
    case Op::TLBI_NSNH_ALL:
        break;
    default:
        return false;
    }
    if (drop.count(op) == 0) {
        pending_.push_back(command);
    }
    return true;
}

void SmmuModel::event(const std::array<u64, 4>& record) {
    const u64 base = wide_[static_cast<u32>(Reg64::EVENTQ_BASE)];
    if (!Cr0::EVENTQEN::test(cr0_ & cr0ack_) || Gerror::EVENTQ_ABT_ERR::test(active_errors())) {
        return;
    }
    if (queue_full(base, event_prod_, event_cons_)) {
        if (overflow_as_abort) {
            raise(static_cast<u32>(Gerror::EVENTQ_ABT_ERR::mask));
        } else if (((event_prod_ ^ event_cons_) & EventqIndex::OVFLG::mask) == 0) {
            event_prod_ ^= static_cast<u32>(EventqIndex::OVFLG::mask);
        }
        return;
    }
    const u32 mask = queue_mask(base);
    const u64 at = queue_entry(base, event_prod_, event_bytes);
    for (unsigned i = 0; i < 4; ++i) {
        memory_[at + i * 8] = record[i];
    }
    event_interrupts += ((event_prod_ ^ event_cons_) & mask) == 0 && IrqCtrl::EVENTQ_IRQEN::test(irq_ctrl_);
    event_prod_ = (event_prod_ & ~mask) | ((event_prod_ + 1) & mask);
}

} // namespace atl::test
