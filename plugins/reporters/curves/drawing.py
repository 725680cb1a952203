"""Drawing learning curves: a line per split, named at its end, or a line per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour and line style both tell the lines apart; the two measurements of train share a colour.
_LINES: dict[str, dict[str, Any]] = {
    "train_online": {"color": "C0", "linestyle": (0, (1, 1.2)), "linewidth": 1.6},
    "train": {"color": "C0", "linestyle": "-", "linewidth": 1.6},
    "val": {"color": "C2", "linestyle": (0, (4, 1.5)), "linewidth": 1.6},
    "test": {"color": "C1", "linestyle": "-", "linewidth": 2.4},
}
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1, 1, 1)))
_NAMES_FROM = 1.03  # of the axis's width
_LABEL_GAP = 0.078  # least distance of two labels, as a share of the axis
_DOTTED_EPOCHS = 15  # up to so many measured epochs each one gets a dot


def draw_curves(
    figure: Figure,
    *,
    metric: str,
    epochs: Sequence[int],
    lines: Mapping[str, NDArray[np.float64]],
    names: Mapping[str, str],
    mark: tuple[int, str] | None,
) -> None:
    """Draw one metric's curves `(E,)` by split.

    Args:
        names: What each split's line is called.
        mark: An epoch to mark, and what to write there.
    """
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()
    for split, values in lines.items():
        # Joined over the epochs at which it wasn't measured.
        known = np.isfinite(values)
        axes.plot(
            np.array(epochs)[known],
            values[known],
            marker="o" if known.sum() <= _DOTTED_EPOCHS else "",
            markersize=3.5,
            clip_on=False,
            **_LINES[split],
        )
    low, high = _limits(metric, lines)
    axes.set(ylim=(low, high), xlabel="epoch")
    if len(epochs) == 1:
        axes.set_xticks(epochs)
    else:
        axes.set_xlim(epochs[0], epochs[-1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if mark is not None:
        _mark(axes, *mark, is_late=mark[0] > (epochs[0] + epochs[-1]) / 2)
    _name_lines(axes, lines, names, low=low, high=high)


def draw_overlaid(figure: Figure, *, lines: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Draw several runs' curves of one metric, (epoch, value) each, every run in its own colour; one may be empty."""
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()
    for number, (name, line) in enumerate(lines.items()):
        if not line:
            continue
        look = {"color": f"C{number % 6}", "linestyle": _DASHES[number % len(_DASHES)]}
        axes.plot(*zip(*line, strict=True), label=name, marker="o" if len(line) == 1 else "", **look)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    figure.legend(loc="outside upper center", fontsize=8)


def _limits(metric: str, lines: Mapping[str, NDArray[np.float64]]) -> tuple[float, float]:
    """A share from the tenth below its lowest up to 1; a loss, or what else is never negative, from 0 up."""
    values = np.concatenate(list(lines.values()))
    values = values[np.isfinite(values)]
    low = float(values.min())
    high = float(values.max())
    if metric != "loss" and high <= 1 and low >= -1:
        return max(-1.0 if low < 0 else 0.0, float(np.floor(low * 10) / 10)), 1.0
    if low >= 0:
        return 0.0, high * 1.05 or 1.0
    margin = (high - low) * 0.05 or 1.0
    return low - margin, high + margin


def _mark(axes: Axes, epoch: int, name: str, *, is_late: bool) -> None:
    """A line at an epoch, named above it, on the side away from the lines' names."""
    axes.axvline(epoch, linewidth=1, linestyle=(0, (2, 3)), color=axes.xaxis.label.get_color(), zorder=1)
    side = "right" if is_late else "left"
    axes.text(epoch, 1.01, name, transform=axes.get_xaxis_transform(), ha=side, va="bottom", fontsize=9)


def _name_lines(
    axes: Axes, lines: Mapping[str, NDArray[np.float64]], names: Mapping[str, str], *, low: float, high: float
) -> None:
    """Name and last value right of each line's end, moved apart where the ends lie close."""
    lasts = {split: float(values[np.isfinite(values)][-1]) for split, values in lines.items()}
    order = sorted(lasts, key=lambda split: lasts[split])
    ends = [(lasts[split] - low) / (high - low) for split in order]
    for split, end, place in zip(order, ends, spread(ends, gap=_LABEL_GAP), strict=True):
        color = _LINES[split]["color"]
        # A line of one's own: an annotation's arrow, cut where its text begins, takes a quarter of the drawing's time.
        axes.plot((1.0, _NAMES_FROM), (end, place), transform=axes.transAxes, color=color, linewidth=0.8, clip_on=False)
        axes.text(
            _NAMES_FROM + 0.005,
            place,
            f"{names[split]} {lasts[split]:.3f}",
            transform=axes.transAxes,
            va="center",
            fontsize=9,
            color=color,
            fontweight="bold" if split == "test" else "normal",
        )


def spread(places: Sequence[float], *, gap: float) -> list[float]:
    """Ascending places in [0, 1], moved as little as it takes to lie `gap` apart and stay within."""
    moved = list(places)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    ceiling = 1.0
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved
