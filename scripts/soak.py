"""Runs amis-run for a long time and does to it what happens to a service: see `make soak`.

Usage: soak.py AMIS-RUN BUNDLE MINUTES [FPS]

A synthetic camera of FPS frames a second (30), the sinks web: and lines:. Every ten seconds, in turns: another model, a model that is missing, SIGHUP, twenty
viewers that never read, requests that are no HTTP, a reader that goes away. Once a second the statistics are read.

Exit codes: 0 all well, 1 not: a gap of more than 2 s, memory that grows by more than 1 MiB an hour after the first fifth (12 MiB in a run of minutes),
a failed model that is not among the events, an end that takes more than a second.
"""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from itertools import cycle
from pathlib import Path

PERIOD_S = 10


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def connect(port, text):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(text)
    return connection


def hear_events(port, notes):
    """Collects what the page's list of events gets."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/events", timeout=60) as stream:
        kind = b""
        for line in stream:
            if line.startswith(b"event: "):
                kind = line[7:].strip()
            elif line.startswith(b"data: ") and kind == b"note":
                notes.append(json.loads(line[6:]))


def slope_mib_an_hour(memory):
    """Least squares over (seconds, MiB)."""
    mean_t = sum(t for t, _ in memory) / len(memory)
    mean_m = sum(m for _, m in memory) / len(memory)
    below = sum((t - mean_t) ** 2 for t, _ in memory)
    return 3600 * sum((t - mean_t) * (m - mean_m) for t, m in memory) / below if below else 0.0


def main():
    program, bundle, minutes = sys.argv[1], str(Path(sys.argv[2]).resolve()), float(sys.argv[3])
    fps = sys.argv[4] if len(sys.argv) > 4 else "30"
    folder = tempfile.TemporaryDirectory()
    state, port = f"{folder.name}/state", free_port()
    source = f"synthetic:?width=320&height=240&fps={fps}&realtime=1"
    sinks = ["--sink", f"web:127.0.0.1:{port}", "--sink", f"lines:{folder.name}/results"]
    run = subprocess.Popen([program, "run", "--bundle", bundle, "--source", source, *sinks, "--state", state])
    statistics = lambda: json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/stats.json", timeout=10))
    for _ in range(100):
        try:
            if statistics()["frames"]:
                break
        except OSError:
            pass
        time.sleep(0.1)
    notes, stuck, memory, missing, changed = [], [], [], 0, 0
    threading.Thread(target=hear_events, args=(port, notes), daemon=True).start()
    start = time.monotonic()
    due = start + PERIOD_S
    faults = cycle(["swap", "missing", "reload", "stuck", "garbage", "reader"])
    while (now := time.monotonic()) < start + minutes * 60:
        memory.append((now - start, statistics()["rss_now_mib"]))
        if now >= due:
            due += PERIOD_S
            fault = next(faults)
            print(f"{now - start:6.0f} s  {memory[-1][1]:.1f} MiB  {fault}", flush=True)
            if fault == "swap":
                changed += subprocess.run([program, "swap", bundle, "--state", state], capture_output=True).returncode == 0
            elif fault == "missing":
                missing += subprocess.run([program, "swap", "missing.amis", "--state", state], capture_output=True).returncode == 3
            elif fault == "reload":
                run.send_signal(signal.SIGHUP)
                changed += 1
            elif fault == "stuck":
                stuck = [connect(port, b"GET /stream.mjpg HTTP/1.1\r\n\r\n") for _ in range(20)]
            elif fault == "garbage":
                stuck = [connect(port, bytes(range(256)) * 8) for _ in range(5)]
            else:
                reader = socket.socket(socket.AF_UNIX)
                reader.connect(f"{folder.name}/results")
                json.loads(reader.makefile().readline())
                reader.close()
        time.sleep(max(0, 1 - (time.monotonic() - now)))
    time.sleep(2)
    last = statistics()
    asked = time.monotonic()
    run.terminate()
    code, took = run.wait(10), time.monotonic() - asked
    settled = [point for point in memory if point[0] > memory[-1][0] / 5]
    growth, grown = slope_mib_an_hour(settled), max(m for _, m in settled) - settled[0][1]
    failed = sum(note["warning"] and note["text"].startswith("the model was not changed") for note in notes)
    served = sum("serves; made ready" in note["text"] for note in notes)
    print(f"{last['frames']} frames, {last['dropped']} dropped, longest gap {last['max_gap_ms']:.0f} ms, {last['minute']['fps']:.1f} a second at the end")
    print(f"memory {settled[0][1]:.1f} to {settled[-1][1]:.1f} MiB, {growth:.2f} MiB an hour; models {served} of {changed}, failures {failed} of {missing}; end {code} in {took:.2f} s")
    well = [last["max_gap_ms"] < 2000, growth < 1 or (minutes < 30 and grown < 12), (served, failed) == (changed, missing), code == 0 and took < 1]
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
