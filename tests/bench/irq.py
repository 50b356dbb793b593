#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench-irq`: from an interrupt's cause to its handler, in instructions, and how late a parked vCPU's timer is.

Payload guests/bare/bench_irq on the bare machine at EL1 (the floor) and on Atoll, with the deterministic flags of run.py.
Each figure stands beside the last committed one (docs/bench.md); --write puts the new ones there. Tests assert no
figures; the exit status says only whether everything could be measured.
"""
import argparse
import os
import re
import sys

from run import BARE_MACHINE, DETERMINISTIC, EL2_MACHINE, LOGS, ROOT, ROW, atoll, qemu

DOC = "docs/bench.md"
BEGIN, END = "<!-- irq table -->", "<!-- irq end -->"
EDU = ["-device", "edu,addr=2"]
# The bare machine's configuration space where Atoll shows it to guests.
FLOOR = (f"{BARE_MACHINE},highmem=off", 2, [*EDU, "-kernel", "build/guests/bare/bench_irq.img"])
SMMU = f"{EL2_MACHINE},iommu=smmuv3"
RUNS = {"": (SMMU, 2, [*EDU, *atoll("bench-irq")]),
        "vi": (SMMU, 2, [*EDU, *atoll("bench-irq-vi")]),
        "direct": (SMMU.replace("gic-version=3", "gic-version=4"), 2, [*EDU, *atoll("bench-irq")]),
        "alone": (EL2_MACHINE, 1, atoll("bench-late-alone")),
        "shared": (EL2_MACHINE, 1, atoll("bench-late-shared"))}
# (run, row of the payload): what it is
ROWS = {("", "eoir_write"): "EOIR write: no exit",
        ("", "sgi_self"): "SGI to self",
        ("", "sgi_whole"): "SGI to self, until its handler is back",
        ("", "sgi_running"): "SGI to another vCPU that runs",
        ("", "sgi_parked"): "SGI to another vCPU that is parked",
        ("", "timer_busy"): "timer's deadline, vCPU runs",
        ("", "timer_wfi"): "timer's deadline, vCPU in WFI",
        ("", "intx"): "a device's INTx line (level SPI)",
        ("", "lpi_int"): "LPI by the ITS's INT command",
        ("direct", "lpi_int"): "the same, injected directly (GICv4)",
        ("", "lpi_msi"): "LPI by a device's message",
        ("direct", "lpi_msi"): "that, injected directly (GICv4)",
        ("vi", "eoir_write"): "by VI alone: EOIR write",
        ("vi", "sgi_self"): "by VI alone: SGI to self",
        ("vi", "sgi_whole"): "by VI alone: SGI to self, and back",
        ("vi", "sgi_running"): "by VI alone: SGI to one that runs",
        ("vi", "sgi_parked"): "by VI alone: SGI to one that is parked",
        ("vi", "timer_busy"): "by VI alone: timer, vCPU runs",
        ("vi", "timer_wfi"): "by VI alone: timer, vCPU in WFI",
        ("vi", "intx"): "by VI alone: a device's INTx line",
        ("vi", "lpi_int"): "by VI alone: LPI by the INT command",
        ("vi", "lpi_msi"): "by VI alone: LPI by a message",
        ("alone", "timer_parked"): "timer's deadline, parked, CPU to itself",
        ("shared", "timer_parked"): "timer's deadline, parked, CPU shared"}
LATE = re.compile(r"bench late (\d+) count (\d+)")
DOC_ROW = re.compile(r"    (.{40}) +(\d+) +(\d+) +(\d+) ")


def run(name, machine, smp, words):
    """Rows and lateness buckets of one run; both empty when it did not finish well."""
    text = qemu(f"bench-irq-{name or 'atoll'}", [*DETERMINISTIC, "-M", machine, "-cpu", "max", "-smp", str(smp),
                                                 "-m", "512M", *words], r"done: \d+ passed, \d+ failed", 180)
    if not re.search(r"done: \d+ passed, 0 failed", text):
        print(f"FAIL bench-irq: see {LOGS}/bench-irq-{name or 'atoll'}.log")
        return {}, {}
    rows = {match[1]: tuple(int(match[i]) for i in (2, 3, 4)) for match in ROW.finditer(text)}
    return rows, {int(match[1]): int(match[2]) for match in LATE.finditer(text)}


def measure():
    """({row: (least, mean, most)}, {row: floor's least}, {run: buckets})"""
    floor, _ = run("floor", *FLOOR)
    measured, late = {}, {}
    for name, how in RUNS.items():
        rows, buckets = run(name, *how)
        if buckets:
            late[name] = buckets
        measured.update({(name, row): figures for row, figures in rows.items() if (name, row) in ROWS})
    return measured, {(name, row): figures[0] for row, figures in floor.items() for name in ("", "direct")}, late


def read_committed():
    with open(DOC, encoding="utf-8") as file:
        text = file.read()
    body = text.split(BEGIN)[1].split(END)[0] if BEGIN in text and END in text else ""
    names = {what: row for row, what in ROWS.items()}
    return {names[m[1].strip()]: tuple(int(m[i]) for i in (2, 3, 4))
            for m in DOC_ROW.finditer(body) if m[1].strip() in names}


def table(measured, floor, late, committed):
    lines = [f"{'from cause to handler':40} {'least':>9} {'mean':>9} {'most':>9} {'floor':>6}"]
    for row, what in ROWS.items():
        if row not in measured:
            lines.append(f"{what:40} {'not measured':>9}")
            continue
        figures = measured[row]
        line = f"{what:40} " + " ".join(f"{f:9}" for f in figures) + f" {floor.get(row, '-'):>6}"
        old = committed.get(row)
        if old is not None and old != figures:
            line += "   committed: " + " ".join(str(f) for f in old)
        lines.append(line.rstrip())
    titles = {"alone": "CPU to itself", "shared": "a neighbour that spins on its CPU (slices of 10 ms)"}
    for name, buckets in late.items():
        lines += ["", f"how late the timer of a parked vCPU is, {sum(buckets.values())} deadlines, {titles[name]}:"]
        lines += [f"  less than {limit:>11} ns: {count:3} {'#' * (count // 2)}".rstrip()
                  for limit, count in buckets.items() if count]
    return lines


def write_committed(lines):
    with open(DOC, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    body = "\n".join(f"    {line}".rstrip() for line in lines)
    with open(DOC, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n\n{body}\n\n{END}{rest.split(END)[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="measure twice; the figures must be identical")
    parser.add_argument("--write", action="store_true", help=f"put the figures into {DOC}")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    os.makedirs(LOGS, exist_ok=True)
    result, committed = measure(), read_committed()
    print("Instructions, of all CPUs and exception levels; a tick of the counter is one.\n")
    print("\n".join(table(*result, committed)))
    print(f"\n{'As' if result[0] == committed else 'Not as'} committed in {DOC}.")
    ok = all(row in result[0] for row in ROWS)
    if arguments.check:
        same = measure() == result
        print(f"{'PASS' if same else 'FAIL'} bench-irq: a second run gives the same figures")
        ok = ok and same
    if arguments.write and ok:
        write_committed(table(*result, {}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
