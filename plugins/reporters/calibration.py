"""Whether the network's confidence can be trusted, and how many images have to be looked at by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ahekit.evaluation.calibration import (
    BINS,
    Confidences,
    Floats,
    Reliability,
    abstention_threshold,
    answered,
    confidences,
    fit_temperature,
    reliability,
    risk_coverage,
)
from ahekit.evaluation.metrics import log_losses
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import SPLIT_NAMES, MissingRecord, RunRecord, judged_predictions
from ahekit.protocols import NoParams
from ahekit.sections import Cell, Column, Figure, Section, Table
from ahekit.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

TARGETS = (0.95, 0.98)
_DRAWN_POINTS = 2_000


class Calibration:
    """Reliability, calibration error before and after temperature scaling, thresholds for answering when confident."""

    order = 60
    Params = NoParams

    def report(self, record: RunRecord, params: NoParams) -> Section:
        """Measure on test what was fitted on validation; without test predictions, measure alone."""
        split, predictions = judged_predictions(record)
        fitted_on = _validation(record) if split == "test" else None
        temperature = fit_temperature(fitted_on) if fitted_on else None
        raw = confidences(predictions)
        scaled = confidences(predictions, temperature=temperature) if temperature else None
        thresholds = _thresholds(fitted_on, temperature, scaled)
        states = {"as it is": (1.0, raw)} | ({"scaled": (temperature, scaled)} if temperature and scaled else {})
        figures = [_reliability_figure(split, {name: reliability(answers) for name, (_, answers) in states.items()})]
        figures.append(_coverage_figure(split, scaled or raw))
        tables = [_error_table(split, predictions, states)]
        if thresholds:
            tables.append(_threshold_table(thresholds))
        return Section(
            title=f"Confidence, {SPLIT_NAMES[split]}",
            reading=_reading(raw, scaled, temperature, thresholds),
            tables=tuple(tables),
            figures=tuple(figures),
            values={
                "split": split,
                "bins": BINS,
                "temperature": temperature,
                "ece": {name: reliability(answers).ece for name, (_, answers) in states.items()},
                "thresholds": thresholds,
            },
            verdict=_verdict(thresholds, len(raw.correct)),
        )


def _validation(record: RunRecord) -> Predictions | None:
    try:
        return record.need_predictions("val")
    except MissingRecord:
        return None


def _thresholds(
    validation: Predictions | None, temperature: float | None, answers: Confidences | None
) -> list[dict[str, float | None]]:
    """For each target: the threshold chosen on validation, and what it does on test."""
    if validation is None or temperature is None or answers is None:
        return []
    chosen_on = confidences(validation, temperature=temperature)
    rows: list[dict[str, float | None]] = []
    for target in TARGETS:
        threshold = abstention_threshold(chosen_on, target)
        row: dict[str, float | None] = {"target": target, "threshold": threshold}
        if threshold is not None:
            images, correct = answered(answers, threshold)
            row |= {"answered": images / len(answers.correct), "by_hand": len(answers.correct) - images}
            row |= {"accuracy": correct / images if images else None, "wrong": images - correct}
        rows.append(row)
    return rows


def _error_table(split: str, predictions: Predictions, states: dict[str, tuple[float, Confidences]]) -> Table:
    is_labelled = predictions.labels >= 0
    logits = predictions.logits[is_labelled].astype(np.float64)
    labels = predictions.labels[is_labelled]
    columns = (
        Column("Confidence"),
        Column("Temperature", ".3f", "right"),
        Column("Mean confidence", ".3f", "right"),
        Column("Accuracy", ".3f", "right"),
        Column("ECE", ".4f", "right"),
        Column("Log loss", ".4f", "right"),
    )
    rows: list[tuple[Cell, ...]] = []
    for name, (temperature, answers) in states.items():
        means = float(answers.confidence.mean()), float(answers.correct.mean()), reliability(answers).ece
        rows.append((name, temperature, *means, float(log_losses(logits / temperature, labels).mean())))
    note = f"ECE: {BINS} bins of equal width, confidence of the predicted class. The temperature divides the logits; "
    note += (
        "it was fitted on validation, which also chose the epoch." if len(rows) > 1 else "it needs validation to fit."
    )
    return Table(f"Calibration, {SPLIT_NAMES[split]}", columns, tuple(rows), note)


def _threshold_table(thresholds: list[dict[str, float | None]]) -> Table:
    columns = (
        Column("Accuracy wanted", ".0%", "right"),
        Column("Confidence from", ".3f", "right"),
        Column("Answered", ".1%", "right"),
        Column("Accuracy of these", ".3f", "right"),
        Column("Wrong among them", ",d", "right"),
        Column("To look at by hand", ",d", "right"),
    )
    keys = ("target", "threshold", "answered", "accuracy", "wrong", "by_hand")
    rows = tuple(tuple(row.get(key) for key in keys) for row in thresholds)
    note = "The threshold is the lowest that reaches the accuracy on validation; the other columns are what it does on "
    note += "test. A dash: no confidence reaches it on validation."
    return Table("Answering only when confident", columns, rows, note)


def _reading(
    raw: Confidences, scaled: Confidences | None, temperature: float | None, thresholds: list[dict[str, float | None]]
) -> str:
    gap = float(raw.confidence.mean() - raw.correct.mean())
    if abs(gap) < 0.02:
        judgement = "about as confident as it is right"
    else:
        judgement = "overconfident" if gap > 0 else "underconfident"
    sentences = [
        f"On average it is {raw.confidence.mean():.3f} confident and {raw.correct.mean():.3f} right: {judgement} "
        f"(calibration error {reliability(raw).ece:.3f})."
    ]
    if scaled is not None and temperature is not None:
        sentences.append(
            f"Dividing the logits by {temperature:.2f}, as fitted on validation, makes that error "
            f"{reliability(scaled).ece:.3f}."
        )
    for row in thresholds:
        if row["threshold"] is not None and row.get("accuracy") is not None:
            sentences.append(
                f"Answering only from {row['threshold']:.2f} on, chosen for {row['target']:.0%} accuracy, leaves "
                f"{counted(int(row['by_hand'] or 0), 'image')} of {len(raw.correct):,d} to look at by hand; the others "
                f"are {row['accuracy']:.1%} right{_short(row)}."
            )
    return " ".join(sentences)


def _verdict(thresholds: list[dict[str, float | None]], images: int) -> str:
    """How much work the most demanding target that can be reached leaves to a person."""
    for row in reversed(thresholds):
        if row["threshold"] is not None and row.get("accuracy") is not None:
            by_hand = counted(int(row["by_hand"] or 0), "image")
            return (
                f"For {row['target']:.0%}, {by_hand} of {images:,d} are to be looked at by hand (the others are "
                f"{row['accuracy']:.1%} right on test)."
            )
    return ""


def _short(row: dict[str, float | None]) -> str:
    reached = row.get("accuracy")
    target = row["target"]
    return ", less than on validation" if reached is not None and target is not None and reached < target else ""


def _reliability_figure(split: str, states: dict[str, Reliability]) -> Figure:
    spoken = ", ".join(f"{name} {bins.ece:.3f}" for name, bins in states.items())
    return Figure(
        name="reliability",
        title=f"Reliability, {SPLIT_NAMES[split]}",
        alt=f"Accuracy against confidence in {BINS} bins, beside the diagonal of perfect calibration; "
        f"expected calibration error: {spoken}.",
        draw=partial(_draw_reliability, states=states),
        size=(4.6, 4.4),
        data={
            name: {
                "confidence": bins.confidence.tolist(),
                "accuracy": bins.accuracy.tolist(),
                "images": bins.images.tolist(),
            }
            for name, bins in states.items()
        },
        caption="Below the diagonal the network is more confident than it is right. The area of a dot is the number "
        "of images.",
    )


def _draw_reliability(figure: MplFigure, *, states: dict[str, Reliability]) -> None:
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=axes.xaxis.label.get_color(), linestyle=(0, (2, 3)), linewidth=1)
    for number, (name, bins) in enumerate(states.items()):
        filled = bins.images > 0
        sizes = 12 + 200 * np.sqrt(bins.images[filled] / bins.images.sum())
        line = "-" if number else (0, (4, 1.5))
        axes.plot(bins.confidence[filled], bins.accuracy[filled], linestyle=line, color=f"C{number}", linewidth=1.2)
        label = f"{name} (ECE {bins.ece:.3f})"
        axes.scatter(
            bins.confidence[filled], bins.accuracy[filled], s=sizes, color=f"C{number}", alpha=0.75, label=label
        )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.04), xlabel="confidence", ylabel="accuracy")
    axes.legend(loc="upper left", fontsize=9, markerscale=0.4)


def _coverage_figure(split: str, answers: Confidences) -> Figure:
    _, coverage, accuracy = risk_coverage(answers)
    # Thinned from the end, so that the last point, all images, stays.
    every = max(1, len(coverage) // _DRAWN_POINTS)
    coverage = coverage[::-1][::every][::-1]
    error = (1 - accuracy)[::-1][::every][::-1]
    half = float(np.interp(0.5, coverage, error))
    return Figure(
        name="risk-coverage",
        title=f"Errors among the answers, {SPLIT_NAMES[split]}",
        alt=f"Share of wrong answers against the share of images answered, the most confident first: {half:.1%} at "
        f"half of the images, {error[-1]:.1%} at all of them.",
        draw=partial(_draw_coverage, coverage=coverage, error=error),
        size=(5.4, 4.4),
        data={"coverage": coverage.tolist(), "error": error.tolist()},
        caption="Read from the right: leaving the least confident images to a person takes errors out of the rest.",
    )


def _draw_coverage(figure: MplFigure, *, coverage: Floats, error: Floats) -> None:
    from matplotlib.ticker import PercentFormatter

    axes = figure.add_subplot()
    axes.plot(coverage, error, drawstyle="steps-pre")
    for number, target in enumerate(TARGETS, start=1):
        axes.axhline(1 - target, color=f"C{number}", linewidth=1, linestyle=(0, (4, 2)))
        axes.text(1.01, 1 - target, f"{target:.0%} right", va="center", fontsize=9, color=f"C{number}")
    axes.set(xlim=(0, 1), xlabel="images answered", ylabel="wrong among them")
    axes.grid(axis="x", visible=False)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
