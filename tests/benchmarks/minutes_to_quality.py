"""Minutes until a training reaches an accuracy on validation: the recipes fast, strong and assignment, in turns.

    python -m tests.benchmarks.minutes_to_quality DATASET --out FOLDER [--seeds 3] [--recipes fast strong assignment]
        [--together 2] [--undisturbed] [-- MORE FLAGS OF ahekit train]
    python -m tests.benchmarks.minutes_to_quality --out FOLDER --read [--undisturbed]

The first trains cnn5 with each recipe for each seed; the recipes take turns, so that what else the machine does hits
all alike. Trainings that are in FOLDER are kept, and one that was broken off is gone on with. assignment is the usual
loop: plain Adam at one rate, no augmentation. Every second epoch is measured. Flags after -- hold for all recipes.
Beside the table of minutes FOLDER gets the whole curves as curves.csv and curves.svg, which is drawn for light and
dark ground.

With --together 2 two trainings run at a time, each on half of the cores, which takes less time in all: a run's minutes
are then those of half a machine.

Minutes are those of the run's own clock at the end of an epoch: steps, measuring and checkpoints, but not the start of
the program. --undisturbed is for a machine that does other work now and then: each epoch takes as long as the shortest
of its recipe's epochs on images of that size. An accuracy is reached by the first epoch that has it, a single view of
each image. Nothing here looks at test.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path
from statistics import median
from typing import Any

from ahekit.run import Run
from ahekit.spec import resolve_spec
from tests.benchmarks.epoch_rule import epochs_of
from tests.benchmarks.kept_runs import kept_runs, parsed

RECIPES = ("fast", "strong", "assignment")
TARGETS = (0.90, 0.88, 0.85)
COLOURS = {"fast": "#7e57c2", "strong": "#00897b", "assignment": "#c48b4a"}
GREY = "#7a7a85"

Curve = list[tuple[float, float]]
"""Minutes and accuracy on validation after each epoch that was measured."""


def seconds_by_size(run: Path, epochs: Sequence[Mapping[str, Any]]) -> list[tuple[int | None, float]]:
    """Of each of a run's epochs: the size of its images, and the seconds it took by the run's clock."""
    spec = Run(run).spec
    sizes = [spec.progressive.size_at(row["epoch"], epochs=spec.train.epochs) for row in epochs]
    ends = [row["seconds"] for row in epochs]
    return [(size, end - before) for size, (before, end) in zip(sizes, pairwise([0.0, *ends]), strict=True)]


def curves_of(runs: Sequence[Path], *, undisturbed: bool) -> list[Curve]:
    """The curves of a recipe's runs; by the clock, or by the shortest time of any of their epochs of its size."""
    histories = [epochs_of(run) for run in runs]
    taken = [seconds_by_size(run, epochs) for run, epochs in zip(runs, histories, strict=True)]
    least: dict[int | None, float] = {}
    for size, seconds in chain.from_iterable(taken):
        least[size] = min(seconds, least.get(size, seconds))
    curves = []
    for epochs, own in zip(histories, taken, strict=True):
        ends = accumulate(least[size] if undisturbed else seconds for size, seconds in own)
        measured = zip(ends, epochs, strict=True)
        curves.append([(end / 60, row["val"]["accuracy"]) for end, row in measured if "val" in row])
    return [curve for curve in curves if curve]


def latest_run(folder: Path) -> Path | None:
    """The last run in a folder that has a history; None: there is none."""
    histories = sorted(folder.glob("*/history.jsonl"))
    return histories[-1].parent if histories else None


def flags_of(recipe: str, seed: int) -> list[str]:
    """The command of a run; each recipe is measured as often, and on as many images, since that takes time too."""
    points = max(1, resolve_spec(flags={"recipe": recipe}).train.epochs // 2)
    measuring = ["--set", f"evaluation.curve_points={points}", "--set", "evaluation.train_subset=250"]
    return ["train", "--model", "cnn5", "--recipe", recipe, "--seed", str(seed), *measuring]


def minutes_to(curve: Curve, accuracy: float) -> float | None:
    """Minutes until the first epoch that reaches an accuracy; None: none does."""
    return next((minutes for minutes, reached in curve if reached >= accuracy), None)


def told(minutes: Sequence[float | None]) -> str:
    """Median and range over seeds; where a seed never reaches it there is no median to tell."""
    reached = [value for value in minutes if value is not None]
    if not reached:
        return "not reached"
    spread = f"{min(reached):.1f}–{max(reached):.1f}"
    if len(reached) < len(minutes):
        return f"by {len(reached)} of {len(minutes)} ({spread})"
    return f"{median(reached):.1f} ({spread})"


def ratio(fast: Sequence[float | None], other: Sequence[float | None]) -> str:
    """The median of the seeds' ratios and their range; a dash unless both reach it with every seed."""
    ratios = [one / two for one, two in zip(fast, other, strict=True) if one is not None and two is not None]
    if not ratios or len(ratios) < len(fast):
        return "–"
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def print_table(curves: Mapping[str, Sequence[Curve]]) -> None:
    """Minutes to each accuracy, and what each recipe comes to in the end."""
    recipes = list(curves)
    compared = [recipe for recipe in recipes if recipe != "fast"] if "fast" in curves else []
    print("| Validation accuracy | " + " | ".join([*recipes, *(f"fast / {other}" for other in compared)]) + " |")
    print("|---" * (1 + len(recipes) + len(compared)) + "|")
    for target in TARGETS:
        minutes = {recipe: [minutes_to(curve, target) for curve in own] for recipe, own in curves.items()}
        cells = [told(minutes[recipe]) for recipe in recipes]
        cells += [ratio(minutes["fast"], minutes[other]) for other in compared]
        print(f"| minutes to {target:.2f} | " + " | ".join(cells) + " |")
    blank = ["" for _ in compared]
    for words, place in (("minutes in all", 0), ("last accuracy", 1)):
        ends = {recipe: [curve[-1][place] for curve in own] for recipe, own in curves.items()}
        digits = 1 if place == 0 else 3
        cells = [f"{median(e):.{digits}f} ({min(e):.{digits}f}–{max(e):.{digits}f})" for e in ends.values()]
        print(f"| {words} | " + " | ".join([*cells, *blank]) + " |")
    print(f"\nMedian (range) over {len(next(iter(curves.values())))} seeds.")


def write_curves(curves: Mapping[str, Sequence[Curve]], file: Path) -> None:
    """Every measured epoch of every run."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(("recipe", "seed", "minutes", "val_accuracy"))
        for recipe, own in curves.items():
            for seed, curve in enumerate(own):
                writer.writerows((recipe, seed, f"{minutes:.4f}", reached) for minutes, reached in curve)


def draw_curves(curves: Mapping[str, Sequence[Curve]], file: Path) -> None:
    """Accuracy against minutes, a line for each run."""
    import matplotlib.pyplot as plt

    plt.rcParams.update(dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), GREY))
    plt.rcParams.update({"xtick.color": GREY, "ytick.color": GREY, "svg.fonttype": "none", "svg.hashsalt": "curves"})
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for recipe, own in curves.items():
        for seed, curve in enumerate(own):
            minutes, reached = zip(*curve, strict=True)
            label = recipe if seed == 0 else None
            axes.plot(minutes, reached, color=COLOURS.get(recipe), linewidth=1.4, alpha=0.85, label=label)
    for target in TARGETS:
        axes.axhline(target, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("accuracy on validation")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(file, transparent=True, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Train what isn't yet, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, the curves and the picture")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--together", type=int, default=1, help="trainings at a time")
    parser.add_argument("--undisturbed", action="store_true", help="an epoch takes as long as the shortest one")
    parser.add_argument("--read", action="store_true", help="only what is there, also of runs that still go on")
    arguments, more = parsed(parser)
    if arguments.dataset is None and not arguments.read:
        parser.error("name a dataset, or --read")
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [(recipe, seed) for seed in range(arguments.seeds) for recipe in arguments.recipes]
    folders = {(recipe, seed): arguments.out / f"{recipe}-{seed}" for recipe, seed in jobs}
    if not arguments.read:
        common = ["--data", arguments.dataset, *more]
        kept_runs({folders[job]: [*flags_of(*job), *common] for job in jobs}, together=arguments.together)
    curves: dict[str, list[Curve]] = {}
    for recipe in arguments.recipes:
        runs = [latest_run(folders[recipe, seed]) for seed in range(arguments.seeds)]
        if own := curves_of([run for run in runs if run], undisturbed=arguments.undisturbed):
            curves[recipe] = own
    if not curves:
        sys.exit(f"{arguments.out}: no epoch of any run yet")
    fewest = min(map(len, curves.values()))
    curves = {recipe: own[:fewest] for recipe, own in curves.items()}
    write_curves(curves, arguments.out / "curves.csv")
    draw_curves(curves, arguments.out / "curves.svg")
    print_table(curves)


if __name__ == "__main__":
    main()
