#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Owns: the proof that guests/linux/edu works on stock kernels and bare QEMU, without Atoll: behind the kernel's own
# SMMU driver with MSI, and without an IOMMU with INTx. Copies, channels, residue, cancelling, refusals; the device
# taken away, silenced, slow and hung while transfers run. Any warning of the kernel is a failure: panic_on_warn.
# Usage: edu_boot.py [SERIES ...]

import pathlib
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pexpect

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / ".deps/kernels"
STRICT = "console=ttyAMA0 quiet atoll.name=alpha panic_on_warn=1 oops=panic panic=-1"
PROMPT = "alpha:/root# "
DEVICE = "/sys/bus/pci/devices/0000:00:01.0"
DRIVER = "/sys/bus/pci/drivers/edu"
# The top 64 MiB of 512 that the kernel is told not to have: memory that is nobody's, for raw addresses.
SPARE = 0x5c000000


class Guest:
    """A booted kernel at its shell."""

    def __init__(self, kernel, folder, machine, line):
        arguments = ["-M", machine, "-cpu", "cortex-a72", "-smp", "2", "-m", "512", "-nographic", "-nodefaults",
                     "-serial", "mon:stdio", "-no-reboot", "-device", "edu,dma_mask=0xffffffffffffffff",
                     "-kernel", str(kernel / "Image"), "-append", f"{STRICT} {line}",
                     "-initrd", str(ROOT / f"build/initramfs-{kernel.name}.cpio.gz")]
        self.log = folder / "log"
        self.qemu = pexpect.spawn("qemu-system-aarch64", arguments, timeout=120, encoding="utf-8", echo=False)
        self.qemu.logfile_read = open(self.log, "w", encoding="utf-8")

    def ask(self, command, *answers):
        """Runs a command; the answers, regular expressions, must come in this order before the next prompt."""
        self.qemu.sendline(command)
        for answer in answers:
            if self.qemu.expect([answer, "Kernel panic", "edu: FAIL: [^\r]*\r"]) != 0:
                raise AssertionError(f"{command}: {self.qemu.after}")
        if self.qemu.expect_exact([PROMPT, "Kernel panic"]) != 0:
            raise AssertionError(f"{command}: the kernel panicked")

    def start(self):
        self.qemu.expect_exact("atoll: alpha is up")
        self.qemu.expect_exact(PROMPT)
        self.ask("stty -echo; dmesg -n 1; modprobe lagoon")

    def end(self):
        """Nothing is left: no dma-buf, no user of the module, nothing that the kernel complained about."""
        self.ask("cat /sys/kernel/debug/dma_buf/bufinfo", "Total 0 objects")
        self.ask("grep ^edu /proc/modules", r"edu \d+ 0 - Live")
        self.ask("rmmod edu && rmmod lagoon && echo unloaded", "unloaded")
        self.ask("echo complaints $(dmesg | grep -c -E 'WARN|BUG|Oops|Call trace')", r"complaints 0\r")
        self.qemu.sendline("poweroff")
        self.qemu.expect(pexpect.EOF)


def values(guest):
    guest.ask("edu live 0x12345678", "PASS live: ~0x12345678 = 0xedcba987")
    guest.ask("edu fact 12", "12! = 479001600")
    guest.ask("edu fact 0", "0! = 1\r")
    guest.ask("edu refuse", "PASS refuse")


def taken_away(guest):
    """The device leaves its driver, its bus, or its driver the kernel, with a transfer in flight."""
    gone = "held: the job ended with No such device, not all was moved"
    closed = "held: the file says No such device, hung up"
    again = ("edu test --size 5000", "PASS 1 x 5000 bytes by DMA")
    guest.ask(f"edu hold 256K & sleep 1; echo 0000:00:01.0 > {DRIVER}/unbind; wait", "holding", gone, closed)
    guest.ask("ls /dev/edu-dma", "No such file")
    guest.ask(f"echo 0000:00:01.0 > {DRIVER}/bind")
    guest.ask(*again)
    guest.ask(f"edu hold 256K & sleep 1; echo 1 > {DEVICE}/remove; wait; echo 1 > /sys/bus/pci/rescan",
              "holding", gone, closed)
    guest.ask(*again)
    # The module cannot go while a file is open; when its last one is killed, it can at once.
    guest.ask("edu hold 256K & P=$!; sleep 1; rmmod edu; kill -9 $P; wait; rmmod edu && modprobe edu && echo again",
              "holding", "unload module 'edu': Resource temporarily unavailable", "again")
    guest.ask(*again)
    # Opened, used and closed while it comes and goes: whatever these say, the kernel must not mind.
    guest.ask("for i in 1 2 3 4 5 6; do edu test --size 3000 --channels 3 >/dev/null 2>&1 & usleep ${i}30000; "
              f"echo 0000:00:01.0 > {DRIVER}/unbind; echo 0000:00:01.0 > {DRIVER}/bind; done; wait")
    guest.ask(*again)


def faults(guest):
    """The device misbehaves: every transfer ends, with the right answer, and what can be saved is."""
    command = f"dd of={DEVICE}/config bs=1 seek=4 conv=notrunc 2>/dev/null"
    failed = "held: the job ended with Input/output error, not all was moved"
    again = ("edu test --size 5000", "PASS 1 x 5000 bytes by DMA")
    parameters = "/sys/module/edu/parameters"
    replug = f"echo 1 > {DEVICE}/remove; echo 1 > /sys/bus/pci/rescan"
    # It takes longer than it may, then ends: an error for that job only.
    guest.ask(f"echo 1 > {parameters}/timeout_ms; edu hold 64K; echo 3000 > {parameters}/timeout_ms", "holding", failed)
    guest.ask("edu info", "1 failed")
    guest.ask(*again)
    # It does not even end then: no more DMA, until it is found anew.
    guest.ask(f"echo 1 > {parameters}/timeout_ms; echo 0 > {parameters}/grace_ms; edu hold 64K", "holding", failed)
    guest.ask(f"echo 3000 > {parameters}/timeout_ms; echo 1000 > {parameters}/grace_ms; edu hold 1 2>&1 || echo refused",
              "edu: FAIL: a copy of 1 bytes did not start: Input/output error", "refused")
    guest.ask(replug)
    guest.ask(*again)
    # Somebody switches bus mastering off: it moves nothing, and sends no message.
    guest.ask(f"echo 500 > {parameters}/timeout_ms; edu hold 64K & sleep 1; printf '\\2' | {command}; wait", "holding",
              failed)
    guest.ask(f"printf '\\6' | {command}; echo 3000 > {parameters}/timeout_ms")
    guest.ask(*again)
    # Its registers do not answer any more, as if pulled; then it is removed.
    guest.ask(f"echo 500 > {parameters}/timeout_ms; edu hold 64K & sleep 1; printf '\\4' | {command}; wait", "holding",
              failed)
    guest.ask("edu fact 3 2>&1 || echo refused", "edu: FAIL: fact: Input/output error", "refused")
    guest.ask(replug)
    guest.ask(*again)


def behind_smmu(guest):
    guest.start()
    guest.ask("edu info", "8 channels, MSI, behind an IOMMU\r")
    values(guest)
    guest.ask("edu test --size 64K", r"PASS 1 x 64 KiB by DMA, compared: \d+ bytes over the bus, 3\d transfers, "
              r"3\d interrupts, 0 lost")
    guest.ask("edu test --size 9000 --channels 8", "PASS 8 x 9000 bytes by DMA")
    guest.ask("edu cancel", r"PASS cancel: \d+ of 65536 bytes")
    taken_away(guest)
    faults(guest)
    # The same device with the address bits that QEMU gives it by default: the IOMMU finds room below 256 MiB.
    guest.ask("rmmod edu; modprobe edu dma_bits=28; edu test --size 5000", "PASS 1 x 5000 bytes by DMA")
    # In all of the above, the device never touched memory that was not, or not any more, mapped for it.
    guest.ask("echo events $(dmesg | grep -c 'event 0x')", r"events 0\r")
    # An address that nobody mapped: the SMMU stops it, and reports it.
    guest.ask("rmmod edu; modprobe edu unsafe=1; edu info", "behind an IOMMU, unsafe")
    guest.ask("dmesg -c >/dev/null; edu raw --address 0x40000000 --read 64", "zeros: so reads what the device cannot")
    guest.ask("echo events $(dmesg | grep -c 'event 0x10')", "events [1-9]")
    guest.ask("edu raw --address 0x40000000 --write gotcha", "raw: 6 bytes sent to 0x40000000")
    guest.ask("edu test --size 5000", "PASS 1 x 5000 bytes by DMA")
    guest.end()


def without_iommu(guest):
    guest.start()
    guest.ask("edu info", "8 channels, INTx, no IOMMU of this kernel\r")
    guest.ask("grep edu /proc/interrupts", "Level +edu")
    values(guest)
    guest.ask("edu test --size 20K --channels 2", "PASS 2 x 20 KiB by DMA", "0 lost")
    guest.ask("edu cancel", r"PASS cancel: \d+ of 65536 bytes")
    guest.ask("edu raw --address 0 --read 1 2>&1 || echo refused", "edu: FAIL: raw: Operation not permitted", "refused")
    guest.ask("rmmod edu; modprobe edu unsafe=1")
    guest.ask(f"edu raw --address {SPARE:#x} --write seaweed", "raw: 7 bytes sent")
    guest.ask(f"edu raw --address {SPARE + 3:#x} --read 4", "raw: 4 bytes from 0x5c000003: 77 65 65 64\r")
    guest.end()


def run(kernel, name, scenario, machine, line):
    with tempfile.TemporaryDirectory() as folder:
        guest = Guest(kernel, pathlib.Path(folder), machine, line)
        try:
            scenario(guest)
        except (pexpect.TIMEOUT, pexpect.EOF, AssertionError) as error:
            print(guest.log.read_text(errors="replace"), file=sys.stderr)
            reason = str(error) if isinstance(error, AssertionError) else "no answer in time"
            print(f"FAIL edu on kernel {kernel.name}, {name}: {reason}, see the log above", flush=True)
            return False
        finally:
            guest.qemu.close(force=True)
        if guest.qemu.exitstatus != 0:
            print(f"FAIL edu on kernel {kernel.name}, {name}: QEMU ended with {guest.qemu.exitstatus}", flush=True)
            return False
    print(f"PASS edu on kernel {kernel.name}, {name}", flush=True)
    return True


def main():
    boots = []
    for series in sys.argv[1:] or sorted(path.name for path in KERNELS.iterdir() if not path.is_symlink()):
        subprocess.run(["make", "-s", "-C", str(ROOT), f"build/initramfs-{series}.cpio.gz"], check=True)
        kernel = KERNELS / series
        boots.append((kernel, "MSI behind the SMMU", behind_smmu, "virt,gic-version=3,iommu=smmuv3", ""))
        boots.append((kernel, "INTx without an IOMMU", without_iommu, "virt,gic-version=3", "pci=nomsi mem=448M"))
    with ThreadPoolExecutor(2) as pool:
        good = all(list(pool.map(lambda boot: run(*boot), boots)))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
