"""Dot plots: a row for each label, a dot for each series in it, with or without the interval around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ahekit.evaluation.comparison import Difference
from ahekit.sections import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

Differences = Mapping[str, Sequence[Difference | None]]
"""By run, one for each label; None where there is nothing to measure."""

MARKERS = "osD^v"
_SPREAD = 0.6  # of the distance between two labels, that the dots of several series side by side take up
_MANY_LABELS = 40  # more than that, and they are written smaller


@dataclass(frozen=True)
class Dots:
    """One series of a dot plot.

    Attributes:
        name: In the legend.
        values: One for each label; None: no dot.
        intervals: Low and high end, likewise; empty: none at all.
        is_filled: Whether the marker is filled or an outline.
    """

    name: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None] = ()
    colour: str = "C0"
    marker: str = "o"
    is_filled: bool = True


def draw_dots(figure: MplFigure, labels: Sequence[str], series: Sequence[Dots], *, side_by_side: bool = False) -> Axes:
    """Draw series onto an empty figure, the first label at the top, and return the axes for limits and names.

    Args:
        side_by_side: Whether a label's dots stand one below the other, each on the line of its own interval, as runs
            do that are compared, or all on one line, on the bands of their intervals.
    """
    axes = figure.add_subplot()
    for number, dots in enumerate(series):
        shift = _SPREAD * ((number + 0.5) / len(series) - 0.5) if side_by_side else 0.0
        ends = [(place + shift, *interval) for place, interval in enumerate(dots.intervals) if interval is not None]
        if ends:
            places, lows, highs = zip(*ends, strict=True)
            width = 1.8 if side_by_side else 6.0
            axes.hlines(places, lows, highs, color=dots.colour, linewidth=width, alpha=1.0 if side_by_side else 0.3)
        points = [(value, place + shift) for place, value in enumerate(dots.values) if value is not None]
        if points:
            (line,) = axes.plot(*np.transpose(points), dots.marker, color=dots.colour, markersize=6, label=dots.name)
            line.set_markerfacecolor(dots.colour if dots.is_filled else "none")
    axes.set_yticks(range(len(labels)), labels, fontsize=10 if len(labels) <= _MANY_LABELS else 6)
    axes.set_ylim(len(labels) - 0.4, -0.6)  # downwards: the first label at the top
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    # Over the whole figure's width: over the axes alone it would be cut beside long labels.
    figure.legend(loc="outside upper center", ncols=min(len(series), 4), fontsize=9)
    return axes


def difference_figure(
    differences: Differences, labels: Sequence[str], *, name: str, title: str, caption: str
) -> Figure:
    """A row for each label, and in it a dot with its interval for each run, around a line at zero."""
    spoken = "; ".join(
        f"{run}: "
        + ", ".join(f"{label} {one.value:+.3f}" for label, one in zip(labels, row, strict=True) if one is not None)
        for run, row in differences.items()
    )
    data = {
        run: [
            [label, one.interval.low, one.value, one.interval.high]
            for label, one in zip(labels, row, strict=True)
            if one is not None
        ]
        for run, row in differences.items()
    }
    return Figure(
        name=name,
        title=title,
        alt=f"Dot plot of differences from A, with 95% intervals. {spoken}.",
        draw=partial(_draw_differences, differences=differences, labels=labels),
        size=(6.4, min(1.2 + (0.2 + 0.16 * len(differences)) * len(labels), 30.0)),
        data=data,
        caption=caption,
    )


def _draw_differences(figure: MplFigure, *, differences: Differences, labels: Sequence[str]) -> None:
    series = [
        Dots(
            run,
            values=[None if one is None else one.value for one in row],
            intervals=[None if one is None else (one.interval.low, one.interval.high) for one in row],
            colour=f"C{number % 6}",
            marker=MARKERS[number % len(MARKERS)],
        )
        # The first run, which the others differ from, keeps the first colour to itself, as in every figure of runs.
        for number, (run, row) in enumerate(differences.items(), start=1)
    ]
    axes = draw_dots(figure, labels, series, side_by_side=True)
    axes.axvline(0, color=axes.xaxis.label.get_color(), linewidth=1, zorder=0)
    axes.set_xlabel("difference from A")
