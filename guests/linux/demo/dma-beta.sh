#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The half of the demo of devices (make demo-dma) that owns the network card; dma-alpha.sh owns the disk. The peer at
# 10.0.2.100 answers with the SHA-256 of what it received. --gone: alpha has taken the buffer back.
echo "demo: beta: I own a network card. It sends what alpha's disk writes into alpha's buffer, out of that buffer."
if /demo/net-up.sh && lagoon --story "demo: beta" import --peer alpha --label reef --timeout 60 --ring --wait 120 \
    --send-zerocopy 10.0.2.100:7 --ring --gone 60; then
    read -r up _ </proc/uptime
    echo "demo: beta: the kernel lives on: Linux $(uname -r), up $up s"
    echo "demo: beta: PASS"
else
    echo "demo: beta: FAIL"
    exit 1
fi
