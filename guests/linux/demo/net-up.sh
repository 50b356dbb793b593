#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Gives the e1000e card of this guest the address 10.0.2.15 and waits until the network answers.
card=$(basename /sys/bus/pci/drivers/e1000e/*/net/*)
ip addr add 10.0.2.15/24 dev "$card" && ip link set "$card" up || exit 1
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    ping -c1 -W1 10.0.2.2 >/dev/null 2>&1 && exit 0
done
echo "the network does not answer"
exit 1
