#!/usr/bin/env bash
# Runs what docs/untested.md lists for a CUDA device on this machine, and writes one page about it. `make hil-cuda` calls it, which sets the environment.
#
#   scripts/hil-cuda.sh OUT
#
# Exit codes: 0 ok, 1 a step failed, 2 wrong usage, 4 no GPU.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: scripts/hil-cuda.sh OUT" >&2
    exit 2
fi
out=$1 report=$1/report.html
cd "$(dirname "${BASH_SOURCE[0]}")/.."
on_device() { bash -c "$1"; }
# shellcheck source=scripts/hil-report.sh
. scripts/hil-report.sh

if ! nvidia-smi -L >/dev/null 2>&1; then
    printf 'error: missing on this machine: a GPU with NVIDIA'"'"'s driver (nvidia-smi -L)\nhelp:  start this where one is\n' >&2
    exit 4
fi
mkdir -p "$out"
begin_report "CUDA on $(hostname)"
programs=${CARGO_TARGET_DIR:-target}/release
step "GPU" "name and driver" GPU 'nvidia-smi -L && nvidia-smi'
step "doctor" "the GPU and its compute capability" 'compute capability' "$programs/amis-run doctor"
step "kernels" "1,005 frames are those of the CPU, bit by bit, and no line says SKIPPED" 'test result: ok' \
    'AMIS_TEST_GPU=1 cargo test --release --locked --workspace --lib kernels 2>&1 | tee /dev/stderr | { ! grep SKIPPED; }'
step "TensorRT-RTX" "no test says that it was skipped" 'test result: ok' 'cargo test --release --locked --workspace --test build_rtx --test running --test shim_deserializes 2>&1'
step "training" "the device in the log; seconds of train" '"train"' "$programs/amis-demo --out $(printf %q "$out")/demo && cat $(printf %q "$out")/demo/summary.json"
bundle=$out/demo/demo-3.amis graph=$out/demo/step-2/model.cpu-fp32.onnx
step "engine" "built for this GPU's compute capability" TensorRT "$programs/amis-export engine --onnx $graph --out $out/demo.engine \
    --compute-capability \$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)"
step "bench" "as a CUDA graph" 'CUDA graph' "RUST_LOG=debug $programs/amis-run bench --bundle $bundle --engine $out/demo.engine --source synthetic: --frames 1000"
step "layers" "their sum is near the median of infer" ms "$programs/amis-run layers --bundle $bundle --engine $out/demo.engine"
step "a training step" "losses within 1e-3 of the CPU's in fp32; its table belongs into docs/benchmarks.md" . 'cargo bench --locked --workspace --bench cuda'
end_report
