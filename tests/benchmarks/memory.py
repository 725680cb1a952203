"""Peak resident memory of training, over epochs and over accumulation steps.

    python tests/benchmarks/memory.py DATASET

Each row is a process of its own that trains cnn5 with the strong recipe, but on images of the full size, for a few
epochs, checkpoints and measuring included, on all training images; VmHWM is the kernel's own peak, read after each
epoch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from ahekit.run import Run
from ahekit.spec import RunSpec
from ahekit.training.loop import fit
from ahekit.training.setup import prepare


def peak_mib() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


class Peaks:
    def step(self, record: object) -> None:
        pass

    def prefix(self, done: int, total: int) -> None: ...

    def answers(self, done: int, total: int) -> None: ...

    def epoch(self, row: object) -> None:
        print(peak_mib(), end=" ", flush=True)


def train(dataset: Path, accumulation: int, epochs: int) -> None:
    spec = RunSpec.model_validate(
        {
            "data": {"source": str(dataset)},
            "progressive": {"sizes": []},
            "optim": {"accumulation_steps": accumulation},
            "train": {"epochs": epochs},
        }
    )
    setup = prepare(spec)
    with tempfile.TemporaryDirectory() as folder:
        fit(setup, Run.create(Path(folder), setup.spec, setup.manifest()), watcher=Peaks())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--accum", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.accum:
        train(given.dataset, given.accum, given.epochs)
        return
    for accumulation in (1, 4, 16):
        command = [sys.executable, __file__, str(given.dataset), f"--epochs={given.epochs}", f"--accum={accumulation}"]
        peaks = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"accumulation {accumulation}: peak after each epoch, MiB: {peaks}", flush=True)


if __name__ == "__main__":
    main()
