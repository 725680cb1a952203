"""Sanity checks of maps, beside the picture: `--check`, for every method that makes one map of each image.

1. **Weights.** The network's weights are randomized from the head down. A map that stays the same, when all weights
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
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ahekit.inspection import map_quality as map_checks
from ahekit.inspection.heat_map import Arrays, enlarge
from ahekit.inspection.sanity_figures import (
    ORDERS,
    areas_table,
    areas_verdict,
    curves_figure,
    maps_figure,
    weights_table,
    weights_verdict,
)
from ahekit.inspection.targets import DESCRIPTION, Target
from ahekit.protocols import Params, VisualizerInput
from ahekit.sections import Visualization

Floats = NDArray[np.float64]

TOLERANCE = 1e-4
"""Of the map's largest value, by which an in-place network's map may differ."""


class CheckedParams(Params):
    """What can be set of every method that makes one map of each image."""

    check: bool = Field(
        False, description="sanity checks beside the picture: weights randomized, deletion and insertion, in place"
    )


class TargetParams(CheckedParams):
    """What can be set of every such method that explains a class's score."""

    target: str = Field("predicted", description=DESCRIPTION)


@dataclass(frozen=True)
class Explanation:
    """A method's maps and what they explain, for the checks to repeat on other networks and other images.

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
    def of_class(
        cls, target: Target, maps: Callable[[VisualizerInput], Tensor], *, signed: bool = False
    ) -> Explanation:
        """For a method that explains a class's logit: followed by the class's probability."""
        quantity = "probability of the class" if target.against is None else "probability of the class, of the two"
        return cls(maps, lambda module, images, of: target.probability(module(images), of), quantity, signed)


def checked(
    visualization: Visualization, request: VisualizerInput, params: CheckedParams, explanation: Explanation
) -> Visualization:
    """A visualization, with the checks of its array `map` when they are asked for.

    Returns:
        Beside what was there: two figures, two tables, a note with the verdict of each check, and arrays
        `check_maps` `(stages, B, h, w)`, `check_correlations` `(stages, B)`, `check_stages`, `check_orders`,
        `check_shares` `(S + 1,)`, `check_deletion` and `check_insertion` `(orders, B, S + 1)`.
    """
    if not params.check:
        return visualization
    # A step for each stage, one for each order of the pixels, one for the last check.
    total = len(request.model.stages) + len(ORDERS) + 1
    steps = iter(range(1, total + 1))

    def tick() -> None:
        request.progress(next(steps), total)

    trained = np.asarray(visualization.arrays["map"])
    stages, maps, changed = [], [], []
    before = _scores(request, request.model.module, explanation)
    for stage, network in map_checks.randomized(request.model.module, request.model.stages, seed=request.seed):
        stages.append(stage)
        maps.append(_maps(request, network, explanation))
        changed.append(not torch.allclose(_scores(request, network, explanation), before))
        tick()
    correlations = np.stack([_correlations(trained, of_stage, explanation) for of_stage in maps])
    # A filter's activation doesn't depend on the stages behind it: its maps have to change from where its score does.
    decisive = changed.index(True) if True in changed else len(changed) - 1
    deletion, insertion = _curves(request, torch.from_numpy(trained), explanation, tick)
    in_place = _in_place(request, explanation)
    tick()
    title = visualization.figures[0].title
    name = visualization.figures[0].name
    figures = (
        maps_figure(request, trained, stages, maps, correlations, signed=explanation.signed, title=title, name=name),
        curves_figure(deletion, insertion, explanation.quantity, title=title, name=name),
    )
    arrays: Arrays = {
        "check_maps": np.stack(maps),
        "check_correlations": correlations,
        "check_stages": np.array(stages),
        "check_orders": np.array(ORDERS),
        "check_shares": np.linspace(0, 1, deletion.shape[-1]),
        "check_deletion": deletion,
        "check_insertion": insertion,
    }
    return replace(
        visualization,
        arrays={**visualization.arrays, **arrays},
        figures=(*visualization.figures, *figures),
        tables=(
            *visualization.tables,
            weights_table(stages, correlations),
            areas_table(deletion, insertion, explanation.quantity),
        ),
        notes=(
            *visualization.notes,
            weights_verdict(stages, correlations, decisive),
            areas_verdict(deletion, insertion),
            in_place,
        ),
    )


def _maps(request: VisualizerInput, network: nn.Module, explanation: Explanation) -> NDArray[np.float32]:
    """The maps of another network of the same make. Its stages stay those of the first, which no map reads."""
    maps = explanation.maps(replace(request, model=replace(request.model, module=network)))
    values: NDArray[np.float32] = maps.detach().float().cpu().numpy()
    return values


def _scores(request: VisualizerInput, network: nn.Module, explanation: Explanation) -> Tensor:
    index = torch.arange(len(request.images), device=request.images.device)
    with torch.no_grad():
        return explanation.score(network, request.images, index)


def _correlations(trained: NDArray[Any], maps: NDArray[Any], explanation: Explanation) -> Floats:
    if explanation.signed:
        return map_checks.rank_correlations(np.abs(trained), np.abs(maps))
    return map_checks.rank_correlations(trained, maps)


def _curves(
    request: VisualizerInput, maps: Tensor, explanation: Explanation, tick: Callable[[], None]
) -> tuple[Floats, Floats]:
    """Deletion and insertion curves, each `(orders, B, S + 1)`."""
    images = request.images
    by_map = enlarge(maps.to(images), request)
    elsewhere = map_checks.moved(by_map, seed=request.seed)
    at_random = torch.rand(by_map.shape, generator=torch.Generator().manual_seed(request.seed)).to(by_map)
    # Zero is the preprocessing's mean colour.
    gray = torch.zeros_like(images)
    blurred = map_checks.blurred(images)
    score = partial(explanation.score, request.model.module)
    deletion, insertion = [], []
    for order in (by_map, elsewhere, at_random):
        deletion.append(map_checks.replacement_curve(score, images, gray, order, seed=request.seed))
        insertion.append(map_checks.replacement_curve(score, blurred, images, order, seed=request.seed))
        tick()
    return np.stack(deletion), np.stack(insertion)


def _in_place(request: VisualizerInput, explanation: Explanation) -> str:
    """What to say of the maps of the network that works in place and of the one that doesn't."""
    overwriting, sparing = map_checks.in_place_pair(request.model.module)
    try:
        with torch.no_grad():
            # A network that reads a tensor again after overwriting it computes another function.
            alike = torch.allclose(overwriting(request.images), sparing(request.images), rtol=1e-4, atol=1e-5)
        maps = _maps(request, overwriting, explanation) if alike else None
    except RuntimeError:  # autograd's, which needed what was overwritten
        maps = None
    if maps is None:
        return "in place: the network can't work in place, so there is nothing to compare"
    others = _maps(request, sparing, explanation)
    difference = float(np.abs(maps - others).max() / (np.abs(others).max() or 1.0))
    verdict = "same maps" if difference <= TOLERANCE else "NOT the same maps; what follows a layer disturbs them"
    return f"in place and not in place: {verdict} (largest difference {difference:.1g} of the largest value)"
