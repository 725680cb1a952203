"""Sanity checks of maps, beside the picture: `--check`, for every method that makes one map of each image.

1. **Weights.** The network's weights are randomised from the head down. A map that stays the same, when all weights
   change or those alone that the score is made with, shows the image and not what the network learnt. Sanity Checks
   for Saliency Maps, https://arxiv.org/abs/1810.03292. Of signed maps the sizes are compared, which the paper finds to
   survive where signs don't.
2. **Deletion and insertion.** Pixels are grayed, or put back into a blurred image, those of the map's largest values
   first; the faster the score falls, or rises, the better. RISE, https://arxiv.org/abs/1806.07421. Beside it stand the
   same map moved to another place, and pixels in random order.
3. **In place.** Layers that overwrite their input must not change the map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure as MplFigure
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ahekit.evaluation import map_checks
from ahekit.hooks import evaluating
from ahekit.protocols import Visualization, VisualizerInput
from ahekit.reporting.sections import Column, Figure, Table

from ._draw import Kind, Tile, Tiles, image_label, image_tile
from ._heat import READING, bright, enlarge
from ._target import DESCRIPTION, Target

Floats = NDArray[np.float64]

WORTHLESS = 0.7
"""Rank correlation with the trained map from which half the map's order (the square) is there without training."""
TOLERANCE = 1e-4
"""Of the map's largest value, by which an in-place network's map may differ."""
CASCADE = (
    "From left to right the weights of one more stage are random. Below: rank correlation with the trained network's "
    "map; 1: nothing changed, 0: nothing of its order is left."
)
ORDERS = ("by the map", "map moved", "random order")


class CheckedParams(BaseModel):
    """What can be set of every method that makes one map of each image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: bool = Field(
        False, description="sanity checks beside the picture: weights randomised, deletion and insertion, in place"
    )


class TargetParams(CheckedParams):
    """What can be set of every such method that explains a class's score."""

    target: str = Field("predicted", description=DESCRIPTION)


@dataclass(frozen=True)
class Explained:
    """What the checks repeat on other networks and other images.

    Attributes:
        maps: The maps `(B, h, w)` of what it is given, of the same classes or filters whatever its network says.
        score: What the maps explain, of a network in eval mode: network, images `(B, 3, H, W)` and which one each of
            them is made of `(B,)`, to `(B,)`.
        quantity: What the score is, with its unit.
        signed: Whether a map has negative values that speak against the score.
    """

    maps: Callable[[VisualizerInput], Tensor]
    score: Callable[[nn.Module, Tensor, Tensor], Tensor]
    quantity: str
    signed: bool = False

    @classmethod
    def of_class(cls, target: Target, maps: Callable[[VisualizerInput], Tensor], *, signed: bool = False) -> Explained:
        """For a method that explains a class's logit: followed by the class's probability."""
        quantity = "probability of the class" if target.against is None else "probability of the class, of the two"
        return cls(maps, lambda module, images, of: target.probability(module(images), of), quantity, signed)


def checked(seen: Visualization, given: VisualizerInput, params: CheckedParams, explained: Explained) -> Visualization:
    """A visualization, with the checks of its array `map` when they are asked for.

    Returns:
        Beside what was there: two figures, two tables, a note with the verdict of each check, and arrays
        `check_maps` `(stages, B, h, w)`, `check_correlations` `(stages, B)`, `check_stages`, `check_orders`,
        `check_shares` `(S + 1,)`, `check_deletion` and `check_insertion` `(orders, B, S + 1)`.
    """
    if not params.check:
        return seen
    count = len(given.model.stages)
    total = count + len(ORDERS) + 1
    progress = partial(_advance, given, iter(range(1, total + 1)), total)
    trained = np.asarray(seen.arrays["map"])
    stages, maps, changed = [], [], []
    before = _scores(given, given.model.module, explained)
    for stage, network in map_checks.randomised(given.model.module, given.model.stages, seed=given.seed):
        stages.append(stage)
        maps.append(_maps(given, network, explained))
        changed.append(not torch.allclose(_scores(given, network, explained), before))
        progress()
    correlations = np.stack([_correlations(trained, one, explained) for one in maps])
    decisive = changed.index(True) if True in changed else len(changed) - 1
    deletion, insertion = _curves(given, torch.from_numpy(trained), explained, progress)
    same = _in_place(given, explained)
    progress()
    title, name = seen.figures[0].title, seen.figures[0].name
    figures = (
        _maps_figure(given, trained, stages, maps, correlations, explained, title=title, name=name),
        _curves_figure(deletion, insertion, explained, title=title, name=name),
    )
    arrays = {
        "check_maps": np.stack(maps),
        "check_correlations": correlations,
        "check_stages": np.array(stages),
        "check_orders": np.array(ORDERS),
        "check_shares": np.linspace(0, 1, deletion.shape[-1]),
        "check_deletion": deletion,
        "check_insertion": insertion,
    }
    return replace(
        seen,
        arrays={**seen.arrays, **arrays},
        figures=(*seen.figures, *figures),
        tables=(*seen.tables, _weights_table(stages, correlations), _areas_table(deletion, insertion, explained)),
        notes=(
            *seen.notes,
            _weights_verdict(stages, correlations, decisive),
            _areas_verdict(deletion, insertion),
            same,
        ),
    )


def _advance(given: VisualizerInput, numbers: Any, total: int) -> None:
    given.progress(next(numbers), total)


def _maps(given: VisualizerInput, network: nn.Module, explained: Explained) -> NDArray[np.float32]:
    """The maps of another network of the same make. Its stages stay those of the first, which no map reads."""
    found = explained.maps(replace(given, model=replace(given.model, module=network)))
    maps: NDArray[np.float32] = found.detach().float().cpu().numpy()
    return maps


def _scores(given: VisualizerInput, network: nn.Module, explained: Explained) -> Tensor:
    with evaluating(network), torch.no_grad():
        return explained.score(network, given.images, torch.arange(len(given.images), device=given.images.device))


def _correlations(trained: NDArray[Any], maps: NDArray[Any], explained: Explained) -> Floats:
    if explained.signed:
        return map_checks.rank_correlations(np.abs(trained), np.abs(maps))
    return map_checks.rank_correlations(trained, maps)


def _curves(
    given: VisualizerInput, maps: Tensor, explained: Explained, progress: Callable[[], None]
) -> tuple[Floats, Floats]:
    """Deletion and insertion curves, each `(orders, B, S + 1)`."""
    module, images = given.model.module, given.images
    large = enlarge(maps.to(images), given)
    noise = torch.rand(large.shape, generator=torch.Generator().manual_seed(given.seed)).to(large)
    # Zero is the preprocessing's mean colour.
    plain, smooth = torch.zeros_like(images), map_checks.blurred(images)
    curve = partial(map_checks.replacement_curve, partial(explained.score, module), seed=given.seed)
    found = []
    with evaluating(module):
        for order in (large, map_checks.moved(large, seed=given.seed), noise):
            found.append((curve(images, plain, order), curve(smooth, images, order)))
            progress()
    return np.stack([one for one, _ in found]), np.stack([other for _, other in found])


def _in_place(given: VisualizerInput, explained: Explained) -> str:
    """What to say of the maps of the network that works in place and of the one that doesn't."""
    one, other = map_checks.in_place_pair(given.model.module)
    try:
        with torch.no_grad():
            alike = torch.allclose(one(given.images), other(given.images), rtol=1e-4, atol=1e-5)
        first = _maps(given, one, explained) if alike else None
    except RuntimeError:  # autograd's, which needed what was overwritten
        first = None
    if first is None:
        return "in place: the network can't work in place, so there is nothing to compare"
    second = _maps(given, other, explained)
    difference = float(np.abs(first - second).max() / (np.abs(second).max() or 1.0))
    verdict = "same maps" if difference <= TOLERANCE else "NOT the same maps; what follows a layer disturbs them"
    return f"in place and not in place: {verdict} (largest difference {difference:.1g} of the largest value)"


def _weights_verdict(stages: list[str], correlations: Floats, decisive: int) -> str:
    """What the correlations say of the maps.

    Args:
        decisive: The stage whose randomisation first changed the score.
    """
    if np.isnan(correlations).all():
        return "weights: the trained network's maps are constant, so there is nothing to compare"
    first, whole = float(np.nanmean(correlations[decisive])), float(np.nanmean(correlations[-1]))
    found = f"weights: the maps' rank correlation with the trained ones is {first:.2f} when those down to "
    found += f"{stages[decisive]}, which first change the score, are randomised, and {whole:.2f} when all are"
    if max(first, whole) >= WORTHLESS:
        return f"{found}: worthless as evidence, a map that does not change when the weights do shows the image"
    return f"{found}: they depend on what was learnt (worthless from {WORTHLESS})"


def _areas_verdict(deletion: Floats, insertion: Floats) -> str:
    fall, rise = (map_checks.area(curves) for curves in (deletion, insertion))
    faster, higher = int((fall[0] < fall[1]).sum()), int((rise[0] > rise[1]).sum())
    better = [fall[0].mean() < fall[1].mean(), rise[0].mean() > rise[1].mean()]
    verdict = {
        2: "the score depends on what the maps show",
        1: "mixed, only one of the two means is better than elsewhere",
        0: "the maps' places tell no more than other places",
    }[sum(better)]
    return (
        f"deletion and insertion: against the same map moved elsewhere a smaller deletion area on {faster} of "
        f"{fall.shape[1]} images, a larger insertion area on {higher}: {verdict}"
    )


def _weights_table(stages: list[str], correlations: Floats) -> Table:
    rows = []
    for number, stage in enumerate(stages):
        found = correlations[number][~np.isnan(correlations[number])]
        values = (found.mean(), found.min(), found.max()) if len(found) else (None,) * 3
        words = "all weights" if number == len(stages) - 1 else stage if number == 0 else f"and {stage}"
        rows.append((words, *(None if value is None else float(value) for value in values)))
    numbers = (Column(name, ".2f", "right") for name in ("mean", "least", "largest"))
    return Table(
        "Weights randomised from the head down: rank correlation with the trained map",
        (Column("randomised"), *numbers),
        tuple(rows),
        note="Spearman's, over each map's places. 1: the map did not change; 0: nothing of its order is left.",
    )


def _areas_table(deletion: Floats, insertion: Floats, explained: Explained) -> Table:
    areas = [map_checks.area(curves).mean(axis=1) for curves in (deletion, insertion)]
    rows = (("deletion", *map(float, areas[0]), "smaller"), ("insertion", *map(float, areas[1]), "larger"))
    return Table(
        f"Area under the {explained.quantity} while pixels go, and come back",
        (Column("curve"), *(Column(order, ".3f", "right") for order in ORDERS), Column("better")),
        rows,
        note="Deletion grays pixels, insertion puts them back into the blurred image; means over the images. Pixels in "
        "random order make a noise that networks fall for; the moved map is as coarse as the map, the fair baseline.",
    )


def _maps_figure(
    given: VisualizerInput,
    trained: NDArray[np.floating],
    stages: list[str],
    maps: list[NDArray[np.float32]],
    correlations: Floats,
    explained: Explained,
    *,
    title: str,
    name: str,
) -> Figure:
    kind: Kind = "signed" if explained.signed else "map"
    rows = []
    for index in range(len(trained)):
        shown = [(trained[index], "")]
        shown += [(one[index], _number(correlations[number, index])) for number, one in enumerate(maps)]
        tiles = [Tile(one, kind, high=bright(one), text=text) for one, text in shown]
        rows.append((image_tile(given, index), *tiles))
    columns = ("image", "trained", *(f"+ {stage}" if number else stage for number, stage in enumerate(stages)))
    labels = tuple(image_label(given, index) for index in range(len(trained)))
    caption = f"{CASCADE} {READING[kind]}"
    table = Tiles(labels, columns, tuple(rows), tile=0.85, caption=caption)
    return Figure(
        name=f"{name}-randomised",
        title=f"{title}. Weights randomised from the head down",
        alt=f"A row for each image: {', '.join(columns)}.",
        draw=table.draw,
        size=table.size,
        data={"stages": stages, "correlations": correlations.tolist()},
    )


def _number(correlation: float) -> str:
    return "–" if np.isnan(correlation) else f"{correlation:.2f}"


def _curves_figure(deletion: Floats, insertion: Floats, explained: Explained, *, title: str, name: str) -> Figure:
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
        panels[0].set_ylabel(f"{explained.quantity}, mean")
        panels[0].set_ylim(bottom=min(0.0, float(min(deletion.min(), insertion.min()))))

    return Figure(
        name=f"{name}-deletion-insertion",
        title=f"{title}. Deletion and insertion",
        alt="Two panels of curves, pixels deleted and inserted, each in three orders: " + ", ".join(ORDERS) + ".",
        draw=draw,
        size=(8.4, 4.4),
        data={what: lines.tolist() for what, lines in curves.items()},
    )
