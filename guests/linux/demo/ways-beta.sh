#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The comparison of make demo-dma, owner of the network card: ways-alpha.sh has the order.
/demo/net-up.sh &&
    lagoon --story "demo: beta" import --peer alpha --label ring --timeout 120 --counts begin --ring \
        --ring-in 10.0.2.100:7 64M --counts ring &&
    lagoon --story "demo: beta" import --peer alpha --label reef --timeout 120 --counts begin --ring --wait 120 \
        --send-zerocopy 10.0.2.100:7 --ring --counts buffer &&
    echo "demo: beta: PASS" || echo "demo: beta: FAIL"
