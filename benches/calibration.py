"""Calibration by entropy beside onnxruntime.quantization: the same graph, tensors, images, and one thread. Started by export/benches/calibration.rs.

    python benches/calibration.py FOLDER AMIS_EXPORT       needs onnxruntime, onnx, numpy, pillow

FOLDER has step-0/ (a checkpoint), model.onnx, images/*.jpg of the input's size, and histograms.json. Every measurement is a process of its own: time on the clock, CPU time and
peak memory. The peer is onnxruntime's own EntropyCalibrater, told which tensors and how many threads to use; its default of 128 bins leaves one candidate, so
that nothing is searched, and it is measured with 4096 bins (2048 on each side of 0) as well.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEER = "onnxruntime.quantization"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def peer(folder, bins):
    """Calibrates as quantize_static does; prints the thresholds."""
    import numpy as np
    import onnxruntime
    from onnxruntime.quantization.calibrate import CalibrationDataReader, EntropyCalibrater
    from PIL import Image

    wanted = set(json.loads((folder / "calibration.json").read_text())["tensors"])

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.paths = iter(sorted((folder / "images").iterdir()))

        def get_next(self):
            path = next(self.paths, None)
            if path is None:
                return None
            pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
            return {"image": ((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[None].copy()}

    class OneThread(EntropyCalibrater):
        def select_tensors_to_calibrate(self, model):
            _, value_infos = super().select_tensors_to_calibrate(model)
            return wanted, value_infos

        def create_inference_session(self):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.intra_op_num_threads = 1
            self.infer_session = onnxruntime.InferenceSession(self.augmented_model_path, options, providers=self.execution_providers)

    calibrater = OneThread(folder / "model.onnx", augmented_model_path=str(folder / "augmented.onnx"), symmetric=True, num_bins=bins, num_quantized_bins=128)
    calibrater.augment_graph()
    calibrater.create_inference_session()
    calibrater.collect_data(Reader())
    ranges = calibrater.compute_data()
    print(json.dumps({name: float(ranges[name].range_value[1]) for name in ranges.keys()}))


def search(folder):
    """Seconds and thresholds of the peer's search on the histograms that ours was measured on, mirrored at 0."""
    import numpy as np
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector("entropy", True, None, 128, None, None)
    start, found = time.process_time(), []
    for bins in json.loads((folder / "histograms.json").read_text())["bins"]:
        # Values on both sides of 0; the bin in the middle is that of 0.
        both = np.array(bins[:0:-1] + bins, dtype=np.int64)
        edges = np.arange(-len(bins) + 0.5, len(bins), dtype=np.float32)
        found.append(float(collector.get_entropy_threshold((both, edges, edges[0], edges[-1]), 255)[1]))
    print(json.dumps({"seconds": time.process_time() - start, "thresholds": found}))


def measure(command):
    """Seconds, CPU seconds, peak MiB and last line of the output of a process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, env=environment, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


def row(name, figures, ours=None):
    seconds, cpu, peak, _ = figures
    factor = "" if ours is None else f"   {cpu / ours[1]:.1f} times the CPU time of ours"
    print(f"  {name:44} {seconds:8.1f} s {cpu:8.1f} s CPU {peak:8.0f} MiB{factor}", flush=True)


def main(folder, program):
    images = len(list((folder / "images").iterdir()))
    print(f"entropy on {images} images of 256 px, one thread:")
    table = folder / "calibration.json"
    calibrate = [program, "calibrate", "--checkpoint", folder / "step-0", "--onnx", folder / "model.onnx", "--images", folder / "images", "--method", "entropy"]
    half = measure([*calibrate, "--threads", "1", "--count", images // 2, "--out", folder / "half.json"])
    ours = measure([*calibrate, "--threads", "1", "--count", images, "--out", table])
    row("amis-export calibrate", ours)
    print(f"  {'':44} peak with half of them, chosen from all:   {half[2]:8.0f} MiB")
    ranges = {name: tensor["amax"] for name, tensor in json.loads(table.read_text())["tensors"].items()}
    for bins in (128, 4096):
        theirs = measure([sys.executable, __file__, "--peer", folder, bins])
        row(f"{PEER}, {bins} bins", theirs, ours)
        found = json.loads(theirs[3].splitlines()[-1])
        ratio = statistics.median(found[name] / ranges[name] for name in ranges)
        print(f"  {'':44} its ranges over ours: median {ratio:.3f}")
    own = json.loads((folder / "histograms.json").read_text())
    theirs = json.loads(measure([sys.executable, __file__, "--search", folder])[3].splitlines()[-1])
    print(f"search alone, {len(own['bins'])} histograms of 2048 bins: ours {own['seconds'] * 1e3:.1f} ms, {PEER} {theirs['seconds']:.1f} s, {theirs['seconds'] / own['seconds']:.0f} times as long")
    print("  thresholds in bins, ours and theirs:", ", ".join(f"{a:.0f} {b:.0f}" for a, b in zip(own["thresholds"], theirs["thresholds"])))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--peer", folder, bins]:
            peer(Path(folder), int(bins))
        case ["--search", folder]:
            search(Path(folder))
        case [folder, program]:
            main(Path(folder), program)
        case _:
            sys.exit(__doc__)
