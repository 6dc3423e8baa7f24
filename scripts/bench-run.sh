#!/bin/sh
# Measures amis-run beside the same road in Python, in turns: scripts/bench-run.sh AMIS-RUN PYTHON BUNDLE [FRAMES]
set -eu
program=$1 python=$2 bundle=$3 frames=${4:-100}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Ten more for warm-up.
"$program" run --bundle "$bundle" --source "synthetic:?width=1280&height=720&frames=$((frames + 10))" --sink "dir:$folder/pictures" --opacity 0 >/dev/null
for turn in 1 2 3; do
    "$program" bench --bundle "$bundle" --source "dir:$folder/pictures" --frames "$frames" --threads 1 --json >"$folder/ours-$turn.json"
    "$python" benches/onnxruntime_opencv.py "$bundle" "$folder/pictures" --frames "$frames" --threads 1 >"$folder/peer-$turn.json"
done
"$python" - "$folder" <<'END'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
for name in ("ours", "peer"):
    runs = [json.loads((folder / f"{name}-{turn}.json").read_text()) for turn in (1, 2, 3)]
    print(name, "frames a second:", ", ".join(f"{run['fps']:.2f}" for run in runs))
    for stage in runs[0]["stages"]:
        print(f"  {stage:<12}", ", ".join(f"{run['stages'][stage]['p50_ms']:8.2f}" for run in runs), "ms (p50)")
END
