"""Figures of the confidence section: reliability, and errors against the share of images answered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ahekit.evaluation.calibration import BINS, Confidences, Floats, Reliability, risk_coverage
from ahekit.evaluation.record import SPLIT_NAMES
from ahekit.sections import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

_DRAWN_POINTS = 2_000


def reliability_figure(split: str, states: dict[str, Reliability]) -> Figure:
    """Accuracy against confidence, for each kind of confidence by its name."""
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


def coverage_figure(
    split: str, ranked: dict[str, Confidences], areas: dict[str, float], chosen: str, targets: tuple[float, ...]
) -> Figure:
    """A curve for each score that may rank the answers, by its name."""
    curves = {name: _curve(answers) for name, answers in ranked.items()}
    coverage, error = curves[chosen]
    half = float(np.interp(0.5, coverage, error))
    return Figure(
        name="risk-coverage",
        title=f"Errors among the answers, {SPLIT_NAMES[split]}",
        alt=f"Share of wrong answers against the share of images answered, the surest first, by {chosen}: {half:.1%} "
        f"at half of the images, {error[-1]:.1%} at all of them. Areas under the curves: "
        + ", ".join(f"{name} {area:.4f}" for name, area in areas.items())
        + ".",
        draw=partial(_draw_coverage, curves=curves, areas=areas, chosen=chosen, targets=targets),
        size=(5.4, 4.4),
        data={
            "chosen": chosen,
            "curves": {
                name: {"area": areas[name], "coverage": coverage.tolist(), "error": error.tolist()}
                for name, (coverage, error) in curves.items()
            },
        },
        caption="Read from the right: leaving the least sure images to a person takes errors out of the rest. The "
        "lower a curve, the better its score tells right answers from wrong ones; the thick one is used.",
    )


def _curve(answers: Confidences) -> tuple[Floats, Floats]:
    """Share answered and share wrong among these, at most some thousand points of it."""
    _, coverage, accuracy = risk_coverage(answers)
    # Thinned from the end, so that the last point, all images, stays.
    every = max(1, len(coverage) // _DRAWN_POINTS)
    return coverage[::-1][::every][::-1], (1 - accuracy)[::-1][::every][::-1]


def _draw_coverage(
    figure: MplFigure,
    *,
    curves: dict[str, tuple[Floats, Floats]],
    areas: dict[str, float],
    chosen: str,
    targets: tuple[float, ...],
) -> None:
    from matplotlib.ticker import PercentFormatter

    axes = figure.add_subplot()
    ink = axes.xaxis.label.get_color()
    for target in targets:
        axes.axhline(1 - target, color=ink, linewidth=0.8, linestyle=(0, (4, 2)), alpha=0.6)
        axes.text(1.01, 1 - target, f"{target:.0%} right", va="center", fontsize=9, color=ink)
    for number, (name, (coverage, error)) in enumerate(curves.items()):
        width = 2.2 if name == chosen else 1.1
        label = f"{name} ({areas[name]:.4f})"
        # The chosen one lies above the others where they meet.
        layer = 3 if name == chosen else 2
        axes.plot(
            coverage, error, drawstyle="steps-pre", color=f"C{number}", linewidth=width, label=label, zorder=layer
        )
    axes.set(xlim=(0, 1), xlabel="images answered", ylabel="wrong among them")
    axes.grid(axis="x", visible=False)
    # Room for the legend above the curves.
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.legend(loc="upper left", fontsize=9, title="score (area under the curve)", title_fontsize=9)
