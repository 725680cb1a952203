"""How long a start takes up to the first batch: scan, pixels, splits; the first time and again.

    python tests/benchmarks/data_start.py DATASET

Each start is a process of its own with an empty home for the first; imports are not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from ahekit.data.dataset import load_dataset
from ahekit.data.folder import scan
from ahekit.data.split import make_splits
from ahekit.preprocessing import Preprocessing


def start(dataset: Path) -> None:
    seconds = [time.perf_counter()]
    folder = scan(dataset)
    seconds.append(time.perf_counter())
    loaded = load_dataset(folder, Preprocessing(size=64))
    seconds.append(time.perf_counter())
    splits = make_splits(loaded)
    seconds.append(time.perf_counter())
    parts = [after - before for before, after in pairwise(seconds)]
    print(
        "{:.2f} s: scan {:.2f}, pixels {:.2f}, near-copies and splits {:.2f}".format(sum(parts), *parts),
        f"({len(splits.train)} / {len(splits.val)} / {len(splits.test)} images)",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        start(given.dataset)
        return
    with tempfile.TemporaryDirectory() as home:
        for label in ("first start", "again", "again", "again"):
            command = [sys.executable, __file__, str(given.dataset), "--one"]
            environment = {**os.environ, "AHEKIT_HOME": home}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            print(f"{label}: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
