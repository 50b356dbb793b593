# SPDX-License-Identifier: Apache-2.0
"""Cases with PCI devices given to guests."""
from case import ALL_DONE, BOTH_UP, DISKS, FOCUS, MONITOR, SILENT, SMALL, Absent, Case, Digest, Expect, Send, both, disk, done, line, shell
from cases_linux import DEMO

DEVICE_MACHINE = "virtualization=on,gic-version=3,iommu=smmuv3"
DIRECT_MACHINE = "virtualization=on,gic-version=4,iommu=smmuv3"
SOFTWARE = Expect(r"LPIs of devices are injected by software: the ITS has no virtual LPIs \(GICv3\)")
INJECTED = Expect("GICv4: LPIs of devices are injected directly")
DISK = disk(64, "reef")


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


def edus(*slots):
    """QEMU's edu device in each of these slots."""
    return plug(*[((), f"edu,dma_mask=0xffffffffffffffff,addr={slot:#x}") for slot in slots])


# A tick is four nanoseconds: what takes an edu 100 ms is time enough to end a VM and to start it again.
SLOW_TIME = ("-icount", "shift=2,sleep=off")

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


def network_card(guest, number, driver, host=15):
    """The card with this driver fetches a file from QEMU's own TFTP server."""
    find = f"card=$(basename $(ls -d /sys/bus/pci/drivers/{driver}/*/net/* /sys/bus/virtio/drivers/{driver}/*/net/* 2>&-))"
    return [*shell(guest, f"{find}; ip addr add 10.0.{number}.{host}/24 dev $card; ip link set $card up; echo $card-up", "eth"),
            *fetch(guest, number)]


def fetch(guest, number):
    return shell(guest, f"rm -f /tmp/got; for i in 1 2 3 4 5 6 7 8 9; do ping -c1 -W1 10.0.{number}.2 >&- && break; done; "
                 f"tftp -b 1400 -g -l /tmp/got -r {SMALL.rsplit('/', 1)[1]} 10.0.{number}.2; sha256sum /tmp/got", Digest(SMALL))


def vf_for_beta():
    """alpha's driver of the whole card takes up its one VF; what is at the place of that is nothing to drive."""
    return [*shell("alpha", "for f in /sys/bus/pci/drivers/igb/*/sriov_numvfs; do echo 1 >$f; done; "
                   "cat /sys/bus/pci/devices/*/sriov_numvfs /sys/bus/pci/devices/*/virtfn0/device", r"0xffff"),
            *network_card("alpha", 5, "igb")]


WINDOW = 0xc0000000
REACHES_WINDOW = rf"\[atoll\] warning: beta: device 0000:00:02.0 \(StreamID 16\): write of ipa {WINDOW:#x}, in its share window, stopped: "


def edu_script():
    """alpha shares, beta's edu device moves the bytes; 4 KiB in 0.2 s from buffer to buffer."""
    digest = "grep -oE '[0-9a-f]{64}'"
    return [
        SILENT, *BOTH_UP, *shell("beta", "edu info", "8 channels, MSI"),
        # The device reads what alpha wrote, then writes what alpha finds.
        *shell("alpha", "lagoon share --peer beta --label tide --size 64K --fill 3 --keep && echo kept-$((1+1))", "kept-2"),
        *shell("beta", "edu pull --peer alpha --label tide",
               r'PASS pull from "tide" of alpha: 64 KiB by DMA, 32 transfers, 32 interrupts, SHA-256 \w+, as announced'),
        *shell("beta", "edu push --peer alpha --label tide --fill 7",
               r'PASS push to "tide" of alpha: 64 KiB by DMA, 32 transfers, 32 interrupts'),
        *shell("alpha", f'[ $(lagoon open tide --sha256 | {digest}) = $(lagoon heap --size 64K --fill 7 | {digest}) ] && '
               "echo same-$((1+2))", "same-3"),
        *shell("alpha", "lagoon reclaim tide && echo back-$((2+2))", "back-4"),
        # While the device is at work a reclaim has to wait; then the buffer is given back, and the command, which looks at it
        # last, comes too late.
        *shell("alpha", "lagoon share --peer beta --label slow --size 128K --fill 4 --keep && echo kept-$((2+3))", "kept-5"),
        *shell("beta", "edu pull --label slow &", r"\n"), Send("", 1.0),
        *shell("alpha", "lagoon reclaim slow --timeout 1 || echo busy-$((3+3))", "still uses its pages", "busy-6"),
        Expect("edu: cannot map 128 KiB: No such device"),
        *shell("alpha", "lagoon reclaim slow && echo back-$((3+4))", "back-7"),
        # Read-only: beta's kernel gives the device no mapping to write with.
        *shell("alpha", "lagoon share --peer beta --label calm --size 8K --fill 5 --ro --keep && echo kept-$((4+4))", "kept-8"),
        *shell("beta", "edu pull --label calm && edu push --label calm || echo refused-$((4+5))", r'PASS pull from "calm"',
               "edu: FAIL: a copy of 8 KiB did not start: Permission denied", "refused-9"),
        # A driver that does not ask its kernel meets the SMMU.
        *shell("beta", "rmmod edu; modprobe edu unsafe=1; lagoon import --label calm --hold &", "holding on"),
        *shell("beta", f"edu raw --address {WINDOW:#x} --write gotcha"),
        both(REACHES_WINDOW + r"[^\r\n]*\(F_PERMISSION\)", "6 bytes sent"),
        *shell("alpha", "lagoon open calm --verify && echo intact-$((5+5))", "intact-10"),
        *shell("beta", "killall lagoon; wait; echo let-$((5+6))", "let-11"),
        *shell("alpha", "lagoon reclaim calm && echo back-$((6+6))", "back-12"),
        *shell("beta", f"edu raw --address {WINDOW:#x} --write gotcha", REACHES_WINDOW + r"[^\r\n]*\(F_TRANSLATION\)"),
        # By force, in the middle of a transfer: the rest of it is stopped; alpha has its pages, beta its kernel.
        *shell("alpha", "lagoon share --peer beta --label gone --size 256K --fill 6 --keep && echo kept-$((6+7))", "kept-13"),
        *shell("beta", "edu push --label gone; echo ended-$((7+7)) &", r"\n"), Send("", 1.0),
        *shell("alpha", "lagoon reclaim gone --timeout 1 --force && echo taken-$((7+8))", "taken-15"),
        Expect(r"\[atoll\] warning: beta: device 0000:00:02.0 \(StreamID 16\): write of ipa 0xc\w+, in its share window, stopped"),
        Expect("ended-14"),
        *shell("beta", "edu test --size 8K; lagoon list; echo lives-$((8+8))", "PASS 1 x 8 KiB by DMA", "lives-16"),
    ]


# What alpha's root does to its disk's MSI-X table, which is at 0x2000 of BAR 0: entries 1 and 2, of the I/O queues.
BAR = "BAR=$(cut -d' ' -f1 /sys/bus/pci/devices/0000:00:04.0/resource | head -1)"


def spoil(offset, value, *told):
    """A word of both entries; then a read whose end no interrupt tells: the driver finds it when its time is over."""
    return shell("alpha", f"{BAR}; for e in 1 2; do devmem $((BAR+0x2000+16*e+{offset})) 32 {value}; done; "
                 "dd if=/dev/nvme0n1 of=/dev/null bs=4k count=1 iflag=direct", *told, "completion polled") + [Expect(r"1\+0 records out")]


# Where the host injects directly: the monitor says of an LPI that it is, and a network card goes on while its vectors move.
AFFINITY = "for q in $(grep eth /proc/interrupts | cut -d: -f1); do echo $i >/proc/irq/$q/smp_affinity; done"
MOVES = [
    Send("irq alpha 8192\r", 0.5), Expect(r"LPI 8192: .*\r*\n *direct: event 0 of device \w+, to vPE \d of vCPU \d"),
    *shell("alpha", f"for i in 1 2 1 2 3; do {AFFINITY}; tftp -b 1400 -g -l /tmp/got -r {SMALL.rsplit('/', 1)[1]} 10.0.4.2; "
           "sha256sum /tmp/got; done; echo moved-$((20+2))", *[Digest(SMALL)] * 5, "moved-22"),
    *shell("alpha", "echo 0 >/sys/devices/system/cpu/cpu1/online; echo off-$((20+3))", "off-23"), *fetch("alpha", 4),
    *shell("alpha", "echo 1 >/sys/devices/system/cpu/cpu1/online; echo on-$((20+4))", "on-24"), *fetch("alpha", 4)]

DEVICE_CASES = [
    *[Case(f"devices-{series}{name}", f"stock drivers of {series} on devices of the guest's own: disks and network cards move data{how}",
           [log, *BOTH_UP, Send(FOCUS["alpha"], 0.3),
            *block_device("alpha", "nvme0n1"), *block_device("alpha", "vda"), *network_card("alpha", 4, "e1000e"),
            *network_card("alpha", 5, "igb"), *network_card("alpha", 6, "virtio_net"),
            # Its own ITS makes LPIs of their messages. [a line for each vector of five devices]
            *shell("alpha", "echo lpis: $(grep -cE 'ITS-(PCI-)?MSI' /proc/interrupts)", r"lpis: (?:1\d|2\d)"),
            Send(MONITOR, 0.5), Send("devices\r", 0.5), Expect("0000:00:02.0"), Send("irqs alpha\r", 0.5),
            Expect(r"vCPU 1 LPIs enabled"), *seen, Expect(r"ITS enabled, queue at 0x\w+, .* 0 refused .* LPIs signalled"),
            *more,
            # A new life: everything is reset, and works again.
            *shell("alpha", "reboot -f", r"atoll: alpha is up"), *block_device("alpha", "nvme0n1"),
            *network_card("alpha", 4, "e1000e"), *shell("beta", "echo beside-$((40+2))", "beside-42")],
           f"devices-{series}", ("DMA-1", "DMA-2", *ids), machine=machine, cpu=cpu, timeout=400, kernels=(series,),
           extra=plug(NVME, VIRTIO_BLK, E1000E, IGB, VIRTIO_NET))
      for series, cpu, name, machine, how, log, seen, more, ids in (
          ("6.1", "cortex-a72", "", DEVICE_MACHINE, "", SOFTWARE, [], [], ()),
          ("6.12", "neoverse-n1", "", DEVICE_MACHINE, "", SOFTWARE, [], [], ()),
          ("6.1", "cortex-a72", "-direct", DIRECT_MACHINE, "; their messages do not go through EL2, also while they move "
           "from CPU to CPU and when one is off", INJECTED,
           [Expect(r"vCPU 0 vPE 0, (?:not )?resident: [1-9]\d* events direct"), Expect(r"vCPU 1 vPE 1, ")], MOVES, ("ITS-3",)))],
    *[Case(f"devices-edu-{series}", "edu.ko, a driver of dma-bufs, on a device of the guest's own: it reads and writes what alpha shares, "
           f"and nothing else of alpha's, {series}",
           edu_script(), f"devices-edu-{series}", ("DMA-1", "DMA-5", "SHARE-4"), machine=DEVICE_MACHINE, cpu=cpu, timeout=300,
           kernels=(series,), extra=edus(2))
      for series, cpu in (("6.1", "cortex-a72"), ("6.12", "neoverse-n1"))],
    Case("devices-intx", "the same drivers with level-triggered INTx lines, two devices on one of them",
         [*BOTH_UP, Send(FOCUS["alpha"], 0.3),
          *block_device("alpha", "nvme0n1"), *network_card("alpha", 4, "e1000e"), *network_card("alpha", 6, "virtio_net"),
          *shell("alpha", "grep -cE ' Level +(nvme|eth|virtio)' /proc/interrupts", r"\n(?:\[alpha\] )?[2-4]\r*\n")],
         "devices-intx", ("DMA-1",), machine=DEVICE_MACHINE, timeout=240, extra=plug(NVME, VIRTIO_BLK, E1000E, IGB, VIRTIO_NET)),
    *[Case(f"devices-two{name}", "each of two guests has a device; one is switched off in the middle of a transfer, the other goes on",
         [*BOTH_UP,
          # Alpha has no ITS: its disk's messages are SPIs.
          *shell("alpha", "echo lpis: $(grep -c ITS- /proc/interrupts), spis: $(grep -cE 'MSI.* nvme' /proc/interrupts)",
                 r"lpis: 0, spis: [2-9]"),
          *network_card("beta", 4, "e1000e"),
          *shell("alpha", "while :; do dd if=/dev/nvme0n1 of=/dev/null bs=1M iflag=direct 2>&-; done & echo run-$((1+1))", "run-2"),
          Send(MONITOR, 1.0), Send("stop alpha\r", 0.5), Expect(r"\[atoll\] alpha: is off"),
          Send("start alpha\r", 0.5), *network_card("beta", 4, "e1000e"), Expect(r"atoll: alpha is up"),
          *block_device("alpha", "nvme0n1")],
         "devices-two", ("DMA-2", "DMA-3"), machine=machine, smp=smp, timeout=300,
         extra=plug(NVME, (user_net(4), "e1000e,netdev=net4,addr=3")))
      for name, machine, smp in (("", DEVICE_MACHINE, 2), ("-direct", DIRECT_MACHINE, 1))],
    Case("devices-msix", "bad MSI-X entries of one guest: its own device is deaf, or stopped and named; others go on; a rebind or a "
         "reboot mends it",
         [*BOTH_UP, *network_card("beta", 4, "e1000e"),
          # Outside of the message page: where the VM has no memory.
          *spoil(0, "0x09000000",
                 r"\[atoll\] warning: alpha: device 0000:00:02.0 \(StreamID 16\): write of ipa 0x9000000, where it has no memory, "
                 r"stopped: [^\r\n]*F_TRANSLATION"),
          *network_card("beta", 4, "e1000e"),
          *shell("alpha", "cd /sys/bus/pci/drivers/nvme; echo 0000:00:04.0 > unbind; echo 0000:00:04.0 > bind; cd; sleep 1; "
                 "echo bound-$((1+1))", "bound-2"),
          *block_device("alpha", "nvme0n1"),
          # In the message page, with the number of the UART's SPI, and with one beyond all: no events of this device.
          *spoil(8, "33"), *spoil(8, "0x1060"),
          *network_card("beta", 4, "e1000e"),
          *shell("alpha", "reboot -f", r"atoll: alpha is up"), *block_device("alpha", "nvme0n1"),
          *network_card("beta", 4, "e1000e")],
         "devices-msix", ("DMA-3", "DMA-6"), machine=DEVICE_MACHINE, timeout=300,
         extra=plug(NVME, (user_net(4), "e1000e,netdev=net4,addr=3"))),
    *[Case(f"devices-vf{suffix}", "SR-IOV: alpha drives a card, beta one of its VFs; the card is reset, and the VF comes back",
           [*BOTH_UP, *vf_for_beta(), *network_card("beta", 5, "igbvf", 16),
            Send(MONITOR, 0.5), Send("devices\r", 0.5), Expect(r"0000:00:05.0/vf0 of beta: [^\r\n]*StreamID 168, connected"),
            # A reset of the card takes the VF away. Its driver finds that by itself, and goes on when the card's is back.
            *shell("alpha", "reboot -f", r"\[atoll\] warning: beta: PCI device 00:15.0 [^\r\n]*: it is gone until that is back"),
            Expect("atoll: alpha is up"), *vf_for_beta(), *fetch("beta", 5), *more],
           f"devices-vf{suffix}", ("DMA-1", "DMA-2", "DMA-8"), machine=DEVICE_MACHINE, cpu=cpu, timeout=300, kernels=kernels,
           extra=plug(IGB))
      for suffix, cpu, kernels, more in (("-6.12", "neoverse-n1", ("6.12",), []), ("", "cortex-a72", (), [
          # The VF's own VM ends, then the card's.
          Send(MONITOR, 0.5), Send("stop beta\r", 0.5), Expect(r"\[atoll\] beta: is off"), *fetch("alpha", 5),
          Send(MONITOR, 0.5), Send("start beta\r", 0.5), Expect("atoll: beta is up"), *network_card("beta", 5, "igbvf", 16),
          Send(MONITOR, 0.5), Send("stop alpha\r", 0.5), Expect(r"\[atoll\] alpha: is off"),
          *shell("beta", "echo beside-$((40+2))", "beside-42")]))],
    *[Case(f"dma{name}", "what a device reaches: its VM's memory and what is shared with it; nothing before, besides and after",
           [Expect(r"\[atoll\] warning: beta: PCI device 00:02.0 [^\r\n]*ipa 0x40000000, [^\r\n]*it does not decode"),
            Expect(r"\[atoll\] warning: beta: device 0000:00:02.0 \(StreamID 16\): write of ipa 0x42000000, where it has no "
                   r"memory, stopped: [^\r\n]*F_TRANSLATION"),
            *ALL_DONE],
           "dma", ("DMA-5", "DMA-6"), machine=DEVICE_MACHINE, cpu=cpu, smp=smp, timeout=90,
           extra=edus(2))
      for name, cpu, smp in (("", "cortex-a72", 2), ("-one-cpu", "neoverse-n1", 1))],
    *[Case(f"its-edu{name}", "messages of a device through its VM's own ITS: what was mapped arrives where it was sent, and nowhere else",
           ALL_DONE, "its-edu", ("DMA-6", "ITS-1"), machine=DEVICE_MACHINE, cpu=cpu, smp=smp, timeout=90,
           extra=("-device", "edu,dma_mask=0xffffffffffffffff,addr=2"))
      for name, cpu, smp in (("", "cortex-a72", 2), ("-one-cpu", "neoverse-n1", 1))],
    *[Case(f"its-edu-{name}", "the same with a GICv4: " + shows, [INJECTED, *ALL_DONE], bundle, ("DMA-6", "ITS-1", "ITS-3"),
           machine=DIRECT_MACHINE, cpu=cpu, smp=smp, timeout=90, extra=("-device", "edu,dma_mask=0xffffffffffffffff,addr=2"))
      for name, bundle, cpu, smp, shows in (
          ("direct", "its-edu", "cortex-a72", 2, "messages become pending without EL2"),
          ("direct-one-cpu", "its-edu", "max", 1, "doorbells wake who is not loaded"),
          ("direct-off", "its-edu-software", "cortex-a72", 2, "its manifest wants them to go through EL2"))],
    *[Case(f"its-hostile-direct{name}", "commands about a real device among random ones, and its messages: what the host's ITS is told of it "
           "costs nobody else anything",
           [INJECTED, *ALL_DONE], "its-hostile-device", ("ITS-2", "ITS-3"), machine=DIRECT_MACHINE, smp=smp, timeout=120,
           extra=("-device", "edu,addr=2"))
      for name, smp in (("", 2), ("-one-cpu", 1))],
    *[Case(f"its-count-{kind}{name}", f"2000 messages of a device: {shows}",
           [log, Expect(line("alpha", "PASS its_edu.messages")), Expect("its_edu: counted"), Send(MONITOR, 0.3),
            Send("stats alpha\r", 0.3), Expect(rf"exits interrupt {exits}\r*\n"), *ALL_DONE],
           f"its-count-{kind}", ("ITS-3",), machine=machine, smp=1, timeout=90, extra=("-device", "edu,addr=2"))
      for kind, name, machine, exits, shows, log in (
          ("direct", "", DIRECT_MACHINE, r"\d{1,2}", "none of them is an exit", INJECTED),
          ("direct", "-gicv3", DEVICE_MACHINE, r"[2-9]\d{3}", "the manifest wants what a GICv3 has not: an exit each, and a line",
           Expect(r"alpha: LPIs are injected by software: the ITS has no virtual LPIs")),
          ("software", "", DIRECT_MACHINE, r"[2-9]\d{3}", "an exit each, with a GICv4 too", INJECTED))],
    Case("dma-fault-injection", "an EL2 that forgets the SMMU's invalidation is caught: the device writes to a page that was reclaimed",
         [Expect(line("alpha", r"FAIL dma\.reclaimed_page_is_unchanged[^\r\n]*"))],
         "dma", ("DMA-5",), machine=DEVICE_MACHINE, timeout=90, image="build/atoll-fault.img", may_fail=True,
         extra=edus(2)),
    *[Case(f"dma-flood{name}", "eight devices fill the SMMU's event queue again and again: told, survived; another VM's device goes on",
           [Expect(r"\[atoll\] warning: alpha: device 0000:00:0\w.0 \(StreamID \d+\): write of ipa 0x5000\w000, [^\r\n]*F_TRANSLATION"),
            Expect(r"\[atoll\] warning: SMMU: its event queue was full \(overflow 1\)"), *ALL_DONE,
            Absent("fault reports are lost")],
           "flood", ("DMA-3", "DMA-7"), machine=DEVICE_MACHINE, smp=smp, timeout=90,
           extra=edus(2, 3, 4, 6, 7, 8, 10, 11, 5))
      for name, smp in (("", 2), ("-one-cpu", 1))],
    Case("dma-after-end", "devices that are left running when their VM restarts: neither its next life nor the owner of what it had "
         "borrowed is written to",
         [Expect(line("alpha", "PASS linger.taken_back_from_the_dead")), *ALL_DONE],
         "linger", ("DMA-2", "DMA-5"), machine=DEVICE_MACHINE, timeout=120, extra=(*edus(2, 3), *SLOW_TIME)),
    Case("dma-after-end-told", "an EL2 that leaves them running: the SMMU alone stops them when their VM is off, and each is told",
         [*[Expect(r"\[atoll\] warning: beta: device 0000:00:0[23].0 \(StreamID \d+\): DMA stopped: its VM does not run "
                   r"\(C_BAD_STE\)")] * 2,
          Expect(line("alpha", "PASS linger.reclaimed_page_is_undisturbed")), *ALL_DONE],
         "linger-off", ("DMA-5", "DMA-7"), machine=DEVICE_MACHINE, timeout=120, image="build/atoll-fault-running.img",
         extra=(*edus(2, 3), *SLOW_TIME)),
    Case("dma-after-end-fault", "the same EL2, and the VM restarts: its next life's test notices",
         [Expect(line("beta", r"FAIL linger\.next_life_is_undisturbed[^\r\n]*"))],
         "linger", ("DMA-2",), machine=DEVICE_MACHINE, timeout=120, image="build/atoll-fault-running.img", may_fail=True,
         extra=(*edus(2, 3), *SLOW_TIME)),
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
          Expect(r"/vms/novf: devices = .*0000:00:02.0/vf0: it has no virtual functions"),
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
