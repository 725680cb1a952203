"""What a network answers when a unit of it is silenced, streamed over images.

On the importance of single directions for generalization, https://arxiv.org/abs/1803.06959, clamps a unit's activity to
a constant, zero or its mean, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahekit.evaluation.metrics import confusion_counts
from ahekit.hooks import find_module, observing
from ahekit.protocols import BuiltModel


@dataclass(frozen=True)
class Silenced:
    """A unit (channel) of a module's output, and the value that it is held at, at every place."""

    path: str
    unit: int
    value: float = 0.0


@contextmanager
def silencing(module: nn.Module, unit: Silenced) -> Iterator[None]:
    """Hold the unit at its value in forward passes made inside; the module is afterwards as it was.

    Raises:
        UnknownNameError: There is no module of that path.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.ReLU())
        >>> with silencing(net, Silenced("0", 1)):
        ...     net(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 0.]])
    """

    def hold(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        # A copy: the output may be the very tensor that the module got.
        held = output.clone()
        held[:, unit.unit] = unit.value
        return held

    with observing({unit.path: find_module(module, unit.path)}, hold):
        yield


def silenced_counts(
    built: BuiltModel,
    units: Sequence[Silenced],
    batches: Iterable[tuple[slice, Tensor]],
    labels: NDArray[Any],
    *,
    num_classes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Confusion counts `(C, C)` of the network as it is, and `(len(units), C, C)` with each unit silenced by itself.

    The network has to be in eval mode. A batch goes once through what lies before the stage that a unit is in, and
    from there on once for each unit of the stage.

    Args:
        batches: Numbers of the images, and the images, normalized, `(B, 3, S, S)`.
        labels: `(N,)` class indices.
    """
    whole = np.zeros((num_classes, num_classes), dtype=np.int64)
    each = np.zeros((len(units), num_classes, num_classes), dtype=np.int64)
    stages = [_stage(built, unit.path) for unit in units]
    # Where a unit is in no stage, nothing lies before it that could be shared.
    cuts = {stage: built.split(stage) if stage else (nn.Identity(), built.module) for stage in dict.fromkeys(stages)}

    def count(module: Callable[[Tensor], Tensor], inputs: Tensor, numbers: slice) -> NDArray[np.int64]:
        return confusion_counts(labels[numbers], module(inputs).argmax(1).cpu().numpy(), num_classes)

    with torch.no_grad():
        for numbers, images in batches:
            whole += count(built.module, images, numbers)
            for stage, (before, after) in cuts.items():
                features = before(images)
                for place, unit in enumerate(units):
                    if stages[place] == stage:
                        with silencing(built.module, unit):
                            # What follows may work in place on what it gets.
                            each[place] += count(after, features.clone(), numbers)
    return whole, each


def _stage(built: BuiltModel, path: str) -> str:
    """The stage that a module is in; empty where it is in none."""
    layer = find_module(built.module, path)
    for name, modules in built.stages.items():
        if any(layer in module.modules() for module in modules):
            return name
    return ""
