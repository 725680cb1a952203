"""A backbone as a few executable stages, from stem to head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ahekit.hooks import evaluating

Stages = Mapping[str, tuple[nn.Module, ...]]


def find_stages(backbone: nn.Module, ends: Sequence[str], image: Tensor, embedding: Tensor) -> Stages:
    """The stages of a backbone that ends in its embedding: `stem`, `stage1` …, and `neck` where layers follow them.

    A backbone that doesn't work as a chain of its modules (DLA, HRNet) is a single stage, `backbone`.

    Args:
        ends: Dotted path of the last module of each stage, in order (timm's `feature_info`).
        image: `(1, 3, S, S)`, on which the chain is compared with the backbone itself.
        embedding: What the backbone makes of the image in eval mode.
    """
    stages = _named(list(_units(backbone, ends)), ends)
    with evaluating(backbone), torch.no_grad():
        try:
            chained = nn.Sequential(*(unit for units in stages.values() for unit in units))(image)
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            chained = None
    same = isinstance(chained, Tensor) and torch.equal(chained, embedding)
    return stages if same else {"backbone": (backbone,)}


def _units(module: nn.Module, ends: Sequence[str], path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Children in order; a Sequential that holds the end of a stage is taken apart."""
    for name, child in module.named_children():
        inner = f"{path}{name}"
        if isinstance(child, nn.Sequential) and any(end.startswith(f"{inner}.") for end in ends):
            yield from _units(child, ends, f"{inner}.")
        else:
            yield inner, child


def _named(units: Sequence[tuple[str, nn.Module]], ends: Sequence[str]) -> dict[str, tuple[nn.Module, ...]]:
    stops = sorted({_stop(units, end) for end in ends})
    starts = [0, *stops]
    if len(stops) > 1 and (stem := _stem(units[: stops[0]], ends[0])):
        starts.insert(1, stem)
    ranges = list(pairwise([*(start for start in starts if start < len(units)), len(units)]))
    names = ["stem", *(f"stage{number}" for number in range(1, len(ranges)))]
    if stops[-1] < len(units) and len(names) > 2:
        names[-1] = "neck"
    return {
        name: tuple(unit for _, unit in units[start:stop]) for name, (start, stop) in zip(names, ranges, strict=True)
    }


def _stop(units: Sequence[tuple[str, nn.Module]], end: str) -> int:
    """Number of units up to and with the one that holds `end`, and the pools and activations that follow it.

    With what has no weights at the end of a stage rather than at the start of the next, a cut is made where the maps
    are smallest, and nothing behind it works in place on what came through it.
    """
    stop = 1 + max((place for place, (path, _) in enumerate(units) if f"{end}.".startswith(f"{path}.")), default=-1)
    while stop < len(units) and not units[stop][1].state_dict():
        stop += 1
    return stop


def _stem(first: Sequence[tuple[str, nn.Module]], end: str) -> int:
    """How many units of the first group come before the Sequential that its end is in; 0 where none has weights."""
    container = end.rpartition(".")[0]
    inside = [bool(container) and path.startswith(f"{container}.") for path, _ in first]
    place = inside.index(True) if True in inside else 0
    return place if any(unit.state_dict() for _, unit in first[:place]) else 0
