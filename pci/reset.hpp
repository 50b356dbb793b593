// SPDX-License-Identifier: Apache-2.0
// Resetting one function, in steps, since EL2 never sleeps: FLR, else virtio's own, else D3hot and back, else
// only bus mastering off. Owns the function's command, MSI, power and device control registers while it runs;
// nobody else may touch them. Lock: the caller's, one job at a time for a function.
// Spec: [PCIe Base, Function Level Reset]; [PCI PM 1.2 §5.6.1 delays].
#pragma once
#include "pci/function.hpp"

namespace atl::pci {

/// A counter that never goes back, in microseconds.
struct Clock {
    void* context = nullptr;
    u64 (*now_us)(void* context) = nullptr;
    u64 now() const { return now_us(context); }
};

enum class Step : u8 { busy, done, failed };

enum class ResetMethod : u8 {
    flr,
    virtio,        // the device status register, of a virtio function without FLR
    power,         // D3hot to D0
    quiesced_only, // neither exists: its memory contents and queues live on, only the aborted stream protects
};

constexpr const char* to_string(ResetMethod method) {
    switch (method) {
    case ResetMethod::flr:
        return "FLR";
    case ResetMethod::virtio:
        return "virtio device status";
    case ResetMethod::power:
        return "D3hot to D0";
    case ResetMethod::quiesced_only:
        return "bus mastering off only";
    }
    return "?";
}

class ResetJob {
  public:
    static constexpr u64 drain_us = 1'000'000;   // longest wait for pending transactions
    static constexpr u64 flr_us = 100'000;       // no access to the function before [PCIe Base, FLR]
    static constexpr u64 power_us = 10'000;      // D3hot to D0 and back
    static constexpr u64 ready_us = 1'000'000;   // after which it must answer as itself
    static constexpr u64 vf_enable_us = 100'000; // no access to a VF before [PCIe Base, SR-IOV, VF Enable]
    static constexpr u64 poll_us = 1'000;

    constexpr ResetJob() = default;

    /// Turns bus mastering off at once. The caller has unmapped the BARs and, at a VM's end,
    /// made the stream abort. `function` must outlive the job and have its BARs assigned (or be a VF).
    /// Without `mmio` virtio's own reset is not used.
    void start(const Function& function, const Clock& clock, const MmioSeam& mmio = {});
    /// The VF's PF has just been reset, and the VF with it: waits until it answers. Ends a job that runs.
    void start_after_pf(const Function& vf, const Clock& clock);
    /// The function is about to go away under a job that runs, with its PF's reset. As if there had been none.
    void cancel() { state_ = State::idle; }
    /// Does what can be done now. `done`: the function is in its power-on state with its BARs programmed,
    /// quiet (no mastering, INTx off; decoding what the reset has left it); of a PF with VFs, these are
    /// there again. `failed`: it does not answer as itself; it stays quiet as far as it listens, and must not be given to
    /// anybody. Both stay until start().
    Step step();
    /// When step() has something to do again. Only while busy.
    u64 not_before_us() const { return until_us_; }
    bool busy() const { return state_ != State::idle && state_ != State::failed; }
    ResetMethod method() const { return method_; }
    /// Transactions were still pending when the reset was forced.
    bool forced() const { return forced_; }

  private:
    // idle -> draining -> in_reset (FLR) ----------> returning -> idle (done) or failed
    //            |------> clearing (virtio) ----------^
    //            |------> asleep (D3hot) -> waking ---^
    //            '------> returning at once (nothing to reset it with)
    // of a PF whose VFs are in use: returning -> enabling_vfs -> idle
    enum class State : u8 {
        idle,
        draining,
        in_reset,
        clearing,
        asleep,
        waking,
        returning,
        enabling_vfs,
        failed,
    };

    void enter(State state, u64 wait_us);
    bool drained();
    void begin();
    Pa virtio_status() const;
    bool answers() const;
    bool restore() const;
    void finish();

    const Function* function_ = nullptr;
    Clock clock_{};
    MmioSeam mmio_{};
    u64 until_us_ = 0;    // nothing to do before
    u64 deadline_us_ = 0; // of draining, clearing and returning
    State state_ = State::idle;
    ResetMethod method_ = ResetMethod::quiesced_only;
    bool forced_ = false;
};

} // namespace atl::pci
