"""Two runs on the same images: which is better, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahekit.errors import RunError
from ahekit.evaluation.intervals import (
    Interval,
    affordable_samples,
    bootstrap,
    centred_interval,
    paired_share_interval,
    percentile_interval,
    student_quantile,
)
from ahekit.evaluation.metrics import class_scores, macro_f1
from ahekit.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

FIGURES = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class Difference:
    """A figure of two runs on the same images: second minus first, with its paired 95 % interval."""

    first: float
    second: float
    interval: Interval

    @property
    def value(self) -> float:
        """Second minus first."""
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """Two runs on the images they share.

    Attributes:
        figures: Those of `FIGURES`.
        f1: By class, in the order of the class names; None for a class without images.
        only_first: Images that the first alone predicts correctly, as indices; `only_second` likewise.
        p_value: Exact McNemar test of equal accuracy.
    """

    figures: dict[str, Difference]
    f1: tuple[Difference | None, ...]
    only_first: NDArray[np.int64]
    only_second: NDArray[np.int64]
    p_value: float


def shared_images(runs: dict[str, Predictions]) -> dict[str, Predictions]:
    """Every run's predictions on the images of known class that all of them have, in one order of images and classes.

    Raises:
        RunError: The runs know different classes, share no image, or give an image different true labels.
    """
    first_name, first = next(iter(runs.items()))
    shared = set(first.ids)
    for name, predictions in runs.items():
        if set(predictions.class_names) != set(first.class_names):
            other = sorted(set(predictions.class_names) ^ set(first.class_names))
            raise RunError(
                f"{first_name} and {name} know different classes ({', '.join(other)}); compare runs of one task"
            )
        shared &= {sample for sample, label in zip(predictions.ids, predictions.labels, strict=True) if label >= 0}
    if not shared:
        raise RunError(f"{', '.join(runs)}: no test image is common to them; compare runs on one dataset")
    order = [sample for sample in first.ids if sample in shared]
    arranged = {name: _arranged(predictions, order, first.class_names) for name, predictions in runs.items()}
    for name, predictions in arranged.items():
        differing = np.flatnonzero(predictions.labels != arranged[first_name].labels)
        if len(differing):
            raise RunError(
                f"{first_name} and {name} have different true labels for {len(differing):,d} images, "
                f"{order[differing[0]]} first; compare runs on one dataset"
            )
    return arranged


def compare(first: Predictions, second: Predictions, *, samples: int = 10_000, seed: int = 0) -> Comparison:
    """Compare two runs' predictions on the same images, in the same order.

    Pairs of answers are drawn anew within their class, so what is hard for both cancels out.

    Source of the test: Q. McNemar, Note on the Sampling Error of the Difference between Correlated Proportions or
    Percentages (1947), https://doi.org/10.1007/BF02295996; its exact form is a binomial test.

    Raises:
        ValueError: The images or their order differ.
    """
    if first.ids != second.ids:
        raise ValueError("the two runs' images differ; see shared_images")
    first_is_right = first.predicted == first.labels
    second_is_right = second.predicted == second.labels
    only_first = np.flatnonzero(first_is_right & ~second_is_right)
    only_second = np.flatnonzero(second_is_right & ~first_is_right)
    # Images that both have right or both have wrong say nothing of which is better; of the others, two networks of
    # equal accuracy have half each.
    discordant = len(only_first) + len(only_second)
    p_value = _sign_test(min(len(only_first), len(only_second)), discordant)
    whole, resamples = _paired_scores(first, second, samples=samples, seed=seed)
    moves = resamples[:, 1] - resamples[:, 0]
    figures = {}
    for place, figure in enumerate(FIGURES):
        one, other = whole[:, place].tolist()
        if figure == "accuracy":
            interval = paired_share_interval(len(only_first), len(only_second), len(first.ids))
        else:
            interval = centred_interval(moves[:, place], other - one, lowest=-1.0)
        figures[figure] = Difference(one, other, interval)
    support = np.bincount(first.labels, minlength=len(first.class_names))
    by_class: list[Difference | None] = []
    for place, images in enumerate(support, start=len(FIGURES)):
        one, other = whole[:, place].tolist()
        interval = percentile_interval(moves[:, place], other - one)
        by_class.append(Difference(one, other, interval) if images else None)
    return Comparison(
        figures=figures,
        f1=tuple(by_class),
        only_first=only_first,
        only_second=only_second,
        p_value=p_value,
    )


def _sign_test(rarer: int, total: int) -> float:
    """Two-sided p-value of so few or fewer on the rarer side, where either side is as likely."""
    from scipy.special import bdtr  # scipy.stats has it too, and takes a second to import

    return min(1.0, 2 * float(bdtr(rarer, total, 0.5))) if total else 1.0


def _paired_scores(first: Predictions, second: Predictions, *, samples: int, seed: int) -> tuple[Floats, Floats]:
    """Both runs' `FIGURES` and F1 by class on all images, `(2, 3 + C)`, and on resamples, `(samples, 2, 3 + C)`."""
    size = len(first.class_names)
    # A row per true class, a column per pair of answers: drawing from it draws images with both runs' answers, without
    # touching the images again. Of the C^2 columns only those are kept that occur or that the prior lets occur.
    cells = first.labels * size**2 + first.predicted * size + second.predicted
    pairs = np.bincount(cells, minlength=size**3).reshape(size, size**2)
    all_priors = _pair_prior(size)
    columns = np.flatnonzero((pairs + all_priors).sum(axis=0))
    counts = pairs[:, columns]
    prior = all_priors[:, columns]
    # Which class either run predicts in a column, one-hot `(columns, C)`: what a drawn table is multiplied with to sum
    # up either run's own confusion matrix.
    one_hots = [np.eye(size)[columns // size], np.eye(size)[columns % size]]

    def both(draws: NDArray[np.int64]) -> Floats:
        # As floats, because NumPy multiplies integers without BLAS, many times slower; the sums are whole all the same.
        weights = draws.astype(np.float64)
        return np.stack([_scores(np.rint(weights @ one_hot)) for one_hot in one_hots], axis=1)

    samples = affordable_samples(samples, max(size, int(np.sqrt(counts.size))))
    return both(counts[None])[0], bootstrap(counts, prior, both, samples=samples, seed=seed)


def _scores(counts: Floats) -> Floats:
    """`FIGURES` and F1 by class, `(B, 3 + C)`, from confusion counts `(B, C, C)`."""
    _, recall, f1 = class_scores(counts)
    supported = counts[0].sum(axis=1) > 0
    accuracy = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
    return np.column_stack([accuracy, recall[:, supported].mean(axis=1), macro_f1(counts), f1])


def _pair_prior(size: int) -> Floats:
    """Images added to each pair of answers before drawing, `(C, C^2)`.

    A quarter of an image of each true class goes to each of four outcomes: both right, only the first, only the second,
    and both wrong, then alike.
    """
    prior = np.zeros((size, size, size))
    share = 0.25 / max(size - 1, 1)
    for label in range(size):
        wrong = np.delete(np.arange(size), label)
        prior[label, label, label] = 0.25
        prior[label, label, wrong] = share
        prior[label, wrong, label] = share
        prior[label, wrong, wrong] = share
    return prior.reshape(size, size**2)


def _arranged(predictions: Predictions, order: list[str], class_names: tuple[str, ...]) -> Predictions:
    row_of = {sample: row for row, sample in enumerate(predictions.ids)}
    rows = np.array([row_of[sample] for sample in order])
    columns = np.array([predictions.class_names.index(name) for name in class_names])
    new_index = np.empty(len(class_names), dtype=np.int64)  # of each class by its old index
    new_index[columns] = np.arange(len(class_names))
    labels = new_index[predictions.labels[rows]]
    return Predictions(tuple(order), labels, predictions.logits[np.ix_(rows, columns)], class_names)


@dataclass(frozen=True)
class GroupDifference:
    """The difference of two means over seeds: second minus first, by Welch's t test.

    Attributes:
        interval: 95 % of the difference, over training anew; None where either has one seed alone.
        p_value: Two-sided, of equal means; None likewise.
    """

    value: float
    interval: Interval | None
    p_value: float | None


def group_difference(first: list[float], second: list[float]) -> GroupDifference:
    """Compare a figure of two specs over their seeds, whose spreads may differ.

    Source: B. L. Welch, The Generalization of "Student's" Problem when Several Different Population Variances are
    Involved (1947), https://doi.org/10.1093/biomet/34.1-2.28.
    """
    from scipy.special import stdtr

    value = float(np.mean(second) - np.mean(first))
    if min(len(first), len(second)) < 2 or np.std(first) + np.std(second) == 0:
        # Seeds that agree to the last image say nothing of how far another would be: there is no spread to go by.
        return GroupDifference(value, None, None)
    variances = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    # Welch and Satterthwaite: as many degrees of freedom as a sum of these two variances is known to.
    freedom = sum(variances) ** 2 / sum(
        variance**2 / (len(values) - 1) for variance, values in zip(variances, (first, second), strict=True)
    )
    error = math.sqrt(sum(variances))
    half = student_quantile(freedom) * error
    interval = Interval(value - half, value + half, f"Welch's t, {len(first)} and {len(second)} seeds")
    return GroupDifference(value, interval, 2 * float(stdtr(freedom, -abs(value) / error)))


@dataclass(frozen=True)
class SeedSpread:
    """A figure over the seeds of one spec.

    Attributes:
        deviation: Sample standard deviation; None for one seed.
        interval: 95 % of the mean, by Student's t; None for one seed, and for seeds that agree to the last image.
    """

    mean: float
    deviation: float | None
    interval: Interval | None


def seed_spread(values: list[float]) -> SeedSpread:
    """Mean, standard deviation and interval of the mean over seeds, as if they were independent draws."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return SeedSpread(mean, None, None)
    deviation = float(np.std(values, ddof=1))
    if deviation == 0:
        return SeedSpread(mean, 0.0, None)
    half = student_quantile(len(values) - 1) * deviation / math.sqrt(len(values))
    return SeedSpread(mean, deviation, Interval(mean - half, mean + half, f"Student's t, {len(values)} seeds"))
