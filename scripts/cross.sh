#!/usr/bin/env bash
# Builds amis-run for a Jetson (aarch64, glibc 2.31 and later: JetPack 5, 6, 7) on an x86-64 machine; `make cross` calls it.
#
#   scripts/cross.sh AMIS_HOME [COMMAND ARGUMENTS...]
#
# 1. checks the packages: a Rust standard library for aarch64 and its C headers (installs them when root on a Debian-like system),
# 2. installs zig, which links against the old glibc, into AMIS_HOME/venv,
# 3. calls cargo-zigbuild: with `zigbuild`, or another COMMAND, like `test --no-run`.
# The toolchain in use is taken if it has the target (rustup target add aarch64-unknown-linux-gnu), otherwise Debian's package rustc-web.
# Exit codes: those of cargo, 2 wrong usage, 4 something is missing on the machine.
set -euo pipefail

readonly TARGET=aarch64-unknown-linux-gnu GLIBC=2.31
readonly SYSROOT=/usr/aarch64-linux-gnu

if [ $# -lt 1 ]; then
    echo "usage: scripts/cross.sh AMIS_HOME [COMMAND ARGUMENTS...]" >&2
    exit 2
fi
home=$1 command=${2-zigbuild}
shift $(($# < 2 ? 1 : 2))
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_target() { [ -d "$("$1" --print target-libdir --target "$TARGET" 2>/dev/null)" ]; }

packages=()
has_target rustc || has_target /usr/bin/rustc || packages+=(rustc-web libstd-rust-web-dev:arm64)
[ -d "$SYSROOT/include" ] || packages+=(libc6-dev-arm64-cross)
if [ ${#packages[@]} -gt 0 ]; then
    install="dpkg --add-architecture arm64 && apt-get update && apt-get install --no-install-recommends ${packages[*]}"
    refuse() {
        printf 'error: missing on this machine: %s\nhelp:  as root: %s\n' "${packages[*]}" "$install" >&2
        exit 4
    }
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || refuse
    echo "installing system packages: ${packages[*]}" >&2
    dpkg --add-architecture arm64
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2 || refuse
fi
has_target rustc || export RUSTC=/usr/bin/rustc

"$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r scripts/cross-requirements.txt
export PATH="$home/venv/bin:$PATH"
export BINDGEN_EXTRA_CLANG_ARGS="--sysroot=$SYSROOT -isystem $SYSROOT/include ${BINDGEN_EXTRA_CLANG_ARGS-}"
# No strip on this machine knows the other processor.
export CARGO_PROFILE_RELEASE_STRIP=symbols
exec cargo-zigbuild "$command" --release --locked --target "$TARGET.$GLIBC" -p amis-runtime "$@"
