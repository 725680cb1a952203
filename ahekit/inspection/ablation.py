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
from ahekit.hooks import evaluating, find_module, observing
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

    def hold(name: str, part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        # A copy: the output may be what the module was given.
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

    In eval mode. A batch goes once through what lies before the stage that a unit is in, and from there on once for
    each unit of the stage.

    Args:
        batches: Numbers of the images, and the images, normalized, `(B, 3, S, S)`.
        labels: `(N,)` class indices.
    """
    whole = np.zeros((num_classes, num_classes), dtype=np.int64)
    each = np.zeros((len(units), num_classes, num_classes), dtype=np.int64)
    stages = [_stage(built, unit.path) for unit in units]
    cuts = {stage: built.split(stage) if stage else (nn.Identity(), built.module) for stage in dict.fromkeys(stages)}

    def count(module: Callable[[Tensor], Tensor], inputs: Tensor, part: slice) -> NDArray[np.int64]:
        return confusion_counts(labels[part], module(inputs).argmax(1).cpu().numpy(), num_classes)

    with evaluating(built.module), torch.no_grad():
        for part, images in batches:
            whole += count(built.module, images, part)
            for stage, (before, after) in cuts.items():
                features = before(images)
                for number, unit in enumerate(units):
                    if stages[number] == stage:
                        with silencing(built.module, unit):
                            # What follows may work in place on what it is given.
                            each[number] += count(after, features.clone(), part)
    return whole, each


def _stage(built: BuiltModel, path: str) -> str:
    """The stage that a module is in; empty where it is in none."""
    wanted = find_module(built.module, path)
    inside = (name for name, parts in built.stages.items() if any(wanted in part.modules() for part in parts))
    return next(inside, "")
