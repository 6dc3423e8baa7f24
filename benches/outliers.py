"""Copies a checkpoint with an outlier channel: the largest gain of a LayerNorm times 50, the Linear behind it divided by 50 there.

In float32 the network is the same. In INT8 with one scale a tensor, that channel decides the scale of all others: what large ViTs do by themselves.

    python benches/outliers.py SOURCE TARGET [NORM LINEAR]      (encoder.blocks.2.norm1 encoder.blocks.2.attn.qkv)
"""

import hashlib
import json
import shutil
import struct
import sys
from array import array
from pathlib import Path

FACTOR = 50.0


def main(source: Path, target: Path, norm: str = "encoder.blocks.2.norm1", linear: str = "encoder.blocks.2.attn.qkv") -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in ("metrics.json", "samples.safetensors"):
        shutil.copyfile(source / name, target / name)
    data = bytearray((source / "model.safetensors").read_bytes())
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_bytes])

    def span(name: str) -> slice:
        assert header[name]["dtype"] == "F32", name
        return slice(*(8 + header_bytes + at for at in header[name]["data_offsets"]))

    def scale(name: str, factor: float) -> None:
        values = array("f", data[span(name)])
        for at in range(channel, len(values), len(gains)):
            values[at] *= factor
        data[span(name)] = values.tobytes()

    gains = array("f", data[span(f"{norm}.weight")])
    channel = max(range(len(gains)), key=lambda at: abs(gains[at]))
    scale(f"{norm}.weight", FACTOR)
    scale(f"{norm}.bias", FACTOR)
    scale(f"{linear}.weight", 1 / FACTOR)
    (target / "model.safetensors").write_bytes(data)
    manifest = json.loads((source / "checkpoint.json").read_text())
    manifest["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (target / "checkpoint.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
