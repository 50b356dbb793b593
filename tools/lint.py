#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make lint`: clang-format on every C++ file, clang-tidy on every pure source, the layer rules.

Versions of clang-format disagree, so that only the one which the sources are formatted with is asked, else SKIP.
clang-tidy's verdicts are kept in build/lint/ under a hash of the source, all that it includes and .clang-tidy, so that
only what changed is looked at again. Prints one PASS, FAIL or SKIP line for each part, with what is wrong above it.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ["lib", "el2", "boot", "stage2", "vgic", "vtimer", "smmu", "pci", "mmio_emul"]
FORMATTED = FOLDERS + ["tests", "guests/bare"]
TIDY_FLAGS = ["-std=c++20", "-I.", "-DATOLL_HOST=1", "-Wall", "-Wextra"]
FORMATTER = 14  # the version of clang-format that the sources are formatted with (Debian 12)
CACHE = "build/lint"
INCLUDE = re.compile(rb'^\s*#\s*include\s+"([^"]+)"', re.M)


def files(folders, endings):
    found = []
    for folder in folders:
        for ending in endings:
            found += glob(f"{folder}/**/*{ending}", recursive=True)
    return sorted(found)


def check_format():
    """clang-format in groups; prints the first complaint of each bad file."""
    paths = files(FORMATTED, [".cpp", ".hpp"])
    tool = f"clang-format-{FORMATTER}" if shutil.which(f"clang-format-{FORMATTER}") else "clang-format"
    version = subprocess.run([tool, "--version"], stdout=subprocess.PIPE, text=True).stdout
    major = re.search(r"version (\d+)", version)
    if not major or int(major.group(1)) != FORMATTER:
        return None, f"clang-format: the sources are formatted with version {FORMATTER}, here is {version.strip()}"
    run = subprocess.run([tool, "--dry-run", "-Werror", "--ferror-limit=1", *paths], stderr=subprocess.PIPE,
                         text=True)
    bad = [line for line in run.stderr.splitlines() if ": error:" in line or line.startswith("Error")]
    for line in list(dict.fromkeys(bad))[:30]:
        print(f"  {line}")
    return run.returncode == 0, f"clang-format on {len(paths)} files"


def closure(path, seen):
    """Adds `path` and every file that it includes by a quoted name to `seen`."""
    if path in seen or not os.path.exists(path):
        return
    with open(path, "rb") as file:
        seen[path] = file.read()
    for name in INCLUDE.findall(seen[path]):
        closure(name.decode(), seen)


def cache_key(path, version):
    seen = {}
    closure(path, seen)
    digest = hashlib.sha256(version)
    with open(".clang-tidy", "rb") as file:
        digest.update(file.read())
    digest.update(" ".join(TIDY_FLAGS).encode())
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + seen[name] + b"\0")
    return os.path.join(CACHE, digest.hexdigest()[:32])


def tidy_one(path, version):
    """'' when clean, else what clang-tidy printed."""
    key = cache_key(path, version)
    if os.path.exists(key):
        with open(key, encoding="utf-8") as file:
            return file.read()
    run = subprocess.run(["clang-tidy", "--quiet", path, "--", *TIDY_FLAGS], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    verdict = "" if run.returncode == 0 else run.stdout + run.stderr
    with open(key + ".new", "w", encoding="utf-8") as file:
        file.write(verdict)
    os.replace(key + ".new", key)
    return verdict


def check_tidy():
    paths = [p for p in files(FOLDERS, [".cpp"]) if not p.endswith("_hw.cpp") and not p.startswith("lib/crt/")]
    version = subprocess.run(["clang-tidy", "--version"], stdout=subprocess.PIPE).stdout
    os.makedirs(CACHE, exist_ok=True)
    bad = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        for path, verdict in zip(paths, pool.map(lambda p: tidy_one(p, version), paths)):
            if verdict:
                bad += 1
                print("\n".join("  " + line for line in verdict.splitlines()[:40]))
    return bad == 0, f"clang-tidy on {len(paths)} files"


def main():
    os.chdir(ROOT)
    failed = False
    verdicts = {True: "PASS", False: "FAIL", None: "SKIP"}
    for check in (check_format, check_tidy):
        try:
            ok, name = check()
        except FileNotFoundError as error:
            ok, name = False, f"{error.filename} is not installed"
        print(f"{verdicts[ok]} lint: {name}", flush=True)
        failed = failed or ok is False
    layers = subprocess.run([sys.executable, "tools/check_layers.py"], check=False)
    return 1 if failed or layers.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
