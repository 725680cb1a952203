"""Where the network is surest and wrong: top losses, likely label errors among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ahekit import protocols
from ahekit.evaluation.metrics import log_losses
from ahekit.evaluation.predictions import Predictions, take
from ahekit.evaluation.record import SPLIT_NAMES, RunRecord, judged_predictions
from ahekit.figures.thumbnails import Shown, thumbnails
from ahekit.sections import Column, Section, Table
from ahekit.wording import counted, listed

_COLUMNS = (
    Column("File"),
    Column("Filed as"),
    Column("Named"),
    Column("Confidence", ".1%", "right"),
    Column("Filed class", ".1%", "right"),
    Column("Loss", ".2f", "right"),
    Column("Label in doubt"),
)
_SURE = 0.9
_NAMED_CLASSES = 4
_GOOD_JUDGE = 0.9  # accuracy below which a network's doubts say more about itself than about the labels


class Mistakes:
    """The wrong answers with the highest loss, with file names and thumbnails."""

    order = 50

    class Params(protocols.Params):
        """Parameters of `Mistakes`."""

        images: int = Field(24, ge=1, le=200, description="images listed and shown")

    def report(self, record: RunRecord, params: Params) -> Section:
        """List the errors on test (on validation when there are no test predictions), the highest loss first."""
        split, predictions = judged_predictions(record)
        known = np.flatnonzero(predictions.labels >= 0)
        losses = log_losses(predictions.logits[known], predictions.labels[known])
        wrong = predictions.predicted[known] != predictions.labels[known]
        order = np.argsort(-losses, kind="stable")
        worst = known[order[wrong[order]]]
        doubted = set(doubtful_labels(predictions).tolist())
        listed_images = worst[: params.images]
        names = predictions.display_names
        top = take(predictions, listed_images)
        rows = _rows(top, names, [index in doubted for index in listed_images.tolist()])
        table = Table(f"Highest losses among the errors, {SPLIT_NAMES[split]}", _COLUMNS, rows, _NOTE)
        return Section(
            name="mistakes",
            title=f"Surest and wrong, {SPLIT_NAMES[split]}",
            reading=_reading(predictions, worst, doubted, names),
            tables=(table,) if rows else (),
            figures=thumbnails(
                record,
                _shown(top, names),
                name="top-losses",
                title="Highest losses",
                caption="Below each: what it is filed as, and what the network named it with which confidence.",
            ),
            values={
                "split": split,
                "errors": len(worst),
                "doubtful_labels": [predictions.ids[index] for index in sorted(doubted)],
                "top_losses": [predictions.ids[index] for index in listed_images.tolist()],
            },
        )


_NOTE = (
    "Label in doubt: the network gives another class at least the confidence that this class's own images get on "
    "average, and names it (confident learning, https://arxiv.org/abs/1911.00068). That is a reason to look at the "
    "image, not a proof."
)


def doubtful_labels(predictions: Predictions) -> NDArray[np.int64]:
    """Indices of images that confident learning counts as another class than the one they are filed as.

    Source: C. G. Northcutt, L. Jiang, I. L. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels
    (2021), https://arxiv.org/abs/1911.00068.
    """
    probabilities, labels = predictions.probabilities, predictions.labels
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels[labels >= 0]):
        thresholds[label] = probabilities[labels == label, label].mean()
    above = probabilities >= thresholds
    confident = np.where(above, probabilities, -1.0).argmax(axis=1)
    doubted = above.any(axis=1) & (labels >= 0) & (confident != labels) & (confident == predictions.predicted)
    found: NDArray[np.int64] = np.flatnonzero(doubted)
    return found


def _rows(top: Predictions, names: list[str], doubted: list[bool]) -> tuple[tuple[str | float, ...], ...]:
    places = np.arange(len(top.ids))
    named = [names[index] for index in top.predicted]
    filed = [names[index] for index in top.labels]
    confidence, own = top.probabilities.max(axis=1).tolist(), top.probabilities[places, top.labels].tolist()
    losses = log_losses(top.logits, top.labels).tolist()
    doubts = ["yes" if doubt else "no" for doubt in doubted]
    return tuple(zip(top.ids, filed, named, confidence, own, losses, doubts, strict=True))


def _shown(top: Predictions, names: list[str]) -> list[Shown]:
    return [
        Shown(name, (names[label], f"{names[named]} {confidence:.0%}"))
        for name, label, named, confidence in zip(
            top.ids, top.labels, top.predicted, top.probabilities.max(axis=1), strict=True
        )
    ]


def _reading(predictions: Predictions, worst: NDArray[np.int64], doubted: set[int], names: list[str]) -> str:
    if not len(worst):
        return "No image is named wrongly."
    wrong = take(predictions, worst)
    confidence = wrong.probabilities.max(axis=1)
    sentences = [
        f"The highest loss is that of {wrong.ids[0]}, filed as {names[wrong.labels[0]]} and named "
        f"{names[wrong.predicted[0]]} with {confidence[0]:.0%} confidence.",
        f"{int((confidence >= _SURE).sum())} of {counted(len(worst), 'error')} are made with a confidence of "
        f"{_SURE:.0%} or more.",
    ]
    if doubted:
        sentences.append(_doubts(predictions, doubted, names))
    return " ".join(sentences)


def _doubts(predictions: Predictions, doubted: set[int], names: list[str]) -> str:
    classes = sorted({names[predictions.labels[index]] for index in doubted})
    some = listed(classes) if len(classes) <= _NAMED_CLASSES else f"{len(classes)} classes"
    sentence = (
        f"To look at again: {counted(len(doubted), 'label')} (of {some}), where the network is as sure of another "
        "class as it is of that class's own images."
    )
    known = predictions.labels >= 0
    accuracy = float((predictions.predicted == predictions.labels)[known].mean())
    return sentence + (f" With {accuracy:.0%} right, most are its own faults." if accuracy < _GOOD_JUDGE else "")
