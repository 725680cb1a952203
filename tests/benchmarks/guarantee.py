"""How often a guarantee is broken: simulated surveys of which the truth is known.

    python tests/benchmarks/guarantee.py                 mistakes drawn from curves
    python tests/benchmarks/guarantee.py OUTPUTS.npz     mistakes of a network (from `outputs.py`)
    [--surveys 2000] [--photos 3000]

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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation import confidence
from ahekit.evaluation.confidence import compare_scores
from ahekit.evaluation.guarantee import Guarantee, guaranteed_threshold

Floats = NDArray[np.float64]
SURETY = 0.95
CURVES = {"few hard ones": (0.002, 0.35, 6), "mislabelled ones": (0.005, 0.35, 6), "gradual": (0.001, 0.2, 3)}


@dataclass(frozen=True)
class Outcome:
    """Of one survey: the true share of mistakes and the survey's own, NaN where nothing was promised."""

    accepted: float
    truth: float
    own: float


def from_curve(
    rng: np.random.Generator, curve: tuple[float, float, int], *, labelled: int, photos: int, max_error: float
) -> Outcome:
    """A survey whose mistakes follow a curve."""
    floor, height, power = curve
    places = rng.random(labelled)
    is_right = rng.random(labelled) >= floor + height * places**power
    result = guaranteed_threshold(-places, is_right, max_error=max_error, surety=SURETY)
    if not isinstance(result, Guarantee):
        return Outcome(0.0, np.nan, np.nan)
    share = -result.threshold
    own = rng.random(photos)
    own = own[own <= share]
    wrong = rng.random(len(own)) < floor + height * own**power
    return Outcome(share, floor + height * share**power / (power + 1), float(wrong.mean()) if len(own) else 0.0)


def from_network(
    rng: np.random.Generator,
    pool: tuple[NDArray[np.float32], NDArray[np.int64]],
    *,
    labelled: int,
    photos: int,
    max_error: float,
) -> Outcome:
    """A survey whose images are drawn from a network's."""
    logits, labels = pool
    drawn = rng.integers(0, len(labels), labelled)
    score = compare_scores(logits[drawn], labels[drawn])[0].score
    scores = score(logits)
    is_right = logits.argmax(axis=1) == labels
    result = guaranteed_threshold(scores[drawn], is_right[drawn], max_error=max_error, surety=SURETY)
    if not isinstance(result, Guarantee):
        return Outcome(0.0, np.nan, np.nan)
    accepted = scores >= result.threshold
    own = rng.integers(0, len(labels), photos)
    own = own[accepted[own]]
    wrong = ~is_right
    return Outcome(float(accepted.mean()), float(wrong[accepted].mean()), float(wrong[own].mean()) if len(own) else 0.0)


def told(name: str, surveys: int, survey: Callable[[], Outcome], max_error: float) -> None:
    """Print a line for a setting."""
    outcomes = [survey() for _ in range(surveys)]
    truth = np.array([outcome.truth for outcome in outcomes])
    own = np.array([outcome.own for outcome in outcomes])
    accepted = np.array([outcome.accepted for outcome in outcomes])
    # NaN compares as not larger: a survey without a promise breaks none.
    print(
        f"{name:<36} at most {max_error:.0%}: broken {np.mean(truth > max_error):.3f}, in the own photos "
        f"{np.mean(own > max_error):.3f}; accepted {accepted.mean():.3f}; no promise {np.mean(accepted == 0):.3f}",
        flush=True,
    )


def main() -> None:
    """Print a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path, nargs="?")
    parser.add_argument("--surveys", type=int, default=2_000)
    parser.add_argument("--photos", type=int, default=3_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    if options.outputs is None:
        for name, curve in CURVES.items():
            for labelled in (300, 800):
                for max_error in (0.02, 0.05):
                    told(
                        f"{name}, {labelled} labelled",
                        options.surveys,
                        lambda curve=curve, labelled=labelled, max_error=max_error: from_curve(
                            rng, curve, labelled=labelled, photos=options.photos, max_error=max_error
                        ),
                        max_error,
                    )
        return
    # One deal into folds instead of ten: thousands of choices are made here.
    confidence.REPEATS = 1
    with np.load(options.outputs) as file:
        logits = np.concatenate([file["val_logits"], file["test_logits"]])
        labels = np.concatenate([file["val_labels"], file["test_labels"]])
    for labelled in (300, 800):
        for max_error in (0.02, 0.05):
            told(
                f"network, {labelled} labelled",
                options.surveys,
                lambda labelled=labelled, max_error=max_error: from_network(
                    rng, (logits, labels), labelled=labelled, photos=options.photos, max_error=max_error
                ),
                max_error,
            )


if __name__ == "__main__":
    main()
