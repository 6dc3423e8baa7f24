"""Makes the seeds of the fuzz targets, seeds/TARGET/*, from nothing but Python and Pillow (in the virtual environment of `make setup`).

    python fuzz/seeds.py
"""

import hashlib
import importlib.util
import io
import json
import pathlib
import struct

from PIL import Image

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("attacks", HERE / "../artifacts/tests/attacks/make.py")
attacks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(attacks)


def seed(target, name, data):
    folder = HERE / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(number, value):
    return varint(number << 3) + varint(value)


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def model(weights):
    tensor = number(1, 2) + number(1, 3) + number(2, 1) + field(8, b"layer.weight") + field(9, struct.pack("<6f", *weights))
    node = field(1, b"x") + field(1, b"layer.weight") + field(2, b"y") + field(3, b"layer") + field(4, b"MatMul")
    size = lambda n: field(1, number(1, n))
    value = lambda name, n: field(1, name) + field(2, field(1, number(1, 1) + field(2, size(1) + size(n))))
    graph = field(1, node) + field(2, b"g") + field(5, tensor) + field(11, value(b"x", 2)) + field(12, value(b"y", 3))
    return number(1, 8) + field(2, b"seeds") + field(7, graph) + field(8, number(2, 17)) + field(14, field(1, b"amis.step") + field(2, b"1"))


def picture(mode, size, format, **options):
    out = io.BytesIO()
    image = Image.new(mode, size)
    image.putdata([(i * 37) % 5 if mode != "RGB" else (i * 9 % 256, i * 5 % 256, i % 256) for i in range(size[0] * size[1])])
    image.save(out, format, **options)
    return out.getvalue()


def bundle_of(version, graph):
    about = {"bytes": len(graph), "sha256": attacks.sha256(graph)}
    return attacks.manifest(version=version, graph=about)


parent, child = model([1, 2, 3, 4, 5, 6]), model([1, 2, 3, 4, 5, 7])
manifest = bundle_of(3, parent)
seed("manifest", "good.json", manifest)
seed("bundle", "good.tar", attacks.GOOD)
for name in ["symlink", "pax", "gnu-long-name", "twice", "window-of-2-gib"]:
    seed("bundle", name, (HERE / f"../artifacts/tests/attacks/{name}.amis").read_bytes())
seed("onnx", "linear.onnx", parent)

(HERE / "seeds/parent").mkdir(parents=True, exist_ok=True)
(HERE / "seeds/parent/manifest.json").write_bytes(manifest)
(HERE / "seeds/parent/model.onnx").write_bytes(parent)
new = bundle_of(4, child)
at = child.index(struct.pack("<f", 1))
long = lambda value: struct.pack("<Q", value)
# The last weight goes from 6 to 7, which is 2 << 20 more; folded, in four planes of six.
planes = b"".join(bytes(5) + bytes([byte]) for byte in struct.pack("<I", 2 * (0x40E00000 - 0x40C00000)))
segments = [b"\0", long(at), child[:at], b"\4", long(24), b"\0\0", long(at), planes, b"\0", long(len(child) - at - 24), child[at + 24 :]]
start = [b"AMISPAT1", hashlib.sha256(manifest).hexdigest().encode(), struct.pack("<I", len(new)), new]
seed("patch", "one-weight", b"".join(start + segments))

key = {
    "tensorrt": "TensorRT 10.3.0",
    "built_for": {"gpu": {"name": "Orin", "compute_capability": "8.7", "cores": 8}},
    "precision": "fp16",
    "graph_sha256": attacks.sha256(b""),
    "options": {"workspace_mib": "1024"},
}
header = json.dumps({"key": key, "tool_version": "0.1.0", "layers": 3}).encode()
numbers = struct.pack("<IIQ", 1, len(header), 4)
seed("engine", "small.engine", b"AMISENG\0" + numbers + hashlib.sha256(numbers + header + b"plan").digest() + header + b"plan")

about = json.loads(attacks.manifest())
sizes = {"patch_px": 16, "dim": 64, "depth": 3, "heads": 2, "decoder_depth": 2, "decoder_heads": 1, "gab": False}
about = {key: about[key] for key in ["classes", "groups", "image_spec"]}
about |= {"format_version": 1, "tool_version": "0.1.0", "step": 0, "model": sizes, "position_grid": [4, 4], "config": {"train": {"batch": 8}}}
about |= {"weights_sha256": attacks.sha256(b""), "parent_sha256": None, "image_lists": [{"role": "val", "images": 2, "sha256": attacks.sha256(b"")}]}
seed("checkpoint", "checkpoint.json", json.dumps(about).encode())

for mode, bits in [("L", 8), ("P", 8), ("P", 2), ("P", 1)]:
    seed("labels", f"{mode}-{bits}.png", picture(mode, (7, 5), "PNG", **({"bits": bits} if mode == "P" else {})))

# The reader of the target takes sizes from the end: bytes first, then the four numbers.
for place in range(8):
    seed("pixels", f"format-{place}", bytes([place, 6, 4, 0]) + bytes(range(96)))
    seed("pixels", f"format-{place}-padded", bytes([place, 6, 4, 9]) + bytes(range(200)))
for name, size in [("jpeg", (16, 8)), ("jpeg-odd", (7, 5))]:
    seed("pixels", name, bytes([8, *size, 0]) + picture("RGB", size, "JPEG"))
