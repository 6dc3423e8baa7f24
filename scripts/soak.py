"""Runs amis-run for a long time and does to it what happens to a service: see `make soak`.

Usage: soak.py AMIS-RUN BUNDLE MINUTES [FPS]

Two cameras of FPS frames a second (30). The first is synthetic. The second is played by this script, into a named pipe, from a short video that amis-run made
of its synthetic scene: so it can go wrong as real ones do. Sinks: web: and lines:.

Every ten seconds, in turns: a camera that sends damaged pictures, another model, a bundle that is damaged or missing, SIGHUP, a camera that is silent for three
seconds, twenty viewers that never read, requests that are no HTTP, a reader that goes away, a run beside it whose disk is full. Once a second the statistics
are read.

At the end everything has to be accounted for in the final statistics and events: every picture of the second camera as shown or as damaged, every change of the
model, every failure.

Exit codes: 0 all well, 1 not: a gap of the first camera of more than 2 s, memory that grows by more than 1 MiB an hour after the first fifth (12 MiB in a run of
minutes), something that is not accounted for, an end that takes more than a second.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from itertools import cycle
from pathlib import Path

PERIOD_S = 10
DAMAGED_AT_ONCE = 7
SILENCE_S = 3


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


class Camera(threading.Thread):
    """Plays a video into a pipe, over and over, with the clock."""

    def __init__(self, video, pipe, fps):
        super().__init__(daemon=True)
        data = Path(video).read_bytes()
        begin = data.index(b"movi") + 4
        self.head, self.pictures, at = data[:begin], [], begin
        while data[at : at + 4] == b"00dc":
            (length,) = struct.unpack_from("<I", data, at + 4)
            # Of even length, so that nothing has to be skipped: a pipe cannot be.
            self.pictures.append(data[at + 8 : at + 8 + length + length % 2])
            at += 8 + length + length % 2
        self.pipe, self.period = pipe, 1 / float(fps)
        self.sent, self.damaged, self.to_damage, self.silent_until, self.stop = 0, 0, 0, 0.0, False

    def damage(self, picture):
        kinds = [picture[: len(picture) // 4 * 2], b"", bytes(range(256)), picture[:200] + picture[400:], b"\xff\xd8\xff\xd9"]
        return kinds[self.damaged % len(kinds)]

    def run(self):
        due = time.monotonic()
        with open(self.pipe, "wb") as out:
            out.write(self.head)
            for picture in cycle(self.pictures):
                due += self.period
                while not self.stop and time.monotonic() < max(due, self.silent_until):
                    time.sleep(0.005)
                if self.stop:
                    return
                due = max(due, self.silent_until)
                # Counted before: the reader may be quicker.
                self.sent += 1
                if self.to_damage:
                    picture = self.damage(picture)
                    self.to_damage -= 1
                    self.damaged += 1
                out.write(b"00dc" + struct.pack("<I", len(picture)) + picture)
                out.flush()


def full_disk(program, bundle, folder):
    """Whether a run whose disk is full ends with 1 and says so, there and afterwards."""
    video, state = Path(folder, "full.avi"), f"{folder}/full"
    if not video.is_symlink():
        video.symlink_to("/dev/full")
    arguments = ["--source", "synthetic:?width=320&height=240", "--sink", f"video:{video}", "--state", state, "--frames", "200"]
    ended = subprocess.run([program, "run", "--bundle", bundle, *arguments], capture_output=True, text=True, timeout=60)
    status = json.loads(subprocess.run([program, "status", "--state", state, "--json"], capture_output=True).stdout)
    return ended.returncode == 1 and all("No space left" in text for text in (ended.stderr, status["end"]["reason"]))


def slope_mib_an_hour(memory):
    """Least squares over (seconds, MiB)."""
    mean_t = sum(t for t, _ in memory) / len(memory)
    mean_m = sum(m for _, m in memory) / len(memory)
    below = sum((t - mean_t) ** 2 for t, _ in memory)
    return 3600 * sum((t - mean_t) * (m - mean_m) for t, m in memory) / below if below else 0.0


def main():
    program, bundle, minutes = sys.argv[1], str(Path(sys.argv[2]).resolve()), float(sys.argv[3])
    fps = sys.argv[4] if len(sys.argv) > 4 else "30"
    temporary = tempfile.TemporaryDirectory()
    folder = temporary.name
    state, port, size = f"{folder}/state", free_port(), "width=320&height=240"
    # A clip that moves from its first picture to its last: two that follow each other are never the same.
    clip = ["--source", f"synthetic:?{size}&frames=60", "--sink", f"video:{folder}/clip.avi"]
    subprocess.run([program, "run", "--bundle", bundle, *clip], check=True, stdout=subprocess.DEVNULL)
    os.mkfifo(f"{folder}/camera.avi")
    camera = Camera(f"{folder}/clip.avi", f"{folder}/camera.avi", fps)
    camera.start()
    damaged_bundle = Path(folder, "damaged.amis")
    damaged_bundle.write_bytes(Path(bundle).read_bytes()[: Path(bundle).stat().st_size // 2])
    sources = ["--source", f"synthetic:?{size}&fps={fps}&realtime=1", "--source", f"video:{folder}/camera.avi"]
    sinks = ["--sink", f"web:127.0.0.1:{port}", "--sink", f"lines:{folder}/results-{{camera}}"]
    run = subprocess.Popen([program, "run", "--bundle", bundle, *sources, *sinks, "--state", state, "--json"], stdout=subprocess.PIPE)
    statistics = lambda: json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/stats.json", timeout=10))["cameras"]
    for _ in range(100):
        try:
            if all(one["frames"] for one in statistics()):
                break
        except OSError:
            pass
        time.sleep(0.1)
    notes, stuck, memory, missing, changed, full, filled = [], [], [], 0, 0, 0, 0
    threading.Thread(target=hear_events, args=(port, notes), daemon=True).start()
    swap = lambda name: subprocess.run([program, "swap", name, "--state", state], capture_output=True).returncode
    start = time.monotonic()
    due = start + PERIOD_S
    faults = cycle(["pictures", "swap", "damaged", "reload", "silence", "stuck", "missing", "garbage", "reader", "full"])
    while (now := time.monotonic()) < start + minutes * 60:
        memory.append((now - start, statistics()[0]["rss_now_mib"]))
        if now >= due:
            due += PERIOD_S
            fault = next(faults)
            print(f"{now - start:6.0f} s  {memory[-1][1]:.1f} MiB  {fault}", flush=True)
            if fault == "pictures":
                camera.to_damage = DAMAGED_AT_ONCE
            elif fault == "silence":
                camera.silent_until = now + SILENCE_S
            elif fault == "swap":
                changed += swap(bundle) == 0
            elif fault in ("missing", "damaged"):
                missing += swap(str(damaged_bundle) if fault == "damaged" else "missing.amis") == 3
            elif fault == "reload":
                run.send_signal(signal.SIGHUP)
                changed += 1
            elif fault == "stuck":
                stuck = [connect(port, b"GET /stream.mjpg?camera=%d HTTP/1.1\r\n\r\n" % (1 + n % 2)) for n in range(20)]
            elif fault == "garbage":
                stuck = [connect(port, bytes(range(256)) * 8) for _ in range(5)]
            elif fault == "full":
                full += 1
                filled += full_disk(program, bundle, folder)
            else:
                for number in (1, 2):
                    reader = socket.socket(socket.AF_UNIX)
                    reader.connect(f"{folder}/results-{number}")
                    json.loads(reader.makefile().readline())
                    reader.close()
        time.sleep(max(0, 1 - (time.monotonic() - now)))
    # What is on its way arrives.
    camera.silent_until = time.monotonic() + 60
    for _ in range(20):
        time.sleep(0.5)
        second = statistics()[1]
        if second["frames"] + second["faults"].get("corrupt", 0) == camera.sent:
            break
    asked = time.monotonic()
    run.terminate()
    # A read from a pipe waits for ever; now it comes to the end.
    camera.stop = True
    output = run.communicate(timeout=30)[0]
    code, took = run.returncode, time.monotonic() - asked
    first, second = json.loads(output)["cameras"]
    settled = [point for point in memory if point[0] > memory[-1][0] / 5]
    growth, grown = slope_mib_an_hour(settled), max(m for _, m in settled) - settled[0][1]
    failed = sum(note["warning"] and note["text"].startswith("the model was not changed") for note in notes)
    served = sum("serves; made ready" in note["text"] for note in notes)
    told = sum("corrupt" in note["text"] for note in notes)
    corrupt = second["faults"].get("corrupt", 0)
    for number, one in enumerate((first, second), 1):
        print(f"camera {number}: {one['frames']} frames, {one['dropped']} dropped, longest gap {one['max_gap_ms']:.0f} ms, {one['minute']['fps']:.1f} a second at the end")
    print(f"camera 2 was sent {camera.sent} pictures: {second['frames']} shown and {corrupt} damaged of {camera.damaged}, {told} events about them")
    print(f"memory {settled[0][1]:.1f} to {settled[-1][1]:.1f} MiB, {growth:.2f} MiB an hour; models {served} of {changed}, failures {failed} of {missing}")
    print(f"full disks {filled} of {full}; end {code} in {took:.2f} s")
    well = {
        "no gap of 2 s": first["max_gap_ms"] < 2000,
        "memory": growth < 1 or (minutes < 30 and grown < 12),
        "models": (served, failed, filled) == (changed, missing, full),
        "pictures": (second["frames"], corrupt) == (camera.sent - camera.damaged, camera.damaged) and second["dropped"] == camera.damaged,
        "events about pictures": camera.damaged == 0 or told > 0,
        "end": code == 0 and took < 1,
    }
    for name in [name for name, good in well.items() if not good]:
        print(f"not well: {name}")
    sys.exit(0 if all(well.values()) else 1)


if __name__ == "__main__":
    main()
