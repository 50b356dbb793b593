#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Where this kernel's copy routines begin and end, for the counting of bytes that CPUs copy.
# A range ends where the next other address begins.
sort /proc/kallsyms | awk '
    name != "" && $1 != first { print "demo: symbol " name " " first " " $1; name = "" }
    $3 ~ /^(__arch_copy_to_user|__arch_copy_from_user|__pi_memcpy|__pi_memmove)$/ { name = $3; first = $1 }'
