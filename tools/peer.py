#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The demo's peer behind a guest's network card: answers with the SHA-256 of what it receives.

QEMU's user network starts it for each connection to 10.0.2.100:7 (guestfwd) and ties standard input and output to it.
"""
import hashlib
import sys


def main():
    digest, size = hashlib.sha256(), 0
    while data := sys.stdin.buffer.read1(1 << 18):
        digest.update(data)
        size += len(data)
    print(f"{size} bytes, SHA-256 {digest.hexdigest()}", flush=True)


if __name__ == "__main__":
    main()
