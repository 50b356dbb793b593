# SPDX-License-Identifier: Apache-2.0
"""The matrix of machines: every pair of GIC version, CPU, number of CPUs, and SMMU or none is on one of nine machines. On each,
two Linux guests come up and answer, and beside them run the payloads that know this GIC, one after the other."""
from itertools import combinations, product

from case import BOTH_UP, MONITOR, SILENT, Case, Expect, Send, line, shell

GICS, CPUS, SMPS, SMMUS = (2, 3, 4), ("cortex-a72", "neoverse-n1", "max"), (1, 4, 8), (False, True)
MACHINES = (
    (2, "cortex-a72", 1, False), (2, "neoverse-n1", 4, True), (2, "max", 8, False),
    (3, "cortex-a72", 4, False), (3, "neoverse-n1", 8, False), (3, "max", 1, True),
    (4, "cortex-a72", 8, True), (4, "neoverse-n1", 1, True), (4, "max", 4, False),
)
for (i, ours), (j, theirs) in combinations(enumerate((GICS, CPUS, SMPS, SMMUS)), 2):
    assert {(machine[i], machine[j]) for machine in MACHINES} == set(product(ours, theirs)), "a pair is on no machine"

PAYLOADS = {2: ("timers", "gicv2"), 3: ("timers", "gic-state", "gic-sgi", "its")}
PAYLOADS[4] = PAYLOADS[3]


def beside(payload):
    """Starts it; it passes and turns off. EL2 may tell of the end before the console has the last line."""
    ended = line(payload, r"done: \d+ passed, 0 failed") + rf"|\[atoll\] {payload}: is off"
    return [Send(MONITOR, 0.3), Send(f"start {payload}\r", 0.3), Expect(ended), Expect(ended)]


def machine_case(gic, cpu, smp, smmu):
    payloads = PAYLOADS[gic] + (("its-edu",) if smmu and gic > 2 else ())
    return Case(f"machine-gicv{gic}-{cpu}-{smp}{'-smmu' if smmu else ''}", f"two Linux guests, and beside them {', '.join(payloads)}",
                [SILENT, *BOTH_UP, *[step for payload in payloads for step in beside(payload)],
                 *shell("alpha", "echo cpus-$(nproc)", "cpus-2"), *shell("beta", "echo cpus-$(nproc)", "cpus-2")],
                "machine-gicv2" if gic == 2 else "machine", ("BOOT-2", "BOOT-3", "GIC-1" if gic == 2 else "IRQ-1"), cpu=cpu, smp=smp,
                machine=f"virtualization=on,gic-version={gic}{',iommu=smmuv3' if smmu else ''}", timeout=100,
                extra=("-device", "edu,dma_mask=0xffffffffffffffff,addr=2") if smmu else ())


MACHINE_CASES = [machine_case(*machine) for machine in MACHINES]
