# SPDX-License-Identifier: Apache-2.0
"""Every QEMU case, in one list: what machine, what bundle, what must be seen. run.py runs them.

A bundle NAME is made from guests/manifests/NAME.dts. Patterns are Python expressions over the console, where EL2's lines
start with "[atoll] " and, when several guests run, a guest's lines start with "[name] ".
Requirement ids are those of docs/requirements.md.
"""
from cases_bare import BARE_CASES
from cases_devices import DEVICE_CASES
from cases_gicv2 import GICV2_CASES
from cases_linux import LINUX_CASES
from cases_machines import MACHINE_CASES
from cases_stress import STRESS_CASES

CASES = [*BARE_CASES, *LINUX_CASES, *GICV2_CASES, *DEVICE_CASES, *MACHINE_CASES, *STRESS_CASES]
