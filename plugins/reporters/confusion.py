"""Which classes are confused with which."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ahekit import protocols
from ahekit.evaluation.metrics import confusion_counts
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import SPLIT_NAMES, RunRecord, judged_predictions
from ahekit.figures.thumbnails import Thumbnail, thumbnails, true_and_predicted
from ahekit.figures.words import text_width, wrapped
from ahekit.sections import Column, Figure, Section, Table
from ahekit.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

_COLUMNS = (
    Column("True class"),
    Column("Predicted"),
    Column("Images", ",d", "right"),
    Column("Of the true class", ".1%", "right"),
    Column("Of all errors", ".1%", "right"),
)
_NAME = 1.6  # inches of a class's name in a line
_POINTS = 9.0  # of names, at most
_NUMBERED_CLASSES = 25  # more than that, and the numbers in the cells are too small to read
_SHARED_CLASSES = 12  # more than that, and there is no room for shares below the numbers
_VECTOR_CLASSES = 50  # more than that, and a cell as a vector each makes a page of megabytes


class Confusion:
    """Confusion matrix and the pairs that are confused most."""

    order = 40

    class Params(protocols.Params):
        """Parameters of `Confusion`."""

        pairs: int = Field(10, ge=1, description="most confused pairs listed")
        examples: int = Field(2, ge=0, le=20, description="example images shown of each pair listed")

    def report(self, record: RunRecord, params: Params) -> Section:
        """Count the confusions of the test predictions (of those on validation when there are none)."""
        split, predictions = judged_predictions(record)
        counts = confusion_counts(predictions.labels, predictions.predicted, len(predictions.class_names))
        names = predictions.display_names
        pairs = _pairs(counts)
        table = _table(split, counts, pairs[: params.pairs], names)
        return Section(
            title=f"Confusions on {SPLIT_NAMES[split]}",
            reading=_reading(counts, pairs, names),
            tables=(table,) if pairs else (),
            figures=(
                _figure(split, counts, pairs, names),
                *thumbnails(
                    record,
                    _examples(predictions, pairs[: params.pairs], names, params.examples),
                    name="examples",
                    title="Examples of the most confused pairs",
                    caption="The most confident of each pair first.",
                ),
            ),
            verdict=_first_words(counts, pairs, names),
            values={"split": split, "class_names": list(predictions.class_names), "counts": counts.tolist()},
        )


def _pairs(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(true, predicted) of every confusion that happened, the most frequent first, then by share of the true class."""
    support = counts.sum(axis=1)
    pairs = [(int(true), int(guess)) for true, guess in np.argwhere(counts) if true != guess]
    return sorted(pairs, key=lambda pair: (-counts[pair], -counts[pair] / support[pair[0]], pair))


def _examples(predictions: Predictions, pairs: list[tuple[int, int]], names: list[str], count: int) -> list[Thumbnail]:
    confidence = predictions.probabilities.max(axis=1)
    examples = []
    for true, guess in pairs:
        members = np.flatnonzero((predictions.labels == true) & (predictions.predicted == guess))
        most_confident = members[np.argsort(-confidence[members], kind="stable")][:count]
        examples += [
            Thumbnail(predictions.ids[index], true_and_predicted(names[true], names[guess], confidence[index]))
            for index in most_confident.tolist()
        ]
    return examples


def _table(split: str, counts: NDArray[np.int64], pairs: list[tuple[int, int]], names: list[str]) -> Table:
    support = counts.sum(axis=1)
    errors = counts.sum() - counts.trace()
    rows = tuple(
        (
            names[true],
            names[guess],
            int(counts[true, guess]),
            float(counts[true, guess] / support[true]),
            float(counts[true, guess] / errors),
        )
        for true, guess in pairs
    )
    return Table(f"Most confused pairs on {SPLIT_NAMES[split]}", _COLUMNS, rows)


def _reading(counts: NDArray[np.int64], pairs: list[tuple[int, int]], names: list[str]) -> str:
    images = int(counts.sum())
    errors = images - int(counts.trace())
    if not errors:
        return f"All {counted(images, 'image')} are predicted correctly, so nothing is confused."
    true, guess = pairs[0]
    number = int(counts[true, guess])
    support = int(counts[true].sum())
    back = int(counts[guess, true])
    sentences = [
        f"{errors:,d} of {counted(images, 'image')} {'is' if errors == 1 else 'are'} misclassified.",
        f"Most often {names[true]} is predicted as {names[guess]}: {number} of {support} ({number / support:.1%})"
        + (f", and {back} the other way round." if back else ", never the other way round."),
    ]
    if len(pairs) > 5:
        share = sum(int(counts[pair]) for pair in pairs[:5]) / errors
        sentences.append(f"The five most frequent confusions make up {share:.0%} of all errors.")
    return " ".join(sentences)


def _first_words(counts: NDArray[np.int64], pairs: list[tuple[int, int]], names: list[str]) -> str:
    if not pairs:
        return "It confuses nothing."
    true, guess = pairs[0]
    return (
        f"Most often it predicts {names[guess]} where {names[true]} is true: {counts[true, guess]} of the "
        f"{counted(int(counts.sum() - counts.trace()), 'error')}."
    )


def _figure(split: str, counts: NDArray[np.int64], pairs: list[tuple[int, int]], names: list[str]) -> Figure:
    worst = f"; the largest confusion is {names[pairs[0][0]]} predicted as {names[pairs[0][1]]}" if pairs else ""
    side = float(np.clip(0.56 * len(names), 2.4, 14.0))
    # Names stand beside the matrix and, slanted, below it: it keeps its size however long they are.
    lines = [line for name in names for line in wrapped(f"{name} (1,000)", _NAME, _POINTS).split("\n")]
    beside = max(text_width(line, _POINTS) for line in lines)
    return Figure(
        name="matrix",
        title=f"Confusion matrix, {SPLIT_NAMES[split]}",
        alt=f"Matrix of {len(names)} true classes by {len(names)} predicted ones; "
        f"{counts.trace():,d} of {counts.sum():,d} images lie on the diagonal{worst}.",
        draw=partial(_draw, counts=counts, names=names),
        size=(side + max(2.6, 1.2 + beside), side + max(1.5, 0.6 + 0.8 * beside)),
        data={
            "class_names": names,
            "counts": counts.tolist(),
            "row_shares": (counts / np.maximum(counts.sum(axis=1), 1)[:, None]).tolist(),
        },
        caption="Rows are true classes with their number of images, columns the predicted classes. "
        + (
            "Colours and percentages are shares of the row"
            if len(names) <= _SHARED_CLASSES
            else "Colour is the share of the row"
        )
        + (", numbers are images." if len(names) <= _NUMBERED_CLASSES else "."),
    )


def _draw(figure: MplFigure, *, counts: NDArray[np.int64], names: list[str]) -> None:
    axes = figure.add_subplot()
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    size = len(names)
    # One colour at an opacity of the share suits any background, where a colour map suits one.
    axes.pcolormesh(
        np.ma.masked_equal(shares, 0),
        vmin=0,
        vmax=1,
        edgecolors="none",
        rasterized=size > _VECTOR_CLASSES,
    )
    axes.set_aspect("equal")
    axes.set(xlim=(0, size), ylim=(size, 0), xlabel="predicted", ylabel="true class")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    small = min(_POINTS, 0.55 * 72 * figure.get_figheight() / size)
    rows = [wrapped(f"{name} ({images:,d})", _NAME, small) for name, images in zip(names, support, strict=True)]
    names = [wrapped(name, _NAME, small) for name in names]
    axes.set_yticks(np.arange(size) + 0.5, rows, fontsize=small)
    axes.set_xticks(np.arange(size) + 0.5, names, fontsize=small, rotation=45, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    if size <= _VECTOR_CLASSES:
        lines = np.arange(size + 1)
        edge = axes.get_facecolor()
        axes.hlines(lines, 0, size, color=edge, linewidth=1)
        axes.vlines(lines, 0, size, color=edge, linewidth=1)
    if size <= _NUMBERED_CLASSES:
        _write_counts(axes, counts, shares)


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    with_shares = len(counts) <= _SHARED_CLASSES
    for true, guess in np.argwhere(counts):
        # On a cell that is more colour than background, the background's colour is what can be read.
        colour = axes.get_facecolor() if shares[true, guess] > 0.55 else axes.title.get_color()
        middle = guess + 0.5, true + (0.4 if with_shares else 0.5)
        axes.text(*middle, f"{counts[true, guess]:,d}", ha="center", va="center", color=colour, size=9, in_layout=False)
        if with_shares:
            share = f"{shares[true, guess]:.0%}"
            axes.text(
                guess + 0.5, true + 0.74, share, ha="center", va="center", color=colour, size=6.5, in_layout=False
            )
