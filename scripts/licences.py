"""Checks the licence of every crate that the workspace depends on against the list in deny.toml.

Usage: licences.py [MANIFEST...]   (default: the workspace and, where it exists, tensorrt/headers)

Exit codes: 0 all allowed, 1 a licence is not allowed, 3 deny.toml does not fit.
Reads `cargo metadata` alone, so it needs no network and no build.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from license_expression import ExpressionError, get_spdx_licensing

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "deny.toml"
MANIFESTS = [ROOT / "Cargo.toml", ROOT / "tensorrt/headers/Cargo.toml"]


def crates(manifest):
    """Packages of all targets and features behind `manifest` that are not our own."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--manifest-path", manifest]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return [p for p in json.loads(output)["packages"] if p["source"] is not None]


def permits(expression, allowed):
    """Whether a parsed SPDX expression can be met with the licences in `allowed` alone."""
    match getattr(expression, "operator", "").strip():
        case "OR":
            return any(permits(e, allowed) for e in expression.args)
        case "AND":
            return all(permits(e, allowed) for e in expression.args)
        case _:  # a licence, or a licence WITH an exception
            return str(expression) in allowed


def problem(package, spdx, allowed):
    """What is wrong with the licence of `package`, or None."""
    text = package["license"]
    if not text:
        return f"names no licence (licence file: {package['license_file']})"
    try:
        # Cargo's older separator "/" means OR.
        expression = spdx.parse(text.replace("/", " OR "), validate=True)
    except ExpressionError as error:
        return f"licence {text!r} is no SPDX expression: {error}"
    return None if permits(expression, allowed) else f"licence {text} is not allowed"


def main():
    config = tomllib.loads(CONFIG.read_text())["licenses"]
    exceptions = {e["crate"]: set(e["allow"]) for e in config["exceptions"]}
    spdx = get_spdx_licensing()
    manifests = [Path(a) for a in sys.argv[1:]] or [m for m in MANIFESTS if m.exists()]
    found = {p["id"]: p for m in manifests for p in crates(m)}.values()

    problems = []
    for package in sorted(found, key=lambda p: (p["name"], p["version"])):
        allowed = set(config["allow"]) | exceptions.get(package["name"], set())
        if text := problem(package, spdx, allowed):
            problems.append(f"{package['name']} {package['version']}: {text}")
    if problems:
        print("\n".join(f"error: {p}" for p in problems), file=sys.stderr)
        print(f"help:  take another crate, or allow it in {CONFIG.name} with the reason", file=sys.stderr)
        return 1
    # An exception that nothing needs would let a later crate of that name in unseen.
    if unused := exceptions.keys() - {p["name"] for p in found}:
        print(f"error: {CONFIG.name}: exceptions for crates not in use: {', '.join(sorted(unused))}", file=sys.stderr)
        return 3
    print(f"licences: {len(found)} crates, all allowed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
