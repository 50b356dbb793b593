#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Owns: the check that the scripts behind make's targets start: what they import is there. What they do, nothing in
# `make test` runs: demos and benches have targets of their own.

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ("tools/demo.py", "tools/demo_dma.py", "tests/bench/run.py", "tests/bench/share.py", "tests/bench/irq.py",
           "tests/qemu/run.py")


def main():
    failed = 0
    for script in SCRIPTS:
        run = subprocess.run([sys.executable, ROOT / script, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, check=False, timeout=60)
        failed += run.returncode != 0
        print(f"{'FAIL' if run.returncode else 'PASS'} {script} starts")
        if run.returncode:
            print(run.stdout)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
