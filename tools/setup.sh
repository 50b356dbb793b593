#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Owns: the build machine's tools (Debian packages) and the foreign parts under .deps/ (arm64 kernels, their
# headers, busybox, libfdt). Does not own: anything that is built from this repository.
# Lock: .deps/.lock, so that two runs never write .deps at once. Every output appears by one rename.
# Usage: tools/setup.sh [--check | --packages]     docs/setup.md explains what is fetched, from where, and why.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

root=$(cd "$(dirname "$0")/.." && pwd)
deps=${ATOLL_DEPS:-$root/.deps}
min_qemu=9.2
recipe=1 # raise it when the layout below .deps changes: everything there is then made again
cross=aarch64-linux-gnu-
work= # scratch folder inside .deps, on the same file system as its outputs

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
# newer_or_equal A B: Debian version A >= B
newer_or_equal() { dpkg --compare-versions "$1" ge "$2"; }

# ---- the machine -----------------------------------------------------------------------

distro=other  # bookworm, trixie or other
series=()     # kernel series that this release offers; the first one is the default
read_distribution() {
    local id='' version=''
    if [ -r /etc/os-release ]; then
        id=$(. /etc/os-release && printf %s "${ID-}")
        version=$(. /etc/os-release && printf %s "${VERSION_ID-}")
    fi
    case "$id:$version" in
    debian:12) distro=bookworm series=(6.1 6.12) ;;
    debian:13) distro=trixie series=(6.12) ;;
    *) distro=other series=() ;;
    esac
    if [ $distro != other ] && [ "$(dpkg --print-architecture)" != amd64 ]; then
        distro=other series=()
    fi
}

qemu_version() { # nothing if there is none
    { qemu-system-aarch64 --version 2>/dev/null || true; } | sed -n '1s/.*version \([0-9][0-9.]*\).*/\1/p'
}

# Prints the package of each tool that is absent: a command, a file (by wildcards), or one of two files.
# Real checks, no stamps: a removed package is noticed.
missing_packages() {
    local tool package
    while read -r tool package; do
        case "$tool" in
        /*) compgen -G "${tool%:*}" >/dev/null || compgen -G "${tool#*:}" >/dev/null || echo "$package" ;;
        *) have "$tool" || echo "$package" ;;
        esac
    done <<-TABLE
	make                                        make
	g++                                         g++
	${cross}g++                                 g++-aarch64-linux-gnu
	/usr/aarch64-linux-gnu/lib/libc.a           libc6-dev-arm64-cross
	dtc                                         device-tree-compiler
	/usr/include/libfdt.h                       libfdt-dev
	/usr/include/doctest/doctest.h              doctest-dev
	/usr/bin/python3                            python3
	/usr/lib/python3*/*-packages/pexpect        python3-pexpect
	/usr/lib*/python3*/*-packages/libfdt.py     python3-libfdt
	cpio                                        cpio
	gzip                                        gzip
	xz                                          xz-utils
	zstd                                        zstd
	depmod                                      kmod
	bc                                          bc
	perl                                        perl
	flock                                       util-linux
	clang                                       clang
	/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a libclang-rt-dev
	clang-format                                clang-format
	clang-tidy                                  clang-tidy
	gdb-multiarch                               gdb-multiarch
	/usr/share/qemu/efi-e1000e.rom:/usr/lib/ipxe/qemu/efi-e1000e.rom ipxe-qemu
	TABLE
    tool=$(qemu_version)
    [ -n "$tool" ] && newer_or_equal "$tool" $min_qemu || echo qemu-system-arm
}

# ---- package sources -------------------------------------------------------------------

# "URI SUITE" of each archive that this machine's apt reads, whatever format its sources are written in.
apt_sources() {
    apt-get update --print-uris 2>/dev/null | sed -n "s,^'\(.*\)/dists/\(.*\)/InRelease' .*,\1 \2,p"
}

# The archive that serves the release itself: the one whose mirror also has the backports.
base_uri() {
    apt_sources | awk -v s=$distro '
        !done && ($2 == s || $2 == "stable" || $2 == "oldstable") { print $1; done = 1 }'
}

deb822() { # URI SUITE: one stanza on stdout
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' "$1" "$2" \
        /usr/share/keyrings/debian-archive-keyring.gpg
}

# as_root WHY COMMAND...: says why, then runs the command with the rights that it needs.
as_root() {
    local why=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        say "as root: $why"
        "$@"
    else
        say "with sudo: $why"
        sudo "$@"
    fi
}

# Before anything is changed: can this user become root at all? $1 says what for.
require_root() {
    [ "$(id -u)" != 0 ] || return 0
    if ! have sudo; then
        die "$1: this needs root, and there is no sudo; let an administrator run once:" \
            "$(printf %q "$root/tools/setup.sh") --packages"
    fi
    sudo -n true 2>/dev/null || sudo true ||
        die "$1: this needs root, and sudo refuses; let an administrator run once:" \
            "$(printf %q "$root/tools/setup.sh") --packages"
}

add_backports() {
    local uri file
    uri=$(apt_sources)
    [[ "$uri"$'\n' != *" $distro-backports"$'\n'* ]] || return 0
    uri=$(base_uri)
    [ -n "$uri" ] || die "no apt source of $distro to derive its backports from, which have QEMU >= $min_qemu"
    file=$(mktemp)
    deb822 "$uri" "$distro-backports" >"$file"
    as_root "add $distro-backports of your own mirror to apt's sources, for QEMU >= $min_qemu" \
        install -m 644 "$file" /etc/apt/sources.list.d/atoll-backports.sources ||
        die "cannot write under /etc/apt/sources.list.d"
    rm -f "$file"
}

has_candidate() { # PACKAGE [RELEASE]: the package lists on this machine offer it
    [[ $(apt-cache ${2:+-t "$2"} policy "$1" 2>/dev/null) == *"Candidate: "[^\(]* ]]
}

apt_install() { # [-t RELEASE] PACKAGE...
    as_root "install missing Debian packages: ${*/#-t/from}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
}

# An installation that was cut off leaves packages unpacked, and apt refuses to go on until they are set up.
finish_interrupted_installation() {
    if [ -n "$(dpkg --audit 2>/dev/null)" ] || compgen -G '/var/lib/dpkg/updates/*' >/dev/null; then
        as_root "finish an interrupted package installation" env DEBIAN_FRONTEND=noninteractive \
            dpkg --configure -a || true
        as_root "complete its dependencies" env DEBIAN_FRONTEND=noninteractive \
            apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 --fix-broken install ||
            die "an earlier package installation is unfinished, and apt cannot repair it"
    fi
}

update_lists() { as_root "fetch the package lists (apt-get update)" apt-get -q update; }

lists_offer() { # RELEASE-or-empty PACKAGE...
    local release=$1 package
    shift
    for package; do has_candidate "$package" "$release" || return 1; done
}

# Where a package of the backports already stands, apt cannot always add its neighbours of the stable release:
# the last try may take those from the backports too.
install_packages() { # RELEASE-or-empty PACKAGE...
    local release=$1
    shift
    if lists_offer "$release" "$@"; then
        apt_install ${release:+-t "$release"} "$@" && return # else: the lists may be older than the archive
    fi
    update_lists || die "apt-get update failed; check this machine's apt sources and network"
    apt_install ${release:+-t "$release"} "$@" && return
    if [ $distro = bookworm ] && [ -z "$release" ] && lists_offer $distro-backports qemu-system-arm; then
        apt_install -t $distro-backports "$@" && return
    fi
    die "apt could not install: $*"
}

install_tools() {
    local missing others=() package qemu=no
    mapfile -t missing < <(missing_packages | sort -u)
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ $distro = other ]; then
        die "only Debian 12 and 13 (amd64) are set up automatically; here, install by hand: ${missing[*]}" \
            "(QEMU >= $min_qemu)"
    fi
    require_root "install missing Debian packages (${missing[*]})"
    finish_interrupted_installation
    for package in "${missing[@]}"; do
        case "$distro $package" in
        "bookworm qemu-system-arm") qemu=yes ;;
        *) others+=("$package") ;;
        esac
    done
    # The release's own packages first: QEMU's backport then upgrades the few libraries that it shares with them.
    [ ${#others[@]} -eq 0 ] || install_packages "" "${others[@]}"
    if [ $qemu = yes ]; then
        add_backports
        if [[ $(apt-cache madison qemu-system-arm 2>/dev/null) != *"$distro-backports"* ]]; then
            update_lists || die "apt-get update failed; check this machine's apt sources and network"
        fi
        install_packages $distro-backports qemu-system-arm
    fi
    mapfile -t missing < <(missing_packages | sort -u)
    [ ${#missing[@]} -eq 0 ] || die "still missing after the installation: ${missing[*]}"
}

# ---- foreign packages: downloaded and unpacked, never installed --------------------------

# A private apt: its own lists, cache and (empty) dpkg status below $work. It knows arm64 without telling the
# machine's dpkg, needs no root, and changes nothing outside .deps.
apt_options=()
private_apt() {
    local uri suite base
    [ ${#apt_options[@]} -eq 0 ] || return 0
    base=$(base_uri)
    [ -n "$base" ] || die "no apt source of $distro found on this machine to fetch arm64 packages from"
    mkdir -p "$work"/apt/{lists/partial,cache/archives/partial,none}
    : >"$work/apt/status"
    {
        apt_sources | while read -r uri suite; do
            case "$suite" in
            "$distro" | "$distro-updates" | "$distro-security" | stable | stable-updates | stable-security | \
                oldstable | oldstable-updates | oldstable-security) deb822 "$uri" "$suite" ;;
            esac
        done
        [ $distro != bookworm ] || deb822 "$base" $distro-backports
    } >"$work/apt/atoll.sources"
    apt_options=(-o Dir::State="$work/apt" -o Dir::State::Lists="$work/apt/lists"
        -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt/cache"
        -o Dir::Etc::SourceList="$work/apt/atoll.sources" -o Dir::Etc::SourceParts="$work/apt/none"
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts="$work/apt/none"
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
        -o Acquire::Languages=none -o Acquire::GzipIndexes=true -o APT::Sandbox::User=root
        -o Acquire::Retries=3 -o APT::Update::Error-Mode=any)
    say "fetching the package lists for arm64 (into .deps, no root needed)"
    apt-get -q -q "${apt_options[@]}" update ||
        die "the package lists for arm64 could not be fetched; is the network up?"
}

show() { apt-cache "${apt_options[@]}" show "$1" 2>/dev/null; }

# newest PACKAGE REGEX: highest version of the package that matches
newest() {
    local best='' version
    for version in $(show "$1" | sed -n 's/^Version: //p'); do
        if [[ $version =~ $2 ]] && { [ -z "$best" ] || dpkg --compare-versions "$version" gt "$best"; }; then
            best=$version
        fi
    done
    printf %s "$best"
}

# depends PACKAGE VERSION REGEX: the first dependency whose name matches
depends() {
    show "$1" | awk -v v="$2" '
        /^Version: / { hit = ($2 == v) }
        /^Depends: / && hit { sub(/^Depends: /, ""); gsub(/, */, "\n"); print; exit }' |
        sed -n 's/[ (:].*//; '"/^$3\$/p" | sed -n 1p
}

unpack() { # DESTINATION PACKAGE[=VERSION]...: download and unpack
    local destination=$1 dir deb
    shift
    dir=$(mktemp -d "$work/debs.XXXX")
    (cd "$dir" && apt-get -q -q "${apt_options[@]}" download "$@") || die "download failed: $*"
    mkdir -p "$destination"
    for deb in "$dir"/*.deb; do dpkg -x "$deb" "$destination"; done
    rm -rf "$dir"
}

publish() { # NEW FINAL: replaces FINAL by NEW in one step
    rm -rf "$2.old"
    [ ! -e "$2" ] || mv "$2" "$2.old"
    mv "$1" "$2"
    rm -rf "$2.old"
}

get_libfdt() {
    private_apt
    say "libfdt for arm64"
    unpack "$work/fdt" libfdt-dev:arm64
    mkdir -p "$work/libfdt/include"
    cp "$work"/fdt/usr/lib/aarch64-linux-gnu/libfdt.a "$work/libfdt/"
    cp "$work"/fdt/usr/include/*.h "$work/libfdt/include/"
    echo $recipe >"$work/libfdt/stamp"
    publish "$work/libfdt" "$deps/libfdt"
}

get_busybox() {
    private_apt
    say "busybox for arm64"
    unpack "$work/bb" busybox-static:arm64
    local binary
    binary=$(find "$work/bb" -path '*bin/busybox' -type f -print -quit)
    [ -n "$binary" ] || die "the package busybox-static holds no busybox"
    cp "$binary" "$work/busybox"
    publish "$work/busybox" "$deps/busybox"
}

# cyclictest for the stress tests, beside the shared libraries that it is linked with.
get_tools() {
    local libraries name
    private_apt
    say "cyclictest for arm64"
    libraries=$(show rt-tests:arm64 | awk '/^Depends: / { sub(/^Depends: /, ""); gsub(/, */, "\n"); print; exit }' |
        sed -n 's/[ (:].*//; s/^lib.*/&:arm64/p')
    unpack "$work/rt" rt-tests:arm64 $libraries
    mkdir -p "$work/tools/lib"
    cp "$work/rt/usr/bin/cyclictest" "$work/tools/"
    for name in ld-linux-aarch64.so.1 $(${cross}readelf -d "$work/tools/cyclictest" |
        sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        find "$work/rt" -name "$name" -exec cp -L {} "$work/tools/lib/" \; -quit
        [ -s "$work/tools/lib/$name" ] || die "cyclictest needs $name, which no package that it names has"
    done
    echo $recipe >"$work/tools/stamp"
    publish "$work/tools" "$deps/tools"
}

# kernel_tree ROOT ABI COMMON KBUILD: makes ROOT/usr/src/linux-headers-ABI a KDIR wherever ROOT lies.
kernel_tree() {
    local root=$1 abi=$2 common=$3 kbuild=$4 name
    local headers=$root/usr/src/linux-headers-$abi
    # The packaged Makefile includes /usr/src/linux-headers-*-common by absolute path; so do links into lib/.
    sed -i "s,/usr/src/$common,\$(realpath \$(dir \$(lastword \$(MAKEFILE_LIST)))../$common)," \
        "$headers/Makefile"
    for name in "$headers"/* "$root/usr/src/$common"/*; do
        if [ -L "$name" ] && [ ! -e "$name" ]; then
            ln -sfn "../../lib/$kbuild/$(basename "$name")" "$name"
            [ -e "$name" ] || die "the kernel headers $abi lead nowhere at $(basename "$name")"
        fi
    done
}

get_kernel() { # SERIES
    local s=$1 out version abi headers common kbuild modules
    private_apt
    version=$(newest linux-image-arm64:arm64 "^${s/./\\.}\\.")
    [ -n "$version" ] || die "this release's archive offers no linux-image-arm64 $s"
    abi=$(depends linux-image-arm64:arm64 "$version" 'linux-image-.*')
    abi=${abi#linux-image-}
    [ -n "$abi" ] || die "linux-image-arm64 $version names no kernel image"
    headers=linux-headers-$abi
    common=$(depends "$headers:arm64" "$version" 'linux-headers-.*-common')
    kbuild=$(depends "$headers:arm64" "$version" 'linux-kbuild-.*')
    [ -n "$common" ] || die "$headers $version is not in the archive"
    [ -n "$kbuild" ] || die "the build tools of $headers is not in the archive"
    say "kernel $s: $abi ($version)"
    out=$work/kernel-$s
    mkdir -p "$out/src"
    unpack "$work/image-$s" "linux-image-$abi:arm64=$version"
    unpack "$out/src" "$headers:arm64=$version" "$common=$version" "$kbuild:amd64=$version"
    cp "$work/image-$s/boot/vmlinuz-$abi" "$out/Image"
    kernel_tree "$out/src" "$abi" "$common" "$kbuild"
    ln -s "src/usr/src/$headers" "$out/build"
    modules=$work/image-$s/lib
    [ -d "$modules" ] || modules=$work/image-$s/usr/lib
    [ -d "$work/image-$s/lib" ] || ln -s usr/lib "$work/image-$s/lib"
    depmod -b "$work/image-$s" "$abi" || die "depmod failed for $abi"
    mv "$modules/modules/$abi" "$out/modules"
    rm -f "$out/modules/build" "$out/modules/source"
    echo "$abi" >"$out/abi"
    prove_module "$s" "$out"
    echo $recipe >"$out/stamp"
    mkdir -p "$deps/kernels"
    publish "$out" "$deps/kernels/$s"
    rm -rf "$work/image-$s"
}

# A headers tree that builds nothing is found here, not in the middle of `make run`.
prove_module() { # SERIES FOLDER
    local m=$work/probe-$1 # not below the kernel folder: nothing of it may be left behind
    mkdir -p "$m"
    echo 'obj-m := probe.o' >"$m/Makefile"
    printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' >"$m/probe.c"
    make -C "$2/build" M="$m" ARCH=arm64 CROSS_COMPILE=$cross CONFIG_DEBUG_INFO_BTF_MODULES= modules \
        >"$m/log" 2>&1 || {
        tail -n 20 "$m/log" >&2
        die "the headers of kernel $1 do not build a module"
    }
    [ -s "$m/probe.ko" ] || die "the headers of kernel $1 built no module"
    say "kernel $1: its headers build a module"
}

present() { # FOLDER FILE...: made by this recipe (or, off Debian, by somebody), and each file is there
    local folder=$1 file
    shift
    [ $distro = other ] || [ "$(cat "$folder/stamp" 2>/dev/null)" = $recipe ] || return 1
    for file; do [ -s "$folder/$file" ] || return 1; done
}

# Prints the name of each absent part of .deps.
missing_parts() {
    local s
    present "$deps/libfdt" libfdt.a include/libfdt.h || echo libfdt
    [ -x "$deps/busybox" ] || echo busybox
    present "$deps/tools" cyclictest lib/ld-linux-aarch64.so.1 || echo tools
    for s in "${series[@]}"; do
        present "$deps/kernels/$s" abi Image modules/modules.dep build/Makefile || echo "kernel $s"
    done
    if [ ${#series[@]} -eq 0 ]; then # not Debian: any kernel that somebody put there will do
        [ -s "$deps/kernels/default/Image" ] || echo "kernel"
    elif [ "$(readlink "$deps/kernels/default" 2>/dev/null)" != "${series[0]}" ]; then
        echo default
    fi
}

get_parts() {
    local parts part
    mapfile -t parts < <(missing_parts)
    [ ${#parts[@]} -gt 0 ] || return 0
    if [ $distro = other ]; then
        die "only Debian 12 and 13 (amd64) can fetch the arm64 parts; copy .deps from such a machine" \
            "(absent: ${parts[*]})"
    fi
    for part in "${parts[@]}"; do
        case "$part" in
        libfdt) get_libfdt ;;
        busybox) get_busybox ;;
        tools) get_tools ;;
        kernel*) get_kernel "${part#kernel }" ;;
        default) ln -sfn "${series[0]}" "$deps/kernels/default" ;;
        esac
    done
    mapfile -t parts < <(missing_parts)
    [ ${#parts[@]} -eq 0 ] || die "still missing in .deps: ${parts[*]}"
}

check_only() {
    local missing
    mapfile -t missing < <(
        missing_packages | sort -u | sed 's/^/package /'
        missing_parts | sed 's/^/.deps: /'
    )
    [ ${#missing[@]} -gt 0 ] || { say "nothing is missing" && return; }
    printf 'setup: missing: %s\n' "${missing[@]}"
    exit 1
}

main() {
    case "$root" in
    *[:[:space:]]*) die "the folder \"$root\" has a space or a colon in its name, which make cannot build in:" \
        "rename or move it" ;;
    esac
    read_distribution
    case "${1:-}" in
    '') ;;
    --check) check_only && return ;;
    --packages) install_tools; return ;;
    *) die "usage: tools/setup.sh [--check | --packages]" ;;
    esac
    install_tools
    if [ -n "$(missing_parts)" ]; then
        mkdir -p "$deps" || die "cannot make $deps"
        [ -w "$deps" ] || die "$deps belongs to $(stat -c %U "$deps"); give it to $(id -un), or remove it"
        exec 9>"$deps/.lock"
        flock 9
        rm -rf "$deps"/tmp.* # left behind by a run that was killed; the lock says that none is alive
        work=$(mktemp -d "$deps/tmp.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        get_parts
    fi
    say "ready: QEMU $(qemu_version), kernels: $(cd "$deps/kernels" && cat -- */abi | sort -u | tr '\n' ' ')"
}

main "$@"
