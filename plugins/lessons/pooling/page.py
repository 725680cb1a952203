"""The lesson's sections, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ahekit.evaluation.claims import best_by_seed, share_ends
from ahekit.evaluation.comparison import SeedSpread, seed_spread
from ahekit.figures.dot_plot import MARKERS, Dots, draw_dots
from ahekit.figures.tiles import Tile, Tiles
from ahekit.sample import draw
from ahekit.sections import Cell, Column, Figure, Section, Table, Widget
from ahekit.wording import counted

from .measures import NOISE, POOLINGS, SHIFTS, WRONG_SHARE, Effect, enlarged
from .results import Plan, Results
from .variants import VARIANTS, WAYS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

SHOWN = ("vault", "stained_glass", "gargoyle")
"""Drawings of the embedded sample that the page shows pooled."""


def trained(results: Results) -> Section:
    """Six networks at equal budget: figures, work and time."""
    rows: list[tuple[Cell, ...]] = []
    for name in VARIANTS:
        f1 = seed_spread(results.test(name, "f1"))
        rows.append(
            (
                name,
                f1.mean,
                *share_ends(f1),
                float(np.mean(results.test(name, "accuracy"))),
                float(np.mean(results.gaps(name))),
                results.outcomes[name][0].parameters,
                results.work(results.networks[name]) / 1e6,
                60 * results.minutes(name),
            )
        )
    best = best_by_seed({name: results.test(name, "f1") for name in VARIANTS}, "macro-F1 on test")
    thin = results.networks["no pooling"]
    whole = thin.model_copy(update={"channels": results.networks["max"].channels})
    factor = results.work(whole) / results.work(results.networks["max"])
    channels = " ".join(map(str, thin.channels))
    return Section(
        title="Six networks at equal budget",
        reading=(
            f"Every network sees the same pictures in the same order, in {counted(results.plan.epochs, 'epoch')}. The "
            "four ways of pooling have the same parameters. Without pooling the same channels would take "
            f"{factor:.0f} times the multiply-adds, so the networks that pool less often get fewer channels, all by "
            f"one factor, until the work is nearest to that of max pooling (no pooling: {channels}). {best}"
        ),
        tables=(
            Table(
                "Test figures, means over seeds",
                (
                    Column("Pooling"),
                    Column("Macro-F1", ".3f", "right"),
                    Column("From", ".3f", "right"),
                    Column("To", ".3f", "right"),
                    Column("Accuracy", ".3f", "right"),
                    Column("Gap", "+.3f", "right"),
                    Column("Parameters", ",d", "right"),
                    Column("Million products", ".1f", "right"),
                    Column("Seconds", ".0f", "right"),
                ),
                tuple(rows),
                note="From, to: 95% interval of the mean macro-F1 over seeds (Student's t), on these test images. Gap: "
                "accuracy on training images less accuracy on test images. Seconds: of one training on this machine.",
            ),
        ),
        figures=(_f1_figure(results),),
        values={
            name: {
                "f1": results.test(name, "f1"),
                "accuracy": results.test(name, "accuracy"),
                "gap": results.gaps(name),
                "parameters": results.outcomes[name][0].parameters,
                "multiply_adds": results.work(results.networks[name]),
                "channels": list(results.networks[name].channels),
            }
            for name in VARIANTS
        },
        verdict=f"Of six networks at equal budget: {best}",
    )


def _f1_figure(results: Results) -> Figure:
    spreads = {name: seed_spread(results.test(name, "f1")) for name in VARIANTS}
    spoken = ", ".join(f"{name} {spread.mean:.3f}" for name, spread in spreads.items())
    return Figure(
        name="f1",
        title="Macro-F1 on test by pooling",
        alt=f"Dot plot of mean macro-F1 with its interval over seeds: {spoken}.",
        draw=partial(_draw_f1, spreads=spreads, results=results),
        size=(6.4, 3.2),
        data={name: results.test(name, "f1") for name in VARIANTS},
        caption="Filled: the mean over seeds with its 95% interval; outlines: single seeds.",
    )


def _draw_f1(figure: MplFigure, *, spreads: Mapping[str, SeedSpread], results: Results) -> None:
    means = Dots(
        "mean over seeds",
        [spread.mean for spread in spreads.values()],
        [None if spread.interval is None else share_ends(spread) for spread in spreads.values()],  # type: ignore[misc]
    )
    singles = Dots("single seeds", [results.test(name, "f1")[0] for name in spreads], colour="C5", is_filled=False)
    axes = draw_dots(figure, list(spreads), [means, singles])
    for number in range(1, results.plan.seeds):
        figures = [results.test(name, "f1")[number] for name in spreads]
        axes.plot(figures, range(len(spreads)), "o", color="C5", markersize=6, markerfacecolor="none")
    axes.set_xlabel("macro-F1 on test")


def moved(results: Results) -> Section:
    """What networks make of pictures that move."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            name,
            *(float(np.mean(results.moved(name, "changed", shift))) for shift in (1, 2, 4, 8)),
            *(float(np.mean(results.moved(name, "distance", shift))) for shift in (1, 8)),
        )
        for name in VARIANTS
    )
    steady = min(WAYS, key=lambda name: float(np.mean(results.moved(name, "distance", 1))))
    return Section(
        title="When the picture moves",
        reading=(
            f"Each picture is decoded {2 * SHIFTS[-1]} pixels larger than what the networks see, and a window moves "
            "over it, in four directions: what enters at its border is the picture's own, no edge and no filling. Of "
            f"the four ways of pooling, 1 pixel moves logits least with: {steady}."
        ),
        tables=(
            Table(
                "Moved by so many pixels",
                (
                    Column("Pooling"),
                    *(Column(f"{shift} px", ".1%", "right") for shift in (1, 2, 4, 8)),
                    *(Column(f"logits, {shift} px", ".3f", "right") for shift in (1, 8)),
                ),
                rows,
                note="Share of predictions that change; how far logits move, 1 being the typical distance of a "
                "picture's logits from the mean of all pictures. Means over directions and seeds.",
            ),
        ),
        figures=(_moved_figure(results),),
        values={
            name: {
                what: {str(shift): results.moved(name, what, shift) for shift in SHIFTS}
                for what in ("changed", "distance")
            }
            for name in VARIANTS
        },
    )


def _moved_figure(results: Results) -> Figure:
    spoken = "; ".join(
        f"{name}: {np.mean(results.moved(name, 'changed', 1)):.1%} at 1 pixel, "
        f"{np.mean(results.moved(name, 'changed', 8)):.1%} at 8"
        for name in VARIANTS
    )
    return Figure(
        name="moved",
        title="Predictions and logits under a shift",
        alt=f"Two line plots over shifts of 1 to 8 pixels. Predictions that change: {spoken}.",
        draw=partial(_draw_moved, results=results),
        size=(7.4, 3.8),
        caption="Bars: the 95% interval of the mean over seeds.",
    )


def _draw_moved(figure: MplFigure, *, results: Results) -> None:
    axes = figure.subplots(1, 2)
    titles = {"changed": "predictions that change, %", "distance": "distance of logits"}
    for place, (what, title) in enumerate(titles.items()):
        scale = 100 if what == "changed" else 1
        for number, name in enumerate(VARIANTS):
            spreads = [seed_spread(results.moved(name, what, shift)) for shift in SHIFTS]
            halves = [(one.interval.high - one.mean if one.interval else 0.0) * scale for one in spreads]
            # Side by side, so that bars don't hide each other.
            shifts = np.array(SHIFTS) + 0.08 * (number - 2.5)
            means = np.array([one.mean for one in spreads]) * scale
            low = np.minimum(halves, means)
            style = "-" if name in WAYS else "--"
            marker = MARKERS[number % len(MARKERS)]
            axes[place].errorbar(
                shifts, means, yerr=[low, halves], fmt=f"{marker}{style}", markersize=4, elinewidth=0.8, label=name
            )
        axes[place].set_xlabel("shift, pixels")
        axes[place].set_ylabel(title)
        axes[place].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=9)


def kept(effects: Mapping[str, Effect], plan: Plan) -> Section:
    """What pooling by itself leaves of pictures."""
    rows: tuple[tuple[Cell, ...], ...] = tuple((name, *effect.kept) for name, effect in effects.items())
    pictures = {name: drawing(name) for name in SHOWN}
    tiles = Tiles(
        labels=tuple(name.replace("_", " ") for name in SHOWN),
        columns=("picture", *POOLINGS),
        rows=tuple(
            (
                Tile(pixels, "picture"),
                *(Tile(pooled_picture(pixels, name), "picture") for name in POOLINGS),
            )
            for pixels in pictures.values()
        ),
        caption="Three poolings each, brought back to the picture's size: one colour for 8×8 pixels.",
    )
    return Section(
        title="What a pooling keeps of a picture",
        reading=(
            "Pooling by itself, on the pictures' own pixels, without a network. Each 2×2 pooling leaves a quarter of "
            "the values. How much of a picture that is depends on it: where neighbours are alike, little is lost."
        ),
        tables=(
            Table(
                "Share of the variance that is left",
                (
                    Column("Pooling"),
                    *(Column(f"{counted(times, 'pooling')}", ".1%", "right") for times in (1, 2, 3)),
                ),
                rows,
                note=f"Of test pictures at {plan.image_size} px, brought back to their size. What max pooling makes "
                "brighter counts as lost. A strided convolution leaves out every second place, whatever its kernel "
                "makes of the others.",
            ),
        ),
        figures=(
            Figure(
                name="kept",
                title="Drawings of the embedded sample, pooled three times",
                alt="Drawings of a vault, stained glass and a gargoyle, and what max, average, every second pixel and "
                "blur pooling leave of them: max is brighter, average smooth, every second pixel jagged.",
                draw=tiles.draw,
                size=tiles.size,
            ),
        ),
        values={name: {"kept": list(effect.kept)} for name, effect in effects.items()},
    )


def drawing(name: str) -> NDArray[np.uint8]:
    """A drawing of the embedded sample, 64 pixels a side, always the same."""
    return np.array(draw(name, np.random.default_rng(7)))


def pooled_picture(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """A picture `(S, S, 3)` after three poolings, brought back to its size."""
    maps = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).double()
    pooled = enlarged(POOLINGS[name], maps, 3)[0].permute(1, 2, 0)
    return pooled.round().clamp(0, 255).byte().numpy()


def disturbed(results: Results, effects: Mapping[str, Effect]) -> Section:
    """What noise and wrong pixels do to pooling by itself, and to networks."""
    by_itself = tuple((name, one.noise, one.bias, one.wrong, one.touched) for name, one in effects.items())
    of_networks = []
    for name in VARIANTS:
        row: list[Cell] = [name, float(np.mean(results.test(name, "accuracy")))]
        for disturbance in ("noise", "wrong pixels"):
            spread = seed_spread(results.lost(name, disturbance))
            ends = (spread.interval.low, spread.interval.high) if spread.interval else (None, None)
            row += [spread.mean, *ends]
        of_networks.append(tuple(row))
    return Section(
        title="Noise, and one wrong maximum",
        reading=(
            f"Of noise of {NOISE:g} grey levels, max pooling lets {effects['max'].noise:.0%} through and average "
            f"pooling {effects['average'].noise:.0%}; and since max picks the largest of four, noise moves its values "
            f"by {effects['max'].bias:+.2f} of the noise's deviation in the mean. One wrong white pixel moves the "
            f"value that it meets by {effects['max'].wrong:.0f} grey levels with max and by "
            f"{effects['average'].wrong:.0f} with average pooling. What trained networks make of that is in the second "
            "table."
        ),
        tables=(
            Table(
                "Pooling by itself",
                (
                    Column("Pooling"),
                    Column("Noise left", ".2f", "right"),
                    Column("Shift by noise", "+.2f", "right"),
                    Column("Wrong pixel", ".1f", "right"),
                    Column("Values it changes", ".2f", "right"),
                ),
                by_itself,
                note="Noise and its shift in units of the noise's deviation; the wrong pixel's largest change in grey "
                "levels, mean over where it lies.",
            ),
            Table(
                "Accuracy that a disturbance costs the networks",
                (
                    Column("Pooling"),
                    Column("Accuracy", ".3f", "right"),
                    Column("Noise", "+.3f", "right"),
                    Column("from", "+.3f", "right"),
                    Column("to", "+.3f", "right"),
                    Column("Wrong pixels", "+.3f", "right"),
                    Column("from ", "+.3f", "right"),
                    Column("to ", "+.3f", "right"),
                ),
                tuple(of_networks),
                note=f"On all test images: noise of {NOISE:g} grey levels; {WRONG_SHARE:.0%} of the pixels white. "
                "From, to: 95% interval of the mean over seeds.",
            ),
        ),
        values={
            "by_itself": {
                name: {"noise": one.noise, "bias": one.bias, "wrong": one.wrong, "touched": one.touched}
                for name, one in effects.items()
            },
            "networks": {
                name: {each: results.lost(name, each) for each in ("noise", "wrong pixels")} for name in VARIANTS
            },
        },
    )


def by_hand() -> Section:
    """A small picture to move and to spoil."""
    text = "move a small picture, spoil one of its values, and see what each pooling makes of it."
    return Section(
        title="By hand",
        reading=(
            "A bright stroke on an 8×8 picture. Move it by one: which pooled values change, and by how much? Click a "
            "value to spoil it."
        ),
        widgets=(Widget("pooling", _asset("pooling.js"), {}, text, _asset("widget.css")),),
        values={},
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
