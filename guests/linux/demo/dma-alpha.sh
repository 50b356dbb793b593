#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The half of the demo of devices (make demo-dma) that owns the disk; dma-beta.sh owns the network card. Beta rings when
# it has the buffer, alpha when the file is in it, beta when it has been sent. Read-only: beta's card may read, no more.
echo "demo: alpha: I own a disk. It writes 64 MiB into a buffer that beta sees; when beta has sent them, I take it back."
if lagoon --story "demo: alpha" share --peer beta --label reef --size 64M --ro --wait 60 \
    --read-from /dev/nvme0n1 --sha256 --ring --wait 120 --reclaim 20; then
    echo "demo: alpha: PASS"
else
    echo "demo: alpha: FAIL"
    exit 1
fi
