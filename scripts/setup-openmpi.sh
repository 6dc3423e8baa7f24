#!/usr/bin/env bash
# What training by several processes needs beyond setup.sh; `make build-distributed` calls it.
#
#   scripts/setup-openmpi.sh AMIS_HOME
#
# 1. checks Open MPI, its headers and its launcher (installs them when root on a Debian-like system),
# 2. gives the NCCL that came with libtorch the name under which it is looked for.
# Exit codes: 0 ok, 2 wrong usage, 4 something is missing on the machine.
set -euo pipefail

readonly PACKAGES="libopenmpi-dev openmpi-bin"

if [ $# -ne 1 ]; then
    echo "usage: scripts/setup-openmpi.sh AMIS_HOME" >&2
    exit 2
fi

has_mpi() { command -v mpicc >/dev/null && command -v mpirun >/dev/null; }

if ! has_mpi && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing system packages: $PACKAGES" >&2
    # shellcheck disable=SC2086 # one word a package
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PACKAGES >&2 || true
fi
if ! has_mpi; then
    printf 'error: missing on this machine: Open MPI (mpicc, mpirun)\nhelp:  %s\n' \
        "as root: apt-get update && apt-get install --no-install-recommends $PACKAGES   (on a cluster: load its module)" >&2
    exit 4
fi

# libtorch brings libnccl.so.2, and the binding opens libnccl.so.
for library in "$1"/venv/lib/python3*/site-packages/nvidia/nccl/lib/libnccl.so.2; do
    [ ! -e "$library" ] || ln -sf libnccl.so.2 "${library%.2}"
done
