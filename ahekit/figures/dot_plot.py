"""Drawing differences of runs from the first: a dot and its interval for each run, around a line at zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ahekit.evaluation.comparison import Difference
from ahekit.sections import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

Differences = Mapping[str, Sequence[Difference | None]]
"""By run, one for each label; None where there is nothing to measure."""

_SPREAD = 0.6  # of the distance between two labels, that several runs' dots take up
_MARKERS = "osD^v"


def difference_figure(found: Differences, labels: Sequence[str], *, name: str, title: str, caption: str) -> Figure:
    """A row for each label, and in it a dot with its interval for each run."""
    lines = {
        run: [
            (label, given.interval.low, given.value, given.interval.high)
            for label, given in zip(labels, row, strict=True)
            if given
        ]
        for run, row in found.items()
    }
    spoken = "; ".join(
        f"{run}: " + ", ".join(f"{label} {value:+.3f}" for label, _, value, _ in line) for run, line in lines.items()
    )
    return Figure(
        name=name,
        title=title,
        alt=f"Dot plot of differences from A, with 95% intervals. {spoken}.",
        draw=partial(_draw, lines=lines, labels=list(labels)),
        size=(7.6, min(1.2 + (0.2 + 0.16 * len(found)) * len(labels), 30.0)),
        data={run: [list(point) for point in line] for run, line in lines.items()},
        caption=caption,
    )


def _draw(
    figure: MplFigure, *, lines: Mapping[str, Sequence[tuple[str, float, float, float]]], labels: Sequence[str]
) -> None:
    axes = figure.add_subplot()
    axes.axvline(0, color=axes.xaxis.label.get_color(), linewidth=1)
    for number, (run, line) in enumerate(lines.items()):
        shift = _SPREAD * ((number + 0.5) / len(lines) - 0.5)
        places = [labels.index(label) + shift for label, *_ in line]
        colour = f"C{number % 6}"
        axes.hlines(places, [low for _, low, _, _ in line], [high for *_, high in line], color=colour, linewidth=1.8)
        marker = _MARKERS[number % len(_MARKERS)]
        axes.plot([value for _, _, value, _ in line], places, marker, color=colour, markersize=6, label=run)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(ylim=(len(labels) - 0.4, -0.6), xlabel="difference from A")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(lines), 4), fontsize=9)
