"""What was measured over the epochs, and what it says: loss, accuracy, macro averages, and metrics of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.record import SPLIT_NAMES, MissingRecord, RunRecord
from ahekit.protocols import NoParams
from ahekit.sections import Cell, Column, Figure, Section, Table
from ahekit.wording import counted, listed

from .drawing import draw_curves, draw_overlaid
from .measures import METRICS
from .trends import LAST_EPOCHS, Curve, Fit, Trend, curve, overfit, standard_error, trend

TITLES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "precision": "Precision (macro)",
    "recall": "Recall (macro)",
    "f1": "F1 (macro)",
}
_OVERLAID = ("accuracy", "f1", "loss")  # what the curves of several runs show
_LOSS_TOLERANCE = 0.01  # nats
_SHARE_OF_RANGE = 0.01  # of what a metric of any other scale spans, that doesn't count as better
_FEW_EPOCHS = 4  # fewer, and a curve has no shape to speak of


@dataclass(frozen=True)
class _Curves:
    """Everything measured, and the reading of each metric on the split that judges.

    Attributes:
        values: By split and metric.
        titles: What each metric is called.
        falling: The metrics of which less is better.
        names: What each split is called here, where the train curve is of a part of its images.
    """

    epochs: list[int]
    values: dict[str, dict[str, Curve]]
    titles: dict[str, str]
    falling: frozenset[str]
    names: dict[str, str]
    judge: str
    chosen: int | None
    is_final: bool
    error: float
    trends: dict[str, Trend]
    fit: Fit


class LearningCurves:
    """Loss, accuracy, macro averages and kappa over the epochs; of several runs, their test curves overlaid."""

    order = 30
    Params = NoParams
    metrics = METRICS

    def report(self, record: RunRecord, params: NoParams) -> Section:
        """Read and draw the epochs that were measured."""
        curves = _read(record)
        return Section(
            title="Learning curves",
            reading=_reading(record, curves),
            tables=(_table(curves, is_flipped=record.spec.evaluation.flip_average),),
            figures=tuple(_figure(curves, metric) for metric in _drawn(curves)),
            values={
                "epochs": curves.epochs,
                "chosen_epoch": curves.chosen,
                "judged_on": curves.judge,
                "fit": curves.fit,
                "trends": {metric: asdict(trend) for metric, trend in curves.trends.items()},
            },
            verdict=_verdict(curves),
        )

    def compare(self, runs: ComparedRuns, params: NoParams) -> Section:
        """Overlay the runs' curves on test.

        Raises:
            MissingRecord: No epoch of any run was measured on test.
        """
        own = {metric.name for metric in METRICS}
        asked = {
            note.name: note.words.capitalize()
            for record in runs.records.values()
            for note in record.manifest.metrics
            if note.name not in own
        }
        titles = {**{name: TITLES[name] for name in _OVERLAID}, **asked}
        drawn = (_overlaid(runs, metric, title) for metric, title in titles.items())
        figures = tuple(figure for figure in drawn if figure is not None)
        if not figures:
            raise MissingRecord("no epoch was measured on test")
        ends = {runs.letter(name): _points(record, "accuracy") for name, record in runs.records.items()}
        spoken = listed([f"{line[-1][1]:.3f} ({letter})" for letter, line in ends.items() if line])
        reading = "Test over the epochs, each run on its own test images; nothing was chosen on these curves."
        if spoken:
            reading += f" Accuracy ends at {spoken}."
        return Section(title="Learning curves", reading=reading, figures=figures)


def _overlaid(runs: ComparedRuns, metric: str, title: str) -> Figure | None:
    lines = {f"{runs.letter(name)}: {name}": _points(record, metric) for name, record in runs.records.items()}
    if not any(lines.values()):
        return None
    spoken = ", ".join(f"{name} ending at {line[-1][1]:.3f}" for name, line in lines.items() if line)
    return Figure(
        name=f"{metric}-overlaid",
        title=f"{title} on test over the epochs",
        alt=f"Line chart with {spoken}.",
        draw=partial(draw_overlaid, lines=lines),
        size=(5.4, 3.6 + 0.2 * len(lines)),
        data={name: [list(point) for point in line] for name, line in lines.items() if line},
    )


def _points(record: RunRecord, metric: str) -> list[tuple[int, float]]:
    measured = ((row.epoch, row.value("test", metric)) for row in record.epochs)
    return [(epoch, value) for epoch, value in measured if value is not None and np.isfinite(value)]


def _read(record: RunRecord) -> _Curves:
    rows = record.epochs
    titles = {**TITLES, **{note.name: note.words.capitalize() for note in record.manifest.metrics}, **TITLES}
    values = {split: {metric: curve(rows, split, metric) for metric in titles} for split in SPLIT_NAMES}
    falling = frozenset(name for name in titles if record.manifest.metric(name).direction == "lower")
    judge = next((split for split in ("test", "val") if np.isfinite(values[split]["accuracy"]).any()), None)
    if judge is None:
        raise MissingRecord("no epoch was measured on test or validation")
    epochs = [row.epoch for row in rows]
    final = values[judge]["accuracy"][np.isfinite(values[judge]["accuracy"])][-1]
    error = standard_error(record, judge, float(final))
    trends = {}
    for metric in titles:
        read = trend(
            epochs,
            values[judge][metric],
            values["train"][metric],
            lower_is_better=metric in falling,
            tolerance=_tolerance(metric, values[judge][metric], error),
        )
        if read is not None:
            trends[metric] = read
    fit = overfit(values["train"]["loss"], values[judge]["loss"], trends["accuracy"].gap, error=error)
    chosen = record.chosen_epoch.epoch if record.chosen_epoch else None
    return _Curves(
        epochs, values, titles, falling, _names(record), judge, chosen, record.state == "finished", error, trends, fit
    )


def _names(record: RunRecord) -> dict[str, str]:
    """Split names; re-measured train goes by how many of its images are measured each epoch, if not all are."""
    total = record.manifest.data.images("train")
    subset = record.spec.evaluation.train_subset
    part = f"train ({subset:,d} images)" if total and subset < total else SPLIT_NAMES["train"]
    return SPLIT_NAMES | {"train": part}


def _tolerance(metric: str, values: Curve, error: float) -> float:
    """The difference that doesn't count as better: an accuracy's standard error, for what is a share like it."""
    if metric == "loss":
        return _LOSS_TOLERANCE
    finite = values[np.isfinite(values)]
    is_share = not len(finite) or (finite.min() >= 0 and finite.max() <= 1)
    return error if is_share else float(np.ptp(finite)) * _SHARE_OF_RANGE


def _drawn(curves: _Curves) -> list[str]:
    """The metrics to draw: beside the usual ones those with curves of their own.

    Those of balanced accuracy are recall's by another name.
    """
    drawn: list[str] = []
    for metric in curves.trends:
        is_new = metric in TITLES or not any(
            all(
                np.array_equal(by_metric[metric], by_metric[other], equal_nan=True)
                for split, by_metric in curves.values.items()
                if split != "train_online"  # only some are measured there
            )
            for other in drawn
        )
        if is_new:
            drawn.append(metric)
    return drawn


def _reading(record: RunRecord, curves: _Curves) -> str:
    on = SPLIT_NAMES[curves.judge]
    accuracy = curves.trends["accuracy"]
    if len(curves.epochs) < _FEW_EPOCHS:
        return (
            f"After {counted(len(curves.epochs), 'epoch')} {on} accuracy is {accuracy.last:.3f}; "
            "that is too few to read a trend from."
        )
    sentences = [
        _improvement(curves, on, accuracy),
        _gap(curves, on, accuracy),
        f"Over the last {_last_epochs(curves)} {on} accuracy spans {accuracy.swing:.3f} and "
        f"changes by {accuracy.step:.3f} from one to the next on average"
        + (", more than one standard error: single epochs mean little." if accuracy.step > curves.error else "."),
        _online(record, curves),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _last_epochs(curves: _Curves) -> str:
    """The epochs that the swing is of, in words."""
    measured = int(np.isfinite(curves.values[curves.judge]["accuracy"]).sum())
    kind = "epochs" if measured == len(curves.epochs) else "measured epochs"
    return f"{min(LAST_EPOCHS, measured)} {kind}"


def _verdict(curves: _Curves) -> str:
    """What to do next time, where the curves say it."""
    if not curves.is_final or len(curves.epochs) < _FEW_EPOCHS:
        return ""
    on = SPLIT_NAMES[curves.judge]
    if curves.fit == "overfitting":
        return f"The {on} loss rises while train's falls: train for fewer epochs, or regularize more."
    if curves.trends["accuracy"].plateau_epoch is None:
        return f"{on.capitalize()} accuracy still rises at the last epoch: train longer."
    return ""


def _improvement(curves: _Curves, on: str, accuracy: Trend) -> str:
    name = on.capitalize()
    if accuracy.plateau_epoch is None:
        return f"{name} accuracy is still improving at epoch {curves.epochs[-1]}, the last one ({accuracy.last:.3f})."
    return (
        f"{name} accuracy stops improving around epoch {accuracy.plateau_epoch} of {curves.epochs[-1]}: from there on "
        f"it gains less than {curves.error:.3f}, one standard error; the best single epoch is {accuracy.best_epoch} "
        f"({accuracy.best:.3f})."
    )


def _gap(curves: _Curves, on: str, accuracy: Trend) -> str:
    loss = curves.trends.get("loss")
    if accuracy.gap is None or loss is None:
        return ""
    train = accuracy.last + accuracy.gap
    sides = f"At the end accuracy is {train:.3f} on {curves.names['train']} and {accuracy.last:.3f} on {on}"
    if curves.fit == "overfitting":
        return (
            f"{sides}. It is overfitting: since epoch {loss.best_epoch} the {on} loss has gone from {loss.best:.3f} "
            f"up to {loss.last:.3f}, while the train loss kept falling."
        )
    if curves.fit == "gap":
        return (
            f"{sides}, a gap of {accuracy.gap:.3f}: it knows its training images better than new ones, but as the {on} "
            "loss doesn't rise, training on has done no harm."
        )
    return f"{sides}, a difference of {accuracy.gap:+.3f}: no sign of overfitting."


def _online(record: RunRecord, curves: _Curves) -> str:
    row = record.chosen_epoch
    online = row.value("train_online", "accuracy") if row else None
    again = row.value("train", "accuracy") if row else None
    if online is None or again is None:
        return ""
    averaged = " and before they are averaged" if record.spec.train.average_decay else ""
    return (
        f"The online train line is another measurement, not another gap: at epoch {curves.chosen} it is {online:.3f} "
        f"against {again:.3f} re-measured, because it is taken on the images as training sees them, with dropout on, "
        f"while the weights still move{averaged}."
    )


def _table(curves: _Curves, *, is_flipped: bool) -> Table:
    on = SPLIT_NAMES[curves.judge]
    columns = (
        Column("Metric"),
        Column("Best", ".3f", "right"),
        Column("Epoch", "d", "right"),
        Column("Settled", "d", "right"),
        Column("Last", ".3f", "right"),
        Column(f"Train − {on}", "+z.3f", "right"),
        Column("Swing", ".3f", "right"),
    )
    rows: list[tuple[Cell, ...]] = [
        (curves.titles[metric], read.best, read.best_epoch, read.plateau_epoch, read.last, read.gap, read.swing)
        for metric, read in curves.trends.items()
    ]
    note = (
        f"Settled: the epoch after which it gets no better by more than {curves.error:.3f} (loss: {_LOSS_TOLERANCE}); "
        f"a dash: not before the end. Train − {on}: re-measured train, at the last epoch. Swing: highest minus lowest "
        f"of the last {_last_epochs(curves)}."
    )
    if curves.names["train"] != SPLIT_NAMES["train"]:
        note += (
            f" Re-measured train: {curves.names['train']}, the same each time; the final metrics are of all of them."
        )
    if is_flipped:
        note += " Curves are of each image as it is; the final metrics average it with its mirror image."
    return Table(f"The curves on {on}", columns, tuple(rows), note)


def _figure(curves: _Curves, metric: str) -> Figure:
    lines = {split: curves.values[split][metric] for split in SPLIT_NAMES}
    measured = {split: values for split, values in lines.items() if np.isfinite(values).any()}
    caption = _caption(curves, metric)
    return Figure(
        name=metric,
        title=f"{curves.titles[metric]} over the epochs",
        alt=f"Line chart over {counted(len(curves.epochs), 'epoch')} with {_spoken(measured, curves.names)}. {caption}",
        draw=partial(
            draw_curves, metric=metric, epochs=curves.epochs, lines=measured, names=curves.names, mark=_mark(curves)
        ),
        size=(5.4, 3.4),
        data={"epoch": curves.epochs, **{split: _plain(values) for split, values in measured.items()}},
        caption=caption,
    )


def _mark(curves: _Curves) -> tuple[int, str] | None:
    if curves.chosen is None:
        return None
    return curves.chosen, f"{'chosen' if curves.is_final else 'best so far'}: epoch {curves.chosen}"


def _caption(curves: _Curves, metric: str) -> str:
    read = curves.trends[metric]
    on = SPLIT_NAMES[curves.judge].capitalize()
    best = "lowest" if metric in curves.falling else "best"
    away = f", {abs(read.gap):.3f} {'above' if read.gap < 0 else 'below'} train" if read.gap is not None else ""
    words = f"{on}: {best} {read.best:.3f} at epoch {read.best_epoch}, {read.last:.3f} at the end{away}."
    if len(curves.epochs) < _FEW_EPOCHS:
        return words
    end = f"settles around epoch {read.plateau_epoch}" if read.plateau_epoch else "hasn't settled by the end"
    return f"{words} It {end}; over the last {_last_epochs(curves)} it spans {read.swing:.3f}."


def _spoken(lines: dict[str, Curve], names: dict[str, str]) -> str:
    return ", ".join(
        f"{names[split]} ending at {values[np.isfinite(values)][-1]:.3f}" for split, values in lines.items()
    )


def _plain(values: Sequence[float] | Curve) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
