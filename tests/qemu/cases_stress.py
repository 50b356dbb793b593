# SPDX-License-Identifier: Apache-2.0
"""Linux under interrupt stress. The scripts of guests/linux/stress do it and count; each ends with a PASS or FAIL line. The same
cases run long by run.py --torture ROUNDS."""
from case import BOTH_UP, FOCUS, MONITOR, SILENT, Case, Expect, Send, shell, up
from cases_devices import NVME, plug

# A cable from card to card, both in this machine.
CABLE = plug(NVME,
             (("-netdev", "hubport,hubid=1,id=net4"), "e1000e,netdev=net4,addr=4,mac=52:54:00:00:00:04"),
             (("-netdev", "hubport,hubid=1,id=net5"), "igb,netdev=net5,addr=5,mac=52:54:00:00:00:05"))


def stress(script, *meanwhile):
    """alpha runs it; what happens meanwhile must be done before it ends, or not: both are waited for."""
    return [*shell("alpha", f"/stress/{script}"), *meanwhile, Expect(rf"PASS stress\.{script.split('.', maxsplit=1)[0]}: ")]


def alive(number):
    """The other guest's shell and the monitor answer."""
    return [*shell("beta", f"echo alive-$(({number}+1))", f"alive-{number + 1}"),
            Send(MONITOR, 0.3), Send("vms\r", 0.3), Expect("vcpu 3"), Send(FOCUS["alpha"], 0.3)]


def devices_script(rounds, whole):
    steps = [SILENT, *BOTH_UP, *shell("beta", "/stress/server.sh", "stress: serving"), *stress(f"affinity.sh {4 * rounds}"), *alive(10)]
    if whole:
        steps += [*stress(f"hotplug.sh {rounds}"), *alive(20), *stress(f"flood.sh {1000 * rounds}"), *alive(30),
                  *shell("beta", f"/stress/received.sh {4000 * rounds}", r"PASS stress\.received")]
    return steps


def typing(lines):
    """What typed.sh asks for."""
    steps = [Expect("stress: type")]
    for first in range(0, lines, 5):
        steps.append(Send("".join(f"{100001 + n}\r" for n in range(first, min(first + 5, lines))), 0.05))
    for cpu in range(4):
        steps += [Expect(f"stress: type for CPU {cpu}"), Send("here\r")]
    for cpu in range(1, 4):
        steps += [Expect(f"stress: type without CPU {cpu}"), Send("there\r")]
    return steps


def timers_script(rounds):
    return [SILENT, up("alpha"), *stress(f"typed.sh {100 * rounds}", *typing(100 * rounds)),
            *stress(f"hotplug.sh {rounds} bare"), *stress(f"ipis.sh {100 * rounds}"),
            Send(MONITOR, 0.3), Send("start beta\r", 0.3), Send("start gamma\r", 0.3),
            *stress(f"timers.sh {100 * rounds}"), *stress(f"ipis.sh {30 * rounds}")]


def stress_cases(rounds, prefix, machines):
    """`machines`: of (GIC version, whether with devices, CPU, whether all of it)."""
    for gic, devices, cpu, whole in machines:
        what = ("routes, CPUs and a flood of packets while a network card and a disk work; nothing is lost, the other guest answers"
                if devices else "routes and CPUs while somebody types, SGIs, timers beside VMs that spin; nothing is lost")
        yield Case(f"{prefix}-gicv{gic}{'-devices' if devices else ''}", f"{what}; GICv{gic}",
                   devices_script(rounds, whole) if devices else timers_script(rounds), "stress-devices" if devices else "stress",
                   ("LINUX-3",), cpu=cpu, machine=f"virtualization=on,gic-version={gic}{',iommu=smmuv3' if devices else ''}",
                   timeout=120 + 180 * rounds, extra=CABLE if devices else ())


STRESS_CASES = list(stress_cases(1, "stress", ((2, False, "cortex-a72", True), (3, True, "cortex-a72", True), (4, True, "max", False))))


def torture_cases(rounds):
    """For run.py --torture."""
    return list(stress_cases(rounds, "torture", ((2, False, "max", True), (3, False, "neoverse-n1", True), (4, False, "cortex-a72", True),
                                                 (3, True, "neoverse-n1", True), (4, True, "cortex-a72", True))))
