#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make demo-dma`: a file goes from one guest's disk to another guest's network card through a shared buffer.

Makes the disk (64 MiB from a fixed seed), boots both guests, prints their story line by line, and compares the digests
that the owner of the disk and the peer behind the network card computed with the file's. Then demo_dma_ways.py counts
what this costs beside three other ways (--story: leave that out). Exits 0 only if all is right.
"""
import argparse
import hashlib
import os
import re
import sys

import pexpect

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))
sys.path.insert(0, os.path.join(ROOT, "tests/qemu"))
from case import disk, disk_bytes  # noqa: E402
from cases_devices import nvme_and_e1000e  # noqa: E402
from demo import tell  # noqa: E402
from demo_dma_ways import compare  # noqa: E402

LOG = "build/demo-dma.log"
MACHINE = ("-M virt,virtualization=on,gic-version=3,iommu=smmuv3 -cpu cortex-a72 -smp 2 -m 2G -nographic -nodefaults "
           "-serial mon:stdio -no-reboot -kernel build/atoll.img").split()
DISK_MIB = 64


class Log:
    """Writes the console to a file and keeps it."""

    def __init__(self, file):
        self.file = file
        self.text = ""

    def write(self, data):
        self.file.write(data)
        self.text += data


def make_disk(mib):
    """Path and SHA-256 of the disk."""
    path = disk(mib, "reef")
    data = disk_bytes(path)
    if not os.path.exists(path) or os.path.getsize(path) != len(data):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.{os.getpid()}", "wb") as file:
            file.write(data)
        os.replace(f"{path}.{os.getpid()}", path)
    return path, hashlib.sha256(data).hexdigest()


def start(bundle, path, extra=()):
    words = [os.environ.get("QEMU", "qemu-system-aarch64"), *MACHINE, "-initrd", f"build/bundles/{bundle}.bundle",
             *nvme_and_e1000e(path), *extra]
    return pexpect.spawn(words[0], words[1:], encoding="utf-8", codec_errors="replace", echo=False, timeout=300,
                         dimensions=(50, 250))


def wrong_digest(text, wanted):
    """What is wrong with the digests of the story, or None."""
    disk_owner = re.findall(r"demo: alpha: step \d+: SHA-256 of [^:]*: (\w+)", text)
    peer = re.findall(r"demo: beta: .*zero-copied, 0 copied; it answers: (\d+) bytes, SHA-256 (\w+)", text)
    if disk_owner != [wanted]:
        return f"alpha's disk wrote {disk_owner} into the buffer instead of {wanted}"
    if peer != [(str(DISK_MIB << 20), wanted)]:
        return f"the peer received {peer} instead of {DISK_MIB << 20} bytes with SHA-256 {wanted}"
    return None


def story():
    """Runs the story; what went wrong, or None."""
    path, wanted = make_disk(DISK_MIB)
    print(f"demo: the disk holds {DISK_MIB} MiB, SHA-256 {wanted}", flush=True)
    child = start("demo-dma", path)
    try:
        with open(LOG, "w", encoding="utf-8", errors="replace") as file:
            log = Log(file)
            try:
                problem = tell(child, log)
            except pexpect.TIMEOUT:
                log.write(child.before or "")
                problem = "the story did not end in time"
        return problem or wrong_digest(log.text, wanted)
    finally:
        child.close(force=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--story", action="store_true", help="the story only, without the comparison")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    os.makedirs(os.path.dirname(LOG), exist_ok=True)
    try:
        problem = story()
    except (pexpect.ExceptionPexpect, OSError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        print(f"demo: FAILED: {problem}; the whole console is in {LOG}", file=sys.stderr)
        return 1
    print("demo: the peer received what is on the disk; every step was verified", flush=True)
    if not arguments.story:
        print("demo: counting the four ways; this takes a minute", flush=True)
        path, wanted = make_disk(DISK_MIB)
        problem = compare(start, path, wanted, DISK_MIB << 20)
        if problem:
            print(f"demo: FAILED: {problem}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
