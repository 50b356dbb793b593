#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The other end of the cable: port 7 answers with the SHA-256 of what it receives, port 8 sends the beginning of a file.
ip addr add 10.0.9.2/24 dev eth0 && ip link set eth0 up || exit 1
nc -ll -p 7 -e sha256sum &
nc -ll -p 8 -e head -c 262144 /bin/busybox &
echo "stress: serving"
