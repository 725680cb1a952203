"""Precision, recall, F1 and support of every class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ahekit.data.classes import display_name
from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.comparison import Difference
from ahekit.evaluation.intervals import Interval
from ahekit.evaluation.metrics import ClassScores, confusion_counts, macro_scores, per_class, weighted_scores
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import SPLIT_NAMES, RunRecord, judged_predictions
from ahekit.evaluation.resampling import CLASS_FIGURES, resample
from ahekit.figures.dot_plot import Dots, difference_figure, draw_dots
from ahekit.protocols import BootstrapParams
from ahekit.sections import Cell, Column, Figure, Section, Table
from ahekit.wording import counted, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

_COLUMNS = (
    Column("Class"),
    Column("Precision", ".3f", "right"),
    Column("95%", None, "right"),
    Column("Recall", ".3f", "right"),
    Column("95%", None, "right"),
    Column("F1", ".3f", "right"),
    Column("95%", None, "right"),
    Column("Support", ",d", "right"),
)


_DIFFERENCE_COLUMNS = (
    Column("Class"),
    Column("Run"),
    Column("F1 of A", ".3f", "right"),
    Column("F1", ".3f", "right"),
    *(Column(name, "+z.3f", "right") for name in ("Difference", "From", "To")),
)


class PerClass:
    """Precision, recall, F1 and support of every class with averages; of several runs, how F1 differs by class."""

    order = 20

    Params = BootstrapParams

    def report(self, record: RunRecord, params: BootstrapParams) -> Section:
        """Score every class on the test predictions (on those of validation when there are none)."""
        split, predictions = judged_predictions(record)
        scores = per_class(predictions)
        counts = confusion_counts(predictions.labels, predictions.predicted, len(scores))
        by_figure = _intervals(predictions, params)
        intervals = by_figure["f1"]
        averages = {"macro average": macro_scores(counts), "weighted average": weighted_scores(counts)}
        return Section(
            title=f"Classes on {SPLIT_NAMES[split]}",
            reading=_reading(scores, intervals),
            tables=(_table(split, scores, by_figure, averages),),
            figures=(_figure(split, scores, intervals),),
            values={
                "split": split,
                "classes": [
                    asdict(score)
                    | {
                        f"{figure}_interval": [of_class[place].low, of_class[place].high]
                        for figure, of_class in by_figure.items()
                    }
                    for place, score in enumerate(scores)
                ],
                "averages": averages,
            },
        )

    def compare(self, runs: ComparedRuns, params: BootstrapParams) -> Section:
        """Every class's F1 on the shared images against that of the first run."""
        pairs = runs.against_first(samples=params.resamples, seed=params.seed)
        rows = tuple(
            (display_name(class_name), runs.letter(name), *_difference(f1))
            for name, pair in pairs.items()
            for class_name, f1 in zip(runs.first.class_names, pair.f1, strict=True)
        )
        changes = [(row[4], row[0], row[1]) for row in rows if isinstance(row[4], float)]
        down = min(changes)
        up = max(changes)
        note = "From, to: paired 95% interval of the difference; a class is a comparison of its own among many."
        return Section(
            title="Class by class",
            reading=f"Against A, F1 changes between {down[0]:+.3f} (run {down[2]}, {down[1]}) and {up[0]:+.3f} "
            f"(run {up[2]}, {up[1]}).",
            tables=(Table("F1 by class against A", _DIFFERENCE_COLUMNS, rows, note),),
            figures=(
                difference_figure(
                    {f"{runs.letter(name)}: {name}": pair.f1 for name, pair in pairs.items()},
                    [display_name(name) for name in runs.first.class_names],
                    name="f1",
                    title="Differences of F1 from A, by class",
                    caption="Bars are paired 95% intervals.",
                ),
            ),
        )


def _difference(f1: Difference | None) -> tuple[Cell, ...]:
    if f1 is None:
        return (None,) * 5
    return f1.first, f1.second, f1.value, f1.interval.low, f1.interval.high


def _intervals(predictions: Predictions, params: BootstrapParams) -> dict[str, list[Interval]]:
    resampled = resample(predictions, samples=params.resamples, seed=params.seed)
    classes = range(len(predictions.class_names))
    return {figure: [resampled.class_interval(figure, index) for index in classes] for figure in CLASS_FIGURES}


def _table(
    split: str, scores: list[ClassScores], by_figure: dict[str, list[Interval]], averages: dict[str, dict[str, float]]
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for place, score in enumerate(scores):
        precision, recall, f1 = (str(by_figure[figure][place]) for figure in CLASS_FIGURES)
        measured = (score.precision, precision, score.recall, recall, score.f1, f1)
        rows.append((display_name(score.name), *(measured if score.support else (None,) * 6), score.support))
    total = sum(score.support for score in scores)
    for name, average in averages.items():
        means = (value for figure in CLASS_FIGURES for value in (average[figure], None))
        rows.append((name, *means, total))
    empty = [display_name(score.name) for score in scores if not score.support]
    note = (
        "Support: images of the class. 95%: of recall Wilson's interval, of precision and F1 by a smoothed bootstrap."
    )
    if empty:
        note += f" No images of {listed(empty)}: nothing to measure, left out of the averages."
    return Table(f"Scores by class, {SPLIT_NAMES[split]}", _COLUMNS, tuple(rows), note, totals=len(averages))


def _reading(scores: list[ClassScores], intervals: list[Interval]) -> str:
    measured = [pair for pair in zip(scores, intervals, strict=True) if pair[0].support]
    measured.sort(key=lambda pair: pair[0].f1)
    weakest, interval = measured[0]
    strongest = measured[-1][0]
    sentences = [
        f"The weakest class is {display_name(weakest.name)}: F1 {weakest.f1:.3f}, with 95% confidence between "
        f"{interval.low:.3f} and {interval.high:.3f}, on its "
        f"{counted(weakest.support, 'image')}. {_weakness(weakest)}"
    ]
    if len(measured) > 1:
        sentences.append(f"The strongest is {display_name(strongest.name)} with F1 {strongest.f1:.3f}.")
    empty = [display_name(score.name) for score in scores if not score.support]
    if empty:
        sentences.append(
            f"There are no images of {listed(empty)}, so nothing is known of how well they are recognized."
        )
    return " ".join(sentences)


def _weakness(weakest: ClassScores) -> str:
    missed = weakest.support - round(weakest.recall * weakest.support)
    if not missed and weakest.precision == 1:
        return "It is without a fault all the same."
    overlooked = f"It is missed in {missed} of {weakest.support}"
    if weakest.precision == 0:
        return f"{overlooked}, and never predicted correctly."
    return f"{overlooked}, and {1 - weakest.precision:.0%} of the images predicted as it are something else."


def _figure(split: str, scores: list[ClassScores], intervals: list[Interval]) -> Figure:
    measured = sorted(
        (pair for pair in zip(scores, intervals, strict=True) if pair[0].support), key=lambda pair: -pair[0].f1
    )
    highest = measured[0][0]
    lowest = measured[-1][0]
    data = {
        "class": [score.name for score, _ in measured],
        "precision": [score.precision for score, _ in measured],
        "recall": [score.recall for score, _ in measured],
        "f1": [score.f1 for score, _ in measured],
        "low": [interval.low for _, interval in measured],
        "high": [interval.high for _, interval in measured],
        "support": [score.support for score, _ in measured],
    }
    return Figure(
        name="scores",
        title=f"Precision, recall and F1 by class, {SPLIT_NAMES[split]}",
        alt=f"Dot plot, a line per class, from {display_name(lowest.name)} (F1 {lowest.f1:.3f}) "
        f"to {display_name(highest.name)} (F1 {highest.f1:.3f}).",
        draw=partial(_draw, data=data),
        size=(6.4, min(1.3 + 0.34 * len(measured), 30.0)),
        data=data,
        caption="Bars are the 95% intervals of F1. A class whose precision lies right of its recall is predicted "
        "too seldom, one with precision left of recall too often.",
    )


def _draw(figure: MplFigure, *, data: Mapping[str, Any]) -> None:
    names = [
        f"{display_name(str(name))} ({support:,})" for name, support in zip(data["class"], data["support"], strict=True)
    ]
    series = [
        Dots("F1", data["f1"], list(zip(data["low"], data["high"], strict=True))),
        Dots("precision", data["precision"], colour="C1", marker=">", is_filled=False),
        Dots("recall", data["recall"], colour="C2", marker="s", is_filled=False),
    ]
    axes = draw_dots(figure, names, series)
    lowest = min(min(data[key]) for key in ("low", "precision", "recall"))
    axes.set(xlim=(max(0.0, np.floor(lowest * 10 - 0.2) / 10), 1.01), xlabel="score")
