// SPDX-License-Identifier: Apache-2.0
// Payload spin: masks interrupts and loops for ever. Its CPU must still be given to the other guests.
#include "guests/bare/rt/rt.hpp"

void payload() {
    atl::bare::put("spin: spinning with interrupts masked\n");
    atl::bare::mask_irqs();
    for (;;) {
        asm volatile("");
    }
}
