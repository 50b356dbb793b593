# SPDX-License-Identifier: Apache-2.0
"""Cases with Debian's kernels as guests, alone and sharing buffers."""
from case import BOTH_UP, FOCUS, MONITOR, SILENT, Absent, Case, Expect, Send, shell, up

# ---- Linux -----------------------------------------------------------------------------------------------------------

LINUX = [
    *[Case(f"linux-{series}-{cpu}", f"Debian's {series} kernel on {cpu} reaches its shell and computes",
           [up("alpha"), *shell("alpha", "echo answer-$((6*7))", "answer-42"),
            *shell("alpha", "cat /proc/interrupts | grep -c arch_timer", r"\n(?:\[alpha\] )?[1-9]")],
           f"linux-{series}", ("LINUX-1", "BOOT-2"), cpu=cpu, smp=2, timeout=90, kernels=(series,))
      for series, cpu in (("6.1", "cortex-a57"), ("6.1", "cortex-a72"), ("6.1", "neoverse-n1"), ("6.1", "max"),
                          ("6.12", "cortex-a72"), ("6.12", "max"))],
    Case("linux-two", "two Linux guests; both shells answer on one console",
         [*BOTH_UP,
          *shell("alpha", "echo from-$((1+1))-alpha", "from-2-alpha"),
          *shell("beta", "echo from-$((1+2))-beta", "from-3-beta")],
         "linux-two", ("LINUX-2", "CONS-2"), smp=2, timeout=120),
    Case("linux-vi", "Linux whose CPU interface is software reboots, next to one that has the hardware's, on one CPU",
         [*BOTH_UP,
          *shell("alpha", "echo from-$((1+1))-alpha", "from-2-alpha"),
          *shell("alpha", "echo 0 > /sys/devices/system/cpu/cpu1/online; echo 1 > /sys/devices/system/cpu/cpu1/online; "
                 "echo back-$(nproc)", "back-2"),
          *shell("alpha", "reboot -f", r"atoll: alpha is up"),
          *shell("beta", "echo from-$((1+2))-beta", "from-3-beta"),
          *shell("alpha", "echo again-$((2+2))", "again-4")],
         "linux-two-vi", ("IRQ-4", "LINUX-2"), smp=1, timeout=240),
    Case("linux-reboot", "one guest reboots while the other one runs",
         [*BOTH_UP,
          *shell("alpha", "reboot -f", r"atoll: alpha is up"),
          *shell("alpha", "echo again-$((2+2))", "again-4"),
          *shell("beta", "echo still-$((3+2))", "still-5")],
         "linux-two", ("PSCI-2", "LINUX-2"), smp=2, timeout=180),
    Case("linux-poweroff", "one guest powers off, the other one lives on",
         [*BOTH_UP,
          *shell("alpha", "poweroff -f", r"\[atoll\] alpha: is off"),
          *shell("beta", "echo alone-$((3+3))", "alone-6")],
         "linux-two", ("PSCI-1", "LINUX-2"), smp=2, timeout=120),
    Case("overcommit", "four two-vCPU Linux guests on one CPU all reach their shells",
         [*[Expect(r"atoll: \w+ is up \(Linux [^)]*2 CPUs") for _ in range(4)],
          *[step for index, name in enumerate(FOCUS) for step in
            shell(name, f"echo {name}-$(({index}+10))", f"{name}-{index + 10}")]],
         "overcommit", ("SCHED-3",), smp=1, memory="2G", timeout=300),
    Case("linux-steal", "Linux on a shared CPU shows the time that was stolen from it",
         [up("alpha"), *shell("alpha", "grep -o 'using stolen time PV' /dev/kmsg & sleep 1; kill %1; echo kmsg-$((2+2))", "kmsg-4"),
          *shell("alpha", "awk '/^cpu /{print \"steal\", ($9 > 50) ? \"seen\" : \"missing\"}' /proc/stat", "steal seen")],
         "steal", ("TIME-3",), smp=1, timeout=90),
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
         [*BOTH_UP,
          *shell("beta", "lagoon watch &", r"--\r*\n"),
          *shell("alpha", "lagoon share --peer beta --label calm --size 1M --fill 3 --ro --keep && echo kept-$((1+1))",
                 r"\[beta\] 0x\w+ from alpha +calm +1 MiB, read-only, [^\r\n]*offered"),
          *shell("beta", "killall lagoon; wait; echo ended-$((3+3))", "ended-6"),
          *shell("beta", "lagoon import --peer alpha --label calm --ro --verify --try-write && echo tried-$((2+2))",
                 "tried-4"),
          *shell("alpha", "lagoon reclaim calm && echo back-$((2+3))", "back-5")],
         "linux-two", ("SHARE-2", "SHARE-4"), timeout=120),
    Case("peer-death", "the owner is switched off while the borrower maps its buffer; the borrower lives on",
         [*BOTH_UP,
          *shell("alpha", "lagoon share --peer beta --label ebb --size 1M --fill 7 --keep && echo kept-$((1+1))",
                 "kept-2"),
          *shell("beta", "lagoon import --peer alpha --label ebb --verify --hold &", "(?i)as announced|verif|SHA-256 of"),
          Send(MONITOR, 0.5), Send("stop alpha\r", 0.5), Expect(r"\[atoll\] alpha: is off"),
          *shell("beta", "lagoon list; echo widow-$((4+3))", "widow-7")],
         "linux-two", ("SHARE-4", "LINUX-2"), timeout=120),
    Case("process-death", "the owner's process is killed, then a borrower's: both sides clean up, 64 MiB go around",
         [*BOTH_UP,
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
    Case("three-guests-one-share", "one buffer for beta and gamma: rings, a borrower's reset in the middle, a reclaim that waits "
         "for both, revocation of both",
         [SILENT, *[Expect(r"atoll: (?:alpha|beta|gamma) is up")] * 3,
          *shell("alpha", "lagoon share --peer beta --peer beta --label no --size 4K || echo twice-$((1+0))", "Invalid argument",
                 "twice-1"),
          *shell("alpha", "lagoon share --peer beta --peer delta --label no --size 4K || echo who-$((1+1))", "no such peer", "who-2"),
          *shell("alpha", "lagoon share --peer beta --peer gamma:ro --label trio --size 8M --fill 31 --keep && echo kept-$((1+2))",
                 r'shared with beta, gamma as "trio"', "kept-3"),
          *shell("beta", "lagoon import --label trio --verify --write 0 'beta was here' --ring --hold &", "holding on"),
          *shell("gamma", "lagoon import --label trio --expect 0 'beta was here' --try-write --hold --expect 0 'beta was here' --pin "
                 "--hold --unpin && echo gave-$((2+2)) &", "holding on"),
          *shell("alpha", "lagoon list; lagoon open trio --expect 0 'beta was here' --ring && echo seen-$((2+3))",
                 r"to   beta +trio +8 MiB, read-write, [^\r\n]*rung 1 times, borrowed",
                 r"to   gamma +trio +8 MiB, read-only, [^\r\n]*rung 0 times, borrowed", "seen-5"),
          *shell("beta", "lagoon list", r"from alpha +trio [^\r\n]*rung 1 times, borrowed"),
          *shell("gamma", "lagoon list", r"from alpha +trio [^\r\n]*rung 1 times, borrowed"),
          # One borrower is reset: the other one keeps the buffer, and the new life is offered it again.
          Send(MONITOR, 0.5), Send("reset beta\r", 0.5), Expect("atoll: beta is up"),
          *shell("gamma", "kill -USR1 $(pidof lagoon)", "holding on"),
          *shell("alpha", "lagoon list", r"to   beta +trio [^\r\n]*offered", r"to   gamma +trio [^\r\n]*borrowed"),
          *shell("beta", "lagoon import --label trio --expect 0 'beta was here' --write 0 'and again' --gone 60 && echo gone-$((3+4)) &",
                 "offset 0"),
          # beta gives back when it is asked; gamma has a page in a pipe.
          *shell("alpha", "lagoon reclaim trio --timeout 1 || echo busy-$((4+4))", "gone-7", "a borrower still uses its pages",
                 "busy-8"),
          *shell("gamma", "kill -USR1 $(pidof lagoon)", "gave-4"),
          *shell("alpha", "lagoon reclaim trio && echo back-$((4+5))", "back-9"),
          # By force, from both.
          *shell("alpha", "lagoon share --peer beta --peer gamma --label duo --size 4M --fill 32 --keep && echo kept-$((5+5))", "kept-10"),
          *[step for name in ("beta", "gamma") for step in
            shell(name, f"lagoon import --label duo --verify --pin --hold --unpin && echo forced-{name} &", "holding on")],
          *shell("alpha", "lagoon reclaim duo --timeout 1 --force && echo taken-$((5+6))", "taken-11"),
          *[step for name in ("beta", "gamma") for step in
            shell(name, "kill -USR1 $(pidof lagoon)", r": 0 of its 4096 bytes are not zero", f"forced-{name}")],
          *[step for name in ("alpha", "beta", "gamma") for step in
            shell(name, f"lagoon list; rmmod lagoon && echo unloaded-$((6+6))-{name}", f"unloaded-12-{name}")]],
         "linux-three", ("SHARE-4", "LAGOON-2"), memory="2G", timeout=300),
]

LINUX_CASES = [*LINUX, *SHARING]
