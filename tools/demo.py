#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the sharing demo on QEMU: demo.py [--stay] -- QEMU COMMAND...

Prints the guests' story, line by line. Without --stay: ends QEMU and exits 0 only if both guests reported PASS and
nothing reported FAIL. With --stay: hands the console over to the person once the story is told.
"""
import argparse
import re
import sys

import pexpect

STORY = re.compile(r"(demo: (alpha|beta): .*)")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
TIMEOUT = 180  # seconds for the whole story, under emulation


def tell(child, log):
    """Prints the story until both guests have ended it; returns what went wrong, or None."""
    passed = set()
    while passed != {"alpha", "beta"}:
        line = CONTROL.sub("", child.readline())
        if not line:
            return "QEMU ended before the story did"
        log.write(line)
        if line.startswith("[atoll]") and ("error" in line or "PANIC" in line):
            print(line.rstrip(), flush=True)
        match = STORY.search(line)
        if not match:
            if "[atoll]" in line:
                print(line.rstrip(), flush=True)
            continue
        text, who = match.group(1).rstrip(), match.group(2)
        print(text, flush=True)
        if text.endswith(": PASS"):
            passed.add(who)
        elif text.endswith(": FAIL"):
            return f"{who} reported a failure"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stay", action="store_true", help="leave the person at the console")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    log = open("build/demo.log", "w", encoding="utf-8", errors="replace")
    child = pexpect.spawn(args.command[0], args.command[1:], timeout=TIMEOUT, encoding="utf-8",
                          codec_errors="replace", echo=False)
    try:
        problem = tell(child, log)
    except pexpect.TIMEOUT:
        problem = f"the story did not end within {TIMEOUT} seconds"
    if problem:
        child.close(force=True)
        print(f"demo: FAILED: {problem}; the whole console is in build/demo.log", file=sys.stderr)
        return 1
    print("demo: every step was verified", flush=True)
    if args.stay:
        print("\nYou are at alpha's shell. Ctrl-] n: the other guest. Ctrl-] m: monitor. Ctrl-a x: leave QEMU.",
              flush=True)
        child.sendline("")
        child.interact(escape_character=None)
    child.close(force=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
