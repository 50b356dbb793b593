#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Owns: the tests of tools/bundle.py, run as a program: what it unpacks, leaves alone and refuses.

import gzip
import lzma
import pathlib
import struct
import subprocess
import tempfile
import unittest

import libfdt

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/bundle.py"
# 64 bytes of header with the arm64 magic at 56, then something that compresses.
IMAGE = bytes(56) + b"ARM\x64" + bytes(4) + bytes(range(256)) * 64


def zboot(kind, payload, size=None):
    size = len(payload) if size is None else size
    header = struct.pack("<2s2s4sIIII32sI", b"MZ", b"\0\0", b"zimg", 64, size, 0, 0, kind, 0)
    return header.ljust(64, b"\0") + payload + b"tail"  # what follows the payload is not part of it


def zstd(data):
    return subprocess.run(["zstd", "-cq"], input=data, check=True, stdout=subprocess.PIPE).stdout


class Bundle(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out.bundle"

    def run_tool(self, text, *arguments):
        manifest = self.folder / "m.dts"
        manifest.write_text("/dts-v1/;\n" + text)
        return self.run_on(manifest, *arguments)

    def run_on(self, manifest, *arguments):
        command = [TOOL, manifest, self.out, *arguments]
        return subprocess.run(command, text=True, capture_output=True, check=False)

    def make(self, text, *arguments):
        done = self.run_tool(text, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return libfdt.Fdt(self.out.read_bytes())

    def refuse(self, text, *expected, arguments=()):
        done = self.run_tool(text, *arguments)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for words in ("bundle: error: ", *expected):
            self.assertIn(words, done.stderr)
        self.assertEqual(list(self.folder.glob("*bundle*")), [], "something is left")

    def kernel(self, data, kind="kernel"):
        (self.folder / "Image").write_bytes(data)
        node = f'type = "{kind}"; data = /incbin/("Image"); last = <7>;'
        return f"/ {{ images {{ k {{ {node} }}; }}; vms {{ }}; }};"

    def data(self, fdt, path="/images/k"):
        return bytes(fdt.getprop(fdt.path_offset(path), "data"))

    def test_plain_kernel_is_kept(self):
        self.assertEqual(self.data(self.make(self.kernel(IMAGE))), IMAGE)

    def test_compressed_kernels_are_unpacked(self):
        forms = {
            "gzip": gzip.compress(IMAGE),
            "gzip and junk": gzip.compress(IMAGE) + b"junk",
            "xz": lzma.compress(IMAGE),
            "zstd": zstd(IMAGE),
            "zboot gzip": zboot(b"gzip", gzip.compress(IMAGE)),
            "zboot xz": zboot(b"xzkern", lzma.compress(IMAGE)),
            "zboot lzma": zboot(b"lzma", lzma.compress(IMAGE, lzma.FORMAT_ALONE)),
            "zboot zstd": zboot(b"zstd22", zstd(IMAGE)),
            "gzip of zboot": gzip.compress(zboot(b"gzip", gzip.compress(IMAGE))),
        }
        for name, data in forms.items():
            with self.subTest(name):
                fdt = self.make(self.kernel(data))
                self.assertEqual(self.data(fdt), IMAGE)
                self.assertEqual(fdt.getprop(fdt.path_offset("/images/k"), "last").as_uint32(), 7)
                self.assertEqual(fdt.totalsize(), self.out.stat().st_size)

    def test_other_types_are_kept(self):
        for kind in ("ramdisk", "raw"):
            data = gzip.compress(IMAGE)
            self.assertEqual(self.data(self.make(self.kernel(data, kind))), data)

    def test_nonsense_is_left_for_el2_to_judge(self):
        for data in (b"", b"M", b"MZ", b"MZ\0\0zim", b"not a kernel", IMAGE[:40]):
            self.assertEqual(self.data(self.make(self.kernel(data))), data)
        self.make("/ { };")
        self.make("/ { images { k { }; l { type = <1>; }; }; };")

    def test_names_that_begin_alike(self):
        (self.folder / "a").write_bytes(gzip.compress(IMAGE))
        (self.folder / "b").write_bytes(b"b")
        fdt = self.make('/ { images { k@1 { type = "ramdisk"; data = /incbin/("b"); };'
                        ' k { type = "kernel"; data = /incbin/("a"); }; };  };')
        self.assertEqual(self.data(fdt, "/images/k@1"), b"b")
        self.assertEqual(len(self.out.read_bytes()), fdt.totalsize())
        self.assertIn(IMAGE, self.out.read_bytes())

    def test_damaged_kernels(self):
        whole = gzip.compress(IMAGE)
        where = ("/images/k: property data", "Image)")
        self.refuse(self.kernel(whole[:-20]), *where, "truncated")
        self.refuse(self.kernel(whole[:20] + b"\xff" * 40 + whole[60:]), *where, "damaged")
        self.refuse(self.kernel(lzma.compress(IMAGE)[:-40]), *where, "truncated")
        self.refuse(self.kernel(zstd(IMAGE)[:-9]), *where, "truncated")
        self.refuse(self.kernel(b"MZ\0\0zimg"), *where, "truncated inside its EFI-zboot header")
        self.refuse(self.kernel(zboot(b"gzip", whole, 1 << 31)), *where, "puts 2147483648 bytes at 64")
        self.refuse(self.kernel(zboot(b"lz4", whole)), *where, "'lz4'", "gzip, xz, lzma and zstd")
        self.refuse(self.kernel(zboot(b"\xff\xfe", whole)), *where, "cannot be unpacked here")

    def test_bombs(self):
        zeros = bytes((256 << 20) + 1)
        self.refuse(self.kernel(gzip.compress(zeros, 1)), "larger than 256 MiB")
        self.refuse(self.kernel(zstd(zeros)), "larger than 256 MiB")
        nested = IMAGE
        for _ in range(4):
            nested = gzip.compress(nested)
        self.refuse(self.kernel(nested), "more than 3 times over")

    def test_defines(self):
        (self.folder / "Image").write_bytes(IMAGE)
        text = '/ { t = "${A}${A}"; images {\n k { type = "kernel"; data = /incbin/("${KERNEL}"); }; }; };'
        fdt = self.make(text, "--define", "KERNEL=Image", "--define", "A=x=y")
        self.assertEqual(self.data(fdt), IMAGE)
        self.assertEqual(fdt.getprop(0, "t").as_str(), "x=yx=y")
        self.out.unlink()
        self.refuse(text, "m.dts:3: ${KERNEL} has no value", arguments=("--define", "A=x"))
        for bad in ("A", "=x", "A B=x", 'A="', "A=\\", "A=\n"):
            self.assertNotEqual(self.run_tool(text, "--define", bad).returncode, 0, bad)

    def test_sources_that_do_not_compile(self):
        self.refuse('/ {\n x = /incbin/("nosuch"); };', "m.dts:3: nosuch: No such file", str(self.folder))
        self.refuse("/ { x = <", "m.dts:2", "syntax error")
        self.refuse('/ { x = <&nowhere>; };', "m.dts", "nowhere")
        (self.folder / "m.dts").write_bytes(b"\xff\xfe")
        self.assertIn("is not a text file", self.run_on(self.folder / "m.dts").stderr)
        self.assertIn("none.dts: No such file", self.run_on(self.folder / "none.dts").stderr)

    def test_an_old_bundle_survives_a_failure(self):
        self.out.write_bytes(b"old")
        self.assertEqual(self.run_tool("/ { x = <").returncode, 1)
        self.assertEqual(self.out.read_bytes(), b"old")

    def test_dependencies(self):
        deps = self.folder / "out.d"
        self.make(self.kernel(IMAGE), "--deps", deps)
        self.assertEqual(deps.read_text(), f"{self.out}: {self.folder}/m.dts {self.folder}/Image\n")


if __name__ == "__main__":
    unittest.main()
