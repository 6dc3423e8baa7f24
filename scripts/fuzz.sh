#!/bin/bash
# Builds the fuzz targets with the installed stable toolchain and runs each of them, or those named.
#
#     scripts/fuzz.sh SECONDS [TARGET...]
#
# What is found lies in fuzz/artifacts/TARGET; the grown corpora lie in the target folder of cargo. The flags are those of cargo-fuzz, which is not needed.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=$1
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(bundle manifest patch engine checkpoint labels pixels onnx)

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fuzz" RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1 --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --locked --target "$host" --bins

for target in "${targets[@]}"; do
    corpus="$CARGO_TARGET_DIR/corpus/$target"
    mkdir -p "$corpus" "artifacts/$target"
    echo "== $target, $seconds s"
    log="$CARGO_TARGET_DIR/$target.log"
    found=0
    # Inputs of at most a mebibyte, memory of a gibibyte, ten seconds an input.
    "$CARGO_TARGET_DIR/$host/release/$target" "$corpus" "seeds/$target" -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" \
        -max_len=1048576 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 >"$log" 2>&1 || found=$?
    grep -E "ERROR|SUMMARY|panicked|assertion|number_of_executed|Test unit" "$log" || true
    if [ "$found" -ne 0 ]; then
        tail -n 40 "$log"
        echo "found something: fuzz/artifacts/$target" >&2
        exit 1
    fi
done
