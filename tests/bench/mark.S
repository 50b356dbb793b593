// SPDX-License-Identifier: Apache-2.0
// The first command of the bench's initramfs (rdinit=/mark): marks the moment for tools/elcount, says so, powers off.
// Static, no libc: system calls of arm64 Linux.

    .global _start
_start:
    hint #0x60
    mov x0, #1                  // write(1, text, length)
    adr x1, text
    mov x2, #(end - text)
    mov x8, #64
    svc #0
    movz x0, #0xdead            // reboot(LINUX_REBOOT_MAGIC1, MAGIC2, POWER_OFF)
    movk x0, #0xfee1, lsl #16
    movz x1, #0x1969
    movk x1, #0x2812, lsl #16
    movz x2, #0xfedc
    movk x2, #0x4321, lsl #16
    mov x8, #142
    svc #0
    b .
text:
    .ascii "bench: first command\n"
end:
