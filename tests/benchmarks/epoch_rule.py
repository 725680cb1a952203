"""Which rule chooses the better epoch on validation, macro-F1 or log loss, told by images that neither has seen.

    python tests/benchmarks/epoch_rule.py DATASET --runs FOLDER [--seeds 6] [-- MORE FLAGS OF ahekit train]
    python tests/benchmarks/epoch_rule.py --read RUN RUN ...

The first trains one run for each seed (those in FOLDER already are kept). The seed decides the cut, the first weights
and the order of images, so that runs of a dataset without test images (a folder of AHE64's training images alone) are
folds of it: each seed cuts other test and validation images, whole series and near-copies on one side.

Of every run each rule names an epoch by that epoch's validation figures, later epochs only where they are better, as
training does; what is compared is test at the two epochs, run by run. The interval is Student's over the runs' paired
differences.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

Epoch = dict[str, Any]
RULES = {"macro-F1": ("f1", 1), "log loss": ("loss", -1)}
MEASURES = ("accuracy", "f1", "loss")


def epochs_of(run: Path) -> list[Epoch]:
    """The whole epochs of a run, from its history; a resumed run's later row of an epoch stands for it."""
    rows: list[Epoch] = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return list({row["epoch"]: row for row in rows if row["type"] == "epoch" and not row.get("partial")}.values())


def choose(epochs: list[Epoch], measure: str, sign: int) -> Epoch:
    """The epoch that a rule chooses on validation; of equal ones the first."""
    return max(epochs, key=lambda row: (sign * row["val"][measure], -row["epoch"]))


def mean_interval(differences: list[float]) -> str:
    """Mean of paired differences with Student's 95 % interval, and in how many runs they are above and below zero."""
    values = np.array(differences)
    mean = values.mean()
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else float("nan")
    signs = f"{(values > 0).sum()} up, {(values < 0).sum()} down, {(values == 0).sum()} even"
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f}); {signs}"


def train(arguments: argparse.Namespace, seed: int) -> Path:
    """The run of a seed, trained unless its folder holds a finished one."""
    folder = Path(arguments.runs) / f"seed-{seed}"
    for run in sorted(folder.glob("*/status.json")):
        if json.loads(run.read_text(encoding="utf-8")).get("state") == "finished":
            return run.parent
    command = [sys.executable, "-m", "ahekit", arguments.command, "--data", str(arguments.dataset), "--quiet"]
    command += ["--set", "evaluation.curve_points=none"]
    subprocess.run([*command, "--seed", str(seed), "--runs", str(folder), *arguments.more], check=True)
    return max(folder.glob("*/"), key=lambda run: run.stat().st_mtime)


def main() -> None:
    """Train what isn't yet, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path)
    parser.add_argument("--runs", type=Path, help="folder of the runs, one folder a seed")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--command", choices=["train", "finetune"], default="train")
    parser.add_argument("--read", nargs="+", type=Path, help="runs that are there, instead of training any")
    own, more = sys.argv[1:], []
    if "--" in own:
        more = own[own.index("--") + 1 :]
        own = own[: own.index("--")]
    arguments = parser.parse_args(own, argparse.Namespace(more=more))
    runs = arguments.read or [train(arguments, seed) for seed in range(arguments.seeds)]
    differences: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    print(f"{'run':44} {'rule':9} epoch  {'test accuracy':>13} {'macro-F1':>9} {'log loss':>9}")
    for run in runs:
        epochs = epochs_of(run)
        chosen = {rule: choose(epochs, *how) for rule, how in RULES.items()}
        for rule, row in {**chosen, "last": epochs[-1]}.items():
            test = row["test"]
            print(
                f"{run.name[:44]:44} {rule:9} {row['epoch']:5}  {test['accuracy']:13.4f} {test['f1']:9.4f} "
                f"{test['loss']:9.4f}"
            )
        for measure in MEASURES:
            differences[measure].append(chosen["log loss"]["test"][measure] - chosen["macro-F1"]["test"][measure])
    print(f"\nTest at the epoch of the lowest log loss minus that of the highest macro-F1, {len(runs)} runs:")
    for measure, values in differences.items():
        print(f"  {measure:9} {mean_interval(values)}")


if __name__ == "__main__":
    main()
