#!/bin/bash
# The part of scripts/test-package.sh that runs in a root of Debian, where /share holds old.deb, new.deb, headers.deb and new.tar.gz.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C

say() { printf '  %s\n' "$*"; }
failed() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
# dpkg's words are shown when it fails.
package() {
    dpkg "$@" >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log >&2; failed "dpkg $*"; }
}
doctor() { amis-run doctor 2>&1 || true; }

say "install"
package -i /share/old.deb
amis-run --version
grep -q 'no library for TensorRT: NvInfer.h not found' /tmp/dpkg.log || failed "the installation does not say that TensorRT's headers are missing"
[ "$(id -nG amis)" = "amis video" ] || failed "the user amis is in the groups $(id -nG amis)"
[ "$(getent passwd amis | cut -d : -f 6,7)" = "/var/lib/amis:/usr/sbin/nologin" ] || failed "the user amis: $(getent passwd amis)"
[ "$(stat -c %U:%G:%a /var/lib/amis)" = amis:amis:750 ] || failed "/var/lib/amis: $(stat -c %U:%G:%a /var/lib/amis)"
for unit in /usr/lib/systemd/system/amis-*; do
    systemd-analyze verify "$unit" || failed "systemd does not understand $unit"
done
for unit in amis-run.service amis-update.timer; do
    [ "$(systemctl is-enabled $unit)" = disabled ] || failed "$unit starts before there is a bundle"
done
bash -n /usr/share/bash-completion/completions/amis-run
for page in amis-run amis-run-run amis-run-doctor; do
    zcat "/usr/share/man/man1/$page.1.gz" | grep -q '^\.TH' || failed "no man page $page"
done
doctor | grep -q /usr/lib/amis/libamis_trt.so || failed "doctor does not say where the library for TensorRT belongs"

say "headers of TensorRT come: the package compiles its library"
package -i /share/headers.deb
[ -s /usr/lib/amis/libamis_trt.so ] || { cat /tmp/dpkg.log; failed "no /usr/lib/amis/libamis_trt.so after the headers were installed"; }
doctor | grep -q 'no shim for TensorRT (libamis_trt.so)' && failed "doctor does not find the library"

say "upgrade"
echo bundle >/var/lib/amis/street.amis
mkdir -p /var/lib/amis/engines && echo engine >/var/lib/amis/engines/street.engine
chown -R amis:amis /var/lib/amis
echo AMIS_MINE=1 >>/etc/amis/run.env
systemctl enable amis-run 2>/dev/null
kept() { # WHEN
    [ "$(cat /var/lib/amis/street.amis /var/lib/amis/engines/street.engine)" = $'bundle\nengine' ] || failed "/var/lib/amis after $1"
    grep -q AMIS_MINE /etc/amis/run.env || failed "/etc/amis/run.env after $1"
}
touch -d '1 hour ago' /usr/lib/amis/libamis_trt.so
package -i /share/new.deb
[ "$(dpkg-query -W -f '${Version}' amis-run)" != 0.0.1-1 ] || failed "the old version is still there"
kept "the upgrade"
[ "$(systemctl is-enabled amis-run)" = enabled ] || failed "the upgrade disabled the service"
[ "$(find /usr/lib/amis/libamis_trt.so -mmin -30)" ] || failed "the upgrade did not compile the library anew"

say "remove"
package -r amis-run
kept "the removal"
for path in /usr/bin/amis-run /usr/lib/amis /usr/share/amis /usr/lib/systemd/system/amis-run.service; do
    [ ! -e $path ] || failed "$path is left after the removal"
done

say "install again, purge"
package -i /share/new.deb
kept "the second installation"
package -P amis-run
left=$(find / -xdev \( -path /share -o -path /proc -o -path /var/log \) -prune -o -iname '*amis*' -print)
[ -z "$left" ] || failed "left after the purge: $left"

say "tarball"
tar -C /usr --strip-components=1 -xf /share/new.tar.gz
amis-run --version
/usr/share/amis/build-shim
[ -s /usr/lib/amis/libamis_trt.so ] || failed "build-shim of the tarball"
