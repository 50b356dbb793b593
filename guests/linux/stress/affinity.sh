#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# affinity.sh ROUNDS: all vectors of the network card, and that of the disk's administration queue, go round the CPUs while
# card, disk and timers work. With an ITS each write of smp_affinity is a MOVI.
test=affinity
. /stress/lib.sh
card_up 10.0.9.1
traffic_start
timers_start any 100
writes=0
round=0
while [ $round -lt "$1" ]; do
    step=0
    for irq in $(vectors igb) $(disk_admin); do
        route $irq $(((round + step) % cpus))
        ask 2
        step=$((step + 1))
        writes=$((writes + 1))
    done
    round=$((round + 1))
done
timers_check
traffic_stop
delivered_everywhere
kernel_is_quiet
echo "PASS stress.affinity: $writes routes written, $carried, $counted"
