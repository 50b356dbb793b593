// SPDX-License-Identifier: Apache-2.0
// A virtual count that stands still while its VM wants to run and no CPU has it: the manifest's `clock = "run"`. It goes on
// while a vCPU is loaded, and while all of them sleep, because a sleeper's timer must fire. The offset changes only while no
// vCPU is loaded, so all vCPUs of a VM read one count. Pure. Lock: the caller's, one for each VM.
#pragma once
#include "vtimer/timer.hpp"

namespace atl::vtimer {

class RunClock {
  public:
    /// The count is 0 at `now`. Nothing is loaded.
    void start(Ticks now) {
        offset_ = idle_since_ = now;
        loaded_ = 0;
    }
    /// A vCPU is about to be loaded. `waiting_since`: since when one of the VM's vCPUs, this one included, has been ready
    /// without having been loaded. Returns CNTVOFF_EL2.
    Ticks on_load(Ticks now, Ticks waiting_since) {
        offset_ = offset(now, waiting_since);
        ++loaded_;
        return offset_;
    }
    void on_save(Ticks now) {
        if (--loaded_ == 0) {
            idle_since_ = now;
        }
    }
    /// CNTPCT less the count; `waiting_since` is `never` when no vCPU waits.
    Ticks offset(Ticks now, Ticks waiting_since) const {
        if (!stands(waiting_since)) {
            return offset_;
        }
        const Ticks from = waiting_since > idle_since_ ? waiting_since : idle_since_;
        return now > from ? offset_ + (now - from) : offset_;
    }
    bool stands(Ticks waiting_since) const { return loaded_ == 0 && waiting_since != never; }

  private:
    Ticks offset_ = 0;
    Ticks idle_since_ = 0; // when the last vCPU was saved
    unsigned loaded_ = 0;
};

} // namespace atl::vtimer
