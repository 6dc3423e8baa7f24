"""Makes the bundles of this folder: a good one, and one for every trick. Needs Python 3 and the program zstd (made with 3.11 and 1.5.4).

    python3 make.py
"""

import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

HERE = pathlib.Path(__file__).parent
GRAPH = b"graph bytes"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def manifest(**changes):
    graph = {"target": "cpu", "precision": "fp32", "file": "model.onnx", "bytes": len(GRAPH), "sha256": sha256(GRAPH)}
    color = [0, 0, 0]
    value = {
        "format_version": 2,
        "name": "yard",
        "version": 3,
        "minimum_runtime": "0.1.0",
        "classes": [{"id": 0, "name": "background", "color": color}, {"id": 1, "name": "road", "color": color}],
        "groups": [1, 1],
        "image_spec": {"height_px": 64, "width_px": 64, "fit": "stretch", "filter": "bilinear", "channels": "rgb", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "graphs": [graph],
        "lineage": {
            "step": 0,
            "checkpoint_sha256": "",
            "weights_sha256": "",
            "parent_sha256": None,
            "config_sha256": "",
            "trainer_version": "0.1.0",
        },
        "miou_all": None,
    }
    value["graphs"][0].update(changes.pop("graph", {}))
    value.update(changes)
    return json.dumps(value).encode()


def entry(name, data=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


def tar(*entries, form=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def pack(name, data):
    packed = subprocess.run(["zstd", "-19", "--check", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    (HERE / f"{name}.amis").write_bytes(packed)


def with_size(data, name, size):
    """The archive with the size in an entry's header changed, and its checksum."""
    at = data.index(name.encode().ljust(100, b"\0"))
    header = bytearray(data[at : at + 512])
    header[124:136] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:at] + bytes(header) + data[at + 512 :]


FIRST = entry("manifest.json", manifest())
MODEL = entry("model.onnx", GRAPH)
GOOD = tar(FIRST, MODEL)

pack("good", GOOD)
# Ways out of the folder.
pack("name-parent", tar(FIRST, entry("../escaped", GRAPH)))
pack("name-absolute", tar(FIRST, entry("/tmp/escaped", GRAPH)))
pack("name-folder", tar(FIRST, entry("deep/model.onnx", GRAPH)))
pack("manifest-names-parent", tar(entry("manifest.json", manifest(graph={"file": "../escaped"})), entry("../escaped", GRAPH)))
pack("symlink", tar(FIRST, entry("model.onnx", kind=tarfile.SYMTYPE, link="/tmp/escaped"), MODEL))
pack("symlink-first", tar(entry("manifest.json", kind=tarfile.SYMTYPE, link="/etc/passwd"), MODEL))
pack("hardlink", tar(FIRST, entry("model.onnx", kind=tarfile.LNKTYPE, link="/etc/passwd")))
pack("device", tar(FIRST, entry("model.onnx", kind=tarfile.CHRTYPE)))
pack("fifo", tar(FIRST, entry("model.onnx", kind=tarfile.FIFOTYPE)))
pack("folder", tar(FIRST, entry("model.onnx", kind=tarfile.DIRTYPE)))
# Entries that change what follows them.
pack("pax", tar(FIRST, entry("x" * 300, GRAPH), form=tarfile.PAX_FORMAT))
pack("gnu-long-name", tar(FIRST, entry("x" * 300, GRAPH), form=tarfile.GNU_FORMAT))
pack("gnu-sparse", tar(FIRST, entry("model.onnx", GRAPH, kind=tarfile.GNUTYPE_SPARSE)))
# What is there and what is not.
pack("twice", tar(FIRST, MODEL, MODEL))
pack("manifest-twice", tar(FIRST, FIRST, MODEL))
pack("unlisted", tar(FIRST, MODEL, entry("other.onnx", GRAPH)))
pack("missing", tar(FIRST))
pack("longer", tar(FIRST, entry("model.onnx", GRAPH + b"!")))
pack("other-hash", tar(FIRST, entry("model.onnx", b"grabh bytes")))
pack("no-manifest", tar(MODEL, FIRST))
pack("empty", b"")
# Manifests.
pack("manifest-of-5-mib", tar(entry("manifest.json", manifest() + b" " * (5 << 20)), MODEL))
pack("huge-bytes", tar(entry("manifest.json", manifest(graph={"bytes": 2**64 - 1})), MODEL))
pack("huge-version", tar(entry("manifest.json", manifest(version=10**30)), MODEL))
pack("huge-image", tar(entry("manifest.json", manifest().replace(b'"height_px": 64', b'"height_px": 4294967295')), MODEL))
pack("deep-json", tar(entry("manifest.json", b'{"format_version":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), MODEL))
pack("format-1", tar(entry("manifest.json", b'{"format_version": 1, "name": "yard"}'), MODEL))
pack("no-json", tar(entry("manifest.json", b"\xff\xfe"), MODEL))
# Bombs.
pack("trailing-64-mib", GOOD + bytes(64 << 20))
pack("trailing-text", GOOD + b"more")
pack("entry-of-1-tib", with_size(GOOD, "model.onnx", 1 << 40))
pack("manifest-of-1-tib", with_size(GOOD, "manifest.json", 1 << 40))
# A frame by hand: magic number, no checksum, a window of 2 GiB, one raw block.
(HERE / "window-of-2-gib.amis").write_bytes(b"\x28\xb5\x2f\xfd\x00\xa8" + (len(GOOD) << 3 | 1).to_bytes(3, "little") + GOOD)
# Damage.
good = (HERE / "good.amis").read_bytes()
(HERE / "cut.amis").write_bytes(good[: len(good) // 2])
(HERE / "cut-by-one.amis").write_bytes(good[:-1])
(HERE / "flipped.amis").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
(HERE / "no-zstd.amis").write_bytes(GOOD)
