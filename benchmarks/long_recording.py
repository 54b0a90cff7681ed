"""Time and memory of a ten-minute recording of two people: windows, annotations, leak audit.

    python -m benchmarks.long_recording UI_PRMD_FOLDER

The recording is assembled from UI-PRMD: clips of subjects 1 and 3 one after another, beside those of 2 and 4, 30 frames
per second. Each clip is annotated with its movement, and every third one is left without annotation.
"""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import ulna
from ulna.formats.writing import write_npz

MINUTES, FPS = 10, 30.0


def assemble(source: Path, folder: Path) -> None:
    """Write the recording and its annotations."""
    clips = ulna.read(source, "ui_prmd")
    num_frames = int(MINUTES * 60 * FPS)
    people, rows = [], []
    for person, subjects in enumerate(((1, 3), (2, 4))):
        parts, done = [], 0
        for number, clip in enumerate(one for one in clips if one.subject in subjects):
            if done >= num_frames:
                break
            if number % 3 < 2:
                end = min(done + clip.num_frames, num_frames)
                rows.append([done / FPS, end / FPS, clip.label, str(person)])
            parts.append(clip.position)
            done += clip.num_frames
        people.append(np.concatenate(parts)[:num_frames] + np.float32([1.5 * person, 0, 0]))
    position = np.concatenate(people, axis=1)
    recording = ulna.Clip("recording", position, clips[0].skeleton, fps=FPS, tracks=("0", "1"))
    (folder / "files").mkdir()
    write_npz(recording, folder / "files" / "recording.npz")
    with (folder / "annotations.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["start", "end", "label", "person"], *rows])
    print(f"{position.shape[0]:,} frames of {position.shape[1]} people, {len(rows)} annotations")


def run(*arguments: object) -> None:
    """Run a command and print its output, time and largest memory."""
    words = [str(argument) for argument in arguments]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "ulna", *words], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"\n$ ulna {' '.join(Path(word).name if '/' in word else word for word in words)}")
    lines = done.stdout.strip().splitlines()
    print("\n".join(lines[:6]))
    print(f"[{seconds:.1f} s, {cpu:.1f} s of processor time, at most {after.ru_maxrss / 1024:.0f} MiB so far]")


def main() -> None:
    """Assemble the recording and run the commands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assemble(Path(sys.argv[1]), folder)
        files, table = folder / "files", folder / "annotations.csv"
        windows = ["--window", "2", "--stride", "0.5", "--persons", "separate", "--annotations", table]
        run("prepare", "npz", files, folder / "windows", *windows)
        run("prepare", "npz", files, folder / "by_clip", *windows, "--hold-out", "clip")
        run("audit", folder / "by_clip", "--split", "holdout")
        run("prepare", "npz", files, folder / "cut", "--persons", "separate", "--annotations", table)
        size = sum(file.stat().st_size for file in (folder / "windows").iterdir())
        print(f"\nwindows on disk: {size / 2**20:.1f} MiB for {ulna.Dataset(folder / 'windows').num_clips:,} windows")


if __name__ == "__main__":
    main()
