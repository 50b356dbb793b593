#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Verifies the rules that keep the source tree a house (docs/architecture.md). Prints PASS or FAIL for each rule.

1. Include directions: boot -> el2 -> leaves -> lib; leaves never include each other, except that a device may include
   mmio_emul/device.hpp; nobody includes boot; guests know lib/abi (and what that includes) only.
2. Only files named *_hw.* and .S hold assembly, volatile or integer-to-pointer casts.
3. Only one file includes <libfdt.h>.
4. Each file starts with its SPDX line; the licence is the one of its folder.
5. No `virtual` outside of mmio_emul's devices and no standard header outside of the list that is safe freestanding.
6. Files under 400 lines are the aim: longer ones are listed, above 600 lines they fail.
"""
import os
import re
import sys
from collections import defaultdict

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LEAVES = {"stage2", "vgic", "vtimer", "smmu", "pci", "mmio_emul"}
TARGET = LEAVES | {"lib", "boot", "el2"}
ALLOWED = {"lib": {"lib"}, "el2": {"el2", "lib"} | LEAVES, "boot": TARGET}
ALLOWED.update({leaf: {leaf, "lib"} for leaf in LEAVES})
SAFE_HEADERS = set("""algorithm array atomic bit compare concepts cstddef cstdint functional initializer_list limits new
numbers optional source_location span string_view tuple type_traits utility variant version stdint.h stddef.h libfdt.h
stdarg.h""".split())
SOURCE = (".cpp", ".hpp", ".h", ".S", ".c")
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
ASSEMBLY = re.compile(r"\b(?:asm|__asm__|__asm)\b\s*(?:volatile|goto|inline)?\s*[({]")
VOLATILE = re.compile(r"\bvolatile\b")
INT_TO_POINTER = re.compile(r"\breinterpret_cast<[^<>]*\*\s*(?:const)?\s*>\s*\(\s*([^()]*(?:\([^()]*\))?[^()]*)\)")
POINTER_LIKE = re.compile(r"&|\.data\(\)|\.begin\(\)|\bthis\b|_ptr\b|\bchars?\b|\.c_str\(\)")
VIRTUAL = re.compile(r"\bvirtual\b")
LINE_AIM, LINE_LIMIT = 400, 600


def without_comments(text):
    """Blanks comments and literals, keeping line numbers."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', blank, text,
                  flags=re.S)


def source_files():
    folders = sorted(TARGET | {"guests", "tests", "tools", "labs"})
    for folder in folders:
        for path, directories, names in os.walk(os.path.join(ROOT, folder)):
            directories[:] = sorted(d for d in directories if not d.startswith(".") and d != "__pycache__")
            for name in sorted(names):
                yield os.path.relpath(os.path.join(path, name), ROOT)


def is_hw(path):
    name = os.path.basename(path)
    return name.endswith(".S") or os.path.splitext(name)[0].endswith("_hw")


class Checker:
    def __init__(self):
        self.problems = defaultdict(list)
        self.notes = []
        self.libfdt_users = []

    def fail(self, rule, path, line, text):
        self.problems[rule].append(f"{path}:{line}: {text}")

    def includes(self, path, lines):
        folder = path.split("/")[0]
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            system, name = match.group(1) == "<", match.group(2)
            if os.path.basename(name) == "libfdt.h" and folder in TARGET:
                self.libfdt_users.append(f"{path}:{number}")
            if system:
                if folder in TARGET and not path.startswith("lib/abi/") and name not in SAFE_HEADERS:
                    self.fail("safe standard headers", path, number, f"<{name}> is not safe freestanding")
                continue
            target = name.split("/")[0]
            if folder in ALLOWED:
                if name == "mmio_emul/device.hpp" and folder in LEAVES:
                    continue
                if target not in ALLOWED[folder]:
                    self.fail("include directions", path, number, f"{folder}/ may not include {name}")
            elif folder == "guests" and target in TARGET and not name.startswith("lib/abi/"):
                self.fail("include directions", path, number, f"guests/ may include lib/abi only, not {name}")

    def hardware(self, path, code):
        folder = path.split("/")[0]
        if folder not in TARGET or is_hw(path):
            return
        for number, line in enumerate(code.split("\n"), 1):
            if ASSEMBLY.search(line):
                self.fail("assembly in *_hw only", path, number, "assembly")
            if VOLATILE.search(line):
                self.fail("volatile in *_hw only", path, number, "volatile")
            for match in INT_TO_POINTER.finditer(line):
                if not POINTER_LIKE.search(match.group(1)) and integer_expression(match.group(1), code):
                    self.fail("integer-to-pointer casts in *_hw only", path, number, match.group(0).strip())

    def licence(self, path, lines):
        if not path.endswith(SOURCE + (".py", ".sh", ".ld", ".mk")) or path.endswith(".dts"):
            return
        head = "\n".join(lines[:2])
        if "SPDX-License-Identifier: " not in head:
            self.fail("SPDX lines", path, 1, "no SPDX line in the first two lines")
            return
        if path.split("/")[0] in TARGET and "Apache-2.0" not in head:
            self.fail("SPDX lines", path, 1, "hypervisor code is Apache-2.0")
        kernel = path.startswith(tuple(f"guests/linux/{module}/" for module in ("lagoon", "check", "edu")))
        if kernel and "/tool/" not in path and path.endswith((".c", ".h")) and "GPL-2.0" not in head:
            self.fail("SPDX lines", path, 1, "kernel code is GPL-2.0-only")

    def check(self, path):
        if not path.endswith(SOURCE + (".py", ".sh", ".ld", ".mk")):
            return
        with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
            text = file.read()
        lines = text.split("\n")
        self.licence(path, lines)
        if not path.endswith(SOURCE):
            return
        code = without_comments(text)
        self.includes(path, lines)
        self.hardware(path, code)
        folder = path.split("/")[0]
        if folder in TARGET:
            for number, line in enumerate(code.split("\n"), 1):
                if VIRTUAL.search(line) and folder != "mmio_emul":
                    self.fail("virtual for devices only", path, number, "virtual")
        if len(lines) > LINE_LIMIT and not path.startswith("tests/"):
            self.fail("file length", path, len(lines), f"more than {LINE_LIMIT} lines")
        elif len(lines) > LINE_AIM:
            self.notes.append(f"{path}: {len(lines)} lines (aim: {LINE_AIM})")


def integer_expression(expression, code):
    """True when the cast's operand is an address that the file knows as an integer: .value, a u64 or uintptr_t."""
    if re.search(r"\.value\b|\bu64\s*\{|\buintptr_t\b|^\s*0x", expression):
        return True
    match = re.match(r"\s*([A-Za-z_]\w*)", expression)
    return bool(match and re.search(rf"\b(?:u64|uintptr_t|u32)\s+(?:const\s+)?{match.group(1)}\b", code))


RULES = ["include directions", "assembly in *_hw only", "volatile in *_hw only",
         "integer-to-pointer casts in *_hw only", "libfdt in one file", "SPDX lines", "virtual for devices only",
         "safe standard headers", "file length"]


def main():
    checker = Checker()
    for path in source_files():
        checker.check(path)
    for user in checker.libfdt_users[1:]:
        checker.problems["libfdt in one file"].append(f"{user}: {checker.libfdt_users[0]} includes libfdt.h already")
    for note in checker.notes:
        print(f"note: {note}")
    for rule in RULES:
        found = checker.problems[rule]
        for problem in found:
            print(f"  {problem}")
        print(f"FAIL layers: {rule} ({len(found)})" if found else f"PASS layers: {rule}")
    return 1 if any(checker.problems.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
