#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds edu.ko out of the source tree: build.sh KDIR OUTDIR  ->  OUTDIR/edu.ko
# CROSS_COMPILE may be set; the default is Debian's prefix.
set -eu
[ $# -eq 2 ] || { echo "usage: build.sh KDIR OUTDIR" >&2; exit 2; }
src=$(cd "$(dirname "$0")" && pwd)
[ -d "$1" ] || { echo "build.sh: no kernel build directory $1" >&2; exit 1; }
kdir=$(cd "$1" && pwd -P)
mkdir -p "$2"
out=$(cd "$2" && pwd -P)
for f in "$src"/*.c "$src"/*.h "$src"/Kbuild; do
    ln -sf "$f" "$out/"
done
make -s -C "$kdir" M="$out" ARCH=arm64 CROSS_COMPILE="${CROSS_COMPILE:-aarch64-linux-gnu-}" \
    CONFIG_DEBUG_INFO_BTF_MODULES= modules
"${CROSS_COMPILE:-aarch64-linux-gnu-}strip" --strip-debug "$out/edu.ko"
