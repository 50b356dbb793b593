#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the image's own symbol table as assembly, for the backtrace of a panic.

usage: symbols.py NM ELF OUT.S

Linked twice: the first link has an empty table, the second one this. The table is the last thing in .rodata, so that
no function moves between the two. Layout [el2/symbols.hpp]: count, {offset from image_start, offset of name}, names.
"""
import subprocess
import sys


def main() -> int:
    nm, elf, out = sys.argv[1:4]
    listing = subprocess.run([nm, "-C", "--defined-only", "-n", elf], check=True, capture_output=True, text=True)
    base = None
    functions = []
    for line in listing.stdout.splitlines():
        address, kind, name = line.split(" ", 2)
        if name == "image_start":
            base = int(address, 16)
        if kind in "tTwW" and not name.startswith("$"):
            functions.append((int(address, 16), name))
    if base is None:
        print(f"symbols.py: {elf} has no image_start", file=sys.stderr)
        return 1
    unique = {}
    for address, name in functions:
        short = name.replace("atl::", "").replace("(anonymous namespace)::", "")
        unique.setdefault(address - base, short[:80].replace("\\", "\\\\").replace('"', '\\"'))
    with open(out, "w", encoding="ascii") as f:
        f.write('    .section .symbols, "a"\n    .balign 8\n    .global image_symbols\nimage_symbols:\n')
        f.write(f"    .long {len(unique)}, 0\n")
        for i, offset in enumerate(sorted(unique)):
            f.write(f"    .long {offset:#x}, n{i} - names\n")
        f.write("names:\n")
        for i, offset in enumerate(sorted(unique)):
            f.write(f'n{i}: .asciz "{unique[offset]}"\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
