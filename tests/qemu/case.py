# SPDX-License-Identifier: Apache-2.0
"""The words that cases are written in: the steps of a script, the machine of a case, disk images, guests' shells."""
import functools
import hashlib
import re
from dataclasses import dataclass
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
    device_tree: Optional[Callable[[str], str]] = None  # changes the source of the machine's own tree
    may_fail: bool = False     # panics and FAIL lines are what the case is about


DISKS = "build/disks"


def disk(mib, seed):
    """Path of a disk image of so many MiB; run.py makes it. Use it with snapshot=on."""
    return f"{DISKS}/{seed}-{mib}.img"


@functools.lru_cache(maxsize=4)
def disk_bytes(path):
    seed, mib = re.fullmatch(rf"{DISKS}/(\w+)-(\d+)\.img", path).groups()
    return hashlib.shake_256(seed.encode()).digest(int(mib) << 20)


SMALL = disk(1, "cay")      # what network cards fetch by TFTP


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


def again():
    """Payload watched makes each of its interrupts once."""
    return [Send(FOCUS["alpha"], 0.3), Send("g"), Expect(line("alpha", "PASS watched.spi")), Expect("watched: once more")]


def watch_each(*intids):
    """Each is watched while payload watched makes all of them once; what the monitor then tells of it."""
    steps = []
    for intid in intids:
        cause = {27: "the host's timer fired", 42: "made pending by a register"}.get(
            intid, "sent by vCPU 0" if intid < 16 else "signalled by a message")
        steps += [Send(MONITOR, 0.3), Send(f"irq alpha {intid} watch\r", 0.3), Expect(f"everything about {intid} is recorded"),
                  *again(), *(again() if intid >= 8192 else []),  # the end of an LPI is seen with the next one
                  Send(MONITOR, 0.3), Send(f"irq alpha {intid}\r", 0.3), Expect(r"watched; last events"),
                  Expect(r"\d+ watched from here on"), Expect(cause), Expect(r"vCPU 0: into a list register: pending"),
                  Expect(r"vCPU 0: read back: inactive")]
    return steps


# Every guest has switched itself off, and none had a failure. Their own last lines may be cut by another guest's.
ALL_DONE = [Absent(r", [1-9]\d* failed"), Expect(r"\[atoll\] every VM is off")]


def up(guest):
    return Expect(rf"atoll: {guest} is up \(Linux [^)\r\n]*\)")


FOCUS = {name: f"\x1d{index + 1}" for index, name in enumerate(("alpha", "beta", "gamma", "delta"))}
MONITOR = "\x1dm"


def shell(guest, command, *expected):
    """Types a command at a guest's shell. The echo of the command itself must not match the first of `expected`."""
    return [Send(FOCUS[guest], 0.3), Send(f"{command}\r", 0.3), *[Expect(pattern) for pattern in expected]]


def both(first, second):
    """Two lines of which either may come first: each is of another CPU."""
    return Expect(rf"(?s:{first}.*?{second}|{second}.*?{first})")


BOTH_UP = [Expect(r"atoll: (?:alpha|beta) is up"), Expect(r"atoll: (?:alpha|beta) is up")]
SILENT = Absent(r"(?i)(?:Internal error: |Oops|BUG: |Unable to handle kernel)[^\r\n]*")
