#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The owner's half of the sharing demo; beta.sh is the borrower's. Every line says what was done and checked;
# the last one is "demo: alpha: PASS", or FAIL with what went wrong in the line before it.
# {sha256} is the digest that alpha computed before sharing: the answer is right only if beta computed the same.
echo "demo: alpha: I fill 16 MiB, lend them to beta in place, wait for its answer in the same pages, take them back."
if lagoon --story "demo: alpha" share --peer beta --label tide --size 16M --fill 20240601 \
    --wait 120 --expect 0 "beta has read {sha256}" --reclaim 20; then
    echo "demo: alpha: PASS"
else
    echo "demo: alpha: FAIL"
    exit 1
fi
