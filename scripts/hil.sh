#!/usr/bin/env bash
# Runs what docs/untested.md lists for a Jetson on a real one, over ssh, and writes one page about it. `make hil DEVICE=user@host` calls it.
#
#   scripts/hil.sh DEVICE OUT
#
# What it works with comes from the environment; a step whose thing is missing is left out, and the page says so:
#   PACKAGE    amis-run_*_arm64.deb to install (asks for sudo without a password)
#   BUNDLE     bundle with a graph cpu:fp32, and ENGINES: fp16=FILE int8=FILE, graphs of the same checkpoint for its JetPack that the bundle has too
#   EXPORT     amis-export for the device, which builds the engines
#   PICTURES   folder of JPEG images
#   CAMERA, CSI_CAMERA   device files of cameras there
#   MINUTES    length of the soak test (60)
#   PLUG       command on this machine that switches the device's power: `PLUG off`, `PLUG on`
#   CLONE      folder of this project there, with cargo, for the tests of the kernels
#   HIL_SSH, HIL_SCP     ssh and scp with their options
# Exit codes: 0 ok, 1 a step failed, 2 wrong usage, 4 the device does not answer.
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "usage: scripts/hil.sh DEVICE OUT" >&2
    exit 2
fi
device=$1 out=$2 report=$2/report.html
cd "$(dirname "${BASH_SOURCE[0]}")/.."
read -ra ssh <<<"${HIL_SSH:-ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15}"
read -ra scp <<<"${HIL_SCP:-scp -q -o BatchMode=yes -o ConnectTimeout=10}"
# A shell of its own at the other end, whatever the user's is; its output has no terminal's colours.
on_device() { "${ssh[@]}" "$device" "cd hil && bash -c $(printf %q "$1")" </dev/null; }
send() { "${scp[@]}" -r "$@" "$device:hil/"; }
# shellcheck source=scripts/hil-report.sh
. scripts/hil-report.sh

if ! "${ssh[@]}" "$device" 'rm -rf hil && mkdir hil' </dev/null; then
    printf 'error: %s does not answer\nhelp:  ssh %s has to work without a question: ssh-copy-id %s\n' "$device" "$device" "$device" >&2
    exit 4
fi
mkdir -p "$out"
begin_report "amis-run on $device"

if [ -n "${PACKAGE-}" ]; then
    send "$PACKAGE"
    step "package" "the library for TensorRT is compiled" 'compiled against' "sudo -n apt-get install -y --reinstall ./$(basename "$PACKAGE")"
else
    leave_out "package" "no PACKAGE"
fi
step "doctor" "board, JetPack, CUDA and TensorRT are named" 'JetPack +[0-9]' 'amis-run doctor'
step "power" "mode and clocks are those of the measurement" 'Power Mode' 'sudo -n nvpmodel -q && sudo -n jetson_clocks --show'

if [ -n "${BUNDLE-}" ]; then
    send "$BUNDLE"
    bundle=$(basename "$BUNDLE")
    step "CPU" "frames a second of the CPU" 'infer' "amis-run bench --bundle $bundle --source synthetic: --frames 50"
    for engine in ${ENGINES-}; do
        precision=${engine%%=*} graph=${engine#*=}
        if [ -z "${EXPORT-}" ]; then
            leave_out "engine $precision" "no EXPORT"
            continue
        fi
        send "$EXPORT" "$graph"
        step "engine $precision" "built, with TensorRT's version" 'TensorRT' \
            "./$(basename "$EXPORT") engine --onnx $(basename "$graph") --flavor enterprise --out $precision.engine"
        step "bench $precision" "as a CUDA graph; infer against the CPU's" 'CUDA graph' \
            "RUST_LOG=debug amis-run bench --bundle $bundle --engine $precision.engine --precision $precision --source synthetic: --frames 1000"
        step "layers $precision" "their sum is near the median of infer" 'ms' "amis-run layers --bundle $bundle --engine $precision.engine --precision $precision"
        if [ -n "${PICTURES-}" ]; then
            send "$PICTURES"
            step "masks $precision" "most masks are those of the CPU, byte by byte; the others differ in single pixels" 'of [1-9][0-9]* are equal' "
                for where in cpu '$precision'; do
                    options=; [ \$where = cpu ] || options='--engine $precision.engine --precision $precision'
                    amis-run run --bundle $bundle \$options --source dir:$(basename "$PICTURES") --sink \"dir:masks-\$where?what=mask\"
                done
                equal=0; all=0
                for mask in masks-cpu/*.png; do all=\$((all + 1)); cmp -s \$mask masks-$precision/\${mask##*/} && equal=\$((equal + 1)); done
                echo \$equal of \$all are equal"
            "${scp[@]}" -r "$device:hil/masks-*" "$out/" || true
        fi
    done
    for camera in ${CAMERA-} ${CSI_CAMERA-}; do
        step "camera $camera" "its size and rate in the log, no faults" '300 frames' "amis-run devices; amis-run run --bundle $bundle --source v4l2:$camera --sink null: --frames 300"
    done
    [ -n "${CAMERA-}${CSI_CAMERA-}" ] || leave_out "camera" "neither CAMERA nor CSI_CAMERA"
    step "swap 200 times" "no gap over two seconds, memory does not grow" '^swaps 200$' "
        amis-run run --bundle $bundle --source 'synthetic:?realtime=1' --sink null: --state state >run.log 2>&1 & run=\$!
        trap 'kill \$run 2>/dev/null' EXIT
        until amis-run status --state state 2>/dev/null | grep -q ^running; do kill -0 \$run || { cat run.log; exit 1; }; sleep 0.2; done
        swaps=0
        while [ \$swaps -lt 200 ]; do amis-run swap $bundle --state state >/dev/null || exit 1; swaps=\$((swaps + 1)); done
        kill -TERM \$run; wait \$run; trap - EXIT; cat run.log; echo swaps \$swaps"
    if [ "${MINUTES:-60}" -gt 0 ]; then
        send scripts/soak.py
        step "soak for ${MINUTES:-60} minutes" "all well" . "python3 soak.py \"\$(command -v amis-run)\" $bundle ${MINUTES:-60}"
    else
        leave_out "soak" "MINUTES is 0"
    fi
else
    leave_out "CPU, engines, cameras, swap, soak" "no BUNDLE"
fi
if [ -n "${CLONE-}" ]; then
    step "kernels" "1,005 frames are those of the CPU, and no line says SKIPPED" 'test result: ok' \
        "cd $(printf %q "$CLONE") && ! AMIS_TEST_GPU=1 cargo test --release --locked -p amis-runtime --lib kernels 2>&1 | tee /dev/stderr | grep SKIPPED"
else
    leave_out "kernels" "no CLONE"
fi
if [ -n "${PLUG-}" ]; then
    on_device "sudo -n systemctl reload amis-run" >/dev/null 2>&1 &
    $PLUG off
    wait || true
    sleep 10
    $PLUG on
    for _ in $(seq 60); do
        sleep 5
        ! on_device true >/dev/null 2>&1 || break
    done
    step "power cut" "the service shows the bundle again" 'active \(running\)' 'sleep 60; systemctl status amis-run'
else
    leave_out "power cut" "no PLUG"
fi
end_report
