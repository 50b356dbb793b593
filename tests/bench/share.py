#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench-share`: what sharing and lending cost, in instructions: for each call in total and per page.

Payload guests/bare/share_bench as owner and borrower on one physical CPU, with the deterministic flags of run.py; once
with a borrower that has no device, once with one whose device the SMMU lets at what it retrieves. Beside each row that
differs from the last committed figures (docs/bench.md) stand those; --write puts the new ones there. Tests assert no
figures; the exit status says only whether everything could be measured.
"""
import argparse
import os
import re
import sys

from run import DETERMINISTIC, EL2_MACHINE, LOGS, ROOT, atoll, qemu

DOC = "docs/bench.md"
BEGIN, END = "<!-- share table -->", "<!-- share end -->"
CALLS = ("share", "retrieve", "relinquish", "reclaim")
ROW = re.compile(r"share-bench (\w+) (\w+) (\d+) share (\d+) retrieve (\d+) relinquish (\d+) reclaim (\d+)")
DOC_ROW = re.compile(r"(share|lend) +(contiguous|scattered) +(\d+) " + r" +(\d+) +\d+\.\d" * 4 + r"$")
BLOCKS = [
    ("bench-share", "Borrower without devices", EL2_MACHINE, []),
    ("bench-share-dma", "Borrower with a device behind the SMMU", f"{EL2_MACHINE},iommu=smmuv3",
     ["-device", "edu,addr=2,dma_mask=0xffffffffffffffff"]),
]
ROWS_OF_BLOCK = 20


def measure():
    """{block: {(kind, shape, pages): the four totals}}"""
    found = {}
    for bundle, title, machine, devices in BLOCKS:
        text = qemu(bundle, [*DETERMINISTIC, "-M", machine, "-cpu", "max", "-smp", "1", "-m", "1G", *devices,
                             *atoll(bundle)], r"\[alpha\] done: \d+ passed, \d+ failed", 180)
        rows = {(m[1], m[2], int(m[3])): tuple(int(m[i]) for i in (4, 5, 6, 7)) for m in ROW.finditer(text)}
        if "FAIL" in text or len(rows) != ROWS_OF_BLOCK:
            print(f"FAIL bench-share: {title.lower()}: see {LOGS}/{bundle}.log")
        else:
            found[title] = rows
    return found


def row_text(row, totals):
    kind, shape, pages = row
    return f"{kind:5} {shape:10} {pages:5} " + "".join(f"{total:11} {total / pages:8.1f}" for total in totals)


def table(measured, committed):
    """Lines of the table; `committed` is what a changed row is shown beside, {} for none."""
    lines = []
    for title, rows in measured.items():
        lines += [f"{title}:", f"{'':5} {'':10} {'pages':>5} " + "".join(f"{c:>11} {'a page':>8}" for c in CALLS)]
        for row, totals in rows.items():
            lines.append(row_text(row, totals))
            old = committed.get(title, {}).get(row)
            if old is not None and old != totals:
                change = "".join(f"{o:11} {100 * (t - o) / o:+7.1f}%" for t, o in zip(totals, old))
                lines.append(f"{'      committed, and change':23}{change}")
        lines.append("")
    return lines[:-1]


def read_committed():
    with open(DOC, encoding="utf-8") as file:
        text = file.read()
    if BEGIN not in text or END not in text:
        return {}
    titles = {f"{title}:": title for _, title, _, _ in BLOCKS}
    committed, rows = {}, {}
    for line in text.split(BEGIN)[1].split(END)[0].splitlines():
        if line.strip() in titles:
            rows = committed.setdefault(titles[line.strip()], {})
        elif match := DOC_ROW.match(line.strip()):
            rows[match[1], match[2], int(match[3])] = tuple(int(match[i]) for i in (4, 5, 6, 7))
    return committed


def write_committed(measured):
    with open(DOC, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    body = "\n".join(f"    {line}".rstrip() for line in table(measured, {}))
    with open(DOC, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n\n{body}\n\n{END}{rest.split(END)[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="measure twice; the figures must be identical")
    parser.add_argument("--write", action="store_true", help=f"put the figures into {DOC}")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    os.makedirs(LOGS, exist_ok=True)
    measured, committed = measure(), read_committed()
    print("Instructions of each call, EL2's work and the guest's one instruction: all of it, and a page's part.\n")
    print("\n".join(table(measured, committed)))
    print(f"\n{'As' if measured == committed else 'Not as'} committed in {DOC}.")
    ok = len(measured) == len(BLOCKS)
    if arguments.check:
        same = measure() == measured
        print(f"{'PASS' if same else 'FAIL'} bench-share: a second run gives the same figures")
        ok = ok and same
    if arguments.write and ok:
        write_committed(measured)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
