#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds a module out of the source tree: build.sh KDIR OUTDIR [SOURCES]  ->  OUTDIR/*.ko
# SOURCES is the folder of the module, by default this one (lagoon.ko). The test module in ../check uses headers of
# this folder. CROSS_COMPILE may be set; the default is Debian's prefix.
set -eu
[ $# -eq 2 ] || [ $# -eq 3 ] || { echo "usage: build.sh KDIR OUTDIR [SOURCES]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "${3:-$here}" && pwd)
root=$(cd "$here/../../.." && pwd)
[ -d "$1" ] || { echo "build.sh: no kernel build directory $1" >&2; exit 1; }
kdir=$(cd "$1" && pwd -P)
mkdir -p "$2"
out=$(cd "$2" && pwd -P)
for f in "$here"/*.h "$src"/*.c "$src"/*.h "$src"/Kbuild; do
    ln -sf "$f" "$out/"
done
make -s -C "$kdir" M="$out" ARCH=arm64 CROSS_COMPILE="${CROSS_COMPILE:-aarch64-linux-gnu-}" \
    ATOLL_ROOT="$root" CONFIG_DEBUG_INFO_BTF_MODULES= modules
"${CROSS_COMPILE:-aarch64-linux-gnu-}strip" --strip-debug "$out"/*.ko
