"""The live road as it is written with ONNX Runtime and OpenCV: the peer of `amis-run bench`.

    python benches/onnxruntime_opencv.py BUNDLE PICTURES [--frames N] [--threads N]

BUNDLE is a NAME.amis, PICTURES a folder of pictures of one size, which are decoded before the clock runs. Each frame is resized (fit "stretch" only),
normalised as the bundle says, run through its cpu graph, upsampled by cv2.resize from logits to the frame's size, and blended with the class colours. Prints
one JSON object: frames a second, and percentiles of each station as `amis-run bench --json` names them.
"""

import argparse
import itertools
import json
import tarfile
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import zstandard

WARMUP = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with zstandard.open(arguments.bundle) as stream, tarfile.open(fileobj=stream, mode="r|") as bundle:
            bundle.extractall(folder, filter="data")
        manifest = json.loads((Path(folder) / "manifest.json").read_text())
        graph = next(g for g in manifest["graphs"] if g["target"] == "cpu" and g["precision"] == arguments.precision)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        session = onnxruntime.InferenceSession(Path(folder) / graph["file"], options, providers=["CPUExecutionProvider"])
    spec = manifest["image_spec"]
    mean, std = np.float32(spec["mean"]), np.float32(spec["std"])
    colors = np.uint8([c["color"] for c in manifest["classes"]])
    name = session.get_inputs()[0].name
    cv2.setNumThreads(1)
    frames = [cv2.imread(str(path)) for path in sorted(arguments.pictures.glob("*.jpg"))]

    stages = {stage: [] for stage in ("preprocess", "infer", "class_map", "overlay")}
    start = None
    for number, frame in enumerate(itertools.islice(itertools.cycle(frames), WARMUP + arguments.frames)):
        if number == WARMUP:
            start = time.perf_counter()
        times = [time.perf_counter()]
        image = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (spec["width_px"], spec["height_px"]), interpolation=cv2.INTER_LINEAR)
        image = (np.float32(image) / 255 - mean) / std
        if spec["channels"] == "bgr":
            image = image[..., ::-1]
        tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        times.append(time.perf_counter())
        logits = session.run(None, {name: tensor})[0][0]
        times.append(time.perf_counter())
        height, width = frame.shape[:2]
        large = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in logits])
        classes = large.argmax(0).astype(np.uint8)
        times.append(time.perf_counter())
        blended = cv2.addWeighted(frame, 0.5, colors[classes][..., ::-1], 0.5, 0)
        np.copyto(blended, frame, where=(classes == 0)[..., None])
        times.append(time.perf_counter())
        if number >= WARMUP:
            for stage, (before, after) in zip(stages, itertools.pairwise(times)):
                stages[stage].append((after - before) * 1000)
    seconds = time.perf_counter() - start
    percentiles = {
        stage: {"p50_ms": float(np.percentile(t, 50)), "p95_ms": float(np.percentile(t, 95)), "p99_ms": float(np.percentile(t, 99)), "max_ms": max(t)}
        for stage, t in stages.items()
    }
    versions = {"onnxruntime": onnxruntime.__version__, "opencv": cv2.__version__, "numpy": np.__version__}
    print(json.dumps({"frames": arguments.frames, "fps": arguments.frames / seconds, "stages": percentiles, "versions": versions}))


if __name__ == "__main__":
    main()
