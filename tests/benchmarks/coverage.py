"""How often 95 % intervals hold: simulated confusion tables, among them classes that are always right or always wrong.

    python tests/benchmarks/coverage.py [TRIALS]      trials of each setting, 200 unless told

For each setting tables are drawn of which the truth is known: 2, 3 or 10 classes of 10, 19 or unequal numbers of
images, and recalls that are mixed (from 0.3 to 1), near perfect (1, 0.99, 0.97), good or bad. Printed is the share of
intervals that hold the truth, over all settings and in the worst, and their mean width.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.comparison import FIGURES, compare
from ahekit.evaluation.metrics import class_scores, macro_f1
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.resampling import kappa, resample

Floats = NDArray[np.float64]

CLASSES = (2, 3, 10)
SUPPORT = {"10": (10, 10), "19": (19, 19), "5 to 60": (5, 60)}
RECALLS = {"mixed": (1.0, 0.99, 0.95, 0.9, 0.7, 0.3), "near perfect": (1.0, 0.99, 0.97), "bad": (0.0, 0.05, 0.3, 0.6)}
RESAMPLES = 400


def true_shares(rng: np.random.Generator, classes: int, recalls: tuple[float, ...]) -> Floats:
    """A confusion table of shares `(C, C)`: a recall of each class, its errors unevenly among the others."""
    shares = np.zeros((classes, classes))
    for label in range(classes):
        recall = rng.choice(recalls)
        errors = rng.dirichlet(np.full(classes - 1, 0.3)) * (1 - recall)
        shares[label] = np.insert(errors, label, recall)
    return shares


def predictions(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Predictions:
    """Predictions of those classes."""
    logits = np.eye(classes, dtype=np.float32)[predicted] * 4
    return Predictions(tuple(map(str, range(len(labels)))), labels, logits, tuple(map(str, range(classes))))


def draw(rng: np.random.Generator, shares: Floats, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A predicted class of each image."""
    return np.array([rng.choice(len(shares), p=shares[label]) for label in labels], dtype=np.int64)


def figures_of(table: Floats) -> dict[str, float]:
    """Figures of a table of counts or shares `(C, C)`, those of a class with its number."""
    precision, recall, f1 = class_scores(table)
    figures = {
        "accuracy": float(np.trace(table) / table.sum()),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(macro_f1(table)),
        "kappa": float(kappa(table)),
    }
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        figures |= {f"{name} {label}": float(value) for label, value in enumerate(values)}
    return figures


def one_run(rng: np.random.Generator, shares: Floats, labels: NDArray[np.int64]) -> dict[str, tuple[bool, float]]:
    """Whether each figure's interval holds the truth, and its width."""
    classes = len(shares)
    truth = figures_of(shares * np.bincount(labels, minlength=classes)[:, None])
    resampled = resample(predictions(labels, draw(rng, shares, labels), classes), samples=RESAMPLES)
    results = {}
    for name, value in truth.items():
        figure, _, label = name.partition(" ")
        interval = resampled.class_interval(figure, int(label)) if label else resampled.interval(figure)
        if interval is not None and np.isfinite(value):
            results[name] = (interval.low - 1e-9 <= value <= interval.high + 1e-9, interval.high - interval.low)
    return results


def two_runs(rng: np.random.Generator, shares: Floats, labels: NDArray[np.int64]) -> dict[str, tuple[bool, float]]:
    """The same for differences of two runs of which the second answers as the first does to most images."""
    classes = len(shares)
    others = true_shares(rng, classes, tuple(np.diagonal(shares)))
    alike = 0.7
    first = draw(rng, shares, labels)
    second = np.where(rng.random(len(labels)) < alike, first, draw(rng, others, labels))
    support = np.bincount(labels, minlength=classes)[:, None]
    one = figures_of(shares * support)
    two = figures_of((alike * shares + (1 - alike) * others) * support)
    comparison = compare(predictions(labels, first, classes), predictions(labels, second, classes), samples=RESAMPLES)
    differences = {name: comparison.figures[name] for name in FIGURES}
    differences |= {f"f1 {label}": found for label, found in enumerate(comparison.f1) if found is not None}
    results = {}
    for name, difference in differences.items():
        value = two[name] - one[name]
        low, high = difference.interval.low, difference.interval.high
        results[f"difference of {name}"] = (low - 1e-9 <= value <= high + 1e-9, high - low)
    return results


def simulate(trials: int, *, seed: int = 0) -> dict[str, dict[str, list[tuple[bool, float]]]]:
    """By figure and setting, whether each trial's interval held and how wide it was."""
    rng = np.random.default_rng(seed)
    outcomes: dict[str, dict[str, list[tuple[bool, float]]]] = defaultdict(lambda: defaultdict(list))
    for classes in CLASSES:
        for images, (fewest, most) in SUPPORT.items():
            for kind, recalls in RECALLS.items():
                for _ in range(trials):
                    shares = true_shares(rng, classes, recalls)
                    labels = np.repeat(np.arange(classes), rng.integers(fewest, most + 1, classes))
                    both = one_run(rng, shares, labels) | two_runs(rng, shares, labels)
                    for name, outcome in both.items():
                        figure = re.sub(r" \d+$", "", name)
                        outcomes[figure][f"{classes} classes of {images}, {kind}"].append(outcome)
    return outcomes


def main() -> None:
    """Print a line for each figure."""
    outcomes = simulate(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    for figure, settings in outcomes.items():
        shares = {setting: float(np.mean([held for held, _ in pairs])) for setting, pairs in settings.items()}
        every = [outcome for pairs in settings.values() for outcome in pairs]
        worst = min(shares, key=lambda setting: shares[setting])
        share, width = np.mean(every, axis=0)
        print(f"{figure:<31} {share:.3f}  width {width:.3f}  worst {shares[worst]:.3f} ({worst})")


if __name__ == "__main__":
    main()
