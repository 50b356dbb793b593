#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: what Atoll costs, beside what other hypervisors cost and the goals.

Payload guests/bare/bench on the bare machine at EL1, on Atoll with one and with two vCPUs, and with two vCPUs on one
physical CPU; then a Linux boot on both, with the exits by cause. One tick of the counter is one instruction summed over
all CPUs and levels (-icount shift=0, 1 GHz counter), so figures are exact; --check runs twice and compares them.
Tests assert no figures; the exit status says only whether everything could be measured.
"""
import argparse
import os
import re
import sys

import pexpect

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOGS = "build/logs"
DETERMINISTIC = ("-accel tcg -icount shift=0,sleep=off -seed 1 -rtc base=2024-01-01T00:00:00,clock=vm "
                 "-nographic -nodefaults -serial mon:stdio -no-reboot").split()
BARE_MACHINE = "virt,gic-version=3,dtb-randomness=off"
EL2_MACHINE = "virt,virtualization=on,gic-version=3,dtb-randomness=off"
ROW = re.compile(r"bench (\w+) min (\d+) mean (\d+) max (\d+)")
ABSENT_ROW = re.compile(r"bench (\w+) none")
LINUX_CPU = "cortex-a72,cntfrq=1000000000"   # the same features for both kernels: no ratio of different code paths
LINUX_GOAL, LINUX_EXITS_GOAL = 1.005, 8000
LINUX_PEERS = "Xen 4.17 1.022 (28578 exits), KVM 6.1 with kvmtool 1.331"

# key, what, peers' bare, Bao (a53), Xen 4.17, KVM 6.1 VHE, the goal; '-' = not possible or not applicable
TABLE = [
    ("psci_version", "PSCI_VERSION by HVC", 10, 211, 480, 1060, 100),
    ("gicd_read", "read of GICD", 5, 231, 586, 1834, 180),
    ("gicr_read", "read of GICR", 5, 273, 605, 1908, 180),
    ("uart_read", "read of the UART's status", 9, "9 (direct)", 631, 6138, 180),
    ("id_register", "trapped ID register", 3, "3 (direct)", 433, 1416, 110),
    ("eoir_write", "EOIR write", 3, 3, 3, 3, 3),
    ("sgi_self", "SGI to self, to handler", 18, 780, 934, 2292, 350),
    ("timer_busy", "virtual timer, busy vCPU", 6, 205, 909, 2122, 180),
    ("timer_wfi", "virtual timer, vCPU in WFI", 6, 205, 4356, 2097, 180),
    ("ipi_busy", "IPI round trip, target busy", 79, 841, 1696, 4145, 600),
    ("ping_pong_wfi", "ping-pong in WFI, 2 pCPUs", 48, 1622, 15552, 8864, 1200),
    ("shared_cpu", "ping-pong in WFI, 1 pCPU", "-", "-", 10893, 18874, 2000),
    ("cpu_on", "CPU_ON to first instruction", 10, 1583, 5466, 20101, 1500),
]


def qemu(log_name, words, end, timeout):
    """Runs QEMU until `end` appears; the console's text."""
    words = [os.environ.get("QEMU", "qemu-system-aarch64"), *words]
    with open(f"{LOGS}/{log_name}.log", "w", encoding="utf-8") as log:
        child = pexpect.spawn(words[0], words[1:], timeout=timeout, echo=False, encoding="utf-8",
                              codec_errors="replace", dimensions=(50, 250))
        child.logfile_read = log
        try:
            child.expect(end)
            return child.before + child.after
        except (pexpect.TIMEOUT, pexpect.EOF):
            print(f"FAIL bench: {log_name} did not finish, see {LOGS}/{log_name}.log")
            return child.before or ""
        finally:
            child.close(force=True)


def payload(name, machine, smp, extra):
    text = qemu(f"bench-{name}", [*DETERMINISTIC, "-M", machine, "-cpu", "max", "-smp", str(smp), "-m", "512M", *extra],
                r"done: \d+ passed, \d+ failed", 180)
    return {match.group(1): tuple(int(g) for g in match.groups()[1:]) for match in ROW.finditer(text)}


def atoll(bundle):
    return ["-kernel", "build/atoll.img", "-initrd", f"build/bundles/{bundle}.bundle"]


def measure(gicv2):
    def on(machine):
        return machine.replace("gic-version=3", "gic-version=2") if gicv2 else machine

    bare = payload("bare", on(BARE_MACHINE), 2, ["-kernel", "build/guests/bare/bench.img"])
    one = payload("atoll-1", on(EL2_MACHINE), 1, atoll("bench-one"))
    two = payload("atoll-2", on(EL2_MACHINE), 2, atoll("bench"))
    shared = payload("atoll-shared", on(EL2_MACHINE), 1, atoll("bench-shared-cpu"))
    # Rows for one CPU come from the run with one vCPU.
    ours = {**two, **one}
    if "ping_pong_wfi" in shared:
        ours["shared_cpu"] = shared["ping_pong_wfi"]
    return bare, ours


def show(bare, ours):
    print("Instructions for each operation as the guest sees it: minimum (mean) of 1000. Peers: minimum.")
    print("Floor: the same payload on the bare machine / the floor of the peers' payload, which stamps a little later.")
    print("Above: Atoll minus our own floor.\n")
    head = ("operation", "Atoll", "(mean)", "floor", "above", "goal", "Bao", "Xen", "KVM", "")
    line = "{:28} {:>7} {:>8} {:>7} {:>6} {:>6} {:>11} {:>7} {:>7}  {}"
    print(line.format(*head))
    for key, name, peers_floor, bao, xen, kvm, goal in TABLE:
        floor = bare.get(key, ("-",))[0]
        both = f"{floor}/{peers_floor}"
        if key not in ours:
            print(line.format(name, "-", "", both, "", goal, bao, xen, kvm, "not measured"))
            continue
        least, mean, _ = ours[key]
        above = least - floor if isinstance(floor, int) else "-"
        verdict = "goal reached" if least <= goal else "beats Xen" if least <= xen else "SLOWER THAN XEN"
        print(line.format(name, least, f"({mean})", both, above, goal, bao, xen, kvm, verdict))


def counts(path):
    """{event: {field: number}} of an elcount file."""
    events = {}
    with open(path, encoding="utf-8") as file:
        for text in file:
            words = text.split()
            if len(words) > 2 and words[0] == "elcount":
                events.setdefault(words[1], {k: int(v) for k, v in (w.split("=") for w in words[2:])})
    return events


def linux_run(name, machine, extra):
    """Boots to the first command of the initramfs; the counts at that moment and at the first entry of EL1."""
    out = f"{LOGS}/bench-{name}.elcount"
    if os.path.exists(out):
        os.remove(out)
    qemu(f"bench-{name}", [*DETERMINISTIC, "-M", machine, "-cpu", LINUX_CPU, "-smp", "1", *extra,
                           "-plugin", f"build/libelcount.so,out={out}"], "bench: first command", 900)
    events = counts(out) if os.path.exists(out) else {}
    return events.get("mark-0x60"), events.get("guest-entry", {})


def total(count):
    return sum(count.get(level, 0) for level in ("el0", "el1", "el2"))


def linux():
    bare, _ = linux_run("linux-bare", BARE_MACHINE, [
        "-kernel", ".deps/kernels/default/Image", "-initrd", "build/bench/initramfs.cpio.gz", "-m", "512M",
        "-append", "console=ttyAMA0 rdinit=/mark"])
    mine, entry = linux_run("linux-atoll", EL2_MACHINE, ["-m", "1G", *atoll("bench-linux")])
    if not bare or not mine:
        print("FAIL bench: the Linux boot could not be measured")
        return False
    with open(".deps/kernels/default/abi", encoding="utf-8") as file:
        abi = file.read().strip()
    spent = total(mine) - total(entry)
    at_el2 = mine["el2"] - entry.get("el2", 0)
    ratio = spent / (spent - at_el2)
    print(f"\nLinux {abi}, 1 CPU, 512 MiB, from its first instruction to the first command of the initramfs:")
    print(f"  bare   {total(bare) / 1e6:9.1f} M instructions (QEMU virt has devices to probe that the VM has not)")
    print(f"  Atoll  {spent / 1e6:9.1f} M, of these {at_el2 / 1e6:.1f} M at EL2; to bare {spent / total(bare):.4f}")
    print(f"  ratio  {ratio:9.4f}   all instructions to the guest's own: goal {LINUX_GOAL}; {LINUX_PEERS}")
    print(f"  exits  {mine['exits']} (goal: fewer than {LINUX_EXITS_GOAL})")
    causes = sorted(((v, k[6:]) for k, v in mine.items() if k.startswith("cause:")), reverse=True)
    for number, cause in causes:
        print(f"    {cause:12} {number:8}")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-linux", action="store_true", help="the payload's rows only")
    parser.add_argument("--gicv2", action="store_true", help="the payload's rows, with a GICv2; the peers' are with a GICv3")
    parser.add_argument("--check", action="store_true", help="measure the rows twice; they must be identical")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    os.makedirs(LOGS, exist_ok=True)
    bare, ours = measure(arguments.gicv2)
    show(bare, ours)
    ok = bool(ours)
    if arguments.check:
        same = measure(arguments.gicv2) == (bare, ours)
        print(f"\n{'PASS' if same else 'FAIL'} bench: a second run gives the same figures")
        ok = ok and same
    if not (arguments.no_linux or arguments.gicv2):
        ok = linux() and ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
