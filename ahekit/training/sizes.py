"""Training images smaller than those that are measured: whether the network takes them, and when which comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ahekit.errors import UsageError
from ahekit.hooks import evaluating
from ahekit.protocols import BuiltModel
from ahekit.spec import ProgressiveSpec, RunSpec


def decide_sizes(spec: RunSpec, built: BuiltModel, announce: Callable[[str], None]) -> RunSpec:
    """The spec with the sizes of its training images in pixels, which the network takes.

    Sizes that are shares of the full one are a recipe's way to say what suits most networks: where one can't be had,
    all give way to the full size.

    Args:
        spec: With its views decided.
        built: On the processor.
        announce: Called with a line that says so.

    Raises:
        UsageError: A size that is given in pixels isn't smaller than the full one, the network can't take it, or what
            frozen stages make of the full size is to be kept.
    """
    full = built.preprocessing.size
    asked = spec.progressive
    if not asked.sizes:
        return spec
    spec = spec.model_copy(update={"progressive": asked.in_pixels(full)})
    obstacle = _obstacle(spec, built)
    if obstacle is None:
        return spec
    if asked.sizes[0] < 1:
        announce(f"training images have the full size, {full} px: {obstacle.reason}")
        return spec.model_copy(update={"progressive": ProgressiveSpec()})
    raise UsageError(f"progressive.sizes: {obstacle.reason}{obstacle.more}")


@dataclass(frozen=True)
class _Obstacle:
    """Why the sizes of training images can't be had, and what one who asked for them should know besides."""

    reason: str
    more: str = ""


def _obstacle(spec: RunSpec, built: BuiltModel) -> _Obstacle | None:
    sizes = [int(size) for size in spec.progressive.sizes]
    full = built.preprocessing.size
    if sizes[-1] >= full:
        return _Obstacle(
            f"{sizes[-1]} isn't smaller than the full size, {full} px",
            "; give smaller ones (what their shares leave of the epochs has the full size), or a larger --image-size",
        )
    if spec.transfer.views:
        return _Obstacle(
            "what frozen stages make of fixed views is kept for one image size",
            "; leave out the sizes, or keep nothing with --views 0",
        )
    name = spec.model.name
    shapes = []
    for size in (full, *sizes):
        try:
            shapes.append(_outputs(built, size).shape)
        except Exception as error:  # each network has its own way to say that it can't
            return _Obstacle(f"{name} can't take images of {size} px", f" ({' '.join(str(error).split())[:200]})")
        if shapes[-1] != shapes[0]:
            return _Obstacle(f"of images of {size} px {name} makes outputs of another shape")
    return None


def describe_sizes(spec: RunSpec, full: int) -> str:
    """In words, for the run's first table: "32 px to epoch 12, 48 px to epoch 24, then 64 px"."""
    ends = (*spec.progressive.last_epochs(spec.train.epochs), spec.train.epochs)
    phases = [
        (size, last)
        for size, before, last in zip((*spec.progressive.sizes, full), (0, *ends), ends, strict=False)
        if last > before
    ]
    words = [f"{size} px to epoch {last}" for size, last in phases[:-1]]
    final = phases[-1][0]
    words.append(f"{'then ' if words else ''}{final} px")
    return ", ".join([*words, *([f"measured at {full} px"] if final != full else [])])


def _outputs(built: BuiltModel, size: int) -> Tensor:
    first = next(built.module.parameters())
    with evaluating(built.module), torch.no_grad():
        outputs: Tensor = built.module(torch.zeros(2, 3, size, size, dtype=first.dtype))
    return outputs
