// SPDX-License-Identifier: Apache-2.0
// From reset to C++: the arm64 Image header, the early map, MMU and caches on, secondaries, and the change to the
// final map. Runs at the load address with the MMU off; touches memory only to build the early tables.
// The same path serves EL1 and EL3, so that a wrong entry level can be explained on the console.
// [Linux arm64 booting protocol; DDI0487 D8 translation, D19.2 registers]

#define IMAGE_VA 0x400000000000

#define MAIR_VALUE 0x44ff04          // 0: Device-nGnRE, 1: Normal write-back, 2: Normal non-cacheable
#define DESC_TABLE 3
#define DESC_BLOCK_NORMAL 0x705      // valid block, AttrIndx 1, SH inner, AF
#define DESC_AP1 0x40                // AP[1] is RES1 in a single-privilege regime (EL2, EL3)
#define SCTLR_EL2_RES1 0x30c50830
#define SCTLR_EL1_RES1 0x30500800
#define SCTLR_M_C_SA_I 0x100d

    .section .head.text, "ax"
    .global _head
_head:
    b       primary_entry            // code0
    .long   0                        // code1
    .quad   0                        // text_offset
    .quad   image_size               // from linker.ld
    .quad   0xa                      // flags: little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

// Physical address of the running image's symbol.
.macro  pa_of reg, symbol
    adrp    \reg, \symbol
    add     \reg, \reg, :lo12:\symbol
.endm

// x0 = device tree's physical address.
primary_entry:
    msr     DAIFSet, #0xf
    msr     SPSel, #1                // no boot protocol promises it
    mov     x28, xzr                 // the early map is writable and executable: no WXN yet
    mov     x21, x0
    mrs     x19, CurrentEL
    lsr     x19, x19, #2             // x19 = entry exception level
    pa_of   x20, _head               // x20 = load address
    // Without a device tree in x0 it may be at the start of RAM, where QEMU's loaders leave it: the GiB of the
    // image. A wrong guess is found by its missing magic. [Linux booting.rst wants x0]
    cbnz    x21, 2f
    lsr     x21, x20, #30
    lsl     x21, x21, #30
2:
    mov     x27, x19                 // x27 = whose translation registers we program
    cmp     x19, #2
    b.ne    1f
    bl      reset_hcr
    cbz     x0, 1f
    mov     x27, #1                  // E2H is fixed to 1: the EL2 regime looks like EL1's and answers to its names
1:
    // Zero .bss. The MMU is off: invalidate stale lines of it so that none is written back over us.
    pa_of   x0, bss_start
    pa_of   x1, image_end
    bl      zero_and_invalidate

    bl      build_boot_tables
    pa_of   x0, boot_tables
    bl      enable_mmu
    ldr     x9, =primary_virtual
    br      x9
primary_virtual:
    ldr     x9, =boot_stack_top
    mov     sp, x9
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x21                  // device tree, physical
    mov     x1, x19                  // entry level
    mov     x2, x20                  // load address
    sub     x3, x27, #1              // 1 when this is EL2 with a usable E2H=0
    cmp     x19, #2
    csel    x3, x3, xzr, eq
    bl      boot_primary
    b       .

// HCR_EL2 to a known value; x0 = 1 when E2H cannot be cleared. [DDI0487 D19.2.48]
reset_hcr:
    mov     x0, #(1 << 31)           // RW: EL1 is AArch64
    msr     hcr_el2, x0
    isb
    mrs     x0, hcr_el2
    ubfx    x0, x0, #34, #1
    ret

// Zero [x0, x1) (page aligned) and invalidate its cache lines to the point of coherency.
zero_and_invalidate:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4          // DminLine: log2 of words
    mov     x3, #4
    lsl     x2, x3, x2
    mov     x3, x0
1:  stp     xzr, xzr, [x3], #16
    cmp     x3, x1
    b.lo    1b
    dmb     sy
2:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    2b
    dsb     sy
    ret

// The early map, six pages at boot_tables:
//   +0 L0, +1 L1 identity, +2 L2 identity, +3 L1 image, +4 L2 image, +5 L2 window (device tree, UART).
// Uses x0-x7, x20, x21, x27.
build_boot_tables:
    pa_of   x0, boot_tables
    mov     x6, #DESC_BLOCK_NORMAL
    cmp     x27, #1
    b.eq    1f
    orr     x6, x6, #DESC_AP1
1:
    // Identity: L0 -> L1 -> L2, four blocks from the image's first 2 MiB (image_size is below 8 MiB).
    add     x1, x0, #0x1000
    ubfx    x2, x20, #39, #9
    orr     x3, x1, #DESC_TABLE
    str     x3, [x0, x2, lsl #3]
    add     x4, x0, #0x2000
    ubfx    x2, x20, #30, #9
    orr     x3, x4, #DESC_TABLE
    str     x3, [x1, x2, lsl #3]
    lsr     x5, x20, #21
    lsl     x5, x5, #21              // x5 = first block
    orr     x3, x5, x6
    ubfx    x2, x20, #21, #9
    str     x3, [x4, x2, lsl #3]     // the identity map needs only the code around enable_mmu
    // Image: L0[128] -> L1 -> L2[0..].
    add     x1, x0, #0x3000
    orr     x3, x1, #DESC_TABLE
    mov     x2, #(IMAGE_VA >> 39)
    str     x3, [x0, x2, lsl #3]
    add     x4, x0, #0x4000
    orr     x3, x4, #DESC_TABLE
    str     x3, [x1]
    orr     x3, x5, x6
    mov     x2, #0
2:  str     x3, [x4, x2, lsl #3]
    add     x3, x3, #0x200000
    add     x2, x2, #1
    cmp     x2, #4
    b.ne    2b
    // Window: L1[1] -> L2; blocks 0 and 1 hold the device tree. [booting protocol: at most 2 MiB]
    add     x4, x0, #0x5000
    orr     x3, x4, #DESC_TABLE
    str     x3, [x1, #8]
    lsr     x5, x21, #21
    lsl     x5, x5, #21
    orr     x3, x5, x6
    movk    x3, #0x0060, lsl #48     // UXN/XN and PXN: data
    str     x3, [x4]
    add     x3, x3, #0x200000
    str     x3, [x4, #8]
    // The tables were written with the MMU off; drop any stale line before walks become cacheable.
    mov     x1, x0
    add     x2, x0, #0x6000
    dmb     sy
3:  dc      ivac, x1
    add     x1, x1, #16              // the smallest line that CTR_EL0 can name
    cmp     x1, x2
    b.lo    3b
    dsb     sy
    ret

// Turn the MMU and the caches on with the table at x0. x27 = regime, x28 = more of SCTLR_EL2. Clobbers x1-x4.
enable_mmu:
    ldr     x1, =MAIR_VALUE
    mrs     x2, id_aa64mmfr0_el1
    and     x2, x2, #0xf             // PARange
    mov     x3, #5                   // 48 bits is the most a 4 KiB granule without LPA2 can name
    cmp     x2, x3
    csel    x2, x2, x3, lo
    mov     x3, #0x3510              // SH0 inner, ORGN0/IRGN0 write-back, TG0 4 KiB, T0SZ 16
    ldr     x4, =SCTLR_EL2_RES1 | SCTLR_M_C_SA_I
    cmp     x27, #1
    b.eq    1f
    orr     x3, x3, x2, lsl #16      // PS
    orr     x3, x3, #(1 << 31)       // RES1
    orr     x3, x3, #(1 << 23)       // RES1
    cmp     x27, #3
    b.eq    2f
    orr     x4, x4, x28
    msr     mair_el2, x1
    msr     tcr_el2, x3
    msr     ttbr0_el2, x0
    isb                              // the regime's registers before its TLBs are cleared
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x4
    isb
    ret
1:  orr     x3, x3, x2, lsl #32      // IPS
    orr     x3, x3, #(1 << 23)       // EPD1
    ldr     x4, =SCTLR_EL1_RES1 | SCTLR_M_C_SA_I
    msr     mair_el1, x1
    msr     tcr_el1, x3
    msr     ttbr0_el1, x0
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el1, x4
    isb
    ret
2:  msr     mair_el3, x1
    msr     tcr_el3, x3
    msr     ttbr0_el3, x0
    isb
    tlbi    alle3
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el3, x4
    isb
    ret

// PSCI CPU_ON lands here, MMU off, x0 = physical address of a SecondaryBoot {table, stack, percpu} [boot/boot_hw.hpp].
    .global secondary_entry
secondary_entry:
    msr     DAIFSet, #0xf
    msr     SPSel, #1
    mov     x21, x0
    mov     x27, #2
    mov     x28, #(1 << 19)          // WXN, as switch_el2_table has set it on the boot CPU
    bl      reset_hcr
    ldr     x0, [x21]
    ldr     x22, [x21, #8]
    ldr     x23, [x21, #16]
    bl      enable_mmu
    ldr     x9, =secondary_virtual
    br      x9
secondary_virtual:
    mov     sp, x22
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x23
    bl      boot_secondary
    b       .

// void switch_el2_table(u64 table_pa, u64 identity_pa): replace the whole map, through MMU off, so that no TLB ever sees
// two sizes for one address (break-before-make for a table [DDI0487 D8.16.1]). Caller runs at the image's address.
    .global switch_el2_table
switch_el2_table:
    mov     x9, x30
    adr     x10, 1f
    ldr     x11, =_head
    sub     x10, x10, x11
    add     x10, x10, x1             // the same instruction, at its physical address
    br      x10
1:  mrs     x12, sctlr_el2
    mov     x13, #5                  // M, C
    bic     x13, x12, x13
    msr     sctlr_el2, x13
    isb
    msr     ttbr0_el2, x0
    isb
    tlbi    alle2
    dsb     nsh
    isb
    orr     x12, x12, #(1 << 19)     // WXN: what is writable never executes
    msr     sctlr_el2, x12
    isb
    br      x9                       // x30 as the caller left it: back at the image's address

// u64 firmware_call(u64 function, u64 smc): a call of firmware without arguments that may return. Firmware may change
// x0-x17 [DEN0028 §2.6], of which an exit leaves x10-x15 (and x18) to the guest [el2/vectors.S]: they are put back.
    .text
    .global firmware_call
firmware_call:
    stp     x10, x11, [sp, #-64]!
    stp     x12, x13, [sp, #16]
    stp     x14, x15, [sp, #32]
    str     x18, [sp, #48]
    cbz     x1, 1f
    smc     #0
    b       2f
1:  hvc     #0
2:  ldr     x18, [sp, #48]
    ldp     x14, x15, [sp, #32]
    ldp     x12, x13, [sp, #16]
    ldp     x10, x11, [sp], #64
    ret

    .section .boot_tables, "aw", %nobits
    .space  6 * 4096

    .section .stacks, "aw", %nobits
    .balign 4096
    .space  4096                     // guard page: unmapped by boot/el2_map.cpp
boot_stack:
    .space  16384
    .global boot_stack_top
boot_stack_top:
