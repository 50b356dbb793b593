#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The borrower's half of the sharing demo; alpha.sh is the owner's. The digest to compare with came beside the offer,
# through the hypervisor's message, not through the buffer. --gone touches the mapping until alpha has taken it back.
echo "demo: beta: I map what alpha lends, check it, answer in place, and touch it once more when it is gone."
if lagoon --story "demo: beta" import --peer alpha --label tide --timeout 120 --verify \
    --write 0 "beta has read {sha256}" --ring --gone 60; then
    read -r up _ </proc/uptime
    echo "demo: beta: the kernel lives on: Linux $(uname -r), up $up s"
    echo "demo: beta: PASS"
else
    echo "demo: beta: FAIL"
    exit 1
fi
