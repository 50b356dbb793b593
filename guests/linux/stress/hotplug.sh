#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# hotplug.sh ROUNDS: CPUs 1 and up go off and come back, one at a time and then all at once, while network card, disk and
# timers work; then all are there again and take interrupts. Without a card (argument 2: "bare") only timers work.
test=hotplug
. /stress/lib.sh

switch() { # CPU 0|1
    echo $2 >/sys/devices/system/cpu/cpu$1/online || fail "CPU $1 cannot be switched to $2"
    times=$((times + 1))
}

if [ "$2" != bare ]; then
    card_up 10.0.9.1
    traffic_start
else
    rm -rf $work && mkdir -p $work
fi
timers_start "any1 any2 any3" 100
times=0
round=0
others=$(seq 1 $((cpus - 1)))
while [ $round -lt "$1" ]; do
    for cpu in $others; do
        switch $cpu 0
        sleep 0.1
        switch $cpu 1
    done
    for cpu in $others; do switch $cpu 0; done
    sleep 0.1
    for cpu in $others; do switch $cpu 1; done
    [ "$2" = bare ] || ask 20
    round=$((round + 1))
done
[ "$(nproc)" -eq $cpus ] || fail "$(nproc) CPUs of $cpus are there"
timers_check
first=$counted
rm $work/timers.*
timers_start "0 $(echo $others)" 20
timers_check
if [ "$2" != bare ]; then
    traffic_stop
    delivered_everywhere
fi
kernel_is_quiet
echo "PASS stress.hotplug: $times times a CPU off or on, ${carried:-no traffic}, $first; then $counted"
