"""Headline figures with and without the test images that have a near-copy in training."""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from ahekit.data.classes import display_name
from ahekit.evaluation.leaks import Leaks, NearCopy, find_leaks, without
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.ranking import average_precision, roc_auc
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.evaluation.resampling import resample
from ahekit.figures.thumbnails import Thumbnail, thumbnails
from ahekit.protocols import BootstrapParams
from ahekit.sections import Cell, Column, Figure, Section, Table
from ahekit.wording import counted

from .intervals import NAMES


class LeakFree:
    """Near-copies between test and training images, and every headline figure without them."""

    order = 25

    class Params(BootstrapParams):
        """Parameters of `LeakFree`."""

        pairs: int = Field(12, ge=1, le=200, description="pairs shown as thumbnails; the table has all")

    def report(self, record: RunRecord, params: Params) -> Section:
        """Look for near-copies and measure the test predictions on all images and on the leak-free ones."""
        predictions = record.need_predictions("test")
        leaks = find_leaks(record)
        copied = {copy.test for copy in leaks.copies}
        kinds = {"all test images": predictions}
        if copied:
            kinds |= {"without near-copies": without(predictions, copied)}
            kinds |= {"near-copies alone": without(predictions, set(predictions.ids) - copied)}
        kinds = {name: part for name, part in kinds.items() if (part.labels >= 0).any()}
        if len(kinds) == 1 and copied:
            raise MissingRecord("the near-copies are not among the stored test predictions")
        figures = {name: _figures(part, params) for name, part in kinds.items()}
        tables = [_figure_table(kinds, figures)]
        if copied:
            tables.append(_pair_table(leaks, predictions))
        return Section(
            title="Leaks between train and test",
            reading=_reading(leaks, predictions, figures),
            tables=tuple(tables),
            figures=_pictures(record, leaks.copies[: params.pairs]),
            values={
                "threshold": leaks.threshold,
                "test_images": leaks.test_images,
                "near_copies": [[copy.test, copy.train, copy.correlation] for copy in leaks.copies],
                "figures": figures,
            },
            verdict=_verdict(len(leaks.copies), figures),
        )


def _verdict(copies: int, figures: dict[str, dict[str, list[float | None]]]) -> str:
    """The figures that hold for images it has not as good as seen."""
    free = figures.get("without near-copies")
    if free is None:
        return ""
    return (
        f"Without the {counted(copies, 'test image')} that have a near-copy in training: {free['accuracy'][0]:.1%}, "
        f"macro-F1 {free['macro_f1'][0]:.3f}."
    )


def _figures(predictions: Predictions, params: LeakFree.Params) -> dict[str, list[float | None]]:
    """Value and interval of every headline figure."""
    resampled = resample(predictions, samples=params.resamples, seed=params.seed)
    figures: dict[str, list[float | None]] = {}
    for name in NAMES:
        if name in resampled.values:
            interval = resampled.interval(name)
            ends = [None, None] if interval is None else [interval.low, interval.high]
            figures[name] = [float(resampled.values[name]), *ends]
    ranked = {"roc_auc": roc_auc(predictions), "average_precision": average_precision(predictions, seed=params.seed)}
    for name, figure in ranked.items():
        if figure.interval is not None:
            figures[name] = [figure.value, figure.interval.low, figure.interval.high]
    return figures


def _figure_table(kinds: dict[str, Predictions], figures: dict[str, dict[str, list[float | None]]]) -> Table:
    columns = [Column("Figure")]
    for name in kinds:
        columns += [Column(name[0].upper() + name[1:], ".3f", "right"), Column("95%", None, "right")]
    images: list[Cell] = ["images"]
    for part in kinds.values():
        images += [f"{int((part.labels >= 0).sum()):,d}", None]
    rows = [tuple(images)]
    for name, label in NAMES.items():
        cells: list[Cell] = [label]
        for kind in kinds:
            value, low, high = figures[kind].get(name, [None, None, None])
            cells += [value, None if low is None else f"{low:.3f}–{high:.3f}"]
        if any(cell is not None for cell in cells[1:]):
            rows.append(tuple(cells))
    note = (
        "The methods of the intervals are those of the table of all figures. Macro averages go over the classes that "
        "have images in the column."
    )
    return Table("Headline figures on all test images and on the leak-free ones", tuple(columns), tuple(rows), note)


def _pair_table(leaks: Leaks, predictions: Predictions) -> Table:
    is_correct = dict(zip(predictions.ids, (predictions.predicted == predictions.labels).tolist(), strict=True))
    columns = (
        Column("Test image"),
        Column("Most like it, in training"),
        Column("Correlation", ".4f", "right"),
        Column("Same class"),
        Column("Predicted"),
    )
    rows = tuple(
        (
            copy.test,
            copy.train,
            copy.correlation,
            "yes" if _class_of(copy.test) == _class_of(copy.train) else "no",
            _CORRECTNESS[is_correct[copy.test]] if copy.test in is_correct else None,
        )
        for copy in leaks.copies
    )
    return Table("Test images with a near-copy in train or validation", columns, rows)


_CORRECTNESS = {True: "correctly", False: "misclassified"}


def _class_of(sample_id: str) -> str:
    return sample_id.rsplit("/", 2)[-2] if "/" in sample_id else ""


def _pictures(record: RunRecord, copies: tuple[NearCopy, ...]) -> tuple[Figure, ...]:
    pairs = [
        side
        for copy in copies
        for side in (
            Thumbnail(copy.test, ("test", f"correlation {copy.correlation:.3f}")),
            Thumbnail(copy.train, ("in training", "")),
        )
    ]
    return thumbnails(
        record,
        pairs,
        name="pairs",
        title="Near-copies, the most alike first",
        caption="Each test image with the image of train or validation that is most like it, to its right.",
    )


def _reading(leaks: Leaks, predictions: Predictions, figures: dict[str, dict[str, list[float | None]]]) -> str:
    method = f"correlation of 16 × 16 gray thumbnails of at least {leaks.threshold:g}"
    if not leaks.copies:
        return f"None of {counted(leaks.test_images, 'test image')} has a near-copy in train or validation ({method})."
    labels = dict(zip(predictions.ids, predictions.labels.tolist(), strict=True))
    classes = Counter(labels[copy.test] for copy in leaks.copies if labels.get(copy.test, -1) >= 0)
    share = len(leaks.copies) / leaks.test_images
    sentences = [
        f"{len(leaks.copies):,d} of {leaks.test_images:,d} test images ({share:.1%}) have a near-copy in train or "
        f"validation ({method})."
    ]
    if classes:
        most, number = classes.most_common(1)[0]
        of = int((predictions.labels == most).sum())
        sentences.append(f"{display_name(predictions.class_names[most]).capitalize()} has most: {number} of its {of}.")
    if "without near-copies" in figures:
        before = figures["all test images"]
        after = figures["without near-copies"]
        sentences.append(
            f"Without them accuracy is {after['accuracy'][0]:.3f} instead of {before['accuracy'][0]:.3f}, macro-F1 "
            f"{after['macro_f1'][0]:.3f} instead of {before['macro_f1'][0]:.3f}."
        )
    return " ".join(sentences)
