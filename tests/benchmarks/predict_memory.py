"""What `ahekit predict` holds at most, how soon the first photo is done, and how long new thresholds take.

    python -m tests.benchmarks.predict_memory [--model MODEL] [--counts 1000 20000] [--folder FOLDER]

Photos of 128 px with one of 12 megapixels among each 250. The command runs in a process of its own; its peak is what
the system accounts to it. The first prediction is there when the first row can be read from the survey, asked every
20 ms.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.predict_photos import make_photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder or run; without it the one of the package")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ahekit-predict-memory")
    options = parser.parse_args()
    named = ["--model", options.model] if options.model else []
    for count in options.counts:
        photos = options.folder / f"photos-{count}"
        make_photos(photos / "small", "128px", count - count // 250)
        make_photos(photos / "large", "12mp", count // 250)
        survey = options.folder / "survey"
        shutil.rmtree(survey, ignore_errors=True)
        command = [sys.executable, "-m", "ahekit", "predict", str(photos), "--out", str(survey), "--quiet", *named]
        peak, seconds, first = measured(command, survey / "survey.sqlite")
        print(
            f"{count:,d} photos: peak {peak / 2**20:.0f} MiB, first prediction after {first:.1f} s, all after "
            f"{seconds:.0f} s ({count / seconds:.1f}/s); load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        for what, again in {
            "the same command again": command,
            "new thresholds": [
                sys.executable,
                "-m",
                "ahekit",
                "survey",
                "decide",
                str(survey),
                "--min-confidence",
                "0.7",
            ],
        }.items():
            peak, seconds, _ = measured(again, survey / "survey.sqlite")
            print(f"  {what}: {seconds:.1f} s, peak {peak / 2**20:.0f} MiB; load {os.getloadavg()[0]:.1f}", flush=True)


def measured(command: list[str], file: Path) -> tuple[int, float, float]:
    """Peak resident bytes of a command, seconds it took, and seconds until the survey had a photo."""
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    first = float("nan")
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if first != first and has_photo(file):
            first = time.perf_counter() - begun
        if done:
            break
        time.sleep(0.02)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{command} failed")
    return usage.ru_maxrss * 1024, time.perf_counter() - begun, first


def has_photo(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            return database.execute("SELECT 1 FROM photos LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return False


if __name__ == "__main__":
    main()
