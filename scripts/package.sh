#!/usr/bin/env bash
# Packs amis-run for installation: Debian packages and tarballs for arm64 (a Jetson) and amd64. `make package` calls it.
#
#   scripts/package.sh AMIS_HOME TARGET_FOLDER
#
# TARGET_FOLDER holds amis-run in release/ and, by scripts/cross.sh, in aarch64-unknown-linux-gnu/release/. What is made lies in its folder package/.
# 1. installs cargo-deb into AMIS_HOME/tools,
# 2. lets amis-run write its man pages and completions,
# 3. packs; runtime/Cargo.toml says what.
# Exit codes: 0 ok, 1 a step failed, 2 wrong usage, 4 something is missing on the machine.
set -euo pipefail

readonly CARGO_DEB=3.8.0 CROSS=aarch64-unknown-linux-gnu

if [ $# -ne 2 ]; then
    echo "usage: scripts/package.sh AMIS_HOME TARGET_FOLDER" >&2
    exit 2
fi
home=$1 target=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
missing() {
    printf 'error: missing on this machine: %s\nhelp:  %s\n' "$1" "$2" >&2
    exit 4
}
command -v dpkg-deb >/dev/null || missing "dpkg-deb, of a Debian-like system" "make cross   builds the program alone"
for release in "$target/release" "$target/$CROSS/release"; do
    [ -x "$release/amis-run" ] || missing "$release/amis-run" "call this through \`make package\`"
done

# A target folder of its own, so that the programs of the project are not compiled anew.
[ "$("$home/tools/bin/cargo-deb" --version 2>/dev/null)" = "$CARGO_DEB" ] ||
    CARGO_TARGET_DIR="$home/tools/target" cargo install --quiet --locked --root "$home/tools" "cargo-deb@$CARGO_DEB"
export PATH="$home/tools/bin:$PATH" CARGO_TARGET_DIR="$target"

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
manual=$target/release/manual
rm -rf "$manual" "$target/$CROSS/release/manual" "$target/package"
"$target/release/amis-run" manual "$manual"
gzip -9n "$manual"/*.1
# The form that Debian asks for; CHANGELOG.md is in the package too.
gzip -9n >"$manual/changelog.Debian.gz" <<CHANGELOG
amis-run ($version-1) stable; urgency=medium

  * See changelog.gz.

 -- $(sed -n 's/^maintainer = "\(.*\)"/\1/p' runtime/Cargo.toml)  $(date -R -d "$(git log -1 --format=%cI 2>/dev/null || echo now)")
CHANGELOG
cp -r "$manual" "$target/$CROSS/release/manual"

mkdir -p "$target/package"
cargo deb --quiet --no-build --locked --package amis-runtime --output "$target/package/"
cargo deb --quiet --no-build --locked --package amis-runtime --output "$target/package/" --target "$CROSS" --variant jetson

# The same files for other systems.
for deb in "$target"/package/*.deb; do
    arch=$(dpkg-deb -f "$deb" Architecture)
    name=amis-run-$version-$arch
    stage=$(mktemp -d)
    dpkg-deb -x "$deb" "$stage"
    mv "$stage/etc/amis/run.env" "$stage/usr/share/amis/run.env"
    mv "$stage/usr" "$stage/$name"
    cat >"$stage/$name/share/doc/amis-run/INSTALL" <<INSTALL
As root, on a system with glibc:

    tar -C /usr --strip-components=1 -xf $name.tar.gz
    useradd --system --groups video --home-dir /var/lib/amis --shell /usr/sbin/nologin amis
    install -d -o amis -g amis -m 0750 /var/lib/amis
    install -D -m 0644 /usr/share/amis/run.env /etc/amis/run.env
    /usr/share/amis/build-shim            # where TensorRT is
    amis-run doctor

/etc/amis/run.env says what the service shows: systemctl enable --now amis-run
INSTALL
    tar -C "$stage" --owner=0 --group=0 --sort=name -czf "$target/package/$name.tar.gz" "$name"
    rm -rf "$stage"
done
ls -l "$target/package"
