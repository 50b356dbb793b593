#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# flood.sh PACKETS: the kernel's packet generator sends so many from each CPU, by a queue each, as fast as it can; a file goes
# through at the same time.
test=flood
. /stress/lib.sh
card_up 10.0.9.1
modprobe pktgen || fail "no packet generator"
mac=$(awk -v peer=$peer '$1 == peer { print $4 }' /proc/net/arp)
cpu=0
while [ $cpu -lt $cpus ]; do
    echo "add_device eth0@$cpu" >/proc/net/pktgen/kpktgend_$cpu || fail "no generator for CPU $cpu"
    for setting in "count $1" "pkt_size 60" "dst $peer" "dst_mac $mac" "queue_map_min $cpu" "queue_map_max $cpu" \
        "udp_dst_min 9" "udp_dst_max 9"; do
        echo "$setting" >/proc/net/pktgen/eth0@$cpu || fail "the generator refuses: $setting"
    done
    cpu=$((cpu + 1))
done
before=$(cat /sys/class/net/eth0/statistics/tx_packets)
traffic_start
echo start >/proc/net/pktgen/pgctrl
traffic_stop
sent=0
for result in /proc/net/pktgen/eth0@*; do
    n=$(sed -n 's/.*pkts-sofar: *\([0-9]*\).*/\1/p' $result)
    [ "$n" -eq "$1" ] || fail "$(tail -n 2 $result)"
    sent=$((sent + n))
done
passed=$(($(cat /sys/class/net/eth0/statistics/tx_packets) - before))
[ $passed -ge $sent ] || fail "$passed packets have left, $sent were sent"
kernel_is_quiet
echo "PASS stress.flood: $sent packets by $cpus queues, $carried"
