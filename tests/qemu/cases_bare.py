# SPDX-License-Identifier: Apache-2.0
"""Cases with payloads of guests/bare, EL2's own panic, and what is refused at boot."""
from case import (ALL_DONE, FOCUS, MONITOR, Absent, Case, Expect, Off, Send, Stay, again, done, line, passed,
                  watch_each)

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
    *[Case(f"floor-timers-{cpu}", "payload timers on the bare machine: what it expects is the architecture's",
           [*done("alpha"), Off()],
           image="build/guests/bare/timers.img", machine="gic-version=3", cpu=cpu, smp=1, memory="128M", timeout=30)
      for cpu in ("cortex-a72", "max")],
    Case("floor-its", "payload its on the bare machine: QEMU's own ITS does what the payload expects",
         [*done("alpha"), Off()],
         image="build/guests/bare/its.img", machine="gic-version=3", smp=2, memory="128M", timeout=60),
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
    *[Case(f"timers-{cpu}", "both timers of a guest by the book: views, masks, levels, deadlines, the event stream",
           done("alpha"), "timers", ("TIME-1", "TIME-2"), cpu=cpu, smp=1, timeout=30)
      for cpu in ("cortex-a72", "max")],
    *[Case(f"time-{clock}", f"counters of {what} beside a spinning guest: they and stolen time agree with the RTC",
           done("alpha"), f"time-{clock}", ("TIME-3", "TIME-4"), smp=1, timeout=60)
      for clock, what in (("wall", "wall time"), ("run", "run time"))],
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
    *[Case(f"its{name}", "the same payload on the emulated ITS: every command, affinity, masking, pending tables, errors",
           done("alpha"), "its", ("ITS-1",), cpu=cpu, smp=smp, timeout=60)
      for name, cpu, smp in (("", "cortex-a72", 2), ("-one-cpu", "neoverse-n1", 1), ("-max", "max", 2))],
    *[Case(f"its-hostile{name}", "random registers, tables and commands of one guest's ITS; the other guest's works as before",
           ALL_DONE, "its-hostile", ("ITS-2", "CONT-3"), smp=smp, timeout=120)
      for name, smp in (("", 2), ("-one-cpu", 1))],
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
    Case("irq-watch", "the monitor tells the last events of an SGI, the timer, an SPI and an LPI",
         [Expect("watched: ready"), *watch_each(3, 27, 42, 8192),
          Send("irq alpha 8192\r", 0.3), Expect(r"LPI 8192: priority \w+, enabled"), Expect("signalled by a message"),
          # Of one that is not watched there is what registers and commands changed. Then the short ways are back.
          Send("irq alpha 42\r", 0.3), Expect("before another one was watched"), Expect("made pending by a register"),
          Send("irq alpha 42 unwatch\r", 0.3), Expect("changes by registers"), *again(), Send("o"), *done("alpha")],
         "watched", ("CONS-3", "IRQ-1"), smp=1, timeout=60),
]

# What an EL1 program can see of a GICv3, by topic: first on the bare machine, then in a guest of four vCPUs.
GIC = {
    "gic-dist": "the distributor's registers: identification, what can be written, reserved places, access sizes",
    "gic-redist": "the redistributors' registers, and what of the CPU interface can be written",
    "gic-state": "inactive, pending, active, and both: edges, levels, software, of SPIs, SGIs and PPIs",
    "gic-prio": "masks, preemption, binary points, groups, ends in any order, more active ones than list registers",
    "gic-sgi": "SGIs of every kind, routes, 1 of N, another CPU's private interrupts",
}
GIC_CASES = [
    case for name, what in GIC.items() for cpu in ("cortex-a72", "max") for smp in (1, 4) for case in (
        Case(f"floor-{name}-{cpu}-{smp}", f"{what}: the bare machine agrees", [*done("alpha"), Off()],
             image=f"build/guests/bare/{name.replace('-', '_')}.img", machine="gic-version=3", cpu=cpu, smp=smp,
             memory="128M", timeout=60, extra=("-append", "bare")),
        Case(f"{name}-{cpu}-{smp}", what, done("alpha"), name, ("IRQ-1", "IRQ-2"), cpu=cpu, smp=smp, timeout=90))
]
# The same payloads where EL2 is the CPU interface and interrupts come by HCR_EL2.VI and VF alone: no difference but the cost.
VI_CASES = [
    *[Case(f"vi-{name}-{cpu}-{smp}", f"{what}; the CPU interface in software", done("alpha"), f"{name}-vi", ("IRQ-4",),
           cpu=cpu, smp=smp, timeout=120)
      for name, what in GIC.items() for cpu, smp in (("cortex-a72", 1), ("max", 4))],
    *[Case(f"vi-timers-{cpu}", "both timers of a guest by the book; the CPU interface in software", done("alpha"), "timers-vi",
           ("IRQ-4", "TIME-1"), cpu=cpu, smp=1, timeout=30)
      for cpu in ("cortex-a72", "max")],
    Case("vi-its", "LPIs of an emulated ITS; the CPU interface in software", done("alpha"), "its-vi", ("IRQ-4", "ITS-1"),
         timeout=90),
    Case("vi-irqs", "the monitor says so", [Expect(line("alpha", "psci: boot")), Send(MONITOR, 0.5), Send("irqs alpha\r", 0.3),
                                            Expect("GICv3 with its CPU interface in software"), Send(FOCUS["alpha"], 0.3),
                                            Send("r", 0.3), Expect("alpha: restarts"), Expect("psci: boot"), Send("o"),
                                            *done("alpha")],
         "psci-vi", ("IRQ-4", "PSCI-1"), smp=1, timeout=60),
]
SWEEP_CASES = [
    Case(f"sweep-{smp}{'-vi' if manifest != 'sweep' else ''}", "every offset, size and misalignment of the interrupt controller, every encoding of its registers, by "
         "all vCPUs at once; then a reset, and all is as new; neighbours work on",
         [Expect("(?:beta|gamma): is off"), Expect("(?:beta|gamma): is off"), Send("s"), Expect(line("alpha", "PASS sweep.misaligned_alike")),
          # Both are started again while the frames are swept.
          Send(MONITOR, 0.3), Send("start beta\r", 0.3), *done("beta"), Send("start gamma\r", 0.3), *done("gamma"),
          Expect(line("alpha", "PASS sweep.frames_abort_nowhere")), Expect("alpha: restarts"), Expect("sweep: boot"),
          Send(FOCUS["alpha"], 0.3), Send("n", 0.3), *ALL_DONE],
         manifest, ("IRQ-3", "CONT-3"), cpu=cpu, smp=smp, timeout=240)
    for smp, cpu, manifest in ((1, "max", "sweep"), (4, "cortex-a72", "sweep"), (2, "max", "sweep-vi"))
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

BARE_CASES = [*BARE, *GIC_CASES, *VI_CASES, *SWEEP_CASES, *PANIC, *REFUSALS, *GALLERY_CASES]
