// SPDX-License-Identifier: Apache-2.0
// First instructions of every bare payload: arm64 Image header, relocation to where it was loaded, BSS, stacks,
// secondary entry and the EL1 vectors. Runs at EL1 with the MMU off, as a guest or on the bare machine.
// x18 is the platform register: compiled code never uses it, so the IRQ vector can stamp the time before anything else.
// Image header: [Linux Documentation/arch/arm64/booting.rst]. Vectors: [DDI0487 D1.3.1].

    .set frame_size, 288

    .section .head, "ax"
    .global _start
_start:
    b primary_entry
    .long 0
    .quad 0                     // text_offset
    .quad bss_end - _start      // effective size, BSS included
    .quad 0xa                   // little endian, 4 KiB pages, anywhere in RAM
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .long 0

    .text
primary_entry:
    mov x19, x0                 // the device tree
    mrs x0, CurrentEL
    cmp x0, #(1 << 2)
    b.ne wrong_level
    adrp x0, vectors
    add x0, x0, :lo12:vectors
    msr vbar_el1, x0
    isb
    // Zero BSS: after a reset, RAM holds what the last run left.
    adrp x0, bss_start
    add x0, x0, :lo12:bss_start
    adrp x1, bss_end
    add x1, x1, :lo12:bss_end
1:  cmp x0, x1
    b.hs 2f
    stp xzr, xzr, [x0], #16
    b 1b
    // R_AARCH64_RELATIVE: add the load address to every pointer in initialised data [IHI0056 §5.7].
2:  adrp x0, rela_start
    add x0, x0, :lo12:rela_start
    adrp x1, rela_end
    add x1, x1, :lo12:rela_end
    adrp x2, _start
    add x2, x2, :lo12:_start
3:  cmp x0, x1
    b.hs 4f
    ldp x3, x4, [x0], #16       // offset, type
    ldr x5, [x0], #8            // addend
    add x5, x5, x2
    str x5, [x2, x3]
    b 3b
4:  dsb sy                      // data written above may be fetched as code by payloads that build code
    isb
    mov x0, #0
    bl set_stack
    mov x0, x19
    bl payload_start
    b .

// PSCI CPU_ON enters here with x0 = context. The stamp is the first instruction that this CPU executes.
    .global secondary_entry
secondary_entry:
    mrs x18, cntvct_el0
    mov x19, x0
    adrp x0, vectors
    add x0, x0, :lo12:vectors
    msr vbar_el1, x0
    isb
    mrs x0, mpidr_el1
    and x0, x0, #0xff
    bl set_stack
    mov x0, x19
    mov x1, x18
    bl secondary_start
    b .

// x0 = CPU index, at most 7. Stack grows down from stacks + (index + 1) * 16 KiB.
set_stack:
    adrp x1, stacks
    add x1, x1, :lo12:stacks
    add x0, x0, #1
    add x1, x1, x0, lsl #14
    mov sp, x1
    ret

wrong_level:
    mov x1, #0x09000000
    adr x2, wrong_level_text
1:  ldrb w3, [x2], #1
    cbz w3, .
    str w3, [x1]
    b 1b
wrong_level_text:
    .asciz "FAIL start: a bare payload needs EL1\n"
    .balign 4

// ---- vectors -------------------------------------------------------------------------------------------------

    .macro save_volatile
    sub sp, sp, #frame_size
    stp x0, x1, [sp, #0]
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x29, x30, [sp, #232]
    .endm

    .macro restore_volatile
    ldp x0, x1, [sp, #0]
    ldp x2, x3, [sp, #16]
    ldp x4, x5, [sp, #32]
    ldp x6, x7, [sp, #48]
    ldp x8, x9, [sp, #64]
    ldp x10, x11, [sp, #80]
    ldp x12, x13, [sp, #96]
    ldp x14, x15, [sp, #112]
    ldp x16, x17, [sp, #128]
    ldp x29, x30, [sp, #232]
    add sp, sp, #frame_size
    .endm

    .macro vector target
    .balign 0x80
    mrs x18, cntvct_el0
    b \target
    .endm

    .macro unexpected kind
    .balign 0x80
    save_volatile
    mov x1, #\kind
    b fatal_entry
    .endm

    .macro vector_table name, irq
    .balign 0x800
    .global \name
\name:
    unexpected 0                // current EL, SP_EL0
    unexpected 1
    unexpected 2
    unexpected 3
    vector sync_entry           // current EL, SP_ELx
    vector \irq
    vector fiq_entry
    unexpected 7
    unexpected 8                // lower EL: payloads have no EL0
    unexpected 9
    unexpected 10
    unexpected 11
    unexpected 12
    unexpected 13
    unexpected 14
    unexpected 15
    .endm

    .macro irq_entry dispatch
    save_volatile
    mrs x0, elr_el1
    mrs x1, spsr_el1
    stp x0, x1, [sp, #256]
    mov x0, x18
    bl \dispatch
    ldp x0, x1, [sp, #256]
    msr elr_el1, x0
    msr spsr_el1, x1
    restore_volatile
    eret
    .endm

    // Two, so that what is measured with a GICv3 does not ask which GIC it is [rt/gic.cpp].
    vector_table vectors, irq_entry_v3
    vector_table vectors_gicv2, irq_entry_v2
irq_entry_v3:
    irq_entry irq_dispatch
irq_entry_v2:
    irq_entry irq_dispatch_gicv2

fiq_entry:
    save_volatile
    mrs x0, elr_el1
    mrs x1, spsr_el1
    stp x0, x1, [sp, #256]
    bl fiq_dispatch
    ldp x0, x1, [sp, #256]
    msr elr_el1, x0
    msr spsr_el1, x1
    restore_volatile
    eret

sync_entry:
    save_volatile
    stp x18, x19, [sp, #144]
    stp x20, x21, [sp, #160]
    stp x22, x23, [sp, #176]
    stp x24, x25, [sp, #192]
    stp x26, x27, [sp, #208]
    str x28, [sp, #224]
    mrs x0, elr_el1
    mrs x1, spsr_el1
    stp x0, x1, [sp, #256]
    mov x0, sp
    bl sync_dispatch
    ldp x0, x1, [sp, #256]
    msr elr_el1, x0
    msr spsr_el1, x1
    restore_volatile
    eret

fatal_entry:
    mrs x2, elr_el1
    mrs x3, spsr_el1
    stp x2, x3, [sp, #256]
    mov x0, sp
    bl fatal_exception
    b .

    .section .bss, "aw", %nobits
    .balign 16
    .global stacks
stacks:
    .skip 8 * 16384
