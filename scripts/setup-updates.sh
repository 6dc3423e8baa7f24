#!/usr/bin/env bash
# What the tests of updates need beside the usual set-up: a web server, a bad network, certificates, a recorder of system calls, and a server of ssh.
# Exit codes: 0 ok, 4 something is missing on the machine.
set -euo pipefail

readonly PACKAGES="nginx-light iproute2 nftables openssl strace openssh-server"
missing() {
    printf 'error: missing on this machine: %s\nhelp:  %s\n' "$1" "$2" >&2
    exit 4
}
has_tools() { command -v nginx && command -v ip && command -v tc && command -v nft && command -v openssl && command -v strace && command -v sshd; } >/dev/null

export PATH="$PATH:/usr/sbin:/sbin"
[ "$(id -u)" -eq 0 ] || missing "the rights of root, for a network of its own" "sudo make test-updates; \`make test\` has the rest of these tests"
if ! has_tools && command -v apt-get >/dev/null; then
    echo "installing system packages: $PACKAGES" >&2
    # shellcheck disable=SC2086 # one word a package
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PACKAGES >&2 || true
fi
has_tools || missing "nginx, ip, tc, nft, openssl, strace or sshd" "as root: apt-get update && apt-get install --no-install-recommends $PACKAGES"
