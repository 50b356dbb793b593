// SPDX-License-Identifier: Apache-2.0
// Vpe: one vCPU as GICv4's redistributors know it: where its table of pending virtual LPIs is, and whether it is resident,
// which means that the redistributor of its home pCPU shows that table to the virtual CPU interface. Not resident, a
// virtual LPI becomes pending in the table and rings a doorbell. VpeFrame: the registers of one redistributor for that.
// Does not own: what is mapped to it (vgic/direct_lpis.hpp). Locks: none. load(), save() and follow() on the home pCPU with
// interrupts masked; the rest is atomic. Spec: [IHI0069 §6 (virtual LPIs), §12.11 GICR_VPROPBASER, GICR_VPENDBASER].
#pragma once
#include <atomic>

#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::vgic {

class VpeFrame {
  public:
    /// `registers`: VLPI_base. Nobody is resident afterwards. not_supported: a vPE of firmware's that does not leave, or
    /// accesses that are not `coherent` although the ITS's are.
    Status init(Pa registers, bool coherent);
    u64 timeouts() const { return timeouts_; }

  private:
    friend class Vpe;
    u64 leave(u64 value);

    Pa registers_{};
    u64 properties_ = 0; // GICR_VPROPBASER as last written
    u64 timeouts_ = 0;   // a table was still being written after a long time
    bool coherent_ = true;
};

/// What a pCPU has for the vPEs of the vCPUs at home there.
struct VpeHome {
    VpeFrame frame{};
    u64 target = 0; // its redistributor, as VMAPP names it
};

class Vpe {
  public:
    /// `configuration` for INTIDs from 8192 to 2^id_bits - 1, 4 KiB aligned; `pending` for 0 to there, 64 KiB aligned.
    void init(VpeFrame& frame, Pa configuration, Pa pending, unsigned id_bits);
    /// The table has been zeroed. Not resident.
    void reset();

    /// The vCPU is being loaded, or has just been saved.
    void load();
    void save();
    /// The vCPU is loaded, and set_allowed() may have been called.
    void follow();

    /// Whether it may be resident: its LPIs are enabled, and so are Group 1's interrupts. True: that is a change, and a
    /// vCPU that is loaded has to follow(). Once it is not allowed, resident() says when nobody uses the table any more.
    bool set_allowed(bool allowed);
    bool resident() const { return resident_.load(); }
    /// Not loaded: something may be pending and enabled.
    bool pending() const {
        return pending_.load(std::memory_order_relaxed) && allowed_.load(std::memory_order_relaxed);
    }
    Pa table() const;
    u64 timeouts() const { return frame_->timeouts(); }

  private:
    VpeFrame* frame_ = nullptr;
    u64 properties_ = 0; // GICR_VPROPBASER
    u64 value_ = 0;      // GICR_VPENDBASER without its flags
    bool idai_ = true;
    std::atomic<bool> allowed_{false};
    std::atomic<bool> resident_{false};
    std::atomic<bool> pending_{false};
};

} // namespace atl::vgic
