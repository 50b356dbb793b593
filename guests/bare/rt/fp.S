// SPDX-License-Identifier: Apache-2.0
// Fills and checks all FP/SIMD registers, FPCR and FPSR. Owns nothing; the caller has set CPACR_EL1.FPEN.
// Register n holds { seed + n, not (seed + n) }.

    .arch armv8-a+simd
    .text

    .macro for_each_register what
    \what 0
    \what 1
    \what 2
    \what 3
    \what 4
    \what 5
    \what 6
    \what 7
    \what 8
    \what 9
    \what 10
    \what 11
    \what 12
    \what 13
    \what 14
    \what 15
    \what 16
    \what 17
    \what 18
    \what 19
    \what 20
    \what 21
    \what 22
    \what 23
    \what 24
    \what 25
    \what 26
    \what 27
    \what 28
    \what 29
    \what 30
    \what 31
    .endm

    .macro fill n
    add x1, x0, #\n
    mvn x2, x1
    fmov d\n, x1
    mov v\n\().d[1], x2
    .endm

    .macro verify n
    add x1, x0, #\n
    mvn x2, x1
    fmov x3, d\n
    mov x4, v\n\().d[1]
    cmp x1, x3
    ccmp x2, x4, #0, eq
    cinc x5, x5, ne
    .endm

    .macro nonzero n
    fmov x1, d\n
    mov x2, v\n\().d[1]
    orr x1, x1, x2
    cmp x1, #0
    cinc x5, x5, ne
    .endm

// u64 fp_nonzero(): how many registers are not 0
    .global fp_nonzero
fp_nonzero:
    mov x5, #0
    for_each_register nonzero
    mrs x1, fpsr
    mrs x2, fpcr
    orr x1, x1, x2
    cmp x1, #0
    cinc x5, x5, ne
    mov x0, x5
    ret

// void fp_fill(u64 seed)
    .global fp_fill
fp_fill:
    for_each_register fill
    and x1, x0, #0x1f           // cumulative exception flags
    msr fpsr, x1
    and x1, x0, #3
    lsl x1, x1, #22             // rounding mode
    msr fpcr, x1
    ret

// u64 fp_check(u64 seed): how many registers differ
    .global fp_check
fp_check:
    mov x5, #0
    for_each_register verify
    and x1, x0, #0x1f
    mrs x2, fpsr
    cmp x1, x2
    cinc x5, x5, ne
    and x1, x0, #3
    lsl x1, x1, #22
    mrs x2, fpcr
    cmp x1, x2
    cinc x5, x5, ne
    mov x0, x5
    ret
