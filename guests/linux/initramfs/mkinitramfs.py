#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Owns: the guests' initramfs: busybox, the scripts beside this file, a few kernel modules, extra files.
# Does not own: what the extra files are. Same input, same bytes: sorted, owned by root, no time stamps.
# Format: "newc" cpio, Linux Documentation/driver-api/early-userspace/buffer-format.rst.
"""mkinitramfs.py KERNEL_DIR OUT.cpio.gz [SRC:DST ...]

KERNEL_DIR is a folder as tools/setup.sh makes it (.deps/kernels/6.1): files abi, modules/.
SRC:DST adds a file or a whole folder; "{abi}" in DST becomes the kernel's ABI name, and whatever
lands below /lib/modules/{abi}/ is known to modprobe. SRC keeps its execute permission."""

import argparse
import gzip
import lzma
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
DEPS = pathlib.Path(os.environ.get("ATOLL_DEPS", HERE.parents[2] / ".deps"))
MODULES = "virtio_pci virtio_blk virtio_net nvme e1000e igb igbvf"
FOLDERS = "bin dev etc lib mnt proc root run sbin sys tmp usr usr/bin usr/sbin var"
# modprobe reads these; depmod makes the others of its files for tools that are not in the image.
MODULE_LISTS = ("modules.alias", "modules.builtin", "modules.dep", "modules.softdep")


class Failure(Exception):
    """A mistake of the caller: shown as one sentence."""


class Archive:
    """Collects entries by path, then writes them sorted as a newc cpio."""

    def __init__(self):
        self.entries = {}

    def add(self, path, mode, data=b"", device=(0, 0)):
        path = path.strip("/")
        for parent in reversed(pathlib.PurePosixPath(path).parents[:-1]):
            self.entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b"", (0, 0)))
        self.entries[path] = (mode, data, device)

    def add_file(self, path, source):
        if source.is_symlink():
            self.add(path, stat.S_IFLNK | 0o777, os.readlink(source).encode())
        elif source.is_dir():
            self.add(path, stat.S_IFDIR | 0o755)
            for child in source.iterdir():
                self.add_file(f"{path}/{child.name}", child)
        elif source.is_file():
            executable = 0o111 if os.access(source, os.X_OK) else 0
            self.add(path, stat.S_IFREG | 0o644 | executable, source.read_bytes())
        else:
            raise Failure(f"{source} does not exist")

    def bytes(self):
        out = bytearray()
        for number, path in enumerate(sorted(self.entries), 1):
            out += self._entry(number, path, *self.entries[path])
        out += self._entry(0, "TRAILER!!!", 0, b"", (0, 0))
        return bytes(out)

    @staticmethod
    def _entry(number, path, mode, data, device):
        name = path.encode() + b"\0"
        if len(data) >= 1 << 32:
            raise Failure(f"{path} is too large for an initramfs")
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def module_name(path):
    return pathlib.PurePosixPath(path).name.split(".ko")[0].replace("-", "_")


def wanted_modules(modules, names):
    """Relative paths of the named modules and of all that they need; built-in ones need nothing."""
    builtin = {module_name(line) for line in (modules / "modules.builtin").read_text().split()}
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[module_name(path)] = [path, *rest.split()]
    wanted = set()
    for name in (name.replace("-", "_") for name in names):
        if name in needs:
            wanted.update(needs[name])
        elif name not in builtin:
            raise Failure(f"kernel {modules.parent} has no module {name}")
    return sorted(wanted)


def plain_module(path):
    """The module's ELF file: busybox loads no compressed ones."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.PIPE).stdout
    return path.read_bytes()


def add_modules(archive, kernel, abi, names):
    prefix = f"lib/modules/{abi}/"
    for path in wanted_modules(kernel / "modules", names):
        data = plain_module(kernel / "modules" / path)
        archive.add(prefix + path.split(".ko")[0] + ".ko", stat.S_IFREG | 0o644, data)
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder) / prefix
        base.mkdir(parents=True)
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            if (kernel / "modules" / name).exists():
                shutil.copy(kernel / "modules" / name, base)
        for path, (mode, data, _) in archive.entries.items():
            if path.startswith(prefix) and stat.S_ISREG(mode):
                target = pathlib.Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        tool = shutil.which("depmod", path=search)
        if tool is None:
            raise Failure("depmod (package kmod) is not installed; tools/setup.sh installs it")
        subprocess.run([tool, "-b", folder, abi], check=True)
        for name in MODULE_LISTS:
            if (base / name).exists():
                archive.add(prefix + name, stat.S_IFREG | 0o644, (base / name).read_bytes())


def build(kernel, extras, names):
    try:
        abi = (kernel / "abi").read_text().strip()
    except OSError:
        raise Failure(f"{kernel} is no kernel folder (no file 'abi'); tools/setup.sh makes them") from None
    archive = Archive()
    for folder in FOLDERS.split():
        archive.add(folder, stat.S_IFDIR | (0o1777 if folder == "tmp" else 0o755))
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("dev/null", stat.S_IFCHR | 0o666, device=(1, 3))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, (DEPS / "busybox").read_bytes())
    archive.add("init", stat.S_IFREG | 0o755, (HERE / "init").read_bytes())
    archive.add("etc/console", stat.S_IFREG | 0o755, (HERE / "console").read_bytes())
    archive.add("etc/inittab", stat.S_IFREG | 0o644, b"::respawn:/etc/console\n::ctrlaltdel:/sbin/reboot\n")
    archive.add("etc/passwd", stat.S_IFREG | 0o644, b"root::0:0:root:/root:/bin/sh\n")
    archive.add("etc/group", stat.S_IFREG | 0o644, b"root:x:0:\n")
    for extra in extras:
        source, colon, target = extra.rpartition(":")
        if not colon or not source or not target.strip("/"):
            raise Failure(f"'{extra}' is not of the form SRC:DST")
        if ".." in target.split("/"):
            raise Failure(f"'{target}' must not contain '..'")
        archive.add_file(os.path.normpath("/" + target.replace("{abi}", abi)), pathlib.Path(source))
    add_modules(archive, kernel, abi, names)
    return archive.bytes()


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("kernel", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("extras", nargs="*")
    parser.add_argument("--modules", default=MODULES, help="names of kernel modules to carry")
    options = parser.parse_args()
    temporary = options.out.with_name(options.out.name + f".{os.getpid()}.tmp")
    try:
        data = build(options.kernel, options.extras, options.modules.replace(",", " ").split())
        temporary.write_bytes(gzip.compress(data, 9, mtime=0))
        temporary.replace(options.out)
    except (Failure, OSError, lzma.LZMAError, subprocess.CalledProcessError) as error:
        temporary.unlink(missing_ok=True)
        sys.exit(f"mkinitramfs: error: {error}")


if __name__ == "__main__":
    main()
