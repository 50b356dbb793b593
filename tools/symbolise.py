#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds function, file and line to the EL2 addresses of a console log: symbolise.py [LOG] [--elf build/atoll.elf].

Reads LOG or standard input. Every hexadecimal number that lies inside the image's code gets a line below it, with the
functions that were inlined there. In a backtrace (a line that says so, or "lr") the call before the return address is
looked up.
"""
import argparse
import os
import re
import subprocess
import sys

NUMBER = re.compile(r"\b0x([0-9a-fA-F]{6,16})\b")
RETURN_ADDRESS = re.compile(r"backtrace|\blr\b|\bx30\b|#\d+|called from", re.I)


def code_ranges(elf, cross):
    """[start, end) of each executable segment."""
    text = subprocess.run([cross + "readelf", "-lW", elf], check=True, stdout=subprocess.PIPE, text=True).stdout
    ranges = []
    for line in text.splitlines():
        match = re.match(r"\s*LOAD\s+\S+\s+(0x\w+)\s+\S+\s+\S+\s+(0x\w+)\s+([RWE ]{3})", line)
        if match and "E" in match.group(3):
            start = int(match.group(1), 16)
            ranges.append((start, start + int(match.group(2), 16)))
    return ranges


class Symboliser:
    def __init__(self, elf, cross):
        self.elf, self.cross = elf, cross
        self.ranges = code_ranges(elf, cross)
        self.known = {}

    def inside(self, address):
        return any(start <= address < end for start, end in self.ranges)

    def name(self, address):
        """The functions at an address, innermost first: 'f at file:line, inlined into g at file:line'."""
        if address not in self.known:
            text = subprocess.run([self.cross + "addr2line", "-Cfipa", "-e", self.elf, hex(address)], check=True,
                                  stdout=subprocess.PIPE, text=True).stdout
            lines = [line.split(": ", 1)[-1] for line in text.strip().splitlines()]
            root = os.getcwd() + os.sep
            joined = ", ".join(line.strip().replace("(inlined by)", "inlined into") for line in lines)
            self.known[address] = joined.replace(root, "")
        return self.known[address]

    def annotate(self, line):
        """The extra lines for one line of the log."""
        back = 4 if RETURN_ADDRESS.search(line) else 0
        for match in NUMBER.finditer(line):
            address = int(match.group(1), 16)
            if self.inside(address):
                yield f"        {match.group(0)}: {self.name(address - back)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", nargs="?", help="console log (default: standard input)")
    parser.add_argument("--elf", default="build/atoll.elf")
    parser.add_argument("--cross", default=os.environ.get("CROSS", "aarch64-linux-gnu-"))
    arguments = parser.parse_args()
    try:
        symboliser = Symboliser(arguments.elf, arguments.cross)
        source = open(arguments.log, encoding="utf-8", errors="replace") if arguments.log else sys.stdin
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"symbolise: {error}", file=sys.stderr)
        return 1
    with source:
        for line in source:
            print(line, end="" if line.endswith("\n") else "\n")
            for extra in symboliser.annotate(line):
                print(extra)
    return 0


if __name__ == "__main__":
    sys.exit(main())
