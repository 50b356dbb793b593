#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timers.sh LOOPS: cyclictest on each CPU.
test=timers
. /stress/lib.sh
rm -rf $work && mkdir -p $work
timers_start "$(seq 0 $((cpus - 1)))" "$1"
timers_check
kernel_is_quiet
echo "PASS stress.timers: $counted"
