# SPDX-License-Identifier: Apache-2.0
"""Cases on the plain `virt` machine, which has a GICv2: some of the others again, and what only it has."""
from dataclasses import replace

from case import Absent, Case, Expect, Off, done
from cases_bare import BARE, PANIC
from cases_linux import LINUX, SHARING

PLAIN = "virtualization=on"

# Chosen so that every part that knows the GIC's version runs: exits, world switch, idling, kicks, restarts, panic.
AGAIN = ("smoke", "smoke-two", "undef", "fp", "registers", "spin", "hostile", "psci", "psci-one-cpu", "ffa", "console-keys",
         "smp-1-memory-512M", "smp-8-memory-16G", "panic-report", "linux-6.1-cortex-a72", "linux-6.12-cortex-a72", "linux-two",
         "linux-reboot", "overcommit", "linux-smp-8", "demo", "demo-one-cpu")

GICV2_CASES = [
    *[replace(case, name=f"gicv2-{case.name}", shows=f"{case.shows}; GICv2", machine=PLAIN,
              requirements=(*case.requirements, "IRQ-7"))
      for case in (*BARE, *PANIC, *LINUX, *SHARING) if case.name in AGAIN],
    Case("floor-smoke-gicv2", "payload smoke on the bare machine with a GICv2",
         [*done("alpha"), Off()], image="build/guests/bare/smoke.img", machine="gic-version=2", smp=1, memory="128M", timeout=20),
]
assert sum(case.name.startswith("gicv2-") for case in GICV2_CASES) == len(AGAIN)
