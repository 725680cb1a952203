"""What the sanity checks of maps come to: verdicts, tables and figures."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as MplFigure
from numpy.typing import NDArray

from ahekit.figures.tiles import Kind, Tile, Tiles, image_label, image_tile, original
from ahekit.inspection import map_quality as map_checks
from ahekit.inspection.heat_map import READING, bright
from ahekit.protocols import VisualizerInput
from ahekit.sections import Cell, Column, Figure, Table

Floats = NDArray[np.float64]

WORTHLESS = 0.7
"""Rank correlation with the trained map from which half the map's order (the square) is there without training."""
CASCADE = (
    "From left to right the weights of one more stage are random. Below: rank correlation with the trained network's "
    "map; 1: nothing changed, 0: nothing of its order is left."
)
ORDERS = ("by the map", "map moved", "random order")


def weights_verdict(stages: list[str], correlations: Floats, decisive: int) -> str:
    """What the correlations say of the maps.

    Args:
        decisive: The stage whose randomization first changed the score.
    """
    if np.isnan(correlations).all():
        return "weights: the trained network's maps are constant, so there is nothing to compare"
    first = float(np.nanmean(correlations[decisive]))
    whole = float(np.nanmean(correlations[-1]))
    measured = (
        f"weights: rank correlation with the trained maps is {first:.2f} with the weights down to {stages[decisive]} "
        f"randomized, the first that the score depends on, and {whole:.2f} with all"
    )
    if max(first, whole) >= WORTHLESS:
        return f"{measured}: worthless as evidence, a map that does not change when the weights do shows the image"
    return f"{measured}: they depend on what was learnt (worthless from {WORTHLESS})"


def areas_verdict(deletion: Floats, insertion: Floats) -> str:
    """What the areas say of the maps."""
    # By the map, and by the same map moved elsewhere.
    fall, fall_elsewhere = map_checks.area(deletion)[:2]
    rise, rise_elsewhere = map_checks.area(insertion)[:2]
    faster = int((fall < fall_elsewhere).sum())
    higher = int((rise > rise_elsewhere).sum())
    better = [fall.mean() < fall_elsewhere.mean(), rise.mean() > rise_elsewhere.mean()]
    verdict = {
        2: "the score depends on what the maps show",
        1: "mixed, only one of the two means is better than elsewhere",
        0: "the maps' places tell no more than other places",
    }[sum(better)]
    return (
        f"deletion and insertion: against the same map moved elsewhere a smaller deletion area on {faster} of "
        f"{len(fall)} images, a larger insertion area on {higher}: {verdict}"
    )


def weights_table(stages: list[str], correlations: Floats) -> Table:
    """The correlations by stage."""
    rows: list[tuple[Cell, ...]] = []
    for number, stage in enumerate(stages):
        finite = correlations[number][~np.isnan(correlations[number])]
        words = "all weights" if number == len(stages) - 1 else stage if number == 0 else f"and {stage}"
        if len(finite):
            rows.append((words, float(finite.mean()), float(finite.min()), float(finite.max())))
        else:
            rows.append((words, None, None, None))
    numbers = (Column(name, ".2f", "right") for name in ("mean", "least", "largest"))
    return Table(
        "Weights randomized from the head down: rank correlation with the trained map",
        (Column("randomized"), *numbers),
        tuple(rows),
        note="Spearman's, over each map's places. 1: the map did not change; 0: nothing of its order is left.",
    )


def areas_table(deletion: Floats, insertion: Floats, quantity: str) -> Table:
    """The areas, means over the images."""
    areas = [map_checks.area(curves).mean(axis=1) for curves in (deletion, insertion)]
    rows: tuple[tuple[Cell, ...], ...] = (
        ("deletion", *map(float, areas[0]), "smaller"),
        ("insertion", *map(float, areas[1]), "larger"),
    )
    return Table(
        f"Area under the {quantity} while pixels go, and come back",
        (Column("curve"), *(Column(order, ".3f", "right") for order in ORDERS), Column("better")),
        rows,
        note="Deletion grays pixels, insertion puts them back into the blurred image; means over the images. Pixels in "
        "random order make a noise that networks fall for; the moved map is as coarse as the map, the fair baseline.",
    )


def maps_figure(
    request: VisualizerInput,
    trained: NDArray[np.floating],
    stages: list[str],
    maps: list[NDArray[np.float32]],
    correlations: Floats,
    *,
    signed: bool,
    title: str,
    name: str,
) -> Figure:
    """A row for each image: its maps as more and more weights are random."""
    kind: Kind = "signed" if signed else "map"
    rows = []
    for index in range(len(trained)):
        texts = ["", *("–" if np.isnan(value) else f"{value:.2f}" for value in correlations[:, index])]
        cascade = [trained[index], *(of_stage[index] for of_stage in maps)]
        on = original(request, index)
        tiles = [Tile(map, kind, high=bright(map), on=on, text=text) for map, text in zip(cascade, texts, strict=True)]
        rows.append((image_tile(request, index), *tiles))
    columns = ("image", "trained", *(f"+ {stage}" if number else stage for number, stage in enumerate(stages)))
    labels = tuple(image_label(request, index) for index in range(len(trained)))
    caption = f"{CASCADE} {READING[kind]}"
    table = Tiles(labels, columns, tuple(rows), tile=0.85, caption=caption)
    return Figure(
        name=f"{name}-randomized",
        title=f"{title}. Weights randomized from the head down",
        alt=f"A row for each image: {', '.join(columns)}.",
        draw=table.draw,
        size=table.size,
        data={"stages": stages, "correlations": correlations.tolist()},
    )


def curves_figure(deletion: Floats, insertion: Floats, quantity: str, *, title: str, name: str) -> Figure:
    """Both curves in every order, means over the images."""
    shares = np.linspace(0, 1, deletion.shape[-1])
    curves = {"deletion": deletion.mean(axis=1), "insertion": insertion.mean(axis=1)}

    def draw(figure: MplFigure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        actions = ("grayed", "put back into the blurred image")
        for axes, (what, lines), action in zip(panels, curves.items(), actions, strict=True):
            for number, (order, line) in enumerate(zip(ORDERS, lines, strict=True)):
                label = f"{order}: area {float(map_checks.area(line)):.3f}"
                axes.plot(shares, line, color=f"C{number}", linestyle=("-", "--", ":")[number], label=label)
            axes.set_title(what.capitalize(), fontsize=10)
            axes.set_xlabel(f"share of the pixels {action}")
            axes.set_xlim(0, 1)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=9)
        panels[0].set_ylabel(f"{quantity}, mean")
        panels[0].set_ylim(bottom=min(0.0, float(min(deletion.min(), insertion.min()))))

    return Figure(
        name=f"{name}-deletion-insertion",
        title=f"{title}. Deletion and insertion",
        alt="Two panels of curves, pixels deleted and inserted, each in three orders: " + ", ".join(ORDERS) + ".",
        draw=draw,
        size=(8.4, 4.4),
        data={what: lines.tolist() for what, lines in curves.items()},
    )
