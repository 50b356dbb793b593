// SPDX-License-Identifier: Apache-2.0
// VirtualGic::dump: one line per vCPU and per interrupt that is not idle, for the monitor.
// Locks: dist_lock, then one vCPU lock at a time. Reads the shadow, not the list registers: a running vCPU's
// lines say what was so when it last was looked at.
#include <bit>

#include "vgic/direct_lpis.hpp"

namespace atl::vgic {
namespace {

void put_interrupts(const TextSink& sink, const Bank& bank, u32 first, u32 lr_pending, u32 lr_active) {
    for (u32 bits = bank.inputs() | bank.active | bank.listed; bits != 0; bits &= bits - 1) {
        const unsigned i = static_cast<unsigned>(std::countr_zero(bits));
        const auto has = [i](u32 word) { return ((word >> i) & 1) != 0; };
        format_to(sink, "  {} prio {:x} {} {}{}{}{}{}{}\n", first + i, bank.priority[i],
                  has(bank.edge) ? "edge" : "level", has(bank.enabled) ? "enabled" : "disabled",
                  has(bank.inputs()) ? " pending" : "", has(bank.active) ? " active" : "",
                  has(bank.listed) ? " listed:" : "", has(lr_pending) ? " pending" : "",
                  has(lr_active) ? " active" : "");
    }
}

} // namespace

void VirtualGic::dump(const TextSink& sink) {
    LockGuard dist(dist_lock_);
    format_to(sink, "GICv{}{}, groups enabled {:x}, {} SPIs\n", config_.gicv2 ? 2 : 3,
              config_.software ? " with its CPU interface in software" : "", groups(), config_.spis);
    for (unsigned v = 0; v < config_.vcpus; ++v) {
        VcpuGic& g = vcpus_[v];
        LockGuard guard(g.lock);
        format_to(sink, "vCPU {}{}{}{}{} work {:x} list registers {:x} refills {} maintenance {}\n", v,
                  g.loaded.load(std::memory_order_relaxed) ? " loaded" : "",
                  g.timer.held ? " timer-held" : "", (g.long_way & pending_left_over) != 0 ? " overflow" : "",
                  (g.long_way & active_left_over) != 0 ? " active-overflow" : "",
                  g.work.load(std::memory_order_relaxed), g.used, g.stat_refills, g.stat_maintenance);
        const LrState listed = listed_state(g, 0);
        put_interrupts(sink, g.priv, 0, listed.pending, listed.active);
        for (u32 sgi = 0; config_.gicv2 && sgi < gic::first_ppi; ++sgi) {
            if (const u32 senders = senders_of(g, sgi); senders != 0) {
                format_to(sink, "  {} waits for its turn from vCPUs {:x}\n", sgi, senders);
            }
        }
    }
    for (unsigned b = 0; b < bank_count(); ++b) {
        if (banks_[b].busy() != 0) {
            const LrState listed = listed_spi_state(b);
            put_interrupts(sink, banks_[b], gic::first_spi + 32 * b, listed.pending, listed.active);
        }
    }
    if (lpis_ != nullptr) {
        lpis_->dump(sink);
    }
}

/// At most so many of each vCPU's: there may be thousands.
void Lpis::dump(const TextSink& sink) const {
    constexpr unsigned shown = 16;
    for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
        const VcpuLpis& at = vcpus_[v];
        unsigned count = 0;
        for (u32 word : at.pending) {
            for (; word != 0; word &= word - 1) {
                ++count;
            }
        }
        format_to(sink, "vCPU {} LPIs {}: {} pending, {} listed\n", v, at.enabled ? "enabled" : "off", count,
                  at.listed);
        unsigned left = shown;
        for (u32 n = 0; n < vlpi_count && left != 0; ++n) {
            if ((at.pending[n / 32] & bit(n)) != 0) {
                --left;
                const u8 collection = collection_[n].load(std::memory_order_relaxed);
                format_to(sink, "  {} prio {:x} {} collection {} pending\n", gic::first_lpi + n, priority(n),
                          (configured_[n / 32] & bit(n)) != 0 ? "enabled" : "disabled", collection);
            }
        }
    }
    if (direct_ != nullptr) {
        direct_->dump(sink);
    }
}

} // namespace atl::vgic
