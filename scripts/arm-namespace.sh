#!/usr/bin/env bash
# Runs a command in namespaces of its own where programs for aarch64 start in qemu; outside, nothing changes.
#
#   scripts/arm-namespace.sh COMMAND...
#
# As root, all users and groups are those of the machine; otherwise the command sees itself as root. Libraries are looked for in QEMU_LD_PREFIX, the
# processor is QEMU_CPU. /proc/cpuinfo and /sys/devices/system/cpu show one core of an Arm (Neoverse N1): ONNX Runtime reads them, and crashes on those of a PC.
set -euo pipefail

readonly QEMU=/usr/bin/qemu-aarch64-static

if [ $# -lt 1 ]; then
    echo "usage: scripts/arm-namespace.sh COMMAND..." >&2
    exit 2
fi
if [ ! -x $QEMU ]; then
    printf 'error: missing on this machine: %s\nhelp:  as root: apt-get install --no-install-recommends qemu-user-static\n' $QEMU >&2
    exit 4
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/mapped"
mkdir "$work/binfmt"
# ELF for aarch64; F: qemu is opened now, so that it need not be in another root.
printf '%s' ':aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'$QEMU':F' >"$work/handler"
printf '%s\t: %s\n' processor 0 Features 'fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp' 'CPU implementer' 0x41 'CPU architecture' 8 'CPU variant' 0x3 \
    'CPU part' 0xd0c 'CPU revision' 1 >"$work/cpuinfo"
cat >"$work/enter" <<'ENTER'
#!/bin/sh
set -e
work=$1
shift
mount -t binfmt_misc binfmt_misc "$work/binfmt"
cat "$work/handler" >"$work/binfmt/register"
mount --bind "$work/cpuinfo" /proc/cpuinfo
mount -t tmpfs none /sys/devices/system/cpu
mkdir /sys/devices/system/cpu/cpu0
for file in possible present online; do echo 0 >"/sys/devices/system/cpu/$file"; done
exec "$@"
ENTER
chmod +x "$work/enter"

# shellcheck disable=SC2016 # for the shell within
unshare --user /bin/sh -c 'read -r _ <"$0/mapped" && exec unshare --mount --pid --fork --kill-child "$0/enter" "$0" "$@"' "$work" "$@" &
child=$!
until [ "$(readlink /proc/$child/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.05; done
# By hand: unshare itself maps several users by newuidmap only, which asks /etc/subuid.
count=65536 user=0 group=0
if [ "$(id -u)" -ne 0 ]; then
    count=1 user=$(id -u) group=$(id -g)
    echo deny >/proc/$child/setgroups
fi
echo "0 $user $count" >/proc/$child/uid_map
echo "0 $group $count" >/proc/$child/gid_map
echo >"$work/mapped"
wait $child
