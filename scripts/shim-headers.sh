#!/usr/bin/env bash
# Compiles the TensorRT shim against other versions of TensorRT than the one that is installed, and fails at the first
# warning. Nothing is run or installed.
#
#   scripts/shim-headers.sh FOLDER...                   every FOLDER holds NvInfer.h and NvOnnxParser.h
#   scripts/shim-headers.sh TENSORRT [ONNX-TENSORRT]    clones of NVIDIA/TensorRT and onnx/onnx-tensorrt, bare ones too
#
# From clones it takes the versions below. Tags before 10.14 have NvOnnxParser.h in the other repository only: at the
# commit that the tag names, or where the clone lacks it, on the nearest branch. cuda_runtime_api.h is that of the crate
# trtx-sys (tensorrt/headers).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tags=(8.5.1 8.5.3 v8.6.1 v10.3.0 v10.7.0 v10.13.0 v10.16 v11.0 v11.1)

die() { echo "shim-headers: $*" >&2; exit 2; }
[ $# -gt 0 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }

manifest=tensorrt/headers/Cargo.toml
metadata() { cargo metadata --format-version=1 --locked --manifest-path "$manifest" "$@"; }
sys=$({ metadata --offline 2>/dev/null || metadata; } | grep -o '"manifest_path":"[^"]*/trtx-sys-[^"]*/Cargo.toml"' | head -1 | cut -d'"' -f4)
cuda=${sys%/Cargo.toml}/TensorRT-Headers
[ -f "$cuda/cuda_runtime_api.h" ] || die "no cuda_runtime_api.h in $cuda"

compile() { # NAME FOLDER
    printf "%-64s " "$1"
    c++ -fsyntax-only -std=c++17 -Wall -Wextra -Wpedantic -Werror -isystem "$2" -isystem "$cuda" tensorrt/shim/*.cpp
    echo "TensorRT $(sed -n 's/^#define \(NV_TENSORRT\|TRT\)_\(MAJOR\|MINOR\|PATCH\)\(_RTX\|_ENTERPRISE\)\{0,1\} \([0-9]*\).*/\4/p' "$2/NvInferVersion.h" | head -3 | paste -sd.)"
}

if [ -f "$1/NvInfer.h" ]; then
    for folder in "$@"; do
        for header in NvInfer.h NvOnnxParser.h; do [ -f "$folder/$header" ] || die "no $header in $folder"; done
        compile "$(basename "$folder")" "$folder"
    done
    exit
fi

tensorrt=$1 onnx=${2:-}
git -C "$tensorrt" rev-parse --git-dir >/dev/null 2>&1 || die "$tensorrt is neither a clone nor a folder with NvInfer.h"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The parser's header for a tag, where the tag has none itself: prints where it came from.
parser_header() { # TAG FILE
    [ -n "$onnx" ] || die "$1 has no NvOnnxParser.h: give a clone of onnx/onnx-tensorrt too"
    local commit version revision
    commit=$(git -C "$tensorrt" ls-tree "$1" parsers/onnx | awk '{print $3}')
    version=$(sed -E 's/^v?([0-9]+\.[0-9]+).*/\1/' <<<"$1")
    for revision in "$commit" "release/$version-GA" "$version-GA" "release/${version%.*}.0-GA" main; do
        if git -C "$onnx" show "$revision:NvOnnxParser.h" >"$2" 2>/dev/null; then
            echo "$revision"
            return
        fi
    done
    die "no NvOnnxParser.h for $1 in $onnx"
}

for tag in "${tags[@]}"; do
    git -C "$tensorrt" rev-parse -q --verify "$tag^{commit}" >/dev/null || die "$tensorrt has no tag $tag: fetch all tags"
    mkdir "$scratch/$tag"
    git -C "$tensorrt" archive "$tag" include | tar -x -C "$scratch/$tag" --strip-components=1
    from=""
    if [ ! -f "$scratch/$tag/NvOnnxParser.h" ]; then
        from=" (parser: $(parser_header "$tag" "$scratch/$tag/NvOnnxParser.h"))"
    fi
    compile "$tag$from" "$scratch/$tag"
done
