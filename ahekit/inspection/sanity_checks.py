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

from ahekit.hooks import evaluating
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
    for stage, network in map_checks.randomized(given.model.module, given.model.stages, seed=given.seed):
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
        maps_figure(given, trained, stages, maps, correlations, signed=explained.signed, title=title, name=name),
        curves_figure(deletion, insertion, explained.quantity, title=title, name=name),
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
        seen,
        arrays={**seen.arrays, **arrays},
        figures=(*seen.figures, *figures),
        tables=(
            *seen.tables,
            weights_table(stages, correlations),
            areas_table(deletion, insertion, explained.quantity),
        ),
        notes=(
            *seen.notes,
            weights_verdict(stages, correlations, decisive),
            areas_verdict(deletion, insertion),
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
