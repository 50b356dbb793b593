#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ipis.sh ROUNDS: words go from CPU to CPU and back by pipes. Who waits for one sleeps, so that each is a wake-up by SGI; a lost
# one would leave both sides asleep.
test=ipis
. /stress/lib.sh
sgis() { # rescheduling and function calls: how an idle CPU is woken is the kernel's choice
    awk '/^IPI[01]:/ { for (i = 2; i <= NF; i++) sum += $i } END { printf "%d", sum }' /proc/interrupts
}
before=$(sgis)
rm -rf $work && mkdir -p $work
pair() { # NAME CPU OTHER ROUNDS
    mkfifo $work/$1.there $work/$1.back
    taskset -c $3 sh -c "while read -r word; do echo \$word; done <$work/$1.there >$work/$1.back" &
    taskset -c $2 sh -c "exec 3>$work/$1.there 4<$work/$1.back; n=0
        while [ \$n -lt $4 ]; do n=\$((n + 1)); echo \$n >&3; read -r word <&4; [ \$word = \$n ] || exit 1; done
        echo \$n >$work/$1.rounds" &
}
pair a 0 1 "$1"
pair b 1 $((cpus - 1)) "$1"
pair c $((cpus - 1)) 0 "$1"
wait
for name in a b c; do
    [ "$(cat $work/$name.rounds)" = "$1" ] || fail "pair $name: $(cat $work/$name.rounds) rounds of $1"
done
n=$(($(sgis) - before))
[ $n -gt "$1" ] || fail "$n CPUs were woken by another in 3 x $1 rounds"
kernel_is_quiet
echo "PASS stress.ipis: 3 x $1 words there and back, $n CPUs woken by SGI"
