// SPDX-License-Identifier: Apache-2.0
// Refill<File>: how list registers cache the interrupt state. A template over the list-register file, so that
// the same code runs over the real registers (switch_hw.cpp) and over a fake one (host tests). A File has:
// count(), read(i), write(i, value), empty() [ICH_ELRSR_EL2], hcr(), set_hcr(v), vmcr(), set_vmcr(v),
// save_active(CpuInterface&), restore_active(const CpuInterface&), hcr_on() [En, and TDIR where it exists], hold(pintid),
// release(pintid), timer_line() [the loaded guest's virtual timer], has_sources: true when it may be a GICv2's, whose
// SGIs carry their sender (LrSource), and in_software: whether it is a SoftInterface; no_lpis, if it is there: it never has
// LPIs. List registers have the form of ICH_LR<n>_EL2 everywhere.
// Locks: fold to apply run under dist_lock and the vCPU's lock. Spec: [IHI0069 §6.3, §12.4 ICH_*], [IHI0048B §5].
//
// The policy. The most urgent deliverable interrupt always has a list register, so hardware alone decides
// when the guest takes it. Then come active ones (their EOI then costs no exit), then more pending ones by
// priority.
// - Pending ones left over: NPIE tells when the listed ones were all taken. It is only set while one is
// pending, so
//   the condition cannot hold on entry: no storm.
// - Active ones left over: their EOI counts in EOIcount (LRENPIE tells), and must be of the most urgent of
// them, as
//   EOIs come in reverse order of acknowledges. With EOImode = 1 order and CPU are free: DIR is always trapped
//   (TDIR) [docs/adr/0020].
// - A level input still high: EOI maintenance when the guest deactivates, to sample it again.
#pragma once
#include <bit>

#include "lib/arch/gicv2.hpp"
#include "vgic/lpis.hpp"

namespace atl::vgic {

/// The best `capacity` candidates in ascending order of key, and how many there were.
class TopList {
  public:
    explicit TopList(unsigned capacity) : capacity_(capacity) {}
    static constexpr u32 key(u32 rank, u32 priority, u32 intid) {
        return rank << 31 | priority << 16 | intid;
    }
    static constexpr u32 intid(u32 key) { return key & 0xffff; }
    void add(u32 key) {
        ++total_;
        unsigned i = size_;
        if (size_ == capacity_) {
            if (size_ == 0 || key > keys_[size_ - 1]) {
                return;
            }
            --i;
        } else {
            ++size_;
        }
        for (; i > 0 && keys_[i - 1] > key; --i) {
            keys_[i] = keys_[i - 1];
        }
        keys_[i] = key;
    }
    void more(unsigned count) { total_ += count; } // left out
    unsigned size() const { return size_; }
    unsigned total() const { return total_; }
    u32 operator[](unsigned i) const { return keys_[i]; }

  private:
    u32 keys_[gic::max_list_registers];
    unsigned capacity_;
    unsigned size_ = 0;
    unsigned total_ = 0;
};

template <class File>
class Refill {
    using Lr = gic::IchLr;
    using Hcr = gic::IchHcr;

  public:
    Refill(VirtualGic& gic, VcpuIndex vcpu, File& file)
        : gic_(gic), index_(vcpu), g_(gic.vcpu(vcpu)), file_(file) {}

    VcpuMask load() {
        load_interface(g_, file_);
        return short_ways() && load_fast() ? 0 : refill(true);
    }

    /// load() when there is one SGI to look at, or none, and save() when nothing but SGIs was listed and the guest is
    /// done with them [vgic/refill_quiet.hpp]. False: nothing was done.
    static bool load_quiet(VirtualGic& gic, VcpuGic& g, File& file);
    static bool save_quiet(VcpuGic& g, File& file);
    /// The same for GICv2 [vgic/refill_sources.hpp].
    static bool load_quiet_sources(VirtualGic& gic, VcpuGic& g, File& file);
    static bool save_quiet_sources(VcpuGic& g, File& file);

    VcpuMask save() {
        LockGuard dist(gic_.dist_lock());
        LockGuard guard(g_.lock);
        count_eois();
        fold();
        for (u32 slots = g_.used; slots != 0; slots &= slots - 1) {
            file_.write(static_cast<unsigned>(std::countr_zero(slots)), 0);
        }
        g_.used = g_.latched = 0;
        release_timer();
        g_.long_way = 0;
        const VcpuMask mask = hand_over() | kicks_;
        save_interface(g_, file_);
        return mask;
    }

    /// The short way of what has just arrived, or a refill.
    VcpuMask flush() { return may_be_short() && list_arrivals() ? kicks_ : refill(false); }

    VcpuMask maintenance() {
        ++g_.stat_maintenance;
        return may_be_short() && end_levels() ? kicks_ : refill(false);
    }

    /// SGIs whose slots still hold an earlier pulse of theirs: pending once more, and all else in the slot is
    /// as it was. No lock: while an interrupt is listed, whoever changes anything about it posts work_refill
    /// or work_recall afterwards, and then it is not done here; the slots are this pCPU's. Returns
    /// what is still, or again, in `work`.
    static u64 relist_sgis(VcpuGic& g, File& file);

    /// SGIs alone: each into its own slot, or into a free one, if that is all there is to do. What does not
    /// fit is left in the latch. False: flush() is needed. Private interrupts only, so the vCPU's lock
    /// suffices.
    static bool flush_fast(VirtualGic& gic, VcpuGic& g, File& file) {
        return relist_sgis(g, file) == 0 || flush_sgis(gic, g, file);
    }
    /// The same for GICv2 [vgic/refill_sources.hpp].
    static bool flush_sources(VirtualGic& gic, VcpuGic& g, File& file);
    static bool flush_sgis(VirtualGic& gic, VcpuGic& g, File& file) {
        if ((g.work.load(std::memory_order_relaxed) >> 32) != 0) {
            return false;
        }
        LockGuard guard(g.lock);
        const u64 work = g.work.exchange(0, std::memory_order_acquire); // sees what was done before each post
        auto pulses = static_cast<u32>(work);
        const u32 special = g.priv.drop_pending | g.priv.drop_active | (pulses & (g.priv.active | ~0xffffu));
        if ((work >> 32) != 0 || g.long_way != 0 || special != 0) {
            g.work.fetch_or(work | work_refill, std::memory_order_relaxed);
            return false;
        }
        const u32 forwarded = g.priv.forwarded(gic.groups());
        if ((pulses & ~forwarded) != 0) {
            g.priv.latch.fetch_or(pulses & ~forwarded,
                                  std::memory_order_relaxed); // stays pending while disabled
        }
        if (!list_sgis(g, file, pulses & forwarded)) {
            g.work.fetch_or(work_refill, std::memory_order_relaxed);
            return false;
        }
        return true;
    }

    /// Common case: the timer has had a slot before. It is empty now, for the physical interrupt cannot have
    /// fired before the guest deactivated it. No lock: the shadow is this pCPU's, `timer_lr` is replaced as a
    /// whole.
    static bool inject_timer_fast(VcpuGic& g, File& file) {
        const u64 value = g.timer_lr.load(std::memory_order_relaxed);
        const u8 slot = g.slot_of[g.timer.vintid & 31];
        if (value == 0 || slot == no_slot || (g.work.load(std::memory_order_relaxed) >> 32) != 0) {
            return false;
        }
        g.timer.held = true;
        g.lr[slot].store(value, std::memory_order_relaxed);
        file.write(slot, value);
        return true;
    }
    void inject_timer_slow();

    /// Whoever took it: an SPI may be deactivated on another vCPU, an effect like ICACTIVER's [§4.1.1]. The entry refills.
    VcpuMask dir_write(u32 intid) {
        if (!gic::IchVmcr::VEOIM::test(file_.vmcr())) {
            return 0; // with EOImode = 0 a DIR write does nothing
        }
        const u64 bit = u64{1} << (intid % 32);
        if (intid < gic::first_spi) {
            const u64 offset = index_.value * gic::gicr::frame_size + gic::gicr::icactiver0;
            return gic_.gicr_write(index_, offset, 4, bit).kick;
        }
        if (intid >= gic_.intid_count()) {
            return 0; // LPIs have no active state
        }
        return gic_.gicd_write(index_, gic::gicd::icactiver + intid / 32 * 4, 4, bit).kick;
    }

    /// State back from the list registers, then the best choice into them again.
    VcpuMask refill(bool loading) {
        LockGuard dist(gic_.dist_lock());
        LockGuard guard(g_.lock);
        ++g_.stat_refills;
        g_.quiet = g_.quiet_v2 = false;
        VirtualGic::absorb(g_);
        count_eois();
        fold();
        if (lpis() != nullptr) {
            kicks_ |= lpis()->collect(index_);
        }
        if (loading) {
            adopt_timer();
        } else {
            sample_timer();
        }
        select_and_list();
        settle_timer();
        // Release: whoever waits for this count sees the folded state.
        g_.folds.fetch_add(1, std::memory_order_release);
        return hand_over() | kicks_;
    }

  private:
    // [vgic/refill_quiet.hpp]
    static void load_interface(VcpuGic& g, File& file);
    static void save_interface(VcpuGic& g, File& file);
    static void save_inert(VcpuGic& g, File& file);
    bool load_fast();
    static u64 sgi_lr(const VcpuGic& g, unsigned intid);
    static void give_slot(VcpuGic& g, unsigned sgi, unsigned slot);
    static bool list_sgis(VcpuGic& g, File& file, u32 sgis);
    // [vgic/refill_sources.hpp]
    static u64 list_source(VcpuGic& g, u32 intid, bool active, bool wanted);
    static bool list_sources(VcpuGic& g, File& file, u32 sgis);

    // [vgic/refill_arrivals.hpp]
    bool list_arrivals();
    bool list_risen(unsigned bank_index);
    void list_spi(unsigned slot, SpiBank& bank, u32 intid);
    bool list_arrived_lpis();
    bool list_arrived(u32 lpi);
    unsigned slot_with(u32 intid) const;
    unsigned free_slot();
    bool end_levels();

    // [vgic/refill_lpi.hpp]
    u64 lpi_lr(u32 lpi) const;
    void add_lpis(TopList& pending, u32 groups, bool interface_group1);
    void list_lpi(unsigned slot, u32 lpi);
    void fold_lpi(unsigned slot, u64 lr);

    /// nullptr: none. A file that says so never has any: no code is made for them.
    Lpis* lpis() const {
        if constexpr (requires { File::no_lpis; }) {
            return nullptr;
        } else {
            return gic_.lpis();
        }
    }
    Bank& bank_of(u32 intid) { return intid < gic::first_spi ? g_.priv : spi_bank(intid); }
    SpiBank& spi_bank(u32 intid) { return gic_.bank(intid / 32 - 1); }
    bool sgis_have_sources() const { return File::has_sources && gic_.is_v2(); }
    bool has_source(u32 intid) const { return File::has_sources && intid < gic::first_ppi && gic_.is_v2(); }
    /// A software interface has none of the short ways, which call the hardware's list registers, nor has a VM in which an
    /// INTID is watched: `long_way` is set then, `quiet` and `timer_lr` never are.
    bool short_ways() const {
        const bool software = File::in_software == InSoftware::always ||
                              (File::in_software == InSoftware::perhaps && gic_.in_software());
        return !software && !gic_.history().watching();
    }
    bool may_be_short() const { return File::in_software != InSoftware::always && g_.long_way == 0; }
    bool is_timer(u32 intid) const { return intid == g_.timer.vintid && g_.timer.vintid != 0; }

    /// EOIs of active interrupts without a list register since the last entry [§12.4 ICH_HCR_EL2.EOIcount].
    void count_eois() {
        if ((g_.long_way & active_left_over) == 0) {
            return;
        }
        auto eois = static_cast<u32>(Hcr::EOIcount::get(file_.hcr()));
        g_.hcr = 0; // the count must be cleared: forces a write
        for (; eois != 0; --eois) {
            TopList most_urgent(1);
            for_each_bank([&](Bank& bank, u32 first, u32 mine) {
                for (u32 bits = bank.active & mine & ~bank.listed; bits != 0; bits &= bits - 1) {
                    const unsigned i = static_cast<unsigned>(std::countr_zero(bits));
                    most_urgent.add(TopList::key(0, bank.priority[i], first + i));
                }
            });
            if (most_urgent.size() == 0) {
                return;
            }
            const u32 intid = TopList::intid(most_urgent[0]);
            bank_of(intid).active &= ~(1u << (intid % 32));
            gic_.history().note(intid, Happened::ended, index_.value);
            ended(intid);
            disown(intid);
        }
    }

    /// Calls f(bank, first INTID, those that may be active on this vCPU) for every bank with anything going
    /// on.
    template <class F>
    void for_each_bank(F f) {
        f(g_.priv, 0, ~u32{0});
        for (unsigned b = 0; b < gic_.bank_count(); ++b) {
            SpiBank& bank = gic_.bank(b);
            if (bank.busy() != 0) {
                f(bank, gic::first_spi + 32 * b, bank.owned[index_.value]);
            }
        }
    }

    /// For the monitor: its state in a list register.
    void note(u32 intid, Happened what, u64 lr) {
        gic_.history().note(intid, what, index_.value,
                            (Lr::Pending::test(lr) ? 1 : 0) | (Lr::Active::test(lr) ? 2 : 0));
    }

    /// The guest has deactivated it.
    void ended(u32 intid) {
        if (intid >= gic::first_spi) {
            gic_.deactivated(spi_bank(intid), 1u << (intid % 32));
        }
    }

    void disown(u32 intid) {
        if (intid >= gic::first_spi) {
            SpiBank& bank = spi_bank(intid);
            const u32 bit = 1u << (intid % 32);
            if ((bank.active & bit) == 0 && (bank.listed & bit) == 0) {
                gic_.set_owner(bank, intid % 32, no_vcpu);
                returned_[intid / 32 - 1] |= bit;
                any_returned_ = true;
            }
        }
    }

    /// All slots back into the state. The slots keep their contents until apply() overwrites them.
    void fold() {
        for (u32 slots = g_.used; slots != 0; slots &= slots - 1) {
            const unsigned slot = static_cast<unsigned>(std::countr_zero(slots));
            fold_slot(slot, file_.read(slot));
        }
    }

    void fold_slot(unsigned slot, u64 lr) {
        const auto intid = static_cast<u32>(Lr::VINTID::get(g_.lr[slot].load(std::memory_order_relaxed)));
        if (intid >= gic::first_lpi && lpis() != nullptr) [[unlikely]] {
            return fold_lpi(slot, lr);
        }
        Bank& bank = bank_of(intid);
        const u32 bit = 1u << (intid % 32);
        const bool latched = ((g_.latched >> slot) & 1) != 0;
        const bool active = Lr::Active::test(lr) && (bank.drop_active & bit) == 0;
        bank.listed &= ~bit;
        note(intid, Happened::read_back, lr);
        if (Lr::Pending::test(lr)) {
            if (latched) {
                if ((bank.drop_pending & bit) == 0) {
                    bank.latch.fetch_or(bit, std::memory_order_relaxed);
                    if (has_source(intid)) {
                        VirtualGic::put_source(g_, intid, static_cast<u8>(gic::LrSource::get(lr)));
                    }
                }
            } else if (is_timer(intid)) {
                bank.line.fetch_or(bit, std::memory_order_relaxed); // fired, and not yet taken by the guest
            }
        }
        if (active) {
            bank.active |= bit;
            if (has_source(intid)) {
                g_.active_source[intid] = static_cast<u8>(gic::LrSource::get(lr));
            }
        }
        if (is_timer(intid) && (lr & (Lr::Pending::mask | Lr::Active::mask)) == 0) {
            g_.timer.held = false; // the guest's deactivation was the physical one too
        }
        bank.drop_pending &= ~bit;
        bank.drop_active &= ~bit;
        if (intid < gic::first_spi) {
            g_.slot_of[intid] = no_slot;
        } else {
            if (!active && !Lr::Pending::test(lr)) {
                ended(intid);
            }
            disown(intid);
        }
    }

    /// SPIs that left this vCPU and may now be another's (route changed while they were listed).
    VcpuMask hand_over() {
        if (!any_returned_) {
            return 0;
        }
        VcpuMask mask = 0;
        for (unsigned b = 0; b < gic_.bank_count(); ++b) {
            SpiBank& bank = gic_.bank(b);
            const u32 others = returned_[b] & ~bank.routed[index_.value] & ~bank.listed & ~bank.active;
            if ((others & bank.inputs()) != 0) {
                mask |= gic_.notify(bank, others & bank.inputs(), work_refill, index_);
            }
        }
        return mask;
    }

    u64 lr_base(u32 intid, const Bank& bank) const {
        const unsigned i = intid % 32;
        u64 lr = Lr::VINTID::of(intid) | Lr::Priority::of(bank.priority[i]) |
                 Lr::Group::of((bank.group1 >> i) & 1);
        if (is_timer(intid)) {
            lr |= Lr::HW::mask | Lr::PINTID::of(g_.timer.pintid);
        }
        return lr;
    }

    void set_slot(unsigned slot, u32 intid, u64 lr, bool latched) {
        const u32 bit = u32{1} << slot;
        g_.used |= bit;
        g_.latched = latched ? g_.latched | bit : g_.latched & ~bit;
        g_.lr[slot].store(lr, std::memory_order_relaxed);
        bank_of(intid).listed |= 1u << (intid % 32);
        if (intid < gic::first_spi) {
            g_.slot_of[intid] = static_cast<u8>(slot);
        }
    }

    void select_and_list();
    void list(unsigned slot, u32 intid);
    void adopt_timer();
    void settle_timer();
    void sample_timer();
    void release_timer();
    bool timer_deliverable() const;

    VirtualGic& gic_;
    VcpuIndex index_;
    VcpuGic& g_;
    File& file_;
    bool merge_pending_ = true;
    bool any_returned_ = false;
    VcpuMask kicks_ = 0;
    u32 returned_[max_spi_banks] = {};
};

} // namespace atl::vgic

#include "vgic/refill_arrivals.hpp"
#include "vgic/refill_lpi.hpp"
#include "vgic/refill_quiet.hpp"
#include "vgic/refill_select.hpp"
#include "vgic/refill_sources.hpp"
