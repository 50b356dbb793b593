# SPDX-License-Identifier: Apache-2.0
# What the stress tests share: cables up, traffic that checks itself, timers that are counted, and where each of a
# device's interrupts is delivered. alpha has the igb and the NVMe disk, beta the card at the other end, as 10.0.9.2.
# A test ends with one line, "PASS stress.NAME: what was counted" or "FAIL stress.NAME: why".

peer=10.0.9.2
blocks=256  # of the disk, in a transfer
size=262144 # of a transfer: the beginning of a file that both guests have
work=/tmp/stress
cpus=$(nproc)

fail() {
    touch $work/stop 2>/dev/null
    echo "FAIL stress.$test: $*"
    exit 1
}

# card_up ADDRESS: the first network card, with a peer that answers.
card_up() {
    ip addr add "$1/24" dev eth0 2>/dev/null
    ip link set eth0 up || fail "no network card"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        ping -c1 -W1 $peer >/dev/null 2>&1 && return
    done
    fail "$peer does not answer"
}

# ---- traffic ---------------------------------------------------------------------------------------------------

# Each transfer adds a line to $work/done, or to $work/bad if what arrived is not what was sent.
transfer() {
    case $1 in
    send) answer=$(head -c $size /bin/busybox | nc $peer 7) ;;
    fetch) answer=$(nc $peer 8 </dev/null | sha256sum) ;;
    read) answer=$(dd if=/dev/nvme0n1 bs=4k count=$blocks iflag=direct 2>/dev/null | sha256sum) ;;
    esac
    if [ "${answer%% *}" = "$2" ]; then
        echo "$1" >>$work/done
    else
        echo "$1: '$answer' for $2" >>$work/bad
    fi
}

# A loop of each kind. Each transfer is a connection of its own, so that all queues of the card have their turn.
traffic_start() {
    rm -rf $work && mkdir -p $work && : >$work/done
    whole=$(head -c $size /bin/busybox | sha256sum)
    part=$(head -c $((4096 * blocks)) /dev/nvme0n1 | sha256sum)
    asked=0
    disk_before=$(total $(disk_queues))
    asked_before=$(total $(disk_admin))
    for kind in send fetch read; do
        sum=$whole
        [ $kind = read ] && sum=$part
        while [ ! -e $work/stop ]; do transfer $kind "${sum%% *}"; done &
    done
}

# ask N: the disk is asked N times for a temperature limit, each time by a command of the administration queue. Nothing is
# kept of the answers, so that each costs an interrupt, or is found by the handler of the one before: who waits for an answer
# may wait on another CPU, and ask again before that handler has ended. An answer that nobody finds is a time-out.
ask() {
    for file in /sys/class/nvme/nvme0/hwmon*/temp1_max; do
        n=0
        while [ $n -lt "$1" ]; do
            read -r _ <"$file" || fail "the disk does not answer"
            n=$((n + 1))
        done
    done
    asked=$((asked + $1))
    [ ! -s $work/bad ] || fail "$(head -n 1 $work/bad)"
}

# Waits for what is under way. Every kind must have been carried. Who reads waits on the CPU that takes its queue's
# interrupts, so that there are as many of these as commands.
traffic_stop() {
    touch $work/stop
    wait
    [ ! -s $work/bad ] || fail "$(head -n 1 $work/bad)"
    for kind in send fetch read; do
        grep -q $kind $work/done || fail "no transfer of kind $kind came through"
    done
    commands=$((blocks * $(grep -c read $work/done)))
    taken=$(($(total $(disk_queues)) - disk_before))
    answers=$(($(total $(disk_admin)) - asked_before))
    [ $taken -eq $commands ] || fail "$taken interrupts of the disk for $commands commands"
    [ $answers -le $asked ] || fail "$answers interrupts of the disk for $asked questions"
    carried="$(wc -l <$work/done) transfers, $taken interrupts of the disk for as many commands, $answers for $asked questions"
}

# ---- timers ----------------------------------------------------------------------------------------------------

# timers CPUS LOOPS: cyclictest bound to each of the CPUs, or to none with "any", asks for LOOPS wake-ups every 10 ms, and
# its table goes to $work/timers.CPU.
timers_start() {
    wakeups=$2
    timers=
    for cpu in $1; do
        bound="-a $cpu"
        [ "${cpu#any}" = "$cpu" ] || bound=
        cyclictest -q -t 1 -p 80 -i 10000 -l $wakeups $bound >$work/timers.$cpu 2>&1 &
        timers="$timers $!"
    done
}

# Every wake-up that was asked for came. How late is told, not judged.
timers_check() {
    wait $timers
    late=0
    for file in $work/timers.*; do
        line=$(grep '^T:' $file) || fail "cyclictest: $(tail -n 1 $file)"
        came=$(echo "$line" | sed 's/.* C: *\([0-9]*\).*/\1/')
        max=$(echo "$line" | sed 's/.* Max: *\([0-9]*\).*/\1/')
        [ "$came" = $wakeups ] || fail "$came wake-ups of $wakeups: $line"
        [ "$max" -gt $late ] && late=$max
    done
    counted="$(ls $work/timers.* | wc -l) x $wakeups wake-ups, latest by $late us"
}

# ---- interrupts ------------------------------------------------------------------------------------------------

# IRQ numbers of a driver's device: all its vectors.
vectors() {
    ls /sys/bus/pci/drivers/$1/*/msi_irqs | sort -n
}

# Those that carry traffic: of the igb all but the first, which tells of the cable.
queues() {
    vectors igb | tail -n +2
}

disk_admin() {
    vectors nvme | head -n 1
}

disk_queues() {
    vectors nvme | tail -n +2
}

# on_cpu IRQ CPU: how often it was taken there.
on_cpu() {
    cut -d, -f$(($2 + 1)) /sys/kernel/irq/$1/per_cpu_count
}

elsewhere() { # IRQ CPU
    tr , '\n' </sys/kernel/irq/$1/per_cpu_count | awk -v cpu="$2" 'NR != cpu + 1 { sum += $1 } END { print sum + 0 }'
}

route() { # IRQ CPU
    echo "$2" >/proc/irq/$1/smp_affinity_list || fail "irq $1 cannot be sent to CPU $2"
}

# Each queue's vector is sent to each CPU, and must be taken there, and nowhere else any more. The driver looks at every
# queue every 2 s by an interrupt, so that this ends without traffic too.
delivered_everywhere() {
    cpu=0
    while [ $cpu -lt $cpus ]; do
        for irq in $(queues); do route $irq $cpu; done
        sleep 0.3 # what was under way has been taken
        for irq in $(queues); do
            eval "here_$irq=$(on_cpu $irq $cpu) there_$irq=$(elsewhere $irq $cpu)"
        done
        for irq in $(queues); do
            tries=0
            while [ "$(on_cpu $irq $cpu)" -le $((here_$irq)) ]; do
                tries=$((tries + 1))
                [ $tries -lt 200 ] || fail "irq $irq, sent to CPU $cpu, is not taken there: $(cat /sys/kernel/irq/$irq/per_cpu_count)"
                sleep 0.1
            done
        done
        for irq in $(queues); do
            [ "$(elsewhere $irq $cpu)" -eq $((there_$irq)) ] ||
                fail "irq $irq, sent to CPU $cpu, is taken elsewhere: $(cat /sys/kernel/irq/$irq/per_cpu_count)"
        done
        cpu=$((cpu + 1))
    done
}

# total IRQ...: how often all of them were taken.
total() {
    for irq; do cat /sys/kernel/irq/$irq/per_cpu_count; done | tr , '\n' | awk '{ sum += $1 } END { print sum + 0 }'
}

# ---- the end ---------------------------------------------------------------------------------------------------

# What a kernel says when an interrupt, a timer or a CPU went missing.
kernel_is_quiet() {
    ! dmesg | grep -E 'nobody cared|blocked for more than|rcu.*stall|soft lockup|NETDEV WATCHDOG|completion polled|timeout, ' ||
        fail "the kernel complains"
}
