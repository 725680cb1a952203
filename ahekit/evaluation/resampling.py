"""One stratified resampling of the images behind every figure of a classifier that adds up over them.

The images of each true class are drawn with replacement, as many as there are, and every figure is computed on the
same draw: intervals of one run are paired with each other. Where there are more than 20,000 images, those of one true
class, one answer and nearly one loss are drawn together (64 groups by loss a class), which keeps an interval's
width within a tenth of that of single draws (tested) and makes the time independent of the number of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.intervals import Interval, affordable_samples, percentile_interval
from ahekit.evaluation.metrics import class_scores, log_losses
from ahekit.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

TOP = 3
FIGURES = ("accuracy", "balanced_accuracy", "top3", "macro_f1", "kappa", "log_loss")
CLASS_FIGURES = ("precision", "recall", "f1")
_SINGLE_IMAGES = 20_000  # up to so many, every image is drawn by itself
_LOSS_GROUPS = 64
_CHUNK_CELLS = 4_000_000


@dataclass(frozen=True)
class Resampled:
    """Figures on all images and on resamples of them.

    Attributes:
        values: By figure: a number, or `(C,)` for a figure by class. "top3" is left out up to three classes.
        draws: By figure: `(B,)` or `(B, C)`.
    """

    values: Mapping[str, Floats]
    draws: Mapping[str, Floats]

    @property
    def samples(self) -> int:
        """How many resamples were drawn."""
        return len(self.draws["accuracy"])

    def interval(self, figure: str, class_index: int | None = None) -> Interval:
        """A figure's 95 % interval; for a figure by class, that of one class."""
        draws = self.draws[figure]
        return percentile_interval(draws if class_index is None else draws[:, class_index])


@dataclass(frozen=True)
class _Groups:
    """The images of one true class in groups that are drawn as one: `(groups,)` each.

    Attributes:
        sizes: Images.
        predicted: Their predicted class.
        in_top: 1 where the true class is among the first `TOP`, else 0.
        losses: Their mean loss, in nats.
    """

    label: int
    sizes: NDArray[np.int64]
    predicted: NDArray[np.int64]
    in_top: Floats
    losses: Floats


def resample(predictions: Predictions, *, samples: int = 10_000, seed: int = 0) -> Resampled:
    """Figures of a split with their bootstrap distribution; images of unknown class are left out.

    Args:
        samples: Resamples; fewer beyond 200 classes.

    Source: B. Efron, Bootstrap Methods: Another Look at the Jackknife (1979),
    https://doi.org/10.1214/aos/1176344552.

    Raises:
        ValueError: No image has a known class.
    """
    groups = _groups(predictions)
    if not groups:
        raise ValueError("no image of known class to measure")
    num_classes = len(predictions.class_names)
    whole = _figures(groups, [group.sizes[None] for group in groups], num_classes)
    generator = np.random.default_rng(seed)
    samples = affordable_samples(samples, num_classes)
    chunk = max(1, _CHUNK_CELLS // max(num_classes**2, *(len(group.sizes) for group in groups)))
    parts = []
    for start in range(0, samples, chunk):
        chunk_draws = [_draw(generator, group, min(chunk, samples - start)) for group in groups]
        parts.append(_figures(groups, chunk_draws, num_classes))
    draws = {figure: np.concatenate([part[figure] for part in parts]) for figure in whole}
    return Resampled({figure: values[0] for figure, values in whole.items()}, draws)


def in_top(logits: NDArray[np.float32], labels: NDArray[np.int64], top: int = TOP) -> NDArray[np.bool_]:
    """Whether each image's true class is among the `top` largest logits `(N, C)`; of equal ones the first counts."""
    own = logits[np.arange(len(labels)), labels][:, None]
    comes_first = np.arange(logits.shape[1]) < labels[:, None]
    is_above = (logits > own) | ((logits == own) & comes_first)
    hits: NDArray[np.bool_] = is_above.sum(axis=1) < top
    return hits


def kappa(counts: NDArray[np.int64]) -> Floats:
    """Cohen's kappa, `(...)`, from confusion counts `(..., C, C)`; NaN where chance alone agrees always.

    Source: J. Cohen, A Coefficient of Agreement for Nominal Scales (1960), https://doi.org/10.1177/001316446002000104.
    """
    total = counts.sum(axis=(-2, -1)).astype(np.float64)
    agreement = np.trace(counts, axis1=-2, axis2=-1) / total
    true_shares = counts.sum(axis=-1) / total[..., None]
    predicted_shares = counts.sum(axis=-2) / total[..., None]
    chance = (true_shares * predicted_shares).sum(axis=-1)
    room = 1 - chance
    value: Floats = np.divide(agreement - chance, room, out=np.full_like(room, np.nan), where=room > 0)
    return value


def _groups(predictions: Predictions) -> list[_Groups]:
    is_labelled = predictions.labels >= 0
    labels = predictions.labels[is_labelled]
    logits = predictions.logits[is_labelled]
    predicted = predictions.predicted[is_labelled]
    losses = log_losses(logits, labels)
    hits = in_top(logits, labels)
    by_loss = len(labels) > _SINGLE_IMAGES
    groups = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        groups.append(_grouped(int(label), predicted[own], hits[own], losses[own], by_loss=by_loss))
    return groups


def _grouped(
    label: int, predicted: NDArray[np.int64], hits: NDArray[np.bool_], losses: Floats, *, by_loss: bool
) -> _Groups:
    """The images of one class in groups of one answer and, by their rank in loss, nearly one loss."""
    ranks = np.empty(len(losses), dtype=np.int64)
    ranks[np.argsort(losses, kind="stable")] = np.arange(len(losses))
    # By rank and not by value, the groups are of equal size whatever the losses' spread: in bins of equal width a few
    # very wrong images would stretch the scale, and nearly all others would fall into one bin. Ranks as they are put
    # every image in a group of its own.
    bins = ranks * _LOSS_GROUPS // len(losses) if by_loss else ranks
    _, first, member, sizes = np.unique(
        np.stack([predicted, hits, bins]), axis=1, return_index=True, return_inverse=True, return_counts=True
    )
    mean_losses = np.bincount(member.ravel(), weights=losses) / sizes
    return _Groups(label, sizes.astype(np.int64), predicted[first], hits[first].astype(np.float64), mean_losses)


def _draw(generator: np.random.Generator, group: _Groups, samples: int) -> NDArray[np.int64]:
    total = int(group.sizes.sum())
    draws: NDArray[np.int64] = generator.multinomial(total, group.sizes / total, size=samples)
    return draws


def _figures(groups: list[_Groups], draws: list[NDArray[np.int64]], num_classes: int) -> dict[str, Floats]:
    """Every figure on each of B draws of how often each group was taken, `(B, groups)` by true class."""
    counts = np.zeros((len(draws[0]), num_classes, num_classes), dtype=np.int64)
    loss = np.zeros(len(draws[0]))
    hits = np.zeros(len(draws[0]))
    for group, own_draws in zip(groups, draws, strict=True):
        # As floats, because NumPy multiplies integers without BLAS, many times slower; the sums are whole all the same.
        weights = own_draws.astype(np.float64)
        counts[:, group.label] = np.rint(weights @ np.eye(num_classes)[group.predicted])
        loss += weights @ group.losses
        hits += weights @ group.in_top
    total = counts[0].sum()
    precision, recall, f1 = class_scores(counts)
    has_images = counts[0].sum(axis=1) > 0
    figures = {
        "accuracy": np.trace(counts, axis1=1, axis2=2) / total,
        "balanced_accuracy": recall[:, has_images].mean(axis=1),
        "top3": hits / total,
        "macro_f1": f1[:, has_images].mean(axis=1),
        "kappa": kappa(counts),
        "log_loss": loss / total,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
    return {name: values for name, values in figures.items() if name != "top3" or num_classes > TOP}
