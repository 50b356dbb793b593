#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the QEMU cases that cases.py lists: a fresh QEMU for each, at most two at a time. Prints PASS, FAIL or SKIP for each.

A case's console goes to build/logs/NAME.log; a failing case also prints the last lines of it. Ends only the QEMU
processes that it started. Exit status 0 when no case failed.
"""
import argparse
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pexpect

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import DISKS, SMALL, Absent, Expect, Off, Send, Stay, disk_bytes  # noqa: E402
from cases import CASES  # noqa: E402
from cases_stress import torture_cases  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOGS = "build/logs"
# What no case may show unless it says so: EL2's panic, a kernel's, a failed check in a payload.
FORBIDDEN = r"\[atoll\] panic|Kernel panic - not syncing|(?:^|\n|\] )FAIL [^\r\n]*"
TAIL_LINES = 25
printing = threading.Lock()


class Failure(Exception):
    """Why a case failed."""


def command(case):
    """The QEMU command line of a case, as README shows it."""
    words = [os.environ.get("QEMU", "qemu-system-aarch64"), "-M", f"{case.board},{case.machine}", "-cpu", case.cpu, "-smp",
             str(case.smp), "-m", case.memory, "-nographic", "-nodefaults", "-serial", "mon:stdio", "-no-reboot"]
    if case.image:
        words += ["-kernel", case.image]
    if case.bundle:
        words += ["-initrd", bundle_path(case)]
    if case.device_tree:
        words += ["-dtb", changed_tree(case, words)]
    return words + list(case.extra)


def changed_tree(case, words):
    """The tree that QEMU would give this machine, with the case's change."""
    path = f"{LOGS}/{case.name}"
    subprocess.run([*words[:2], f"{words[2]},dumpdtb={path}.dtb", *words[3:]], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=30)
    source = subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts", f"{path}.dtb"], check=True, capture_output=True,
                            text=True).stdout
    subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", f"{path}.dtb"], check=True, text=True,
                   input=case.device_tree(source))
    return f"{path}.dtb"


def bundle_path(case):
    """The bundle, after the case's damage was done to a copy of it."""
    path = f"build/bundles/{case.bundle}.bundle"
    if case.damage is None:
        return path
    damaged = f"{LOGS}/{case.name}.bundle"
    with open(path, "rb") as file:
        data = case.damage(file.read())
    with open(damaged, "wb") as file:
        file.write(data)
    return damaged


def make_disks(case):
    """The disk images that the case's command line names: pseudo-random, the same every time, never written to."""
    for word in case.extra:
        for path in re.findall(rf"{DISKS}/[\w.-]+", word.replace(f"tftp={DISKS}", SMALL)):
            if not os.path.exists(path):
                os.makedirs(DISKS, exist_ok=True)
                temporary = f"{path}.{os.getpid()}.{threading.get_ident()}"
                with open(temporary, "wb") as file:
                    file.write(disk_bytes(path))
                os.replace(temporary, path)


def missing(case):
    """Why the case cannot run on this machine, or ''."""
    for series in case.kernels:
        if not os.path.exists(f".deps/kernels/{series}/Image"):
            return f"kernel {series} is not offered by this Debian release"
    return ""


class Console:
    """One QEMU and what it printed; every wait shares the case's deadline."""

    def __init__(self, case, log):
        words = command(case)
        log.write("$ " + shlex.join(words) + "\n")
        log.flush()
        self.case = case
        self.deadline = time.monotonic() + case.timeout
        self.forbidden = [] if case.may_fail else [re.compile(FORBIDDEN.encode())]
        self.forbidden += [re.compile(step.pattern.encode()) for step in case.script if isinstance(step, Absent)]
        self.qemu = pexpect.spawn(words[0], words[1:], timeout=None, echo=False, maxread=65536, dimensions=(50, 200))
        self.qemu.logfile_read = Tee(log)
        self.qemu.delaybeforesend = None

    def left(self, wanted=None):
        time_left = self.deadline - time.monotonic()
        return max(0.0, time_left if wanted is None else min(wanted, time_left))

    def refuse(self):
        """Something forbidden came: the failure that says it, with the rest of its line, which may be the reason."""
        came = self.qemu.after
        self.qemu.expect([pexpect.TIMEOUT, pexpect.EOF, re.compile(rb"\n")], timeout=1)
        return Failure(f"forbidden: {text(came + self.qemu.before)}")

    def wait(self, pattern, seconds=None):
        patterns = [pexpect.TIMEOUT, pexpect.EOF, re.compile(pattern.encode()), *self.forbidden]
        hit = self.qemu.expect(patterns, timeout=self.left(seconds))
        if hit == 0:
            raise Failure(f"no {pattern!r} in time")
        if hit == 1:
            raise Failure(f"QEMU ended before {pattern!r}")
        if hit > 2:
            raise self.refuse()

    def stay(self, seconds):
        """Lets the machine run: nothing forbidden may come, and QEMU must live on."""
        patterns = [pexpect.TIMEOUT, pexpect.EOF, *self.forbidden]
        hit = self.qemu.expect(patterns, timeout=self.left(seconds))
        if hit == 1:
            raise Failure("QEMU ended")
        if hit > 1:
            raise self.refuse()

    def off(self):
        patterns = [pexpect.TIMEOUT, pexpect.EOF, *self.forbidden]
        hit = self.qemu.expect(patterns, timeout=self.left())
        if hit == 0:
            raise Failure("the machine did not switch off")
        if hit > 1:
            raise self.refuse()
        self.qemu.close()
        if self.qemu.exitstatus != 0:
            raise Failure(f"QEMU ended with status {self.qemu.exitstatus}, signal {self.qemu.signalstatus}")

    def perform(self, step):
        if isinstance(step, Expect):
            self.wait(step.pattern, step.seconds)
        elif isinstance(step, Send):
            if step.delay:
                self.stay(step.delay)
            self.qemu.send(step.text)
        elif isinstance(step, Stay):
            self.stay(step.seconds)
        elif isinstance(step, Off):
            self.off()

    def close(self):
        self.qemu.close(force=True)


class Tee:
    """pexpect's log file: what the console printed, as text."""

    def __init__(self, log):
        self.log = log

    def write(self, data):
        self.log.write(text(data))

    def flush(self):
        self.log.flush()


def text(data):
    return data.decode("utf-8", "replace").replace("\r", "") if isinstance(data, bytes) else data


def run_case(case):
    """'' when the case passed, else the reason."""
    path = f"{LOGS}/{case.name}.log"
    with open(path, "w", encoding="utf-8") as log:
        try:
            make_disks(case)
            console = Console(case, log)
        except (pexpect.ExceptionPexpect, OSError) as error:
            return str(error).split("\n", 1)[0]
        try:
            for step in case.script:
                console.perform(step)
            return ""
        except (Failure, pexpect.ExceptionPexpect, OSError) as failure:
            return str(failure)
        finally:
            console.close()


def tail(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(f"  | {line.rstrip()}\n" for line in file.readlines()[-TAIL_LINES:])


def judge(case):
    """Runs one case and prints its verdict; True unless it failed."""
    reason = missing(case)
    start = time.monotonic()
    verdict = "SKIP" if reason else "PASS"
    if not reason:
        reason = run_case(case)
        verdict = "FAIL" if reason else "PASS"
    seconds = time.monotonic() - start
    with printing:
        ids = f" [{' '.join(case.requirements)}]" if case.requirements else ""
        print(f"{verdict} {case.name}{ids} {seconds:.1f} s" + (f": {reason}" if reason else ""))
        if verdict == "FAIL":
            path = f"{LOGS}/{case.name}.log"
            if os.path.exists(path):
                print(tail(path) + f"  full log: {path}")
        sys.stdout.flush()
    return verdict != "FAIL"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", metavar="PATTERN", default="", help="only the cases whose name matches this expression")
    parser.add_argument("-j", type=int, default=2, help="QEMUs at the same time (default 2)")
    parser.add_argument("--list", action="store_true", help="name the cases and what they show")
    parser.add_argument("--repeat", type=int, default=1, help="run each case so many times")
    parser.add_argument("--torture", type=int, metavar="ROUNDS", help="instead: Linux under interrupt stress, that much of it")
    parser.add_argument("--command", action="store_true", help="print the QEMU command lines and run nothing")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    os.makedirs(LOGS, exist_ok=True)
    cases = CASES if arguments.torture is None else torture_cases(arguments.torture)
    chosen = [case for case in cases if re.search(arguments.k, case.name)]
    if not chosen:
        print(f"FAIL qemu: no case matches {arguments.k!r}")
        return 1
    for case in chosen if arguments.list or arguments.command else ():
        print(shlex.join(command(case)) if arguments.command else f"{case.name:28} {case.shows}")
    if arguments.list or arguments.command:
        return 0
    # The longest first, so that two of them never remain for the end.
    order = sorted(chosen, key=lambda case: -case.timeout) * arguments.repeat
    with ThreadPoolExecutor(max_workers=max(1, arguments.j)) as pool:
        return 0 if all(list(pool.map(judge, order))) else 1


if __name__ == "__main__":
    sys.exit(main())
