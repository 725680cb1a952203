"""What share of an epoch is spent outside its optimizer steps: measuring, and writing the checkpoint.

    python -m tests.benchmarks.epoch_overhead RUN ...

From the histories of runs that are there: the clock at an epoch's end against the seconds of its steps. An epoch's own
row is made before its checkpoint is written, so the checkpoint counts in the epoch after; the first epoch, which has
none before it, is left out, and so are epochs before which a run was resumed. Not every epoch is measured whole: the
share of a run is that of all its epochs together.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from tests.benchmarks.epoch_rule import epochs_of


def seconds_of(run: Path) -> dict[int, tuple[float, float]]:
    """By epoch, from the second one on: seconds outside its steps, and in all."""
    steps: dict[int, float] = defaultdict(float)
    for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["type"] == "step":
            steps[row["epoch"]] += row["seconds"]
    ends = {row["epoch"]: row["seconds"] for row in epochs_of(run)}
    seconds = {}
    for epoch, end in ends.items():
        # A resumed run's clock goes on from its checkpoint, before what its dead process still did.
        if epoch - 1 in ends and end - ends[epoch - 1] >= steps[epoch] > 0:
            whole = end - ends[epoch - 1]
            seconds[epoch] = (whole - steps[epoch], whole)
    return seconds


def main() -> None:
    """Tell it of each run."""
    print(f"{'run':48} epochs  outside steps  of single epochs")
    for run in map(Path, sys.argv[1:]):
        seconds = seconds_of(run).values()
        if not seconds:
            print(f"{run.name[:48]:48} fewer than two whole epochs")
            continue
        outside, whole = map(sum, zip(*seconds, strict=True))
        shares = [own / all_of_it for own, all_of_it in seconds]
        print(f"{run.name[:48]:48} {len(shares):6}  {outside / whole:13.1%}  {min(shares):.1%} to {max(shares):.1%}")


if __name__ == "__main__":
    main()
