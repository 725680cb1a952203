"""Whether maps over images can be believed: do they depend on the weights, and does the score depend on what they show.

Plain functions; a map is `(h, w)` numbers of an image, larger where more speaks for a score.

    for stage, network in randomized(module, stages):
        rank_correlations(explain(module), explain(network))
    curve = replacement_curve(score, images, gray, maps)      # deletion: the places of largest value go first
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]
Score = Callable[[Tensor, Tensor], Tensor]
"""Images `(B, 3, H, W)` and which one each of them is made of `(B,)`, to scores `(B,)`."""


def randomized(
    module: nn.Module, stages: Mapping[str, Sequence[nn.Module]], *, seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Networks with fresh weights from the head down: each has one stage more, the last one all of them.

    The cascading randomization of Sanity Checks for Saliency Maps, https://arxiv.org/abs/1810.03292. Modules draw their
    weights as torch does for a new network (`reset_parameters`, BatchNorm's statistics included); parameters of a
    module that can't have their own elements permuted. It is one copy that changes from step to step: use it
    before the next one is asked for. `module` itself and torch's random state stay as they are.

    Args:
        stages: As in `BuiltModel`, in order from input to head.

    Yields:
        The stage that was randomized last, and the network, in eval mode.
    """
    # Copied together, so that the copied stages hold the copied network's own modules.
    network, network_stages = copy.deepcopy((module, dict(stages)))
    network.eval()
    # Beside the CPU's, the random states that fresh weights are drawn from.
    devices = {parameter.device for parameter in module.parameters() if parameter.device.type == "cuda"}
    for number, stage in enumerate(reversed(network_stages)):
        with torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(seed + number)
            for part in network_stages[stage]:
                _renew(part)
        yield stage, network


def rank_correlations(maps: NDArray[np.floating], others: NDArray[np.floating]) -> Floats:
    """Spearman's rank correlation of each map with its other, `(B,)` from two of `(B, h, w)`.

    0 where the other is constant, for it then has nothing of the map's order; NaN where the map itself is.
    """
    from scipy.stats import spearmanr  # heavy, and only the checks need it

    correlations = []
    for map, other in zip(maps, others, strict=True):
        # Ranks of equal numbers have no spread to divide by.
        if np.ptp(map) == 0:
            correlations.append(np.nan)
        elif np.ptp(other) == 0:
            correlations.append(0.0)
        else:
            correlations.append(float(spearmanr(map.ravel(), other.ravel()).statistic))
    return np.array(correlations)


def likeness(maps: NDArray[np.floating]) -> float:
    """How alike maps of different images are: the mean correlation of all pairs of `(B, ...)`; NaN without a pair.

    1 where all are one map up to scale; maps that are the same number everywhere have no shape and don't count.
    """
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    centred = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    # Rounding alone gives a constant map of large numbers some spread.
    shaped = lengths > 1e-9 * np.maximum(np.linalg.norm(flat, axis=1), 1e-300)
    directions = centred[shaped] / lengths[shaped, None]
    if len(directions) < 2:
        return float("nan")
    pairs = np.triu_indices(len(directions), 1)
    return float((directions @ directions.T)[pairs].mean())


def replacement_curve(
    score: Score, images: Tensor, others: Tensor, maps: Tensor, *, steps: int = 20, seed: int = 0
) -> Floats:
    """Scores while pixels of images are replaced by those of others, the ones with the map's largest value first.

    With a plain image for the other this is the deletion curve, with the plain image first and the image as the other
    the insertion curve of RISE, https://arxiv.org/abs/1806.07421. Pixels of one value are replaced in random order,
    where another rule would favour a side of the image.

    Args:
        images: `(B, 3, H, W)`.
        others: As `images`, or what broadcasts to it.
        maps: `(B, H, W)`.
        steps: Parts in which all pixels are replaced.

    Returns:
        `(B, steps + 1)`: from no pixel replaced to all.
    """
    count = maps[0].numel()
    # A stable sort of permuted pixels: those of one value stay in the permutation's order.
    permutation = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(maps.device)
    order = permutation[maps.flatten(1)[:, permutation].argsort(dim=1, descending=True, stable=True)]
    # The inverse of the order: when each pixel's turn is.
    places = torch.arange(count, device=maps.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places).view(len(maps), 1, *maps.shape[1:])
    index = torch.arange(len(images), device=images.device)
    scores = []
    with torch.no_grad():
        for step in range(steps + 1):
            scores.append(score(torch.where(rank < round(count * step / steps), others, images), index))
    curve: Floats = torch.stack(scores, 1).double().cpu().numpy()
    return curve


def area(curves: Floats) -> Floats:
    """Area under each curve `(..., S + 1)` over [0, 1], by trapezoids; the curve's mean height."""
    inner = curves[..., 1:-1].sum(axis=-1)
    ends = (curves[..., 0] + curves[..., -1]) / 2  # each belongs to one trapezoid, the inner points to two
    return np.asarray((inner + ends) / (curves.shape[-1] - 1))


def moved(maps: Tensor, *, seed: int = 0) -> Tensor:
    """Each map `(B, H, W)` moved round by a random quarter to three quarters of either side.

    The right baseline for a map's places: as coarse or as fine as the map is, which pixels in random order are not.
    """
    random = torch.Generator().manual_seed(seed)

    def shift(side: int) -> int:
        return int(torch.randint(side // 4, side - side // 4 + 1, (), generator=random))

    return torch.stack([map.roll((shift(map.shape[0]), shift(map.shape[1])), (0, 1)) for map in maps])


def blurred(images: Tensor) -> Tensor:
    """Images `(B, 3, H, W)` by a Gaussian of a tenth of the shorter side, in which objects can't be told any more.

    (RISE takes 5 pixels of 224, which on small images would change nothing.)
    """
    from torchvision.transforms.v2.functional import gaussian_blur  # heavy, and only the checks need it

    sigma = min(images.shape[2:]) / 10
    # Three sigmas hold all of a Gaussian but a thousandth; more than the image's side can't be reflected at its edge.
    radius = min(int(3 * sigma) + 1, min(images.shape[2:]) - 1)
    smooth: Tensor = gaussian_blur(images, [2 * radius + 1] * 2, [sigma])
    return smooth


def in_place_pair(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Two copies in eval mode: one that overwrites its inputs where `module` does, one that never does.

    Where `module` never does either, the first one's rectifiers do, which is not always the same function.
    """
    overwriting = copy.deepcopy(module).eval()
    sparing = copy.deepcopy(module).eval()
    if not _set_in_place(sparing, to=False):
        _set_in_place(overwriting, to=True)
    return overwriting, sparing


def _set_in_place(module: nn.Module, *, to: bool) -> int:
    """Set the flag of every module that has one; the number that were set otherwise."""
    others = [part for part in module.modules() if getattr(part, "inplace", to) is (not to)]
    for part in others:
        part.inplace = to  # type: ignore[assignment]
    return len(others)


@torch.no_grad()
def _renew(module: nn.Module) -> None:
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
            continue
        for parameter in part.parameters(recurse=False):
            elements = parameter.flatten()
            parameter.copy_(elements[torch.randperm(len(elements)).to(elements.device)].view_as(parameter))
