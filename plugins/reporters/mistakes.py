"""Where the network is most confident and wrong: highest losses, likely label errors among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ahekit import protocols
from ahekit.evaluation.metrics import log_losses
from ahekit.evaluation.predictions import Predictions, take
from ahekit.evaluation.record import SPLIT_NAMES, RunRecord, judged_predictions
from ahekit.figures.thumbnails import Thumbnail, thumbnails, true_and_predicted
from ahekit.sections import Column, Section, Table
from ahekit.wording import counted, listed

_COLUMNS = (
    Column("File"),
    Column("True label"),
    Column("Predicted"),
    Column("Confidence", ".1%", "right"),
    Column("Of the true label", ".1%", "right"),
    Column("Loss", ".2f", "right"),
    Column("Label in doubt"),
)
_CONFIDENT = 0.9
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
        labelled = np.flatnonzero(predictions.labels >= 0)
        losses = log_losses(predictions.logits[labelled], predictions.labels[labelled])
        is_wrong = predictions.predicted[labelled] != predictions.labels[labelled]
        order = np.argsort(-losses, kind="stable")
        worst = labelled[order[is_wrong[order]]]
        doubtful = set(doubtful_labels(predictions).tolist())
        first = worst[: params.images]
        names = predictions.display_names
        top = take(predictions, first)
        rows = _rows(top, names, [index in doubtful for index in first.tolist()])
        table = Table(f"Highest losses among the errors, {SPLIT_NAMES[split]}", _COLUMNS, rows, _NOTE)
        return Section(
            title=f"Most confident and wrong, {SPLIT_NAMES[split]}",
            reading=_reading(predictions, worst, doubtful, names),
            tables=(table,) if rows else (),
            figures=thumbnails(
                record,
                _thumbnails(top, names),
                name="top-losses",
                title="Highest losses",
                caption="The percentage is the confidence in the predicted class.",
            ),
            values={
                "split": split,
                "errors": len(worst),
                "doubtful_labels": [predictions.ids[index] for index in sorted(doubtful)],
                "top_losses": [predictions.ids[index] for index in first.tolist()],
            },
        )


_NOTE = (
    "Label in doubt: the network gives another class at least the confidence that this class's own images get on "
    "average, and predicts it (confident learning, https://arxiv.org/abs/1911.00068). That is a reason to look at the "
    "image, not a proof."
)


def doubtful_labels(predictions: Predictions) -> NDArray[np.int64]:
    """Indices of images that confident learning counts as another class than their label.

    Source: C. G. Northcutt, L. Jiang, I. L. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels
    (2021), https://arxiv.org/abs/1911.00068.
    """
    probabilities = predictions.probabilities
    labels = predictions.labels
    # What confidence in a class is worth differs by class: the measure is what its own images get on average. A class
    # without images can't be measured, and no image is confidently of it.
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels[labels >= 0]):
        thresholds[label] = probabilities[labels == label, label].mean()
    is_above = probabilities >= thresholds
    confident_class = np.where(is_above, probabilities, -1.0).argmax(axis=1)
    is_other = (confident_class != labels) & (confident_class == predictions.predicted)
    doubtful: NDArray[np.int64] = np.flatnonzero(is_above.any(axis=1) & (labels >= 0) & is_other)
    return doubtful


def _rows(top: Predictions, names: list[str], is_doubtful: list[bool]) -> tuple[tuple[str | float, ...], ...]:
    columns = (
        top.ids,
        [names[index] for index in top.labels],
        [names[index] for index in top.predicted],
        top.probabilities.max(axis=1).tolist(),
        top.probabilities[np.arange(len(top.ids)), top.labels].tolist(),
        log_losses(top.logits, top.labels).tolist(),
        ["yes" if doubtful else "no" for doubtful in is_doubtful],
    )
    return tuple(zip(*columns, strict=True))


def _thumbnails(top: Predictions, names: list[str]) -> list[Thumbnail]:
    confidences = top.probabilities.max(axis=1)
    return [
        Thumbnail(name, true_and_predicted(names[label], names[guess], confidence))
        for name, label, guess, confidence in zip(top.ids, top.labels, top.predicted, confidences, strict=True)
    ]


def _reading(predictions: Predictions, worst: NDArray[np.int64], doubtful: set[int], names: list[str]) -> str:
    if not len(worst):
        return "No image is misclassified."
    wrong = take(predictions, worst)
    confidence = wrong.probabilities.max(axis=1)
    sentences = [
        f"The highest loss is that of {wrong.ids[0]}: true label {names[wrong.labels[0]]}, predicted "
        f"{names[wrong.predicted[0]]} with {confidence[0]:.0%} confidence.",
        f"{int((confidence >= _CONFIDENT).sum())} of {counted(len(worst), 'error')} are made with a confidence of "
        f"{_CONFIDENT:.0%} or more.",
    ]
    if doubtful:
        sentences.append(_doubts(predictions, doubtful, names))
    return " ".join(sentences)


def _doubts(predictions: Predictions, doubtful: set[int], names: list[str]) -> str:
    classes = sorted({names[predictions.labels[index]] for index in doubtful})
    some = listed(classes) if len(classes) <= _NAMED_CLASSES else f"{len(classes)} classes"
    sentence = (
        f"To look at again: {counted(len(doubtful), 'label')} (of {some}), where the network is as confident of "
        "another class as it is of that class's own images."
    )
    is_labelled = predictions.labels >= 0
    accuracy = float((predictions.predicted == predictions.labels)[is_labelled].mean())
    return sentence + (
        f" With an accuracy of {accuracy:.0%}, most are its own errors." if accuracy < _GOOD_JUDGE else ""
    )
