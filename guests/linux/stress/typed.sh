#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# typed.sh LINES: the console's interrupt, an SPI, goes round the CPUs while somebody types the numbers from 100001 on, a line
# each; all of them must come. Then it is sent to one CPU after the other, which must take it, also when that CPU has gone
# off since: for each, a line is asked for.
test=typed
. /stress/lib.sh
rm -rf $work && mkdir -p $work
irq=$(sed -n 's/^ *\([0-9]*\):.*uart-pl011.*/\1/p' /proc/interrupts)
stty -echo
(
    cpu=0
    while [ ! -e $work/stop ]; do
        route $irq $cpu
        cpu=$(((cpu + 1) % cpus))
    done
) &
echo "stress: type $1 numbers"
n=0
while [ $n -lt "$1" ]; do
    n=$((n + 1))
    read -r line
    [ "$line" = $((100000 + n)) ] || fail "'$line' came for $((100000 + n))"
done
touch $work/stop
wait
cpu=0
while [ $cpu -lt $cpus ]; do
    route $irq $cpu
    sleep 0.1
    here=$(on_cpu $irq $cpu) there=$(elsewhere $irq $cpu)
    echo "stress: type for CPU $cpu"
    read -r line
    [ "$(on_cpu $irq $cpu)" -gt "$here" ] && [ "$(elsewhere $irq $cpu)" -eq "$there" ] ||
        fail "sent to CPU $cpu, taken as $(cat /sys/kernel/irq/$irq/per_cpu_count)"
    cpu=$((cpu + 1))
done
cpu=1
while [ $cpu -lt $cpus ]; do
    route $irq $cpu
    echo 0 >/sys/devices/system/cpu/cpu$cpu/online || fail "CPU $cpu stays on"
    here=$(on_cpu $irq $cpu)
    echo "stress: type without CPU $cpu"
    read -r line
    [ "$(on_cpu $irq $cpu)" -eq "$here" ] || fail "taken by CPU $cpu, which is off"
    echo 1 >/sys/devices/system/cpu/cpu$cpu/online || fail "CPU $cpu stays off"
    cpu=$((cpu + 1))
done
stty echo
kernel_is_quiet
echo "PASS stress.typed: $1 lines under way, $((2 * cpus - 1)) to a CPU each; taken $(cat /sys/kernel/irq/$irq/per_cpu_count) times"
