// SPDX-License-Identifier: Apache-2.0
// The host's PL011, driven by EL2 [DDI0183 §3.3]. Owns the registers; not who may print (el2/console.hpp).
// Lock: the console's, except panic output, which runs with every other CPU stopped.
#pragma once
#include "lib/types.hpp"

namespace atl::el2 {

class Uart {
  public:
    /// `registers` is mapped as device memory. Programs 8N1, FIFOs on, receive interrupts on; the baud rate
    /// stays as firmware left it.
    void init(HypVa registers);
    bool present() const { return base_.value != 0; }
    bool can_write() const;
    void write(u8 byte);
    /// The next received byte, or -1.
    int read();
    /// The transmit interrupt: on while output waits for room.
    void set_tx_interrupt(bool on);
    /// Clears the receive and transmit interrupts at the device. Before the FIFOs are served, never after.
    void acknowledge();
    /// Waits, bounded, for room and writes: for early boot and panics.
    void write_polled(u8 byte);

  private:
    volatile u32* reg(u32 offset) const;
    HypVa base_{};
    u32 imsc_ = 0;
};

} // namespace atl::el2
