#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the sharing demo on QEMU: demo.py [--stay] -- QEMU COMMAND...

Prints the guests' story, line by line. Without --stay: ends QEMU and exits 0 only if both guests reported PASS and
nothing reported FAIL. With --stay: hands the console over to the person once the story is told.
"""
import argparse
import os
import re
import shutil
import sys
import time

import pexpect

STORY = re.compile(r"(demo: (alpha|beta): .*)")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
LOG = "build/demo.log"
TIMEOUT = 180  # seconds for the whole story, under emulation


def tell(child, log):
    """Prints the story until both guests have ended it; returns what went wrong, or None."""
    passed = set()
    deadline = time.monotonic() + TIMEOUT
    while passed != {"alpha", "beta"}:
        child.timeout = deadline - time.monotonic()
        if child.timeout <= 0:
            raise pexpect.TIMEOUT("story")
        line = CONTROL.sub("", child.readline())
        if not line:
            return "QEMU ended before the story did"
        log.write(line)
        match = STORY.search(line)
        if not match:
            if "[atoll]" in line or line.startswith("qemu-system"):
                print(line.rstrip(), flush=True)
            continue
        text, who = match.group(1).rstrip(), match.group(2)
        print(text, flush=True)
        if text.endswith(": PASS"):
            passed.add(who)
        elif text.endswith(": FAIL"):
            return f"{who} reported a failure"
    return None


def stay(child):
    """The person's terminal becomes the machine's console until QEMU ends."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("demo: this is no terminal, so nobody can stay at the shells; leaving", flush=True)
        return
    print("\nYou are at alpha's shell. Ctrl-] n: the other guest. Ctrl-] m: monitor. Ctrl-a x: leave QEMU.",
          flush=True)
    child.sendline("")
    child.interact(escape_character=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stay", action="store_true", help="leave the person at the console")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    columns, lines = shutil.get_terminal_size()
    os.makedirs(os.path.dirname(LOG), exist_ok=True)
    try:
        child = pexpect.spawn(args.command[0], args.command[1:], encoding="utf-8", codec_errors="replace", echo=False,
                              dimensions=(lines, columns))
    except pexpect.ExceptionPexpect as error:
        print(f"demo: FAILED: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    try:
        with open(LOG, "w", encoding="utf-8", errors="replace") as log:
            try:
                problem = tell(child, log)
            except pexpect.TIMEOUT:
                log.write(child.before or "")
                problem = f"the story did not end within {TIMEOUT} seconds"
        if problem:
            print(f"demo: FAILED: {problem}; the whole console is in {LOG}", file=sys.stderr)
            return 1
        print("demo: every step was verified", flush=True)
        if args.stay:
            stay(child)
        return 0
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        child.close(force=True)


if __name__ == "__main__":
    sys.exit(main())
