#!/usr/bin/env bash
# Tests cameras against a real driver: the kernel's virtual camera `vivid`, in a small virtual machine. `make test-v4l2` calls it.
#
#   scripts/test-v4l2.sh AMIS_HOME RELEASE_FOLDER [aarch64]
#
# RELEASE_FOLDER holds amis-run and, in deps/, the test program `v4l2`, both built: for this machine, or for aarch64, which scripts/test-arm.sh asks for.
# What is downloaded lies in AMIS_HOME/vivid and AMIS_HOME/vivid-aarch64. ORT_DYLIB_PATH is ONNX Runtime for that processor.
# 1. checks qemu, kmod and cpio (installs them when root on a Debian-like system),
# 2. downloads the packages of kernel and busybox and unpacks them (they are not installed),
# 3. makes a file system in memory of busybox, the driver's modules and the programs,
# 4. boots it without KVM, which is not there or does not work on many machines.
# Exit codes: 0 ok, 1 a test failed, 2 wrong usage, 4 something is missing on the machine.
set -euo pipefail

readonly SECONDS_TO_LIVE=540

if [ $# -lt 2 ] || [ $# -gt 3 ] || [ "${3-aarch64}" != aarch64 ]; then
    echo "usage: scripts/test-v4l2.sh AMIS_HOME RELEASE_FOLDER [aarch64]" >&2
    exit 2
fi
release=$2
if [ $# -eq 2 ]; then
    cache=$1/vivid qemu=(qemu-system-x86_64) console=ttyS0 debian=amd64
    packages="qemu-system-x86 kmod cpio"
else
    cache=$1/vivid-aarch64 qemu=(qemu-system-aarch64 -M virt -cpu cortex-a57) console=ttyAMA0 debian=arm64
    packages="qemu-system-arm kmod cpio"
fi
missing() {
    printf 'error: missing on this machine: %s\nhelp:  %s\n' "$1" "$2" >&2
    exit 4
}
[ "$(uname -m)" = x86_64 ] || missing "an x86-64 processor" "run this on a PC"

has_tools() { command -v "${qemu[0]}" && command -v depmod && command -v cpio; } >/dev/null
if ! has_tools && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing system packages: $packages" >&2
    # shellcheck disable=SC2086 # one word a package
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >&2 || true
fi
has_tools || missing "${qemu[0]}, depmod or cpio" "as root: apt-get update && apt-get install --no-install-recommends $packages"

test_program=$(find "$release/deps" -maxdepth 1 -name 'v4l2-*' -executable -type f -printf '%T@ %p\n' | sort -rn | head -n 1 | cut -d ' ' -f 2-)
{ [ -n "$test_program" ] && [ -x "$release/amis-run" ]; } || missing "the built programs in $release" "call this through \`make test-v4l2\`"

# The generic kernel: the one for clouds has no camera drivers.
if ! ls "$cache"/root/boot/vmlinuz-* "$cache/root/bin/busybox" >/dev/null 2>&1; then
    command -v apt-get >/dev/null || missing "apt-get, to download a kernel with the driver vivid" "unpack one with vivid.ko into $cache/root"
    mkdir -p "$cache/download"
    package=$(apt-cache depends "linux-image-$debian:$debian" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$package" ] || missing "the package linux-image-$debian:$debian" "dpkg --add-architecture $debian && apt-get update"
    (cd "$cache/download" && apt-get download -qq "$package" "busybox-static:$debian" >&2)
    rm -rf "$cache/unpacking"
    for deb in "$cache"/download/*.deb; do dpkg -x "$deb" "$cache/unpacking"; done
    rm -rf "$cache/download" "$cache/root" && mv "$cache/unpacking" "$cache/root"
fi
kernel=$(basename "$cache"/root/lib/modules/*)
depmod -b "$cache/root" "$kernel"

image=$(mktemp -d)
trap 'rm -rf "$image"' EXIT
mkdir -p "$image"/{bin,dev,proc,sys,tmp,modules}
cp "$cache/root/bin/busybox" "$image/bin/busybox"
cp "$release/amis-run" "$test_program" "$image/bin/"
mv "$image/bin/$(basename "$test_program")" "$image/bin/v4l2-test"
modprobe -d "$cache/root" -S "$kernel" --show-depends vivid | sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r module; do
    name=$(basename "$module")
    case $name in *.xz) xz -dc "$module" >"$image/modules/${name%.xz}" ;; *) cp "$module" "$image/modules/" ;; esac
    echo "${name%.xz}" >>"$image/modules/order"
done
programs=("$release/amis-run" "$test_program")
if [ -n "${ORT_DYLIB_PATH-}" ]; then
    cp -L "$ORT_DYLIB_PATH" "$image/bin/libonnxruntime.so"
    programs+=("$ORT_DYLIB_PATH")
fi
# The libraries that these are linked against, under the same paths.
if [ $debian = amd64 ]; then
    ldd "${programs[@]}" | grep -o '/[^ ]*\.so[^ ]*' | sed 's/:$//' | sort -u | while read -r library; do
        mkdir -p "$image$(dirname "$library")" && cp -L "$library" "$image$library"
    done
else
    mkdir "$image/lib"
    for name in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libstdc++.so.6 libgcc_s.so.1 libdl.so.2 libpthread.so.0 librt.so.1; do
        cp -L "/usr/aarch64-linux-gnu/lib/$name" "$image/lib/"
    done
fi
cat >"$image/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do
    case $module in vivid.ko) options="n_devs=1 node_types=0x1" ;; *) options= ;; esac
    /bin/busybox insmod "/modules/$module" $options || echo "cannot load $module"
done </modules/order
# What udev does elsewhere.
/bin/busybox mkdir -p /dev/v4l/by-id
/bin/busybox ln -s ../../video0 /dev/v4l/by-id/vivid-000-index0
export TMPDIR=/tmp AMIS_RUN=/bin/amis-run RUST_BACKTRACE=1
[ ! -e /bin/libonnxruntime.so ] || export ORT_DYLIB_PATH=/bin/libonnxruntime.so
/bin/v4l2-test --ignored --test-threads=1
echo "V4L2 EXIT $?"
/bin/busybox poweroff -f
INIT
chmod +x "$image/init"
(cd "$image" && find . | cpio -o -H newc --quiet | gzip -1) >"$cache/init.gz"

log=$cache/console.log
timeout "$SECONDS_TO_LIVE" "${qemu[@]}" -accel tcg -m 768 -nographic -no-reboot -nodefaults -serial stdio \
    -kernel "$cache/root/boot/vmlinuz-$kernel" -initrd "$cache/init.gz" -append "console=$console quiet panic=-1" </dev/null | tee "$log" || true
# qemu's own exit code says nothing about what ran in it.
if ! tr -d '\r' <"$log" | grep -qx 'V4L2 EXIT 0'; then
    echo "error: the tests on the virtual camera failed; the machine's console is in $log" >&2
    exit 1
fi
