#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Owns: making a bundle (the compiled manifest with its images inside) and unpacking compressed kernels in it.
# Does not own: whether the manifest makes sense; EL2 judges that (docs/manifest.md), and so it judges bundles
# that were made by other means too. Kernels' formats: Linux Documentation/arch/arm64/booting.rst and
# drivers/firmware/efi/libstub/zboot-header.S.
"""bundle.py MANIFEST.dts OUT.bundle [--define NAME=VALUE ...] [--deps FILE]

/incbin/("FILE") is looked for beside the manifest, then in the repository, build/ and .deps/.
--define NAME=VALUE replaces ${NAME} in the manifest; a relative path as VALUE is looked for like any other.
--deps FILE writes a make rule that names every file the bundle was made from."""

import argparse
import lzma
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib

import libfdt

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEPS = pathlib.Path(os.environ.get("ATOLL_DEPS", ROOT / ".deps"))
KERNEL_LIMIT = 256 << 20  # of one unpacked kernel: a few bytes of gzip can claim to be terabytes
BUNDLE_LIMIT = (1 << 31) - 1  # offsets in a device-tree blob are handled as signed 32-bit numbers by libfdt
MAX_NESTING = 3  # a gzip file of an EFI-zboot kernel has two layers


class Failure(Exception):
    """A mistake in the input: shown as one sentence."""


def expand(text, name, defines):
    """Replaces ${NAME}; line numbers stay as they are."""

    def value(match):
        if match[1] not in defines:
            line = text.count("\n", 0, match.start()) + 1
            raise Failure(f"{name}:{line}: {match[0]} has no value; give it with --define {match[1]}=...")
        return defines[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)


def compile_manifest(manifest, defines):
    """Runs dtc; returns the blob and the files that it read."""
    try:
        text = expand(manifest.read_text(encoding="utf-8"), manifest.name, defines)
    except UnicodeDecodeError:
        raise Failure(f"{manifest} is not a text file") from None
    folders = [manifest.resolve().parent, ROOT, ROOT / "build", DEPS]
    with tempfile.TemporaryDirectory() as scratch:
        blob, deps = pathlib.Path(scratch, "blob"), pathlib.Path(scratch, "deps")
        command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "-d", deps, "-o", blob]
        for folder in folders:
            command += ["-i", folder]
        try:
            done = subprocess.run([*command, "-"], input=text, cwd=folders[0], text=True, capture_output=True,
                                  check=False)
        except FileNotFoundError:
            raise Failure("dtc is not installed; tools/setup.sh installs it") from None
        if done.returncode != 0 or not blob.exists():
            raise Failure(explain(done.stderr, text, manifest, folders))
        names = deps.read_text().partition(":")[2].split()
        files = [manifest] + [folders[0] / name for name in names if name not in ("-", "<stdin>")]
        return bytearray(blob.read_bytes()), files


def explain(errors, text, manifest, folders):
    """One sentence out of dtc's messages. It does not say where a file that is not there was asked for."""
    absent = re.search(r"Couldn't open \"(.*)\": (.*)", errors)
    if absent:
        before = text.partition(f'"{absent[1]}"')[0]
        return (f"{manifest.name}:{before.count(chr(10)) + 1}: {absent[1]}: {absent[2]}"
                f" (looked in {', '.join(map(str, folders))})")
    lines = [re.sub(r"^(FATAL )?(Error|ERROR): ", "", line) for line in errors.splitlines()
             if line.strip() and "Unable to parse" not in line]
    sentence = "; ".join(lines[:3]).replace("<stdin>", manifest.name) or "dtc failed without a word"
    return sentence if sentence.startswith(manifest.name) else f"{manifest.name}: {sentence}"


def inflate(decompressor, data):
    """At most KERNEL_LIMIT bytes; whatever follows the compressed stream is ignored."""
    out = decompressor.decompress(data, KERNEL_LIMIT + 1)
    if len(out) > KERNEL_LIMIT:
        raise Failure(f"is larger than {KERNEL_LIMIT >> 20} MiB when unpacked")
    if not decompressor.eof:
        raise Failure("is truncated: the compressed data ends too early")
    return out


def inflate_zstd(data):
    """By the zstd tool: Python has none before 3.14."""
    with tempfile.TemporaryFile() as source:
        source.write(data)
        source.seek(0)
        try:
            tool = subprocess.Popen(["zstd", "-dcq"], stdin=source, stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            raise Failure("is compressed with zstd, and the tool zstd is not installed") from None
        with tool:
            out = tool.stdout.read(KERNEL_LIMIT + 1)
            if len(out) > KERNEL_LIMIT:
                tool.kill()
                raise Failure(f"is larger than {KERNEL_LIMIT >> 20} MiB when unpacked")
    if tool.returncode != 0:
        raise Failure("is damaged or truncated: zstd cannot unpack it")
    return out


def unpack_stream(kind, data):
    try:
        if kind == "gzip":
            return inflate(zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), data)
        if kind in ("xz", "xzkern", "lzma"):
            return inflate(lzma.LZMADecompressor(), data)
        if kind.startswith("zstd"):
            return inflate_zstd(data)
    except (zlib.error, lzma.LZMAError) as error:
        raise Failure(f"is damaged: {error}") from None
    raise Failure(f"is compressed with '{kind}', which cannot be unpacked here (gzip, xz, lzma and zstd can)")


def unpack_layer(data):
    """(what it was, the data inside), or None when this is no compressed kernel."""
    if data[:2] == b"\x1f\x8b":
        return "gzip", unpack_stream("gzip", data)
    if data[:6] == b"\xfd7zXZ\0":
        return "xz", unpack_stream("xz", data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return "zstd", unpack_stream("zstd", data)
    if data[:2] == b"MZ" and data[4:8] == b"zimg":
        if len(data) < 56:
            raise Failure("is truncated inside its EFI-zboot header")
        offset, size = struct.unpack_from("<II", data, 8)
        kind = data[24:56].split(b"\0")[0].decode("ascii", "replace")
        if offset < 56 or offset + size > len(data):
            raise Failure(f"is truncated: its EFI-zboot header puts {size} bytes at {offset},"
                          f" the file has {len(data)}")
        return f"EFI-zboot ({kind})", unpack_stream(kind, data[offset : offset + size])
    return None


def unpack_kernel(data):
    """(the layers that were unpacked, the innermost data)"""
    layers = []
    while (layer := unpack_layer(data)) is not None:
        if len(layers) == MAX_NESTING:
            raise Failure(f"is compressed more than {MAX_NESTING} times over")
        layers.append(layer[0])
        data = layer[1]
    return layers, data


def subnodes(fdt, node):
    child = fdt.first_subnode(node, libfdt.QUIET_NOTFOUND)
    while child >= 0:
        yield child
        child = fdt.next_subnode(child, libfdt.QUIET_NOTFOUND)


def property_bytes(fdt, node, name):
    value = fdt.getprop(node, name, libfdt.QUIET_NOTFOUND)
    return None if isinstance(value, int) else bytes(value)


def origin(data, files):
    """The file that a property's bytes came from, for messages; a part of a file has no name."""
    for path in files[1:]:
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return f" (from {path})"
    return ""


def unpack_kernels(blob, files):
    """Returns the blob with every kernel unpacked, and a line per image."""
    fdt = libfdt.Fdt(blob)
    story = []
    root = fdt.path_offset("/images", libfdt.QUIET_NOTFOUND)
    count = len(list(subnodes(fdt, root))) if root >= 0 else 0
    for index in range(count):  # found anew each time: a changed property moves every node behind it
        node = list(subnodes(fdt, root))[index]
        name = fdt.get_name(node)
        kind = (property_bytes(fdt, node, "type") or b"?").rstrip(b"\0").decode("ascii", "replace")
        data = property_bytes(fdt, node, "data") or b""
        layers = []
        if kind == "kernel":
            try:
                layers, inner = unpack_kernel(data)
            except Failure as error:
                raise Failure(f"/images/{name}: property data{origin(data, files)} {error}") from None
            if layers:
                if fdt.totalsize() + len(inner) > BUNDLE_LIMIT:
                    raise Failure(f"/images/{name}: property data, unpacked, makes more than 2 GiB")
                fdt.resize(fdt.totalsize() + len(inner) + 64)
                fdt.setprop(node, "data", inner)
                fdt.pack()
                data = inner
        unpacked = f", unpacked from {' in '.join(reversed(layers))}" if layers else ""
        story.append(f"{name}: {kind}, {len(data) / (1 << 20):.1f} MiB{unpacked}")
    return fdt.as_bytearray()[: fdt.totalsize()], story


def publish(path, data):
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def parse_define(text):
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"\w+", name):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=VALUE")
    if not value.isprintable() or '"' in value or "\\" in value:
        raise argparse.ArgumentTypeError(f"{name} has a value that no string in a manifest can hold")
    return name, value


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("manifest", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--define", type=parse_define, action="append", default=[])
    parser.add_argument("--deps", type=pathlib.Path)
    options = parser.parse_args()
    try:
        blob, files = compile_manifest(options.manifest, dict(options.define))
        blob, story = unpack_kernels(blob, files)
        publish(options.out, blob)
        if options.deps:
            names = " ".join(str(path).replace(" ", "\\ ") for path in files)
            publish(options.deps, f"{options.out}: {names}\n".encode())
    except Failure as error:
        sys.exit(f"bundle: error: {error}")
    except OSError as error:
        sys.exit(f"bundle: error: {error.filename}: {error.strerror}")
    except libfdt.FdtException as error:
        sys.exit(f"bundle: error: {options.manifest}: the compiled manifest cannot be changed: {error}")
    print(f"bundle: {options.out}: {len(blob) / (1 << 20):.1f} MiB", *story, sep="\n  ")


if __name__ == "__main__":
    main()
