"""How sure an answer is: scores that rank answers by how likely they are right, and a score as a probability.

Four scores are tried, since training with soft targets (label smoothing, mixing) spoils the ranking by the largest
probability: G. Xia, O. Laurent, G. Franchi, C.-S. Bouganis, Towards Understanding Why Label Smoothing Degrades
Selective Classification and How to Fix It (2024), https://arxiv.org/abs/2403.14715. The one under whose order the area
under the risk-coverage curve is least, measured by cross-validation, is kept and made a probability of being right by
a logistic curve, which keeps the order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.calibration import fit_temperature
from ahekit.evaluation.intervals import CONFIDENCE, Interval
from ahekit.evaluation.predictions import Predictions, softmax

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ScoreName = Literal["probability", "logit_norm", "energy", "margin"]
SCORE_NAMES: tuple[ScoreName, ...] = get_args(ScoreName)

NORMS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
"""Exponents p of the norm that logits are divided by, of which validation chooses."""

FOLDS = 5
REPEATS = 10
"""Times that the images are dealt into folds anew: one deal of a few dozen mistakes decides too much by chance."""

MOST_TRIED = 20_000
"""Images that scores are compared on, drawn at random where there are more: enough to tell them apart."""

_LOWEST = 104.0  # below the largest logit: exp(-104) is 0 in 32-bit precision
_RESAMPLES = 1_000
_MOST_DRAWS = 20_000_000  # images drawn in all resamples together: a few seconds


@dataclass(frozen=True)
class Score:
    """A score of every answer: the higher, the more likely it is right.

    Attributes:
        name: "probability": the largest probability, as log odds, which resolve what rounds to 1; "logit_norm": the
            largest logit above their mean, divided by the p-norm of all logits above their mean; "energy": logarithm of
            the summed exponentials; "margin": the largest logit less the second.
        temperature: Divides the logits for "probability" and "energy".
        norm: The exponent p of "logit_norm".

    Sources: logit_norm: L. F. P. Cattelan, D. Silva, How to Fix a Broken Confidence Estimator: Evaluating Post-hoc
    Methods for Selective Classification with Deep Neural Networks (2023), https://arxiv.org/abs/2305.15508; energy:
    W. Liu, X. Wang, J. D. Owens, Y. Li, Energy-based Out-of-distribution Detection (2020),
    https://arxiv.org/abs/2010.03759.

    Example:
        >>> logits = np.array([[3.0, 1.0, -4.0]])
        >>> float(Score("margin")(logits)[0]), float(Score("logit_norm", norm=1.0)(logits)[0])
        (2.0, 0.375)
    """

    name: ScoreName
    temperature: float = 1.0
    norm: float = 2.0

    def __call__(self, logits: NDArray[np.floating]) -> Floats:
        """Of logits `(N, C)`, two classes or more: `(N,)`."""
        values = finite_logits(logits)
        if self.name == "energy":
            return _log_sum_exp(values / self.temperature)
        if self.name == "logit_norm":
            centred = values - values.mean(axis=1, keepdims=True)
            # Divided by the largest first: powers of logits overflow no more.
            sizes = np.abs(centred).max(axis=1, keepdims=True)
            shares = np.divide(centred, sizes, out=np.zeros_like(centred), where=sizes > 0)
            norms = (np.abs(shares) ** self.norm).sum(axis=1) ** (1 / self.norm)
            largest: Floats = shares.max(axis=1)
            return np.asarray(np.divide(largest, norms, out=np.zeros_like(largest), where=norms > 0))
        ordered = np.sort(values / (self.temperature if self.name == "probability" else 1.0), axis=1)
        if self.name == "margin":
            return np.asarray(ordered[:, -1] - ordered[:, -2])
        return np.asarray(ordered[:, -1] - _log_sum_exp(ordered[:, :-1]))


@dataclass(frozen=True)
class Calibration:
    """The probability of being right as a logistic curve of a score, never nearer to 0 or 1 than the data carry.

    Attributes:
        slope: Above 0, so that the order of the scores stays.
        intercept: In units of log odds.
        images: It was fitted on; after n images of which all were right, the next is right with (n + 1) / (n + 2), by
            Laplace's rule of succession, and nothing is surer than that.
    """

    slope: float
    intercept: float
    images: int

    def __call__(self, scores: Floats) -> Floats:
        """Confidence of scores `(N,)`: `(N,)` in (0, 1)."""
        share = 0.5 * (1 + np.tanh(0.5 * (self.slope * scores + self.intercept)))
        return np.asarray((self.images * share + 1) / (self.images + 2))


@dataclass(frozen=True)
class Trial:
    """A score as cross-validation found it.

    Attributes:
        score: Fitted on all images.
        area: Under the risk-coverage curve on images it was not fitted on, mean over folds and repeats.
    """

    score: Score
    area: float


def finite_logits(logits: NDArray[np.floating]) -> Floats:
    """Logits with minus infinity, the logarithm of a probability that is 0, as the lowest that is still a number."""
    values = logits.astype(np.float64)
    lowest = values.max(axis=1, keepdims=True) - _LOWEST
    return np.where(np.isneginf(values), lowest, values)


def are_log_probabilities(logits: NDArray[np.floating]) -> bool:
    """Whether logits are logarithms of probabilities, as averages of several views are: their energy is always 0."""
    return bool(np.abs(_log_sum_exp(finite_logits(logits))).max(initial=0.0) < 1e-3)


def score_names(logits: NDArray[np.floating]) -> list[ScoreName]:
    """The scores that these logits allow, the simplest first."""
    return [name for name in SCORE_NAMES if name != "energy" or not are_log_probabilities(logits)]


def fit_score(name: ScoreName, logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Score:
    """A score with what of it is fitted: the temperature by log loss, the norm by the area under risk-coverage."""
    if name == "probability":
        names = tuple(map(str, range(logits.shape[1])))
        whole = Predictions(("",) * len(labels), labels, finite_logits(logits).astype(np.float32), names)
        return Score(name, temperature=fit_temperature(whole))
    if name == "logit_norm":
        is_right = logits.argmax(axis=1) == labels
        candidates = [Score(name, norm=norm) for norm in NORMS]
        return min(candidates, key=lambda score: risk_coverage_area(score(logits), is_right))
    return Score(name)


def compare_scores(logits: NDArray[np.floating], labels: NDArray[np.int64], *, seed: int = 0) -> list[Trial]:
    """Every score that these logits allow, the best first; of equals the simpler.

    Args:
        logits: `(N, C)` of images that the network has not learned from.
        labels: `(N,)`, true class indices.
    """
    if len(logits) > MOST_TRIED:
        chosen = np.random.default_rng(seed).permutation(len(logits))[:MOST_TRIED]
        return compare_scores(logits[chosen], labels[chosen], seed=seed)
    is_right = logits.argmax(axis=1) == labels
    rng = np.random.default_rng(seed)
    deals = [fold for _ in range(REPEATS) for fold in _folds(is_right, rng)]
    trials = []
    for name in score_names(logits):
        areas = []
        for is_held_out in deals:
            score = fit_score(name, logits[~is_held_out], labels[~is_held_out])
            areas.append(risk_coverage_area(score(logits[is_held_out]), is_right[is_held_out]))
        whole = fit_score(name, logits, labels)
        # Too few images for folds: the order of the names is that of simplicity.
        trials.append(Trial(whole, float(np.mean(areas)) if areas else risk_coverage_area(whole(logits), is_right)))
    return sorted(trials, key=lambda trial: trial.area)


def _folds(is_right: Bools, rng: np.random.Generator) -> Iterator[Bools]:
    """Which images are held out, once for each of five parts with equally many mistakes; none for fewer than ten."""
    if len(is_right) < 2 * FOLDS:
        return
    order = rng.permutation(len(is_right))
    order = order[np.argsort(is_right[order], kind="stable")]
    part = np.empty(len(order), dtype=np.int64)
    part[order] = np.arange(len(order)) % FOLDS
    for number in range(FOLDS):
        yield part == number


def risk_coverage_area(scores: Floats, is_right: Bools) -> float:
    """Mean share of mistakes among the surest 1, 2 … N answers; 0 is perfect, the error rate is what chance gives.

    Answers of one score come in any order: each counts as the mean of these.

    Source: Y. Geifman, R. El-Yaniv, Selective Classification for Deep Neural Networks (2017),
    https://arxiv.org/abs/1705.08500.

    Example:
        >>> risk_coverage_area(np.array([3.0, 2.0, 1.0]), np.array([True, True, False]))
        0.1111111111111111
    """
    mistakes = _mistakes_in_order(scores, is_right)
    return float((np.cumsum(mistakes) / np.arange(1, len(mistakes) + 1)).mean()) if len(mistakes) else 0.0


def area_interval(scores: Floats, is_right: Bools, *, seed: int = 0) -> Interval:
    """95 % interval of `risk_coverage_area` by the bootstrap over images."""
    mistakes = _mistakes_in_order(scores, is_right)
    images = len(mistakes)
    rng = np.random.default_rng(seed)
    resamples = max(100, min(_RESAMPLES, _MOST_DRAWS // max(images, 1)))
    areas = np.empty(resamples)
    for number in range(resamples):
        # How often each image is drawn; the order of the scores stays what it was.
        draws = np.bincount(rng.integers(0, images, images), minlength=images)
        surest = np.cumsum(draws)
        risks = np.cumsum(draws * mistakes) / np.maximum(surest, 1)
        areas[number] = (draws * risks).sum() / images
    low, high = np.quantile(areas, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high), f"bootstrap, {resamples:,d} resamples")


def _mistakes_in_order(scores: Floats, is_right: Bools) -> Floats:
    """1 for a mistake and 0 for none, the surest first; answers of one score share their mistakes evenly."""
    order = np.argsort(-scores, kind="stable")
    _, tie, sizes = np.unique(-scores[order], return_inverse=True, return_counts=True)
    sums = np.bincount(tie, weights=~is_right[order], minlength=len(sizes))
    return np.asarray((sums / sizes)[tie])


def fit_calibration(scores: Floats, is_right: Bools) -> Calibration:
    """The logistic curve of least log loss, with Platt's targets, which keep it finite where nothing is wrong.

    Source: J. C. Platt, Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood
    Methods (1999); solved as in H.-T. Lin, C.-J. Lin, R. C. Weng, A Note on Platt's Probabilistic Outputs for Support
    Vector Machines (2007), https://doi.org/10.1007/s10994-007-5018-6.
    """
    images = len(scores)
    right = int(is_right.sum())
    targets = np.where(is_right, (right + 1) / (right + 2), 1 / (images - right + 2))
    centre = float(scores.mean())
    spread = float(scores.std()) or 1.0
    inputs = np.stack([(scores - centre) / spread, np.ones(images)], axis=1)
    weights = np.zeros(2)
    for _ in range(100):
        shares = 0.5 * (1 + np.tanh(0.5 * (inputs @ weights)))
        gradient = inputs.T @ (shares - targets)
        curvature = (inputs * (shares * (1 - shares))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        # A step of Newton's may overshoot where the curve is flat.
        weights -= step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    # A score that says nothing, or the opposite, still keeps its order.
    slope = max(float(weights[0]), 1e-3) / spread
    return Calibration(slope, float(weights[1]) - slope * centre, images)


def runner_up_confidence(confidence: Floats, probabilities: Floats) -> Floats:
    """Of the second class: its part of what the first leaves, never more than the first has; `(N,)`.

    Args:
        confidence: In the first, `(N,)`.
        probabilities: Of all classes, `(N, C)`.
    """
    ordered = np.sort(probabilities, axis=1)
    others = ordered[:, :-1].sum(axis=1)
    share = np.divide(ordered[:, -2], others, out=np.zeros_like(others), where=others > 0)
    return np.asarray(np.minimum((1 - confidence) * share, confidence))


def scaled_probabilities(logits: NDArray[np.floating], temperature: float) -> Floats:
    """Softmax of logits `(N, C)` divided by a temperature."""
    return softmax(finite_logits(logits) / temperature)


def _log_sum_exp(values: Floats) -> Floats:
    largest = values.max(axis=1, keepdims=True)
    return np.asarray(largest[:, 0] + np.log(np.exp(values - largest).sum(axis=1)))
