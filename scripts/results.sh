#!/usr/bin/env bash
# Trains everything that the table of docs/results.md compares, on CamVid in VOC layout, and writes docs/results/*.json with a page for each order.
# Hours of CPU, in pieces: finished runs are kept, a stopped one goes on with the same command.
#
#     scripts/results.sh DATA OUT [KEY=VALUE...]
#
# DATA: CamVid. OUT: folder for the runs, one thread each, as many at a time as there are cores. KEY=VALUE overrides a key in all of them
# (train.base.epochs=1 to try the script). `make results` builds amis-train and puts it on the PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
data=$1 out=$2
shift 2
# bfloat16: two thirds of float32's time on a processor that has it.
common=("data.root=$data" train.precision=bf16 train.workers=1 "$@")
mkdir -p "$out" docs/results
cores=$(nproc) # before the next line, which nproc heeds
export OMP_NUM_THREADS=1

# Reads runs, one a line: FOLDER CONFIG SEEDS [KEY=VALUE...]. Ends with an error if one failed, when all are through.
train() {
    xargs -P "$cores" -L 1 bash -c '
        folder=$0 config=$1 seeds=$2
        shift 2
        settings=()
        for setting in "$@"; do settings+=(--set "$setting"); done
        mkdir -p "$folder"
        echo "$(date +%T) $folder, seed $seeds"
        amis-train run "configs/$config.toml" --seeds "$seeds" --out "$folder" "${settings[@]}" >>"$folder/log-$seeds.txt" 2>&1 ||
            { tail -n 4 "$folder/log-$seeds.txt" >&2; exit 1; }
    ' < <(while read -r line; do [ -z "$line" ] || echo "$line ${common[*]}"; done)
}

# Base steps first. finetune and mbs share a network, amis has the Global Attention Block; then each part of amis is switched off alone.
for order in camvid camvid-4-1x6; do
    seeds="0"
    [ "$order" = camvid ] && seeds="0 1 2"
    for seed in $seeds; do
        echo "$out/$order/amis $order $seed train.preset=amis"
        echo "$out/$order/mbs $order $seed train.preset=mbs"
    done
done | train
{
    for seed in 0 1 2; do
        echo "$out/camvid/finetune camvid $seed train.preset=finetune train.base_checkpoint=$out/camvid/mbs/seed-{seed}/step-0"
    done
    echo "$out/camvid-4-1x6/finetune camvid-4-1x6 0 train.preset=finetune train.base_checkpoint=$out/camvid-4-1x6/mbs/seed-{seed}/step-0"
    for part in boundary_weight=0 moved=background pooling=off class_embedding_weight=0; do
        echo "$out/camvid/amis-$part camvid 0 method.$part train.base_checkpoint=$out/camvid/amis/seed-{seed}/step-0"
    done
    echo "$out/camvid/amis-gab=false camvid 0 model.gab=false train.base_checkpoint=$out/camvid/mbs/seed-{seed}/step-0"
    # As many iterations as the three steps of the others together: (360 x 60 + 120 x 20 + 120 x 20) images, 600 an epoch.
    echo "$out/camvid/offline camvid 0 task.offline=true train.base.epochs=44"
} | train

amis-train compare "$out"/camvid/*/seed-* --results docs/results/4-1-1.json --plot docs/images/4-1-1.svg --out "$out/4-1-1.html"
amis-train compare "$out"/camvid-4-1x6/*/seed-* --results docs/results/4-1x6.json --plot docs/images/4-1x6.svg --out "$out/4-1x6.html"
