#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The comparison of make demo-dma, owner of the disk: private copies and a ring, then the shared buffer. 64 MiB each.
/demo/copy-symbols.sh
lagoon --story "demo: alpha" share --peer beta --label ring --size 68K --wait 120 --counts begin \
    --ring-out /dev/nvme0n1 64M --counts ring &&
    lagoon --story "demo: alpha" share --peer beta --label reef --size 64M --ro --wait 120 --counts begin \
        --read-from /dev/nvme0n1 --ring --wait 120 --counts buffer &&
    echo "demo: alpha: PASS" || echo "demo: alpha: FAIL"
