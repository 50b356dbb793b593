#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# received.sh PACKETS: the other end of the cable has had at least so many, and its kernel has nothing to complain of.
test=received
. /stress/lib.sh
n=$(cat /sys/class/net/eth0/statistics/rx_packets)
lost=$(($(cat /sys/class/net/eth0/statistics/rx_missed_errors) + $(cat /sys/class/net/eth0/statistics/rx_dropped)))
[ $((n + lost)) -ge "$1" ] || fail "$n packets received, $lost dropped by a full card, of $1"
kernel_is_quiet
echo "PASS stress.received: $n packets, $lost dropped by a full card"
