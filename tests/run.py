#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs everything that `make test` means and ends with one line: N passed, N failed, N skipped.

A step is a build command followed by a test command. Of the test command's output, lines that start with PASS, FAIL or
SKIP are counted, and doctest's summary line; a step that ends badly without a FAIL line counts as one failure.
Exit status 0 only when nothing failed.
"""
import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from glob import glob

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = sys.executable
DOCTEST = re.compile(r"test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed")  # what it skips another process runs
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Step:
    name: str
    command: list  # or several, which run at the same time
    needs: list = field(default_factory=list)  # make goals that must be built first
    timeout: int = 600


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def steps():
    host_tests = ["build/host/host_tests", "--no-colors=1"]
    long_ones = "=*/vgic/*"  # as long as all others together
    yield Step("host tests", [[*host_tests, "-sf" + long_ones], [*host_tests, "-sfe" + long_ones]], ["host-tests-build"])
    for script in sorted(glob("tests/tools/*.py")):
        yield Step(f"tool test {os.path.basename(script)}", [PYTHON, script])
    for script in sorted(glob("tests/tools/*.sh")):
        yield Step(f"tool test {os.path.basename(script)}", ["bash", script])
    yield Step("image checks", [PYTHON, "tools/check_image.py", "build/atoll.elf"], ["build/atoll.elf"])
    yield Step("lint", [PYTHON, "tools/lint.py"])
    yield Step("QEMU cases", [PYTHON, "tests/qemu/run.py"], ["build/atoll.img", "fault-images", "bundles"], 1500)


def build(step):
    """Builds what the step needs; prints the end of make's output when it cannot."""
    if not step.needs:
        return True
    run = subprocess.run(["make", "-s", "-j2", *step.needs], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, errors="replace")
    if run.returncode != 0:
        print("\n".join(run.stdout.splitlines()[-30:]))
        print(f"FAIL {step.name}: make {' '.join(step.needs)} failed", flush=True)
    return run.returncode == 0


def count_line(line, count):
    if line.startswith("PASS "):
        count.passed += 1
    elif line.startswith("FAIL "):
        count.failed += 1
    elif line.startswith("SKIP "):
        count.skipped += 1
    match = DOCTEST.search(line)
    if match:
        count.add(Count(*map(int, match.groups())))


def run(step):
    count = Count()
    if not build(step):
        count.failed += 1
        return count
    commands = step.command if isinstance(step.command[0], list) else [step.command]
    try:
        processes = [subprocess.Popen(["timeout", "-k", "10", str(step.timeout), *command], stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, errors="replace") for command in commands]
    except OSError as error:
        print(f"FAIL {step.name}: {error}")
        count.failed += 1
        return count
    with ThreadPoolExecutor(len(processes)) as pool:
        later = [pool.submit(lambda process=process: list(process.stdout)) for process in processes[1:]]
        for output in (processes[0].stdout, *(lines.result() for lines in later)):
            for line in output:
                print(line, end="", flush=True)
                count_line(ANSI.sub("", line), count)
    status = next(filter(None, [process.wait() for process in processes]), 0)
    total = count.passed + count.failed + count.skipped
    if status != 0 and count.failed == 0:
        reason = f"no end within {step.timeout} s" if status == 124 else f"exit status {status}"
        print(f"FAIL {step.name}: {reason}")
        count.failed += 1
    elif total == 0 and status == 0:
        print(f"PASS {step.name}")
        count.passed += 1
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", metavar="WORD", help="only the steps whose name contains WORD")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    total = Count()
    for step in steps():
        if arguments.k and arguments.k not in step.name:
            continue
        print(f"==== {step.name}", flush=True)
        start = time.monotonic()
        count = run(step)
        print(f"---- {step.name}: {count} in {time.monotonic() - start:.0f} s", flush=True)
        total.add(count)
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
