"""How often a guarantee is broken: simulated surveys of which the truth is known.

    python tests/benchmarks/guarantee.py                 mistakes drawn from curves
    python tests/benchmarks/guarantee.py OUTPUTS.npz     mistakes of a network (from `outputs.py`)
    [--surveys 2000] [--labelled 300 800] [--photos 3000]

Each simulated survey has labelled images of its own and photos of its own. The threshold is taken from the labelled
images; broken is the promise if more of all possible photos from the threshold on are wrong than was promised. Printed
too: how often more of the survey's own accepted photos were wrong, which varies about what is promised even where
that holds; the share accepted; and how often the labelled images couldn't carry the promise.

From curves: an image whose score lies at share r of all (0: surest) is wrong with probability floor + height * r **
power. From a network: its validation and test images are all the images there are, and each survey draws labelled
images and photos from them with replacement; score, calibration and threshold are chosen anew on each draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation import confidence
from ahekit.evaluation.confidence import compare_scores
from ahekit.evaluation.guarantee import Guarantee, guaranteed_threshold

Floats = NDArray[np.float64]
SURETY = 0.95
MAX_ERRORS = (0.02, 0.05)
CURVES = {"few hard ones": (0.002, 0.35, 6), "mislabelled ones": (0.005, 0.35, 6), "gradual": (0.001, 0.2, 3)}


@dataclass(frozen=True)
class Outcome:
    """Of one survey: the true share of mistakes and the survey's own, NaN where nothing was promised."""

    accepted: float
    truth: float
    own: float


NO_PROMISE = Outcome(0.0, np.nan, np.nan)


def from_curve(
    rng: np.random.Generator, curve: tuple[float, float, int], *, labelled: int, photos: int
) -> list[Outcome]:
    """A survey whose mistakes follow a curve: its outcome for each of `MAX_ERRORS`."""
    floor, height, power = curve
    places = rng.random(labelled)
    is_right = rng.random(labelled) >= floor + height * places**power
    own = rng.random(photos)
    is_wrong = rng.random(photos) < floor + height * own**power
    outcomes = []
    for max_error in MAX_ERRORS:
        result = guaranteed_threshold(-places, is_right, max_error=max_error, surety=SURETY)
        if not isinstance(result, Guarantee):
            outcomes.append(NO_PROMISE)
            continue
        share = -result.threshold
        truth = floor + height * share**power / (power + 1)
        outcomes.append(Outcome(share, truth, mean_of(is_wrong[own <= share])))
    return outcomes


def from_network(
    rng: np.random.Generator, pool: tuple[NDArray[np.float32], NDArray[np.int64]], *, labelled: int, photos: int
) -> list[Outcome]:
    """A survey whose images are drawn from a network's: its outcome for each of `MAX_ERRORS`."""
    logits, labels = pool
    drawn = rng.integers(0, len(labels), labelled)
    own = rng.integers(0, len(labels), photos)
    scores = compare_scores(logits[drawn], labels[drawn])[0].score(logits)
    is_right = logits.argmax(axis=1) == labels
    outcomes = []
    for max_error in MAX_ERRORS:
        result = guaranteed_threshold(scores[drawn], is_right[drawn], max_error=max_error, surety=SURETY)
        if not isinstance(result, Guarantee):
            outcomes.append(NO_PROMISE)
            continue
        is_accepted = scores >= result.threshold
        truth = mean_of(~is_right[is_accepted])
        outcomes.append(Outcome(float(is_accepted.mean()), truth, mean_of(~is_right[own[is_accepted[own]]])))
    return outcomes


def mean_of(is_wrong: NDArray[np.bool_]) -> float:
    """The share that is wrong, 0 of none."""
    return float(is_wrong.mean()) if len(is_wrong) else 0.0


def told(name: str, surveys: int, survey: Callable[[], list[Outcome]]) -> None:
    """Print a line for each largest error."""
    outcomes = [survey() for _ in range(surveys)]
    for max_error, of_error in zip(MAX_ERRORS, zip(*outcomes, strict=True), strict=True):
        truth = np.array([outcome.truth for outcome in of_error])
        own = np.array([outcome.own for outcome in of_error])
        accepted = np.array([outcome.accepted for outcome in of_error])
        # NaN compares as not larger: a survey without a promise breaks none.
        print(
            f"{name:<32} at most {max_error:.0%}: broken {np.mean(truth > max_error):.3f}, in the own photos "
            f"{np.mean(own > max_error):.3f}; accepted {accepted.mean():.3f}; no promise {np.mean(accepted == 0):.3f}",
            flush=True,
        )


def main() -> None:
    """Print a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path, nargs="?")
    parser.add_argument("--surveys", type=int, default=2_000)
    parser.add_argument("--labelled", type=int, nargs="+", default=[300, 800])
    parser.add_argument("--photos", type=int, default=3_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    if options.outputs is None:
        for name, curve in CURVES.items():
            for labelled in options.labelled:
                survey = partial(from_curve, rng, curve, labelled=labelled, photos=options.photos)
                told(f"{name}, {labelled} labelled", options.surveys, survey)
        return
    # One deal into folds instead of ten: thousands of choices are made here.
    confidence.REPEATS = 1
    with np.load(options.outputs) as file:
        pool = (
            np.concatenate([file["val_logits"], file["test_logits"]]),
            np.concatenate([file["val_labels"], file["test_labels"]]),
        )
    for labelled in options.labelled:
        told(
            f"network, {labelled} labelled",
            options.surveys,
            partial(from_network, rng, pool, labelled=labelled, photos=options.photos),
        )


if __name__ == "__main__":
    main()
