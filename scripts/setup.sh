#!/usr/bin/env bash
# Set-up of a machine for building, testing and the demo; `make setup` calls it.
#
#   scripts/setup.sh AMIS_HOME
#
# 1. checks the system packages and the Rust toolchain (installs packages when root on a Debian-like system),
# 2. makes AMIS_HOME/venv from scripts/requirements.txt,
# 3. downloads the crates.
# Does nothing when AMIS_HOME/venv/setup.stamp holds the hash of everything that set-up depends on.
# Exit codes: 0 ok, 1 a step failed, 2 wrong usage, 4 something is missing on the machine.
set -euo pipefail

readonly MIN_RUST="1.92.0"     # `ort` 2.0.0-rc.15 asks for it
readonly MIN_PYTHON="3.11"     # numpy and onnxruntime ask for it
readonly NEXT_PYTHON="3.15"    # the first one without wheels of torch 2.11.0
readonly VENV_GIB=8            # 5 GiB installed, and room for the downloads

if [ $# -ne 1 ]; then
    echo "usage: scripts/setup.sh AMIS_HOME" >&2
    exit 2
fi
mkdir -p "$1"
home="$(cd "$1" && pwd)"
readonly home
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly venv="$home/venv"
readonly requirements="scripts/requirements.txt"
readonly headers="tensorrt/headers/Cargo.toml" # names the crate that carries the TensorRT headers

say() { printf '[setup %4d s] %s\n' "$SECONDS" "$*" >&2; }

# Ends with exit code 4: what is missing, and what to do about it.
missing() { # WHAT HELP
    printf 'error: missing on this machine: %s\nhelp:  %s\n' "$1" "$2" >&2
    exit 4
}

# Ends with exit code 1: what failed, and what to do about it.
failed() { # WHAT HELP
    printf 'error: %s\nhelp:  %s\n' "$1" "$2" >&2
    exit 1
}

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

trap 'say "stopped; what was unfinished is made anew the next time"; exit 130' INT TERM

hash_of() { cat -- "$@" | sha256sum | cut -d ' ' -f 1; }

# The first Python in the right range that can make virtual environments, or nothing.
# `ensurepip` is asked for because Debian leaves it out of its python3 package.
find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" - "$MIN_PYTHON" "$NEXT_PYTHON" >/dev/null 2>&1 <<'PY'
import ensurepip, sys, venv
low, high = (tuple(map(int, v.split("."))) for v in sys.argv[1:])
sys.exit(not low <= sys.version_info[:2] < high)
PY
        then
            command -v "$candidate"
            return
        fi
    done
}

# Names of the Debian packages whose programs are not there, one a line.
missing_packages() {
    command -v g++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
    command -v pkg-config >/dev/null || echo pkg-config
    [ -n "$(find_python)" ] || printf '%s\n' python3 python3-venv
}

check_system() {
    local packages
    [ "$(uname -sm)" = "Linux x86_64" ] || missing "an x86-64 Linux (this is $(uname -sm))" \
        "train and export on a workstation; a Jetson builds the runtime alone, see docs/untested.md"
    packages="$(missing_packages | tr '\n' ' ')"
    packages="${packages% }"
    [ -n "$packages" ] || return 0
    # shellcheck disable=SC2086 # one word a package
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "installing system packages: $packages"
        apt-get update -qq >&2 &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >&2 ||
            missing "$packages (apt-get failed, see above)" \
                "apt-get update && apt-get install --no-install-recommends $packages"
    fi
    packages="$(missing_packages | tr '\n' ' ')"
    packages="${packages% }"
    [ -z "$packages" ] ||
        missing "${packages/python3 /python3 from $MIN_PYTHON to below $NEXT_PYTHON }" \
            "as root: apt-get update && apt-get install --no-install-recommends $packages"
}

check_rust() {
    local have component lacking=""
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        missing "the Rust toolchain, $MIN_RUST or later (cargo, rustc)" \
            "rustup toolchain install stable --profile default   (rustup itself: see https://rustup.rs)"
    fi
    have="$(rustc --version | cut -d ' ' -f 2)"
    version_at_least "${have%%-*}" "$MIN_RUST" ||
        missing "rustc $MIN_RUST or later (found $have)" "rustup update stable"
    for component in rustfmt clippy; do
        # `cargo fmt` and `cargo clippy` exist as rustup proxies even where the component is not installed.
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || lacking+=" $component"
    done
    [ -z "$lacking" ] || missing "parts of the Rust toolchain:$lacking" "rustup component add$lacking"
}

check_disk() {
    local free_kib
    free_kib="$(df --output=avail -k "$home" | tail -n 1)"
    [ "$free_kib" -ge $((VENV_GIB * 1024 * 1024)) ] ||
        missing "disk space in $home: $((free_kib / 1024 / 1024)) GiB free, $VENV_GIB GiB needed" \
            "make setup AMIS_HOME=FOLDER   with a folder on a larger disk"
}

make_venv() {
    # The mark lies in the environment while it is worked on: found at the start, the work was cut off.
    local mark="$venv/.unfinished"
    if [ -e "$mark" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        check_disk
        say "making $venv"
        rm -rf "$venv"
        mkdir "$venv"
        touch "$mark"
        "$(find_python)" -m venv "$venv" >&2
    fi
    touch "$mark"
    rm -f "$venv/requirements.stamp"
    say "installing Python packages (about 3 GB of downloads the first time)"
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off -r "$requirements" |
        show_large_downloads || failed "pip could not install $requirements (see above)" \
        "check the network and the disk, then start again: the environment is then made anew"
    hash_of "$requirements" scripts/setup.sh >"$venv/requirements.stamp"
    rm "$mark"
}

# Of pip's many lines, those that stand for a wait: downloads of 100 MB and more, and the unpacking.
show_large_downloads() {
    local line
    while IFS= read -r line; do
        case "$line" in
        *Downloading*\([0-9][0-9][0-9]*MB\)) say "${line#"${line%%[![:space:]]*}"}" ;;
        "Installing collected packages"*) say "unpacking" ;;
        esac
    done
}

fetch_crates() {
    say "downloading crates"
    local manifest
    for manifest in Cargo.toml "$headers"; do
        [ -f "$manifest" ] || continue
        cargo fetch --quiet --locked --manifest-path "$manifest" >&2 ||
            failed "cargo could not fetch the crates of $manifest (see above)" \
                "check the network; after a change of Cargo.toml run cargo build once without --locked"
    done
}

inputs=("$requirements" scripts/setup.sh Cargo.lock)
for file in "$headers" "${headers%.toml}.lock"; do
    [ ! -f "$file" ] || inputs+=("$file")
done
hash="$(hash_of "${inputs[@]}")"
readonly hash stamp="$venv/setup.stamp"
is_done() { [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ]; }

if is_done; then
    say "up to date: $venv"
    exit 0
fi
exec 9>"$home/setup.lock" # two set-ups at once would break each other's environment
flock --nonblock 9 || { say "waiting for another set-up of $home"; flock 9; }
if is_done; then
    say "up to date: $venv"
    exit 0
fi

say "checking system packages and the Rust toolchain"
check_system
check_rust
rm -f "$stamp"
# A change of the crates alone leaves the environment as it is.
if [ "$(cat "$venv/requirements.stamp" 2>/dev/null)" != "$(hash_of "$requirements" scripts/setup.sh)" ]; then
    make_venv
fi
fetch_crates
echo "$hash" >"$stamp"
say "done: $venv"
