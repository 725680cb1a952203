"""The lesson's sections, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from ahekit.evaluation.claims import best_by_seed, share_ends
from ahekit.evaluation.comparison import SeedSpread, seed_spread
from ahekit.figures.dot_plot import MARKERS
from ahekit.sections import Cell, Column, Figure, Section, Table, Widget

from .results import Results
from .trials import METHODS, SCRATCH, TUNED, share_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
"""Macro-F1 that the lesson tells how to reach."""


def curves(results: Results) -> Section:
    """Macro-F1 by share of the data."""
    rows: list[tuple[Cell, ...]] = []
    for method in METHODS:
        for share in results.plan.shares:
            spread = seed_spread(results.f1(method, share))
            epochs = results.outcomes[method, share][0].final.epoch
            rows.append((method, share_words(share), results.images(share), epochs, spread.mean, *share_ends(spread)))
    best = best_by_seed({method: results.f1(method, 1.0) for method in METHODS}, "macro-F1 on test")
    scratch = results.mean(SCRATCH, 1.0)
    enough = results.share_for(TUNED, scratch)
    words = (
        f"Fully tuned, the backbone reaches that with {share_words(enough)} of them."
        if enough is not None
        else "Fully tuned, the backbone doesn't reach that with any of these shares."
    )
    return Section(
        title="Learning curves",
        reading=(
            f"With all {results.images(1.0):,d} training images, cnn5 from scratch has a mean macro-F1 of "
            f"{scratch:.3f} on test. {words} Smaller shares are parts of larger ones; validation and test stay whole."
        ),
        tables=(
            Table(
                "Macro-F1 on test, means over seeds",
                (
                    Column("Method"),
                    Column("Data", align="right"),
                    Column("Images", ",d", "right"),
                    Column("Epochs", "d", "right"),
                    Column("Macro-F1", ".3f", "right"),
                    Column("From", ".3f", "right"),
                    Column("To", ".3f", "right"),
                ),
                tuple(rows),
                note="From, to: 95% interval of the mean over seeds (Student's t), on these test images.",
            ),
        ),
        figures=(_curve_figure(results),),
        values={
            method: {
                share_words(share): {"images": results.images(share), "f1": results.f1(method, share)}
                for share in results.plan.shares
            }
            for method in METHODS
        },
        verdict=f"With all training images: {best}",
    )


def _curve_figure(results: Results) -> Figure:
    spoken = "; ".join(
        f"{method}: " + ", ".join(f"{results.mean(method, share):.2f} at {share_words(share)}" for share in shares)
        for method in METHODS
        for shares in (results.plan.shares,)
    )
    return Figure(
        name="curves",
        title="Macro-F1 by training images",
        alt=f"Learning curves, one for each method. {spoken}.",
        draw=partial(_draw_curves, results=results),
        size=(6.4, 4.2),
        caption="Bars: the 95% interval of the mean over seeds.",
    )


def _draw_curves(figure: MplFigure, *, results: Results) -> None:
    axes = figure.add_subplot()
    shares = results.plan.shares
    for number, method in enumerate(METHODS):
        spreads = [seed_spread(results.f1(method, share)) for share in shares]
        # Side by side, so that bars don't hide each other.
        images = np.array([results.images(share) for share in shares]) * 1.04 ** (number - 1.5)
        _draw_line(axes, images, spreads, number, method)
    axes.set_xscale("log")
    axes.set_xticks([results.images(share) for share in shares])
    axes.set_xticklabels([f"{results.images(share):,d}\n{share_words(share)}" for share in shares])
    axes.minorticks_off()
    axes.set_xlabel("training images")
    axes.set_ylabel("macro-F1 on test")
    axes.set_ylim(0, 1)
    figure.legend(loc="outside upper center", ncols=4, fontsize=9)


def _draw_line(axes: Any, places: Any, spreads: Sequence[SeedSpread], number: int, label: str) -> None:
    means = np.array([one.mean for one in spreads])
    halves = np.array([one.interval.high - one.mean if one.interval else 0.0 for one in spreads])
    bars = [np.minimum(halves, means), np.minimum(halves, 1 - means)]
    axes.errorbar(
        places,
        means,
        yerr=bars,
        fmt=f"{MARKERS[number]}-",
        color=f"C{number}",
        markersize=5,
        elinewidth=0.9,
        label=label,
    )


def time_taken(results: Results) -> Section:
    """Minutes to a macro-F1."""
    reached = [target for target in TARGETS if any(results.mean(method, 1.0) >= target for method in METHODS)]
    rows = tuple(
        (target, *(_minutes(results.seconds_for(method, target)) for method in METHODS))
        for target in reached or TARGETS[:1]
    )
    per_share: tuple[tuple[Cell, ...], ...] = tuple(
        (share_words(share), *(float(np.mean(results.seconds(method, share))) / 60 for method in METHODS))
        for share in results.plan.shares
    )
    return Section(
        title="Minutes to a macro-F1",
        reading=(
            "Of the trainings above, the shortest whose mean macro-F1 on test reaches the figure, whatever its share "
            "of the data. Head only counts one pass of each training image through the backbone, which is kept: the "
            "second training doesn't even take that."
        ),
        tables=(
            Table(
                "Minutes to reach it",
                (Column("Macro-F1", ".2f"), *(Column(method, ".2g", "right") for method in METHODS)),
                rows,
                note="A dash: none of these trainings reaches it.",
            ),
            Table(
                "Minutes of a training",
                (Column("Data"), *(Column(method, ".2g", "right") for method in METHODS)),
                per_share,
                note="On this machine, without measuring; means over seeds.",
            ),
        ),
        figures=(_time_figure(results),),
        values={
            method: {share_words(share): {"seconds": results.seconds(method, share)} for share in results.plan.shares}
            for method in METHODS
        },
    )


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60


def _time_figure(results: Results) -> Figure:
    spoken = "; ".join(
        f"{method}: {results.mean(method, 1.0):.2f} after {np.mean(results.seconds(method, 1.0)) / 60:.2f} minutes"
        for method in METHODS
    )
    return Figure(
        name="minutes",
        title="Macro-F1 by minutes of training",
        alt="Macro-F1 on test over minutes of training, a line for each method through its shares. With all data "
        f"{spoken}.",
        draw=partial(_draw_time, results=results),
        size=(6.4, 4.0),
        caption="Each point is a share of the data, the smallest to the left.",
    )


def _draw_time(figure: MplFigure, *, results: Results) -> None:
    axes = figure.add_subplot()
    for number, method in enumerate(METHODS):
        spreads = [seed_spread(results.f1(method, share)) for share in results.plan.shares]
        minutes = np.array([np.mean(results.seconds(method, share)) / 60 for share in results.plan.shares])
        _draw_line(axes, np.maximum(minutes, 1e-4), spreads, number, method)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("minutes of training on this machine")
    axes.set_ylabel("macro-F1 on test")
    axes.set_ylim(0, 1)
    figure.legend(loc="outside upper center", ncols=4, fontsize=9)


def gaps(results: Results) -> Section:
    """From training to test accuracy."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            method,
            *(float(np.mean(results.gaps(method, share))) for share in results.plan.shares),
            results.outcomes[method, 1.0][0].trainable,
            results.outcomes[method, 1.0][0].parameters,
        )
        for method in METHODS
    )
    return Section(
        title="Learnt by heart",
        reading=(
            "Accuracy on a fixed part of the training images less accuracy on test: what a network knows of its own "
            "images alone. The fewer images there are, the easier they are to learn by heart."
        ),
        tables=(
            Table(
                "Gap from training to test accuracy, means over seeds",
                (
                    Column("Method"),
                    *(Column(share_words(share), "+.3f", "right") for share in results.plan.shares),
                    Column("Trained", ",d", "right"),
                    Column("Parameters", ",d", "right"),
                ),
                rows,
                note="Trained: parameters that this method moves.",
            ),
        ),
        values={
            method: {share_words(share): results.gaps(method, share) for share in results.plan.shares}
            for method in METHODS
        },
    )


def reach(results: Results) -> Section:
    """What each method needs to reach a macro-F1."""
    data = {
        "methods": list(METHODS),
        "points": {
            method: [
                {
                    "share": share_words(share),
                    "images": results.images(share),
                    "f1": results.mean(method, share),
                    "minutes": float(np.mean(results.seconds(method, share))) / 60,
                }
                for share in results.plan.shares
            ]
            for method in METHODS
        },
    }
    text = "choose a macro-F1 and see what each method needs to reach it: images, and minutes."
    return Section(
        title="What does it take?",
        reading="Choose a macro-F1: for each method, the least data and the shortest training that reach it.",
        widgets=(Widget("reach", _asset("reach.js"), data, text, _asset("widget.css")),),
        values={},
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
