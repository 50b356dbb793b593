// SPDX-License-Identifier: Apache-2.0
// VirtualGic::explain: all that is known about one interrupt, for the monitor: configuration, state, where it sits, and why it
// waits. Locks and limits as in dump.cpp: what list registers of a running vCPU hold is as last looked at.
#include <bit>

#include "vgic/direct_lpis.hpp"

namespace atl::vgic {
namespace {

constexpr unsigned no_list_register = gic::max_list_registers;

/// The list register of a vCPU that has it. Caller: its lock.
unsigned list_register_of(const VcpuGic& g, u32 intid) {
    for (u32 used = g.used; used != 0; used &= used - 1) {
        const auto slot = static_cast<unsigned>(std::countr_zero(used));
        if (gic::IchLr::VINTID::get(g.lr[slot].load(std::memory_order_relaxed)) == intid) {
            return slot;
        }
    }
    return no_list_register;
}

void put_place(const TextSink& sink, const VcpuGic& g, unsigned vcpu, u32 intid) {
    const unsigned slot = list_register_of(g, intid);
    if (slot == no_list_register) {
        return;
    }
    const u64 lr = g.lr[slot].load(std::memory_order_relaxed);
    format_to(sink, "  in list register {} of vCPU {}: {:x}{}{}{}\n", slot, vcpu, lr,
              gic::IchLr::Pending::test(lr) ? " pending" : "", gic::IchLr::Active::test(lr) ? " active" : "",
              g.loaded.load(std::memory_order_relaxed) ? "" : " (not loaded)");
}

void put_state(const TextSink& sink, const Bank& bank, unsigned i, u32 groups) {
    const auto has = [i](u32 word) { return ((word >> i) & 1) != 0; };
    format_to(sink, "group {} {}, priority {:x}, {}, line {}{}{}{}{}\n", has(bank.group1) ? 1 : 0,
              has(bank.edge) ? "edge" : "level", bank.priority[i], has(bank.enabled) ? "enabled" : "disabled",
              has(bank.line.load(std::memory_order_relaxed)) ? "high" : "low",
              has(bank.latch.load(std::memory_order_relaxed)) ? ", pending latched" : "",
              has(bank.active) ? ", active outside of list registers" : "",
              has(bank.listed) ? ", listed" : "",
              has(bank.inputs()) && !has(bank.enabled)             ? "; waits: it is disabled"
              : has(bank.inputs()) && !has(bank.forwarded(groups)) ? "; waits: its group is off"
              : has(bank.inputs()) && has(bank.active)             ? "; waits for its deactivation"
                                                                   : "");
}

} // namespace

Status VirtualGic::explain(u32 intid, const TextSink& sink) {
    LockGuard dist(dist_lock_);
    if (intid < gic::first_spi) {
        for (unsigned v = 0; v < config_.vcpus; ++v) {
            VcpuGic& g = vcpus_[v];
            LockGuard guard(g.lock);
            format_to(sink, "vCPU {}: {} {}: ", v, intid < gic::first_ppi ? "SGI" : "PPI", intid);
            put_state(sink, g.priv, intid, groups());
            if (g.timer.vintid == intid && g.timer.vintid != 0) {
                format_to(sink, "  the host's PPI {}, {}\n", g.timer.pintid,
                          g.timer.held ? "held for the guest" : "free to fire");
            }
            put_place(sink, g, v, intid);
        }
        history_.print(intid, sink);
        return {};
    }
    if (intid < intid_count()) {
        SpiBank& bank = banks_[intid / 32 - 1];
        const unsigned i = intid % 32;
        const u8 target = bank.target[i].load(std::memory_order_relaxed);
        const u8 owner = bank.owner[i].load(std::memory_order_relaxed);
        format_to(sink, "SPI {}: ", intid);
        put_state(sink, bank, i, groups());
        format_to(sink, "  route {:x}: ", bank.route[i]);
        if (target == no_vcpu) {
            format_to(sink, "to no vCPU");
        } else {
            format_to(sink, "to vCPU {}", target);
        }
        format_to(sink, "{}\n", (bank.host_backed >> i & 1) != 0 ? ", a line of a PCI device" : "");
        if (owner != no_vcpu) {
            LockGuard guard(vcpus_[owner].lock);
            put_place(sink, vcpus_[owner], owner, intid);
        }
        history_.print(intid, sink);
        return {};
    }
    if (lpis_ == nullptr || intid < gic::first_lpi || intid - gic::first_lpi >= vlpi_count) {
        return Error::invalid_argument;
    }
    lpis_->explain(intid, sink);
    for (unsigned v = 0; v < config_.vcpus; ++v) {
        LockGuard guard(vcpus_[v].lock);
        put_place(sink, vcpus_[v], v, intid);
    }
    history_.print(intid, sink);
    return {};
}

void Lpis::explain(u32 lpi, const TextSink& sink) const {
    const u32 n = number(lpi);
    const u8 collection = collection_[n].load(std::memory_order_relaxed);
    const u8 to = route(n);
    format_to(sink, "LPI {}: priority {:x}, {}{}, ", lpi, priority(n),
              (configured_[n / 32] & bit(n)) != 0 ? "enabled" : "disabled",
              exists(lpi) ? "" : " (beyond GICR_PROPBASER's IDbits)");
    if (to == no_vcpu) {
        format_to(sink, "mapped to no vCPU");
    } else {
        format_to(sink, "collection {}, to vCPU {}{}", collection, to,
                  vcpus_[to].enabled ? "" : ", whose LPIs are off");
    }
    format_to(sink, "{}\n",
              (arrived_[n / 32].load(std::memory_order_relaxed) & bit(n)) != 0 ? ", has just arrived" : "");
    for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
        if ((vcpus_[v].pending[n / 32] & bit(n)) != 0) {
            format_to(sink, "  pending at vCPU {}\n", v);
        }
    }
    if (direct_ != nullptr) {
        direct_->explain(n, sink);
    }
}

} // namespace atl::vgic
