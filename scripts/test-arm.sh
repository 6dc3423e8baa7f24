#!/usr/bin/env bash
# Tests of amis-run for aarch64 on a PC: its tests in qemu-user with ONNX Runtime, and cameras in a virtual machine. `make test-arm` calls it.
#
#   scripts/test-arm.sh AMIS_HOME TARGET_FOLDER
#
# TARGET_FOLDER holds what scripts/cross.sh built. What is downloaded lies in AMIS_HOME/arm.
# 1. checks qemu and C++'s library for Arm (installs them when root on a Debian-like system),
# 2. downloads ONNX Runtime for aarch64,
# 3. runs the tests; those of the kernels in CUDA C compile for this machine, and are left out,
# 4. boots a virtual machine with the kernel's virtual camera: scripts/test-v4l2.sh.
# Exit codes: 0 ok, 1 a test failed, 2 wrong usage, 4 something is missing on the machine.
set -euo pipefail

readonly PACKAGES="qemu-user-static libstdc++6-arm64-cross qemu-system-arm" PREFIX=/usr/aarch64-linux-gnu
readonly TESTS="amis_runtime sources sinks backend pipeline doctor"

if [ $# -ne 2 ]; then
    echo "usage: scripts/test-arm.sh AMIS_HOME TARGET_FOLDER" >&2
    exit 2
fi
home=$1 cache=$1/arm release=$2/aarch64-unknown-linux-gnu/release
cd "$(dirname "${BASH_SOURCE[0]}")/.."
missing() {
    printf 'error: missing on this machine: %s\nhelp:  %s\n' "$1" "$2" >&2
    exit 4
}
has_tools() { command -v qemu-aarch64-static && command -v qemu-system-aarch64 && ls $PREFIX/lib/libstdc++.so.6; } >/dev/null 2>&1
if ! has_tools && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing system packages: $PACKAGES" >&2
    # shellcheck disable=SC2086 # one word a package
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PACKAGES >&2 || true
fi
has_tools || missing "qemu for aarch64, or $PREFIX/lib/libstdc++.so.6" "as root: apt-get update && apt-get install --no-install-recommends $PACKAGES"

wheel=$(grep '^onnxruntime==' scripts/requirements.txt)
library=$cache/onnxruntime/capi/libonnxruntime.so.${wheel#*==}
if [ ! -f "$library" ]; then
    mkdir -p "$cache"
    "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: \
        --platform manylinux_2_28_aarch64 --python-version 3.11 --target "$cache" --upgrade "$wheel"
fi

# Loader and C library from the same place: with those of an installed libc6:arm64 mixed in, threads never start.
export QEMU_LD_PREFIX=$PREFIX LD_LIBRARY_PATH=$PREFIX/lib ORT_DYLIB_PATH=$library
# The core that is nearest to those of an Orin: NEON with rounding products, half precision, dot products. Every instruction takes twenty times as long,
# so a few random cases of each property have to do.
export QEMU_CPU=neoverse-n1 PROPTEST_CASES=16
# An error of the emulator must not look like a test that has passed.
scripts/arm-namespace.sh "$release/amis-run" --version
run_tests() { # PROGRAM ARGUMENTS...
    local program
    program=$(find "$release/deps" -maxdepth 1 -name "$1-*" -executable -type f -printf '%T@ %p\n' | sort -rn | head -n 1 | cut -d ' ' -f 2-)
    [ -n "$program" ] || missing "the test program $1 in $release/deps" "call this through \`make test-arm\`"
    echo "== $1"
    # Tests look for their files from the folder of their crate, as under cargo.
    (cd runtime && ../scripts/arm-namespace.sh "$program" "${@:2}")
}
for name in $TESTS; do
    run_tests "$name" --skip kernels:: --test-threads 2
done
# Colours on a core without rounding products, too.
QEMU_CPU=cortex-a57 run_tests amis_runtime pixels::
unset LD_LIBRARY_PATH
scripts/test-v4l2.sh "$home" "$release" aarch64
