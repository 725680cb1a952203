"""Final metrics on every split, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ahekit.data.classes import display_name
from ahekit.evaluation.intervals import Interval, wilson_interval
from ahekit.evaluation.metrics import METRIC_NAMES, confusion_counts, macro_f1, summarize
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import SPLIT_NAMES, MissingRecord, RunRecord, judged_predictions
from ahekit.evaluation.resampling import resample
from ahekit.figures.dot_plot import Dots, draw_dots
from ahekit.protocols import BootstrapParams
from ahekit.sections import Cell, Column, Figure, Section, Table
from ahekit.wording import counted, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

_Rows = Mapping[str, Mapping[str, float | None]]
"""Figures by split and metric; None where not measured."""

_COLUMNS = (
    Column("Split"),
    Column("Images", ",d", "right"),
    Column("Loss", ".3f", "right"),
    Column("Accuracy", ".3f", "right"),
    Column("Precision", ".3f", "right"),
    Column("Recall", ".3f", "right"),
    Column("F1", ".3f", "right"),
)
# Colours are those of the learning curves; the shapes tell the splits apart as well.
_MARKS = {"train_online": ("C0", "|"), "train": ("C0", "s"), "val": ("C2", "D"), "test": ("C1", "o")}
_INTERVAL_COLUMNS = (
    Column("Figure"),
    Column("Value", ".3f", "right"),
    Column("From", ".3f", "right"),
    Column("To", ".3f", "right"),
    Column("Method"),
)


@dataclass(frozen=True)
class _Verdict:
    """The figures of the split that judges the run."""

    split: str
    images: int
    correct: int
    largest_share: float
    largest_class: str
    macro_f1: float
    accuracy_interval: Interval
    f1_interval: Interval

    @property
    def accuracy(self) -> float:
        return self.correct / self.images


class FinalMetrics:
    """Loss, accuracy and macro averages on train, validation and test, with 95% intervals."""

    order = 10

    Params = BootstrapParams

    def report(self, record: RunRecord, params: BootstrapParams) -> Section:
        """Measure the stored predictions; where there are none, take what was measured while training."""
        rows, fallen_back = _measured(record)
        if not rows:
            raise MissingRecord("neither predictions nor a finished epoch")
        try:
            split, predictions = judged_predictions(record)
            verdict = _judge(split, predictions, params)
        except MissingRecord:
            verdict = None
        tables = [_metrics_table(record, rows, fallen_back)]
        if verdict:
            tables.append(_interval_table(verdict))
        return Section(
            title="Final metrics",
            reading=_reading(record, verdict, rows),
            tables=tuple(tables),
            figures=(_figure(rows, verdict),),
            verdict=_first_words(verdict) if verdict else _words_so_far(record, rows),
            values={"splits": rows, "verdict": _values(verdict) if verdict else None},
        )


def _measured(record: RunRecord) -> tuple[dict[str, dict[str, float | None]], dict[str, str]]:
    """Figures by split; and by split the reason why they come from the history and not from predictions."""
    chosen = record.chosen_epoch
    rows: dict[str, dict[str, float | None]] = {}
    fallen_back = {}
    for split in SPLIT_NAMES:
        try:
            rows[split] = _from_predictions(record.need_predictions(split))
        except MissingRecord as missing:
            past = {metric: chosen.value(split, metric) if chosen else None for metric in METRIC_NAMES}
            if any(value is not None for value in past.values()):
                rows[split] = {"images": None, **past}
                if split != "train_online":
                    fallen_back[split] = str(missing)
    return rows, fallen_back


def _from_predictions(predictions: Predictions) -> dict[str, float | None]:
    images = int((predictions.labels >= 0).sum())
    return {
        "images": images,
        **summarize(predictions.logits, predictions.labels, class_names=predictions.class_names),
    }


def _judge(split: str, predictions: Predictions, params: BootstrapParams) -> _Verdict:
    counts = confusion_counts(predictions.labels, predictions.predicted, len(predictions.class_names))
    resampled = resample(predictions, samples=params.resamples, seed=params.seed)
    images = int(counts.sum())
    correct = int(counts.trace())
    support = counts.sum(axis=1)
    f1_interval = resampled.interval("macro_f1")
    assert f1_interval is not None  # macro-F1 is finite wherever there is an image
    return _Verdict(
        split=split,
        images=images,
        correct=correct,
        largest_share=float(support.max() / images),
        largest_class=predictions.class_names[int(support.argmax())],
        macro_f1=float(macro_f1(counts)),
        accuracy_interval=wilson_interval(correct, images),
        f1_interval=f1_interval,
    )


def _metrics_table(record: RunRecord, rows: _Rows, fallen_back: Mapping[str, str]) -> Table:
    cells: list[tuple[Cell, ...]] = [
        (SPLIT_NAMES[split], *(row[key] for key in ("images", *METRIC_NAMES))) for split, row in rows.items()
    ]
    epoch = record.chosen_epoch.epoch if record.chosen_epoch else None
    notes = ["Precision, recall and F1 are macro averages over the classes that have images; the loss is in nats."]
    if "train_online" in rows:
        chosen = "chosen, averaged" if record.spec.train.average_decay else "chosen"
        notes.append(
            f"Online: during epoch {epoch}, on the images as training saw them, with dropout on, while the weights "
            f"still moved{_smoothing(record)}; re-measured: the {chosen} weights on all plain training images."
        )
    if fallen_back:
        names = listed([SPLIT_NAMES[split] for split in fallen_back])
        notes.append(f"No final predictions on {names}: figures as measured after epoch {epoch}.")
        notes += [f"{reason}." for split, reason in fallen_back.items() if split in record.predictions]
    elif record.spec.evaluation.flip_average:
        notes.append("All but online: probabilities averaged over an image and its mirror image; the curves are not.")
    return Table("Loss, accuracy and macro averages", _COLUMNS, tuple(cells), " ".join(notes))


def _smoothing(record: RunRecord) -> str:
    reasons = []
    if record.spec.loss.label_smoothing > 0:
        reasons.append("label smoothing")
    if record.spec.mix.probability > 0:
        reasons.append("mixing")
    return f" (its loss includes {listed(reasons)})" if reasons else ""


def _interval_table(verdict: _Verdict) -> Table:
    f1 = verdict.f1_interval
    accuracy = verdict.accuracy_interval
    rows = (
        ("accuracy", verdict.accuracy, accuracy.low, accuracy.high, accuracy.method),
        ("macro-F1", verdict.macro_f1, f1.low, f1.high, f1.method),
    )
    note = (
        f"How far the figures would move with another {counted(verdict.images, 'image')} of the same kind; "
        "another seed moves them as well."
    )
    return Table(f"95% intervals on {SPLIT_NAMES[verdict.split]}", _INTERVAL_COLUMNS, rows, note)


def _reading(record: RunRecord, verdict: _Verdict | None, rows: _Rows) -> str:
    chosen = record.chosen_epoch
    sentences = []
    if verdict:
        on = SPLIT_NAMES[verdict.split]
        sentences += [
            f"The run predicts {verdict.correct:,d} of {verdict.images:,d} {on} images correctly: accuracy "
            f"{verdict.accuracy:.3f}, with 95% confidence between {verdict.accuracy_interval.low:.3f} and "
            f"{verdict.accuracy_interval.high:.3f}.",
            f"With every class weighing the same, macro-F1 is {verdict.macro_f1:.3f} ({verdict.f1_interval}).",
            f"Always answering {display_name(verdict.largest_class)} would reach an accuracy of "
            f"{verdict.largest_share:.3f}.",
        ]
        if verdict.split == "val":
            sentences.append("These images also chose the weights, so expect a little less on new ones.")
    elif chosen is not None:
        accuracies = [
            f"{SPLIT_NAMES[split]} {row['accuracy']:.3f}" for split, row in rows.items() if row["accuracy"] is not None
        ]
        sentences.append(
            f"There are no final predictions yet; after epoch {chosen.epoch}, the best on validation so far, "
            f"accuracy is {', '.join(accuracies)}."
        )
    if verdict and chosen is not None and record.monitored is not None:
        measured = "{} of {:.3f}".format(*record.monitored)
        if record.spec.evaluation.flip_average:
            measured += " (of the images as they are, as in the curves)"
        sentences.append(
            f"The weights are those of epoch {chosen.epoch}, chosen for their validation {measured}"
            + ("; the test images had no part in that choice." if verdict.split == "test" else ".")
        )
    return " ".join(sentences)


def _words_so_far(record: RunRecord, rows: _Rows) -> str:
    val_f1 = rows.get("val", {}).get("f1")
    so_far = f"; macro-F1 on validation is {val_f1:.3f} so far" if val_f1 is not None else ""
    return f"There is no verdict yet: the run is {record.state} and has no final predictions{so_far}."


def _figure(rows: _Rows, verdict: _Verdict | None) -> Figure:
    """Accuracy and macro-F1 of each split on one scale, with the intervals of the split that judges."""
    data = {
        label: {split: value for split, row in rows.items() if (value := row[key]) is not None}
        for key, label in (("accuracy", "accuracy"), ("f1", "macro-F1"))
    }
    intervals = {"accuracy": verdict.accuracy_interval, "macro-F1": verdict.f1_interval} if verdict else {}
    spoken = "; ".join(
        f"{label}: " + ", ".join(f"{SPLIT_NAMES[split]} {value:.3f}" for split, value in values.items())
        for label, values in data.items()
    )
    judge = SPLIT_NAMES[verdict.split] if verdict else ""
    return Figure(
        name="headline",
        title="Accuracy and macro-F1 on every split",
        alt=f"Dot plot of {spoken}.",
        draw=partial(_draw, data=data, intervals=intervals, judge=verdict.split if verdict else None),
        size=(6.4, 2.0),
        data={
            "values": data,
            "intervals": {label: [interval.low, interval.high] for label, interval in intervals.items()},
        },
        caption=(f"Bars are the 95% intervals on {judge}. " if judge else "")
        + "The nearer train lies to test, the less the network has merely memorized its training images.",
    )


def _draw(
    figure: MplFigure, *, data: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Interval], judge: str | None
) -> None:
    bands = [(interval.low, interval.high) for interval in intervals.values()]
    series = [
        Dots(
            SPLIT_NAMES[split],
            values=[values.get(split) for values in data.values()],
            intervals=bands if split == judge else (),
            colour=colour,
            marker=marker,
            is_filled=split in (judge, "train"),
        )
        for split, (colour, marker) in _MARKS.items()
        if any(split in values for values in data.values())
    ]
    axes = draw_dots(figure, list(data), series)
    lowest = min(value for values in data.values() for value in values.values())
    axes.set_xlim(max(0.0, np.floor(lowest * 10 - 0.5) / 10), 1.0)


def _first_words(verdict: _Verdict) -> str:
    interval = verdict.accuracy_interval
    return (
        f"It predicts {verdict.accuracy:.1%} of {verdict.images:,d} {SPLIT_NAMES[verdict.split]} images correctly "
        f"(another draw of images: {interval.low:.1%} to {interval.high:.1%}, with 95% confidence); macro-F1 is "
        f"{verdict.macro_f1:.3f}."
    )


def _values(verdict: _Verdict) -> dict[str, object]:
    return {
        "split": verdict.split,
        "images": verdict.images,
        "correct": verdict.correct,
        "accuracy": verdict.accuracy,
        "accuracy_interval": [verdict.accuracy_interval.low, verdict.accuracy_interval.high],
        "macro_f1": verdict.macro_f1,
        "macro_f1_interval": [verdict.f1_interval.low, verdict.f1_interval.high],
        "largest_class": verdict.largest_class,
        "largest_class_share": verdict.largest_share,
    }
