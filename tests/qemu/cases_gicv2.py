# SPDX-License-Identifier: Apache-2.0
"""Cases on the plain `virt` machine, which has a GICv2: some of the others again, and what only it has."""
import re
from dataclasses import replace

from case import MONITOR, Absent, Case, Expect, Off, Send, Stay, again, done, watch_each
from cases_bare import BARE, PANIC
from cases_devices import DISK
from cases_linux import LINUX, SHARING

PLAIN = "virtualization=on"

# Chosen so that every part that knows the GIC's version runs: exits, world switch, idling, kicks, restarts, panic.
AGAIN = ("smoke", "smoke-two", "undef", "fp", "registers", "time-run", "spin", "hostile", "psci", "psci-one-cpu", "ffa",
         "console-keys", "smp-1-memory-512M", "smp-8-memory-16G", "panic-report", "linux-6.1-cortex-a72",
         "linux-6.12-cortex-a72", "linux-two", "linux-reboot", "linux-vi", "linux-steal", "overcommit", "linux-smp-8", "demo",
         "demo-one-cpu")

GICV2_CASES = [
    *[replace(case, name=f"gicv2-{case.name}", shows=f"{case.shows}; GICv2", machine=PLAIN,
              requirements=(*case.requirements, "GIC-1"))
      for case in (*BARE, *PANIC, *LINUX, *SHARING) if case.name in AGAIN],
    Case("gicv2", "the payload that knows the GICv2's book, in a guest",
         [*done("alpha")], "gicv2", ("GIC-1",), machine=PLAIN, timeout=60),
    Case("gicv2-timers", "both timers of a guest by the book",
         [*done("alpha")], "timers-gicv2", ("TIME-1", "TIME-2", "GIC-1"), machine=PLAIN, smp=1, timeout=30),
    Case("gicv2-one-cpu", "the same with both vCPUs on one CPU",
         [*done("alpha")], "gicv2", ("GIC-1", "SCHED-1"), machine=PLAIN, smp=1, timeout=60),
    *[Case(f"gicv2-vi{name}", "the same with the CPU interface in software", [*done("alpha")], "gicv2-vi", ("GIC-1", "IRQ-4"),
           machine=PLAIN, smp=smp, timeout=60)
      for name, smp in (("", 2), ("-one-cpu", 1))],
    Case("gicv2-vi-timers", "and both timers, where nothing is lost that QEMU's virtual interface forgets",
         [*done("alpha")], "timers-vi", ("TIME-1", "IRQ-4"), machine=PLAIN, smp=1, timeout=30),
    Case("gicv2-irq-watch", "the monitor tells the last events of an SGI, the timer and an SPI",
         [Expect("watched: ready"), *watch_each(3, 27, 42), Send(MONITOR, 0.3), Send("irq alpha 42 unwatch\r", 0.3), *again(),
          Send("o"), *done("alpha")], "watched", ("CONS-3", "GIC-1"), machine=PLAIN, smp=1, timeout=60),
    Case("floor-gicv2", "what it expects is what the bare machine does",
         [*done("alpha"), Off()], image="build/guests/bare/gicv2.img", machine="gic-version=2", memory="128M", timeout=60,
         extra=("-append", "bare")),
    Case("gicv2-devices-refused", "an SMMU, but no ITS: no device is given away, and everything else works",
         [Expect(r"/vms/sound: devices = .*no usable GICv3 ITS"), *done("beta")],
         "device-refusals", ("DMA-4", "GIC-1"), machine=f"{PLAIN},iommu=smmuv3", timeout=60,
         extra=("-drive", f"file={DISK},if=none,id=disk2,format=raw,snapshot=on",
                "-device", "nvme,serial=reef,drive=disk2,addr=2")),
    # The interrupt controller's four frames become two: no GICH, no GICV.
    Case("gic-refused", "a GICv2 without virtualization extensions is refused with a sentence",
         [Expect(r"\[atoll\] .*no virtualization extensions \(GICH and GICV\)"), Absent("PASS smoke"), Stay(1)], "smoke",
         ("BOOT-5",), machine=PLAIN, timeout=15,
         device_tree=lambda source: re.sub(r"(reg = <0x00 0x8000000 0x00 0x10000 0x00 0x8010000 0x00 0x10000) [^>]*>", r"\1>",
                                           source)),
    *[Case(f"floor-{name}-gicv2", f"payload {name} on the bare machine with a GICv2",
           [*done("alpha"), Off()], image=f"build/guests/bare/{name}.img", machine="gic-version=2", smp=1, memory="128M",
           timeout=30)
      for name in ("smoke", "timers")],
]
assert all(any(case.name == f"gicv2-{name}" for case in GICV2_CASES) for name in AGAIN)
