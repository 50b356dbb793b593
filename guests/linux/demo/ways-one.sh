#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The comparison of make demo-dma within one guest that owns both devices. 64 MiB each, not in the page cache before.
/demo/copy-symbols.sh
/demo/net-up.sh && echo 3 >/proc/sys/vm/drop_caches &&
    lagoon --story "demo: alpha" carry mmap /dev/nvme0n1 10.0.2.100:7 64M &&
    echo 3 >/proc/sys/vm/drop_caches &&
    lagoon --story "demo: alpha" carry sendfile /dev/nvme0n1 10.0.2.100:7 64M &&
    echo "demo: alpha: PASS" || echo "demo: alpha: FAIL"
