"""What share of an epoch is spent outside its optimizer steps: measuring, and writing the checkpoint.

    python -m tests.benchmarks.epoch_overhead RUN ...

From the histories of runs that are there: the clock at an epoch's end against the seconds of its steps. An epoch's own
row is made before its checkpoint is written, so the checkpoint counts in the epoch after; the first epoch, which has
none before it, is left out, and so are epochs before which a run was resumed.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from tests.benchmarks.epoch_rule import epochs_of


def shares_of(run: Path) -> dict[int, float]:
    """The share outside steps by epoch, from the second one on."""
    steps: dict[int, float] = defaultdict(float)
    for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["type"] == "step":
            steps[row["epoch"]] += row["seconds"]
    ends = {row["epoch"]: row["seconds"] for row in epochs_of(run)}
    shares = {}
    for epoch, end in ends.items():
        # A resumed run's clock goes on from its checkpoint, before what its dead process still did.
        if epoch - 1 in ends and end - ends[epoch - 1] >= steps[epoch] > 0:
            shares[epoch] = 1 - steps[epoch] / (end - ends[epoch - 1])
    return shares


def main() -> None:
    """Tell it of each run."""
    print(f"{'run':48} epochs  median  range outside steps")
    for run in map(Path, sys.argv[1:]):
        shares = list(shares_of(run).values())
        if not shares:
            print(f"{run.name[:48]:48} fewer than two whole epochs")
            continue
        print(f"{run.name[:48]:48} {len(shares):6}  {median(shares):6.1%}  {min(shares):.1%} to {max(shares):.1%}")


if __name__ == "__main__":
    main()
