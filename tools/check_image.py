#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks of the linked hypervisor: check_image.py build/atoll.elf. Prints PASS or FAIL for each rule.

No undefined symbol, no static constructor, no FP/SIMD register, no segment that is writable and executable, system
instructions (msr, mrs, tlbi, at, dc, ic, hvc, smc, eret) only in code that comes from *_hw files, .S or headers named
*_hw, no register that an exit leaves to the guest, and a size budget. Code is traced to its source file by the object it was compiled into.
"""
import argparse
import os
import re
import subprocess
import sys

TEXT_BUDGET = 512 * 1024   # bytes of code and constants
IMAGE_BUDGET = 8 << 20     # bytes of memory, as boot/head.S maps [linker.ld]
FP_REGISTER = re.compile(r"(?<![\w.])(?:[vqdshb](?:[12]?\d|3[01])(?:\.\d*[bhsdq])?(?:\[\d+\])?|z\d+\.[bhsd]|p\d+/[mz])(?!\w)")
FP_MNEMONIC = re.compile(r"^(?:f[a-z]+|scvtf|ucvtf|ld[1-4]r?|st[1-4]|movi|mvni|dup|ins|umov|smov|cnt|addv)$")
SYSTEM = re.compile(r"^(?:msr|mrs|tlbi|at|dc|ic|hvc|smc|eret)$")
# Allowed everywhere: reading the counter-like, side-effect free registers is still a *_hw matter, so nothing is.
GUEST_REGISTER = re.compile(r"\b[xw]1[0-58]\b")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\s+[0-9a-f]{8}\s+(\S+)\s*(.*)$")


def tool(cross, name, *arguments):
    run = subprocess.run([cross + name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"{cross}{name} {' '.join(arguments)}: {run.stderr.strip()}")
    return run.stdout


class Checker:
    def __init__(self, elf, objects, cross):
        self.elf, self.objects, self.cross = elf, objects, cross
        self.failed = False

    def verdict(self, name, problems):
        for problem in problems[:20]:
            print(f"  {problem}")
        print(f"FAIL image: {name} ({len(problems)})" if problems else f"PASS image: {name}")
        self.failed = self.failed or bool(problems)

    def undefined_symbols(self):
        names = tool(self.cross, "nm", "--undefined-only", self.elf).split("\n")
        self.verdict("no undefined symbol", [n.strip() for n in names if n.strip()])

    def constructors(self):
        bad = []
        for line in tool(self.cross, "readelf", "-SW", self.elf).split("\n"):
            match = re.match(r"\s*\[\s*\d+\]\s+(\.(?:init_array|fini_array|preinit_array|ctors|dtors)\S*)\s+\S+\s+\S+\s+"
                             r"\S+\s+([0-9a-f]+)", line)
            if match and int(match.group(2), 16) != 0:
                bad.append(f"{match.group(1)}: {int(match.group(2), 16)} bytes")
        symbols = tool(self.cross, "nm", "-C", self.elf)
        bad += re.findall(r"_GLOBAL__sub_I_\S+|guard variable for .*", symbols)
        self.verdict("no static constructor", bad)

    def segments(self):
        bad = []
        executable = 0
        for line in tool(self.cross, "readelf", "-lW", self.elf).split("\n"):
            match = re.match(r"\s*LOAD\s+(\S+)\s+(\S+)\s+\S+\s+\S+\s+\S+\s+([RWE ]{3})", line)
            if match:
                executable += "E" in match.group(3)
                if "W" in match.group(3) and "E" in match.group(3):
                    bad.append(f"segment at {match.group(2)} is {match.group(3)}")
        if executable == 0:
            bad.append("no executable segment found")
        self.verdict("no writable and executable segment", bad)

    def fp_registers(self):
        bad = []
        function = "?"
        count = 0
        for line in tool(self.cross, "objdump", "-d", "--no-show-raw-insn", "-C", self.elf).split("\n"):
            match = FUNCTION.match(line)
            if match:
                function = match.group(1)
                continue
            parts = line.split("\t")
            if len(parts) < 2:
                continue
            count += 1
            operands = re.sub(r"<.*", "", parts[2]) if len(parts) > 2 else ""
            if not self.fp_switch(function) and (FP_REGISTER.search(operands) or FP_MNEMONIC.match(parts[1].strip())):
                bad.append(f"{function}: {parts[1]} {operands}")
        if count == 0:
            bad.append("no instruction found")
        self.verdict("no FP/SIMD register outside of the context switch", bad)

    @staticmethod
    def fp_switch(function):
        """The assembly that saves and loads a guest's FP/SIMD registers is the one place that may name them."""
        return re.search(r"^(?:fpsimd|fp)_(?:save|load|restore|zero)\w*$", function) is not None

    def system_instructions(self):
        bad = []
        seen = 0
        for path, _, names in os.walk(self.objects):
            for name in names:
                if not name.endswith(".o") or name.endswith(".S.o") or name.endswith("_hw.cpp.o"):
                    seen += name.endswith(".o")
                    continue
                seen += 1
                bad += self.system_in(os.path.join(path, name))
        if seen == 0:
            bad.append(f"no object under {self.objects}")
        self.verdict("system instructions in *_hw and .S only", bad)

    def system_in(self, path):
        """System instructions in one object, except those inlined from a header named *_hw (by line numbers)."""
        bad = []
        source = "?"
        for line in tool(self.cross, "objdump", "-dl", path).split("\n"):
            match = re.match(r"^(/?[\w./+-]+):(\d+)", line)
            if match:
                source = match.group(1)
                continue
            match = INSTRUCTION.match(line)
            if match and SYSTEM.match(match.group(1)) and not re.search(r"_hw\.(?:hpp|h|cpp)$", source):
                bad.append(f"{os.path.relpath(path, self.objects)} [{source}]: {match.group(1)} {match.group(2)}")
        return bad

    def guest_registers(self):
        """el2/vectors.S leaves these of a guest in the CPU: no C++ may name them (Makefile, GUEST_REGISTERS)."""
        bad = []
        for path, _, names in os.walk(self.objects):
            for name in (n for n in names if n.endswith(".cpp.o")):
                for line in tool(self.cross, "objdump", "-d", os.path.join(path, name)).split("\n"):
                    match = INSTRUCTION.match(line)
                    if match and GUEST_REGISTER.search(re.sub(r"<.*", "", match.group(2))):
                        bad.append(f"{name}: {match.group(1)} {match.group(2)}")
        self.verdict("C++ leaves a guest's x10-x15 and x18 alone", bad)

    def tail_calls(self):
        """spill_and_call [el2/vectors.S] stores x10-x30 as the guest left them: nothing on the way may have a frame."""
        bad = []
        seen = 0
        inside = False
        for line in tool(self.cross, "objdump", "-d", "--no-show-raw-insn", "-C", self.elf).split("\n"):
            match = FUNCTION.match(line)
            if match:
                function = match.group(1)
                inside = re.search(r"\b(?:fast_sysreg|fast_data_abort|el2_handle_sync)\b", function) is not None
                seen += inside
            elif inside and re.search(r"\t(?:bl|blr)\t|\bsp\b|\b[xw](?:19|2\d|30)\b", line):
                bad.append(f"{function}: {line.split(chr(9), 1)[-1]}")
        if seen < 3:
            bad.append("the functions in question are not there: has the exit path changed?")
        self.verdict("the way to spill_and_call has no frame", bad)

    def size(self):
        fields = tool(self.cross, "size", self.elf).split("\n")[1].split()
        text, data, bss = (int(f) for f in fields[:3])
        print(f"  text {text}, data {data}, bss {bss} bytes")
        bad = []
        if text > TEXT_BUDGET:
            bad.append(f"text {text} > {TEXT_BUDGET}")
        if text + data + bss > IMAGE_BUDGET:
            bad.append(f"image {text + data + bss} > {IMAGE_BUDGET}")
        self.verdict("size budget", bad)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("elf")
    parser.add_argument("--objects", default="build/el2obj")
    parser.add_argument("--cross", default=os.environ.get("CROSS", "aarch64-linux-gnu-"))
    arguments = parser.parse_args()
    checker = Checker(arguments.elf, arguments.objects, arguments.cross)
    try:
        checker.undefined_symbols()
        checker.constructors()
        checker.segments()
        checker.fp_registers()
        checker.system_instructions()
        checker.guest_registers()
        checker.tail_calls()
        checker.size()
    except (RuntimeError, OSError) as error:
        print(f"FAIL image: {error}")
        return 1
    return 1 if checker.failed else 0


if __name__ == "__main__":
    sys.exit(main())
