// SPDX-License-Identifier: Apache-2.0
// EL2's vector table [DDI0487 D1.3.1.5] and the ways in and out of a guest.
//
// While a guest runs, SP_EL2 points at its GuestFrame. An exit stores there what C++ may change and nothing else: x0-x9,
// x16, x17, x30. C++ is compiled to leave x10-x15 and x18 alone (-ffixed-*, Makefile) and gives x19-x29 back on return,
// so these stay in the CPU until somebody needs them: another vCPU, or a handler that asks for the full frame.
// Handlers return an Action [el2/vcpu.hpp]; the two common ones are done here, the others in C++ [el2/trap_hw.cpp].
// Speculation past ERET is stopped (dsb; isb), for CPUs without FEAT_SB.

    .equ    PERCPU_CURRENT, 0        // el2/percpu.hpp asserts these
    .equ    PERCPU_EMERGENCY, 8
    .equ    PERCPU_WORK, 16          // pointer to the loaded vCPU's interrupt work; next to it work_pending
    .equ    ACTION_ADVANCE_BIT, 40   // el2/vcpu.hpp; not bits of the work words
    .equ    ACTION_LEAVE_BIT, 42
    .equ    ACTION_RELOAD_BIT, 44

// Leaves x0 = GuestFrame and SP = this pCPU's stack.
.macro  save_volatile
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    ldr     x8, [sp, #248]
    mov     x0, sp
    stp     x16, x17, [sp, #128]
    str     x30, [sp, #240]
    mov     sp, x8
.endm

// What save_volatile leaves. x0 = GuestFrame.
.macro  save_rest
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
.endm

// Over the instruction, where PSTATE stays as it is: AArch64, BTYPE and SS are 0. Otherwise `slow` does it. Keeps x0, x1.
.macro  advance_or slow
    mrs     x2, spsr_el2
    mov     w4, #0x0c10              // M[4] AArch32, BTYPE
    movk    w4, #0x0020, lsl #16     // SS
    mrs     x5, elr_el2
    tst     w2, w4
    b.ne    \slow
    add     x5, x5, #4
    msr     elr_el2, x5
.endm

// x0 = GuestFrame.
.macro  load_volatile_and_eret
    mov     sp, x0
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x16, x17, [x0, #128]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    dsb     nsh
    isb
.endm

// x3 = work that somebody has left for the loaded vCPU or this pCPU; 0: none.
.macro  look_for_work
    mrs     x1, tpidr_el2
    ldp     x2, x3, [x1, #PERCPU_WORK]
    ldr     x2, [x2]
    orr     x3, x3, x2
.endm

// `more`: where an action or work is looked at.
.macro  from_guest handler, more=exit_more
    .balign 128
    save_volatile
    bl      \handler
    look_for_work
    orr     x3, x3, x0
    cbnz    x3, \more
    ldr     x0, [x1, #PERCPU_CURRENT]
    load_volatile_and_eret
.endm

// A guest in AArch32 EL1 cannot exist (HCR_EL2.RW=1), but AArch32 EL0 can: same frame, same handlers.

.macro  from_el2 kind
    .balign 128
    // The stack pointer may be what is broken: take the emergency stack of this pCPU [el2/percpu.hpp].
    msr     tpidr_el0, x0            // the guest's value is lost; nothing returns from here
    mrs     x0, tpidr_el2
    cbz     x0, 1f
    ldr     x0, [x0, #PERCPU_EMERGENCY]
    b       2f
1:  ldr     x0, =boot_stack_top
2:  sub     x0, x0, #288
    stp     x1, x2, [x0, #8]
    str     x3, [x0, #24]
    mov     x1, x0
    mov     x2, sp
    mov     x3, #\kind
    b       el2_fault
.endm

.macro  vector_table name, irq
    .balign 2048
    .global \name
\name:
    from_el2 0                       // current EL with SP_EL0: never used
    from_el2 1
    from_el2 2
    from_el2 3
    from_el2 4                       // current EL with SP_ELx: our own fault
    from_el2 5
    from_el2 6
    from_el2 7
    from_guest el2_handle_sync       // lower EL, AArch64
    from_guest \irq, exit_slow
    from_guest \irq, exit_slow       // FIQ: group 0 is not used; the handler reports it
    from_guest el2_handle_serror
    from_guest el2_handle_sync       // lower EL, AArch32 (EL0)
    from_guest \irq, exit_slow
    from_guest \irq, exit_slow
    from_guest el2_handle_serror
.endm

    .section .vectors, "ax"
    vector_table el2_vectors, el2_handle_irq
    vector_table el2_vectors_gicv2, el2_handle_irq_gicv2

// x0 = action, x1 = PerCpu, x3 = action and all work.
    .balign 64
exit_more:
    mov     x2, #(1 << ACTION_ADVANCE_BIT)
    cmp     x3, x2
    b.ne    1f
    advance_or exit_slow
    ldr     x0, [x1, #PERCPU_CURRENT]
    load_volatile_and_eret

1:  mov     x2, #(1 << ACTION_ADVANCE_BIT | 1 << ACTION_RELOAD_BIT)
    cmp     x3, x2
    b.ne    .Lexit_other
    advance_or exit_slow
    ldr     x0, [x1, #PERCPU_CURRENT]
    b       enter_guest

.Lexit_other:
    tbnz    x0, #ACTION_LEAVE_BIT, exit_full
exit_slow:                           // of interrupts, too: they leave nobody
    bl      el2_finish               // of an action: what is left of it, 0 or something that wants the full frame
    cbnz    x0, exit_full
    mrs     x1, tpidr_el2
    ldr     x0, [x1, #PERCPU_CURRENT]
    load_volatile_and_eret

exit_full:
    mov     x1, x0
    mrs     x2, tpidr_el2
    ldr     x0, [x2, #PERCPU_CURRENT]
    tbnz    x1, #ACTION_RELOAD_BIT, 1f
    save_rest
1:  bl      el2_finish_full          // GuestFrame to resume

// Falls into
// void enter_guest(GuestFrame*): the first entry on this pCPU; does not return here.
    .global enter_guest
enter_guest:
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    load_volatile_and_eret

// Action spill_and_call(Vcpu&, u64 esr, Action (*handler)(Vcpu&, u64)): the frame becomes complete. Only in tail calls
// from el2_handle_sync on, before C++ has used x19-x29.
    .global spill_and_call
spill_and_call:
    save_rest
    br      x2

    .text
// A fault of EL2 itself. x1 = room for the frame on the emergency stack (x1..x3 already at +8), x2 = SP at the fault,
// x3 = vector index, TPIDR_EL0 = x0 at the fault. Builds x0..x30, SP and goes to C++.
el2_fault:
    mrs     x0, tpidr_el0
    str     x0, [x1]
    stp     x4, x5, [x1, #32]
    stp     x6, x7, [x1, #48]
    stp     x8, x9, [x1, #64]
    stp     x10, x11, [x1, #80]
    stp     x12, x13, [x1, #96]
    stp     x14, x15, [x1, #112]
    stp     x16, x17, [x1, #128]
    stp     x18, x19, [x1, #144]
    stp     x20, x21, [x1, #160]
    stp     x22, x23, [x1, #176]
    stp     x24, x25, [x1, #192]
    stp     x26, x27, [x1, #208]
    stp     x28, x29, [x1, #224]
    stp     x30, x2, [x1, #240]
    mov     sp, x1
    mov     x0, x1
    mov     x1, x3
    bl      el2_report_fault
    b       .

// FP/SIMD context: EL2 never uses these registers itself; CPTR_EL2.TFP is 0 here. [el2/context.hpp FpRegs]
    .arch_extension fp
    .arch_extension simd
// void fp_save(FpRegs*)
    .global fp_save
fp_save:
    stp     q0, q1, [x0, #0]
    stp     q2, q3, [x0, #32]
    stp     q4, q5, [x0, #64]
    stp     q6, q7, [x0, #96]
    stp     q8, q9, [x0, #128]
    stp     q10, q11, [x0, #160]
    stp     q12, q13, [x0, #192]
    stp     q14, q15, [x0, #224]
    stp     q16, q17, [x0, #256]
    stp     q18, q19, [x0, #288]
    stp     q20, q21, [x0, #320]
    stp     q22, q23, [x0, #352]
    stp     q24, q25, [x0, #384]
    stp     q26, q27, [x0, #416]
    stp     q28, q29, [x0, #448]
    stp     q30, q31, [x0, #480]
    mrs     x1, fpcr
    mrs     x2, fpsr
    add     x0, x0, #512
    stp     x1, x2, [x0]
    ret

// void fp_load(const FpRegs*)
    .global fp_load
fp_load:
    ldp     q0, q1, [x0, #0]
    ldp     q2, q3, [x0, #32]
    ldp     q4, q5, [x0, #64]
    ldp     q6, q7, [x0, #96]
    ldp     q8, q9, [x0, #128]
    ldp     q10, q11, [x0, #160]
    ldp     q12, q13, [x0, #192]
    ldp     q14, q15, [x0, #224]
    ldp     q16, q17, [x0, #256]
    ldp     q18, q19, [x0, #288]
    ldp     q20, q21, [x0, #320]
    ldp     q22, q23, [x0, #352]
    ldp     q24, q25, [x0, #384]
    ldp     q26, q27, [x0, #416]
    ldp     q28, q29, [x0, #448]
    ldp     q30, q31, [x0, #480]
    add     x0, x0, #512
    ldp     x1, x2, [x0]
    msr     fpcr, x1
    msr     fpsr, x2
    ret

// void reset_stack_and_call(u64 stack_top, void (*f)()): the scheduler loop starts afresh on an empty stack.
    .global reset_stack_and_call
reset_stack_and_call:
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    br      x1
