"""Which score ranks a network's answers best, how well it is calibrated, and what promises gave on test.

    python tests/benchmarks/confidence.py OUTPUTS.npz        outputs from `outputs.py`

Scores are compared by the area under risk-coverage: on validation by cross-validation, which chooses, and on test with
its 95 % interval. Then calibration on test: the largest probability as it is, after temperature scaling, and the
confidence that `ahekit predict` tells. Then, for several largest errors, what validation promised and test gave, with
and without setting unknown pictures apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahekit.errors import AhekitError
from ahekit.evaluation.calibration import Confidences, fit_temperature, reliability
from ahekit.evaluation.confidence import area_interval, compare_scores, risk_coverage_area, scaled_probabilities
from ahekit.evaluation.intervals import wilson_interval
from ahekit.evaluation.predictions import Predictions
from ahekit.prediction.deciding import Decider, Rule, fit_deciding

MAX_ERRORS = (0.01, 0.02, 0.03, 0.05)


def told(name: str, confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> None:
    """Print how well a confidence is calibrated."""
    ece = reliability(Confidences(confidence, is_right)).ece
    loss = -np.log(np.where(is_right, confidence, 1 - confidence)).mean()
    brier = ((confidence - is_right) ** 2).mean()
    print(
        f"{name:<24} mean {confidence.mean():.3f} (right {is_right.mean():.3f}), ECE {ece:.4f}, Brier {brier:.4f}, "
        f"log loss of being right {loss:.4f}"
    )


def main() -> None:
    """Print a line for each score, each confidence and each promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path)
    options = parser.parse_args()
    with np.load(options.outputs) as file:
        names = tuple(file["class_names"].tolist())
        parts = {
            f"{part}_{what}": file[f"{part}_{what}"]
            for part in ("train", "val", "test")
            for what in ("logits", "labels", "embeddings")
        }
    logits = parts["test_logits"]
    is_right = logits.argmax(axis=1) == parts["test_labels"]
    wrong = int((parts["val_logits"].argmax(axis=1) != parts["val_labels"]).sum())
    print(f"validation {len(parts['val_labels'])}, {wrong} wrong; test {len(is_right)}, {(~is_right).sum()} wrong")
    for trial in compare_scores(parts["val_logits"], parts["val_labels"]):
        scores = trial.score(logits)
        interval = area_interval(scores, is_right)
        print(
            f"{trial.score.name:<24} validation {trial.area:.5f}, test {risk_coverage_area(scores, is_right):.5f} "
            f"({interval.low:.5f}–{interval.high:.5f})"
        )
    validation = Predictions(("",) * len(parts["val_labels"]), parts["val_labels"], parts["val_logits"], names)
    for name, temperature in (("largest probability", 1.0), ("after temperature", fit_temperature(validation))):
        told(name, scaled_probabilities(logits, temperature).max(axis=1), is_right)
    decider = Decider(*fit_deciding(**parts, class_names=names), names)
    everything = decider.accept(Rule(min_confidence=0.0, known_kept=1.0))
    told("confidence", decider.decide(logits, parts["test_embeddings"], everything).confidence, is_right)
    for known_kept in (1.0, 0.95):
        for max_error in MAX_ERRORS:
            try:
                acceptance = decider.accept(Rule(max_error=max_error, known_kept=known_kept))
            except AhekitError as error:
                print(f"known kept {known_kept:.2f}: {error}")
                continue
            decisions = decider.decide(logits, parts["test_embeddings"], acceptance)
            sure = decisions.state == "sure"
            mistakes = int((sure & ~is_right).sum())
            print(
                f"known kept {known_kept:.2f}, at most {max_error:.0%}: test {sure.mean():.3f} sure, {mistakes} of "
                f"{sure.sum()} wrong ({mistakes / sure.sum():.4f}, {wilson_interval(mistakes, int(sure.sum()))})"
            )
            print("  " + " ".join(acceptance.sentences))


if __name__ == "__main__":
    main()
