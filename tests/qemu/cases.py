# SPDX-License-Identifier: Apache-2.0
"""Every QEMU case, in one list: what machine, what bundle, what must be seen. run.py runs them.

A bundle NAME is made from guests/manifests/NAME.dts. Patterns are Python expressions over the console, where EL2's lines
start with "[atoll] " and, when several guests run, a guest's lines start with "[name] ".
Requirement ids are those of docs/requirements.md.
"""
import functools
import hashlib
import re
from dataclasses import dataclass, field
from typing import Callable, Optional


@dataclass
class Expect:
    """Waits until the pattern appears after what was seen before."""
    pattern: str
    seconds: Optional[float] = None


@dataclass
class Send:
    """Types the text; `delay` seconds pass first."""
    text: str
    delay: float = 0.0


@dataclass
class Absent:
    """The pattern must not appear at any time while the case runs."""
    pattern: str


@dataclass
class Stay:
    """The machine must run on for so long without anything forbidden."""
    seconds: float


@dataclass
class Off:
    """QEMU must end by itself: the machine was switched off."""


@dataclass
class Case:
    name: str
    shows: str
    script: list
    bundle: Optional[str] = None
    requirements: tuple = ()
    cpu: str = "cortex-a72"
    smp: int = 2
    memory: str = "1G"
    board: str = "virt"
    machine: str = "virtualization=on,gic-version=3"
    timeout: float = 60.0
    extra: tuple = ()
    image: Optional[str] = "build/atoll.img"
    kernels: tuple = ()        # kernel series under .deps that must exist
    damage: Optional[Callable[[bytes], bytes]] = None
    may_fail: bool = False     # panics and FAIL lines are what the case is about


DISKS = "build/disks"


def disk(mib, seed):
    """Path of a disk image of so many MiB; run.py makes it. Use it with snapshot=on."""
    return f"{DISKS}/{seed}-{mib}.img"


@functools.lru_cache(maxsize=4)
def disk_bytes(path):
    seed, mib = re.fullmatch(rf"{DISKS}/(\w+)-(\d+)\.img", path).groups()
    return hashlib.shake_256(seed.encode()).digest(int(mib) << 20)


class Digest:
    """A pattern: the SHA-256 of a disk image from byte `start` on, computed when it is wanted."""

    def __init__(self, path, start=0):
        self.path = path
        self.start = start

    def encode(self):
        return hashlib.sha256(disk_bytes(self.path)[self.start:]).hexdigest().encode()

    def __repr__(self):
        return f"SHA-256 of {self.path} from {self.start} on"


def line(guest, text):
    """A whole line of a guest, with or without its name in front."""
    return rf"(?:\[{guest}\] )?{text}\r*\n"


def passed(guest, *names):
    return [Expect(line(guest, f"PASS {name}")) for name in names]


def done(guest):
    return [Expect(line(guest, r"done: \d+ passed, 0 failed"))]


# Every guest has switched itself off, and none had a failure. Their own last lines may be cut by another guest's.
ALL_DONE = [Absent(r", [1-9]\d* failed"), Expect(r"\[atoll\] every VM is off")]


def up(guest):
    return Expect(rf"atoll: {guest} is up \(Linux [^)\r\n]*\)")


FOCUS = {name: f"\x1d{index + 1}" for index, name in enumerate(("alpha", "beta", "gamma", "delta"))}
MONITOR = "\x1dm"


def shell(guest, command, expected):
    """Types a command at a guest's shell. The echo of the command itself must not match `expected`."""
    return [Send(FOCUS[guest], 0.3), Send(f"{command}\r", 0.3), Expect(expected)]


# ---- bare payloads ---------------------------------------------------------------------------------------------------

BARE = [
    Case("floor-smoke", "the payload and its runtime on the bare machine, without Atoll",
         [*passed("alpha", "smoke.timer_wfi"), *done("alpha"), Off()],
         image="build/guests/bare/smoke.img", machine="gic-version=3", smp=1, memory="128M", timeout=20),
    Case("floor-undef", "the bare machine gives the answers that payload undef expects of Atoll",
         [*done("alpha"), Off()],
         image="build/guests/bare/undef.img", machine="gic-version=3", smp=1, memory="128M", timeout=30,
         extra=("-append", "bare")),
    Case("floor-psci", "payload psci on the bare machine",
         [Expect("psci: boot"), Send("o"), *done("alpha"), Off()],
         image="build/guests/bare/psci.img", machine="gic-version=3", smp=2, memory="128M", timeout=30),
    Case("smoke", "one bare guest: prints, takes a timer interrupt and an SGI, switches off",
         [Expect(r"\[atoll\] "), *passed("alpha", "smoke.sgi", "smoke.timer", "smoke.timer_wfi"), *done("alpha")],
         "smoke", ("BOOT-1", "VCPU-1", "IRQ-1", "TIME-1"), smp=1),
    Case("smoke-two", "two guests side by side",
         ALL_DONE,
         "smoke-two", ("VCPU-1", "CONS-1"), smp=2),
    *[Case(f"cpu-{cpu}", f"a guest on {cpu}", done("alpha"), "smoke", ("BOOT-2",), cpu=cpu, smp=1)
      for cpu in ("cortex-a57", "neoverse-n1", "max")],
    *[Case(f"smp-{smp}-memory-{memory}", f"{smp} CPUs and {memory} of RAM", done("alpha"), "smoke", ("BOOT-3",),
           smp=smp, memory=memory)
      for smp, memory in ((1, "512M"), (8, "16G"))],
    Case("undef", "forbidden and unknown accesses end as the architecture's exceptions in the guest",
         done("alpha"), "undef", ("CONT-1", "CONT-2", "DEV-3"), smp=1, timeout=60),
    Case("undef-max", "the same on -cpu max, where more registers exist",
         done("alpha"), "undef", ("CONT-1", "VCPU-2"), smp=1, cpu="max", timeout=60),
    Case("fp", "FP/SIMD registers survive preemption by another VM on one CPU",
         ALL_DONE,
         "fp", ("VCPU-3", "SCHED-1"), smp=1, timeout=60),
    Case("registers", "no system register of one VM shows in another on the same CPU",
         ALL_DONE,
         "registers", ("VCPU-3",), smp=1, cpu="max", timeout=60),
    Case("spin", "a guest that spins with interrupts masked starves nobody on the one CPU",
         done("beta"), "spin", ("SCHED-2",), smp=1, timeout=60),
    Case("hostile", "random calls and accesses of one guest; the other one lives on",
         [Expect(line("alpha", r"hostile: survived \d+ rounds")), *done("beta")],
         "hostile", ("CONT-3",), smp=2, timeout=120),
    Case("psci", "CPU_ON, CPU_OFF, AFFINITY_INFO, and SYSTEM_RESET from pristine images",
         [Expect("psci: boot"), Send("r"), Expect("psci: boot"), Send("o"), *done("alpha")],
         "psci", ("PSCI-1", "PSCI-2"), smp=2, timeout=60),
    Case("psci-one-cpu", "the same with four vCPUs on one CPU",
         [Expect("psci: boot"), Send("o"), *done("alpha")],
         "psci-four", ("PSCI-1", "SCHED-1"), smp=1, timeout=60),
    Case("ffa", "share, read-only fault, relinquish, reclaim between two bare guests",
         ALL_DONE,
         "ffa", ("SHARE-1", "SHARE-2", "SHARE-3"), smp=2, timeout=60),
    Case("ffa-one-cpu", "the same with both guests on one CPU",
         ALL_DONE,
         "ffa", ("SHARE-1", "SCHED-1"), smp=1, timeout=60),
    *[Case(name, what,
           ALL_DONE,
           "ffa-lend", ("SHARE-5", "SHARE-6"), smp=smp, cpu=cpu, memory="1G", timeout=120)
      for name, what, smp, cpu in (
          ("ffa-lend", "lend, donate, several borrowers, zeroes, 64 MiB scattered with interrupts between", 3,
           "cortex-a57"),
          ("ffa-lend-one-cpu", "the same with three guests on one CPU", 1, "max"))],
    Case("console-keys", "the keyboard moves between guests and the monitor",
         [Expect(line("alpha", "psci: boot")), Send(MONITOR, 0.5), Send("help\r", 0.3), Expect("vms"),
          Send("vms\r", 0.3), Expect("alpha"), Expect("beta"), Send("stats\r", 0.3), Expect(r"exits \w+ \d+"),
          Send(FOCUS["alpha"], 0.3), Send("o", 0.3), *done("alpha"),
          Send(FOCUS["beta"], 0.3), Send("o", 0.3), *done("beta")],
         "psci-two", ("CONS-2", "CONS-3"), smp=2, timeout=60),
]

PANIC = [
    Case("panic-report", "EL2's own fault: cause, registers, symbolised backtrace, last exits, all CPUs stopped",
         [Expect(line("alpha", "psci: boot")), Send(MONITOR, 0.5), Send("panic\r", 0.5), Expect(r"(?i)panic"),
          Expect(r"(?i)backtrace"), Expect(r"cmd_panic"), Expect(r"(?i)last exits|exits"), Stay(2)],
         "psci-two", ("BOOT-7",), timeout=30, may_fail=True),
]

# ---- refusals --------------------------------------------------------------------------------------------------------

REFUSALS = [
    Case("entered-at-el1", "without virtualization=on: a sentence and a stop",
         [Expect(r"EL1"), Absent(r"is up"), Stay(1)], "smoke", ("BOOT-4",), machine="gic-version=3", timeout=15),
    Case("entered-at-el3", "entered at EL3: a sentence and a stop",
         [Expect(r"EL3"), Stay(1)], None, ("BOOT-4",), smp=1, timeout=15,
         machine="virtualization=on,secure=on,gic-version=3",
         extra=("-device", "loader,file=build/atoll.img,addr=0x40200000,cpu-num=0"), image=None),
    Case("gicv2-refused", "a host with GICv2 is refused with a sentence",
         [Expect(r"\[atoll\] .*GICv2"), Absent("PASS smoke"), Stay(1)], "smoke", ("BOOT-5",),
         machine="virtualization=on", timeout=15),
    Case("no-bundle", "no initrd: a sentence",
         [Expect(r"\[atoll\] .*(?:bundle|initrd|manifest)"), Stay(1)], None, ("MAN-1",), smp=1, timeout=15),
    Case("bundle-truncated", "a bundle that ends in the middle",
         [Expect(r"\[atoll\] .*(?:bundle|manifest)"), Absent("PASS smoke"), Stay(1)],
         "smoke", ("MAN-2",), timeout=15, damage=lambda data: data[:len(data) // 2]),
    Case("bundle-magic", "a bundle with a wrong magic",
         [Expect(r"\[atoll\] .*(?:bundle|manifest)"), Absent("PASS smoke"), Stay(1)],
         "smoke", ("MAN-2",), timeout=15, damage=lambda data: b"\0\0\0\0" + data[4:]),
    Case("bundle-garbage", "a bundle of noise behind a right header",
         [Expect(r"\[atoll\] .*(?:bundle|manifest)"), Absent("PASS smoke"), Stay(1)],
         "smoke", ("MAN-2",), timeout=15,
         damage=lambda data: data[:40] + bytes((i * 197 + 31) & 0xff for i in range(len(data) - 40))),
]

# Each manifest of guests/manifests/gallery holds one mistake in VM alpha, and a sound VM beta that must still start.
GALLERY = {
    "zero-cpus": r"/vms/alpha: cpus = <0>",
    "thousand-cpus": r"/vms/alpha: cpus = <1000>",
    "short-cells": r"/vms/alpha: cpus = \(2 bytes\)",
    "no-kernel": r"/vms/alpha: kernel: it is missing",
    "dangling-kernel": r"/vms/alpha: kernel = \"nosuch\"",
    "dangling-share": r"/vms/alpha: share-with = \"nosuch\"",
    "share-itself": r"/vms/alpha: share-with = \"alpha\"",
    "bad-magic": r"/vms/alpha: not started: .*no usable kernel",
    "wrong-type": r"/images/odd: type = \"firmware\"",
    "kernel-too-large": r"/vms/alpha: memory-mib = <2>: too little",
    "too-much-ram": r"/vms/alpha: memory-mib = <1000000>",
    "more-than-the-host": r"/vms/alpha: memory-mib = <4096>: the host has",
    "zero-ram": r"/vms/alpha: memory-mib = <0>",
    "huge-window": r"/vms/alpha: share-window-mib = <100000>",
    "bad-name": r"/vms/alpha,_x: a VM's name",
    "same-name": r"/vms/alpha@1: a VM's name",
    "long-bootargs": r"/vms/alpha: bootargs = .*at most 1023",
    "start-cycle": r"/vms/alpha: start-after = \"gamma\": a cycle",
}
GALLERY_CASES = [
    Case(f"manifest-{name}", f"manifest with {name.replace('-', ' ')}: a message, the other VM starts",
         [Expect(rf"\[atoll\] .*{sentence}"), *done("beta")],
         f"gallery/{name}", ("MAN-3",), smp=2, memory="512M", timeout=30)
    for name, sentence in GALLERY.items()
]

# ---- Linux -----------------------------------------------------------------------------------------------------------

LINUX = [
    *[Case(f"linux-{series}-{cpu}", f"Debian's {series} kernel on {cpu} reaches its shell and computes",
           [up("alpha"), *shell("alpha", "echo answer-$((6*7))", "answer-42"),
            *shell("alpha", "cat /proc/interrupts | grep -c arch_timer", r"\n(?:\[alpha\] )?[1-9]")],
           f"linux-{series}", ("LINUX-1", "BOOT-2"), cpu=cpu, smp=2, timeout=90, kernels=(series,))
      for series, cpu in (("6.1", "cortex-a57"), ("6.1", "cortex-a72"), ("6.1", "neoverse-n1"), ("6.1", "max"),
                          ("6.12", "cortex-a72"), ("6.12", "max"))],
    Case("linux-two", "two Linux guests; both shells answer on one console",
         [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"),
          *shell("alpha", "echo from-$((1+1))-alpha", "from-2-alpha"),
          *shell("beta", "echo from-$((1+2))-beta", "from-3-beta")],
         "linux-two", ("LINUX-2", "CONS-2"), smp=2, timeout=120),
    Case("linux-reboot", "one guest reboots while the other one runs",
         [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"),
          *shell("alpha", "reboot -f", r"atoll: alpha is up"),
          *shell("alpha", "echo again-$((2+2))", "again-4"),
          *shell("beta", "echo still-$((3+2))", "still-5")],
         "linux-two", ("PSCI-2", "LINUX-2"), smp=2, timeout=180),
    Case("linux-poweroff", "one guest powers off, the other one lives on",
         [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"),
          *shell("alpha", "poweroff -f", r"\[atoll\] alpha: is off"),
          *shell("beta", "echo alone-$((3+3))", "alone-6")],
         "linux-two", ("PSCI-1", "LINUX-2"), smp=2, timeout=120),
    Case("overcommit", "four two-vCPU Linux guests on one CPU all reach their shells",
         [*[Expect(r"atoll: \w+ is up \(Linux [^)]*2 CPUs") for _ in range(4)],
          *[step for index, name in enumerate(FOCUS) for step in
            shell(name, f"echo {name}-$(({index}+10))", f"{name}-{index + 10}")]],
         "overcommit", ("SCHED-3",), smp=1, memory="2G", timeout=300),
    Case("linux-smp-8", "a guest with eight vCPUs on eight CPUs",
         [up("alpha"), *shell("alpha", "nproc", r"\n(?:\[alpha\] )?8\r*\n")],
         "linux-eight", ("LINUX-1", "BOOT-3"), smp=8, memory="2G", timeout=180),
]

# ---- sharing between Linux guests ------------------------------------------------------------------------------------

DEMO = [Absent(r"demo: \w+: FAIL"), Expect(r"demo: (?:alpha|beta): PASS"), Expect(r"demo: (?:alpha|beta): PASS")]

SHARING = [
    Case("demo", "the demo's story: every step verified in both guests", DEMO, "demo", ("SHARE-4", "DEMO-1"),
         memory="2G", timeout=180),
    Case("demo-one-cpu", "the same with both guests on one CPU", DEMO, "demo", ("SHARE-4", "SCHED-1"), smp=1,
         memory="2G", timeout=180),
    Case("demo-6.12", "the same with the newer kernel", DEMO, "demo-6.12", ("SHARE-4", "DEMO-1"), memory="2G",
         timeout=180, kernels=("6.12",)),
    Case("linux-read-only", "a read-only share: a write faults in the borrower's program, then orderly reclaim",
         [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"),
          *shell("beta", "lagoon watch &", r"--\r*\n"),
          *shell("alpha", "lagoon share --peer beta --label calm --size 1M --fill 3 --ro --keep && echo kept-$((1+1))",
                 r"\[beta\] 0x\w+ from alpha +calm +1 MiB, read-only, [^\r\n]*offered"),
          *shell("beta", "killall lagoon; wait; echo ended-$((3+3))", "ended-6"),
          *shell("beta", "lagoon import --peer alpha --label calm --ro --verify --try-write && echo tried-$((2+2))",
                 "tried-4"),
          *shell("alpha", "lagoon reclaim calm && echo back-$((2+3))", "back-5")],
         "linux-two", ("SHARE-2", "SHARE-4"), timeout=120),
    Case("peer-death", "the owner is switched off while the borrower maps its buffer; the borrower lives on",
         [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"),
          *shell("alpha", "lagoon share --peer beta --label ebb --size 1M --fill 7 --keep && echo kept-$((1+1))",
                 "kept-2"),
          *shell("beta", "lagoon import --peer alpha --label ebb --verify --hold &", "(?i)as announced|verif|SHA-256 of"),
          Send(MONITOR, 0.5), Send("stop alpha\r", 0.5), Expect(r"\[atoll\] alpha: is off"),
          *shell("beta", "lagoon list; echo widow-$((4+3))", "widow-7")],
         "linux-two", ("SHARE-4", "LINUX-2"), timeout=120),
    Case("process-death", "the owner's process is killed, then a borrower's: both sides clean up, 64 MiB go around",
         [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"),
          *shell("alpha", "lagoon share --peer beta --label big --size 64M --fill 9 --keep && echo big-$((1+1))",
                 "big-2"),
          *shell("beta", "lagoon import --peer alpha --label big --verify && echo seen-$((1+1))", "seen-2"),
          *shell("alpha", "lagoon share --peer beta --label k1 --size 4M --fill 3 --hold &", "holding on"),
          *shell("beta", "lagoon import --peer alpha --label k1 --verify --gone 60 && echo gone-$((2+2)) &",
                 "as announced"),
          *shell("alpha", "kill -9 $(pidof lagoon); echo killed-$((2+3))", "killed-5"),
          Expect(r"SIGBUS, as it should be"), Expect(r"gone-4"),
          *shell("alpha", "lagoon share --peer beta --label k2 --size 4M --fill 3 --keep && echo kept-$((3+3))",
                 "kept-6"),
          *shell("beta", "lagoon import --peer alpha --label k2 --hold &", "holding on"),
          *shell("beta", "kill -9 $(pidof lagoon); sleep 1; lagoon list; echo listed-$((4+3))", "k2 .*offered"),
          Expect(r"listed-7"),
          *shell("alpha", "lagoon reclaim k2 && lagoon reclaim big && lagoon list && echo empty-$((4+4))", "empty-8"),
          *shell("alpha", "rmmod lagoon && echo unloaded-$((4+5))", "unloaded-9")],
         "linux-two", ("SHARE-4", "LINUX-2"), timeout=240),
]

BOTH_UP = [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up")]
SILENT = Absent(r"(?i)(?:Internal error: |Oops|BUG: |Unable to handle kernel)[^\r\n]*")


NOT_BUSY = r"write error: (?!Device or resource busy)"


def load_check(guest):
    return shell(guest, "modprobe lagoon_check && echo check-$((7+7))", "check-14")


def kernel_check(series):
    """The dma-bufs of both sides, used by a driver in the kernel. lagoon_check is the driver."""
    return [
        SILENT, *BOTH_UP, *load_check("alpha"), *load_check("beta"),
        *shell("alpha", "lagoon heap --size 4M --fill 4 --kernel check && echo heap-$((1+1))",
               r"CPU access agree on 4194304 bytes"), Expect("heap-2"),
        *shell("alpha", "echo Y >/sys/module/lagoon/parameters/heap_scatter; lagoon heap --size 4M --fill 4"
               " --kernel check && echo sand-$((1+1))", r"\(1024 entries\)"), Expect("sand-2"),
        # Both sides, while it is shared; what one kernel writes is there for the other one.
        *shell("alpha", "lagoon share --peer beta --label kc --size 4M --fill 5 --keep && echo kept-$((1+2))",
               "kept-3"),
        *shell("beta", "lagoon import --label kc --verify --kernel check && echo seen-$((2+2))",
               r"as announced[^$]*CPU access agree on 4194304 bytes"), Expect("seen-4"),
        *shell("alpha", "lagoon open kc --expect 4191232 'written by the kernel' --kernel check && echo own-$((2+3))",
               "own-5"),
        *shell("alpha", "lagoon share --peer beta --label kr --size 1M --fill 6 --ro --keep && echo kept-$((3+3))",
               "kept-6"),
        *shell("beta", "lagoon import --label kr --kernel check --verify && echo ro-$((3+4))", "ro-7"),
        # A mapping in the borrower's kernel delays the reclaim, though no program can touch the buffer any more.
        *[step for kind in ("map", "vmap") for step in (
            *shell("beta", f"lagoon import --label kc --kernel {kind} --hold --kernel drop --gone 20 --kernel refused"
                   " && echo over-$((4+4)) &", "holding on"),
            *shell("alpha", "lagoon reclaim kc --timeout 1 || echo busy-$((4+5))", "still uses its pages"),
            Expect("busy-9"),
            *shell("beta", "kill -USR1 $(pidof lagoon)", r"let go of it in the kernel"),
            Expect(r"SIGBUS, as it should be"), Expect(r"refused: map -\d+, begin_cpu_access -\d+, vmap -\d+"),
            Expect("over-8"),
            *shell("alpha", "lagoon reclaim kc && lagoon share --peer beta --label kc --size 4M --fill 5 --keep"
                   " && echo anew-$((5+5))", "anew-10"))],
        # A page in a pipe delays it too.
        *shell("beta", "lagoon import --label kc --pin --hold --unpin --gone 20 && echo over-$((5+5)) &", "holding on"),
        *shell("alpha", "lagoon reclaim kc --timeout 1 || echo busy-$((4+6))", "still uses its pages"),
        Expect("busy-10"),
        *shell("beta", "kill -USR1 $(pidof lagoon)", r": [1-9]\d* of its 4096 bytes are not zero"), Expect("over-10"),
        *shell("alpha", "lagoon reclaim kc && lagoon share --peer beta --label kc --size 4M --fill 5 --keep"
               " && echo anew-$((5+6))", "anew-11"),
        # By force, while mapped both ways and in a pipe: the borrower's kernel then touches a page of its own, and lives.
        *shell("beta", "lagoon import --label kc --pin --kernel vmap --kernel map --hold --unpin --kernel touch"
               " --kernel drop --kernel refused && echo forced-$((5+6)) &", "holding on"),
        *shell("alpha", "lagoon reclaim kc --timeout 1 --force && echo taken-$((6+6))", "taken-12"),
        *shell("beta", "kill -USR1 $(pidof lagoon)", r": 0 of its 4096 bytes are not zero"),
        Expect(r"1024 of them zero"), Expect("forced-11"),
        # The owner's process dies while the borrower's kernel holds on: taken by force when the time is over.
        *shell("alpha", "echo 1000 >/sys/module/lagoon/parameters/revoke_after_ms;"
               " lagoon share --peer beta --label kd --size 1M --fill 8 --hold &", "holding on"),
        *shell("beta", "lagoon import --label kd --kernel vmap --hold --kernel touch && echo bereft-$((6+6)) &",
               "holding on"),
        *shell("alpha", "kill -9 $(pidof lagoon); sleep 4; echo left-$(lagoon list | grep -c kd)", "left-0"),
        *shell("beta", "kill -USR1 $(pidof lagoon)", r"256 of them zero"), Expect("bereft-12"),
        *shell("alpha", "lagoon reclaim kr && rmmod lagoon_check lagoon && echo unloaded-$((6+7))", "unloaded-13"),
        *shell("beta", "rmmod lagoon_check lagoon && echo unloaded-$((7+7))", "unloaded-14"),
    ]


SHARING += [
    *[Case(f"kernel-check{suffix}", f"vmap, attach, map and CPU access by the kernels of both sides, {series}",
           kernel_check(series), f"linux-two{suffix}", ("SHARE-4", "LAGOON-1"), memory="2G", timeout=300,
           kernels=(series,))
      for series, suffix in (("6.1", ""), ("6.12", "-6.12"))],
    Case("fragments", "64 MiB in 16384 pieces, described in fragments; the borrower verifies and answers in place",
         [SILENT, *BOTH_UP,
          *shell("alpha", "echo Y >/sys/module/lagoon/parameters/heap_scatter; lagoon share --peer beta --label sand"
                 " --size 64M --fill 11 --wait 100 --expect 0 'beta has read {sha256}' --reclaim 20"
                 " && echo swept-$((1+1)) &", "16384 pages in 16384 contiguous runs"),
          *shell("beta", "lagoon import --peer alpha --label sand --verify --write 0 'beta has read {sha256}' --ring"
                 " && echo read-$((1+2))", r"16384 pages \(16384 runs at the owner\)"),
          Expect("as announced"), Expect("read-3"), Expect("swept-2")],
         "linux-two", ("SHARE-4", "LAGOON-4"), timeout=240),
    Case("hibernation", "refused while a buffer is shared or imported; otherwise tried, and lagoon works on afterwards",
         [SILENT, *BOTH_UP,
          # Nothing is shared: the kernel makes its image, and finds no swap to write it to (or too little memory).
          *shell("alpha", "echo disk >/sys/power/state; lagoon peers; echo tried-$((1+1))", NOT_BUSY),
          Expect(r"beta +up"), Expect("tried-2"),
          *shell("alpha", "lagoon share --peer beta --label tide --size 1M --fill 1 --keep && echo kept-$((1+2))",
                 "kept-3"),
          *shell("alpha", "echo disk >/sys/power/state; echo tried-$((2+2))", "resource busy"), Expect("tried-4"),
          # What is only offered to beta is not there yet; the offer outlives the attempt, and what is imported is busy.
          *shell("beta", "echo disk >/sys/power/state; echo tried-$((2+3))", NOT_BUSY), Expect("tried-5"),
          *shell("beta", "lagoon import --label tide --verify --hold && echo let-$((3+3)) &", "holding on"),
          *shell("beta", "echo disk >/sys/power/state; echo tried-$((3+4))", "resource busy"), Expect("tried-7"),
          *shell("beta", "kill -USR1 $(pidof lagoon)", "let-6"),
          *shell("alpha", "lagoon reclaim tide && echo disk >/sys/power/state; echo tried-$((4+4))", NOT_BUSY),
          Expect("tried-8")],
         "linux-two", ("LAGOON-3",), timeout=180),
    Case("three-guests", "alpha lends to beta and gamma, beta to gamma, all at once; beta is reset in the middle",
         [SILENT, *[Expect(r"atoll: (?:alpha|beta|gamma) is up")] * 3,
          *shell("alpha", "lagoon share --peer beta --label ab --size 8M --fill 21 --keep"
                 " && lagoon share --peer gamma --label ag --size 8M --fill 22 --keep && echo lent-$((1+1))", "lent-2"),
          *shell("beta", "lagoon share --peer gamma --label bg --size 8M --fill 23 --keep && echo lent-$((1+2))",
                 "lent-3"),
          *shell("beta", "lagoon import --label ab --verify --write 0 'beta was here' --ring --hold &", "holding on"),
          *shell("gamma", "lagoon import --label ag --verify --write 0 'gamma was here' --ring --hold"
                 " --expect 0 'gamma was here' && echo no-$((1+1)) &", "holding on"),
          *shell("gamma", "lagoon import --label bg --verify --hold --verify && echo orphan-$((1+3)) &", "holding on"),
          *shell("alpha", "lagoon open ab --expect 0 'beta was here' && lagoon open ag --expect 0 'gamma was here'"
                 " && echo both-$((2+3))", "both-5"),
          # What only gamma and alpha share goes on; what beta lent stays readable; what beta borrowed comes back.
          Send(MONITOR, 0.5), Send("reset beta\r", 0.5), Expect("atoll: beta is up"),
          *shell("gamma", "lagoon list; echo list-$((3+3))", "bg .*orphaned"), Expect("list-6"),
          *shell("gamma", "killall -USR1 lagoon", r"orphan-4"),
          *shell("alpha", "lagoon open ab --write 0 'second life' && lagoon list && echo list-$((3+4))",
                 "ab .*offered"), Expect("list-7"),
          *shell("beta", "lagoon import --label ab --expect 0 'second life' --write 0 'and again' --ring"
                 " && echo again-$((4+4))", "again-8"),
          *shell("alpha", "lagoon open ab --expect 0 'and again' && lagoon reclaim ab && lagoon reclaim ag"
                 " && lagoon list && echo empty-$((4+5))", "empty-9"),
          *shell("gamma", "lagoon list; rmmod lagoon && echo unloaded-$((5+5))", "unloaded-10")],
         "linux-three", ("SHARE-4", "LAGOON-2"), memory="2G", timeout=300),
]

# ---- PCI devices given to guests -------------------------------------------------------------------------------------

DEVICE_MACHINE = "virtualization=on,gic-version=3,iommu=smmuv3"
DISK = disk(64, "reef")
SMALL = disk(1, "cay") # what the network cards fetch


def plug(*devices):
    """-device and what is behind it: (back end words, device)."""
    words = []
    for backend, device in devices:
        words += [*backend, "-device", device]
    return tuple(words)


def drive(number, path=DISK):
    return ("-drive", f"file={path},if=none,id=disk{number},format=raw,snapshot=on")


def user_net(number):
    return ("-netdev", f"user,id=net{number},net=10.0.{number}.0/24,restrict=on,tftp={DISKS}")


NVME = (drive(2), "nvme,serial=reef,drive=disk2,addr=2")
VIRTIO_BLK = (drive(3), "virtio-blk-pci,drive=disk3,addr=3,iommu_platform=on,disable-legacy=on")
E1000E = (user_net(4), "e1000e,netdev=net4,addr=4")
IGB = (user_net(5), "igb,netdev=net5,addr=5")
VIRTIO_NET = (user_net(6), "virtio-net-pci,netdev=net6,addr=6,iommu_platform=on,disable-legacy=on")


def nvme_and_e1000e(path):
    """The demo's devices: a disk in slot 2, in slot 3 a network card with a peer that answers with SHA-256."""
    net = ("-netdev", "user,id=net3,restrict=on,guestfwd=tcp:10.0.2.100:7-cmd:/usr/bin/python3 tools/peer.py")
    return plug((drive(2, path), "nvme,serial=reef,drive=disk2,addr=2"), (net, "e1000e,netdev=net3,addr=3"))


def block_device(guest, name):
    """Reads all but 8 MiB of it, writes there past the page cache, reads that back from the device."""
    return [*shell(guest, f"dd if=/dev/{name} bs=1M skip=8 2>&- | sha256sum", Digest(DISK, 8 << 20)),
            *shell(guest, f"dd if=/dev/urandom of=/tmp/in bs=64k count=64 2>&- && dd if=/tmp/in of=/dev/{name} bs=64k "
                   f"seek=37 conv=fsync 2>&- && echo 3 > /proc/sys/vm/drop_caches && dd if=/dev/{name} bs=64k skip=37 "
                   f"count=64 2>&- | cmp - /tmp/in && echo {name}-same-$((20+1))", f"{name}-same-21")]


def network_card(guest, number, driver):
    """The card with this driver fetches a file from QEMU's own TFTP server."""
    find = f"card=$(basename $(ls -d /sys/bus/pci/drivers/{driver}/*/net/* /sys/bus/virtio/drivers/{driver}/*/net/* 2>&-))"
    return [*shell(guest, f"{find}; ip addr add 10.0.{number}.15/24 dev $card; ip link set $card up; echo $card-up", "eth"),
            *shell(guest, f"for i in 1 2 3 4 5 6 7 8 9; do ping -c1 -W1 10.0.{number}.2 >&- && break; done; "
                   f"tftp -b 1400 -g -l /tmp/got -r {SMALL.rsplit('/', 1)[1]} 10.0.{number}.2; sha256sum /tmp/got", Digest(SMALL))]


DEVICES = [
    *[Case(f"devices-{series}", f"stock drivers of {series} on devices of the guest's own: disks and network cards move data",
           [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"), Send(FOCUS["alpha"], 0.3),
            *block_device("alpha", "nvme0n1"), *block_device("alpha", "vda"), *network_card("alpha", 4, "e1000e"),
            *network_card("alpha", 5, "igb"), *network_card("alpha", 6, "virtio_net"),
            Send(MONITOR, 0.5), Send("devices\r", 0.5), Expect("0000:00:02.0"),
            # A new life: everything is reset, and works again.
            *shell("alpha", "reboot -f", r"atoll: alpha is up"), *block_device("alpha", "nvme0n1"),
            *network_card("alpha", 4, "e1000e"), *shell("beta", "echo beside-$((40+2))", "beside-42")],
           f"devices-{series}", ("DMA-1", "DMA-2"), machine=DEVICE_MACHINE, cpu=cpu, timeout=400, kernels=(series,),
           extra=plug(NVME, VIRTIO_BLK, E1000E, IGB, VIRTIO_NET))
      for series, cpu in (("6.1", "cortex-a72"), ("6.12", "neoverse-n1"))],
    Case("devices-intx", "the same drivers with level-triggered INTx lines, two devices on one of them",
         [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"), Send(FOCUS["alpha"], 0.3),
          *block_device("alpha", "nvme0n1"), *network_card("alpha", 4, "e1000e"), *network_card("alpha", 6, "virtio_net"),
          *shell("alpha", "grep -cE ' Level +(nvme|eth|virtio)' /proc/interrupts", r"\n(?:\[alpha\] )?[2-4]\r*\n")],
         "devices-intx", ("DMA-1",), machine=DEVICE_MACHINE, timeout=240, extra=plug(NVME, VIRTIO_BLK, E1000E, IGB, VIRTIO_NET)),
    Case("devices-two", "each of two guests has a device; one is switched off in the middle of a transfer, the other goes on",
         [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up"),
          *network_card("beta", 4, "e1000e"),
          *shell("alpha", "while :; do dd if=/dev/nvme0n1 of=/dev/null bs=1M iflag=direct 2>&-; done & echo run-$((1+1))", "run-2"),
          Send(MONITOR, 1.0), Send("stop alpha\r", 0.5), Expect(r"\[atoll\] alpha: is off"),
          Send("start alpha\r", 0.5), *network_card("beta", 4, "e1000e"), Expect(r"atoll: alpha is up"),
          *block_device("alpha", "nvme0n1")],
         "devices-two", ("DMA-2", "DMA-3"), machine=DEVICE_MACHINE, timeout=300,
         extra=plug(NVME, (user_net(4), "e1000e,netdev=net4,addr=3"))),
    *[Case(f"dma{name}", "what a device reaches: its VM's memory and what is shared with it; nothing before, besides and after",
           [Expect(r"\[atoll\] warning: beta: PCI device 00:02.0 [^\r\n]*ipa 0x40000000, [^\r\n]*it does not decode"),
            Expect(r"\[atoll\] warning: beta: device 0000:00:02.0 \(StreamID 16\): write of ipa 0x42000000, where it has no "
                   r"memory, stopped: [^\r\n]*F_TRANSLATION"),
            *ALL_DONE],
           "dma", ("DMA-5", "DMA-6"), machine=DEVICE_MACHINE, cpu=cpu, smp=smp, timeout=90,
           extra=("-device", "edu,dma_mask=0xffffffffffffffff,addr=2"))
      for name, cpu, smp in (("", "cortex-a72", 2), ("-one-cpu", "neoverse-n1", 1))],
    Case("dma-fault-injection", "an EL2 that forgets the SMMU's invalidation is caught: the device writes to a page that was reclaimed",
         [Expect(line("alpha", r"FAIL dma\.reclaimed_page_is_unchanged[^\r\n]*"))],
         "dma", ("DMA-5",), machine=DEVICE_MACHINE, timeout=90, image="build/atoll-fault.img", may_fail=True,
         extra=("-device", "edu,dma_mask=0xffffffffffffffff,addr=2")),
    *[Case(f"demo-dma{suffix}", "the demo of devices: alpha's disk writes into a shared buffer, beta's card sends out of it",
           [Absent(r"demo: \w+: FAIL"), Expect("SHA-256 of 64 MiB: "), Expect(Digest(DISK)),
            Expect(r"64 of 64 sends zero-copied, 0 copied; it answers: 67108864 bytes, SHA-256 "), Expect(Digest(DISK)),
            *DEMO[1:],
            # The loopback copies, and that is noticed.
            *shell("alpha", "(nc -lp 7 -e /bin/cat &); sleep 1; lagoon heap --size 1M --fill 1 --send-zerocopy 127.0.0.1:7",
                   r"the kernel reports that it copied 1 of 1 sends")],
           f"demo-dma{suffix}", ("DMA-1", "SHARE-4"), machine=DEVICE_MACHINE, memory="2G", timeout=240, kernels=kernels,
           extra=nvme_and_e1000e(DISK))
      for suffix, kernels in (("", ()), ("-6.12", ("6.12",)))],
    Case("devices-refused", "devices that cannot be given: each with its reason; the other VMs start",
         [Expect(r"/vms/absent: devices = .*0000:00:1e.0: there is no such PCI function"),
          Expect(r"/vms/bypass: devices = .*0000:00:04.0: .*bypasses the SMMU"),
          Expect(r"/vms/bridge: devices = .*0000:00:05.0: is a bridge"),
          Expect(r"/vms/twice: devices = .*sound has 0000:00:02.0 already"),
          Expect(r"/vms/half: devices = .*0000:00:03.0: it is one of 2 functions"),
          Expect(r"/vms/line: devices = .*0000:00:06.0: its INTx line \(INTID 37\) is also that of 0000:00:02.0"),
          *ALL_DONE],
         "device-refusals", ("DMA-4",), machine=DEVICE_MACHINE, timeout=60,
         extra=plug(NVME, ((), "e1000e,addr=3.0,multifunction=on"), ((), "e1000e,addr=3.1"),
                    (drive(4), "virtio-blk-pci,drive=disk4,addr=4"), ((), "pcie-root-port,addr=5,chassis=1"),
                    (drive(6), "nvme,serial=six,drive=disk6,addr=6"))),
    Case("devices-no-smmu", "no SMMU: no device is given away, and everything else works",
         [Expect(r"SMMUv3 absent"), Expect(r"/vms/sound: devices = .*this machine has no SMMUv3"),
          *done("beta")],
         "device-refusals", ("DMA-4",), timeout=60, extra=plug(NVME)),
    Case("devices-old-smmu", "an SMMU without stage 2: the same",
         [Expect(r"SMMUv3: not used: it has no stage 2"), Expect(r"/vms/sound: devices = .*SMMUv3 cannot be used"),
          *done("beta")],
         "device-refusals", ("DMA-4",), board="virt-9.1", machine=DEVICE_MACHINE, timeout=60, extra=plug(NVME)),
]

CASES = [*BARE, *PANIC, *REFUSALS, *GALLERY_CASES, *LINUX, *SHARING, *DEVICES]
