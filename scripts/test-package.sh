#!/usr/bin/env bash
# Installs, upgrades, removes and purges the packages of scripts/package.sh in roots of Debian. `make test-package` calls it.
#
#   scripts/test-package.sh AMIS_HOME PACKAGE_FOLDER
#
# 1. checks debootstrap, lintian and qemu-user (installs them when root on a Debian-like system),
# 2. lintian on every package,
# 3. makes a root for each processor, kept as AMIS_HOME/package/ARCH.tar,
# 4. in a copy of it, in namespaces of its own: what a person does with the package, and what must be true after it.
# Exit codes: 0 ok, 1 something is not as it has to be, 2 wrong usage, 4 something is missing on the machine.
set -euo pipefail

readonly PACKAGES="debootstrap lintian qemu-user-static man-db"
readonly INCLUDE="adduser,systemd,procps,g++"

if [ $# -ne 2 ]; then
    echo "usage: scripts/test-package.sh AMIS_HOME PACKAGE_FOLDER" >&2
    exit 2
fi
cache=$1/package packages=$(cd "$2" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
missing() {
    printf 'error: missing on this machine: %s\nhelp:  %s\n' "$1" "$2" >&2
    exit 4
}
[ "$(id -u)" -eq 0 ] || missing "the rights of root, for roots of Debian" "start it as root"
has_tools() { command -v debootstrap && command -v lintian && command -v qemu-aarch64-static && command -v dpkg-deb; } >/dev/null
if ! has_tools && command -v apt-get >/dev/null; then
    echo "installing system packages: $PACKAGES" >&2
    # shellcheck disable=SC2086 # one word a package
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PACKAGES >&2 || true
fi
has_tools || missing "debootstrap, lintian, qemu-aarch64-static or dpkg-deb" "apt-get update && apt-get install --no-install-recommends $PACKAGES"
mkdir -p "$cache"
work=$(mktemp -d -p "$cache")
trap 'rm -rf "$work"' EXIT

echo "lintian"
lintian --fail-on error --suppress-tags initial-upload-closes-no-bugs "$packages"/*.deb

inside() { # ROOT COMMAND...
    # shellcheck disable=SC2016 # for the shell within
    scripts/arm-namespace.sh /bin/sh -c 'mount --rbind /proc "$1/proc" && exec chroot "$@"' sh "$@"
}

# The headers of TensorRT, from cargo's download of the crate that carries them.
headers=$(cargo metadata --format-version=1 --locked --offline --manifest-path tensorrt/headers/Cargo.toml |
    python3 -c 'import json, pathlib, sys; print(next(pathlib.Path(p["manifest_path"]).parent for p in json.load(sys.stdin)["packages"] if p["name"] == "trtx-sys"))')/TensorRT-Headers

# A package as JetPack's, with headers of TensorRT.
headers_package() { # ARCH TRIPLE
    local tree=$work/headers-$1
    mkdir -p "$tree/DEBIAN" "$tree/usr/include/$2" "$tree/usr/local/cuda/include"
    cp "$headers"/TRT-Enterprise-*/*.h "$tree/usr/include/$2/"
    cp "$headers"/cuda_runtime_api.h "$tree/usr/local/cuda/include/"
    printf 'Package: libnvinfer-headers-dev\nVersion: 1\nArchitecture: %s\nMaintainer: nobody <nobody@localhost>\nDescription: headers\n' "$1" >"$tree/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$tree" "$work/share-$1/headers.deb" >/dev/null
}

# The package as an older version.
older() { # DEB OUT
    rm -rf "$work/older" && dpkg-deb -R "$1" "$work/older"
    sed -i 's/^Version: .*/Version: 0.0.1-1/' "$work/older/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$work/older" "$2" >/dev/null
}

for arch in amd64 arm64; do
    triple=$([ $arch = arm64 ] && echo aarch64-linux-gnu || echo x86_64-linux-gnu)
    deb=$(echo "$packages"/amis-run_*_$arch.deb)
    if [ ! -f "$cache/$arch.tar" ]; then
        echo "$arch: making a root"
        debootstrap --foreign --arch=$arch --variant=minbase --include=$INCLUDE bookworm "$work/$arch" >"$cache/debootstrap-$arch.log"
        # The root is thrown away after a crash, so nothing has to be on the disk before the next file.
        mkdir -p "$work/$arch/etc/dpkg/dpkg.cfg.d"
        echo force-unsafe-io >"$work/$arch/etc/dpkg/dpkg.cfg.d/unsafe-io"
        # In the namespace nobody may make device files, so they are there already.
        printf '#!/bin/sh\nfor path; do case $path in /*) [ -e "$path" ] || : >"$path" ;; esac; done\n' >"$work/$arch/debootstrap/mknod"
        chmod +x "$work/$arch/debootstrap/mknod"
        for device in null,3 zero,5 full,7 random,8 urandom,9; do
            [ -e "$work/$arch/dev/${device%,*}" ] || mknod -m 666 "$work/$arch/dev/${device%,*}" c 1 "${device#*,}"
        done
        inside "$work/$arch" /usr/bin/env "PATH=/debootstrap:$PATH" /debootstrap/debootstrap --second-stage >>"$cache/debootstrap-$arch.log" ||
            missing "a root of Debian for $arch (see $cache/debootstrap-$arch.log)" "check the network and the disk"
        rm -rf "$work/$arch"/var/cache/apt/archives/*.deb
        tar -C "$work/$arch" -cf "$cache/$arch.part" . && mv "$cache/$arch.part" "$cache/$arch.tar"
        rm -rf "${work:?}/$arch"
    fi
    mkdir -p "$work/share-$arch"
    headers_package "$arch" "$triple"
    older "$deb" "$work/share-$arch/old.deb"
    cp "$deb" "$work/share-$arch/new.deb"
    cp "$packages"/amis-run-*-$arch.tar.gz "$work/share-$arch/new.tar.gz"
    cp scripts/test-package-inside.sh "$work/share-$arch/"
    mkdir "$work/$arch"
    tar -C "$work/$arch" -xf "$cache/$arch.tar"
    mv "$work/share-$arch" "$work/$arch/share"
    echo "$arch: in a root of Debian"
    inside "$work/$arch" /share/test-package-inside.sh || { echo "error: $arch: the package is not as it has to be, see above" >&2; exit 1; }
    rm -rf "${work:?}/$arch"
done
